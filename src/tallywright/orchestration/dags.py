"""Makes the DAGs of a model from its spec; all steps and their order come from `lifecycle.plan`."""

from __future__ import annotations

import sys
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, Asset
from airflow.sdk.configuration import conf

from tallywright.errors import UsageError
from tallywright.lifecycle.plan import (
    CATCH_UP,
    TRIGGER_PROMOTE,
    TRIGGER_TRAIN,
    Actor,
    Pipeline,
    Step,
    Uses,
    longest_run,
    pipelines_in,
    plan,
)
from tallywright.orchestration.alerts import failure_alert
from tallywright.orchestration.approval_task import approval
from tallywright.orchestration.command import POOL, StepCommand
from tallywright.orchestration.doc_md import SUMMARIES, dag_document
from tallywright.orchestration.operator import TallyOperator
from tallywright.orchestration.params import form
from tallywright.orchestration.timetable import OpenPeriodsTimetable
from tallywright.orchestration.trigger import BackfillTrigger, PromoteTrigger, TrainTrigger
from tallywright.score_period import date_of
from tallywright.spec.calendar import Calendar
from tallywright.spec.environment import AUTO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.spec import ModelSpec, Project
    from tallywright.spec.environment import EngineSettings
    from tallywright.spec.schedule import Schedule

MAX_ACTIVE_RUNS: Final = 2
_RETRY_DELAY: Final = timedelta(seconds=30)
_LONGEST_RETRY_DELAY: Final = timedelta(minutes=10)
_TRIGGERS: Final[Mapping[str, Any]] = {
    CATCH_UP: BackfillTrigger,
    TRIGGER_PROMOTE: PromoteTrigger,
    TRIGGER_TRAIN: TrainTrigger,
}


def model_dags(project: Project, limits: Mapping[str, Any] | None = None) -> dict[str, DAG]:
    """The DAGs of one model by id, one a pipeline of this environment: `<model>__score`, `<model>__train` and so on.

    Args:
        project: The model.
        limits: What `airflow_limits` says, if it was asked already.
    """
    limits = airflow_limits() if limits is None else limits
    dags = (model_dag(project, pipeline, limits) for pipeline in pipelines_in(project.environment))
    return {dag.dag_id: dag for dag in dags}


def table_asset(spec: ModelSpec, what: str) -> Asset:
    """The Airflow asset of one of the model's tables; other DAGs can be scheduled on it."""
    return _asset(spec.name, spec.table(what))


@cache
def _asset(model: str, table: str) -> Asset:
    """Several DAGs of a model write the same table."""
    return Asset(name=table, uri=f"tallywright://{model}/{table}", group="tallywright")


def model_dag(project: Project, pipeline: Pipeline, limits: Mapping[str, Any] | None = None) -> DAG:
    """One DAG of a model, `<model>__<pipeline>`.

    Args:
        project: The model.
        pipeline: What the DAG runs.
        limits: What `airflow_limits` says, if it was asked already.
    """
    spec = project.spec
    steps = plan(spec, pipeline, project.environment)
    timing = _timing(spec, pipeline)
    common = {"owner": spec.owner.name, "on_failure_callback": failure_alert(project)}
    common |= _workers(project.environment.engine, pipeline)
    dag = DAG(
        dag_id=f"{spec.name}__{pipeline.value}",
        description=f"{spec.name} {SUMMARIES[pipeline]}",
        doc_md=dag_document(spec, pipeline, steps),
        schedule=timing.pop("schedule"),
        tags=sorted({"tallywright", spec.name, pipeline.value, *spec.tags}),
        catchup=False,
        default_args=common,
        dagrun_timeout=longest_run(steps),
        render_template_as_native_obj=False,
        **(airflow_limits() if limits is None else limits),
        **timing,
    )
    persons = frozenset(step.name for step in steps if step.actor is Actor.APPROVAL)
    # Made apart from the DAG: a task would copy what its DAG says once for each of the classes that it is made of.
    placed = common | {"task_group": dag.task_group}
    tasks = {step.name: _task(project, pipeline, step, persons, placed) for step in steps}
    dag.add_tasks(tasks.values())
    for step in steps:
        if step.needs:
            tasks[step.name].set_upstream([tasks[name] for name in step.needs])
    # Last: each task would copy the form, though a run takes the answers from its DAG. That was half of all the time.
    for name, field in form(spec, pipeline, project.environment.trained_in).items():
        dag.params[name] = field
    return dag


def _workers(engine: EngineSettings, pipeline: Pipeline) -> dict[str, str]:
    """The queue and the pool of a pipeline's tasks, where the overlay gives it some of its own.

    A worker takes tasks of its queues alone: so what needs credentials runs where these are.
    """
    given = {"queue": engine.queues.get(pipeline.value), "pool": engine.pools.get(pipeline.value)}
    return {name: value for name, value in given.items() if value is not None}


def airflow_limits() -> dict[str, Any]:
    """Limits that a DAG would otherwise read from Airflow's configuration, a tenth of the time of making it."""
    return {
        "max_active_tasks": conf.getint("core", "max_active_tasks_per_dag"),
        "max_consecutive_failed_dag_runs": conf.getint("core", "max_consecutive_failed_dag_runs_per_dag"),
        "disable_bundle_versioning": conf.getboolean("dag_processor", "disable_bundle_versioning"),
    }


def _timing(spec: ModelSpec, pipeline: Pipeline) -> dict[str, Any]:
    """The timetable of a DAG. A cron string would make a trigger timetable, whose runs have no data interval."""
    schedule = spec.schedule
    if pipeline is Pipeline.SCORE:
        cron, calendar, active = schedule.cron, schedule.calendar, MAX_ACTIVE_RUNS
    elif pipeline is Pipeline.WATCH:
        cron, calendar, active = schedule.deadline_cron, schedule.calendar, MAX_ACTIVE_RUNS
    elif pipeline is Pipeline.MAINTAIN:
        cron, calendar, active = spec.maintenance.cron, Calendar(timezone=schedule.timezone), 1
    else:
        return {"schedule": None, "max_active_runs": 1}
    timetable = OpenPeriodsTimetable(
        cron,
        schedule.timezone,
        calendar,
        first=_local(date_of(schedule.first_period), time.min, schedule),
        last=_end_of_the_last(schedule, schedule.end_date) if schedule.end_date else None,
    )
    return {"schedule": timetable, "max_active_runs": active}


def _end_of_the_last(schedule: Schedule, end_date: date) -> datetime:
    """The last second of the last period that begins on the end date or earlier."""
    calendar = schedule.calendar
    last = calendar.end(calendar.last_on(end_date)) - timedelta(seconds=1)
    return last.astimezone(ZoneInfo(schedule.timezone))


def _local(day: date, at: time, schedule: Schedule) -> datetime:
    return datetime.combine(day, at, ZoneInfo(schedule.timezone))


def _task(project: Project, pipeline: Pipeline, step: Step, persons: frozenset[str], common: Mapping[str, Any]) -> Any:
    """The task of a step; `persons` are the steps that a person answers, `common` is what all tasks are told."""
    spec = project.spec
    if step.actor is Actor.APPROVAL:
        commands = {part.name: _command(project, part) for part in step.parts}
        return approval(spec, step, commands, {"retries": step.retries, **common})
    if step.actor is Actor.TRIGGER:
        own: dict[str, Any] = {}
        if step.name == TRIGGER_PROMOTE:
            # A worker of training knows no such task: there its environment's training ends with `register`.
            common = {name: value for name, value in common.items() if name not in ("queue", "pool")}
            own = {"source": project.environment.trained_in}
        return _TRIGGERS[step.name](
            spec=spec,
            decided_by=step.needs[0],
            **own,
            task_id=step.name,
            retries=step.retries,
            execution_timeout=step.timeout,
            doc_md=step.help,
            **common,
        )
    pool = {"pool": POOL} if step.heavy and "pool" not in common else {}
    operator, placed = _operator(project, step)
    limit = {} if step.actor is Actor.SENSOR else {"execution_timeout": step.timeout}
    return operator(
        task_id=step.name,
        command=_command(project, step),
        pipeline=pipeline,
        schedule=spec.schedule,
        acts=step.acts,
        approved_by=next(iter(persons.intersection(step.needs)), ""),
        retries=step.retries,
        retry_delay=_RETRY_DELAY,
        retry_exponential_backoff=True,
        max_retry_delay=_LONGEST_RETRY_DELAY,
        outlets=[table_asset(spec, table) for table in step.produces],
        doc_md=step.help,
        **limit,
        **pool,
        **placed,
        **common,
    )


def _operator(project: Project, step: Step) -> tuple[type[TallyOperator], dict[str, Any]]:
    """The operator class of a step with its own arguments: spark-submit where a connection names a cluster."""
    if step.actor is Actor.SENSOR:
        from tallywright.orchestration.input_sensor import InputSensor

        return InputSensor, {}
    settings = project.environment.engine
    for use in sorted(step.uses, reverse=True):
        for engine in _engines(project, use):
            cluster = settings.submitted(engine)
            if cluster is not None:
                try:
                    from tallywright.orchestration.spark_submit import SparkTallyOperator, submitted
                except ImportError as error:
                    raise UsageError(
                        f"the step {step.name} is submitted to Spark ({engine} by {cluster.connection}), and Airflow's "
                        f"Spark provider is not installed: {error}",
                        expected="the extra of the engine in Airflow's environment",
                        remedy="pip install 'tallywright[spark]'",
                    ) from error

                scores = Uses.SCORING in step.uses and engine in _engines(project, Uses.SCORING)
                return SparkTallyOperator, submitted(cluster, project.spec.scoring.io if scores else "direct")
    return TallyOperator, {}


def _engines(project: Project, use: Uses) -> tuple[str, ...]:
    """The engines that a step may start; all for `auto`, which is resolved by the bytes of a day."""
    if use is Uses.SQL:
        return (project.spec.data.engine,)
    engine = project.spec.scoring.engine
    return project.environment.engine.auto if engine == AUTO else (engine,)


def _command(project: Project, step: Step) -> StepCommand:
    return StepCommand(
        interpreter=project.environment.engine.interpreter or sys.executable,
        root=project.root,
        model=project.spec.name,
        step=step.name,
        connection=project.environment.storage.connection,
        passed=project.environment.engine.environment,
    )
