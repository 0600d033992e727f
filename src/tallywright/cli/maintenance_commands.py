"""`tally maintain | verify | reset`: upkeep of what a model has stored, its checks and repair, and starting over."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from tallywright.cli.console import show_record, show_rows, to_json
from tallywright.cli.options import PERIOD, context_for, json_option, new_run_id, period_range, project_options
from tallywright.errors import IntegrityError, UsageError
from tallywright.lifecycle.context import RunOptions
from tallywright.lifecycle.run import run_step
from tallywright.redaction import without_credentials

if TYPE_CHECKING:
    from datetime import date

    from tallywright.lifecycle.reset import ResetPlan
    from tallywright.spec import Project
    from tallywright.spec.schedule import Schedule


@click.command()
@project_options
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@json_option
def maintain(project: Project, *, dry_run: bool, as_json: bool) -> None:
    """Compact small files, and delete what no tally, no model and no run needs any more."""
    day = _today(project.spec.schedule)
    result = run_step(context_for(project, day, new_run_id("maintain"), RunOptions(dry_run=dry_run)), "maintain")
    if as_json:
        click.echo(to_json(result))
        return
    rows = [
        {
            "table": row["table"],
            "files": row["files"],
            "MB": row["bytes"] / 1e6,
            "compacted": f"{row['compacted']} into {row['compacted_into']}" if row["compacted"] else "",
            "deleted": row["deleted"] + row["orphans"],
            "of these orphans": row["orphans"],
            "versions kept": "; ".join(f"{by}: {versions}" for by, versions in row["kept"].items()),
        }
        for row in result["tables"]
    ]
    show_rows(rows, as_json=False, title="would be done" if dry_run else "", empty="no tables yet")
    show_record(result["leftovers"], as_json=False, title="deleted from this machine" if not dry_run else "leftovers")


def _today(schedule: Schedule) -> date:
    """Today, or the schedule's nearest date, as every run needs one."""
    today = datetime.now(UTC).date()
    return min(max(today, schedule.start_date), schedule.end_date or today)


@click.command()
@project_options
@click.option("--from", "first", type=PERIOD, help="The first date or period.")
@click.option("--to", "last", type=PERIOD, help="The last one, inclusive.")
@click.option(
    "--deep", is_flag=True, help="Compare contents and the registry's aliases too, and take packages from the registry."
)
@click.option("--repair", is_flag=True, help="First bring back what the log names and make records again.")
@click.option("--accept", is_flag=True, help="First take all tables as they are for what was committed.")
@json_option
def verify(  # noqa: PLR0913 - a command has many options
    project: Project,
    first: str | None,
    last: str | None,
    *,
    deep: bool,
    repair: bool,
    accept: bool,
    as_json: bool,
) -> None:
    """Check inputs, labels, scores, records, promotions and packages; exit 15 with a line for each that is damaged."""
    from tallywright.lifecycle.small_tables import model_tables
    from tallywright.lifecycle.verify.model import verify_model
    from tallywright.lifecycle.verify.repair import accept_model, repair_model
    from tallywright.registry.promotion_chain import chained_from
    from tallywright.registry.promotion_log import PromotionLog

    days = period_range(project, first, last)
    if repair and accept:
        raise UsageError("--repair and --accept were both given", expected="one of them")
    context = context_for(project, project.spec.schedule.start_date, new_run_id("verify"))
    if repair or accept:
        (repair_model if repair else accept_model)(context)
    found = verify_model(project, context.lake, now=datetime.now(UTC), days=days, deep=deep)
    if as_json:
        click.echo(to_json([one.model_dump(mode="json") for one in found]))
    for one in () if as_json else found:
        day = f" {one.score_date}" if one.score_date else ""
        click.echo(f"{one.what}{day}: {one.problem}; to do: {one.remedy}")
    if found:
        sys.exit(IntegrityError.exit_code)
    if not as_json:
        if set(model_tables(project.spec, context.lake)) <= {project.spec.table("verified")}:
            click.echo(f"{project.spec.name} has no tables yet: there is nothing to verify")
            return
        chained = chained_from(PromotionLog(context.lake, project.spec).stored())
        told = f"chained from {chained}" if chained else "none is chained yet"
        click.echo(f"all of {project.spec.name} stands; promotions: {told}")


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
    _show_plan(plan, as_json=as_json, deleted=yes and not dry_run)
    if dry_run or plan.empty:
        return
    if not yes:
        click.confirm("Delete all of this, for good?", abort=True)
    delete(project, lake, plan)
    if not as_json:
        click.echo(f"{plan.model} is as new: ingest, train and score again", err=True)


def _show_plan(plan: ResetPlan, *, as_json: bool, deleted: bool) -> None:
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
