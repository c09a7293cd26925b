"""Recording functions: who was on top when, whatever way it is left."""

import asyncio
import importlib.util
import sys
import threading

import numpy as np
import pytest

from pytest_joules.account.events import CALLED, LEFT, MARK, RESUMED, Recorded, timeline
from pytest_joules.account.timeline import NOBODY, RECORDING, Part
from pytest_joules.account.tracer import functions

SHOP = """
import asyncio, threading, time

def leaf(): return 1
def nap(): time.sleep(0.02)
def outer():
    leaf()
    nap()
    return leaf()
def fails():
    leaf()
    raise KeyError
def catches():
    try:
        fails()
    except KeyError:
        nap()
def numbers():
    for number in range(3):
        yield number
def sums(): return sum(numbers())
def down(times):
    leaf()
    if times:
        down(times - 1)
def elsewhere():
    thread = threading.Thread(target=nap, name="side")
    thread.start()
    thread.join()
async def waits():
    await asyncio.sleep(0.02)
    leaf()
def small(): pass
def often(times):
    for _ in range(times):
        small()
"""


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / "shop.py"
    path.write_text(SHOP)
    spec = importlib.util.spec_from_file_location("traced_shop", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["traced_shop"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["traced_shop"]


@pytest.fixture
def record(shop):
    """Record a call: its timeline, the recorder, and who listens afterwards."""
    recorder = functions(lambda name: "shop.py" if name == shop.__file__ else None)

    def of(function, *arguments, seconds=10.0):
        recorder.arm(seconds)
        try:
            recorder.enter()
            try:
                function(*arguments)
            finally:
                recorded = recorder.leave()
        finally:
            recorder.disarm()
        assert sys.getprofile() is None
        return timeline(recorded), recorder

    return of


def paths(found) -> dict[str, int]:
    """Calls by path; the recorder has none."""
    names = []
    for part in found.parts:
        own = part.name.partition("::")[2]
        names.append(own if part.parent is None else f"{names[part.parent]}/{own}")
    calls = zip(found.parts, names, found.calls.tolist(), strict=True)
    return {name: count for part, name, count in calls if part.name != RECORDING}


def seconds(found, name: str, of: str = "seconds") -> float:
    mine = [number for number, part in enumerate(found.parts) if part.name.endswith(f"::{name}")]
    chosen = np.isin(found.part, mine)
    return float(((found.end - found.begin)[chosen] / 1e9).sum() if of == "seconds" else found.busy[chosen].sum())


def recording(found) -> float:
    """Seconds that were the recorder's: they are taken off what it watched."""
    mine = np.isin(found.part, [number for number, part in enumerate(found.parts) if part.name == RECORDING])
    return float(((found.end - found.begin)[mine] / 1e9).sum())


def test_paths_and_sleep(record, shop):
    found, recorder = record(shop.outer)
    assert recorder.trouble is None and recorder.remarks() == []
    assert paths(found) == {"outer": 1, "outer/leaf": 2, "outer/nap": 1}
    assert seconds(found, "nap") + recording(found) >= 0.02
    assert seconds(found, "nap", "busy") < 0.01
    order = np.lexsort((found.begin,))
    assert (found.begin[order][1:] >= found.end[order][:-1]).all()


def test_exceptions(record, shop):
    found, _ = record(shop.catches)
    assert paths(found) == {"catches": 1, "catches/fails": 1, "catches/fails/leaf": 1, "catches/nap": 1}
    assert seconds(found, "fails") < 0.01


def test_a_body_that_raises(record, shop):
    with pytest.raises(KeyError):
        record(shop.fails)
    found, _ = record(shop.leaf)
    assert paths(found) == {"leaf": 1}


def test_generators_are_called_once(record, shop):
    found, _ = record(shop.sums)
    assert paths(found)["sums/numbers"] == 1


def test_recursion_is_one_part(record, shop):
    found, _ = record(shop.down, 50)
    assert paths(found) == {"down": 51, "down/leaf": 51}


def test_threads_have_lanes(record, shop):
    found, _ = record(shop.elsewhere)
    assert paths(found) == {"elsewhere": 1, "nap": 1}
    ours = [number for number, part in enumerate(found.parts) if part.name != RECORDING]
    lanes = {int(found.lane[number]) for number in range(len(found.part)) if found.part[number] in ours}
    assert len(lanes) == 2
    assert seconds(found, "nap") + recording(found) >= 0.02
    assert threading.active_count() == 1 or all(thread.name != "side" for thread in threading.enumerate())


def test_coroutines_that_wait(record, shop):
    found, _ = record(lambda: asyncio.run(shop.waits()))
    assert paths(found) == {"waits": 1, "waits/leaf": 1}
    assert seconds(found, "waits") < 0.015  # what waits is nobody


def test_small_functions_count_as_their_callers(record, shop):
    found, recorder = record(shop.often, 100_000, seconds=1e-3)
    assert recorder.cut
    assert recorder.remarks()[0] == "shop.py::small is called so often that it counts as its caller"
    assert paths(found) == {"often": 1}


def test_no_tool_is_free(shop):
    if sys.version_info < (3, 12):
        pytest.skip("before Python 3.12 there are none")
    recorder = functions(lambda name: None)
    taken = []
    for tool in range(6):
        if sys.monitoring.get_tool(tool) is None:
            sys.monitoring.use_tool_id(tool, "someone")
            taken.append(tool)
    try:
        recorder.arm(1.0)
        assert recorder.trouble == "no free tool id: other tools use sys.monitoring"
        recorder.enter()
        recorder.leave()
        recorder.disarm()
    finally:
        for tool in taken:
            sys.monitoring.free_tool_id(tool)


def test_another_profiler(shop):
    if sys.version_info >= (3, 12):
        pytest.skip("sys.monitoring is not in its way")

    def other(*_):
        return None

    recorder = functions(lambda name: None)
    recorder.arm(1.0)
    sys.setprofile(other)
    try:
        recorder.enter()
        recorder.leave()
        assert sys.getprofile() is other
    finally:
        sys.setprofile(None)
    assert recorder.trouble == "another profiler is active"


# Events that are made by hand

PARTS = {name: Part(name, None, "function") for name in "abc"}
MS = 1_000_000


def made(*events, **more):
    return timeline(
        Recorded(
            [(*event[:4], event[4] if len(event) > 4 else None, event[5] if len(event) > 5 else 0) for event in events],
            PARTS,
            {1: "main"},
            **more,
        )
    )


def test_cpu_time_between_two_looks():
    """Short stretches first, each no more than it lasts; what remains is the last one's, which slept."""
    found = made(
        (0, 1, None, MARK, (0, 0)),
        (0, 1, "a", CALLED),
        (1 * MS, 1, "b", CALLED),
        (101 * MS, 1, "b", LEFT, (5 * MS, 5 * MS)),
        (102 * MS, 1, "a", LEFT, (6 * MS, 6 * MS)),
    )
    assert [(found.parts[part].name, round(busy * 1e3)) for part, busy in zip(found.part, found.busy, strict=True)] == [
        ("a", 1),
        ("b", 4),
        ("a", 1),
    ]


def test_the_process_counts_where_one_thread_is():
    events = [(0, 1, None, MARK, (0, 0)), (0, 1, "a", CALLED), (10 * MS, 1, "a", LEFT, (9 * MS, 36 * MS))]
    assert made(*events).busy.sum() == pytest.approx(36e-3)
    other = [(0, 2, "b", CALLED, (0, 0)), (10 * MS, 2, "b", LEFT, (1 * MS, 36 * MS))]
    assert made(*events, *other).busy.sum() == pytest.approx(10e-3)


def test_what_is_left_without_an_event_ends_with_its_caller():
    found = made((0, 1, "a", CALLED), (1, 1, "b", CALLED), (2, 1, "c", RESUMED), (5, 1, "a", LEFT), (9, 1, None, MARK))
    assert found.calls.tolist() == [1, 1, 0]
    assert found.part.tolist() == [0, 1, 2, NOBODY]


def test_what_is_left_out_is_its_callers():
    found = made((0, 1, "a", CALLED), (1, 1, "b", CALLED), (2, 1, "b", LEFT), (9, 1, "a", LEFT), left_out={"b"})
    assert [part.name for part in found.parts] == ["a"]
    assert (found.begin.tolist(), found.end.tolist()) == ([0], [9])


def test_a_thread_with_the_identity_of_one_that_ended():
    found = made(
        (0, 1, "a", CALLED, (90 * MS, 0)),
        (MS, 1, "a", LEFT, (91 * MS, 0)),
        (2 * MS, 1, "b", CALLED, (0, 0)),
        (3 * MS, 1, "b", LEFT, (MS, 0)),
        (0, 2, "c", CALLED, (0, 0)),
    )
    assert found.busy.sum() == pytest.approx(3e-3)


def test_what_recording_takes_is_nobodys():
    """Half a microsecond an event; before b is left it was told of ten things more, a tenth of one each."""
    us = 1_000
    found = made(
        (0, 1, "a", CALLED, (0, 0), 0),
        (10 * us, 1, "b", CALLED, None, 0),
        (14 * us, 1, "b", LEFT, None, us),
        (14 * us + 300, 1, "a", LEFT, (14 * us, 14 * us), us),
        noting=0.5e-6,
    )
    spent = dict.fromkeys((part.name for part in found.parts), 0)
    for part, begin, end in zip(found.part, found.begin, found.end, strict=True):
        spent[found.parts[part].name] += int(end - begin)
    assert spent == {"a": 9_500, "b": 2_500, RECORDING: 500 + 1_500 + 300}
    assert found.busy.sum() == pytest.approx(14e-6)


def test_too_many_calls_before_3_12(shop):
    if sys.version_info >= (3, 12):
        pytest.skip("C functions cost sys.monitoring nothing")
    recorder = functions(lambda name: name)

    def trouble(calls):
        recorder.arm(1e-7)
        recorder.enter()
        for _ in range(calls):
            len(())
        recorder.leave()
        recorder.disarm()
        return recorder.trouble

    # One look at it is no evidence: something else may have run just then.
    assert [trouble(90) for _ in range(4)] == [None] * 4
    assert trouble(4000) == "too many calls to trace them before Python 3.12"
    assert trouble(90) is None
