"""A baseline as JSON that people can read and merge: a test a line, what the tests share said once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from pytest_joules.baseline.contents import SCHEMA, Baseline, BaselineTest
from pytest_joules.files import strict_json
from pytest_joules.model import KeptAccount, KeptPart


def write(baseline: Baseline, file: TextIO) -> None:
    """The baseline as JSON: shared facts first, then a line a function, a line a source file, a line a test in the order of their
    node ids.

    A function is a pair of place and hash; tests refer to the list of them by number, as ``"0-4 7"``. Functions of a file that
    is mended keep their numbers, so that the lines of other tests stay as they are.
    """
    tests = {nodeid: baseline.tests[nodeid] for nodeid in sorted(baseline.tests)}
    usual = _usual(tests.values())
    added = {pair for test in tests.values() for pair in test.functions.items()}.difference(baseline.order)
    functions = [*baseline.order, *sorted(added)]
    numbers = {pair: number for number, pair in enumerate(functions)}
    shared: dict[str, object] = {
        "schema": SCHEMA,
        "created": baseline.created,
        "plugin": baseline.plugin,
        "commit": baseline.commit,
        "machine": baseline.machine,
        "settings": baseline.settings,
        "sources": baseline.sources,
        "usual": usual,
        **({"counting": baseline.counting} if baseline.counting is not None else {}),
    }
    file.write("{\n")
    for key, value in shared.items():
        file.write(f"{strict_json.text(key)}: {strict_json.text(value)},\n")
    _write_lines(file, '"functions": [', (strict_json.text(pair) for pair in functions), "],\n")
    texts = (f"{strict_json.text(path)}: {strict_json.text(said)}" for path, said in sorted(baseline.texts.items()))
    _write_lines(file, '"texts": {', texts, "},\n")
    lines = (
        f"{strict_json.text(nodeid)}: {strict_json.text(_test_line(test, usual, numbers))}" for nodeid, test in tests.items()
    )
    _write_lines(file, '"tests": {', lines, "}\n")
    file.write("}\n")


#: What is said of instructions by a verdict on them.
_JUDGED = ("budget", "comparison")


def _usual(tests: Iterable[BaselineTest]) -> dict[str, object]:
    """The most common values, which are said once."""
    counts: dict[str, Counter[object]] = {}
    for test in tests:
        for name, value in _how(test).items():
            counts.setdefault(name, Counter())[value] += 1
    return {name: values.most_common(1)[0][0] for name, values in counts.items()}


def _how(test: BaselineTest) -> dict[str, object]:
    return {name: value for name, value in test.record.items() if name != "notes"}


def _write_lines(file: TextIO, head: str, lines: Iterable[str], tail: str) -> None:
    file.write(head)
    for number, line in enumerate(lines):
        file.write(("," if number else "") + "\n" + line)
    file.write("\n" + tail)


def _test_line(test: BaselineTest, usual: Mapping[str, object], numbers: Mapping[tuple[str, str], int]) -> dict[str, object]:
    energy = test.energy
    line: dict[str, object] = {
        "median": energy["median"] if energy else None,
        "ci95": energy["ci95"] if energy else None,
        "joules": test.samples,
        "seconds": test.durations,
    }
    line |= {name: value for name, value in _how(test).items() if value != usual[name]}
    said = {"notes": test.record["notes"], "created": test.created, "commit": test.commit}
    line |= {name: value for name, value in said.items() if value}
    if test.instructions is not None:
        line["instructions"] = {name: value for name, value in test.instructions.items() if name not in _JUDGED}
    if test.account is not None:
        line["account"] = _account_line(test.account)
    if test.fingerprint is not None:
        line["code"] = test.fingerprint
    if test.functions:
        line["functions"] = _ranges(sorted(numbers[pair] for pair in test.functions.items()))
    return line


def _account_line(account: KeptAccount) -> dict[str, object]:
    """Joules with four digits: intervals of accounts are wider."""

    def part(one: KeptPart) -> dict[str, object]:
        said = {name: one[name] for name in ("direction", "device") if one[name] not in ("", "cpu")}
        ends = [float(f"{end:.4g}") for end in one["ci95"]] if one["ci95"] is not None else None
        return {"name": one["name"], **said, "joules": float(f"{one['joules']:.4g}"), "ci95": ends}

    parts = [part(one) for one in account["parts"]]
    return {"what": account["what"], "parts": parts, "unattributed": part(account["unattributed"])}


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending whole numbers, neighbours as ``first-last``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
