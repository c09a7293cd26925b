"""Variants of functions, made and measured: pairs of versions where a project has no history of changes yet."""
