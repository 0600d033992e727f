"""`tally validate --data`: how long it looks, what it prints, and the exit code of what it found."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click

from tallywright.cli.console import show_rows

if TYPE_CHECKING:
    from tallywright.data.trial.look import DataReport
    from tallywright.spec import Project

SECONDS: Final = 8.0
"""How long the data of one model are looked at."""
_QUIET: Final = 3.0
"""Seconds after which it is said what is looked at."""


def looked_at(project: Project) -> DataReport:
    """Looks at the data of a model for at most `SECONDS`."""
    from tallywright.data.trial.look import look_at_data

    began = time.monotonic()

    def say(what: str) -> None:
        if time.monotonic() - began > _QUIET:
            click.echo(f"{project.spec.name}: looking at {what}", err=True)

    return look_at_data(project, lambda: SECONDS - (time.monotonic() - began), say)


def not_looked_at() -> dict[str, Any]:
    """What is said of the data of a model whose spec cannot be used."""
    from tallywright.data.trial.look import DataReport

    return DataReport(not_looked_at=["the data: the spec has to be valid first"]).as_dict()


def show_data(model: str, data: dict[str, Any]) -> None:
    """Prints what was looked at, what is worth knowing, and what was not looked at."""
    rows = [
        {
            "source": one["source"],
            "files": f"{len(one['looked_at']):,} of {one['files']:,}",
            "rows": one["rows"],
            "quarantined": one["unreadable"],
            "null_cells": ", ".join(f"{column} {cells:,}" for column, cells in one["null_cells"].items()),
        }
        for one in data["sources"]
    ]
    if rows:
        show_rows(rows, as_json=False, title=f"{model}: what was read")
    period = data["period"]
    if period is not None:
        labels = "".join(f", {rows:,} labels {status}" for status, rows in period["labels"].items())
        click.echo(f"{period['period']}: {period['rows']:,} rows, {period['quarantined']:,} quarantined{labels}")
        for reason, count in period["reasons"].items():
            click.echo(f"  quarantined {count:,}: {reason}")
    for note in data["notes"]:
        click.echo(f"note: {note}")
    for what in data["not_looked_at"]:
        click.echo(f"not looked at: {what}")
