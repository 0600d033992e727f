"""The plan: a pure function from a spec to the ordered steps of a pipeline.

Airflow, `tally run` and `tally explain` interpret this one list, so a dry run cannot differ from a run. Nothing here
imports a heavy package: a DAG file is parsed every few seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from tallywright.errors import UsageError, did_you_mean
from tallywright.spec.environment import Here

if TYPE_CHECKING:
    from tallywright.spec import Environment, ModelSpec


class Pipeline(StrEnum):
    """The pipelines of a model; each is one DAG, `<model>__<pipeline>`."""

    SCORE = "score"
    BACKFILL = "backfill"
    TRAIN = "train"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    WATCH = "watch"
    MAINTAIN = "maintain"

    @property
    def is_about_periods(self) -> bool:
        """True when its runs are about score periods; others are about dates, such as the as-of date of a training."""
        return self in (Pipeline.SCORE, Pipeline.BACKFILL, Pipeline.WATCH)

    @property
    def date_name(self) -> str:
        """What the date of its runs is called."""
        return "score date" if self.is_about_periods else "date"


class Actor(StrEnum):
    """Who runs a step: a command, a person or Airflow itself."""

    COMMAND = "command"
    """`tally run <model> <step>`, by Airflow or by a person."""
    APPROVAL = "approval"
    """A person answers in the Airflow UI."""
    TRIGGER = "trigger"
    """Airflow starts another DAG, if the result of the step before asks for it."""
    SENSOR = "sensor"
    """Airflow asks again and again, by `tally run` or itself, until the deadline."""


TRIGGER_TRAIN: Final = "trigger_train"
CATCH_UP: Final = "catch_up"
TRIGGER_PROMOTE: Final = "trigger_promote"


class Uses(StrEnum):
    """Which of the spec's engines a step may start."""

    SQL = "sql"
    """`data.engine`, for the project's queries."""
    SCORING = "scoring"
    """`scoring.engine`."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a pipeline.

    Attributes:
        name: snake_case; also the Airflow task id. On the command line hyphens are accepted too.
        help: What it does, in one line.
        runs: The function that runs it, `module:name` below `tallywright.lifecycle.steps`; empty where Airflow does.
        parts: Sub-steps that it does too; each can be run by itself with `tally run`.
        needs: Names of the steps that must have succeeded.
        timeout: After this long the step is killed.
        retries: How often a retryable failure is tried again.
        heavy: True when it takes a slot of the pool that bounds memory.
        actor: Who carries it out.
        produces: Short names (`scores`, …) of the tables it writes; Airflow assets.
        extra: The extra of the distribution it needs besides the slim core, if any.
        uses: The engines that it may start: its task is submitted as these want it.
        acts: True when it takes `--act`, to claim the training that it decides on.
        ranged: True when it is about a range of days (`--to`).
        pages: True when it writes a page of what it found (`--page` does it again).
        once: True when a range of days does it once for all of them.
        refuses: True when what it refuses is the day: `<model>__periods` says so, and the step stays red.
        open_only: True when it has nothing to do on a date that the calendar closes.
        seals: True when a run ends with it, or may: what the run wrote is sealed then.
    """

    name: str
    help: str
    runs: str = ""
    parts: tuple[Step, ...] = ()
    needs: tuple[str, ...] = ()
    timeout: timedelta = timedelta(minutes=15)
    retries: int = 2
    heavy: bool = False
    actor: Actor = Actor.COMMAND
    produces: tuple[str, ...] = ()
    extra: str | None = None
    uses: frozenset[Uses] = frozenset()
    acts: bool = False
    ranged: bool = False
    pages: bool = False
    once: bool = False
    refuses: bool = False
    open_only: bool = False
    seals: bool = False


def plan(spec: ModelSpec, pipeline: Pipeline | str, environment: Environment | None = None) -> tuple[Step, ...]:
    """The steps of a pipeline of this model, each after all that it needs.

    Args:
        spec: The model.
        pipeline: Which steps.
        environment: Where they run: with two registries, training ends with `register`, and promotion begins with
            `arrive`; without one, as where there is one registry.

    Raises:
        UsageError: No such pipeline.
    """
    try:
        wanted = Pipeline(pipeline)
    except ValueError as error:
        raise UsageError(f"no pipeline {pipeline!r}", expected=f"one of {', '.join(Pipeline)}") from error
    if environment is not None and environment.registries.here is not Here.BOTH:
        if wanted is Pipeline.TRAIN:
            # Where production's Airflow has both DAGs, the policy goes on by itself.
            goes_on = environment.registries.here is Here.PRODUCTION and spec.registry.approval == "policy"
            return (*_training(spec), _TRIGGER_PROMOTE) if goes_on else _training(spec)
        if wanted is Pipeline.PROMOTE:
            first, *others = _promote(spec)
            return (_ARRIVE, replace(first, needs=(_ARRIVE.name,)), *others)
        if not environment.trains:
            return tuple(step for step in _PIPELINES[wanted](spec) if step.name != TRIGGER_TRAIN)
    return _PIPELINES[wanted](spec)


def pipelines_in(environment: Environment) -> tuple[Pipeline, ...]:
    """The pipelines that run in an environment: what a training environment does not do, nor one of production."""
    if environment.registries.here is Here.TRAINING:
        return (Pipeline.TRAIN, Pipeline.MAINTAIN)
    return tuple(one for one in Pipeline if one is not Pipeline.TRAIN or environment.trains)


def find_step(spec: ModelSpec, name: str, environment: Environment | None = None) -> tuple[Pipeline, Step]:
    """The step (or sub-step) of that name, and the pipeline it belongs to; score steps are found first.

    Raises:
        UsageError: No such step, or one that only Airflow can carry out.
    """
    wanted = name.replace("-", "_")
    known: dict[str, tuple[Pipeline, Step]] = {}
    for pipeline in Pipeline:
        for step in plan(spec, pipeline, environment):
            for one in (step, *step.parts):
                if one.actor in (Actor.COMMAND, Actor.SENSOR):
                    known.setdefault(one.name, (pipeline, one))
    if wanted not in known:
        raise UsageError(f"no step {name!r}{did_you_mean(wanted, list(known))}", expected=f"one of {', '.join(known)}")
    return known[wanted]


def longest_run(steps: tuple[Step, ...]) -> timedelta:
    """The longest time that a run may take: all attempts of its steps, and an hour in queues."""
    return sum((step.timeout * (step.retries + 1) for step in steps), timedelta(hours=1))


def _score(spec: ModelSpec) -> tuple[Step, ...]:
    waits = Step(
        "await_input",
        f"wait for {spec.schedule.after}, until the deadline",
        "day:await_input",
        timeout=spec.schedule.longest_wait,
        retries=0,
        actor=Actor.SENSOR,
    )
    first = (waits.name,) if spec.schedule.after else ()
    steps = (
        Step("ingest", "raw files -> contract check -> features and labels of the day", "day:ingest",
             needs=first, produces=("features",), uses=frozenset({Uses.SQL}), once=True, refuses=True),
        Step("day_gate", "Great Expectations judges the day", "day:day_gate", needs=("ingest",), heavy=True,
             extra="gx", pages=True, refuses=True, open_only=True),
        Step("score", "the day's models, its scores in one atomic commit, its profile and drift", "day:score",
             parts=(
                 Step("resolve", "which model was champion on the day", "day:resolve"),
                 Step("profile", "the profile of the tally stands in its table", "day:profile"),
                 Step("drift", "compare the profile with the training reference", "day:drift"),
             ),
             needs=("day_gate",), heavy=True, produces=("scores", "profile", "drift"), timeout=timedelta(hours=2),
             uses=frozenset({Uses.SCORING}), refuses=True, open_only=True),
        Step("monitor", "late labels, realised metrics of the days whose labels matured, the retraining decision",
             "monitor:monitor",
             parts=(
                 Step("labels", "the labels of younger dates, read again", "monitor:labels"),
                 Step("performance", "realised metrics of the days whose labels matured", "monitor:performance"),
                 Step("decide", "the retraining policy's decision of the day", "monitor:decide", acts=True),
             ),
             needs=("score",), produces=("performance", "decisions"), acts=True, once=True, uses=frozenset({Uses.SQL}),
             open_only=True, seals=True),
    )  # fmt: skip
    stages = Step("advance", "the challenger's next stage, its promotion or its return, by what is realised",
                  "advance:advance", needs=("monitor",), retries=1, produces=("promotions",), extra="train", once=True,
                  open_only=True, seals=True)  # fmt: skip
    train = Step(
        TRIGGER_TRAIN,
        "start training, if the decision about the newest day says so",
        needs=("monitor",),
        actor=Actor.TRIGGER,
    )
    backfill = Step(
        CATCH_UP,
        "start the backfill of the periods that an outage left out, if this is the newest run",
        needs=("monitor",),
        actor=Actor.TRIGGER,
    )
    return (
        *((waits,) if first else ()),
        *steps,
        *((stages,) if spec.staged_rollout is not None else ()),
        *((train,) if spec.retraining.trigger else ()),
        *((backfill,) if spec.schedule.catch_up else ()),
    )


def _backfill(_: ModelSpec) -> tuple[Step, ...]:
    return (Step("backfill", "every step of each day of a range, one engine start for all, one commit a day",
                 "backfill:backfill", timeout=timedelta(hours=24), heavy=True, produces=("scores",), extra="gx",
                 uses=frozenset(Uses), ranged=True),)  # fmt: skip


def _training(spec: ModelSpec) -> tuple[Step, ...]:
    """The steps of a training until its version is registered."""
    searching = timedelta(minutes=0 if spec.training.tuning is None else spec.training.tuning.minutes or 0)
    return (
        Step("snapshot", "pin the training data by version and date", "train:snapshot", extra="train"),
        Step("train", "train, evaluate and package", "train:train", needs=("snapshot",), heavy=True,
             timeout=timedelta(hours=6) + searching, retries=1, extra="train"),
        Step("quality_gate", "metric bounds, and superiority over the champion on the same rows", "gates:quality_gate",
             needs=("train",), heavy=True),
        Step("operations_gate", "the checklist of a deployment", "gates:operations_gate", needs=("train",),
             heavy=True),
        Step("refit", "the judged recipe, fitted on all rows through the as-of date, and its gates", "train:refit",
             needs=("quality_gate", "operations_gate"), heavy=True, timeout=timedelta(hours=6), retries=1,
             extra="train"),
        Step("register", "the version and its evidence in the registry, whatever the gates said", "register:register",
             needs=("refit",), extra="train", seals=True),
    )  # fmt: skip


def _train(spec: ModelSpec) -> tuple[Step, ...]:
    steps = _training(spec)
    promote = _promote_step("register")
    # By stages a person is asked when there is something to see: before the canary, and before it is champion.
    if spec.registry.approval == "policy" or spec.staged_rollout is not None:
        return (*steps, promote)
    approval = Step(
        "approval",
        "a person approves or rejects; no answer is a no",
        parts=(
            Step(
                "approval_form",
                "what the person is shown: the version, its checks and the champion's",
                "promotion:approval_form",
                extra="train",
            ),
            Step(
                "reject",
                "the person's no, in the promotion log",
                "promotion:reject",
                produces=("promotions",),
                extra="train",
                seals=True,
            ),
        ),
        needs=("register",),
        timeout=timedelta(hours=spec.registry.approval_timeout_hours),
        retries=0,
        actor=Actor.APPROVAL,
    )
    return (*steps, approval, _promote_step("approval"))


def _promote_step(*needs: str) -> Step:
    return Step("promote", "champion from the effective date on, if every gate passed", "promotion:promote",
                needs=needs, retries=1, produces=("promotions",), extra="train", seals=True)  # fmt: skip


_TRIGGER_PROMOTE: Final = Step(
    TRIGGER_PROMOTE, "start the promotion, if every gate passed", needs=("register",), actor=Actor.TRIGGER
)
_ARRIVE: Final = Step("arrive", "a version with its evidence from the registry of training, verified on arrival",
                      "arrive:arrive", retries=1, timeout=timedelta(hours=1), extra="train", seals=True)  # fmt: skip


def _promote(_: ModelSpec) -> tuple[Step, ...]:
    judge = Step("judge", "a version again that is undecided, or has passed against another champion", "judge:judge",
                 heavy=True, retries=1, extra="train")  # fmt: skip
    return (judge, _promote_step("judge"))


def _rollback(_: ModelSpec) -> tuple[Step, ...]:
    return (Step("rollback", "the previous champion, from the effective date on", "promotion:rollback", retries=1,
                 produces=("promotions",), extra="train", seals=True),)  # fmt: skip


def _watch(_: ModelSpec) -> tuple[Step, ...]:
    return (Step("watch", "fails when a due period was not scored, back to the last scored date", "monitor:watch",
                 retries=0, seals=True),)  # fmt: skip


def _maintain(_: ModelSpec) -> tuple[Step, ...]:
    return (Step("maintain", "compact tables, delete what nothing refers to any more", "maintain:maintain", retries=1,
                 heavy=True, timeout=timedelta(hours=4), extra="train", seals=True),)  # fmt: skip


_PIPELINES = {
    Pipeline.SCORE: _score,
    Pipeline.BACKFILL: _backfill,
    Pipeline.TRAIN: _train,
    Pipeline.PROMOTE: _promote,
    Pipeline.ROLLBACK: _rollback,
    Pipeline.WATCH: _watch,
    Pipeline.MAINTAIN: _maintain,
}
