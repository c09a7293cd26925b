"""Where baselines stand: in the project, under ``.joules/<machine-id>/<NAME>.json``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_joules.baseline.contents import BaselineError
from pytest_joules.files import reading
from pytest_joules.files.checked import shown
from pytest_joules.settings.values import BASELINE_NAME, BASELINES

#: What the names of those end in that a smaller one of the same name took the place of.
PREVIOUS = ".previous"
SET_ASIDE = re.compile(rf"{re.escape(PREVIOUS)}(-\d+)?$")


@dataclass(frozen=True, slots=True)
class Entry:
    """A baseline that was found; nothing but its head has been read."""

    machine_id: str
    name: str
    path: Path
    created: str
    cpu: str

    @property
    def set_aside(self) -> bool:
        """What a smaller one of the same name took the place of."""
        return SET_ASIDE.search(self.name) is not None


def path_of(folder: Path, machine_id: str | None, name: str) -> Path:
    """Where the baseline of this name stands. Raises :class:`BaselineError` for what is no name."""
    if not BASELINE_NAME.fullmatch(name):
        raise BaselineError(f"{shown(name)} is not the name of a baseline: write letters, digits, '.', '_' and '-', such as main")
    return folder / (machine_id or "unknown") / f"{name}.json"


def entries(folder: Path) -> list[Entry]:
    """All baselines below ``folder``, by machine, the oldest first."""
    found = []
    for path in folder.glob("*/*.json"):
        if not (BASELINE_NAME.fullmatch(path.stem) and BASELINE_NAME.fullmatch(path.parent.name)):
            continue  # somebody else's
        head = ""
        with suppress(OSError):  # there, but unreadable: whoever asks for it is told why
            head = reading.head(path, 8192).decode("utf-8", "replace")
        created, cpu = (re.search(rf'"{key}": *"([^"\x00-\x1f\x7f-\x9f]*)"', head) for key in ("created", "cpu"))
        found.append(Entry(path.parent.name, path.stem, path, created[1] if created else "", cpu[1] if cpu else "unknown"))
    return sorted(found, key=lambda entry: (entry.machine_id, entry.created, entry.name))


def find(folder: Path, machine_id: str | None, name: str | None) -> Path:
    """The baseline of this name, or the latest where there is none: of this machine, else of another (see :func:`differences`).

    Raises:
        BaselineError: there is none; the message says which there are.
    """
    known = entries(folder)
    if name:
        path_of(folder, machine_id, name)
        candidates = [entry for entry in known if entry.name == name]
    else:
        # One that cannot be read is not the latest: nobody asked for it by name.
        whole = [entry for entry in known if entry.created and not entry.set_aside]
        candidates = whole or known
    own = [entry for entry in candidates if entry.machine_id == machine_id]
    if candidates:
        return max(own or candidates, key=lambda entry: (entry.created, entry.name)).path
    if not known:
        raise BaselineError(f"there is no baseline in {folder}: make one with pytest --energy --energy-save={name or 'main'}")
    raise BaselineError(
        f"there is no baseline {name!r} in {folder}, but {_listed(known, machine_id)}. Save one with --energy-save."
    )


def _listed(known: Iterable[Entry], machine_id: str | None) -> str:
    machines: dict[str, list[Entry]] = {}
    for entry in known:
        machines.setdefault(entry.machine_id, []).append(entry)
    parts = []
    for machine, there in sorted(machines.items(), key=lambda pair: pair[0] != machine_id):
        names = [entry.name for entry in reversed(there)]
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        where = "of this machine" if machine == machine_id else f"of machine {machine} ({there[-1].cpu})"
        parts.append(f"{', '.join(names[:8])}{more} {where}")
    return "; ".join(parts)


def nearest(folder: Path) -> Path | None:
    """``.joules`` in ``folder`` or the nearest one above it."""
    return next((place for up in (folder, *folder.parents) if (place := up / BASELINES).is_dir()), None)
