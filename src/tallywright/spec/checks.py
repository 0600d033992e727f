"""What the keys of a spec must be to one another: columns, their types, metrics, names that are taken, room for dates.

Each check yields mismatches, so that all of them are said at once, beside what is wrong with single fields.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from pydantic import ValidationError

from tallywright.errors import closest, did_you_mean
from tallywright.spec.problems import Mismatch
from tallywright.spec.sections import CHALLENGER
from tallywright.spec.tuning import problems_in
from tallywright.spec.values import INSTANT, LAST_DATE, NUMBER, SQL_TYPES, TEXT, TRUTH, WHOLE, kind_of
from tallywright.tasks import CLASS_METRICS, EXPECTED_COST, MACRO, TASKS, metric_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tallywright.spec.problems import Place
    from tallywright.spec.rollout import Rollout
    from tallywright.spec.schedule import Schedule
    from tallywright.spec.sections import Data, Gates, MetricBound, Monitoring, Retraining, Scoring, Training


LABEL_COLUMNS: Final = frozenset({"label_time", "label_status"})
RELATIONS: Final = frozenset({"accepted", "contract_rows", "feature_rows", "label_rows"})
"""What the product calls its own relations, beside those of a model's sources."""
_NUMERIC: Final = frozenset({NUMBER, WHOLE, TRUTH})
_CATEGORICAL: Final = frozenset({TEXT, WHOLE, TRUTH})
_EARLIEST: Final = date(1000, 1, 1)
_LATEST: Final = date(9000, 1, 1)
_COLUMNS: Final[Place] = ("data", "columns")
_SCHEMES_WITH_HOST: Final = frozenset({"s3", "gs", "gcs", "azure", "abfs", "http", "https"})
_ROUNDS: Final = 12


class Spec(Protocol):
    """What the checks look at."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def schedule(self) -> Schedule:
        """As of `ModelSpec`."""

    @property
    def data(self) -> Data:
        """As of `ModelSpec`."""

    @property
    def training(self) -> Training:
        """As of `ModelSpec`."""

    @property
    def gates(self) -> Gates:
        """As of `ModelSpec`."""

    @property
    def rollout(self) -> Rollout | None:
        """As of `ModelSpec`."""

    @property
    def staged_rollout(self) -> Rollout | None:
        """As of `ModelSpec`."""

    @property
    def scoring(self) -> Scoring:
        """As of `ModelSpec`."""

    @property
    def monitoring(self) -> Monitoring:
        """As of `ModelSpec`."""

    @property
    def retraining(self) -> Retraining:
        """As of `ModelSpec`."""

    @property
    def is_hourly(self) -> bool:
        """As of `ModelSpec`."""

    @property
    def reserved(self) -> frozenset[str]:
        """As of `ModelSpec`."""


def cross_checks(spec: Spec) -> Iterator[Mismatch]:
    """Everything that several keys of a spec say against one another."""
    for check in _CHECKS:
        yield from check(spec)


def mismatches_in(values: Any, validate: Callable[[Any], Spec], name: str) -> list[Mismatch]:
    """What can be checked of values that are not valid: all that does not depend on what is wrong with them.

    Args:
        values: As they stand in the files.
        validate: Makes a spec of values, or raises ValidationError.
        name: What the model is called.
    """
    spec, wrong = _without_what_is_wrong(values, validate, name)
    if spec is None:
        return []
    columns = _written_columns(values)
    return [
        mismatch
        for mismatch in cross_checks(spec)
        if not any(_touches(path, bad) for path in (mismatch.at, *mismatch.uses) for bad in wrong)
        and not (mismatch.uses == (_COLUMNS,) and str(_value_at(values, mismatch.at)) in columns)
    ]


def _written_columns(values: Any) -> frozenset[str]:
    found = _value_at(values, _COLUMNS)
    return frozenset(found) if isinstance(found, dict) else frozenset()


def _touches(path: Place, bad: Place) -> bool:
    """True when one of the paths lies in the other; of a bad column only what is about that very column."""
    shorter = min(len(path), len(bad))
    return path[:shorter] == bad[:shorter] and not (path == _COLUMNS and bad[:2] == _COLUMNS and len(bad) > shorter)


def _value_at(values: Any, path: Place) -> Any:
    for step in path:
        try:
            values = values[step]
        except (LookupError, TypeError):
            return None
    return values


def _without_what_is_wrong(values: Any, validate: Callable[[Any], Spec], name: str) -> tuple[Spec | None, list[Place]]:
    """The spec of the values that are right, the others left out or stood in for, and the paths of those."""
    wrong: list[Place] = []
    for _ in range(_ROUNDS):
        try:
            return validate(values), wrong
        except ValidationError as error:
            if error.error_count() > _MOST_WRONG:
                break
            for detail in error.errors(include_url=False, include_context=False, include_input=False):
                at = detail["loc"]
                wrong.append(at)
                values = _replaced(values, at, _stand_in(at, name))
    return None, wrong


_MOST_WRONG: Final = 1_000
"""Each is taken out of a copy; a file with more mistakes has hardly anything else that could be checked."""
_NOTHING: Final = object()
_STAND_INS: Final[dict[Place, Any]] = {
    ("description",): "",
    ("owner",): {"name": "a", "email": "a@b"},
    ("owner", "name"): "a",
    ("owner", "email"): "a@b",
    ("schedule",): {"start_date": "2025-01-01"},
    ("schedule", "start_date"): "2025-01-01",
    ("data",): {"sources": {"a": {"path": "a"}}, "key": ["a"], "columns": {"a": "VARCHAR"}},
    ("data", "sources"): {"a": {"path": "a"}},
    ("data", "key"): ["a"],
    ("data", "columns"): {"a": "VARCHAR"},
    ("training",): {"numeric": ["a"]},
    ("training", "numeric"): ["a"],
    ("training", "categorical"): [],
}
"""For what has no default, and so cannot be left out."""


def _stand_in(at: Place, name: str) -> Any:
    if at == ("name",):
        return name
    return _STAND_INS.get(at, "a" if at[-1:] == ("path",) else _NOTHING)


def _replaced(values: Any, at: Place, by: Any) -> Any:
    """The values with another one at a path; without it, for `_NOTHING`; the deepest there is, where the path ends."""
    if not at:
        return values
    head, *rest = at
    if isinstance(values, dict):
        if head not in values:
            return values if by is _NOTHING or rest else values | {head: by}
        inner = values[head]
        if not rest or not isinstance(inner, dict | list):
            return {k: v for k, v in values.items() if k != head} | ({} if by is _NOTHING else {head: by})
        return values | {head: _replaced(inner, tuple(rest), by)}
    if isinstance(values, list) and isinstance(head, int) and head < len(values):
        kept = (
            [] if not rest or not isinstance(values[head], dict | list) else [_replaced(values[head], tuple(rest), by)]
        )
        return [*values[:head], *kept, *values[head + 1 :]]
    return values


# ---- the checks ----


def _columns_exist(spec: Spec) -> Iterator[Mismatch]:
    columns = spec.data.columns
    wanted: dict[Place, tuple[str, ...]] = {
        ("data", "key"): spec.data.key,
        ("data", "sparse_columns"): spec.data.sparse_columns,
        ("training", "numeric"): spec.training.numeric,
        ("training", "categorical"): spec.training.categorical,
        ("training", "slices"): spec.training.slices,
        ("monitoring", "report_only"): spec.monitoring.report_only,
    }
    named = [((*path, place), ".".join(map(str, path)), name) for path, names in wanted.items()
             for place, name in enumerate(names)]  # fmt: skip
    for at, where, name in [*named, (("data", "score_moment"), "data.score_moment", spec.data.score_moment)]:
        if name not in columns:
            text = f"{where} names {name!r}, which is not in data.columns{did_you_mean(name, columns)}"
            yield Mismatch(at, text, closest(name, columns), (_COLUMNS,))


def _types_fit(spec: Spec) -> Iterator[Mismatch]:
    for at, declared in _declared_types(spec):
        if kind_of(declared) is None:
            near = closest(declared.strip().upper(), SQL_TYPES)
            hint = f" (did you mean {near!r}?)" if near else ""
            text = (
                f"{'.'.join(map(str, at))}: unknown SQL type {declared!r}{hint}; expected one of {', '.join(SQL_TYPES)}"
            )
            yield Mismatch(at, f"{text}, DECIMAL(p,s)", near)
    kinds = {name: kind_of(declared) for name, declared in spec.data.columns.items()}
    uses = (
        ("numeric", spec.training.numeric, _NUMERIC, "a number or a truth value"),
        ("categorical", spec.training.categorical, _CATEGORICAL, "a text, a whole number or a truth value"),
    )
    for where, names, allowed, needed in uses:
        for place, name in enumerate(names):
            if kinds.get(name) is not None and kinds[name] not in allowed:
                yield Mismatch(
                    ("training", where, place),
                    f"training.{where} names {name}, which is {spec.data.columns[name]}; {needed} is needed",
                    uses=((*_COLUMNS, name),),
                )
    moment = spec.data.score_moment
    if kinds.get(moment, INSTANT) not in (INSTANT, None):
        text = f"data.score_moment must be a TIMESTAMP; data.columns.{moment} is {spec.data.columns[moment]}"
        yield Mismatch((*_COLUMNS, moment), text, "TIMESTAMP", (("data", "score_moment"),))


def _declared_types(spec: Spec) -> Iterator[tuple[Place, str]]:
    for name, declared in spec.data.columns.items():
        yield (*_COLUMNS, name), declared
    for source, section in spec.data.sources.items():
        for name, declared in section.types.items():
            yield ("data", "sources", source, "types", name), declared


def _names_differ(spec: Spec) -> Iterator[Mismatch]:
    """SQL does not tell `Late` from `late`."""
    reserved = sorted(name for name in spec.data.columns if name.lower() in spec.reserved)
    if reserved:
        yield Mismatch((*_COLUMNS, reserved[0]), f"data.columns uses reserved names {reserved}")
    first: dict[str, str] = {}
    for name in spec.data.columns:
        twin = first.setdefault(name.lower(), name)
        if twin != name:
            text = f"data.columns.{twin} and data.columns.{name} differ only in case, which is one to SQL"
            yield Mismatch((*_COLUMNS, name), text)
    for source, section in spec.data.sources.items():
        if source.lower() in RELATIONS:
            taken = ", ".join(sorted(RELATIONS))
            yield Mismatch(("data", "sources", source), f"data.sources.{source}: the name is taken; taken are {taken}")
        once: set[str] = set()
        for name in section.types:
            if name.lower() in once:
                text = f"data.sources.{source}.types names {name} twice, as case is one to SQL"
                yield Mismatch(("data", "sources", source, "types", name), text)
            once.add(name.lower())


def _target_is_no_feature(spec: Spec) -> Iterator[Mismatch]:
    """The target must not stand where it is taken for known when a row is scored."""
    target, training, at = spec.training.target, spec.training, ("training", "target")
    uses = {"numeric": training.numeric, "categorical": training.categorical, "slices": training.slices}
    for name, columns in uses.items():
        if target in columns:
            yield Mismatch(at, f"training.target {target!r} is in training.{name}: a leak", uses=(("training", name),))
    for name in spec.data.columns:
        if name.lower() == target.lower():
            text = (
                f"training.target {target!r} and data.columns.{name} clash: a feature has the name of the label; take "
                "it out of data.columns and of the features SQL"
            )
            yield Mismatch(at, text, uses=((*_COLUMNS, name),))
    if target.lower() in spec.reserved | LABEL_COLUMNS:
        yield Mismatch(at, f"training.target uses the reserved name {target!r}")


def _metrics_exist(spec: Spec) -> Iterator[Mismatch]:
    kind, costs, task = spec.training.kind, spec.gates.costs is not None, (("training", "task"),)
    known = sorted(kind.metrics | ({EXPECTED_COST} if kind.has_metric(EXPECTED_COST, costs=costs) else set()))
    bounds: dict[Place, Mapping[str, MetricBound]] = {
        ("gates", "floors"): spec.gates.floors,
        ("monitoring", "performance_floor"): spec.monitoring.performance_floor,
    }
    named: list[tuple[Place, str, str]] = [
        ((*path, metric), ".".join(map(str, path)), metric) for path, metrics in bounds.items() for metric in metrics
    ]
    named.append((("gates", "primary_metric"), "gates.primary_metric", spec.gates.primary_metric))
    if spec.rollout is not None and spec.rollout.metric is not None:
        named.append((("rollout", "metric"), "rollout.metric", spec.rollout.metric))
    for at, where, metric in named:
        if metric == EXPECTED_COST and kind.thresholds and not costs:
            yield Mismatch(at, f"{where} names {metric!r}, and no costs are given: {_COSTS_TO_WRITE}")
        elif not kind.has_metric(metric, costs=costs):
            of_class = [f"{one}_CLASS" for one in CLASS_METRICS] if kind.per_class else []
            text = (
                f"{where} names {metric!r}, which is no metric of the task {spec.training.task}"
                f"{did_you_mean(metric, known)}: {', '.join([*known, *of_class])}"
            )
            yield Mismatch(at, text, closest(metric, known), task)
    for path, metrics in bounds.items():
        for metric, bound in metrics.items():
            yield from _range_of((*path, metric), metric, bound)


_COSTS_TO_WRITE: Final = "write such as `gates: {costs: {false_positive: 2.0, false_negative: 35.0, currency: EUR}}`"


def _costs_of_a_threshold(spec: Spec) -> Iterator[Mismatch]:
    """Costs of false positives and negatives are about two classes."""
    if spec.gates.costs is not None and not spec.training.kind.thresholds:
        text = f"gates.costs are those of a binary model's decisions; training.task is {spec.training.task}"
        yield Mismatch(("gates", "costs"), text, uses=(("training", "task"),))


def _range_of(at: Place, metric: str, bound: MetricBound) -> Iterator[Mismatch]:
    try:
        low, high = metric_of(metric).least, metric_of(metric).greatest
    except KeyError:
        return
    limits = f"between {low:g} and {high:g}" if high < float("inf") else f"at {low:g} or above"
    if low == float("-inf"):
        limits = f"at {high:g} or below"
    for side, value in (("min", bound.min), ("max", bound.max)):
        if value is not None and not low <= value <= high:
            yield Mismatch((*at, side), f"{'.'.join(map(str, at))}.{side}: found {value:g}; {metric} lies {limits}")


def _fallback_can_stand_in(spec: Spec) -> Iterator[Mismatch]:
    """A constant must be an answer that the output gate would let through."""
    fallback = spec.scoring.fallback
    if fallback is None or fallback.constant is None:
        return
    at, allowed = ("scoring", "fallback", "constant"), TASKS[spec.training.task].constant
    text = ""
    if allowed is None:
        text = "scoring.fallback.constant cannot stand for several classes; use `model: previous`"
    elif not allowed[0] <= fallback.constant <= allowed[1]:
        text = f"scoring.fallback.constant is {fallback.constant}, but a probability lies between 0 and 1"
    if text:
        yield Mismatch(at, text, uses=(("training", "task"),))


def _rollout_names_the_challenger(spec: Spec) -> Iterator[Mismatch]:
    """Where versions go through stages, the promotion log says who is the challenger of a date, and nobody else."""
    if spec.staged_rollout is None:
        return
    uses = (("rollout",),)
    if spec.scoring.canary is not None:
        text = "scoring.canary and rollout both name a canary; take scoring.canary out: its share and limits stand in "
        yield Mismatch(("scoring", "canary"), f"{text}rollout.stages and rollout.limits", uses=uses)
    if CHALLENGER in spec.scoring.shadow:
        text = "scoring.shadow and rollout both name the challenger; take it out, and begin with the stage `shadow`"
        yield Mismatch(("scoring", "shadow"), text, uses=uses)
    if spec.scoring.models != "as-of":
        text = f"scoring.models is {spec.scoring.models!r}; with a rollout in stages it must be as-of: each date has "
        yield Mismatch(("scoring", "models"), f"{text}the champion and the challenger of its time", "as-of", uses)


def _canary_metric_is_of_rows(spec: Spec) -> Iterator[Mismatch]:
    """A canary has other rows than the champion, perhaps of other classes: their means over classes differ by that."""
    rollout = spec.staged_rollout
    if rollout is None or all(one.share is None for one in rollout.stages):
        return
    metric = rollout.metric or spec.gates.primary_metric
    if metric.startswith(MACRO):
        source = (
            "rollout.metric" if rollout.metric else "rollout.metric is not given, so gates.primary_metric counts: it"
        )
        text = (
            f"{source} is {metric!r}, a mean over the classes of some rows; a canary has other rows than the champion, "
            "perhaps of other classes, so equal models would differ: write `rollout: {metric: log_loss}`, or accuracy"
        )
        yield Mismatch(("rollout", "metric"), text, "log_loss", (("gates", "primary_metric"), ("rollout", "stages")))


def _waits_for_another(spec: Spec) -> Iterator[Mismatch]:
    after, at = spec.schedule.after, ("schedule", "after")
    if after.startswith(f"{spec.name}__"):
        yield Mismatch(at, f"schedule.after {after!r} is a table of this model: it would wait for itself")
    if not spec.schedule.after_asset:
        return
    try:
        parts = urlsplit(after)
        whole = not set(after) - set(map(chr, range(0x21, 0x7F)))
        host_is_there = bool(parts.netloc) or parts.scheme not in _SCHEMES_WITH_HOST
    except ValueError:
        whole = host_is_there = False
    if not whole or not host_is_there or after.startswith("airflow://"):
        text = f"schedule.after {after!r} is no URI that an Airflow asset can have"
        yield Mismatch(at, f"{text}; expected such as s3://bucket/path or x-team://name")


def _windows_fit_the_cadence(spec: Spec) -> Iterator[Mismatch]:
    if spec.is_hourly and spec.training.window.unit == "periods":
        text = (
            "training windows of an hourly model are whole local days: give window_days, validation_days and "
            "holdout_days"
        )
        yield Mismatch(("training",), text, uses=(("schedule", "cadence"),))


def _room_for_dates(spec: Spec) -> Iterator[Mismatch]:
    """Whatever is counted back from the first date, or on from the last one, must be a date."""
    data, training = spec.data, spec.training
    spans = {
        ("data", "lookback"): data.lookback,
        ("data", "label_maturity"): data.label_maturity,
        ("data", "label_wait"): data.label_wait,
        ("data", "usual_rows"): data.usual_rows,
        ("training", "window"): training.window,
        ("training", "holdout"): training.holdout,
        ("retraining", "cooldown"): spec.retraining.cooldown,
    }
    a_period = _most_days_of_a_period(spec)
    days = {path: span.length * (a_period if span.unit == "periods" else 1) for path, span in spans.items()}
    total, schedule = sum(days.values()), spec.schedule
    first, last = schedule.start_date.toordinal() - total, (schedule.end_date or LAST_DATE).toordinal() + total
    if first >= _EARLIEST.toordinal() and last <= _LATEST.toordinal():
        return
    section, name = max(days, key=lambda path: days[path])
    key = f"{name}_{spans[section, name].unit}"
    text = (
        f"{section}.{key}: found {spans[section, name].length}; with the other spans it leads {total} days away from "
        f"the dates of the schedule, and no date is before {_EARLIEST} or after {_LATEST}"
    )
    yield Mismatch((section, key), text, uses=(("schedule",),))


def _most_days_of_a_period(spec: Spec) -> int:
    """How many days lie between two open periods at most, single closed dates left aside."""
    calendar = spec.schedule.calendar
    if calendar.cadence in ("week", "month"):
        return 7 if calendar.cadence == "week" else 31
    closed = len(calendar.weekdays)
    return 1 if not closed else 1 + closed


def _tuning_fits(spec: Spec) -> Iterator[Mismatch]:
    training = spec.training
    for keys, text, nearest in () if training.tuning is None else problems_in(training.tuning, training.estimators):
        at = ("training", "tuning", *(int(key) if key.isdecimal() else key for key in keys))
        path = ".".join(("training", "tuning", *keys))
        yield Mismatch(at, f"{path}: {text}", nearest, uses=(("training", "estimator"),))


_CHECKS: Final = (
    _columns_exist,
    _types_fit,
    _names_differ,
    _target_is_no_feature,
    _metrics_exist,
    _costs_of_a_threshold,
    _fallback_can_stand_in,
    _rollout_names_the_challenger,
    _canary_metric_is_of_rows,
    _waits_for_another,
    _windows_fit_the_cadence,
    _room_for_dates,
    _tuning_fits,
)
