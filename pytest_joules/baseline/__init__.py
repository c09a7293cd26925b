"""Saved sessions to compare with: their files, where they stand, and what a run does with them."""
