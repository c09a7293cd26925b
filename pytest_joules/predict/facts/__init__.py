"""What is known of code, and its representations as numbers."""
