"""Which configuration of a predictor is worth its own energy: a search over a declared space, and the front that comes of it."""
