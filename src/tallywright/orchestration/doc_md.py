"""The `doc_md` of a DAG: what it does, its owner and tables, and the equivalent commands."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from tallywright.lifecycle.plan import Actor, Pipeline, Step

if TYPE_CHECKING:
    from datetime import date

    from tallywright.spec import ModelSpec

SUMMARIES = {
    Pipeline.SCORE: "checks a day's input, scores it in one atomic commit, compares it, decides on retraining",
    Pipeline.BACKFILL: "scores a range of days in one go, each with the champion of its date, one commit a day",
    Pipeline.TRAIN: "trains on a pinned snapshot, and promotes what passes every gate",
    Pipeline.PROMOTE: "makes a registered version the champion from a date on, if its gates passed",
    Pipeline.ROLLBACK: "makes the previous champion the champion again from a date on",
    Pipeline.WATCH: "fails, and alerts, when a day was not scored by its deadline, late or never",
    Pipeline.MAINTAIN: "compacts small files, and deletes what no tally, no model and no run needs any more",
}


def dag_document(spec: ModelSpec, pipeline: Pipeline, steps: tuple[Step, ...]) -> str:
    """Markdown for `doc_md`."""
    return "\n".join(
        [
            f"### {spec.name}: {pipeline.value}",
            f"{spec.description}",
            "",
            f"This DAG {SUMMARIES[pipeline]}.",
            "",
            f"- **Owner**: {spec.owner.name} <{spec.owner.email}>",
            f"- **Score dates**: {_dates(spec)}",
            f"- **Deadline**: {_deadline(spec)}",
            f"- **Tables**: {_tables(spec, steps) or 'none written'}",
            "",
            "| step | what it does | the same by hand |",
            "|---|---|---|",
            *(_row(spec, step) for step in steps),
            "",
            *_backfill(spec, pipeline),
        ]
    )


def backfill_bounds(spec: ModelSpec, first: date, last: date) -> tuple[str, str]:
    """`--from-date` and `--to-date` for the score periods `first` to `last`, both inclusive.

    Airflow reads these bounds as instants (UTC midnight for a bare date), and a run's logical date is its cron tick,
    so a bare last date would lose the last day. Instants in the schedule's zone, from the first second to the last,
    lose none.
    """
    zone, calendar = ZoneInfo(spec.schedule.timezone), spec.schedule.calendar
    end = calendar.end(last) - timedelta(seconds=1)
    return calendar.start(first).astimezone(zone).isoformat(), end.astimezone(zone).isoformat()


def _deadline(spec: ModelSpec) -> str:
    schedule = spec.schedule
    if schedule.calendar.is_hourly:
        return f"an hour must be scored {schedule.deadline.minute} minutes after its end"
    if schedule.calendar.cadence == "day":
        return f"a day must be scored by {schedule.deadline:%H:%M} of the next"
    return (
        f"a {schedule.calendar.cadence} must be scored by {schedule.deadline:%H:%M} on the day of the run "
        f"(`{schedule.cron}`)"
    )


def _dates(spec: ModelSpec) -> str:
    schedule = spec.schedule
    return f"{schedule.start_date} to {schedule.end_date or 'now on'}, {schedule.timezone}"


def _tables(spec: ModelSpec, steps: tuple[Step, ...]) -> str:
    return ", ".join(f"`{spec.table(table)}`" for step in steps for table in step.produces)


def _row(spec: ModelSpec, step: Step) -> str:
    if step.actor in (Actor.COMMAND, Actor.SENSOR):
        last = " --to LAST" if step.ranged else ""
        by_hand = f"`tally run {spec.name} {step.name.replace('_', '-')} --date D{last}`"
    else:
        by_hand = "in Airflow only"
    return f"| `{step.name}` | {step.help} | {by_hand} |"


def _backfill(spec: ModelSpec, pipeline: Pipeline) -> list[str]:
    if pipeline is not Pipeline.SCORE:
        return []
    schedule = spec.schedule
    first = last = schedule.first_period
    for _ in range(6):
        last = schedule.calendar.next(last)
    start, end = backfill_bounds(spec, first, last)
    what = "A week" if schedule.calendar.cadence == "day" else f"Seven {schedule.calendar.cadence}s"
    return [
        f"{what} again (the bounds are instants; a bare last date would lose the last {schedule.calendar.cadence}):",
        "```",
        f"airflow backfill create --dag-id {spec.name}__score --from-date {start} \\",
        f"  --to-date {end} --reprocess-behavior completed --max-active-runs 2",
        "```",
    ]
