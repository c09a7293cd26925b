"""Asking before tests run: what changed, the predictions, what is said and kept of them."""
