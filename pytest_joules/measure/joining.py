"""The blocks of one test become one measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from pytest_joules import stats
from pytest_joules.measure import scores
from pytest_joules.model import FEWER_ROUNDS, AccountRecord, Record, SampleRecord, Summary, WorkRecord, brought_to

T = TypeVar("T")


def joined(records: Sequence[Record]) -> Record:
    """One record of several of the same test: all samples in measured order, summarised anew. Raises ``ValueError`` for none."""
    if not records:
        raise ValueError("no records")
    first = records[0]
    if len(records) == 1:
        return first
    samples = [sample for record in records for sample in record["samples"]]
    notes = list(first["notes"])
    # How sharply a block could be shared out differs a little from block to block: one of these notes is enough.
    kinds = {note.partition(",")[0] for note in notes}
    for record in records[1:]:
        notes += [note for note in record["notes"] if note not in notes and note.partition(",")[0] not in kinds]
    if len(samples) > 1:
        # What is said of the rounds of a block is not true of all blocks together.
        notes = [note for note in notes if not FEWER_ROUNDS.fullmatch(note)]
    energy = _summary([record["energy"] for record in records], records, lambda sample: sample["energy"])
    scored = scores.joined([record["score_details"] for record in records])
    return {
        **first,
        "samples": samples,
        "rounds": sum(record["rounds"] for record in records),
        "energy": energy,
        "work": _work(records, energy),
        "scores": {**first["scores"], **{name: score["value"] for name, score in scored.items()}},
        "score_details": scored,
        "account": _account(records, energy),
        "duration": stats.summarise([sample["duration"] for sample in samples]),
        "power": _summary([record["power"] for record in records], records, _watts),
        "tsc": stats.summarise([sample["tsc"] for sample in samples if sample["tsc"] is not None]),
        "domains": {
            name: _summary([record["domains"].get(name) for record in records], records, _of_domain(name))
            for name in first["domains"]
        },
        "phases": {
            "setup": stats.median_of_known([record["phases"]["setup"] for record in records]),
            "call": stats.median_of_known([record["phases"]["call"] for record in records]),
            "teardown": stats.median_of_known([record["phases"]["teardown"] for record in records]),
        },
        "net_energy": stats.median_of_known([record["net_energy"] for record in records]),
        "own_share": stats.median_of_known([record["own_share"] for record in records]),
        "provenance": _worst([record["provenance"] for record in records], ("unavailable", "shared", "attributed")),
        "resolution": _worst([record["resolution"] for record in records], ("below", "apportioned")),
        "code": next((record["code"] for record in records if record["code"] is not None), None),
        "notes": notes,
    }


def _summary(
    blocks: Sequence[Summary | None], records: Sequence[Record], of: Callable[[SampleRecord], float | None]
) -> Summary | None:
    """Of the samples of all blocks. Where joules are a share, what a block's interval allows for beside the scatter is true of
    all blocks together: the widest is taken; where no block has one, there is none."""
    values = [[value for sample in record["samples"] if (value := of(sample)) is not None] for record in records]
    whole = stats.summarise([value for block in values for value in block])
    if whole is None or whole["ci95"] is None or all(record["provenance"] != "attributed" for record in records):
        return whole
    factors = []
    for summary, block in zip(blocks, values, strict=True):
        plain = stats.summarise(block)
        if summary is not None and summary["ci95"] is not None and plain is not None and plain["ci95"] is not None:
            factors.append([wide / narrow for wide, narrow in zip(summary["ci95"], plain["ci95"], strict=True) if narrow > 0])
    sound = [(ends[0], ends[1]) for ends in factors if len(ends) == 2]
    if not sound:
        return {**whole, "ci95": None}
    return stats.widened(whole, (min(low for low, _ in sound), max(high for _, high in sound)))


def _watts(sample: SampleRecord) -> float | None:
    return sample["energy"] / sample["duration"] if sample["energy"] is not None and sample["duration"] > 0 else None


def _of_domain(name: str) -> Callable[[SampleRecord], float | None]:
    return lambda sample: sample["domains"].get(name)


def _account(records: Sequence[Record], energy: Summary | None) -> AccountRecord | None:
    """Of the block that has one, with the joules of all."""
    found = next((record["account"] for record in reversed(records) if record["account"] is not None), None)
    return brought_to(found, energy["median"]) if found is not None and energy is not None else found


def _work(records: Sequence[Record], energy: Summary | None) -> dict[str, WorkRecord]:
    """The work of a round, with the joules of all blocks."""
    found: dict[str, WorkRecord] = {}
    for name in records[0]["work"]:
        amounts = [record["work"][name]["amount"] for record in records if name in record["work"]]
        amount = stats.median_of_known(amounts)
        found[name] = {"amount": amount, "joules_per_unit": energy["median"] / amount if energy is not None and amount else None}
    return found


def numbered(records: Sequence[Record]) -> list[Record]:
    """The blocks of a test, each sample with the number of its block."""
    return [
        {**record, "samples": [{**sample, "block": number} for sample in record["samples"]]}
        for number, record in enumerate(records, 1)
    ]


def undisturbed(pairs: Sequence[tuple[Record, Record]]) -> list[tuple[Record, Record]]:
    """Without the blocks that others disturbed on either side, if two or more are left and no fewer than half."""
    clean = [pair for pair in pairs if all(record["provenance"] != "shared" for record in pair)]
    return clean if len(clean) >= max(2, len(pairs) / 2) else list(pairs)


def _worst(values: Sequence[T], order: Sequence[T]) -> T:
    """The first of ``order`` that occurs; else what the first block has."""
    return next((word for word in order if word in values), values[0])
