"""Records of where inside a test its joules go (see :mod:`pytest_joules.account`)."""

from __future__ import annotations

from typing import Literal, TypedDict

#: How the joules were shared out: with watts of their own for each part, or by CPU time (a device: its seconds) alone.
SharedBy = Literal["regression", "busy time", "seconds"]


class PartRecord(TypedDict):
    """A part wherever it ran, or several alike ones; what ran below it is not in it. All of one iteration of the test."""

    name: str
    kind: Literal["function", "module", "operation"]
    direction: Literal["", "forward", "backward"]
    device: str
    """``cpu``, or the domain of the device that it ran on."""
    joules: float
    ci95: list[float] | None
    """Both ends of the 95 % interval of the joules."""
    share: float
    """Of the test's joules."""
    seconds: float
    """In which it was what ran, asleep or not."""
    busy: float
    """CPU-seconds; of a device: seconds that it worked."""
    watts: float | None
    """Joules over seconds."""
    calls: float
    same: list[str]
    """Other parts that it cannot be told apart from: the joules are those of all of them together."""


class NodeRecord(TypedDict):
    """A part at its place in the tree."""

    name: str
    direction: Literal["", "forward", "backward"]
    joules: float
    """With all that ran below it."""
    own: float
    """Joules without."""
    seconds: float
    """With all that ran below it."""
    calls: float
    children: list[NodeRecord]
    """The dearest first."""


class KeptPart(TypedDict):
    """What a baseline keeps of a part."""

    name: str
    direction: str
    device: str
    joules: float
    ci95: list[float] | None


class KeptAccount(TypedDict):
    """What a baseline keeps of an account, so that a regression can say where it is."""

    what: str
    parts: list[KeptPart]
    unattributed: KeptPart


class SimilarityRecord(TypedDict):
    """Pearson correlation of accounts, as the literature reports it: it is no error, and a wrong account can have .99."""

    sparser: dict[str, float]
    """With every n-th reading of the counter, by n."""
    more_runs: float | None
    """Of half the traced rounds with all of them."""
    between_runs: float | None
    """The median over pairs of traced rounds."""


class GrownRecord(TypedDict):
    """A part that costs more than on the other side of a comparison; made by :mod:`pytest_joules.report.account_growth`."""

    name: str
    direction: Literal["", "forward", "backward"]
    device: str
    before: float | None
    """Joules; ``None``: it did not run."""
    now: float
    """Joules."""
    sure: bool
    """Their 95 % intervals lie apart; if not, it is within the noise."""


class AccountRecord(TypedDict):
    """Made by :func:`pytest_joules.account.accounting.account`."""

    what: Literal["functions", "modules", "operations"]
    joules: float
    """Of one iteration of the test, as its measured rounds have it: parts and ``unattributed`` add up to it."""
    shared_by: SharedBy
    why: str | None
    """Why not by regression."""
    idle_watts: float | None
    """Drawn whatever runs, as the traced rounds tell it."""
    rounds: int
    """Traced ones."""
    tree: list[NodeRecord]
    flat: list[PartRecord]
    """The dearest first."""
    summarised: list[PartRecord]
    """The same with alike parts as one: ``encoder.layer.*.attention``. Empty where none are alike."""
    unattributed: PartRecord
    """What no part accounts for."""
    conservation: float
    """By how much parts and ``unattributed`` differ from ``joules``, relative."""
    against_counter: float | None
    """Joules that the model gives the traced rounds, over what the counter had counted."""
    similarity: SimilarityRecord | None
    grown: list[GrownRecord]
    """What costs more than on the other side of a comparison, the worst first; empty where there is none."""
    notes: list[str]


def kept(account: AccountRecord) -> KeptAccount:
    """Of an account, what a baseline keeps."""
    return {
        "what": account["what"],
        "parts": [_kept_part(part) for part in account["flat"]],
        "unattributed": _kept_part(account["unattributed"]),
    }


def _kept_part(part: PartRecord) -> KeptPart:
    return {
        "name": part["name"],
        "direction": part["direction"],
        "device": part["device"],
        "joules": part["joules"],
        "ci95": part["ci95"],
    }


def brought_to(account: AccountRecord, joules: float) -> AccountRecord:
    """The same shares of other joules of the test: those of all blocks, where it was made beside one of them."""
    if not account["joules"] > 0:
        return account
    factor = joules / account["joules"]

    def part(one: PartRecord) -> PartRecord:
        ends = [end * factor for end in one["ci95"]] if one["ci95"] is not None else None
        watts = one["watts"] * factor if one["watts"] is not None else None
        return {**one, "joules": one["joules"] * factor, "ci95": ends, "watts": watts}

    def node(one: NodeRecord) -> NodeRecord:
        children = [node(child) for child in one["children"]]
        return {**one, "joules": one["joules"] * factor, "own": one["own"] * factor, "children": children}

    return {
        **account,
        "joules": joules,
        "tree": [node(one) for one in account["tree"]],
        "flat": [part(one) for one in account["flat"]],
        "summarised": [part(one) for one in account["summarised"]],
        "unattributed": part(account["unattributed"]),
    }
