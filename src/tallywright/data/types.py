"""The SQL types that a spec may declare, as Arrow types: one table for ingest, checks and every engine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from tallywright.errors import SpecError, did_you_mean
from tallywright.score_period import DATE_COLUMN, HOUR_COLUMN

if TYPE_CHECKING:
    from tallywright.spec import ModelSpec

_TYPES: Final[dict[str, pa.DataType]] = {
    "VARCHAR": pa.string(),
    "STRING": pa.string(),
    "TEXT": pa.string(),
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "INT": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "REAL": pa.float32(),
    "DOUBLE": pa.float64(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us", "UTC"),
}
_DECIMAL: Final = re.compile(r"^DECIMAL\((\d{1,2}), ?(\d{1,2})\)$")
_NAMES: Final = {str(kind): name for name, kind in reversed(_TYPES.items())}


def arrow_type(declared: str, where: str) -> pa.DataType:
    """The Arrow type of a declared SQL type; timestamps are UTC.

    Args:
        declared: Such as `DOUBLE`, in any case.
        where: The path in the spec, for the message.

    Raises:
        SpecError: A type that is not in the table.
    """
    name = declared.strip().upper()
    decimal = _DECIMAL.match(name)
    if decimal and 1 <= int(decimal[1]) <= 38 and int(decimal[2]) <= int(decimal[1]):  # noqa: PLR2004
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    if name not in _TYPES:
        raise SpecError(
            f"{where}: unknown SQL type {declared!r}{did_you_mean(name, _TYPES)}",
            expected=f"one of {', '.join(_TYPES)}, DECIMAL(p,s)",
        )
    return _TYPES[name]


def sql_name(kind: pa.DataType) -> str:
    """The SQL name of an Arrow type, for messages; Arrow's own name when SQL has none here."""
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    return "NULL (no type)" if pa.types.is_null(kind) else _NAMES.get(str(kind), str(kind))


def feature_schema(spec: ModelSpec) -> pa.Schema:
    """The schema of `<model>__features`: the columns of the period, then data.columns in the spec's order.

    Raises:
        SpecError: A column of a type that is not known.
    """
    columns = [(name, arrow_type(kind, f"data.columns.{name}")) for name, kind in spec.data.columns.items()]
    return pa.schema([*period_schema(spec), *columns])


def period_schema(spec: ModelSpec) -> pa.Schema:
    """The columns of the score period in tables of rows."""
    kinds = {DATE_COLUMN: pa.date32(), HOUR_COLUMN: pa.timestamp("us", "UTC")}
    return pa.schema([(name, kinds[name]) for name in spec.partition])
