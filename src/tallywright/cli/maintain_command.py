"""`tally maintain`: runs table maintenance, as the weekly DAG does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from tallywright.cli.console import show_record, show_rows, to_json
from tallywright.cli.options import context_for, json_option, new_run_id, project_options
from tallywright.lifecycle.context import RunOptions
from tallywright.lifecycle.run import run_step

if TYPE_CHECKING:
    from datetime import date

    from tallywright.spec import Project
    from tallywright.spec.model import Schedule


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
