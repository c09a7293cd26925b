"""Output, logs and warnings: recorded once, never piling up."""

import logging
import os
import sys
import warnings

import pytest

logger = logging.getLogger("idiom")


@pytest.fixture
def speaking():
    print("setup speaks")
    logger.warning("setup logs")
    yield
    print("teardown speaks")
    logger.warning("teardown logs")


def test_capsys(capsys):
    print("hello")
    print("world", file=sys.stderr)
    out, err = capsys.readouterr()
    assert (out, err) == ("hello\n", "world\n")


def test_capfd(capfd):
    os.write(1, b"raw\n")
    assert capfd.readouterr().out == "raw\n"


def test_capsysbinary(capsysbinary):
    print("bytes")
    assert capsysbinary.readouterr().out == b"bytes\n"


def test_caplog(caplog):
    caplog.set_level(logging.INFO, logger="idiom")
    logger.info("one")
    assert [record.message for record in caplog.records] == ["one"]
    assert caplog.get_records("setup") == []


def test_caplog_setup(speaking, caplog):
    assert [record.message for record in caplog.get_records("setup")] == ["setup logs"]
    assert caplog.record_tuples == []


def test_level_is_restored():
    assert logger.level == logging.NOTSET
    assert not logger.handlers


def test_fails_speaking(speaking):
    print("call speaks")
    logger.error("call logs")
    raise AssertionError("said all")


def test_passes_speaking(speaking):
    print("call speaks")
    logger.error("call logs")


def test_stdout_replaced(monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdout", io.StringIO())
    print("into the buffer")
    assert sys.stdout.getvalue() == "into the buffer\n"


def test_warns():
    warnings.warn("once", UserWarning, stacklevel=1)


def test_warns_deprecated():
    warnings.warn("old", DeprecationWarning, stacklevel=1)


def test_warns_and_fails():
    warnings.warn("before it failed", UserWarning, stacklevel=1)
    raise AssertionError


@pytest.fixture
def warning_around():
    warnings.warn("in setup", UserWarning, stacklevel=1)
    yield
    warnings.warn("in teardown", UserWarning, stacklevel=1)


@pytest.fixture(scope="module")
def warning_around_all():
    warnings.warn("in module setup", UserWarning, stacklevel=1)
    yield
    warnings.warn("in module teardown", UserWarning, stacklevel=1)


def test_fixture_warns(warning_around):
    pass


def test_fixture_warns_and_fails(warning_around):
    raise AssertionError


def test_module_fixture_warns(warning_around_all):
    pass


@pytest.mark.filterwarnings("error::FutureWarning")
def test_warning_is_an_error():
    warnings.warn("becomes an error", FutureWarning, stacklevel=1)


def test_pytest_warns():
    with pytest.warns(UserWarning, match="caught"):
        warnings.warn("caught", UserWarning, stacklevel=1)


def test_recwarn(recwarn):
    warnings.warn("recorded", UserWarning, stacklevel=1)
    assert len(recwarn) == 1
    assert recwarn.pop(UserWarning).message.args == ("recorded",)


def test_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")


def test_unraisable():
    class Breaks:
        def __del__(self):
            raise ValueError("in __del__")

    thing = Breaks()
    del thing


def test_thread_raises():
    import threading

    def breaks():
        raise ValueError("in a thread")

    thread = threading.Thread(target=breaks, name="breaking")
    thread.start()
    thread.join()
