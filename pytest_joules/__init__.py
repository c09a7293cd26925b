"""Energy-aware testing for pytest. Nothing is imported here, so that a run without ``--energy`` pays nothing.

PYTEST_DONT_REWRITE: there is nothing to rewrite, and a companion imports it before pytest looks.
"""

__version__ = "0.1.0"
