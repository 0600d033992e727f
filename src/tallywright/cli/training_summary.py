"""What `tally train` tells about a model: its holdout metrics beside the baselines', and the verdict of every check."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tallywright.cli.console import show_rows
from tallywright.errors import TallyError
from tallywright.mlflow_names import SHORTENED, decoded, encode
from tallywright.spec.tuning import outcomes_told
from tallywright.tasks import CLASS_METRICS, is_of_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.lifecycle.context import RunContext


class TrainingSummary:
    """Prints what the steps of a training find, also when a gate refuses the candidate in the end."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._digests: list[str] = []

    def heard(self, step: str, result: Mapping[str, Any]) -> None:
        """Prints the result of a step; the listener of `run_pipeline`."""
        short = {key: value for key, value in result.items() if isinstance(value, str | int | float | bool)}
        click.echo(f"{step}: " + ", ".join(f"{key} {value}" for key, value in short.items()), err=True)
        if "digest" in result and step != "register":
            self._digests.append(result["digest"])
        if step == "train":
            rows = [{"holdout": name, **_whole(values)} for name, values in result["metrics"].items()]
            names = dict.fromkeys(name for row in rows for name in row)
            show_rows([{name: row.get(name) for name in names} for row in rows], as_json=False)
            if classes := _by_class(result):
                show_rows(classes, as_json=False)
            if result.get("tuned"):
                _show_search(result["tuned"])

    def show_checks(self) -> None:
        """Prints the checks of the gates that have judged the candidate; nothing where none has."""
        from tallywright.gates.record import reports

        found = []
        for digest in self._digests:
            with suppress(TallyError):  # the training's own error, or its result, is what counts
                found += reports(self._context.lake, self._context.spec, subject=digest)
        newest = {(report.subject, report.gate): report for report in found}
        rows = [
            {"gate": report.gate, "check": check.name, "verdict": check.verdict.value, "observed": check.observed,
             "bound": check.bound, "evidence": check.evidence}
            for report in newest.values()
            for check in report.checks
        ]  # fmt: skip
        if rows:
            show_rows(rows, as_json=False)


def _whole(figures: Mapping[str, float]) -> dict[str, float]:
    """The metrics of all rows."""
    return {name: value for name, value in figures.items() if not is_of_class(name)}


def _by_class(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The metrics of the model's classes, a row for each, in the order of the classes."""
    figures: Mapping[str, float] = result["metrics"]["model"]
    names = [name for name in figures if is_of_class(name)]
    own = _own_names(result) if any(SHORTENED in name for name in names) else {}
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        kind, _, of_class = name.partition("_")
        row = {"class": own.get(of_class) or decoded(of_class), **({"in names of metrics": of_class} if own else {})}
        found.setdefault(of_class, row | dict.fromkeys(CLASS_METRICS))[kind] = figures[name]
    return list(found.values())


def _own_names(result: Mapping[str, Any]) -> dict[str, str]:
    """The classes of the package whose names are shortened in metrics, by that form."""
    from tallywright.packaging.package import load_package

    try:
        classes = load_package(Path(result["folder"]), digest=result["digest"]).meta.classes
    except TallyError:  # the folder is gone: the table has the shortened names
        return {}
    return {form: name for name in classes if SHORTENED in (form := encode(name))}


def _show_search(tuned: Mapping[str, Any]) -> None:
    """Prints the parameters that a search has chosen, and how many trials it made."""
    name = tuned["estimator"]["name"] or tuned["estimator"]["kind"]
    show_rows(
        [{f"parameter of {name}": key, "chosen": str(value)} for key, value in tuned["parameters"].items()],
        as_json=False,
    )
    click.echo(
        f"trial {tuned['best'] + 1} of {tuned['trials']} ({outcomes_told(tuned)}) was the best on validation: "
        f"{tuned['metric']} {tuned['value']:.4f}"
    )
