"""The sections of `model.yaml`, in lifecycle order; every default is the safe one."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, FiniteFloat, field_validator, model_validator

from tallywright.score_period import HOUR_COLUMN, date_of, partition_columns
from tallywright.spec.base import Identity, RelativePath, Section, identity_of
from tallywright.spec.calendar import Cadence, Calendar, Closed, Span, shifts_by_whole_hours
from tallywright.spec.roles import Canary, Fallback, Version
from tallywright.tasks import TASKS, PrimaryMetric, Task, TaskName

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Column = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,126}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Periods = Annotated[int | None, Field(default=None, ge=0)]
PositivePeriods = Annotated[int | None, Field(default=None, ge=1)]


def _span(days: int, periods: int | None) -> Span:
    return Span(days) if periods is None else Span(periods, "periods")


def _require_one_unit(section: Section, *names: str) -> None:
    given = section.model_fields_set
    twice = [name for name in names if {f"{name}_days", f"{name}_periods"} <= given
             and getattr(section, f"{name}_periods") is not None]  # fmt: skip
    if twice:
        raise ValueError(f"{twice[0]}_days and {twice[0]}_periods are both given; give one")


_CRON_FIELDS: Final = (("minutes", 0, 59), ("hours", 0, 23), ("days", 1, 31), ("months", 1, 12), ("weekdays", 0, 7))


def _five_fields(cron: str) -> str:
    fields = cron.split()
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError("a cron of five fields is needed, such as '0 4 * * *'")
    for text, (name, low, high) in zip(fields, _CRON_FIELDS, strict=True):
        numbers = [int(number) for number in re.findall(r"\d+", re.sub(r"/\d+", "", text))]
        if any(not low <= number <= high for number in numbers):
            raise ValueError(f"{name} of a cron lie between {low} and {high}; found {text!r}")
    return cron


Cron = Annotated[str, AfterValidator(_five_fields)]
_MINUTES_A_DAY: Final = 24 * 60

PROVENANCE_COLUMNS = frozenset({"score_date", "model_name", "model_version", "role", "input_version"})
LABEL_COLUMNS = frozenset({"label_time", "label_status"})
OUTPUT_COLUMNS = frozenset({"prediction", "probability", "probabilities", "confidence"})


class Owner(Section):
    """Who answers for the model."""

    name: str
    """A person or a team."""
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")


_CRONS: Final = {
    "hour": ("minute * * * *", "5 * * * *"),
    "day": ("minute hour * * *", "0 4 * * *"),
    "business-day": ("minute hour * * *", "0 4 * * *"),
    "week": ("minute hour * * weekday", "0 4 * * 1"),
    "month": ("minute hour day * *, the day at most 28", "0 4 1 * *"),
}
"""By cadence: the form of a cron that comes once a period, and the one that is taken when none is given."""
_MOST_MONTH_DAY: Final = 28
_YEARS_AHEAD: Final = timedelta(days=20 * 366)


class Schedule(Section):
    """When the score DAG runs, what a period is, and by when it must be scored."""

    cadence: Cadence = "day"
    """What is scored at once: an hour, a day, a week (from Monday) or a month; `business-day` is a day that is no
    Saturday or Sunday."""
    cron: Cron = "0 4 * * *"
    """Five-field cron in `timezone`, once a period; each run covers the period before it. Without it, an hourly model
    runs at `5 * * * *`, a weekly one at `0 4 * * 1`, a monthly one at `0 4 1 * *`."""
    timezone: str = "UTC"
    start_date: date
    """The first score date: the first period is the first one that begins on it or later."""
    end_date: date | None = None
    """The last score date; historical data need one, so that nothing is scheduled today."""
    deadline: time = time(6, 0)
    """Local time by which a period must be scored, on the day of the run: of a daily model, the day after the score
    date. Later than the cron's. Of an hourly model, the minutes after the hour's end (without it, `00:30`)."""
    closed: Closed = Closed()
    after: Annotated[str, Field(pattern=r"^([a-z][a-z0-9_]*__[a-z_]+|[a-z][a-z0-9+.-]*://.+)?$")] = ""
    """A run waits for this, until the deadline: a table of the lake by its name, such as `weather__features`, which
    must hold the period; or an Airflow asset by its URI, which must have had an event since the period's end."""
    catch_up: int = Field(default=7, ge=0, le=366)
    """After an outage the newest run has so many of the open periods that were missed, the latest ones, scored by the
    backfill DAG; older ones are recorded as missed. 0 records them all."""

    @model_validator(mode="before")
    @classmethod
    def _times_of_the_cadence(cls, values: Any) -> Any:
        """Gives cron and deadline the default of the cadence where they are not given."""
        if not isinstance(values, dict) or values.get("cadence") not in _CRONS:
            return values
        times = {"cron": _CRONS[values["cadence"]][1]} | ({"deadline": "00:30"} if values["cadence"] == "hour" else {})
        return times | values

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"no such timezone: {value!r}; expected an IANA name such as 'Europe/Berlin'") from error
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Schedule:
        if self.end_date is not None and self.end_date < self.start_date:
            raise ValueError(f"end_date {self.end_date} is before start_date {self.start_date}")
        return self

    @model_validator(mode="after")
    def _once_a_period(self) -> Schedule:
        minute, hour, day, month, weekday = self.cron.split()
        fits = {
            "hour": minute.isdigit() and [hour, day, month, weekday] == ["*"] * 4,
            "week": minute.isdigit() and hour.isdigit() and weekday.isdigit() and [day, month] == ["*"] * 2,
            "month": minute.isdigit() and hour.isdigit() and day.isdigit() and int(day) <= _MOST_MONTH_DAY
            and [month, weekday] == ["*"] * 2,
        }.get(self.cadence, minute.isdigit() and hour.isdigit() and [day, month, weekday] == ["*"] * 3)  # fmt: skip
        if not fits:
            form, example = _CRONS[self.cadence]
            raise ValueError(
                f"schedule.cron {self.cron!r} does not fit schedule.cadence {self.cadence}: it must come once a period "
                f"({form}), such as {example!r}"
            )
        return self

    @model_validator(mode="after")
    def _closed_fits_the_cadence(self) -> Schedule:
        closed = self.closed
        if closed.hours and self.cadence != "hour":
            raise ValueError(f"schedule.closed.hours means nothing to a model whose periods are a {self.cadence}")
        if closed.weekdays and self.cadence in ("week", "month"):
            raise ValueError(
                f"schedule.closed.weekdays closes no {self.cadence}: a {self.cadence} is closed when all its dates are"
            )
        if len(self.calendar.weekdays) == 7:  # noqa: PLR2004 - all of a week
            raise ValueError("every business day is closed, so nothing could ever be scored; leave one open")
        return self

    @model_validator(mode="after")
    def _hours_are_whole(self) -> Schedule:
        last = self.end_date or self.start_date + _YEARS_AHEAD
        if self.cadence == "hour" and not shifts_by_whole_hours(self.timezone, self.start_date, last):
            raise ValueError(
                f"the clocks of {self.timezone} change by half an hour, so not all of its hours have 60 minutes; use "
                "another zone, such as UTC"
            )
        return self

    @model_validator(mode="after")
    def _deadline_after_cron(self) -> Schedule:
        minute = int(self.cron.split()[0])
        if self.cadence == "hour":
            return self._within_the_hour(minute)
        hour = int(self.cron.split()[1])
        starts, due = hour * 60 + minute, self.deadline.hour * 60 + self.deadline.minute
        if due > starts:
            return self
        earliest = starts + 1
        possible = f"the earliest possible deadline is {earliest // 60:02}:{earliest % 60:02}"
        if earliest >= _MINUTES_A_DAY:
            possible = "no deadline of that day is later, so start earlier"
        raise ValueError(
            f"schedule.deadline {self.deadline:%H:%M} cannot be met: schedule.cron {self.cron!r} starts the run at "
            f"{hour:02}:{minute:02} of the same day; {possible}"
        )

    def _within_the_hour(self, minute: int) -> Schedule:
        if self.deadline.hour == 0 and self.deadline.minute > minute:
            return self
        raise ValueError(
            f"schedule.deadline {self.deadline:%H:%M} does not fit an hourly model: schedule.cron {self.cron!r} starts "
            f"the run {minute} minutes after the hour; give minutes after the hour's end, from 00:{minute + 1:02} to "
            "00:59" + ("" if minute < 59 else ", so start earlier")  # noqa: PLR2004 - the last minute of an hour
        )

    @property
    def deadline_cron(self) -> str:
        """When a period is due: the cron, with the time of the deadline in place of its own."""
        minute, hour = str(self.deadline.minute), str(self.deadline.hour)
        return " ".join([minute, "*" if self.cadence == "hour" else hour, *self.cron.split()[2:]])

    @property
    def calendar(self) -> Calendar:
        """The score periods: what they are, and which are open."""
        return Calendar.of(self.closed, self.cadence, self.timezone)

    @property
    def first_period(self) -> date:
        """The first period that may be scored."""
        return self.calendar.from_date(self.start_date)

    @property
    def after_asset(self) -> bool:
        """True when a run waits for an Airflow asset; else for a table of the lake, or for nothing."""
        return "://" in self.after

    @property
    def longest_wait(self) -> timedelta:
        """The time from the start of a scheduled run to its deadline."""
        minute, hour = self.cron.split()[:2]
        started = timedelta(hours=0 if self.cadence == "hour" else int(hour), minutes=int(minute))
        return timedelta(hours=self.deadline.hour, minutes=self.deadline.minute) - started

    def due(self, period: date) -> datetime:
        """The instant (UTC) of a period's deadline, on the day of its run."""
        calendar = self.calendar
        if calendar.is_hourly:
            return calendar.end(period) + timedelta(minutes=self.deadline.minute)
        day, (_, _, monthday, _, weekday) = calendar.last_date(period) + timedelta(days=1), self.cron.split()
        if self.cadence == "week":
            day += timedelta(days=(int(weekday) - day.isoweekday()) % 7)
        elif self.cadence == "month":
            day = day.replace(day=int(monthday))
        return datetime.combine(day, self.deadline, tzinfo=ZoneInfo(self.timezone)).astimezone(UTC)

    def covers(self, period: date) -> bool:
        """True when the period (or date) may be scored at all."""
        day = date_of(period)
        return self.start_date <= day and (self.end_date is None or day <= self.end_date)


class Source(Section):
    """One raw input: CSV or Parquet files, in a folder of the project's or inside an installed package."""

    path: str
    """A file or glob, relative to the model project (or to the package)."""
    package: str | None = None
    """An installed distribution's import name; it is located, never imported."""
    format: Literal["csv", "parquet"] = "csv"
    null_value: str = "NA"
    """The text that stands for a missing value in CSV."""
    types: dict[Column, str] = Field(default_factory=dict)
    """SQL types of CSV columns; a column not named here is read as VARCHAR."""


class Data(Section):
    """Raw sources, the SQL that makes features and labels of them, and the contract of the feature table."""

    engine: Literal["duckdb", "spark"] = "duckdb"
    """What runs the three queries: `duckdb` in the ingest process, `spark` on a Spark master; the rows are the same."""
    sources: dict[Name, Source] = Field(min_length=1)
    key: tuple[Column, ...] = Field(min_length=1)
    """Columns unique within a score date."""
    score_moment: Column = "score_moment"
    """The column with the instant (UTC) from which the prediction is made."""
    contract: RelativePath = "sql/contract.sql"
    """SQL that returns each raw row of the range with `score_date` and `reject_reason` (null when good)."""
    features: RelativePath = "sql/features.sql"
    labels: RelativePath = "sql/labels.sql"
    columns: dict[Column, str] = Field(min_length=1)
    """Column name to SQL type of the feature table, keys and score moment included, in table order."""
    sparse_columns: tuple[Column, ...] = ()
    """Columns that may be null in every row of a day (a rate without history); in any other column that is refused."""
    lookback_days: int = Field(default=28, ge=0)
    """How many days before the score date the SQL may look at."""
    lookback_periods: Periods = None
    """The same in open periods."""
    label_maturity_days: int = Field(default=1, ge=0)
    """Labels of a period count as mature this many days after its end."""
    label_maturity_periods: Periods = None
    """The same in open periods."""
    label_wait_days: int | None = Field(default=None, ge=0)
    """Labels may arrive for this many days after their period: so long they are read again at every run, a row without
    one is `missing` and not `never`, and training leaves the period out. Not given, it is that of maturity."""
    label_wait_periods: Periods = None
    """The same in open periods."""
    expectations: str = ""
    """The suite in `expectations/` that judges a day; empty means `<model>__features.yaml`."""
    usual_rows_days: int = Field(default=28, ge=1)
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


class Network(Section):
    """The torch network and how it is trained."""

    module: RelativePath = "network.py"
    """The file in the model project that defines `build(dims) -> torch.nn.Module`."""
    hidden: tuple[int, ...] = (64, 32)
    dropout: Share = 0.1
    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=1024, ge=2)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    patience: int = Field(default=3, ge=1)
    """Epochs without a better validation log loss before training stops."""
    class_weight: Literal["none", "balanced"] = "none"


class Training(Section):
    """What is learnt, from which rows, and how."""

    task: TaskName = "binary"
    target: Column = "label"
    positive: str = ""
    """Binary: the class whose probability is learnt, where labels are not 0 and 1: `positive: "yes"`, in quotes."""
    unit: str = ""
    """Regression: the unit of the target, such as `hours`; models of another unit never share a table."""
    numeric: tuple[Column, ...] = ()
    categorical: tuple[Column, ...] = ()
    slices: tuple[Column, ...] = ()
    """Categorical columns by which evaluation and monitoring are also reported."""
    window_days: int = Field(default=60, ge=2)
    """Days of features before the holdout that are trained on."""
    window_periods: PositivePeriods = None
    """The same in open periods; the three windows are given in one unit."""
    validation_days: int = Field(default=7, ge=1)
    """The last days of the window, used for early stopping."""
    validation_periods: PositivePeriods = None
    """The same in open periods."""
    holdout_days: int = Field(default=14, ge=1)
    """Days after the window that only gates look at."""
    holdout_periods: PositivePeriods = None
    """The same in open periods."""
    min_category_rows: int = Field(default=20, ge=1)
    """A category seen less often than this becomes the unseen category."""
    seed: int = 7
    device: Literal["auto", "cpu", "cuda"] = "auto"
    network: Network = Network()
    baselines: bool = True
    """Also fit a logistic regression and gradient-boosted trees on the same rows, for comparison."""

    @field_validator("positive", mode="before")
    @classmethod
    def _quoted(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError("without quotes YAML reads yes, no, on, off as truth values: quote the class")  # noqa: TRY004 - pydantic turns it into an error of the spec
        return value

    @property
    def kind(self) -> Task:
        """What the task means."""
        return TASKS[self.task]

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
        _require_one_unit(self, "window", "validation", "holdout")
        window, validation = self.window, self.validation
        if window.unit != validation.unit or self.holdout.unit != window.unit:
            raise ValueError("give window, validation and holdout all in days, or all in periods")
        if validation.length >= window.length:
            unit = window.unit
            raise ValueError(f"validation_{unit} {validation.length} leaves nothing of window_{unit} {window.length}")
        return self

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

    min: FiniteFloat | None = None
    max: FiniteFloat | None = None

    @model_validator(mode="after")
    def _a_side(self) -> MetricBound:
        if self.min is None and self.max is None:
            raise ValueError("give min or max (or both)")
        return self


class Gates(Section):
    """What a candidate must show before it may be promoted."""

    primary_metric: PrimaryMetric = TASKS["binary"].primary_metric
    """By what a candidate must be better than the champion. Without it: `roc_auc` for a binary model, `log_loss` for a
    multiclass one, `rmse` for a regression."""
    min_gain: float = Field(default=0.0, ge=0)
    """The lower confidence bound of the paired gain over the champion must exceed this."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    bootstrap: int = Field(default=500, ge=100)
    floors: dict[str, MetricBound] = Field(default_factory=dict)
    """Metric name to absolute bound on the holdout."""
    max_calibration_error: Share = 0.1
    min_holdout_rows: int = Field(default=500, ge=1)
    max_latency_ms_per_1000: float = Field(default=1000.0, gt=0)
    """Scoring 1,000 rows through the package may take this long (median)."""

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
    approvers: tuple[str, ...] = ()
    approver_keys: dict[str, PublicKey] = Field(default_factory=dict)
    """Who approves by key: the name to the public key, as `ssh-keygen -t ed25519` writes it. A key of the name
    `airflow` is the deployment's: with it, answers in its UI count when they are signed by it."""
    approval_timeout_hours: int = Field(default=24, ge=1)


class Scoring(Section):
    """How a day is scored; everything but the fields about speed is part of a tally's identity."""

    engine: Literal["auto", "local", "spark", "beam"] = "local"
    io: Literal["auto", "direct", "engine"] = "auto"
    """Who reads and writes: the workers themselves (`direct`), or the engine's own reader and table writer (`engine`);
    `auto` is what the environment prefers."""
    models: Annotated[str, Field(pattern=r"^(as-of|current|pinned:[1-9][0-9]*)$")] = "as-of"
    allow_leak: bool = False
    """Accept a model whose training data reach past the score date (the rows are then marked in the manifest)."""
    threshold: Share = 0.5
    """Binary: `prediction` is 1 when `probability` is at least this. Fixed in the package when a model is trained: a
    value that differs from the champion's is refused."""
    batch_rows: int = Field(default=65_536, ge=256)
    workers: int = Field(default=0, ge=0)
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

    cells: int = Field(default=20, ge=4, le=100)
    """Quantile cells of the training reference per numeric column."""
    psi_threshold: float = Field(default=0.2, gt=0)
    js_threshold: float = Field(default=0.1, gt=0)
    """Jensen-Shannon distance, base 2."""
    null_share_threshold: Share = 0.05
    """The null share may exceed the reference's by this."""
    unseen_share_threshold: Share = 0.02
    reference_quantile: float = Field(default=1.0, gt=0, le=1)
    """Only a value above this quantile of the training window's own days, each against all others, may violate; 1.0 is
    beyond every one of them. Lower it when some of those days were broken."""
    report_only: tuple[Column, ...] = ()
    """Columns whose shape (PSI, JS) is reported but never violates: a calendar column differs every day by nature.
    Their null and unseen shares count."""
    min_rows: int = Field(default=200, ge=1)
    """A day with fewer rows is compared and reported but never violates."""
    min_labels: int = Field(default=200, ge=1)
    performance_floor: dict[str, MetricBound] = Field(default_factory=dict)
    """Realised metrics of a day with mature labels; outside the bound is a violation."""


class Retraining(Section):
    """The policy: k of the last n days, then a cooldown."""

    num_evaluation_windows: int = Field(default=7, ge=1)
    num_violation_windows: int = Field(default=3, ge=1)
    min_violated_columns: int = Field(default=1, ge=1)
    """A day counts as a violation when at least this many columns (or any performance bound) violate."""
    cooldown_days: int = Field(default=14, ge=0)
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
    min_files: int = Field(default=8, ge=2)
    """A date (or a table without dates) that consists of at least so many small files is rewritten as one."""
    retention_days: int = Field(default=30, ge=1)
    """Files that are no longer part of a table are deleted so many days after they left it, and folders of finished
    runs so many days after their last change. More than the longest run takes."""
    reference_days: int = Field(default=400, ge=1)
    """A version that a tally, a model or a promotion refers to can be read for at least so many days after that. The
    input that scoring a date again would read, and the training data of the champion and of the one before it, stay."""
    orphan_days: int = Field(default=7, ge=1)
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
    webhook_env: str = ""
    """Name of the environment variable that holds a webhook's address; the address itself stays out of the spec."""


def named_task(values: Any) -> TaskName | None:
    """The task in the values of a spec that are not validated yet; None where they name none that there is."""
    training = values.get("training") if isinstance(values, dict) else None
    task = training.get("task", "binary") if isinstance(training, dict) else None
    return task if isinstance(task, str) and task in TASKS else None


def _constant_problems(task: Task, constant: float) -> list[str]:
    """A constant must be an answer that the output gate would let through."""
    if task.constant is None:
        return ["scoring.fallback.constant cannot stand for several classes; use `model: previous`"]
    low, high = task.constant
    if not low <= constant <= high:
        return [f"scoring.fallback.constant is {constant}, but a probability lies between 0 and 1"]
    return []


class ModelSpec(Section):
    """One model, whole."""

    spec_version: int = Field(default=1, ge=1, le=2, strict=True)
    """What an absent key means: 1 (also when this key is absent) is what it meant to the first release. It stands in
    `model.yaml` alone."""
    name: Name
    description: str
    tags: tuple[str, ...] = ()
    owner: Owner
    schedule: Schedule
    data: Data
    training: Training
    gates: Gates = Gates()
    registry: Registry = Registry()
    scoring: Scoring = Scoring()
    monitoring: Monitoring = Monitoring()
    retraining: Retraining = Retraining()
    maintenance: Maintenance = Maintenance()
    alerts: Alerts = Alerts()

    @model_validator(mode="before")
    @classmethod
    def _primary_metric_of_the_task(cls, values: Any) -> Any:
        """Gives the gates the task's own metric where they name none; a binary model keeps the class's default."""
        task = named_task(values)
        gates = values.get("gates", {}) if task is not None else None
        if task is None or task == "binary" or not isinstance(gates, dict) or "primary_metric" in gates:
            return values
        return values | {"gates": {"primary_metric": TASKS[task].primary_metric} | gates}

    @model_validator(mode="after")
    def _columns_exist(self) -> ModelSpec:
        columns = set(self.data.columns)
        wanted = {
            "data.key": self.data.key,
            "data.score_moment": (self.data.score_moment,),
            "data.sparse_columns": self.data.sparse_columns,
            "training.numeric": self.training.numeric,
            "training.categorical": self.training.categorical,
            "training.slices": self.training.slices,
            "monitoring.report_only": self.monitoring.report_only,
        }
        problems = [
            f"{where} names {name!r}, which is not in data.columns"
            for where, names in wanted.items()
            for name in names
            if name not in columns
        ]
        if self.scoring.fallback is not None and self.scoring.fallback.constant is not None:
            problems += _constant_problems(self.training.kind, self.scoring.fallback.constant)
        if self.is_hourly and self.training.window.unit == "periods":
            problems.append(
                "training windows of an hourly model are whole local days: give window_days, validation_days and "
                "holdout_days"
            )
        if self.schedule.after.startswith(f"{self.name}__"):
            problems.append(
                f"schedule.after {self.schedule.after!r} is a table of this model: it would wait for itself"
            )
        problems += self._unknown_metrics()
        problems += self._leaks()
        problems += self._clashes()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _clashes(self) -> list[str]:
        """The columns that SQL does not tell from another one: it does not distinguish `Late` from `late`."""
        reserved = sorted(name for name in self.data.columns if name.lower() in self._reserved)
        problems = [f"data.columns uses reserved names {reserved}"] if reserved else []
        first: dict[str, str] = {}
        for name in self.data.columns:
            twin = first.setdefault(name.lower(), name)
            if twin != name:
                problems.append(f"data.columns.{twin} and data.columns.{name} differ only in case, which is one to SQL")
        return problems

    def _unknown_metrics(self) -> list[str]:
        known = self.training.kind.metrics
        named: dict[str, list[str]] = {
            "gates.floors": list(self.gates.floors),
            "gates.primary_metric": [self.gates.primary_metric],
            "monitoring.performance_floor": list(self.monitoring.performance_floor),
        }
        return [
            f"{where} names {metric!r}, which is no metric of the task {self.training.task}: {', '.join(sorted(known))}"
            for where, metrics in named.items()
            for metric in metrics
            if metric not in known
        ]

    def _leaks(self) -> list[str]:
        """The places in which the target stands as if it were known when a row is scored."""
        target, training = self.training.target, self.training
        uses = {"numeric": training.numeric, "categorical": training.categorical, "slices": training.slices}
        named = [name for name, columns in uses.items() if target in columns]
        problems = [f"training.target {target!r} is in training.{name}: a leak" for name in named]
        # SQL does not tell `Late` from `late`.
        problems += [
            f"training.target {target!r} and data.columns.{name} clash: a feature has the name of the label; take it "
            "out of data.columns and of the features SQL"
            for name in self.data.columns
            if name.lower() == target.lower()
        ]
        if target in self._reserved | LABEL_COLUMNS:
            problems.append(f"training.target uses the reserved name {target!r}")
        return problems

    @property
    def _reserved(self) -> frozenset[str]:
        hour = {HOUR_COLUMN} if self.is_hourly else frozenset()
        return PROVENANCE_COLUMNS | OUTPUT_COLUMNS | hour

    @property
    def is_hourly(self) -> bool:
        """True when score periods are hours."""
        return self.schedule.cadence == "hour"

    @property
    def partition(self) -> tuple[str, ...]:
        """The columns of the score period, by which tables of rows are partitioned."""
        return partition_columns(hourly=self.is_hourly)

    @property
    def registered_name(self) -> str:
        """The name in the model registry."""
        return self.registry.name or self.name

    @property
    def suite(self) -> str:
        """The file name of the day gate's expectation suite."""
        return self.data.expectations or f"{self.name}__features.yaml"

    def table(self, what: str) -> str:
        """The short name of one of this model's tables, such as `flight_delays__scores`."""
        return f"{self.name}__{what}"

    def has_table(self, name: str) -> bool:
        """True for the name of one of this model's tables; a table of a model `shop__b` is none of a model `shop`."""
        prefix = self.table("")
        return name.startswith(prefix) and "__" not in name.removeprefix(prefix)
