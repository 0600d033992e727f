"""`tally versions | compare | diff | withdraw`: the versions of a model, and the generations of a day."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from tallywright.cli.console import show_record
from tallywright.cli.options import context_for, json_option, new_run_id, project_options
from tallywright.errors import UsageError
from tallywright.lifecycle.context import RunOptions

if TYPE_CHECKING:
    from tallywright.spec import Project


@click.command()
@project_options
@click.argument("version", type=click.IntRange(min=1))
@click.option("--reason", required=True, help="Why; kept for ever.")
@click.option("--by", default="", help="Who withdraws it (default: the user who is logged in).")
@json_option
def withdraw(project: Project, version: int, reason: str, by: str, *, as_json: bool) -> None:
    """Take VERSION out of production for good; what it scored stands, and days to come get an earlier champion."""
    from tallywright.lifecycle.steps.promotion import withdraw as withdraw_version

    options = RunOptions(version=version, reason=reason, by=by or _user())
    context = context_for(project, project.spec.schedule.start_date, new_run_id("withdraw"), options)
    result = withdraw_version(context)
    show_record(result, as_json=as_json)
    if not result["withdrawn"]:
        click.echo(f"nothing changed: line {result['sequence']} has withdrawn version {version} already", err=True)
    if result["champion"] is None:
        click.echo(
            f"no champion is left: days of {project.spec.name} still to be scored end with exit code 7", err=True
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError) as error:
        raise UsageError("this process has no user name", expected="--by WHO") from error
