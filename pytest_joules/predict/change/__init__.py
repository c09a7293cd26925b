"""What a change of code costs: the default model."""
