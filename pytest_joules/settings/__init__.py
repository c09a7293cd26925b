"""Options, ini keys and markers, as frozen settings with units."""
