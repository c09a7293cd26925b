"""What was predicted, for a terminal: the flagged tests one by one before they run, and afterwards what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from pytest_joules.model import PredictingRecord, PredictionRecord, ReportedPredicting
from pytest_joules.report import quantity
from pytest_joules.report.comparison import dotted, indented, some
from pytest_joules.report.text import sentence, whole

#: Reasons in a list before "and N more".
_FEW = 3


def lines(
    predictions: Mapping[str, PredictionRecord],
    account: PredictingRecord,
    width: int,
    rows: int | None = None,
    encoding: str = "utf-8",
) -> list[str]:
    """The section before tests run, no line wider than ``width``.

    ``rows`` is how many flagged tests are shown at most (``None`` or 0: all), the worst first.
    """
    flagged = sorted((nodeid for nodeid, entry in predictions.items() if entry["flagged"]), key=_badness(predictions))
    shown = flagged[:rows] if rows else flagged
    result: list[str] = []
    for nodeid in shown:
        result += sentence(whole(nodeid), width, encoding)
        result += indented(headline(predictions[nodeid]), width, encoding)
    if len(shown) < len(flagged):
        more = f"… and {len(flagged) - len(shown)} more, each expected to grow by less: --energy-top=0 shows all"
        result += sentence(more, width, encoding)
    for text in (*_counts(predictions, account), *_run(account), *_cost(account), *_loss(account)):
        result += sentence(text, width, encoding)
    return result


def _badness(predictions: Mapping[str, PredictionRecord]) -> Callable[[str], tuple[float, str]]:
    def key(nodeid: str) -> tuple[float, str]:
        entry = predictions[nodeid]
        ratio, expected, limit = entry["ratio"], entry["joules"], entry["limit"]
        if ratio is None and expected is not None and limit:
            ratio = expected / limit
        return -(ratio or 0.0), nodeid

    return key


def headline(prediction: PredictionRecord) -> str:
    """A flagged test in one line: ``expected 1.50× its last 1.00 J (80 % interval 1.20 J to 1.80 J): shop.cart.total: its loop
    runs 4x as often``."""
    low, high = prediction["interval"] or (None, None)
    expected = quantity.joules(prediction["joules"])
    if prediction["last"] is not None:
        expected = f"{quantity.ratio(prediction['ratio'])}× its last {quantity.joules(prediction['last'])}"
    said = f"expected {expected} (80 % interval {quantity.joules(low)} to {quantity.joules(high)})"
    if prediction["limited_by"] == "budget":
        said += f", over its budget of {quantity.joules(prediction['limit'])}"
    reasons = [some([dotted(place) for place in prediction["because"]])] if prediction["because"] else []
    return ": ".join((said, *reasons, *filter(None, [prediction["why"].rstrip(".")])))


def details(prediction: PredictionRecord) -> str:
    """A flagged test in a section of its own."""
    low, high = prediction["interval"] or (None, None)
    last = (
        f"{quantity.joules(prediction['last'])}  ({prediction['since']})" if prediction["last"] is not None else "never measured"
    )
    limit = "its budget" if prediction["limited_by"] == "budget" else f"its last and {100 * prediction['threshold']:.3g} %"
    return "\n".join(
        (
            f"last      {last}",
            f"expected  {quantity.joules(prediction['joules'])}  by the model {prediction['model']}",
            f"interval  {quantity.joules(low)} to {quantity.joules(high)}  (80 %)",
            f"limit     {quantity.joules(prediction['limit'])}  ({limit})",
            *([f"why       {prediction['why']}"] if prediction["why"] else ()),
            *(f"changed   {place}" for place in prediction["because"]),
        )
    )


def outcome(outcomes: Mapping[str, int]) -> str | None:
    """What came of the predictions, in a line: ``predicted: 3 flagged, 2 truly dearer; 1 dearer test was not flagged``."""
    if not outcomes:
        return None
    hits, false, missed, right = (outcomes.get(word, 0) for word in ("hit", "false flag", "missed", "right"))
    if not hits + false + missed + right:
        return f"predicted: nothing can be told of the {_number(outcomes.get('unknown', 0), 'test')}"
    parts = [f"{hits + false} flagged, {hits} truly dearer"]
    parts.append(f"{missed} dearer test{' was' if missed == 1 else 's were'} not flagged" if missed else "no other was dearer")
    if outcomes.get("unknown"):
        parts.append(f"of {outcomes['unknown']} nothing can be told")
    return f"predicted: {'; '.join(parts)}"


def _counts(predictions: Mapping[str, PredictionRecord], account: PredictingRecord) -> list[str]:
    words = [
        f"{account['unchanged']} unchanged",
        f"{account['changed']} changed" + (f" ({account['flagged']} expected to cost more)" if account["changed"] else ""),
    ]
    if account["new"]:
        words.append(f"{account['new']} new")
    if account["unknown"]:
        words.append(f"{account['unknown']} unknown")
    result = [f"{_number(account['tests'], 'test')}: {', '.join(words)}"]
    if account["deselected"] == account["tests"]:
        found = account.get("left_out")
        sure = found is None or not found["reaching"]
        result.append("no test is expected to cost more: none is left to run" if sure else "none is left to run")
    reasons = Counter(entry["why"].rstrip(".") for entry in predictions.values() if entry["state"] == "unknown")
    told = [f"{count} {reason}" if count < account["tests"] else reason for reason, count in reasons.most_common(_FEW)]
    if not_asked := account.get("not_asked"):
        result.append(not_asked)
    if intervals := account.get("intervals"):
        result.append(intervals)
    if told:
        more = len(reasons) - len(told)
        result.append("unknown what they cost: " + "; ".join(told) + (f"; and {more} more reasons" if more > 0 else ""))
    return result


def left_out(account: ReportedPredicting) -> str:
    """What was not run: ``14 unchanged, 3 changed whose interval reaches beyond the limit (1.2 J of the 4.2 J affected)``; empty
    where all ran."""
    found = account.get("left_out")
    if found is None or not account["deselected"]:
        return ""
    parts = [f"{found['unchanged']} unchanged"] if found["unchanged"] else []
    if found["reaching"]:
        joules = f"{quantity.joules(found['joules'])} of the {quantity.joules(account.get('affected', 0.0))} affected"
        parts.append(f"{found['reaching']} changed whose interval reaches beyond the limit ({joules})")
    if below := found["changed"] - found["reaching"]:
        parts.append(f"{below} {'other ' if found['reaching'] else ''}changed")
    return ", ".join(parts)


def _run(account: PredictingRecord) -> list[str]:
    """What runs, and in which order."""
    said = left_out(account)
    result = [f"left out: {said}"] if said else []
    if account.get("why_not_first"):
        result.append(f"the likeliest do not run first: {account.get('why_not_first')}")
    elif (moved := account.get("reordered")) is not None:
        kept = account["tests"] - account["deselected"]
        result.append(f"the likeliest run first: {moved} of {_number(kept, 'test')} moved")
    return result


def _cost(account: PredictingRecord) -> list[str]:
    """What predicting drew, against what it saved."""
    drew = f"predicting took {quantity.seconds(account['seconds'])}"
    if account["joules"] is not None:
        estimated = " (estimated)" if account["provenance"] == "estimated" else ""
        drew += f" and {quantity.joules(account['joules'])}{estimated}"
        if account["suite"]:
            share = account["joules"] / account["suite"]
            shown = f"{100 * share:.2g} % of" if share < 1 else f"{share:.3g} times"
            drew += f", {shown} one pass over these tests"
    if account["deselected"]:
        saved = f"{_number(account['deselected'], 'test')} left out save{'s' if account['deselected'] == 1 else ''}"
        drew += f"; {saved} {quantity.joules(account['saved'])}"
    return [drew]


def _loss(account: PredictingRecord) -> list[str]:
    """That predicting does not pay."""
    balance, sessions = account.get("balance"), account.get("sessions", 1)
    if balance is None or sessions < 2 or balance[1] >= balance[0]:
        return []
    drew, saved = balance
    remedy = "" if saved else " (--energy-predict-only leaves out what is not expected to cost more)"
    return [
        f"over the last {_number(sessions, 'session')} predicting drew {quantity.joules(drew)} and saved "
        f"{quantity.joules(saved)}: it costs more than it saves{remedy}"
    ]


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
