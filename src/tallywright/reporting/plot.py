"""The geometry of small plots, which a template draws as SVG, so that a report needs no plotting library.

Colours, fonts and the dark theme are the style sheet's; a day without a value leaves a gap, and so does a NaN. An
infinite value is drawn at the end of the axis. A day is here a score period: of an hourly model an hour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeGuard, TypeVar

from tallywright.score_period import Hour

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

WIDTH: Final = 960
LEFT: Final = 58
RIGHT: Final = 12
TOP: Final = 12
BOTTOM: Final = 26
_DAY_LABELS: Final = 9
_SMALLEST_SPAN: Final = 1e-12
_FURTHEST: Final = 1e300
"""An axis ends here at the latest, so that differences and ticks stay finite; what lies further is drawn at its end."""

_FULL: Final = 8.0
"""Thresholds at which the colour of a violation is full."""
SYMBOLS: Final = MappingProxyType({"refused": "×", "missed": "○", "closed": "–"})
"""The mark of a due day without scores, by its state."""

Value = float | None
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Series:
    """One value a day, with an optional interval, drawn as a line with a marker a day (or as bars)."""

    name: str
    style: str
    values: Sequence[Value]
    lower: Sequence[Value] = ()
    upper: Sequence[Value] = ()
    bars: bool = False


@dataclass(frozen=True, slots=True)
class Marker:
    """One day of one series, placed; `text` is its tooltip."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A due day without scores: its state, and why."""

    state: str
    text: str

    @property
    def symbol(self) -> str:
        """Its mark."""
        return SYMBOLS.get(self.state, "?")


@dataclass(frozen=True)
class Plot:
    """Some series over the same days on one vertical axis.

    Attributes:
        title: What it shows, also for readers who cannot see it.
        days: The horizontal axis.
        series: At least one.
        unit: `share` prints per cent, `count` whole numbers, `number` three digits.
        bounds: Horizontal lines with their names.
        zero: True when the axis starts at 0.
        gaps: The days without scores, which have a mark of their own on the axis.
    """

    title: str
    days: Sequence[date]
    series: Sequence[Series]
    unit: str = "number"
    bounds: Sequence[tuple[str, float]] = ()
    zero: bool = False
    gaps: Mapping[date, Gap] = field(default_factory=dict)
    height: int = 190

    @property
    def width(self) -> int:
        """The width of the drawing."""
        return WIDTH

    @property
    def left(self) -> int:
        """The horizontal position of the axis."""
        return LEFT

    @property
    def right(self) -> int:
        """The right end of the drawing area."""
        return WIDTH - RIGHT

    @property
    def floor(self) -> int:
        """The height of the horizontal axis."""
        return self.height - BOTTOM

    @property
    def empty(self) -> bool:
        """True when no series has a value."""
        return not any(_is_there(value) for series in self.series for value in series.values)

    @property
    def has_intervals(self) -> bool:
        """True when some day of some series has an interval."""
        return any(_is_there(value) for series in self.series for value in series.lower)

    def x(self, index: float) -> float:
        """The middle of a day."""
        return round(LEFT + (index + 0.5) * self.step, 1)

    @property
    def step(self) -> float:
        """The width of a day."""
        return (WIDTH - LEFT - RIGHT) / max(len(self.days), 1)

    @property
    def bar(self) -> float:
        """The width of a bar."""
        return round(min(self.step * 0.8, 40), 1)

    def y(self, value: float) -> float:
        """The height of a value; one beyond the axis is drawn at its end."""
        low, high = self.range
        return round(self.floor - (min(max(value, low), high) - low) / (high - low) * (self.floor - TOP), 1)

    @property
    def range(self) -> tuple[float, float]:
        """The ends of the vertical axis: those of the ticks."""
        ticks = self._ticks()
        return ticks[0], ticks[-1]

    def ticks(self) -> list[tuple[float, str]]:
        """Height and text of each tick of the vertical axis."""
        return [(self.y(tick), self.format_value(tick)) for tick in self._ticks()]

    def day_labels(self) -> list[tuple[float, str]]:
        """Place and text of the dates that are written out."""
        every = max(1, math.ceil(len(self.days) / _DAY_LABELS))
        return [(self.x(index), short_label(day)) for index, day in enumerate(self.days) if index % every == 0]

    def gap_marks(self) -> list[tuple[float, Gap]]:
        """Place and state of each day without scores."""
        return [(self.x(index), self.gaps[day]) for index, day in enumerate(self.days) if day in self.gaps]

    def lines(self, series: Series) -> list[str]:
        """The points of each unbroken piece of the line."""
        values = [value if _is_there(value) else None for value in series.values]
        return [" ".join(f"{self.x(i)},{self.y(value)}" for i, value in piece) for piece in _pieces(values)]

    def bands(self, series: Series) -> list[str]:
        """The points around each unbroken piece of the interval."""
        both = [(low, high) if _is_there(low) and _is_there(high) else None
                for low, high in zip(series.lower, series.upper, strict=True)]  # fmt: skip
        bands = []
        for piece in _pieces(both):
            above = [f"{self.x(i)},{self.y(high)}" for i, (_, high) in piece]
            below = [f"{self.x(i)},{self.y(low)}" for i, (low, _) in reversed(piece)]
            bands.append(" ".join(above + below))
        return bands

    def whiskers(self, series: Series) -> list[tuple[float, float, float]]:
        """Place, upper and lower end of each day's interval."""
        return [
            (self.x(index), self.y(high), self.y(low))
            for index, (low, high) in enumerate(zip(series.lower, series.upper, strict=True))
            if _is_there(low) and _is_there(high)
        ]

    def markers(self, series: Series) -> Iterator[Marker]:
        """Each day's point with the words a tooltip shows."""
        for index, value in enumerate(series.values):
            if not _is_there(value):
                continue
            text = f"{self.days[index]}: {series.name} {self.format_value(value)}"
            if series.lower and _is_there(series.lower[index]):
                text += f" ({self.format_value(series.lower[index])} to {self.format_value(series.upper[index])})"
            yield Marker(self.x(index), self.y(value), text)

    def format_value(self, value: Value) -> str:
        """A value as text, in the plot's unit."""
        return format_value(value, self.unit)

    def _ticks(self) -> list[float]:
        found: list[Value] = [bound for _, bound in self.bounds]
        for series in self.series:
            found += [value for part in (series.values, series.lower, series.upper) for value in part]
        values = [
            min(max(value, -_FURTHEST), _FURTHEST) for value in found if value is not None and math.isfinite(value)
        ]
        if self.zero or not values:
            values.append(0.0)
        return nice_ticks(min(values), max(values))


@dataclass(frozen=True, slots=True)
class Cell:
    """One column on one day of the heat map; `heat` is the distance in thresholds, `violated` says that it is sure."""

    heat: float
    violated: bool
    text: str

    @property
    def opacity(self) -> float:
        """How strong the colour is, by the logarithm: a year of violations still differs."""
        if self.violated:
            return round(min(1.0, 0.25 + 0.75 * math.log(max(1.0, self.heat)) / math.log(_FULL)), 3)
        return round(min(0.5, 0.5 * math.log1p(max(0.0, self.heat)) / math.log1p(_FULL)), 3)


@dataclass(frozen=True)
class HeatMap:
    """Columns over days, the furthest from the reference on top; days without scores have a mark below."""

    days: Sequence[date]
    rows: Sequence[tuple[str, Sequence[Cell | None]]]
    gaps: Mapping[date, Gap] = field(default_factory=dict)
    left: int = 190
    row: int = 20

    @property
    def cell(self) -> float:
        """The width of a cell."""
        return round(min(34.0, max(8.0, (WIDTH - self.left) / max(len(self.days), 1) - 2)), 1)

    @property
    def width(self) -> float:
        """The width of the drawing; with few days it is not stretched."""
        return max(float(WIDTH), self.x(len(self.days)))

    @property
    def is_wide(self) -> bool:
        """True where the drawing must be scrolled: made as small as the page, its texts could not be read."""
        return self.width > 1.25 * WIDTH

    @property
    def height(self) -> int:
        """The height of the drawing."""
        return self.row * len(self.rows) + self.row * bool(self.gap_marks()) + BOTTOM

    def x(self, index: int) -> float:
        """The left edge of a day."""
        return round(self.left + index * (self.cell + 2), 1)

    def day_labels(self) -> list[tuple[float, str]]:
        """Place and text of the dates that are written out."""
        every = max(1, math.ceil(46 / (self.cell + 2)))
        return [(self.x(i) + self.cell / 2, short_label(day)) for i, day in enumerate(self.days) if i % every == 0]

    def gap_marks(self) -> list[tuple[float, Gap]]:
        """Place and state of each day without scores."""
        return [
            (self.x(index) + self.cell / 2, self.gaps[day]) for index, day in enumerate(self.days) if day in self.gaps
        ]


def _is_there(value: Value) -> TypeGuard[float]:
    """False for None and NaN."""
    return value is not None and not math.isnan(value)


def short_label(day: date) -> str:
    """A day on an axis; of an hour its instant, UTC."""
    return f"{day:%d %b %H:%M}" if isinstance(day, Hour) else f"{day:%d %b}"


def format_value(value: Value, unit: str) -> str:
    """A value as text; a dash where there is none."""
    if value is None:
        return "–"
    if unit == "share":
        return f"{value:.1%}"
    return f"{value:,.0f}" if unit == "count" else f"{value:.3g}"


def nice_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about `wanted` steps apart; both are finite."""
    largest = max(abs(low), abs(high))
    span = high - low
    if span <= largest * 1e-6 or span <= _SMALLEST_SPAN:
        span = max(largest, 1.0) * 0.1
    rough = span / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(tick * step, digits) for tick in range(first, max(last, first + 1) + 1)]


def _pieces(values: Sequence[_T | None]) -> list[list[tuple[int, _T]]]:
    """The indexed values between the gaps."""
    pieces: list[list[tuple[int, _T]]] = []
    previous = -2
    for index, value in enumerate(values):
        if value is None:
            continue
        if index != previous + 1:
            pieces.append([])
        pieces[-1].append((index, value))
        previous = index
    return pieces
