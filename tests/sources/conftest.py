"""A tree of zones, and the source that reads it."""

from zones import source, tree

__all__ = ["source", "tree"]
