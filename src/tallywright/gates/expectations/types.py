"""The type of a column, compared by name with those that an expectation lists: as the spec says it, or as pandas does.

The types of a day are those of its table's schema; no row has to be looked at, and a null changes nothing.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from tallywright.data.types import sql_name
from tallywright.gates.expectations.values import family_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "VARCHAR": ("VARCHAR", "STRING", "TEXT", "str", "string", "object", "StringDtype"),
    "BOOLEAN": ("BOOLEAN", "BOOL", "bool", "bool_", "boolean", "BooleanDtype"),
    "TINYINT": ("TINYINT", "int8", "Int8", "Int8Dtype"),
    "SMALLINT": ("SMALLINT", "int16", "Int16", "Int16Dtype"),
    "INTEGER": ("INTEGER", "INT", "int32", "Int32", "Int32Dtype"),
    "BIGINT": ("BIGINT", "int", "int64", "Int64", "Int64Dtype"),
    "FLOAT": ("FLOAT", "REAL", "float32", "Float32", "Float32Dtype"),
    "DOUBLE": ("DOUBLE", "float", "float64", "Float64", "Float64Dtype"),
    "DATE": ("DATE", "date", "object", "date32"),
    "TIMESTAMP": ("TIMESTAMP", "Timestamp", "datetime", "datetime64", "datetime64[us, UTC]", "datetime64[ns, UTC]",
                  "DatetimeTZDtype"),
}  # fmt: skip
_DECIMAL: Final = ("DECIMAL", "Decimal", "object")


@cache
def known_types() -> frozenset[str]:
    """All names of types that an expectation may list, besides `DECIMAL(p,s)`."""
    return frozenset({*_DECIMAL, *(name for names in _NAMES.values() for name in names)})


def is_one_of(kind: pa.DataType, listed: Iterable[str]) -> bool:
    """True when a type has one of the listed names."""
    own = "VARCHAR" if family_of(kind) == "text" else sql_name(kind)
    names = {own.upper(), *(_DECIMAL if pa.types.is_decimal(kind) else _NAMES.get(own, (own,)))}
    return any(name in names or name.replace(" ", "").upper() in names for name in listed)
