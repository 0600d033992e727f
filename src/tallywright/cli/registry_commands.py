"""`tally promote | rollback | history`: changes and lists the champions of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tallywright.cli.console import show_record, show_rows
from tallywright.cli.options import (
    DATE,
    EFFECTIVE,
    PERSON,
    REASON,
    VERSION,
    context_for,
    json_option,
    new_run_id,
    project_options,
)
from tallywright.errors import UsageError
from tallywright.lifecycle.context import RunOptions
from tallywright.lifecycle.run import run_step

if TYPE_CHECKING:
    from datetime import date

    from tallywright.spec import Project


@click.command()
@project_options
@click.option("--version", type=VERSION, required=True, help="The registered version to promote.")
@click.option("--effective-from", type=EFFECTIVE, required=True, help="The first date it scores.")
@click.option("--by", type=PERSON, required=True, help="Who approves.")
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), help="Sign as --by with this private key.")
@click.option("--reason", type=REASON, default="", help="Why.")
@click.option("--allow-later-lines", is_flag=True, help="Let lines with a later effective date stand.")
@json_option
def promote(project: Project, effective_from: date, *, as_json: bool, **given: Any) -> None:
    """Make a registered version champion; its gates must have passed."""
    if not given["by"].strip():
        raise UsageError("--by is empty", expected="the name of who approves")
    options = RunOptions(effective_from=effective_from, **given)
    context = context_for(project, effective_from, new_run_id("promote"), options)
    show_record(run_step(context, "promote"), as_json=as_json)


@click.command()
@project_options
@click.option(
    "--effective-from", type=EFFECTIVE, required=True, help="The first date the previous champion scores again."
)
@click.option("--by", type=PERSON, required=True, help="Who asks.")
@click.option("--reason", type=REASON, required=True, help="Why.")
@click.option("--allow-later-lines", is_flag=True, help="Let lines with a later effective date stand.")
@json_option
def rollback(project: Project, effective_from: date, *, as_json: bool, **given: Any) -> None:
    """Make the previous champion the champion again, in one step."""
    options = RunOptions(effective_from=effective_from, **given)
    context = context_for(project, effective_from, new_run_id("rollback"), options)
    show_record(run_step(context, "rollback"), as_json=as_json)


@click.command()
@project_options
@click.option("--on", "day", type=DATE, help="Only: who was champion on this date.")
@json_option
def history(project: Project, day: date | None, *, as_json: bool) -> None:
    """The promotion log: every champion, effective from when, recorded when, by whom and why."""
    from tallywright.data.delta.lake import Lake
    from tallywright.registry.promotion_log import PromotionLog, champion_on

    log = PromotionLog(Lake.of(project.environment), project.spec)
    stored = log.stored()
    found = stored if day is None else [line for line in [champion_on(stored, day)] if line is not None]
    rows = [line.model_dump(mode="json" if as_json else "python", exclude={"decision_json", "model"})
            for line in found]  # fmt: skip
    for row in rows:
        row["package_digest"] = row["package_digest"][:12] if not as_json else row["package_digest"]
    show_rows(rows, as_json=as_json, empty=f"{project.spec.name} has no champion{f' on {day}' if day else ' yet'}")
    for problem in log.problems():
        click.echo(f"the log was changed: {problem}; tally verify {project.spec.name} --repair", err=True)
