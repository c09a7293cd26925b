"""What a test will probably cost, said before it runs.

Nothing in here reads a model from the repository under test unless it was named, and nothing that is loaded before tests runs
code of its own.
"""
