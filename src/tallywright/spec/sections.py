"""The sections of `model.yaml` but the schedule, in lifecycle order; every default is the safe one."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from tallywright.spec.base import Identity, PathOrNone, RelativePath, Section, identity_of
from tallywright.spec.calendar import Span
from tallywright.spec.estimators import Boosting, Estimators, EstimatorSpec, Network, Ready, Sklearn, Torch
from tallywright.spec.sources import Source
from tallywright.spec.tuning import Tuning, tuned_of
from tallywright.spec.values import (
    LONGEST_DESCRIPTION,
    MOST_COLUMNS,
    Column,
    Columns,
    Cron,
    Days,
    Duration,
    Filled,
    Name,
    Number,
    Periods,
    PositiveDays,
    PositivePeriods,
    Share,
    VersionNumber,
    Whole,
    each_once,
)
from tallywright.tasks import TASKS, PrimaryMetric, Task, TaskName

_MOST_BATCH_ROWS: Final = 1 << 24
_MOST_COST: Final = 1e12
"""Of a wrong decision: sums over the rows of any window are finite."""
CHALLENGER = "challenger"
PREVIOUS = "previous"
CONSTANT = "constant"

Version = VersionNumber | Literal["challenger"]
"""A registered version, or the newest one that is newer than all that were ever champion."""

Failure = Literal["package", "output", "prediction"]


def _span(days: int, periods: int | None) -> Span:
    return Span(days) if periods is None else Span(periods, "periods")


def _require_one_unit(section: Section, *names: str) -> None:
    given = section.model_fields_set
    twice = [name for name in names if {f"{name}_days", f"{name}_periods"} <= given
             and getattr(section, f"{name}_periods") is not None]  # fmt: skip
    if twice:
        raise ValueError(f"{twice[0]}_days and {twice[0]}_periods are both given; give one")


class Owner(Section):
    """Who answers for the model."""

    name: Filled
    """A person or a team."""
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=320)


_Prose = Annotated[str, Field(max_length=LONGEST_DESCRIPTION)]


class Card(Section):
    """What people say of the model for its card: words alone, which change no result and no digest.

    A blank line begins a new paragraph; what is not given is said to be missing.
    """

    purpose: _Prose = ""
    """What the model is for; without it the card has `description`."""
    intended_use: _Prose = ""
    """Who uses its scores, and for which decisions."""
    out_of_scope: _Prose = ""
    """What it must not be used for."""
    limits: _Prose = ""
    """Where it is known to be weak, and what to bear in mind."""
    ethical_considerations: _Prose = ""
    """Who may be harmed by a wrong score, and what is done about it."""
    contact: _Prose = ""
    """Whom to ask, beside the owner."""


class Data(Section):
    """Raw sources, the SQL that makes features and labels of them, and the contract of the feature table."""

    engine: Literal["duckdb", "spark"] = "duckdb"
    """What runs the three queries: `duckdb` in the ingest process, `spark` on a Spark master; the rows are the same."""
    sources: dict[Name, Source] = Field(min_length=1)
    key: Columns = Field(min_length=1)
    """Columns unique within a score date."""
    score_moment: Column = "score_moment"
    """The column with the instant (UTC) from which the prediction is made."""
    contract: RelativePath = "sql/contract.sql"
    """SQL that returns each raw row of the range with `score_date` and `reject_reason` (null when good)."""
    features: RelativePath = "sql/features.sql"
    labels: RelativePath = "sql/labels.sql"
    sql_minutes: Number = Field(default=60, gt=0, le=1_440)
    """Each of the three queries is stopped after so many minutes, and the run refused."""
    score_ahead: Duration = timedelta(days=1)
    """How long before the start of its period a score moment may lie, such as `1 day` or `36 hours`. It never lies
    after the period's end."""
    columns: dict[Column, str] = Field(min_length=1, max_length=MOST_COLUMNS)
    """Column name to SQL type of the feature table, keys and score moment included, in table order."""
    sparse_columns: Columns = ()
    """Columns that may be null in every row of a day (a rate without history); in any other column that is refused."""
    lookback_days: Days = 28
    """How many days before the score date the SQL may look at."""
    lookback_periods: Periods = None
    """The same in open periods."""
    label_maturity_days: Days = 1
    """Labels of a period count as mature this many days after its end."""
    label_maturity_periods: Periods = None
    """The same in open periods."""
    label_wait_days: Days | None = None
    """Labels may arrive for this many days after their period: so long they are read again at every run, a row without
    one is `missing` and not `never`, and training leaves the period out. Not given, it is that of maturity."""
    label_wait_periods: Periods = None
    """The same in open periods."""
    expectations: PathOrNone = ""
    """The suite in `expectations/` that judges a day; empty means `<model>__features.yaml`."""
    usual_rows_days: PositiveDays = 28
    """How many earlier days the usual row count is the median of."""
    usual_rows_periods: PositivePeriods = None
    """The same in open periods."""
    min_rows_share: Share = 0.5
    """A day with fewer rows than this share of the usual is refused."""

    @model_validator(mode="after")
    def _one_unit(self) -> Data:
        _require_one_unit(self, "lookback", "label_maturity", "label_wait", "usual_rows")
        return self

    @model_validator(mode="after")
    def _waits_for_mature_labels(self) -> Data:
        wait, maturity = self.label_wait, self.label_maturity
        if wait.unit != maturity.unit:
            raise ValueError(
                f"label_wait_{wait.unit} and label_maturity_{maturity.unit} cannot be compared; give both in "
                f"{maturity.unit}"
            )
        if wait.length < maturity.length:
            raise ValueError(
                f"label_wait_{wait.unit} {wait.length} is less than label_maturity_{wait.unit} {maturity.length}: "
                "labels that are still waited for are not mature"
            )
        return self

    @property
    def lookback(self) -> Span:
        """How far before the score period the SQL may look."""
        return _span(self.lookback_days, self.lookback_periods)

    @property
    def label_maturity(self) -> Span:
        """How long after their period labels count as mature."""
        return _span(self.label_maturity_days, self.label_maturity_periods)

    @property
    def label_wait(self) -> Span:
        """How long after their period labels may arrive."""
        if self.label_wait_days is None and self.label_wait_periods is None:
            return self.label_maturity
        return _span(self.label_wait_days or 0, self.label_wait_periods)

    @property
    def usual_rows(self) -> Span:
        """Of how long before a period the usual row count is the median."""
        return _span(self.usual_rows_days, self.usual_rows_periods)


class Training(Section):
    """What is learnt, from which rows, and how."""

    task: TaskName = "binary"
    target: Column = "label"
    positive: str = ""
    """Binary: the class whose probability is learnt, where labels are not 0 and 1: `positive: "yes"`, in quotes."""
    unit: str = ""
    """Regression: the unit of the target, such as `hours`; models of another unit never share a table."""
    numeric: Columns = ()
    categorical: Columns = ()
    slices: Columns = ()
    """Categorical columns by which evaluation and monitoring are also reported."""
    window_days: PositiveDays = Field(default=60, ge=2)
    """Days of features before the holdout that are trained on."""
    window_periods: PositivePeriods = None
    """The same in open periods; the three windows are given in one unit."""
    validation_days: PositiveDays = 7
    """The last days of the window, used for early stopping."""
    validation_periods: PositivePeriods = None
    """The same in open periods."""
    holdout_days: PositiveDays = 14
    """Days after the window that only gates look at."""
    holdout_periods: PositivePeriods = None
    """The same in open periods."""
    min_category_rows: Whole = Field(default=20, ge=1)
    """A category seen less often than this becomes the unseen category."""
    seed: Whole = Field(default=7, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    estimator: Estimators | None = None
    """What learns the model, by its `kind`; of a list all are trained on the same rows, and the best on validation by
    `gates.primary_metric` becomes the candidate. Not given, it is the torch network of `network`."""
    tuning: Tuning | None = None
    """A search for the parameters of an estimator, before it is fitted."""
    network: Network = Network()
    """The same as `estimator: {kind: torch, …}`, as it was written before."""
    refit: bool = False
    """Fit the recipe that was judged once more, on all rows through the as-of date, and let that serve. From
    `spec_version: 2` on it is on."""
    baselines: bool = True
    """Also fit a logistic regression and gradient-boosted trees on the same rows, for comparison."""

    @field_validator("positive", mode="before")
    @classmethod
    def _quoted(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError("without quotes YAML reads yes, no, on, off as truth values: quote the class")  # noqa: TRY004 - pydantic turns it into an error of the spec
        return value

    @model_validator(mode="before")
    @classmethod
    def _network_of_before(cls, values: Any) -> Any:
        """Lays the keys of `network` over a torch estimator: a `--set` of before changes what the file says now."""
        if not isinstance(values, dict) or not isinstance(values.get("network"), dict):
            return values
        estimator, network = values.get("estimator"), values["network"]
        if not isinstance(estimator, dict) or estimator.get("kind") != "torch":
            return values
        rest = {name: value for name, value in values.items() if name != "network"}
        return rest | {"estimator": estimator | network}

    @model_serializer(mode="wrap")
    def _one_of_both(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Writes `estimator`, or `network` as it was before, never both; and no search that is not asked for."""
        values: dict[str, Any] = handler(self)
        values.pop("estimator" if self.estimator is None else "network", None)
        if self.tuning is None:
            values.pop("tuning", None)
        return values

    @property
    def kind(self) -> Task:
        """What the task means."""
        return TASKS[self.task]

    @property
    def estimators(self) -> tuple[EstimatorSpec, ...]:
        """The estimators that are trained, in the order of the spec."""
        if self.estimator is None:
            return (Torch(kind="torch", **dict(self.network)),)
        return self.estimator if isinstance(self.estimator, tuple) else (self.estimator,)

    @property
    def tuned(self) -> EstimatorSpec | None:
        """The estimator whose parameters are searched; None without a search, or where it names none of them."""
        return None if self.tuning is None else tuned_of(self.tuning, self.estimators)

    @property
    def modules(self) -> tuple[str, ...]:
        """The files of the model project with Python that the training runs."""
        return tuple(one.module for one in self.estimators if isinstance(one, Torch))

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the model project that the estimators read."""
        return (*self.modules, *(one.file for one in self.estimators if isinstance(one, Ready)))

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        if not self.numeric and not self.categorical:
            raise ValueError("no features: name at least one column in `numeric` or `categorical`")
        both = set(self.numeric) & set(self.categorical)
        if both:
            raise ValueError(f"columns are both numeric and categorical: {sorted(both)}")
        unused = [name for name, fits in (("positive", self.kind.thresholds), ("unit", not self.kind.classifies))
                  if getattr(self, name) and not fits]  # fmt: skip
        if unused:
            raise ValueError(f"`{unused[0]}` means nothing to the task {self.task}")
        self._require_fitting_estimators()
        _require_one_unit(self, "window", "validation", "holdout")
        window, validation = self.window, self.validation
        if window.unit != validation.unit or self.holdout.unit != window.unit:
            raise ValueError("give window, validation and holdout all in days, or all in periods")
        if validation.length >= window.length:
            unit = window.unit
            raise ValueError(f"validation_{unit} {validation.length} leaves nothing of window_{unit} {window.length}")
        return self

    def _require_fitting_estimators(self) -> None:
        if self.estimator is not None and "network" in self.model_fields_set:
            raise ValueError("`network` belongs to an estimator of kind torch: give its keys there, under `estimator`")
        for one in self.estimators:
            monotone = one.monotone if isinstance(one, Boosting) else {}
            strange = sorted(monotone.keys() - set(self.numeric))
            if strange:
                raise ValueError(f"monotone names {strange[0]!r}, which is none of the columns in `numeric`")
            if monotone and self.kind.per_class:
                raise ValueError("a multiclass model has a score for each class: `monotone` means nothing to it")
            if isinstance(one, Sklearn) and one.folds > 1 and not self.kind.thresholds:
                raise ValueError(f"ranks order rows by one probability: `folds` means nothing to the task {self.task}")
            if isinstance(one, Ready) and one.categories.keys() != set(self.categorical):
                raise ValueError("`categories` of an ONNX file names each column in `categorical`, and no other")

    @property
    def window(self) -> Span:
        """How long before the holdout is trained on, validation included."""
        return _span(self.window_days, self.window_periods)

    @property
    def validation(self) -> Span:
        """The end of the window that is used for early stopping."""
        return _span(self.validation_days, self.validation_periods)

    @property
    def holdout(self) -> Span:
        """What only gates look at."""
        return _span(self.holdout_days, self.holdout_periods)


class MetricBound(Section):
    """An absolute bound on a metric; give the side that must hold."""

    min: Number | None = None
    max: Number | None = None

    @model_validator(mode="after")
    def _a_side(self) -> MetricBound:
        if self.min is None and self.max is None:
            raise ValueError("give min or max (or both)")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: nothing can meet both")
        return self


class Percentiles(Section):
    """Bounds on how long a call takes, in milliseconds; what is not given is measured, and bounded by nothing."""

    p50: Number | None = Field(default=None, gt=0)
    p95: Number | None = Field(default=None, gt=0)
    p99: Number | None = Field(default=None, gt=0)


class LatencyBounds(Section):
    """Bounds by the rows of a call to the package."""

    rows_1: Percentiles = Percentiles()
    rows_1000: Percentiles = Percentiles()
    rows_100000: Percentiles = Percentiles()


class Costs(Section):
    """What the wrong decisions of a binary model cost, a row; a right one costs nothing."""

    false_positive: Number = Field(gt=0, le=_MOST_COST)
    """Of a row that is predicted positive and is not."""
    false_negative: Number = Field(gt=0, le=_MOST_COST)
    """Of a positive row that is not predicted to be one."""
    currency: Annotated[str, Field(pattern=r"^[A-Za-z]{1,12}$")] = "EUR"
    """The unit of both, for reports."""


class Gates(Section):
    """What a candidate must show before it may be promoted."""

    primary_metric: PrimaryMetric = TASKS["binary"].primary_metric
    """By what a candidate must be better than the champion. Without it: `roc_auc` for a binary model, `log_loss` for a
    multiclass one, `rmse` for a regression."""
    mode: Literal["superiority", "refresh"] = "superiority"
    """`superiority`: better than the champion. `refresh`: worse by less than `margin`, for a scheduled renewal."""
    min_gain: Number = Field(default=0.0, ge=0)
    """The lower bound of the paired gain over the champion must exceed this: in the unit of the primary metric, so in
    money a row for `expected_cost`, and in the target's unit for `rmse` and `mae`."""
    costs: Costs | None = None
    """Binary: what wrong decisions cost. The decision threshold is then the one that costs least on the validation rows
    (unless `scoring.threshold` gives one), and `expected_cost` is a metric, in money a row."""
    margin: Share = 0.01
    """In the mode `refresh`: the primary metric may be worse by less than this share of the champion's."""
    yearly_level: Number = Field(default=0.1, gt=0, lt=0.5)
    """The chance that any of the tries of 365 days promotes a model that is no better. Each spends a fifth of what is
    left, the first .02 of .1; the lower bound of its gain is of that level."""
    shadow_days: Whole = Field(default=0, ge=0, le=3_650)
    """Days in shadow after which an undecided candidate is to be judged again: they share the level of its try with the
    days of the holdout. 0 spends it on the holdout, unless a `rollout` begins with a shadow: then its days count."""
    confidence: Number = Field(default=0.95, gt=0.5, lt=1)
    """Of each bound of an interval but that of the primary metric's gain."""
    bootstrap: Whole = Field(default=500, ge=100, le=1_000_000)
    """Read, and no longer used: the evidence is by days."""
    floors: dict[str, MetricBound] = Field(default_factory=dict)
    """Metric name to absolute bound on the holdout, which its interval has to clear."""
    max_calibration_error: Share = 0.1
    min_holdout_rows: Whole = Field(default=500, ge=1)
    max_latency_ms_per_1000: Number = Field(default=1000.0, gt=0)
    """Scoring 1,000 rows through the package may take this long (median)."""
    max_latency_ms: LatencyBounds = LatencyBounds()
    """Bounds for calls of 1, 1,000 and 100,000 rows, on one core; without them the times are only reported."""
    max_memory_mb: Number = Field(default=2048.0, gt=0)
    """The process that loads the package and scores with it may have this much memory at its peak, in MiB."""

    @model_serializer(mode="wrap")
    def _without_what_says_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out costs that are not given: the digests of a spec without them stay what they were."""
        values: dict[str, Any] = handler(self)
        if self.costs is None:
            values.pop("costs", None)
        return values

    def identity(self) -> Identity:
        """By what a candidate is judged: evidence by another identity is no evidence."""
        return identity_of(self, _FIRST_GATES)


_FIRST_GATES: Final = {
    **dict.fromkeys(("primary_metric", "min_gain", "confidence", "bootstrap")),
    "floors": [{"min": None, "max": None}],
    **dict.fromkeys(("max_calibration_error", "min_holdout_rows", "max_latency_ms_per_1000")),
}


PublicKey = Annotated[str, Field(pattern=r"^ssh-ed25519 [A-Za-z0-9+/]{60,80}={0,2}( [^\x00-\x1f]*)?$")]
"""An Ed25519 key in OpenSSH's form; a comment may follow it."""


class Registry(Section):
    """Where versions live and who may promote."""

    name: Name | None = None
    """Registered model name; the model's own name when not given."""
    approval: Literal["policy", "person"] = "policy"
    """`policy`: gates decide. `person`: somebody answers in the Airflow UI, or signs with a key of theirs; a name that
    is typed is nobody's answer, and no answer is never a yes."""
    approvers: Annotated[tuple[Filled, ...], AfterValidator(each_once)] = ()
    approver_keys: dict[Filled, PublicKey] = Field(default_factory=dict)
    """Who approves by key: the name to the public key, as `ssh-keygen -t ed25519` writes it. A key of the name
    `airflow` is the deployment's: with it, answers in its UI count when they are signed by it."""
    author_may_approve: bool = True
    """Whether somebody may approve a version whose training they have started. From `spec_version: 2` on it is off: who
    started it is recorded with the version, as Airflow or the system knows them, and the model's owner counts too."""
    approval_timeout_hours: Whole = Field(default=24, ge=1, le=87_600)
    """At most ten years."""


class CanaryLimits(Section):
    """What a canary may do to a day; beyond it by its 95 % interval, the champion takes all rows before the commit."""

    max_problem_share: Share = 0.0
    """Of the canary's rows, those whose output breaks the output gate or cannot be computed; up to this share the
    champion takes these rows alone."""
    max_mean_difference: Number = Field(default=0.05, ge=0)
    """Between the mean scores of canary and champion on the same rows, in the score's own unit."""


class Canary(Section):
    """A share of the keys is scored by another version, and served."""

    model: Version
    share: Number = Field(gt=0, lt=1)
    """Of the keys, by a stable hash: a key stays where it is for as long as this version is tried, and a larger share
    only adds keys."""
    limits: CanaryLimits = CanaryLimits()


class Fallback(Section):
    """Who stands in for the champion, only in the failures named here; anything else fails the day."""

    model: Literal["previous", "constant"]
    """`previous`: the champion that a rollback would bring back. `constant`: the score declared in `constant`."""
    constant: Number | None = None
    """The score of such a row: the probability of a binary model, the value of a regression."""
    covers: tuple[Failure, ...] = Field(min_length=1)
    """`package`: the champion's package is missing, altered or cannot be loaded, for the whole day. `output`: rows
    whose output breaks the output gate. `prediction`: rows for which the model's graph raises an error."""
    max_share: Share = 0.05
    """Of a day's rows that may fall back by `output` or `prediction`; more than that is no exception, and fails."""

    @model_validator(mode="after")
    def _constant_where_needed(self) -> Fallback:
        if (self.model == CONSTANT) != (self.constant is not None):
            raise ValueError("give `constant` a number exactly when `model` is `constant`")
        return self


class Scoring(Section):
    """How a day is scored; everything but the fields about speed is part of a tally's identity."""

    engine: Literal["auto", "local", "spark", "beam"] = "local"
    io: Literal["auto", "direct", "engine"] = "auto"
    """Who reads and writes: the workers themselves (`direct`), or the engine's own reader and table writer (`engine`);
    `auto` is what the environment prefers."""
    models: Annotated[str, Field(pattern=r"^(as-of|current|pinned:[1-9][0-9]{0,8})$")] = "as-of"
    allow_leak: bool = False
    """Accept a model whose training data reach past the score date (the rows are then marked in the manifest)."""
    threshold: Share = 0.5
    """Binary: `prediction` is 1 when `probability` is at least this. Fixed in the package when a model is trained: a
    value that differs from the champion's is refused. Not given, it is the one that costs least by `gates.costs`."""
    batch_rows: Whole = Field(default=65_536, ge=256, le=_MOST_BATCH_ROWS)
    workers: Whole = Field(default=0, ge=0, le=1_024)
    """Threads; 0 means one a core."""
    shadow: tuple[Version, ...] = ()
    """Versions that score every row in the same pass into a table of their own, which is never served."""
    canary: Canary | None = None
    fallback: Fallback | None = None

    @field_validator("shadow")
    @classmethod
    def _once_each(cls, value: tuple[Version, ...]) -> tuple[Version, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"each version once; found {list(value)}")
        return value

    def identity(self) -> Identity:
        """What changes a score: the same identity, the same rows.

        Which models score is no part of it: they are a part of a tally's identity of their own, by role and digest.
        A section that is not given leaves no trace, so tallies keep their identity when such sections are invented.
        """
        given = {name: fields for name, fields in _FIRST_ROLES.items() if getattr(self, name) is not None}
        return identity_of(self, {"threshold": None} | given, without=_NO_CHANGE_OF_SCORES)


_FIRST_ROLES: Final = {
    "canary": {"share": None, "limits": {"max_problem_share": None, "max_mean_difference": None}},
    "fallback": {"covers": None, "max_share": None},
}
_NO_CHANGE_OF_SCORES: Final = {
    **dict.fromkeys(("engine", "io", "models", "allow_leak", "batch_rows", "workers", "shadow"), True),
    "canary": {"model"},
    "fallback": {"model", "constant"},
}


class Monitoring(Section):
    """What is compared after a day was scored."""

    judge_drift: bool = True
    """False: drift is computed and shown, and no day violates by it; the days say `not judged`."""
    cells: Whole = Field(default=20, ge=4, le=100)
    """Quantile cells of the training reference per numeric column."""
    psi_threshold: Number = Field(default=0.2, gt=0)
    js_threshold: Number = Field(default=0.1, gt=0)
    """Jensen-Shannon distance, base 2."""
    null_share_threshold: Share = 0.05
    """The null share may exceed the reference's by this."""
    unseen_share_threshold: Share = 0.02
    reference_quantile: Number = Field(default=1.0, gt=0, le=1)
    """Only a value above this quantile of the training window's own days, each against all others, may violate; 1.0 is
    beyond every one of them. Lower it when some of those days were broken."""
    report_only: Columns = ()
    """Columns whose shape (PSI, JS) is reported but never violates: a calendar column differs every day by nature.
    Their null and unseen shares count."""
    min_rows: Whole = Field(default=200, ge=1)
    """A day with fewer rows is compared and reported but never violates."""
    min_labels: Whole = Field(default=200, ge=1)
    performance_floor: dict[str, MetricBound] = Field(default_factory=dict)
    """Realised metrics of a day with mature labels; outside the bound is a violation."""


class Retraining(Section):
    """The policy: k of the last n days, then a cooldown."""

    num_evaluation_windows: PositiveDays = 7
    num_violation_windows: PositiveDays = 3
    min_violated_columns: Whole = Field(default=1, ge=1)
    """A day counts as a violation when at least this many columns (or any performance bound) violate."""
    cooldown_days: Days = 14
    cooldown_periods: Periods = None
    """The same in open periods."""
    trigger: bool = True
    """A confirmed decision about the newest day triggers the train DAG."""

    def identity(self) -> Identity:
        """What the policy decides; `trigger` says whether a decision is acted upon, not what it is."""
        return identity_of(self, _FIRST_POLICY, without={"trigger": True})

    @property
    def cooldown(self) -> Span:
        """How long after a decision that was acted upon none comes again."""
        return _span(self.cooldown_days, self.cooldown_periods)

    @model_validator(mode="after")
    def _k_of_n(self) -> Retraining:
        _require_one_unit(self, "cooldown")
        if self.num_violation_windows > self.num_evaluation_windows:
            raise ValueError(
                f"num_violation_windows {self.num_violation_windows} can never be reached in "
                f"num_evaluation_windows {self.num_evaluation_windows}"
            )
        return self


_FIRST_POLICY: Final = dict.fromkeys(
    ("num_evaluation_windows", "num_violation_windows", "min_violated_columns", "cooldown_days")
)


class Maintenance(Section):
    """How the model's tables are kept small and quick to read, and for how long what left them is kept."""

    cron: Cron = "0 2 * * 0"
    """When the maintain DAG runs, in `schedule.timezone`: at night once a week."""
    min_files: Whole = Field(default=8, ge=2)
    """A date (or a table without dates) that consists of at least so many small files is rewritten as one."""
    retention_days: PositiveDays = 30
    """Files that are no longer part of a table are deleted so many days after they left it, and folders of finished
    runs so many days after their last change. More than the longest run takes."""
    reference_days: PositiveDays = 400
    """A version that a tally, a model or a promotion refers to can be read for at least so many days after that. The
    input that scoring a date again would read, and the training data of the champion and of the one before it, stay."""
    orphan_days: PositiveDays = 7
    """Files that no commit names (a run that was killed left them) are deleted when they are older than this. More than
    the longest run takes, at most `retention_days`."""

    @model_validator(mode="after")
    def _ordered(self) -> Maintenance:
        if self.orphan_days > self.retention_days:
            raise ValueError(f"orphan_days {self.orphan_days} is more than retention_days {self.retention_days}")
        if self.reference_days < self.retention_days:
            raise ValueError(f"reference_days {self.reference_days} is less than retention_days {self.retention_days}")
        return self


class Alerts(Section):
    """Who hears of a failure, a late day or a missed run."""

    log: bool = True
    """Where a failure is posted to besides is said in `conf/`: `alerts: {webhook_env: NAME}`."""
