"""Data shipped with the package, each file with its source and licence."""
