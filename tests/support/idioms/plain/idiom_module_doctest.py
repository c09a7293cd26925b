"""Doctests in a module.

>>> [1, 2][0]
1
"""


def double(number):
    """
    >>> double(2)
    4
    >>> seen = []
    >>> seen.append(double(1)); seen
    [2]
    """
    return 2 * number


class Counter:
    """
    >>> counter = Counter()
    >>> counter.up(); counter.up()
    1
    2
    """

    def __init__(self):
        self.value = 0

    def up(self):
        self.value += 1
        print(self.value)


def wrong():
    """
    >>> 1 + 1
    3
    """


def skipped():
    """
    >>> 1 / 0  # doctest: +SKIP
    """


def raising():
    """
    >>> 1 / 0
    Traceback (most recent call last):
    ZeroDivisionError: division by zero
    """


def uses_fixture():
    """
    >>> getfixture("tmp_path").joinpath("made").mkdir()
    >>> from pytest import skip
    """


def skips_inside():
    """
    >>> import pytest; pytest.skip("from a doctest")
    """


def test_beside_doctests():
    assert double(2) == 4
