"""Recording the modules of a torch module that a test names: hooks on what is passed in; nothing is imported."""

from __future__ import annotations

import sys
from _thread import get_ident
from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol, cast

from pytest_joules.account.events import BACK, CALLED, LEFT, MARK, Event, Recorded
from pytest_joules.account.timeline import Part, Pass
from pytest_joules.clock import CLOCKS


class Handle(Protocol):
    def remove(self) -> None: ...


#: What a model must have.
_NEEDED = ("named_modules", "register_forward_pre_hook", "register_forward_hook", "parameters")


def is_model(what: object) -> bool:
    """Whether it is a torch module, or behaves like one."""
    return not isinstance(what, type) and all(callable(getattr(what, name, None)) for name in _NEEDED)


class Modules:
    """Records the modules of models in the bodies of traced rounds."""

    def __init__(self, devices: Collection[str], quiesce: Callable[[], object] | None) -> None:
        """``devices``: domains that are measured; ``quiesce``: waits for work that was started on them."""
        self.notes: list[str] = []
        self.models = 0
        """That the round names which runs or ran last."""
        self._devices = devices
        self._quiesce = quiesce
        self._waits = False
        self._events: list[Event] = []
        self._parts: dict[object, Part] = {}
        self._lanes: dict[int, str] = {}
        self._handles: list[Handle] = []
        self._hooked: dict[int, object] = {}
        self._device: str | None = None
        self._in_pass = False

    def enter(self) -> None:
        """A body begins."""
        self._events, self._parts = [], {}
        self._hooked.clear()
        self.models, self._waits, self._device, self._in_pass = 0, False, None, False
        self._note(None, MARK)

    def leave(self) -> Recorded:
        """It has ended, however that went: no hook stays."""
        self._note(None, MARK)
        handles, self._handles = self._handles, []
        for handle in handles:
            handle.remove()
        devices = dict.fromkeys(self._lanes, self._device) if self._device is not None else {}
        events, self._events = self._events, []
        return Recorded(events, self._parts, dict(self._lanes), devices={key: name for key, name in devices.items() if name})

    def trace(self, model: object) -> None:
        """Hook the modules of a model; those that are hooked already stay as they are."""
        whole = cast(Any, model)
        self.models += 1
        self._place(whole)
        kind = type(whole).__name__
        taken = {part.name for part in self._parts.values()}
        root, number = kind, 1
        while root in taken:
            number += 1
            root = f"{kind} {number}"
        modules = [(name, module) for name, module in whole.named_modules() if id(module) not in self._hooked]
        in_place = next((name or root for name, module in modules if getattr(module, "inplace", False) is True), None)
        if in_place is not None:
            self._say(f"backward passes are not apart: {in_place} works in place")
        for name, module in modules:
            self._hooked[id(module)] = module
            label = f"{root}.{name}" if name and number > 1 else name or root
            self._hook(module, label, backward=in_place is None)

    def _place(self, model: Any) -> None:  # noqa: ANN401 - of torch, which is not imported
        """On which device it is."""
        found = {str(getattr(parameter, "device", "cpu")) for parameter in _some(model.parameters())}
        away = sorted(name for name in found if name.partition(":")[0] not in ("cpu", "meta"))
        if not away:
            return
        kind, _, index = away[0].partition(":")
        domain = f"gpu-{index or 0}" if kind == "cuda" else kind
        if self._quiesce is not None and kind == "cuda":
            self._waits = True
        if domain not in self._devices:
            self._say(f"the model is on {away[0]}, whose joules no counter here counts: those of the host are shared out")
        elif not self._waits:
            self._say(f"the model is on {away[0]}, and nothing waits for it: those of the host are shared out")
        else:
            self._device = domain
        if len(away) > 1:
            self._say(f"the model is on several devices ({', '.join(away)}): all of it counts as on {away[0]}")

    def _hook(self, module: Any, name: str, *, backward: bool) -> None:  # noqa: ANN401 - as above
        key, note = id(module), self._note
        forward = self._part(key, name, "forward")
        self._handles.append(module.register_forward_pre_hook(lambda *_: note(forward, CALLED)))

        def ended(*_: object) -> None:
            note(forward, LEFT)

        try:
            # Also where it raises.
            self._handles.append(module.register_forward_hook(ended, always_call=True))
        except TypeError:  # before torch 2.1: what is around it ends it
            self._handles.append(module.register_forward_hook(ended))
        before = getattr(module, "register_full_backward_pre_hook", None)
        after = getattr(module, "register_full_backward_hook", None)
        if not backward or before is None or after is None:
            return
        back = self._part(key, name, "backward")

        def begins(*_: object) -> None:
            self._ends_with_pass()
            note(back, CALLED)

        def done(_module: object, inputs: Iterable[object], _outputs: object) -> None:
            # Without gradients of its inputs it is told at once: then it goes on until the next one, or the pass has ended.
            if not isinstance(inputs, tuple) or any(gradient is not None for gradient in inputs):
                note(back, LEFT)

        self._handles += [before(begins), after(done)]

    def _part(self, key: int, name: str, direction: Pass) -> tuple[int, str]:
        self._parts[key, direction] = Part(name, None, "module", direction)
        return key, direction

    def _ends_with_pass(self) -> None:
        """Let a backward pass tell its end."""
        torch: Any = sys.modules.get("torch")
        if self._in_pass or torch is None:
            return
        try:
            torch.autograd.Variable._execution_engine.queue_callback(self._pass_ended)
        except (AttributeError, RuntimeError):
            return
        self._in_pass = True

    def _pass_ended(self) -> None:
        self._in_pass = False
        self._note(None, BACK)

    def _note(self, key: object, does: int) -> None:
        if self._waits and self._quiesce is not None:
            self._quiesce()
        me = get_ident()
        if me not in self._lanes:
            self._lanes[me] = "main" if not self._lanes else f"thread {len(self._lanes) + 1}"
        self._events.append((CLOCKS.wall(), me, key, does, (CLOCKS.thread(), CLOCKS.cpu()), 0))

    def _say(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _some(values: Iterable[object]) -> Iterable[object]:
    """Enough to know where a model is."""
    for number, value in enumerate(values):
        if number >= 1000:
            return
        yield value
