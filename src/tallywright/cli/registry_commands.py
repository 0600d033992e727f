"""`tally approve | reject | promote | judge | advance | rollback`: who is champion, and who may become it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tallywright.cli.console import show_record
from tallywright.cli.options import (
    DATE,
    EFFECTIVE,
    PERIOD,
    PERSON,
    REASON,
    VERSION,
    context_for,
    ends_of,
    json_option,
    new_run_id,
    project_options,
    source_option,
)
from tallywright.errors import UsageError
from tallywright.lifecycle.context import RunOptions
from tallywright.lifecycle.plan import Pipeline
from tallywright.lifecycle.run import require_here, run_step

if TYPE_CHECKING:
    from datetime import date

    from tallywright.spec import Project


_KEY = click.Path(path_type=Path, dir_okay=False)


@click.command()
@project_options
@click.argument("version", type=VERSION)
@click.option("--reason", type=REASON, required=True, help="Why; kept for ever.")
@click.option("--key", type=_KEY, help="Your private key, which registry.approver_keys names.")
@click.option("--effective-from", type=EFFECTIVE, help="Approve of this first date alone (default: of any).")
@json_option
def approve(project: Project, *, as_json: bool, **given: Any) -> None:
    """Approve of VERSION, signed by your key: whoever promotes it names you with --by."""
    _answer(project, "approve", RunOptions(**given), as_json=as_json)


@click.command()
@project_options
@click.argument("version", type=VERSION)
@click.option("--reason", type=REASON, required=True, help="Why; kept for ever.")
@click.option("--key", type=_KEY, help="Your private key, which registry.approver_keys names.")
@json_option
def reject(project: Project, *, as_json: bool, **given: Any) -> None:
    """Reject VERSION, signed by your key: it is not promoted until an approver approves of it."""
    _answer(project, "reject", RunOptions(**given), as_json=as_json)


def _answer(project: Project, answer: str, options: RunOptions, *, as_json: bool) -> None:
    from tallywright.lifecycle.seals import seal_run
    from tallywright.lifecycle.steps import promotion

    require_here(project, Pipeline.PROMOTE)
    context = context_for(project, project.spec.schedule.start_date, new_run_id(answer), options)
    result = getattr(promotion, answer)(context)
    seal_run(context)
    show_record(result, as_json=as_json)
    if not result["written"]:
        click.echo(f"nothing changed: line {result['sequence']} says so already", err=True)


@click.command()
@project_options
@click.option("--version", type=VERSION, required=True, help="The registered version to promote.")
@source_option
@click.option("--effective-from", type=EFFECTIVE, required=True, help="The first date it scores.")
@click.option("--by", type=PERSON, required=True, help="Who approves, or has: tally approve.")
@click.option("--key", type=_KEY, help="Sign as --by with this private key.")
@click.option("--reason", type=REASON, default="", help="Why.")
@click.option("--allow-later-lines", is_flag=True, help="Let lines with a later effective date stand.")
@json_option
def promote(project: Project, effective_from: date, *, as_json: bool, **given: Any) -> None:
    """Make a registered version champion; its gates must have passed.

    With two registries `--from` names the environment of training: its version is copied first, with its evidence.
    """
    if not given["by"].strip():
        raise UsageError("--by is empty", expected="the name of who approves")
    options = RunOptions(effective_from=effective_from, **given)
    context = context_for(project, effective_from, new_run_id("promote"), options)
    arrived = run_step(context, "arrive") if options.source else {}
    told = {"from": arrived["from"]} if arrived else {}
    show_record(run_step(context, "promote") | told, as_json=as_json)


@click.command()
@project_options
@click.option("--version", type=VERSION, required=True, help="The version.")
@source_option
@click.option("--date", "day", type=DATE, required=True, help="As-of date: only days whose labels had arrived count.")
@click.option("--effective-from", type=EFFECTIVE, help="Against the champion of this date (default: --date).")
@json_option
def judge(project: Project, day: date, *, as_json: bool, **given: Any) -> None:
    """Judge a version again that is undecided, or has passed against another champion than it would replace.

    The rows are its holdout and its days in shadow together.
    """
    context = context_for(project, day, new_run_id("judge"), RunOptions(**given))
    show_record(run_step(context, "judge"), as_json=as_json)


@click.command()
@project_options
@click.option("--date", "day", type=PERIOD, required=True, help="The newest scored date; what is decided holds after.")
@json_option
def advance(project: Project, day: str, *, as_json: bool) -> None:
    """Look at the challenger's stage: it stays, goes on, becomes champion, or is returned."""
    from tallywright.lifecycle.seals import seal_run
    from tallywright.lifecycle.steps.advance import advance as advance_challenger

    require_here(project, Pipeline.PROMOTE)
    context = context_for(project, ends_of(project, day)[1], new_run_id("advance"))
    result = advance_challenger(context)
    seal_run(context)
    show_record(result, as_json=as_json)


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
    context = context_for(project, effective_from, new_run_id("rollback"), options, goes_back=True)
    show_record(run_step(context, "rollback"), as_json=as_json)
