"""Score periods as values and as tables hold them: a date, or of an hourly model an hour, which belongs to a date."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping


_FIRST_DAY: Final = date(1970, 1, 1)


class Hour(date):
    """An hour as a score period: its local date, and the instant at which it begins.

    It is its date, so that whatever is about a score date is about an hour as well. Among hours it is compared by its
    instant: when clocks are set back, one date has an hour twice. To compare it with a date, or to add days to it,
    would be right for one of its two halves only, and raises: ask the calendar (`spec.calendar`), or `date_of`.

    Attributes:
        instant: When the hour begins, in UTC.
    """

    __slots__ = ("instant",)

    instant: datetime

    def __new__(cls, day: date, instant: datetime) -> Self:
        """The hour that begins at an instant (with a zone), on that local date."""
        made = super().__new__(cls, day.year, day.month, day.day)
        made.instant = instant.astimezone(UTC)
        return made

    def isoformat(self) -> str:
        """The instant, such as `2025-03-30T01:00Z`."""
        return f"{self.instant:%Y-%m-%dT%H:%MZ}"

    __str__ = isoformat

    def __repr__(self) -> str:
        return f"Hour({self.isoformat()})"

    def __format__(self, form: str) -> str:
        """The text, or with a form that of the instant."""
        return f"{self.instant:{form}}" if form else self.isoformat()

    def __reduce__(self) -> tuple[type[Hour], tuple[date, datetime]]:
        return Hour, (date_of(self), self.instant)

    def __hash__(self) -> int:
        return hash(self.instant)

    def __eq__(self, other: object) -> bool:
        """True for the same hour; no hour is a whole date."""
        return isinstance(other, Hour) and self.instant == other.instant

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: date) -> bool:
        return self.instant < _instant(other)

    def __le__(self, other: date) -> bool:
        return self.instant <= _instant(other)

    def __gt__(self, other: date) -> bool:
        return self.instant > _instant(other)

    def __ge__(self, other: date) -> bool:
        return self.instant >= _instant(other)

    def _no_days(self, _: object) -> NoReturn:
        raise TypeError(f"days cannot be added to or taken from the hour {self}; ask the calendar of the model")

    __add__ = __radd__ = __sub__ = __rsub__ = _no_days


def _instant(other: object) -> datetime:
    if isinstance(other, Hour):
        return other.instant
    raise TypeError(f"an hour cannot be compared with {other!r}; compare its date (`date_of`)")


def date_of(period: date) -> date:
    """The local date of a period that is an hour; other periods are dates."""
    return date.fromordinal(period.toordinal()) if isinstance(period, Hour) else period


def days_since_1970(period: date) -> int:
    """The number of a period's date, as Arrow counts dates."""
    return period.toordinal() - _FIRST_DAY.toordinal()


def compact(period: date) -> str:
    """The period as one word, such as `20250330` or `20250330T0100Z`."""
    return f"{period:%Y%m%dT%H%MZ}" if isinstance(period, Hour) else f"{period:%Y%m%d}"


DATE_COLUMN: Final = "score_date"
HOUR_COLUMN: Final = "score_hour"
"""The instant of an hour, UTC; a table has this column where the model's periods are hours."""
_IN_PATH: Final = re.compile(r"score_date=([0-9]{4}-[0-9]{2}-[0-9]{2})/(?:score_hour=([^/]*)/)?")


def partition_columns(*, hourly: bool) -> tuple[str, ...]:
    """The columns by which tables of rows are partitioned: those of the period."""
    return (DATE_COLUMN, HOUR_COLUMN) if hourly else (DATE_COLUMN,)


PARTITIONINGS: Final = (partition_columns(hourly=False), partition_columns(hourly=True))
"""How a table can be partitioned by periods."""


def partition_values(period: date) -> dict[str, str | None]:
    """The partition values of a period's files, as the log has them; an instant with its zone, which Spark reads."""
    values: dict[str, str | None] = {DATE_COLUMN: date_of(period).isoformat()}
    if isinstance(period, Hour):
        values[HOUR_COLUMN] = f"{period.instant:%Y-%m-%dT%H:%M:%S.000000Z}"
    return values


def partition_folder(period: date) -> str:
    """The folder of a period's files in a table, of characters that every storage takes."""
    folder = f"{DATE_COLUMN}={date_of(period).isoformat()}"
    return f"{folder}/{HOUR_COLUMN}={compact(period)}" if isinstance(period, Hour) else folder


def period_of_path(path: str) -> date | None:
    """The period in the path of a file, whoever wrote it; None where the path has none."""
    match = _IN_PATH.search(path)
    if match is None:
        return None
    day = date.fromisoformat(match[1])
    if match[2] is None:
        return day
    digits = re.sub(r"[^0-9]", "", unquote(unquote(match[2])))[:12]
    return Hour(day, datetime.strptime(digits + "+0000", "%Y%m%d%H%M%z"))


def table_of_path(path: str) -> tuple[str, str]:
    """The address of the table that a data file belongs to, and the file's path in it: its partition and its name."""
    table, marker, inside = path.rpartition(f"/{DATE_COLUMN}=")
    if marker:
        return table, f"{marker[1:]}{inside}"
    table, folder, file = path.rsplit("/", 2)
    return table, f"{folder}/{file}"


def with_hour(row: dict[str, Any]) -> dict[str, Any]:
    """The row of a table with its period under `score_date`, where the table has the instants of hours."""
    instant = row.pop(HOUR_COLUMN, None)
    if isinstance(instant, datetime) and row.get(DATE_COLUMN) is not None:
        row[DATE_COLUMN] = Hour(row[DATE_COLUMN], instant)
    return row


def columns_of(where: Mapping[str, Any]) -> dict[str, Any]:
    """Column values in which an hour stands under `score_date`, as tables have them."""
    hour = where.get(DATE_COLUMN)
    if not isinstance(hour, Hour):
        return dict(where)
    return {**where, DATE_COLUMN: date_of(hour), HOUR_COLUMN: hour.instant}


def period_of(where: Mapping[str, Any]) -> date | None:
    """The period in column values of either form; None where they have none."""
    return with_hour(dict(where)).get(DATE_COLUMN)
