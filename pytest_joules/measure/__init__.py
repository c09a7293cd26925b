"""From rounds to samples to a measurement."""
