"""Tests that are not plain functions."""

import functools
import itertools
from dataclasses import dataclass
from unittest import mock

import pytest


def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@logged
def test_decorated(tmp_path):
    assert tmp_path.is_dir()


def _check(expected, tmp_path):
    assert tmp_path.is_dir()
    assert expected == 3


test_partial = functools.partial(_check, 3)


class TestStatic:
    @staticmethod
    def test_static():
        assert True

    @classmethod
    def test_class_method(cls):
        assert cls is TestStatic


class Base:
    expected = None

    def test_inherited(self):
        assert self.expected in (1, 2)


class TestOne(Base):
    expected = 1


class TestTwo(Base):
    expected = 2


class TestOuter:
    class TestInner:
        def test_nested(self):
            assert type(self).__name__ == "TestInner"


class TestMeta(metaclass=type("Meta", (type,), {})):
    def test_method(self):
        pass


class TestGenerated:
    pass


for number in range(3):
    setattr(TestGenerated, f"test_{number}", lambda self, number=number: None)


@mock.patch.dict("os.environ", {"A": "1"})
@mock.patch("os.getcwd")
def test_mocked(getcwd):
    getcwd()
    getcwd.assert_called_once()


@pytest.mark.parametrize("value", [mock.sentinel.one, object, len, pytest.param(lambda: 3, id="function")])
def test_odd_parameters(value):
    assert value is not None


stream = iter("abc")


@pytest.mark.parametrize("letter", stream)
def test_drained(letter):
    assert letter in "abc"


@pytest.mark.parametrize("size", [10**5], ids=lambda size: f"big-{size}")
def test_big(size):
    assert len(list(itertools.repeat(0, size))) == size


@dataclass
class Case:
    name: str


@pytest.mark.parametrize("case", [Case("a"), Case("b")], ids=lambda case: case.name)
def test_cases(case):
    assert case.name in "ab"


def test_approx():
    assert pytest.approx(0.3) == 0.1 + 0.2


pytestmark = [pytest.mark.usefixtures("tmp_path")]
