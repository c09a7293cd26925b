"""The repository as it begins."""

from two_revisions import shop

__all__ = ["shop"]
