"""The project as it was measured."""

from foretold import shop

__all__ = ["shop"]
