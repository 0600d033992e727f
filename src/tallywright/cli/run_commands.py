"""`tally run | ingest | train | score | backfill`: the commands that change tables."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from tallywright.cli.console import error_fields, show_record, show_rows, to_json
from tallywright.cli.options import (
    DATE,
    EFFECTIVE,
    FROM,
    MOST_DAYS,
    OUTPUT,
    PERIOD,
    PERSON,
    REASON,
    RUN_ID,
    SOURCE,
    VERSION,
    context_for,
    ends_of,
    json_option,
    new_run_id,
    parse_date,
    period_of,
    project_options,
    range_options,
    require_length,
)
from tallywright.cli.training_summary import TrainingSummary
from tallywright.errors import StorageError, TallyError, UsageError
from tallywright.lifecycle.context import RunOptions
from tallywright.lifecycle.plan import Pipeline, find_step, plan
from tallywright.lifecycle.run import run_pipeline, run_step, told_of
from tallywright.observability import log
from tallywright.records import DayState, VersionVerdict
from tallywright.spec.demands import staged_rollout

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from tallywright.spec import Project

FORCE: Final = "Score again although the inputs are equal; with --reason, also over what is newer."
_FILES_SHOWN: Final = 20
_FILE_COUNTS: Final = ("rows", "accepted", "quarantined", "outside", "undated")
OVERRIDE: Final = "With --force: why it goes over whatever stands; kept in the manifest."


def _one_period(project: Project, text: str) -> tuple[date, date]:
    """The ends of the one period that a text names."""
    period = period_of(project, text)
    return period, period


@click.command()
@project_options
@click.argument("step")
@click.option("--date", "day", type=PERIOD, required=True, help="Score date or period; for training the as-of date.")
@click.option("--to", type=PERIOD, help="The last one, inclusive, for a step about a range (`backfill`).")
@click.option(
    "--any-length", is_flag=True, help=f"With --to: the range is meant, though it is over {MOST_DAYS:,} days."
)
@click.option("--run-id", type=RUN_ID, help="The run whose steps share a folder (default: a new one).")
@click.option("--effective-from", type=EFFECTIVE, help="First date of a promotion or rollback (default: --date).")
@click.option("--version", type=VERSION, help="A registered version, for promote.")
@click.option("--from", "source", type=SOURCE, default="", help=FROM)
@click.option("--by", type=PERSON, default="", help="Who asks or approves.")
@click.option("--reason", type=REASON, default="", help="Why.")
@click.option("--act", is_flag=True, help="Only for monitor and decide: claim the training that is asked for.")
@click.option("--force", is_flag=True, help=FORCE)
@click.option("--rescore", is_flag=True, help="Score again what a version scored that was withdrawn since.")
@click.option("--dry-run", is_flag=True, help="Only for maintain: say what would be done, change nothing.")
@click.option(
    "--page", is_flag=True, help="Only for day-gate: judge the day again although it passed, and write its page anew."
)
@click.option("--result", "result_file", type=OUTPUT, help="Write the result here.")
@json_option
def run(
    project: Project, step: str, day: str, run_id: str | None, result_file: Path | None, *, as_json: bool, **given: Any
) -> None:
    """Run one STEP of a plan, exactly as an Airflow task does.

    A STEP is one of: ingest, day-gate, score (its parts: resolve, profile, drift), monitor (labels, performance,
    decide), backfill, snapshot, train, quality-gate, operations-gate, refit, register, judge, promote, rollback, watch,
    maintain. Where versions go through stages, advance is one; where a person approves, approval-form and reject; with
    two registries, arrive.
    `tally explain MODEL --date D --pipeline P` says what those of a pipeline do.
    """
    pipeline, found = find_step(project.spec, step, project.environment)
    if given["dry_run"] and pipeline is not Pipeline.MAINTAIN:
        raise UsageError(f"{found.name} has no dry run", expected="--dry-run with maintain, or `tally backfill`")
    if given["act"] and not found.acts:
        raise UsageError(f"{found.name} decides nothing", expected="--act with monitor or decide")
    if given["page"] and not found.pages:
        raise UsageError(f"{found.name} has no page", expected="--page with day-gate")
    to, any_length = given.pop("to"), given.pop("any_length")
    typed = ends_of if found.ranged else _one_period
    period = typed(project, day)[0] if pipeline.is_about_periods else parse_date(day)
    last = None if to is None else typed(project, to)[1]
    if last is not None and not any_length:
        require_length(period, last)
    options = RunOptions(last=last, **given)
    goes_back = pipeline is Pipeline.ROLLBACK
    context = context_for(project, period, run_id or new_run_id(pipeline), options, goes_back=goes_back)
    log.info("%s %s, from --date", pipeline.date_name, period)
    try:
        result = run_step(context, found.name)
    except TallyError as error:
        if result_file is not None:
            with suppress(OSError):  # the error itself is what counts
                result_file.write_text(json.dumps({"error": error_fields(error)}), encoding="utf-8")
        raise
    try:
        if result_file is not None:
            result_file.write_text(to_json(result), encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"the step {found.name} is done; its result cannot be written to {result_file}: {error.strerror}",
            remedy="the result stands on standard output; a repeat of the step changes nothing",
        ) from error
    finally:
        show_record(result, as_json=as_json)


@click.command()
@project_options
@range_options
@click.option("--force", is_flag=True, help="Write the dates again although the tables hold the same rows.")
@json_option
def ingest(project: Project, first: date, last: date, *, force: bool, as_json: bool) -> None:
    """Raw files to feature and label tables, for a date or a range in one run; one commit a date."""
    from tallywright.data.etl.ingest import IngestedDay
    from tallywright.data.etl.ingest import ingest as ingest_days
    from tallywright.data.etl.raw_rows import in_all
    from tallywright.lifecycle.seals import seal_run

    context = context_for(project, first, new_run_id("ingest"))

    def print_day(day: IngestedDay) -> None:
        if not as_json:
            state = "written" if day.changed else "unchanged"
            click.echo(f"{day.score_date}  {day.rows:>8,} rows  {day.quarantined:>5,} quarantined  {state}", err=True)

    try:
        run_days = partial(
            ingest_days, project, context.lake, first, last, progress=print_day, force=force,
            code_version=context.code_version,
        )  # fmt: skip
        days = told_of(context, *find_step(project.spec, "ingest"), run_days, last=last)
    finally:
        seal_run(context)  # also the dates before one that was refused
    written = sum(day.changed for day in days)
    closed = len(project.spec.schedule.calendar.closed_between(first, last))
    if as_json:
        click.echo(to_json([day.model_dump(mode="json") for day in days]))
        return
    show_rows(_most_telling([file.model_dump() for file in in_all(day.files for day in days)]), as_json=False)
    name = project.spec.schedule.calendar.cadence
    click.echo(f"{len(days)} {name}s, {sum(day.rows for day in days):,} rows; {written} written, "
               f"{len(days) - written} unchanged" + f"; {closed} closed {name}s left out" * bool(closed))  # fmt: skip


def _most_telling(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A few files, those with quarantined rows and rows of the range first, and the sums of the others by source."""
    if len(files) <= _FILES_SHOWN:
        return files
    ordered = sorted(files, key=lambda file: (not file["quarantined"], not file["accepted"]))
    others: dict[str, dict[str, Any]] = {}
    for file in ordered[_FILES_SHOWN:]:
        summed = others.setdefault(file["source"], file | {"file": "0", **dict.fromkeys(_FILE_COUNTS, 0)})
        summed |= {name: (summed[name] or 0) + (file[name] or 0) for name in _FILE_COUNTS}
        summed["file"] = str(int(summed["file"]) + 1)
    return [*ordered[:_FILES_SHOWN], *(one | {"file": f"({one['file']} more files)"} for one in others.values())]


@click.command()
@project_options
@click.option("--date", "day", type=DATE, required=True, help="As-of date: only what was known before it is used.")
@click.option("--effective-from", type=EFFECTIVE, help="First date the new champion scores (default: --date).")
@click.option("--by", type=PERSON, default="", help="Who approves, where the spec wants a person.")
@click.option("--reason", type=REASON, default="", help="Why; kept with the MLflow run, the version and the promotion.")
@click.option("--no-promote", is_flag=True, help="Train, gate and register; leave the champion as it is.")
@click.option("--run-id", type=RUN_ID, help="Continue this run's steps.")
@json_option
def train(project: Project, day: date, run_id: str | None, *, no_promote: bool, as_json: bool, **given: Any) -> None:
    """Snapshot, train, gate, register and promote: the whole train pipeline in this process."""
    options = RunOptions(**given)
    context = context_for(project, day, run_id or new_run_id("train"), options)
    why = "--no-promote was given" if no_promote else "approval is by a person"
    by_stages = staged_rollout(project) is not None  # a person is asked later then
    waits = no_promote or (project.spec.registry.approval == "person" and not options.by and not by_stages)
    steps = [
        step.name for step in plan(project.spec, Pipeline.TRAIN, project.environment) if step.name != Pipeline.PROMOTE
    ]
    summary = TrainingSummary(context)
    try:
        results = run_pipeline(
            context, Pipeline.TRAIN, only=steps if waits else (), listener=None if as_json else summary.heard
        )
    finally:
        if not as_json:
            summary.show_checks()
    registered, name = results["register"], project.spec.name
    if registered["verdict"] != VersionVerdict.PASSED:
        click.echo(f"registered, not promoted: version {registered['version']} is {registered['verdict']}", err=True)
    elif project.environment.registries.other is not None:
        here, there = project.environment.name, project.environment.registries.other.name
        how = f"`tally promote {name} --env {there} --version {registered['version']} --from {here}"
        click.echo(f"registered, not promoted: versions are promoted in {there}; there {how} --effective-from D --by "
                   "WHO`", err=True)  # fmt: skip
    elif waits:
        number, person = registered["version"], project.spec.registry.approval == "person"
        answer = f"`tally approve {name} {number} --reason WHY --key FILE`, and " if person else ""
        click.echo(f"registered, not promoted: {why}; then {answer}`tally promote {name} --version {number} "
                   "--effective-from D --by WHO`", err=True)  # fmt: skip
    if as_json:
        click.echo(to_json(results))


@click.command()
@project_options
@range_options
@click.option("--force", is_flag=True, help=FORCE)
@click.option("--reason", type=REASON, default="", help=OVERRIDE)
@click.option("--rescore", is_flag=True, help="Score again what a version scored that was withdrawn since.")
@click.option("--run-id", type=RUN_ID, help="The run id to record (default: a new one).")
@json_option
def score(project: Project, first: date, last: date, run_id: str | None, *, as_json: bool, **given: Any) -> None:
    """Ingest, gate, score, watch and decide, for a date or a range; a repeat changes nothing."""
    _backfill(project, first, last, run_id=run_id, options=RunOptions(**given), as_json=as_json)


@click.command()
@project_options
@range_options
@click.option("--dry-run", is_flag=True, help="Print date, models, action and why; change nothing.")
@click.option("--force", is_flag=True, help=FORCE)
@click.option("--reason", type=REASON, default="", help=OVERRIDE)
@click.option("--rescore", is_flag=True, help="Score again what a version scored that was withdrawn since.")
@json_option
def backfill(project: Project, first: date, last: date, *, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Score a range with the models that were champion then; one commit a date."""
    if dry_run:
        from tallywright.reporting.preview import preview

        show_rows(
            [row.as_dict() for row in preview(project, first, last, force=given["force"], rescore=given["rescore"])],
            as_json=as_json,
        )
        return
    _backfill(project, first, last, run_id=None, options=RunOptions(**given), as_json=as_json)


def _backfill(
    project: Project, first: date, last: date, *, run_id: str | None, options: RunOptions, as_json: bool
) -> None:
    from tallywright.lifecycle.backfill import DayResult, verdict
    from tallywright.lifecycle.backfill import backfill as run_range
    from tallywright.monitoring.policy import CLOSED_DAY, PART_OF_A_DAY

    def print_day(day: DayResult) -> None:
        if not as_json:
            click.echo(f"{day.score_date}  {day.action:<10} {day.rows:>8,} rows  {day.model}  {day.detail}", err=True)

    context = context_for(project, first, run_id or new_run_id("score"), options)
    log.info("score dates %s to %s, from the command line", first, last)
    results = run_range(context, first, last, on_day=print_day)
    if as_json:
        click.echo(to_json([day.as_dict() for day in results]))
    quiet = {DayState.OK.value, CLOSED_DAY, PART_OF_A_DAY}  # counted in the log of a range, not listed
    for day in results:
        if day.state and (len(results) == 1 or day.state not in quiet) and not as_json:
            click.echo(f"{day.score_date}  decision: {day.state}", err=True)
    refused = [day for day in results if day.exit_code]
    if refused:
        click.echo(f"{len(refused)} of {len(results)} days were refused", err=True)
    unrealised = [one for day in results for one in day.unrealised]
    for one in unrealised:
        click.echo(f"{one.score_date} was not realised: {one.error}", err=True)
    if refused or unrealised:
        own = refused[0] if refused and len(results) == 1 else None
        sys.exit(own.exit_code if own else verdict(results) or unrealised[0].error.exit_code)
