"""A test of nothing: a process that counts runs it first. It is never collected but there. PYTEST_DONT_REWRITE"""


def test_nothing() -> None:
    """Nothing."""
