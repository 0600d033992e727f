"""Checks of the rows that the SQL returns, before any of them is written: keys, columns, dates, values.

Columns are checked once a run, contents once a day; the bad day is named and nothing of it is changed.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.buffers import number_array, values_of
from tallywright.data.delta.rows import scalar_of
from tallywright.data.fingerprint import repeated, row_hashes
from tallywright.data.keys import value_text
from tallywright.data.types import feature_schema, period_schema, sql_name
from tallywright.errors import InputError
from tallywright.labels import allowed_labels, is_nan, is_text, wrong_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tallywright.spec import ModelSpec

_EXAMPLES: Final = 5
KNOWN: Final = "known"
NEVER: Final = "never"
MISSING: Final = "missing"
_UNCHANGED: Final = "nothing of that day was changed"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_A_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_A_DAY: Final = 86_400
_INFINITY: Final = 2**63 - 1


class WrongLabelsError(InputError):
    """Labels of one date that the task does not have; other dates are not concerned."""


class MissingRowsError(InputError):
    """Rows or values that are not there; where raw files were read in part, they may stand in the rest."""

    @property
    def known_as(self) -> str:
        """An input error like any other."""
        return InputError.__name__


def require_unique(table: pa.Table, key: Sequence[str], where: str) -> None:
    """Refuses rows that share a key, or have none.

    Rows with equal hashes are compared exactly.

    Args:
        table: The rows of one date.
        key: The columns that together name a row.
        where: What the rows are, for the message: "flight_delays__features of 2013-03-01".

    Raises:
        InputError: Names up to five of the keys that occur more than once.
    """
    for name in key:
        nulls = table[name].null_count
        if nulls:
            raise InputError(
                f"{where}: {nulls} of {table.num_rows} rows have no {name}, which is part of the key",
                expected="a key without nulls",
                remedy="reject such rows in the contract SQL",
            )
    duplicates = _duplicate_keys(table, key)
    if duplicates.num_rows:
        examples = [
            ", ".join(f"{name}={value_text(row[name], joined=len(key) > 1)}" for name in key)
            for row in duplicates.slice(0, _EXAMPLES).to_pylist()
        ]
        raise InputError(
            f"{where}: {duplicates.num_rows} keys occur more than once, such as {'; '.join(examples)}",
            expected=f"each ({', '.join(key)}) once a date",
            remedy="reject the duplicates in the contract SQL, or extend data.key",
        )


def _duplicate_keys(table: pa.Table, key: Sequence[str]) -> pa.Table:
    """The keys that occur more than once, each once, sorted."""
    hashes = row_hashes(table, key)
    suspects = repeated(np.sort(hashes))
    columns = list(dict.fromkeys(key))
    if not len(suspects):
        return table.select(columns).slice(0, 0)
    rows = table.select(columns).filter(pa.array(np.isin(hashes, suspects)))
    kinds = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in rows.schema.types]
    rows = rows.cast(pa.schema(zip(columns, kinds, strict=True)))
    counted = rows.group_by(columns).aggregate([([], "count_all")])
    duplicates = counted.filter(pc.greater(counted["count_all"], scalar_of(1, pa.int64()))).select(columns)
    return duplicates.sort_by([(name, "ascending") for name in columns])


def label_schema(spec: ModelSpec, found: pa.Schema) -> pa.Schema:
    """The schema of `<model>__labels`; the target is an integer, a number or a text, as the SQL returns it."""
    features = feature_schema(spec)
    target = spec.training.target
    kind = found.field(target).type if target in found.names else pa.float64()
    if not (pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind)):
        kind = pa.float64()
    return pa.schema(
        [
            *(features.field(name) for name in spec.data.key),
            *period_schema(spec),
            (target, _stored(kind)),
            ("label_time", pa.timestamp("us", "UTC")),
            ("label_status", pa.string()),
        ]
    )


def with_stored_target(spec: ModelSpec, found: pa.Schema) -> pa.Schema:
    """The schema with the target's type as it will be stored; other columns are compared as they are."""
    place = found.get_field_index(spec.training.target)
    if place < 0:
        return found
    return found.set(place, pa.field(spec.training.target, _stored(found.field(place).type)))


def _stored(kind: pa.DataType) -> pa.DataType:
    """The type that a target is stored in; one that is no label at all stays, and is refused."""
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return pa.int64()
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    return kind


def check_columns(found: pa.Schema, expected: pa.Schema, where: str, *, others: bool = False) -> None:
    """Refuses missing, mistyped and (unless `others`) additional columns, all at once.

    Raises:
        InputError: Lists every difference.
    """
    problems = [
        *(f"missing column {name}" for name in expected.names if name not in found.names),
        *(f"unknown column {name}" for name in found.names if name not in expected.names and not others),
        *(
            f"column {column.name} is {sql_name(found.field(column.name).type)}, expected {sql_name(column.type)}"
            for column in expected
            if column.name in found.names and not _fits(found.field(column.name).type, column.type)
        ),
    ]
    if problems:
        raise InputError(
            f"{where}: {'; '.join(problems)}",
            expected=", ".join(f"{column.name} {sql_name(column.type)}" for column in expected),
            remedy="CAST the columns in the query, or correct data.columns; nothing was changed",
        )


def _fits(found: pa.DataType, expected: pa.DataType) -> bool:
    if pa.types.is_timestamp(expected):
        return bool(pa.types.is_timestamp(found))
    return bool(found == expected)


def check_features(spec: ModelSpec, day: date, accepted: int, features: pa.Table) -> None:
    """Refuses a day whose rows must not be used.

    Raises:
        InputError: Null or duplicate keys; a score moment outside its day.
        MissingRowsError: No rows; more or fewer rows than were accepted; no score moment; a column without a value.
    """
    where = f"{spec.table('features')} of {day}"
    if accepted == 0:
        raise MissingRowsError(
            f"no rows for {'the hour' if spec.is_hourly else 'date'} {day}; nothing of it was changed",
            expected=f"rows with {spec.partition[-1]} {day} that the contract accepts",
            remedy="check that the raw files hold that period, and what the contract rejects; one that has no rows "
            "by plan belongs into schedule.closed",
        )
    require_unique(features, spec.data.key, where)
    if features.num_rows != accepted:
        raise MissingRowsError(
            f"{where}: {features.num_rows} rows from {accepted} accepted ones; {_UNCHANGED}",
            expected="one row for each accepted row, or scored rows would not be the input rows",
            remedy=f"look for inner joins or filters in {spec.data.features}",
        )
    _require_values(where, features, [spec.data.score_moment], 1)
    _require_moments(spec, day, features)
    checked = [name for name in spec.data.columns if name not in spec.data.sparse_columns]
    _require_values(where, features, checked, features.num_rows)


def check_instants(rows: pa.Table, key: Sequence[str], where: str) -> None:
    """Refuses dates and instants that not every reader has: infinite ones, and years before 1 or after 9999.

    Args:
        rows: As the engine gives them: an infinite instant has no microseconds.
        key: The columns that name a row.
        where: What the rows are, for the message.

    Raises:
        InputError: Names the columns, how many rows it concerns, and the first keys.
    """
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        outside = _outside_all_years(column)
        if outside is not None and outside.any():
            raise InputError(
                f"{where}: {int(outside.sum())} rows whose {name} is infinite or not of the years 1 to 9999, such as "
                f"{_keys(rows, key, outside)}; {_UNCHANGED}",
                expected="dates and instants of the years 1 to 9999, or null",
                remedy="reject such rows in the contract SQL, or make them null",
            )


def _outside_all_years(column: pa.ChunkedArray) -> np.ndarray | None:
    """True where a date or an instant is one that not every reader has; None of other columns."""
    kind = column.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return None
    first = (_FIRST - _EPOCH).days * _A_DAY
    last = ((datetime.max.replace(tzinfo=UTC) - _EPOCH).days + 1) * _A_DAY
    if pa.types.is_timestamp(kind):
        numbers, unit = column.cast(pa.int64()), _A_SECOND[kind.unit]
    elif pa.types.is_date64(kind):
        numbers, unit = column.cast(pa.int64()), _A_SECOND["ms"]
    else:
        numbers, unit = column.cast(pa.int32()).cast(pa.int64()), 1
        first, last = first // _A_DAY, last // _A_DAY
    values = values_of(pc.fill_null(numbers, scalar_of(0, pa.int64())).combine_chunks())
    low, high = max(first * unit, 1 - _INFINITY), min(last * unit, _INFINITY)
    return np.asarray((values < low) | (values >= high))


def _keys(rows: pa.Table, key: Sequence[str], chosen: np.ndarray) -> str:
    """The keys of the first rows that are chosen, as commands print them."""
    places = np.flatnonzero(chosen)[:_EXAMPLES].tolist()
    found = [{name: rows[name][place].as_py() for name in key} for place in places]
    shown = [", ".join(f"{name}={value_text(row[name], joined=len(key) > 1)}" for name in key) for row in found]
    return "; ".join(shown)


def _require_moments(spec: ModelSpec, day: date, features: pa.Table) -> None:
    """Refuses score moments after the end of their period, or before its start by more than the spec allows.

    Raises:
        InputError: Says how many there are, the first keys, and the instants that are allowed.
    """
    calendar, name = spec.schedule.calendar, spec.data.score_moment
    low, high = calendar.start(day) - spec.data.score_ahead, calendar.end(day)
    moments = _microseconds(features[name])
    outside = (moments < (low - _EPOCH) // _MICROSECOND) | (moments > (high - _EPOCH) // _MICROSECOND)
    if outside.any():
        raise InputError(
            f"{spec.table('features')} of {day}: {int(outside.sum())} rows whose {name} lies outside of their "
            f"{calendar.noun}, such as {_keys(features, spec.data.key, outside)}; {_UNCHANGED}",
            expected=f"a {name} from {low:%Y-%m-%d %H:%M} to {high:%Y-%m-%d %H:%M} UTC",
            remedy=f"correct {spec.data.features}; one that is asked earlier needs data.score_ahead, such as `2 days`",
        )


def _microseconds(column: Any) -> np.ndarray:
    """Instants as numbers; a null is the earliest one."""
    numbers = pc.fill_null(column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()), scalar_of(-_INFINITY, pa.int64()))
    return values_of(numbers.combine_chunks())


def _before_their_moment(spec: ModelSpec, labels: pa.Table, features: pa.Table) -> np.ndarray:
    """True for labels that were known before the score moment of their row."""
    if not (features.num_rows and labels.num_rows):
        return np.zeros(labels.num_rows, dtype=bool)
    hashes = row_hashes(features, spec.data.key)
    order = np.argsort(hashes)
    wanted = row_hashes(labels, spec.data.key)
    places = order[np.minimum(np.searchsorted(hashes, wanted, sorter=order), order.size - 1)]
    early = _microseconds(labels["label_time"]) < _microseconds(features[spec.data.score_moment])[places]
    known = pc.and_(pc.is_valid(labels["label_time"]), has_status(labels, KNOWN)).combine_chunks().cast(pa.int8())
    return np.asarray(early & (values_of(known) == 1) & (hashes[places] == wanted))


def _require_values(where: str, table: pa.Table, names: Iterable[str], nulls: int) -> None:
    """Refuses columns with at least so many nulls."""
    bad = [
        f"{name} ({table[name].null_count} of {table.num_rows} null)"
        for name in names
        if table[name].null_count >= nulls
    ]
    if bad:
        raise MissingRowsError(
            f"{where}: no values in {', '.join(bad)}; {_UNCHANGED}",
            expected="a score moment in every row, and some values in every column of the day",
            remedy="deliver the raw data again; a column that may be empty for a day goes to data.sparse_columns",
        )


def without_nan(spec: ModelSpec, labels: pa.Table) -> pa.Table:
    """The labels of a day without those that are NaN, which is no value: such a row has no label yet.

    A row that will never have one keeps that status, and loses the NaN.
    """
    target = spec.training.target
    nan = is_nan(labels[target])
    if not pc.any(nan).as_py():
        return labels
    place, kind = labels.column_names.index(target), labels[target].type
    labels = labels.set_column(place, target, pc.if_else(nan, scalar_of(None, kind), labels[target]))
    return labels.filter(pc.invert(pc.and_(nan, has_status(labels, KNOWN))))


def check_labels(spec: ModelSpec, day: date, labels: pa.Table, features: pa.Table) -> None:
    """Refuses labels that contradict themselves or belong to no row of the day.

    Args:
        spec: The model.
        day: The score date.
        labels: Its labels.
        features: Its rows, at least their keys and score moments.

    Raises:
        InputError: Names what is wrong and how many rows it concerns.
        WrongLabelsError: A value is no label of the task.
    """
    where = f"{spec.table('labels')} of {day}"
    require_unique(labels, spec.data.key, where)
    known = has_status(labels, KNOWN)
    never, missing = has_status(labels, NEVER), has_status(labels, MISSING)
    valued = pc.is_valid(labels[spec.training.target])
    timed = pc.is_valid(labels["label_time"])
    orphans = ~np.isin(row_hashes(labels, spec.data.key), row_hashes(features, spec.data.key))
    counts = {
        f"a label_status other than '{KNOWN}', '{NEVER}' and '{MISSING}'": pc.invert(
            pc.or_(known, pc.or_(never, missing))
        ),
        f"'{KNOWN}' without {spec.training.target} or label_time": pc.and_(known, pc.invert(pc.and_(valued, timed))),
        f"'{NEVER}' with a {spec.training.target}": pc.and_(never, valued),
        f"'{MISSING}' with a {spec.training.target}": pc.and_(missing, valued),
        "a key that the features do not have": number_array(orphans.astype(np.int8), pa.int8()).cast(pa.bool_()),
    }
    problems = [f"{rows} rows with {what}" for what, mask in counts.items() if (rows := pc.sum(mask).as_py() or 0)]
    early = _before_their_moment(spec, labels, features)
    if early.any():
        problems.append(
            f"{int(early.sum())} rows with a label_time before their {spec.data.score_moment}, such as "
            f"{_keys(labels, spec.data.key, early)}"
        )
    if problems:
        raise InputError(
            f"{where}: {'; '.join(problems)}; {_UNCHANGED}",
            expected="one label for each accepted row at most, with its arrival time, not before the score moment",
            remedy=f"correct {spec.data.labels}",
        )
    _require_classes(spec, where, labels[spec.training.target])


def _require_classes(spec: ModelSpec, where: str, column: pa.ChunkedArray) -> None:
    """Refuses values that are no label of the task."""
    training = spec.training
    wrong = wrong_labels(column, training.kind, training.positive)
    if not wrong:
        return
    listed = ", ".join(f"{value!r} in {rows} rows" for value, rows in list(wrong.items())[:_EXAMPLES])
    more = f" and {len(wrong) - _EXAMPLES} other values" if len(wrong) > _EXAMPLES else ""
    named = f"; or name the positive class: `training: {{positive: {list(wrong)[-1]!r}}}`"
    texts = training.kind.thresholds and is_text(column.type) and not training.positive
    raise WrongLabelsError(
        f"{where}: {training.target} has values that are no label of a {training.task} task: {listed}{more}; "
        f"{_UNCHANGED}",
        expected=f"{allowed_labels(training.kind, training.positive)}; a row without a label has null or NaN",
        remedy=f"correct {spec.data.labels} or training.task" + (named if texts else ""),
    )


def has_status(labels: pa.Table, status: str) -> pa.ChunkedArray:
    """True in the rows of that status; a null has none."""
    equal = pc.equal(labels["label_status"], scalar_of(status, pa.string()))
    return pc.fill_null(equal, scalar_of(False, pa.bool_()))
