"""`tally reset`: says what a model has made, asks, and deletes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tallywright.cli.console import show_record, to_json
from tallywright.cli.options import json_option, project_options
from tallywright.errors import UsageError
from tallywright.observability import without_credentials

if TYPE_CHECKING:
    from tallywright.lifecycle.reset import ResetPlan
    from tallywright.spec import Project


@click.command()
@project_options
@click.option("--yes", is_flag=True, help="Delete without asking, for scripts.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted; delete nothing.")
@json_option
def reset(project: Project, *, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Delete the model's tables, runs and registered versions, to start over; raw files and the spec stay."""
    from tallywright.data.delta.lake import Lake
    from tallywright.lifecycle.reset import plan_reset
    from tallywright.lifecycle.reset import reset as delete

    if as_json and not (yes or dry_run):
        raise UsageError("--json asks nothing", expected="--yes or --dry-run with it")
    lake = Lake.of(project.environment)
    plan = plan_reset(project, lake)
    _show(plan, as_json=as_json, deleted=yes and not dry_run)
    if dry_run or plan.empty:
        return
    if not yes:
        click.confirm("Delete all of this, for good?", abort=True)
    delete(project, lake, plan)
    if not as_json:
        click.echo(f"{plan.model} is as new: ingest, train and score again", err=True)


def _show(plan: ResetPlan, *, as_json: bool, deleted: bool) -> None:
    shown = plan.model_dump(mode="json") | {"tracking": without_credentials(plan.tracking)}
    if as_json:
        click.echo(to_json(shown | {"deleted": deleted}))
        return
    if plan.empty:
        click.echo(f"{plan.model} has made nothing that could be deleted")
        return
    show_record(
        {
            f"tables in {plan.lake}": plan.tables or None,
            f"versions of the model in {shown['tracking']}": plan.versions or None,
            "runs there": f"{len(plan.runs)}: {', '.join(plan.runs)}" if plan.runs else None,
            "on this machine": plan.folders or None,
        },
        as_json=False,
        title=f"What {plan.model} has made, evidence and history included:",
    )
    click.echo("Raw files, the spec, other models and the history in Airflow stay.")
