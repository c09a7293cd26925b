"""``joules export --format``: numbers of reports and of the history, for programs that draw them over time."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from pytest_joules.cli.output import refuse, say
from pytest_joules.cli.report import Refused, read

FORMATS = ("github-action-benchmark", "openmetrics", "csv")


def export(given: argparse.Namespace, names: Sequence[str], file: Path) -> int:
    """Write what is asked for; returns the exit code."""
    from pytest_joules.files import atomic
    from pytest_joules.report import csv_file, metrics

    try:
        reports, _ = read(names, given)
        if given.format == "csv" and len(reports) > 1:
            raise Refused("a CSV is of one report: export each into a file of its own")

        def writer(out: TextIO) -> None:
            if given.format == "openmetrics":
                out.writelines(metrics.open_metrics(reports))
            else:
                out.write(json.dumps(metrics.benchmarks(reports), indent=1) + "\n")

        if given.format == "csv":
            csv_file.write(reports[0], file)
        else:
            atomic.atomically(file, writer, given.format)
    except (Refused, atomic.ReportPathError) as error:
        return refuse(str(error), 2)
    say(f"written: {file}")
    return 0
