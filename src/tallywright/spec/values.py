"""What a value of a spec may be: each type has the bounds of all that use it, and a text for what lies outside.

A number that a date, a C integer, a cron library, a table or Airflow cannot take is refused where it is written, and
not an ingest or a training later. Bounds of Airflow stand here as constants, so that no check imports it.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

FIRST_DATE: Final = date(1900, 1, 1)
LAST_DATE: Final = date(2199, 12, 31)
"""Score dates lie between these: before and after there is room for lookback, windows, zones and the days around."""
MOST_DAYS: Final = 300_000
MOST_PERIODS: Final = 1_000_000
LARGEST: Final = 2**63 - 1
"""Of a whole number in a table, and of a seed."""
MOST_COLUMNS: Final = 10_000
"""Columns of a feature table."""
MOST_NAMES: Final = 10_000
LONGEST_TAG: Final = 100
"""Of Airflow, as the next ones are."""
LONGEST_OWNER: Final = 500
LONGEST_URI: Final = 1_500
LONGEST_DESCRIPTION: Final = 5_000
"""Of MLflow's registry."""
_LONGEST_PART: Final = 250
_MISSING: Final = "???"
_CRON_YEARS: Final = 10
_CRON_FIELDS: Final = (("minutes", 0, 59), ("hours", 0, 23), ("days", 1, 31), ("months", 1, 12), ("weekdays", 0, 7))
_CRON_START: Final = datetime(2024, 1, 1)  # noqa: DTZ001 - a cron knows no zone; from a leap year on
_DAY_TEXT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME_TEXT: Final = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2})?")


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed, and this is a truth value")  # noqa: TRY004 - pydantic takes ValueError
    return value


def _whole(value: object) -> object:
    """Bounds the number here: of two bounds on one type pydantic would take the first."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) > LARGEST:
        raise ValueError(f"must be at most {LARGEST}" if value > 0 else f"must be at least {-LARGEST}")
    return _no_truth_value(value)


Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number that a table can hold."""
Width = Annotated[int, Field(ge=1, le=65_536), BeforeValidator(_no_truth_value)]
"""Of a layer of a network."""
VersionNumber = Annotated[int, Field(ge=1, le=10**9), BeforeValidator(_no_truth_value)]
"""Of a registered version."""
Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_no_truth_value)]
"""A finite number."""
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_no_truth_value)]
Days = Annotated[int, Field(ge=0, le=MOST_DAYS), BeforeValidator(_no_truth_value)]
PositiveDays = Annotated[int, Field(ge=1, le=MOST_DAYS), BeforeValidator(_no_truth_value)]
Periods = Annotated[Annotated[int, Field(ge=0, le=MOST_PERIODS), BeforeValidator(_no_truth_value)] | None,
                    Field(default=None)]  # fmt: skip
PositivePeriods = Annotated[Annotated[int, Field(ge=1, le=MOST_PERIODS), BeforeValidator(_no_truth_value)] | None,
                            Field(default=None)]  # fmt: skip

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Column = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,126}$")]


def _filled(text: str) -> str:
    if text.strip() == _MISSING:
        raise ValueError(f"missing: `{_MISSING}` only stands for a value")
    if not text.strip():
        raise ValueError("empty; somebody or something has to be named")
    return text


Filled = Annotated[str, Field(max_length=LONGEST_OWNER), AfterValidator(_filled)]
"""A text that names somebody or something, and so is not blank."""
Tag = Annotated[str, Field(max_length=LONGEST_TAG), AfterValidator(_filled)]


def _file_pattern(text: str) -> str:
    if any(len(part.encode()) > _LONGEST_PART for part in text.split("/")):
        raise ValueError(f"a name in it has more than {_LONGEST_PART} bytes, which no file system takes")
    return _filled(text)


FilePattern = Annotated[str, Field(max_length=1_000), AfterValidator(_file_pattern)]
"""A path, or a pattern of paths."""


def each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuses a list that has something twice.

    Raises:
        ValueError: Names it.
    """
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"names {value} twice")
        seen.add(value)
    return values


Columns = Annotated[tuple[Column, ...], Field(max_length=MOST_NAMES), AfterValidator(each_once)]
"""Names of columns, each once."""


def _day(value: object) -> object:
    """Only what is a date as it is written: to pydantic a number is one too, counted in seconds from 1970."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str) and _DAY_TEXT.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"no such date: {error}") from error
    raise ValueError("a date is written YYYY-MM-DD, such as 2025-03-08")


def _within_the_years(value: date) -> date:
    if not FIRST_DATE <= value <= LAST_DATE:
        raise ValueError(f"dates of a schedule lie between {FIRST_DATE} and {LAST_DATE}")
    return value


AnyDay = Annotated[date, BeforeValidator(_day)]
Day = Annotated[date, BeforeValidator(_day), AfterValidator(_within_the_years)]
"""A date that can be scored."""


def _clock(value: object) -> object:
    if isinstance(value, time) and value.tzinfo is None:
        return value
    if isinstance(value, str) and _TIME_TEXT.fullmatch(value):
        try:
            return time.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"no such time: {error}") from error
    raise ValueError('write a time in quotes, hours and minutes of the local clock: "14:00"')


Clock = Annotated[time, BeforeValidator(_clock)]
"""A time of the local clock."""


_DURATION: Final = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,6})?) ?(minute|hour|day)s?")


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    found = _DURATION.fullmatch(str(value)) or _DURATION.fullmatch(f"{value} days")
    if found is None or isinstance(value, bool):
        raise ValueError("a time span is needed, such as `1 day`, `36 hours` or `90 minutes`")
    return timedelta(**{f"{found[2]}s": float(found[1])})


def _written(value: timedelta) -> str:
    return f"{value / timedelta(minutes=1):g} minutes"


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration, json_schema_input_type=str | float),
    PlainSerializer(_written, return_type=str),
]
"""A time span as it is written in a spec: a number with its unit; a number alone is days."""


def _five_fields(cron: str) -> str:
    fields = cron.split()
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError("a cron of five fields is needed, such as '0 4 * * *'")
    for text, (name, low, high) in zip(fields, _CRON_FIELDS, strict=True):
        numbers = [int(number) for number in re.findall(r"[0-9]{1,9}", re.sub(r"/[0-9]+", "", text))]
        if any(not low <= number <= high for number in numbers):
            raise ValueError(f"{name} of a cron lie between {low} and {high}; found {text!r}")
    if all(text == "*" or (text.isdecimal() and text.isascii()) for text in (*fields[:2], fields[4])) and (
        fields[2:4] == ["*", "*"]
    ):
        return cron  # comes every week, whatever else
    _require_a_time(cron, fields)
    return cron


def _require_a_time(cron: str, fields: list[str]) -> None:
    """Asks the library by which Airflow reads a cron."""
    from croniter import CroniterBadDateError, croniter

    for place, (text, (name, low, high)) in enumerate(zip(fields, _CRON_FIELDS, strict=True)):
        alone = ["*"] * len(fields)
        alone[place] = text
        try:
            croniter(" ".join(alone), _CRON_START)
        except Exception as error:
            raise ValueError(
                f"{text!r} is no field of {name}: {low} to {high}, `*`, `a-b`, `a,b`, `*/n`"
                + (", or names such as " + ("JAN" if name == "months" else "MON") if place > 2 else "")  # noqa: PLR2004
            ) from error
    try:
        croniter(cron, _CRON_START, max_years_between_matches=_CRON_YEARS).get_next()
    except CroniterBadDateError as error:
        raise ValueError(f"never comes: the next {_CRON_YEARS} years have no such minute") from error
    except Exception as error:
        raise ValueError(f"no cron: {error}") from error


Cron = Annotated[str, Field(max_length=200), AfterValidator(_five_fields)]
"""A cron of five fields that comes at some time."""

TEXT, TRUTH, WHOLE, NUMBER, DATE, INSTANT = "text", "truth", "whole", "number", "date", "instant"
SQL_TYPES: Final = {
    "VARCHAR": TEXT, "STRING": TEXT, "TEXT": TEXT, "BOOLEAN": TRUTH, "TINYINT": WHOLE, "SMALLINT": WHOLE,
    "INTEGER": WHOLE, "INT": WHOLE, "BIGINT": WHOLE, "FLOAT": NUMBER, "REAL": NUMBER, "DOUBLE": NUMBER, "DATE": DATE,
    "TIMESTAMP": INSTANT,
}  # fmt: skip
"""The SQL types that a spec may declare, besides DECIMAL(p,s), to their kind."""
_DECIMAL: Final = re.compile(r"DECIMAL\(([0-9]{1,2}), ?([0-9]{1,2})\)")
_MOST_DIGITS: Final = 38


def decimal_digits(declared: str) -> tuple[int, int] | None:
    """Precision and scale of a declared DECIMAL; None for another type."""
    found = _DECIMAL.fullmatch(declared.strip().upper())
    if found is None or not 1 <= int(found[1]) <= _MOST_DIGITS or int(found[2]) > int(found[1]):
        return None
    return int(found[1]), int(found[2])


def kind_of(declared: str) -> str | None:
    """The kind of a declared SQL type, in any case; None where there is no such type."""
    return NUMBER if decimal_digits(declared) else SQL_TYPES.get(declared.strip().upper())
