"""Files that others made or named, and those that we make: read within bounds, written whole, and only where they belong."""
