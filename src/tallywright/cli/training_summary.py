"""What `tally train` tells about a model: its holdout metrics beside the baselines', and the verdict of every check."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from tallywright.cli.console import show_rows
from tallywright.errors import TallyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.lifecycle.context import RunContext


class TrainingSummary:
    """Prints what the steps of a training find, also when a gate refuses the candidate in the end."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._digest = ""

    def heard(self, step: str, result: Mapping[str, Any]) -> None:
        """Prints the result of a step; the listener of `run_pipeline`."""
        short = {key: value for key, value in result.items() if isinstance(value, str | int | float | bool)}
        click.echo(f"{step}: " + ", ".join(f"{key} {value}" for key, value in short.items()), err=True)
        if step == "train":
            self._digest = result["digest"]
            rows = [{"holdout": name, **values} for name, values in result["metrics"].items()]
            names = dict.fromkeys(name for row in rows for name in row)
            show_rows([{name: row.get(name) for name in names} for row in rows], as_json=False)

    def show_checks(self) -> None:
        """Prints the checks of the gates that have judged the candidate; nothing where none has."""
        from tallywright.gates.record import reports

        found = []
        if self._digest:
            with suppress(TallyError):  # the training's own error, or its result, is what counts
                found = reports(self._context.lake, self._context.spec, subject=self._digest)
        newest = {report.gate: report for report in found}
        rows = [
            {"gate": report.gate, "check": check.name, "verdict": check.verdict.value, "observed": check.observed,
             "bound": check.bound, "evidence": check.evidence}
            for report in newest.values()
            for check in report.checks
        ]  # fmt: skip
        if rows:
            show_rows(rows, as_json=False)
