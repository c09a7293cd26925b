"""From rows of numbers to predictions with intervals: arrays, trees, conformal intervals."""
