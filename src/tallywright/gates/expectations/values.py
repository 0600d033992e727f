"""Values of a suite, read by the type of the column that they are compared with; and values as texts."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

import pyarrow as pa

from tallywright.data.types import sql_name
from tallywright.redaction import visible

Family = Literal["text", "boolean", "integer", "float", "decimal", "date", "instant"]

TEXT: Final[frozenset[Family]] = frozenset({"text"})
NUMBERS: Final[frozenset[Family]] = frozenset({"integer", "float", "decimal"})
TIMES: Final[frozenset[Family]] = frozenset({"date", "instant"})
ORDERED: Final[frozenset[Family]] = NUMBERS | TIMES
ALL: Final[frozenset[Family]] = ORDERED | TEXT | {"boolean"}

Columns = Mapping[str, pa.DataType | None]
"""Names and types of the columns of a day; None where the spec's own type is wrong, which others report."""

_FOUR_BYTES: Final = 32
_LONGEST: Final = 120
"""A longer text is cut where it is an example; the table has the whole one."""
_NORWAY: Final = "without quotes YAML reads yes, no, on, off and NO as truth values"


def family_of(kind: pa.DataType) -> Family:
    """The family of a column's type."""
    found: dict[Family, bool] = {
        "boolean": pa.types.is_boolean(kind),
        "integer": pa.types.is_integer(kind),
        "float": pa.types.is_floating(kind),
        "decimal": pa.types.is_decimal(kind),
        "date": pa.types.is_date(kind),
        "instant": pa.types.is_timestamp(kind),
    }
    return next((name for name, fits in found.items() if fits), "text")


def read_value(value: Any, column: str, kind: pa.DataType | None) -> Any:
    """A value of the column's type.

    Dates and instants are texts in ISO form; an instant without a zone is UTC, as everywhere in the tables.

    Raises:
        ValueError: The value is none of that type; says so in words.
    """
    if kind is None:
        return value
    reader = {
        "text": _text, "boolean": _boolean, "integer": _integer, "float": _float, "decimal": _decimal,
        "date": _date, "instant": _instant,
    }[family_of(kind)]  # fmt: skip
    try:
        return reader(value, kind)
    except (ValueError, OverflowError, InvalidOperation) as error:
        because = error.args[0] if error.args and isinstance(error.args[0], _Because) else ""
        hint = f": {because}" if because else ""
        raise ValueError(f"found {shown(value)}, and {column} is {sql_name(kind)}{hint}") from None


def read_bound(value: Any, column: str, kind: pa.DataType | None) -> Any:
    """A bound of the column's values: as `read_value`, but between whole numbers it may have a fraction."""
    if kind is None or family_of(kind) not in NUMBERS | {"boolean"}:
        return read_value(value, column, kind)
    is_flag = family_of(kind) == "boolean" and isinstance(value, bool)
    number = read_number(int(value) if is_flag else value)
    low, high = _range(kind)
    if not low <= number <= high:
        raise ValueError(f"found {shown(number)}, and {column} is {sql_name(kind)}: {shown(low)} to {shown(high)}")
    return number


def read_number(value: Any) -> float | int:
    """A finite number that a float can hold.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool):
        raise ValueError(f"found {shown(value)}, a number is needed: {_NORWAY}")  # noqa: TRY004 - all are ValueErrors
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except (ValueError, TypeError):
        raise ValueError(f"found {shown(value)}, a number is needed") from None
    if not math.isfinite(number):
        raise ValueError(f"found {shown(value)}, a finite number is needed")
    return value if isinstance(value, int) else number


class _Because(str):
    """A reason in words of ours, to tell it from those of the readers of Python."""

    __slots__ = ()


def _text(value: Any, _: pa.DataType) -> str:
    if isinstance(value, bool):
        raise ValueError(_Because(f"{_NORWAY}, so quote it"))  # noqa: TRY004 - all are ValueErrors
    if not isinstance(value, str):
        raise ValueError(_Because("quote it"))  # noqa: TRY004
    return value


def _boolean(value: Any, _: pa.DataType) -> bool:
    if value not in (True, False, 0, 1):
        raise ValueError(_Because("true or false"))
    return bool(value)


def _integer(value: Any, kind: pa.DataType) -> int:
    number = _exact(value)
    if number != number.to_integral_value():
        raise ValueError(_Because("a whole number is needed"))
    low, high = _range(kind)
    if not low <= number <= high:
        raise ValueError(_Because(f"{low} to {high}"))
    return int(number)


def _float(value: Any, kind: pa.DataType) -> float:
    number = float(_exact(value))
    if kind.bit_width == _FOUR_BYTES:
        (number,) = struct.unpack("<f", struct.pack("<f", number))
    return number


def _decimal(value: Any, kind: pa.DataType) -> Decimal:
    number = _exact(value)
    low, high = _range(kind)
    if not low <= number <= high:
        raise ValueError(_Because(f"{low} to {high}"))
    if number != round(number, kind.scale):
        raise ValueError(_Because(f"it has at most {kind.scale} decimals"))
    return Decimal(round(number, kind.scale))


def _exact(value: Any) -> Decimal:
    """The number as it is written, so that 0.1 is a tenth."""
    if isinstance(value, bool):
        raise ValueError(_Because(_NORWAY))  # noqa: TRY004
    if not isinstance(value, int | float | str):
        raise ValueError(_Because("a number is needed"))  # noqa: TRY004
    number = Decimal(str(value))
    if not number.is_finite() or not math.isfinite(float(number)):
        raise ValueError(_Because("a finite number is needed"))
    return number


def _date(value: Any, _: pa.DataType) -> date:
    try:
        if isinstance(value, str) and not value.isdigit():
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError(_Because("write a date such as 2025-01-31"))


def _instant(value: Any, _: pa.DataType) -> datetime:
    try:
        if isinstance(value, str) and not value.isdigit():
            instant = datetime.fromisoformat(value)
            return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError(_Because("write an instant such as 2025-01-31T12:00:00; it is UTC unless it has a zone"))


def _range(kind: pa.DataType) -> tuple[Any, Any]:
    """The least and the greatest number of a column's type."""
    if pa.types.is_boolean(kind):
        return 0, 1
    if pa.types.is_integer(kind):
        half = 1 << (kind.bit_width - 1)
        return -half, half - 1
    if pa.types.is_decimal(kind):
        most = Decimal(10) ** (kind.precision - kind.scale)
        return -most, most
    return -math.inf, math.inf


def shown(value: Any) -> str:
    """A value as a text that `tally query` shows, in one line and of bounded length."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value.isoformat() if isinstance(value, datetime) else _number_text(value)
    text = visible(" ".join(text.splitlines()) if "\n" in text or "\r" in text else text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _number_text(value: Any) -> str:
    try:
        return str(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a whole number of more than 4,300 digits"
