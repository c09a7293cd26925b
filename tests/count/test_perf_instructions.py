"""The CPU's own counter: a simulated system call, since hosted machines lend none."""

import ctypes
import errno
import os
import platform
import struct

import pytest

from pytest_joules.count import callgrind, choose, perf
from pytest_joules.count.counter import NoCounter


class Call:
    """A function of the C library, which takes a result type."""

    restype = None

    def __init__(self, function):
        self.function = function

    def __call__(self, *arguments):
        return self.function(*arguments)


class Library:
    """The C library: the counter that it opens is a file."""

    def __init__(self, path, code):
        self.path, self.code, self.asked, self.attributes = path, code, [], b""
        self.syscall = Call(self.perf_event_open)

    def perf_event_open(self, number, attributes, *arguments):
        self.attributes = bytes(attributes)
        ctypes.set_errno(self.code)
        return -1 if self.code else os.open(self.path, os.O_RDONLY)

    def ioctl(self, descriptor, request, argument):
        self.asked.append(request.value)
        return 0


@pytest.fixture
def counter(tmp_path, monkeypatch):
    def lend(instructions=5_000_000, code=0):
        (tmp_path / "counter").write_bytes(struct.pack("=Q", instructions))
        library = Library(tmp_path / "counter", code)
        monkeypatch.setattr(perf.ctypes, "CDLL", lambda name, use_errno=False: library)
        monkeypatch.setattr(platform, "machine", lambda: "x86_64")
        monkeypatch.setattr(perf.sys, "platform", "linux")
        return library

    return lend


def test_it_counts_between_two_requests(counter):
    library = counter()
    instructions = perf.Instructions()
    instructions.open()
    instructions.begin()
    instructions.finish()
    assert library.asked == [perf._RESET, perf._ENABLE, perf._DISABLE]
    assert instructions.read() == (5_000_000, "")
    instructions.close()
    _, _, config, _, _, _, flags = struct.unpack_from("=IIQQQQQ", library.attributes)
    assert config == 1, "instructions"
    assert flags & perf._NO_KERNEL
    assert perf.find().name == "perf"
    assert "personality" in perf.Perf().command(None)[2]


@pytest.mark.parametrize(
    ("code", "remedy"), [(errno.ENOENT, ""), (errno.EACCES, "sysctl kernel.perf_event_paranoid=2"), (errno.EPERM, "sysctl")]
)
def test_a_kernel_that_lends_none(counter, code, remedy):
    counter(code=code)
    with pytest.raises(NoCounter, match="no counter of instructions") as raised:
        perf.find()
    assert raised.value.remedy.startswith(remedy)


def test_a_counter_that_stands_still(counter):
    counter(instructions=0)
    with pytest.raises(NoCounter, match="stands still"):
        perf.find()


@pytest.mark.parametrize(("what", "value", "why"), [("platform", "darwin", "Linux"), ("machine", "s390x", "s390x")])
def test_other_systems(counter, monkeypatch, what, value, why):
    counter()
    if what == "platform":
        monkeypatch.setattr(perf.sys, "platform", value)
    else:
        monkeypatch.setattr(platform, "machine", lambda: value)
    with pytest.raises(NoCounter, match=why):
        perf.find()


def test_auto_takes_what_is_there(counter, monkeypatch):
    def no_valgrind():
        raise NoCounter("Valgrind is not installed", "install it")

    monkeypatch.setattr(callgrind, "find", no_valgrind)
    counter()
    assert choose.choose("auto").name == "perf"
    with pytest.raises(NoCounter, match="not installed: install it"):
        choose.choose("callgrind")
    counter(code=errno.ENOENT)
    with pytest.raises(NoCounter, match="Valgrind is not installed; the kernel has no counter"):
        choose.choose("auto")
