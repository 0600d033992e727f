from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.reporting.plot import Cell, HeatMap, Plot, Series, format_value, nice_ticks, short_label
from tallywright.score_period import Hour

DAYS = [date(2024, 3, 1) + timedelta(days=offset) for offset in range(5)]


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_ticks_are_few_ascending_and_hold_the_range(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    ticks = nice_ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1e-6)
    assert ticks == sorted(set(ticks))
    assert 2 <= len(ticks) <= 8
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=5, max_size=5))
def test_every_value_has_one_marker_and_gaps_break_the_line(values: list[float | None]) -> None:
    series = Series("share", "one", values)
    plot = Plot("Shares", DAYS, [series], "share")
    markers = list(plot.markers(series))
    assert len(markers) == sum(value is not None for value in values)
    assert sum(len(points.split()) for points in plot.lines(series)) == len(markers)
    assert all(plot.left < marker.x < plot.right and 0 <= marker.y <= plot.floor for marker in markers)
    assert plot.empty == (not markers)


def test_bands_go_around_the_interval_of_each_unbroken_piece() -> None:
    series = Series("auc", "one", [0.6, 0.7, None, 0.8, 0.9], [0.5, 0.6, None, 0.7, 0.8], [0.7, 0.8, None, 0.9, 1.0])
    plot = Plot("AUC", DAYS, [series])
    assert [len(points.split()) for points in plot.bands(series)] == [4, 4]
    assert len(plot.whiskers(series)) == 4
    assert next(iter(plot.markers(series))).text == "2024-03-01: auc 0.6 (0.5 to 0.7)"


ANY = st.one_of(st.none(), st.floats(), st.sampled_from([1e300, -1e300, 1.7e308, 5e-324, 1.0, float("inf")]))


@given(*[st.lists(ANY, min_size=5, max_size=5)] * 3, ANY)
def test_any_number_is_drawn_inside_the_axes(values, lower, upper, bound) -> None:
    """Infinities at the end of the axis, NaN as a gap: a report never fails for a number."""
    series = Series("rmse", "one", values, lower, upper)
    bounds = [] if bound is None or math.isnan(bound) else [("most", bound)]
    plot = Plot("RMSE", DAYS, [series], bounds=bounds)
    low, high = plot.range
    assert low < high
    assert 2 <= len(plot.ticks()) <= 8
    places = [marker.y for marker in plot.markers(series)]
    places += [y for _, *ends in plot.whiskers(series) for y in ends]
    places += [y for y, _ in plot.ticks()] + [plot.y(value) for _, value in plot.bounds]
    places += [
        float(point.partition(",")[2])
        for points in [*plot.lines(series), *plot.bands(series)]
        for point in points.split()
    ]
    assert all(0 <= y <= plot.floor for y in places)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(None, "count", "–"), (0.1234, "share", "12.3%"), (12345.0, "count", "12,345"), (0.12345, "number", "0.123")],
)
def test_values_are_said_in_their_unit(value: float | None, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


@pytest.mark.parametrize("days", [1, 7, 92])
def test_a_heat_map_never_leaves_its_drawing(days: int) -> None:
    heat = HeatMap([DAYS[0] + timedelta(days=offset) for offset in range(days)], [("a", []), ("b", [])])
    assert heat.x(days - 1) + heat.cell <= heat.width
    assert heat.height > 2 * heat.row
    assert heat.day_labels()


def test_a_cell_tells_violations_apart_and_shows_what_is_not_sure_in_grey() -> None:
    sure = [Cell(heat, violated=True, text="").opacity for heat in (1.0, 2.0, 4.0, 8.0, 50.0)]
    assert sure == sorted(sure)
    assert len(set(sure)) == 4
    assert sure[-1] == 1.0
    assert Cell(50.0, violated=False, text="").opacity < sure[2]


def test_an_hour_is_labelled_by_its_time() -> None:
    hour = Hour(date(2025, 3, 30), datetime(2025, 3, 30, 1, tzinfo=UTC))
    assert short_label(hour) == "30 Mar 01:00"
    assert short_label(date(2025, 3, 30)) == "30 Mar"
