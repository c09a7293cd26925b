"""A plugin of the runs of :mod:`inner`: what others do on this machine must not decide what is seen there, neither that they run,
nor how long recording takes. PYTEST_DONT_REWRITE: it stays loaded when an inner run ends.
"""

import pytest
from own_counters import replace

#: The share of the machine that others use.
share = 0.0


@pytest.hookimpl(optionalhook=True)
def pytest_joules_sources():
    """Comes only in a run that measures, before anything is measured: nothing is imported for this."""
    from pytest_joules.code.recording_cost import Bound
    from pytest_joules.measure.other_load import OtherLoad

    replace(OtherLoad, "share", lambda self, begun: share)
    if Bound.left.__name__ == "left":  # no test has put another in its place
        replace(Bound, "left", lambda self, spent: 1.0)


def pytest_unconfigure():
    global share
    share = 0.0  # a conftest file's, of this run
