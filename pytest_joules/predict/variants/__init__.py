"""Variants of functions, made and measured: what the model of changes learns from."""
