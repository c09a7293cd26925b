"""Trace files become timelines: one tree from three profilers, one message for each kind of damage."""

import gzip
import json
import time
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_joules.account import trace_clock, trace_events, trace_file
from pytest_joules.account.accounting import account
from pytest_joules.account.trace_events import TraceError
from pytest_joules.account.traced_round import TracedRound

REAL = Path(__file__).parent / "data" / "torch.json.gz"
JAX_ITSELF = REAL.with_name("jax.json.gz")
EVENT = {"ph": "X", "name": "a", "pid": 1, "tid": 1, "ts": 10, "dur": 5}


def event(name, begin, length, **other):
    return {"ph": "X", "name": name, "pid": 1, "tid": 1, "ts": begin, "dur": length, **other}


def process(pid, name):
    return {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}}


def load(tmp_path, events, **facts):
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({**facts, "traceEvents": events} if facts or isinstance(events, list) else events))
    return trace_events.load(path)


def tree(timeline):
    """Nanoseconds of their own by path of names (and direction), whatever the order of the parts."""
    found = defaultdict(float)

    def path(place):
        part = timeline.parts[place]
        return (*(path(part.parent) if part.parent is not None else ()), (part.name, part.direction))

    for begin, end, place in zip(timeline.begin, timeline.end, timeline.part, strict=True):
        found[path(place)] += end - begin
    return dict(found)


# One tree from three profilers: encoder/layer_0/{MatMul, Relu}, encoder/layer_1/MatMul, and the gradient of the first.

ENCODER = ("encoder", ""), ("encoder/layer_0", "")
PROGRAM = {
    (*ENCODER, ("encoder/layer_0/MatMul", "forward")): 30_000,
    (*ENCODER, ("encoder/layer_0/Relu", "forward")): 10_000,
    (ENCODER[0], ("encoder/layer_1", ""), ("encoder/layer_1/MatMul", "forward")): 20_000,
    (*ENCODER, ("encoder/layer_0/MatMulGrad", "backward")): 60_000,
}
TORCH = [
    event("encoder", 0, 60, cat="user_annotation"),
    event("layer_0", 0, 40, cat="user_annotation"),
    event("MatMul", 0, 30, cat="cpu_op", args={"Sequence number": 7, "Fwd thread id": 0}),
    event("Relu", 30, 10, cat="cpu_op", args={}),
    event("layer_1", 40, 20, cat="user_annotation"),
    event("MatMul", 40, 20, cat="cpu_op", args={}),
    event("MatMulGrad", 70, 60, cat="cpu_op", tid=9, args={"Sequence number": 7, "Fwd thread id": 1}),
]
TENSORFLOW = [
    process(0, "Allocators"),
    process(1, "/job:localhost/replica:0/task:0/device:CPU:0 Compute"),
    process(2, "/job:localhost/replica:0/task:0/device:CPU:0 Tensors"),
    event("MatMul", 0, 30, cat="Op", args={"name": "encoder/layer_0/MatMul", "op": "MatMul"}),
    event("Relu", 30, 10, cat="Op", tid=0, args={"name": "encoder/layer_0/Relu"}),
    event("MatMul", 40, 20, cat="Op", args={"name": "encoder/layer_1/MatMul"}),
    event("MatMulGrad", 70, 60, cat="Op", args={"name": "gradients/encoder/layer_0/MatMulGrad"}),
    event("lives", 0, 500, pid=2, cat="Op", args={"name": "encoder/layer_0/MatMul"}),
]
JAX = [
    process("1", "/host:CPU"),
    event("dot.1", 0, 30, pid="1", tid="7", args={"tf_op": "jit(step)/jit(main)/jvp(encoder)/layer_0/MatMul:"}),
    event("max.2", 30, 10, pid="1", tid="7", args={"tf_op": "jit(step)/jit(main)/jvp(encoder)/layer_0/Relu"}),
    event("dot.3", 40, 20, pid="1", tid="7", args={"tf_op": "jit(step)/jit(main)/jvp(encoder)/layer_1/MatMul"}),
    event("dot.4", 70, 60, pid="1", tid="7", args={"tf_op": "jit(step)/jit(main)/transpose(jvp(encoder))/layer_0/MatMulGrad"}),
    {},
]


@pytest.mark.parametrize("events", [TORCH, TENSORFLOW, JAX], ids=["torch", "tensorflow", "jax"])
def test_one_program_has_one_tree_whichever_profiler_wrote_it(tmp_path, events):
    assert tree(load(tmp_path, events).timeline) == PROGRAM


def test_layers_of_any_profiler_are_alike(tmp_path):
    timeline = load(tmp_path, TENSORFLOW).timeline
    found = account([TracedRound(timeline, (), int(timeline.begin[0]), int(timeline.end[-1]))], 1.2, None, what="operations")
    alike = {part["name"]: part["joules"] for part in found["summarised"] if part["joules"]}
    assert alike["encoder/layer_*/MatMul"] == pytest.approx(0.5, rel=0.2)


def test_a_trace_of_torch_itself():
    found = trace_events.load(REAL)
    assert (found.clock, found.notes) == ("mark", ())
    parts = {(part.name, part.direction): place for place, part in enumerate(found.timeline.parts)}
    calls = {name: int(found.timeline.calls[place]) for name, place in parts.items()}
    # Two steps of a net of two blocks, two linear layers each.
    assert calls["net", ""] == 2
    assert calls["net/block_0", ""] == calls["net/block_1", ""] == 2
    assert calls["net/block_1/aten::addmm", "forward"] == 4
    assert calls["net/block_1/AddmmBackward0", "backward"] == 4
    assert found.timeline.parts[parts["net/block_0/aten::linear", "forward"]].parent == parts["net/block_0", ""]
    # Torch says the same times in its own file: nothing is there twice, and nothing is lost.
    written = [one for one in json.loads(gzip.decompress(REAL.read_bytes()))["traceEvents"] if one.get("name") == "net"]
    inside = sum(
        int(end - begin)
        for begin, end, place in zip(found.timeline.begin, found.timeline.end, found.timeline.part, strict=True)
        if found.timeline.parts[place].name.startswith("net") and found.timeline.parts[place].direction != "backward"
    )
    assert inside == pytest.approx(1000 * sum(one["dur"] for one in written), abs=1000)


def test_a_trace_of_jax_itself():
    found = trace_events.load(JAX_ITSELF)
    assert (found.clock, found.notes) == ("mark", ())
    calls = {(part.name, part.kind): int(count) for part, count in zip(found.timeline.parts, found.timeline.calls, strict=True)}
    # Three steps; on the CPU JAX names the operations, and not what they were part of.
    assert calls["dot", "operation"] == calls["wrapped_tanh", "operation"] == 3
    assert calls["profiler.py:271 stop_trace", "function"] == 1
    assert len({found.timeline.lanes[lane].name for lane in found.timeline.lane}) >= 2


# Lanes


def test_kernels_belong_to_the_operation_that_launched_them(tmp_path):
    events = [
        event("aten::mm", 0, 20, cat="cpu_op", args={"External id": 5}),
        event("cudaLaunchKernel", 5, 5, cat="cuda_runtime", args={"correlation": 31}),
        event("aten::add", 30, 5, cat="cpu_op", args={"External id": 6}),
        event("sgemm<float>", 40, 100, cat="kernel", pid=0, tid=7, args={"correlation": 31, "device": 1, "stream": 7}),
        event("Memcpy", 140, 10, cat="gpu_memcpy", pid=0, tid=7, args={"External id": 6, "device": 1, "stream": 7}),
        event("orphan", 150, 10, cat="kernel", pid=0, tid=7, args={"correlation": 99, "device": 1, "stream": 7}),
        event("net", 40, 120, cat="gpu_user_annotation", pid=0, tid=7),
    ]
    timeline = load(tmp_path, events).timeline
    ran = {
        timeline.parts[place].name: (end - begin) / 1000
        for begin, end, place, lane in zip(timeline.begin, timeline.end, timeline.part, timeline.lane, strict=True)
        if timeline.lanes[lane].device == "gpu-1"
    }
    assert ran == {"aten::mm": 100, "aten::add": 10, "orphan": 10}


def test_a_tensorflow_board_is_counted_once(tmp_path):
    board = "/job:localhost/replica:0/task:0/device:GPU:0"
    names = ["Compute", "stream:all Compute", "stream:13 Compute"]
    events = [process(pid, f"{board}/{name}".replace("/Compute", " Compute")) for pid, name in enumerate(names)]
    events += [event("MatMul", 10 * pid, 5, cat="Op", pid=pid, args={"name": "MatMul"}) for pid in range(3)]
    timeline = load(tmp_path, events).timeline
    assert [timeline.lanes[lane].device for lane in timeline.lane] == ["cpu", "gpu-0"]


def test_a_jax_board_has_its_operations_alone(tmp_path):
    events = [process(3, "/device:TPU:0")]
    events += [
        {"ph": "M", "name": "thread_name", "pid": 3, "tid": tid, "args": {"name": name}}
        for tid, name in enumerate(("XLA Ops", "Steps"))
    ]
    events += [event("fusion", 0, 5, pid=3, tid=0), event("0", 0, 9, pid=3, tid=1)]
    timeline = load(tmp_path, events).timeline
    assert tree(timeline) == {(("fusion", ""),): 5000}
    assert timeline.lanes[timeline.lane[0]].device == "tpu-0"


# Time


def test_pairs_bare_lists_and_thread_time(tmp_path):
    events = [
        {"ph": "B", "name": "outer", "pid": 1, "tid": 1, "ts": 0},
        {"ph": "B", "name": "inner", "pid": 1, "tid": 1, "ts": 10},
        {"ph": "E", "pid": 1, "tid": 1, "ts": 30},
        {"ph": "E", "pid": 1, "tid": 1, "ts": 100},
        event("asleep", 0, 100, tid=2, tdur=10),
    ]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(events))
    timeline = trace_events.read(path)
    assert tree(timeline) == {(("outer", ""),): 80_000, (("outer", ""), ("inner", "")): 20_000, (("asleep", ""),): 100_000}
    busy = {timeline.parts[place].name: seconds for place, seconds in zip(timeline.part, timeline.busy, strict=True)}
    assert busy["asleep"] == pytest.approx(10e-6)
    assert busy["inner"] == pytest.approx(20e-6)


def test_what_does_not_nest_loses_the_shorter_end_and_that_is_said(tmp_path):
    found = load(tmp_path, [event("a", 0, 100), event("b", 90, 60), event("c", 300, 100), event("d", 320, 90)])
    assert tree(found.timeline) == {
        (("a", ""),): 90_000,
        (("b", ""),): 60_000,
        (("c", ""),): 20_000,
        (("c", ""), ("d", "")): 80_000,
    }
    assert found.notes == ("2 of 4 events overlap others of their lane without lying within them: what overlaps less is cut off",)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30), st.integers(0, 2)), min_size=1, max_size=25))
def test_whatever_overlaps_stretches_of_a_lane_are_apart_and_within_what_was_traced(tmp_path_factory, events):
    folder = tmp_path_factory.mktemp("traces")
    given_events = [event(f"e{number}", begin + 1, length + 1, tid=tid) for number, (begin, length, tid) in enumerate(events)]
    timeline = load(folder, given_events).timeline
    covered = defaultdict(set)
    for one in given_events:
        covered[f"1 {one['tid']}"] |= set(range(one["ts"], one["ts"] + one["dur"]))
    seen = defaultdict(list)
    for begin, end, lane in zip(timeline.begin, timeline.end, timeline.lane, strict=True):
        assert end > begin
        seen[timeline.lanes[lane].name] += range(begin // 1000, end // 1000)
    assert all(set(places) <= covered[name] for name, places in seen.items())
    assert seen.keys() == covered.keys()
    assert all(len(places) == len(set(places)) for places in seen.values())


def test_who_calls_itself_is_one_part_and_parents_in_a_circle_do_no_harm(tmp_path):
    events = [
        event("f", 10 * depth, 1000 - 20 * depth, cat="python_function", args={"Python id": 1, "Python parent id": 1})
        for depth in range(40)
    ]
    events += [{"ph": "s", "id": 1, "ts": 0}, {"ph": "f", "id": 1, "ts": 0, "bp": "e"}]
    timeline = load(tmp_path, events).timeline
    assert [(part.name, part.parent) for part in timeline.parts] == [("f", None)]
    assert timeline.calls.tolist() == [40]


# Clocks


def test_a_mark_anchors_any_clock(tmp_path):
    name = trace_clock.mark()
    found = load(tmp_path, [event(name, 500, 1), event("a", 600, 50)])
    assert (found.clock, len(found.timeline.parts)) == ("mark", 1)
    assert found.timeline.begin[0] - int(name.rpartition(" ")[2]) == 100_000


def test_viztracer_has_our_clock_and_its_events_are_functions(tmp_path):
    events = [event("main (a.py:1)", 5e9, 50, cat="fee"), event("time.sleep", 5e9 + 10, 20, cat="fee")]
    found = load(tmp_path, events, viztracer_metadata={"version": "1.1.1"})
    assert found.clock == "wall"
    assert found.timeline.begin[0] == 5e12
    assert [(part.kind, part.parent) for part in found.timeline.parts] == [("function", None), ("function", 0)]


@pytest.mark.parametrize("where", ["torch", "tensorflow"])
def test_the_time_of_day_becomes_the_clock_of_the_readings(tmp_path, where):
    unix, now = time.time_ns(), time.perf_counter_ns()
    facts = {"torch": {"baseTimeNanoseconds": unix}}
    begin = unix / 1000 if where == "tensorflow" else 0.5
    found = load(tmp_path, [event("a", begin, 50), event("b", begin + 60, 1)], **facts.get(where, {}))
    assert found.clock == "unix"
    assert abs(found.timeline.begin[0] - now) < 50_000_000


# Damage


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"time,joules\n1,2\n", "it is no JSON: it begins with 't'"),
        (b'{"a": 1}', "it has no traceEvents"),
        (json.dumps({"traceEvents": [EVENT, EVENT]}).encode()[:-20], "it ends in the middle"),
        (b'{"traceEvents": [{"ph": "X", "name": nonsense}, {}]}', "it is no JSON from character 17 on"),
        (b'{"traceEvents": [], "more": {"a": ', "it ends in the middle"),
        (b"[[1]]", "an entry of its events is '[1]', not an event"),
        (b"[] []", "something follows behind its end"),
        (b"[" * 100_000, "too many brackets in brackets"),
        (b"[]", "it has no events with a duration"),
        (gzip.compress(json.dumps([EVENT] * 99).encode())[:-12], "it ends in the middle of its compression"),
        (gzip.compress(b"[]")[:10] + b"nonsense that is not deflated", "its compression is damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_file_is_refused_by_one_sentence(tmp_path, content, says):
    path = tmp_path / "trace.json"
    path.write_bytes(content)
    with pytest.raises(TraceError) as raised:
        trace_events.load(path)
    assert str(path) in str(raised.value)
    assert says in str(raised.value)
    assert str(raised.value).count("\n") == 0


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([EVENT, {**EVENT, "dur": -1}], "event 2 ('a') ends before it begins: its dur is -1"),
        ([{**EVENT, "ts": "soon"}], "event 1 ('a') has no time: its ts is 'soon'"),
        ([{**EVENT, "ts": None}], "has no time: its ts is 'None'"),
        ([{**EVENT, "dur": 1e300}], "has no time: its dur is '1e+300'"),
        ([EVENT, {**EVENT, "ts": 0, "dur": 0}], "1 of its 2 events have neither a time nor a duration"),
        ([{**EVENT, "dur": 0}], "none of its events has a duration"),
        ([{**EVENT, "name": ""}, {**EVENT, "name": 5}], "none of its events has a name"),
        ([process(1, "Allocators"), EVENT], "none of its events is work"),
    ],
)
def test_events_that_tell_no_time_are_refused(tmp_path, events, says):
    with pytest.raises(TraceError) as raised:
        load(tmp_path, events)
    assert says in str(raised.value)


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just([[]]) | st.just({"a": {}})
KEYS = ["ph", "ts", "dur", "name", "cat", "pid", "tid", "args", "tdur", "tts", "id"]
PHASES = st.sampled_from(["X", "B", "E", "M", "i", "s", "process_name"])
EVENTS = st.fixed_dictionaries({"ph": PHASES | ANYTHING}, optional={key: ANYTHING | st.integers(0, 9) for key in KEYS[1:]})


@settings(max_examples=150, deadline=None)
@given(
    st.lists(EVENTS | ANYTHING, max_size=6),
    st.dictionaries(st.sampled_from(["baseTimeNanoseconds", "viztracer_metadata"]), ANYTHING),
)
def test_whatever_stands_in_it_it_is_a_timeline_or_one_sentence(tmp_path_factory, events, facts):
    path = tmp_path_factory.mktemp("any") / "trace.json"
    path.write_text(json.dumps({**facts, "traceEvents": [EVENT, *events]}))
    try:
        timeline = trace_events.read(path)
    except TraceError as error:
        assert str(path) in str(error)
    else:
        assert (timeline.end > timeline.begin).all()
        assert ((timeline.busy >= 0) & (timeline.busy <= (timeline.end - timeline.begin) / 1e9 + 1e-12)).all()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(TraceError, match="there is no such file"):
        trace_events.load(tmp_path / "trace.json")


def test_some_without_a_name_or_an_end_are_kept_and_said(tmp_path):
    events = [EVENT, {**EVENT, "name": None, "ts": 20}, {"ph": "B", "name": "b", "ts": 30}, {"ph": "E", "tid": 4, "ts": 1}]
    found = load(tmp_path, [*events, {"ph": "B", "name": "c", "ts": 50}])
    assert ("(unnamed)", "") in {path[-1] for path in tree(found.timeline)}
    assert found.notes[0] == "1 events have no name: they are (unnamed)"
    assert any("ended and never begun" in note for note in found.notes)
    assert any("begun and never ended" in note for note in found.notes)


def test_a_long_file_is_read_in_steps_with_parts_of_events_at_their_ends(tmp_path, monkeypatch):
    events = [event(f"né{number}", 10 * number + 1, 5, args={"text": "x" * 50}) for number in range(300)]
    path = tmp_path / "trace.json.gz"
    whole = json.dumps({"first": [1, 2], "traceEvents": events, "baseTimeNanoseconds": 12}, indent=1, ensure_ascii=False).encode()
    path.write_bytes(b"".join(gzip.compress(part) for part in (whole[:5000], whole[5000:])))
    monkeypatch.setattr(trace_file, "_STEP", 101)
    file = trace_file.TraceFile(path)
    assert list(file.events()) == events
    assert file.facts == {"first": [1, 2], "baseTimeNanoseconds": 12}
