"""The project as it begins, and measured."""

from changing_shop import measured, shop

__all__ = ["measured", "shop"]
