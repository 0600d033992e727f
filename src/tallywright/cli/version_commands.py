"""`tally versions | compare | diff | withdraw | package`: the versions of a model, and the generations of a day."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tallywright.cli.console import cell_text, show_record, show_rows, to_json
from tallywright.cli.options import (
    COUNT,
    DATE,
    PERIOD,
    PERSON,
    REASON,
    VERSION,
    context_for,
    json_option,
    new_run_id,
    period_of,
    project_options,
    require_order,
)
from tallywright.errors import UsageError
from tallywright.lifecycle.context import RunOptions

if TYPE_CHECKING:
    from datetime import date

    from tallywright.spec import Project

FORMATS: Final = ("onnx", "torchscript", "pt2", "wheel", "docker")


@click.command()
@project_options
@json_option
def versions(project: Project, *, as_json: bool) -> None:
    """The registered versions: state, metrics, gates, the dates on which each is champion, its stage beside one."""
    from tallywright.data.delta.lake import Lake
    from tallywright.reporting.versions import versions as all_versions

    found = all_versions(project, Lake.of(project.environment))
    rows = [one.as_dict() for one in found]
    if not as_json:
        rows = [_short(row, project.spec.gates.primary_metric) for row in rows]
    show_rows(rows, as_json=as_json, empty=f"{project.spec.name} has no registered version yet")


def _short(row: dict[str, Any], metric: str) -> dict[str, Any]:
    """A row of the table for people: what fits a line."""
    notes = [f"withdrawn by {row['withdrawn']}"] * bool(row["withdrawn"])
    notes += [row[name] for name in ("stage", "reason") if row[name]]
    notes += [f"from {row['origin']}"] * bool(row["origin"])
    return {
        "version": row["version"],
        "state": row["state"],
        metric: row["metrics"].get(metric),
        "gates": row["gates"],
        "champion": ", ".join(row["champion"]) or None,
        "trained_through": row["trained_through"],
        "digest": row["digest"][:12],
        "note": "; ".join(notes) or None,
    }


@click.command()
@project_options
@click.argument("first", type=VERSION, metavar="V")
@click.argument("second", type=VERSION, metavar="W")
@click.option("--from", "first_date", type=DATE, help="The first scored date to compare on.")
@click.option("--to", "last_date", type=DATE, help="The last one, inclusive.")
@json_option
def compare(
    project: Project, first: int, second: int, first_date: date | None, last_date: date | None, *, as_json: bool
) -> None:
    """Versions V and W on the same labelled rows: metrics, W's gain with its interval, predictions that differ.

    In JSON `predictions_differ` and `scores_differ` are shares of `rows`, from 0 to 1.
    """
    from tallywright.data.delta.lake import Lake
    from tallywright.reporting.compare import compare as compare_versions

    require_order(first_date, last_date)
    found = compare_versions(project, Lake.of(project.environment), (first, second), (first_date, last_date)).as_dict()
    if as_json:
        click.echo(to_json(found))
        return
    names = {"first": f"version {first}", "second": f"version {second}"}
    rows = [{names.get(name, name): value for name, value in pair.items()} for pair in found.pop("metrics")]
    show_rows(rows, as_json=False)
    click.echo()
    found |= {name: _share_of(found["rows"], found[name]) for name in ("predictions_differ", "scores_differ")}
    show_record({name: value for name, value in found.items() if name not in names}, as_json=False)


def _share_of(rows: int, share: float) -> str:
    """A share of rows as both: a bare 1 would read as a count."""
    return f"{round(share * rows):,} of {rows:,} rows ({share:.1%})"


@click.command()
@project_options
@click.argument("day", type=PERIOD)
@click.option("--generations", type=(VERSION, VERSION), metavar="A B", help="Which two (default: the last two).")
@click.option("--rows", is_flag=True, help="List the rows that differ, each with its cause.")
@click.option("--limit", type=COUNT, default=100, show_default=True, help="Rows to list at most.")
@json_option
def diff(
    project: Project, day: str, generations: tuple[int, int] | None, *, rows: bool, limit: int, as_json: bool
) -> None:
    """Two generations of DAY: how many rows differ, by how much, and why: input restated, model, or spec."""
    from tallywright.data.delta.rows import rows_of
    from tallywright.reporting.generations import diff as compare_generations

    found = compare_generations(project, period_of(project, day), generations)
    listed = rows_of(found.rows.slice(0, limit)) if rows else []
    if as_json:
        click.echo(to_json(found.summary | ({"listed": listed} if rows else {})))
        return
    show_record(found.summary, as_json=False)
    if rows:
        shown = [_side_by_side(row) for row in listed]
        show_rows(shown, as_json=False, empty="no row differs", whole=project.spec.data.key)
        if found.rows.num_rows > limit:
            click.echo(f"{limit:,} of {found.rows.num_rows:,} rows; --limit shows more", err=True)


def _side_by_side(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table for people: `0.31 -> 0.42` in one cell instead of two."""
    shown: dict[str, Any] = {}
    for name, value in row.items():
        if not name.endswith(("_before", "_after")):
            shown[name] = value
        elif name.endswith("_before"):
            other = row[f"{name.removesuffix('_before')}_after"]
            both = f"{cell_text(value)} -> {cell_text(other)}" if value != other else value
            shown[name.removesuffix("_before")] = both
    return shown


@click.command()
@project_options
@click.argument("version", type=VERSION)
@click.option("--reason", type=REASON, required=True, help="Why; kept for ever.")
@click.option("--by", type=PERSON, default="", help="Who withdraws it (default: the user who is logged in).")
@json_option
def withdraw(project: Project, version: int, reason: str, by: str, *, as_json: bool) -> None:
    """Take VERSION out of production for good; what it scored stands, and days to come get an earlier champion."""
    from tallywright.lifecycle.plan import Pipeline
    from tallywright.lifecycle.run import require_here
    from tallywright.lifecycle.seals import seal_run
    from tallywright.lifecycle.steps.promotion import withdraw as withdraw_version

    require_here(project, Pipeline.PROMOTE)
    options = RunOptions(version=version, reason=reason, by=by or _user())
    context = context_for(project, project.spec.schedule.start_date, new_run_id("withdraw"), options)
    result = withdraw_version(context)
    seal_run(context)
    show_record(result, as_json=as_json)
    if not result["withdrawn"]:
        click.echo(f"nothing changed: line {result['sequence']} has withdrawn version {version} already", err=True)
    if result["champion"] is None:
        click.echo(
            f"no champion is left: days of {project.spec.name} still to be scored end with exit code 7", err=True
        )


@click.command()
@project_options
@click.argument("version", type=VERSION)
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="As what.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="The folder to write.")
@click.option("--force", is_flag=True, help="Replace an earlier export in that folder.")
@json_option
def package(project: Project, version: int, *, form: str, output: Path, force: bool, as_json: bool) -> None:
    """Write VERSION for other places: an ONNX graph, a torch network, a Python wheel, an image's build context.

    Every version has onnx (the package's own bytes), wheel and docker; torchscript and pt2 are for torch networks,
    whose scores may be 1e-5 off.
    """
    from tallywright.data.delta.lake import Lake
    from tallywright.lifecycle.export.formats import package_version

    found = package_version(
        project, Lake.of(project.environment), version, form=form, output=output.absolute(), force=force
    )
    show_record(found, as_json=as_json)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError) as error:
        raise UsageError("this process has no user name", expected="--by WHO") from error
