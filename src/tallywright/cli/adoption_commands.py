"""`tally adopt | reproduce`: a version of a model that was trained elsewhere, and a version made once more."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tallywright.cli.console import show_record, show_rows, to_json
from tallywright.cli.options import DATE, REASON, VERSION, context_for, json_option, new_run_id, project_options
from tallywright.cli.training_summary import TrainingSummary
from tallywright.errors import TallyError
from tallywright.lifecycle.context import RunOptions
from tallywright.records import VersionVerdict
from tallywright.registry.approval.authentication import started_by

if TYPE_CHECKING:
    from datetime import date

    from tallywright.lifecycle.reproduction.differences import Remade
    from tallywright.spec import Project


@click.command()
@project_options
@click.option("--onnx", type=click.Path(path_type=Path, dir_okay=False), help="An ONNX file.")
@click.option("--mlflow", default="", metavar="models:/NAME/VERSION", help="A version in the MLflow registry.")
@click.option("--date", "day", type=DATE, required=True, help="As-of date: judged on the holdout before it.")
@click.option(
    "--trained-through", type=DATE, required=True, help="The last date whose rows the model has seen, in any way."
)
@click.option("--reason", type=REASON, default="", help="Why; kept with the run and the version.")
@json_option
def adopt(project: Project, day: date, *, reason: str, as_json: bool, **given: Any) -> None:
    """Make a version of a model that was trained elsewhere: packaged, judged on this project's own rows, registered.

    Nothing is promoted. No pickle is loaded: what MLflow keeps as one is refused with the lines that export it.
    """
    from tallywright.lifecycle.adoption.adopt import adopt as adopt_model
    from tallywright.lifecycle.adoption.source import AdoptionRequest

    request = AdoptionRequest(**given, by=started_by())
    request.require_seen_before(day)
    context = context_for(project, day, new_run_id("adopt"), RunOptions(reason=reason))
    summary = TrainingSummary(context)
    try:
        found = adopt_model(context, request, None if as_json else summary.heard)
    finally:
        if not as_json:
            summary.show_checks()
    show_record(found, as_json=as_json)
    if found["verdict"] == VersionVerdict.PASSED:
        click.echo(
            f"registered, not promoted: `tally promote {project.spec.name} --version {found['version']} "
            "--effective-from D --by WHO`",
            err=True,
        )


def _finite(_context: click.Context, _option: click.Parameter, bound: float) -> float:
    if not math.isfinite(bound):
        raise click.BadParameter(f"{bound} is no finite number.")
    return bound


@click.command()
@project_options
@click.argument("version", type=VERSION)
@click.option(
    "--within",
    type=click.FloatRange(0),
    callback=_finite,
    default=0.0,
    show_default=True,
    help="How far weights, scores and figures may be apart; 0: the same bits.",
)
@json_option
def reproduce(project: Project, version: int, *, within: float, as_json: bool) -> None:
    """Train VERSION again, from its recorded spec, code, data and seed, and compare; nothing else is written.

    Ends with exit code 1 where it is not reproduced.
    """
    from tallywright.data.delta.lake import Lake
    from tallywright.lifecycle.reproduction.reproduce import reproduce as make_again

    found = make_again(project, Lake.of(project.environment), version, bound=within)
    if as_json:
        click.echo(to_json(found.as_dict()))
    else:
        show_rows([row for one in found.packages for row in _rows(one)], as_json=False)
        different = [{"here": name, "recorded": then, "now": now} for name, (then, now) in found.environment.items()]
        if different:
            click.echo()
            show_rows(different, as_json=False)
        same = "the same bits" if all(one.same_bits for one in found.packages) else f"within {within:g}"
        what = f"reproduced: {same}" if found.reproduced else "NOT reproduced"
        click.echo(f"version {version} of {project.spec.name} is {what}", err=True)
    if not found.reproduced:
        sys.exit(TallyError.exit_code)


def _rows(remade: Remade) -> list[dict[str, Any]]:
    """The rows of the table for people: what makes a score, the figures, the files of the package."""
    apart = [(name, abs(one - other)) for name, (one, other) in remade.metrics.items()]
    name, most = max(apart, key=lambda pair: pair[1], default=("", 0.0))
    files = f"{', '.join(remade.differing)} differ" if remade.differing else "all the same: one digest"
    rows: list[dict[str, Any]] = [
        {"compared": "weights", "largest difference": remade.weights, "note": None},
        {"compared": "scores of the sample", "largest difference": remade.scores, "note": None},
        {"compared": f"{remade.figures} figures", "largest difference": most, "note": name or None},
        {"compared": "files", "largest difference": None, "note": files},
    ]
    return [{"package": remade.which, **row} for row in rows if row["compared"] != "0 figures"]
