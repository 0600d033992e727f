"""Switches for what can go wrong between two dates: the world changes, the file is wrong, or it does not come.

What changes in the world (population, base rate, concept, delay of labels) changes the truth as well; what is wrong in
a file changes only what is filed. A fault touches nothing but what it names: all other numbers stay as they were drawn.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from loans.risk import LATER, Concept, between
from loans.schemas import APPLICATIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loans.draws import Draws
    from loans.population import Columns

    Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Fault:
    """Something that happens to the applications of the dates `first` to `last`, both included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"{self.last} is before {self.first}")
        column = getattr(self, "column", None)
        if column is not None and column not in self.columns():
            raise ValueError(f"it has no column {column!r}; it has {', '.join(self.columns())}")

    @classmethod
    def columns(cls) -> list[str]:
        """The columns that such a fault can be about."""
        return APPLICATIONS.names

    def covers(self, day: date) -> bool:
        """Whether it happens to the applications of a day."""
        return self.first <= day <= self.last

    def standing(self) -> float:
        """By how much the population's standing is shifted."""
        return 0.0

    def concept(self, concept: Concept) -> Concept:
        """How the columns act on the risk."""
        return concept

    def log_odds(self) -> float:
        """What is added to the log odds of default of each loan."""
        return 0.0

    def report_delay(self) -> int:
        """By how many days outcomes are reported later."""
        return 0

    def reported(self, defaulted: Flags, draws: Draws) -> Flags:
        """Which loans are reported as defaulted."""
        return defaulted

    def filed(self, columns: Columns, draws: Draws) -> Columns:
        """What is written to the file."""
        return columns

    def delivered(self, day: date | None) -> date | None:
        """The day on which the file of a day is there; None: never."""
        return day


@dataclass(frozen=True)
class Population(Fault):
    """Covariate drift: applicants stand better (or, negative, worse) by so many standard deviations."""

    shift: float = -1.0

    def standing(self) -> float:
        return self.shift


@dataclass(frozen=True)
class BaseRate(Fault):
    """Prior drift: all loans default more (or less) often, the same applicants and the same order of risk."""

    shift: float = 0.7

    def log_odds(self) -> float:
        return self.shift


@dataclass(frozen=True)
class ConceptDrift(Fault):
    """Columns act otherwise on the risk; 1 is the whole way to `risk.LATER`."""

    strength: float = 1.0

    def concept(self, concept: Concept) -> Concept:
        return between(concept, LATER, self.strength)


@dataclass(frozen=True)
class LabelDelay(Fault):
    """Outcomes are reported so many days later."""

    days: int = 30

    def report_delay(self) -> int:
        return self.days


@dataclass(frozen=True)
class WrongLabels(Fault):
    """This share of the outcomes is reported as its opposite."""

    share: float = 0.2

    def reported(self, defaulted: Flags, draws: Draws) -> Flags:
        return defaulted ^ (draws.uniform("wrong labels", len(defaulted)) < self.share)


@dataclass(frozen=True)
class Nulls(Fault):
    """This share of a column is empty."""

    column: str = "income"
    share: float = 0.3

    def filed(self, columns: Columns, draws: Draws) -> Columns:
        empty = draws.uniform(f"nulls of {self.column}", len(columns[self.column])) < self.share
        values = columns[self.column]
        nothing = {"f": np.nan, "M": np.datetime64("NaT")}.get(values.dtype.kind)
        if nothing is None:
            values = values.astype(object) if values.dtype.kind in "UO" else values.astype(float)
            nothing = None if values.dtype == object else np.nan
        return columns | {self.column: np.where(empty, nothing, values)}


@dataclass(frozen=True)
class Scaled(Fault):
    """A number is given in another unit."""

    column: str = "income"
    factor: float = 100.0

    @classmethod
    def columns(cls) -> list[str]:
        return [
            field.name for field in APPLICATIONS if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        ]

    def filed(self, columns: Columns, draws: Draws) -> Columns:
        return columns | {self.column: columns[self.column] * self.factor}


@dataclass(frozen=True)
class Stuck(Fault):
    """Every row has the value that the first row has which has one."""

    column: str = "utilisation"

    def filed(self, columns: Columns, draws: Draws) -> Columns:
        values = columns[self.column]
        there = np.flatnonzero(values == values)  # noqa: PLR0124 - NaN and NaT differ from themselves
        return columns | {self.column: np.repeat(values[there[:1]], len(values))}


@dataclass(frozen=True)
class Duplicates(Fault):
    """This share of the rows stands there twice."""

    share: float = 0.05

    def filed(self, columns: Columns, draws: Draws) -> Columns:
        rows = len(columns["application_id"])
        order = np.argsort(draws.uniform("duplicates", rows), kind="stable")
        again = np.concatenate([np.arange(rows), np.sort(order[: round(self.share * rows)])])
        return {name: values[again] for name, values in columns.items()}


@dataclass(frozen=True)
class Unseen(Fault):
    """This share of a text column has a value that never was there before."""

    column: str = "channel"
    share: float = 0.2
    value: str = "comparison_site"

    @classmethod
    def columns(cls) -> list[str]:
        return [field.name for field in APPLICATIONS if pa.types.is_string(field.type)]

    def filed(self, columns: Columns, draws: Draws) -> Columns:
        new = draws.uniform(f"unseen {self.column}", len(columns[self.column])) < self.share
        return columns | {self.column: np.where(new, self.value, columns[self.column])}


@dataclass(frozen=True)
class ShiftedDates(Fault):
    """Instants are so many days off, as by a wrong zone or a file of another day."""

    days: int = 1

    def filed(self, columns: Columns, draws: Draws) -> Columns:
        return columns | {"applied_at": columns["applied_at"] + np.timedelta64(self.days, "D")}


@dataclass(frozen=True)
class MissingFile(Fault):
    """The file of the day never comes."""

    def delivered(self, day: date | None) -> date | None:
        return None


@dataclass(frozen=True)
class LateFile(Fault):
    """The file of the day comes so many days later."""

    days: int = 3

    def delivered(self, day: date | None) -> date | None:
        return day and day + timedelta(days=self.days)


FAULTS: Final[dict[str, type[Fault]]] = {
    "population": Population, "base_rate": BaseRate, "concept": ConceptDrift, "label_delay": LabelDelay,
    "wrong_labels": WrongLabels, "nulls": Nulls, "scaled": Scaled, "stuck": Stuck, "duplicates": Duplicates,
    "unseen": Unseen, "shifted_dates": ShiftedDates, "missing": MissingFile, "late": LateFile,
}  # fmt: skip


def parse_fault(text: str) -> Fault:
    """Reads `KIND:FIRST:LAST` or `KIND:FIRST:LAST:OPTION=VALUE,…`, such as `scaled:2024-03-01:2024-03-07:factor=100`.

    Raises:
        ValueError: The text is none; the message says what is expected.
    """
    kind, _, rest = text.partition(":")
    if kind not in FAULTS:
        raise ValueError(f"{kind!r} is no fault; expected one of {', '.join(FAULTS)}")
    first, last, given, *_ = [*rest.split(":", 2), "", ""]
    options = dict(pair.partition("=")[::2] for pair in given.split(",") if pair)
    known = {field.name: type(field.default) for field in fields(FAULTS[kind]) if field.default is not MISSING}
    for name in options:
        if name not in known:
            raise ValueError(f"{kind} has no option {name!r}; it has {', '.join(known) or 'none'}")
    try:
        values = {name: known[name](value) for name, value in options.items()}
        return FAULTS[kind](date.fromisoformat(first), date.fromisoformat(last), **values)
    except ValueError as error:
        raise ValueError(
            f"{text!r}: {error}; write {kind}:FIRST:LAST:OPTION=VALUE,… with dates as 2024-03-01"
        ) from error
