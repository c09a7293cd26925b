"""Recording modules: hooks on what behaves like a torch module, gone when the body has ended."""

from __future__ import annotations

import pytest

from pytest_joules.account.events import timeline
from pytest_joules.account.modules import Modules, is_model


class Handle:
    def __init__(self, hooks, hook):
        self.hooks, self.hook = hooks, hook
        hooks.append(hook)

    def remove(self):
        self.hooks.remove(self.hook)


class Parameter:
    def __init__(self, device="cpu"):
        self.device = device


class Fake:
    """Has the hooks of a torch module, and nothing else of torch."""

    always = True

    def __init__(self, work=None, device="cpu", **children):
        self.work, self.children, self.device = work, children, device
        self.before, self.after, self.back_before, self.back_after = [], [], [], []

    def named_modules(self, prefix="", seen=None):
        seen = set() if seen is None else seen
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, child in self.children.items():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name, seen)

    def parameters(self):
        return [Parameter(self.device)]

    def register_forward_pre_hook(self, hook):
        return Handle(self.before, hook)

    def register_forward_hook(self, hook, **more):
        if more and not self.always:
            raise TypeError("unexpected keyword argument 'always_call'")
        return Handle(self.after, hook)

    def register_full_backward_pre_hook(self, hook):
        return Handle(self.back_before, hook)

    def register_full_backward_hook(self, hook):
        return Handle(self.back_after, hook)

    def __call__(self):
        for hook in self.before:
            hook(self, ())
        try:
            for child in self.children.values():
                child()
            if self.work is not None:
                self.work()
        finally:
            for hook in self.after if self.always else ():
                hook(self, (), None)

    def backward(self, known=True):
        for hook in self.back_before:
            hook(self, ())
        for child in reversed(self.children.values()):
            child.backward(known)
        for hook in self.back_after:
            hook(self, (object() if known else None,), ())

    @property
    def hooks(self):
        own = [*self.before, *self.after, *self.back_before, *self.back_after]
        return own + [hook for child in self.children.values() for hook in child.hooks]


def record(model, run, devices=(), quiesce=None):
    recorder = Modules(devices, quiesce)
    recorder.enter()
    recorder.trace(model)
    try:
        run()
    finally:
        recorded = recorder.leave()
    assert model.hooks == []
    return timeline(recorded), recorder


def paths(found):
    names = []
    for part in found.parts:
        own = part.name + ("'" if part.direction == "backward" else "")
        names.append(own if part.parent is None else f"{names[part.parent]}/{own}")
    return dict(zip(names, found.calls.tolist(), strict=True))


def fails():
    raise KeyError


def test_forward_and_backward():
    model = Fake(first=Fake(), second=Fake(inner=Fake()))

    def run():
        model()
        model()
        model.backward()

    found, recorder = record(model, run)
    assert paths(found) == {
        "Fake": 2,
        "Fake/first": 2,
        "Fake/second": 2,
        "Fake/second/second.inner": 2,
        "Fake'": 1,
        "Fake'/second'": 1,
        "Fake'/second'/second.inner'": 1,
        "Fake'/first'": 1,
    }
    assert recorder.notes == []


def test_a_shared_module_has_one_name():
    shared = Fake()
    model = Fake(first=shared, second=shared)
    found, _ = record(model, model)
    assert paths(found) == {"Fake": 1, "Fake/first": 2}


@pytest.mark.parametrize("always", [True, False])
def test_a_module_that_raises(always, monkeypatch):
    monkeypatch.setattr(Fake, "always", always)
    broken = Fake(work=fails)
    model = Fake(broken=broken)

    def run():
        for _ in range(2):
            with pytest.raises(KeyError):
                broken()
        recorded.extend(model.hooks)

    recorded = []
    found, _ = record(model, run)
    assert recorded
    assert paths(found)["broken"] == 2 if always else paths(found)


def test_a_round_that_fails_leaves_no_hook():
    model = Fake(work=fails)
    with pytest.raises(KeyError):
        record(model, model)
    assert model.hooks == []


def test_what_works_in_place_has_no_backward_pass():
    relu = Fake()
    relu.inplace = True
    model = Fake(relu=relu)
    found, recorder = record(model, lambda: (model(), model.backward()))
    assert paths(found) == {"Fake": 1, "Fake/relu": 1}
    assert recorder.notes == ["backward passes are not apart: relu works in place"]


def test_two_models():
    model, other = Fake(part=Fake()), Fake(part=Fake())
    recorder = Modules((), None)
    recorder.enter()
    for one in (model, other, model):
        recorder.trace(one)
    model()
    other()
    assert set(paths(timeline(recorder.leave()))) == {"Fake", "Fake/part", "Fake 2", "Fake 2/Fake 2.part"}


def test_a_device_with_a_counter():
    waited = []
    model = Fake(device="cuda:0")
    found, recorder = record(model, model, devices=("package-0", "gpu-0"), quiesce=lambda: waited.append(1))
    assert recorder.notes == []
    assert [lane.device for lane in found.lanes] == ["cpu", "gpu-0"]
    assert len(waited) == 3  # before each look at the clock but the first
    mine = found.lane == 1
    ran = found.part[mine] >= 0
    assert found.busy[mine][ran] == pytest.approx((found.end - found.begin)[mine][ran] / 1e9)
    assert not found.busy[mine][~ran].any()


@pytest.mark.parametrize(
    ("device", "devices", "quiesce", "said"),
    [
        ("cuda:1", ("gpu-0",), lambda: None, "the model is on cuda:1, whose joules no counter here counts"),
        ("cuda:0", ("gpu-0",), None, "the model is on cuda:0, and nothing waits for it"),
        ("mps:0", (), None, "the model is on mps:0, whose joules no counter here counts"),
    ],
)
def test_a_device_without(device, devices, quiesce, said):
    model = Fake(device=device)
    found, recorder = record(model, model, devices=devices, quiesce=quiesce)
    assert len(recorder.notes) == 1 and recorder.notes[0].startswith(said)
    assert [lane.device for lane in found.lanes] == ["cpu"]


def test_what_is_a_model():
    assert is_model(Fake())
    assert not any(map(is_model, (Fake, 7, "model", object())))
