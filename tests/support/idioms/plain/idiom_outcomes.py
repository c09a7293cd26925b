"""Every outcome there is."""

import sys

import pytest


def test_passes():
    print("not shown")


def test_fails(capsys):
    print("shown")
    print("shown too", file=sys.stderr)
    left, right = {"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 3]}
    assert left == right, "and a message"


def test_fails_plainly():
    print("captured once")
    raise ValueError("plainly")


def test_fails_in_the_dark():
    pytest.fail("no traceback", pytrace=False)


def test_recursion():
    def down():
        return down()

    with pytest.raises(RecursionError):
        down()


def test_exits():
    sys.exit(1)


@pytest.mark.skip(reason="marked")
def test_skip():
    raise AssertionError


@pytest.mark.skipif("sys.version_info > (3,)", reason="conditional")
def test_skip_if():
    raise AssertionError


def test_skip_inside():
    print("said before")
    pytest.skip("imperative")


def test_import_or_skip():
    pytest.importorskip("no_such_module_anywhere")


@pytest.mark.xfail
def test_xfail():
    raise AssertionError


@pytest.mark.xfail
def test_xpass():
    pass


@pytest.mark.xfail(strict=True, reason="strict")
def test_xpass_strict():
    pass


@pytest.mark.xfail(run=False, reason="not run")
def test_not_run():
    raise AssertionError


@pytest.mark.xfail(raises=KeyError)
def test_raises():
    raise KeyError("expected")


@pytest.mark.xfail(raises=KeyError)
def test_raises_another():
    raise ValueError("not expected")


@pytest.mark.xfail(condition=False, reason="does not hold")
def test_not_marked_after_all():
    pass


def test_xfail_inside():
    pytest.xfail("imperative")


def test_marks_itself(request):
    request.node.add_marker(pytest.mark.xfail(reason="from inside"))
    raise AssertionError("expected")


def test_marks_itself_and_passes(request):
    request.applymarker(pytest.mark.xfail(reason="from inside"))


def test_keywords(request):
    assert "mine" not in request.node.keywords
    request.node.keywords["mine"] = True
    assert len(request.node.own_markers) == 0
    request.node.add_marker("added")


@pytest.fixture
def marks(request):
    request.node.add_marker(pytest.mark.xfail(reason="from a fixture", strict=True))


def test_marked_by_a_fixture(marks):
    raise AssertionError


@pytest.fixture
def bad_setup():
    print("in setup")
    raise RuntimeError("setup")


@pytest.fixture
def bad_teardown():
    yield
    print("in teardown")
    raise RuntimeError("teardown")


@pytest.fixture
def skipping():
    pytest.skip("from a fixture")


@pytest.fixture(scope="class")
def bad_class_teardown():
    yield
    raise RuntimeError("class teardown")


def test_setup_error(bad_setup):
    pass


def test_teardown_error(bad_teardown):
    print("call")


def test_fails_and_teardown_error(bad_teardown):
    raise AssertionError("call")


def test_skipped_by_fixture(skipping):
    pass


def test_no_such_fixture(nowhere_defined):
    pass


class TestClassTeardown:
    def test_one(self, bad_class_teardown):
        pass

    def test_two(self):
        pass


async def test_async_without_a_plugin_or_strict():
    pass


async def test_async_generator():
    yield 1


def test_returns():
    return 1
