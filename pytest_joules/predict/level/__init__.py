"""What a test costs by its code: models and their training."""
