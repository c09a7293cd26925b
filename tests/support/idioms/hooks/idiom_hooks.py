"""Tests under the hooks of conftest.py."""

import pytest

runs = []


@pytest.mark.skipped_by_hook
def test_skipped():
    raise AssertionError


@pytest.mark.failed_by_hook
def test_failed():
    pass


@pytest.mark.passed_by_hook
def test_passed():
    raise AssertionError


@pytest.mark.breaks_in_teardown
def test_teardown():
    pass


@pytest.mark.shouted
def test_shouted():
    pass


def test_sees_reports(sees_reports):
    pass


def test_sees_failure(sees_reports):
    raise AssertionError


@pytest.mark.last
def test_last():
    pass


def test_generated(generated):
    assert generated in (1, 2)


@pytest.mark.runs_itself
def test_runs_itself():
    runs.append(1)
    assert len(runs) == 1


class TestClass:
    def test_method(self, request):
        assert not hasattr(self, "here")
        self.here = request.node


@pytest.mark.breaks_in_teardown
class TestBroken:
    @pytest.fixture(scope="class", autouse=True)
    def around(self):
        yield
        print("class goes down")

    def test_one(self):
        pass

    def test_two(self):
        pass


@pytest.fixture(scope="module")
def speaks_once():
    print("module up")
    yield
    print("module down")


def test_output_of_wide_fixtures(speaks_once):
    print("called")
