"""`tally days | query | report`: the commands that only read tables."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tallywright.cli.console import show_record, show_rows
from tallywright.cli.options import (
    COUNT,
    FOLDER,
    NAME,
    OUTPUT,
    PERIOD,
    json_option,
    period_range,
    project_options,
)
from tallywright.data.keys import value_text
from tallywright.spec import load_project, model_names

if TYPE_CHECKING:
    from tallywright.spec import Project


@click.command()
@project_options
@click.option("--from", "first", type=PERIOD, help="The first date or period.")
@click.option("--to", "last", type=PERIOD, help="The last one, inclusive.")
@json_option
def days(project: Project, first: str | None, last: str | None, *, as_json: bool) -> None:
    """The due days: rows, mean score, model, drift, realised quality, decision; why one was not scored."""
    from tallywright.reporting.overview import overview

    rows = [row.as_dict() for row in overview(project, *period_range(project, first, last))]
    shown = rows if as_json else [_day(row) for row in rows]
    show_rows(shown, as_json=as_json, empty=f"{project.spec.name} has no scored day yet")


def _day(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table for people: what says which day it is and what to think of it first, long texts last."""
    from tallywright.reporting.overview import AUC

    metric = row["realised_metric"]
    first = {name: row[name] for name in ("score_date", "state", "rows", "mean_score", "model_version")}
    realised = {f"realised_{metric}": row["realised"]}
    if metric != AUC:
        realised["realised_auc"] = row.get("realised_auc")
    # The whole of a refusal is for programs.
    left_out = {"realised_metric", "realised", "realised_auc", "detail"}
    return first | realised | {"decision": row["decision"]} | {name: row[name] for name in row if name not in left_out}


@click.command()
@click.argument("sql")
@click.option("--env", "environment", type=NAME, help="Overlay in conf/.")
@click.option("--root", type=FOLDER, help="The project's folder.")
@click.option("--limit", type=COUNT, default=1000, show_default=True, help="Rows to print at most.")
@json_option
def query(sql: str, environment: str | None, root: Path | None, *, limit: int, as_json: bool) -> None:
    """Run SQL over all lake tables by name, read only: tally query 'select * from flight_delays__tallies'.

    Every value is printed so that SQL reads it again as the same one; a null in a table is a dash.
    """
    from tallywright.data.delta.lake import Lake
    from tallywright.data.query import ask
    from tallywright.data.sql_values import cell, is_number, to_json
    from tallywright.spec.load import load_environment

    settings = load_environment(root=root, environment=environment)
    spill = Path(settings.storage.work) / "spill"
    answer = ask(Lake.of(settings), sql, limit=limit, as_json=as_json, spill=spill)
    if as_json:
        click.echo(to_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows]))
    else:
        keys = {name: joined for name, joined in _key_columns(root, environment).items() if name in answer.columns}
        columns = dict(zip(answer.columns, answer.kinds, strict=True))
        rows = [
            {
                name: value_text(value, joined=keys[name])
                if name in keys and value is not None and str(kind) == "VARCHAR"
                else cell(value, kind, as_it_is=answer.is_plan)
                for (name, kind), value in zip(columns.items(), row, strict=True)
            }
            for row in answer.rows
        ]
        numbers = {name for name, kind in columns.items() if is_number(kind)}
        show_rows(rows, as_json=False, empty="no rows", whole=keys, own_names=True, numbers=numbers)
    if answer.total > limit:
        click.echo(f"{limit:,} of {answer.total:,} rows; --limit shows more", err=True)


def _key_columns(root: Path | None, environment: str | None) -> dict[str, bool]:
    """The key columns of the project's models, and whether they are one of several of their key."""
    found: dict[str, bool] = {}
    for model in model_names(root):
        with suppress(Exception):  # a query about other models goes on
            key = load_project(model, root=root, environment=environment).spec.data.key
            found |= {name: len(key) > 1 or found.get(name, False) for name in key}
    return found


@click.command()
@project_options
@click.option("--from", "first", type=PERIOD, help="The first date or period (default: the latest 92 are shown).")
@click.option("--to", "last", type=PERIOD, help="The last one, inclusive.")
@click.option(
    "--out",
    type=OUTPUT,
    help="The page (default: <model>-report.html in this folder).",
)
@json_option
def report(project: Project, first: str | None, last: str | None, out: Path | None, *, as_json: bool) -> None:
    """Write one self-contained HTML page: scores, drift, performance, decisions, champions."""
    from tallywright.data.delta.lake import Lake
    from tallywright.reporting.report import write_report

    low, high = period_range(project, first, last)
    file = out or OUTPUT.convert(f"{project.spec.name}-report.html", None, None)
    file = write_report(project, Lake.of(project.environment), file, first=low, last=high)
    show_record({"report": str(file)}, as_json=as_json)
