"""The expectation suite: the oddest days of 2013 may be scored; a day that is really broken may not."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from flights import run_queries

from tallywright.gates.suite import checked_suite, day_columns, read_suite
from tallywright.gates.validate import validate
from tallywright.records import Verdict

if TYPE_CHECKING:
    from flights import Queries, Raw

    from tallywright.records import Check
    from tallywright.spec import Project

pytestmark = pytest.mark.slow  # the library takes six seconds to import

# The first day (no history), the blizzard's morning after, Thanksgiving (fewest flights), the day without weather.
ODD = {date(2013, 1, 1), date(2013, 2, 9), date(2013, 11, 28), date(2013, 12, 31)}


def _features(raw: Raw, queries: Queries, day: date) -> pa.Table:
    return run_queries(queries, raw.around(day), day, day).features


def _judge(project: Project, rows: pa.Table) -> list[Check]:
    """The checks that did not pass."""
    file = project.expectations
    dataset = project.spec.table("features")
    suite = checked_suite(read_suite(file, dataset), file, dataset, day_columns(project.spec))
    checks = [found.check for found in validate(suite, rows, project.spec.data.key)]
    return [check for check in checks if check.verdict is not Verdict.PASS]


def _failed(project: Project, rows: pa.Table) -> set[str]:
    return {check.name for check in _judge(project, rows) if check.verdict is Verdict.FAIL}


@pytest.mark.parametrize("day", sorted(ODD), ids=str)
def test_the_oddest_days_of_the_year_may_be_scored(project: Project, raw: Raw, queries: Queries, day: date) -> None:
    assert _failed(project, _features(raw, queries, day)) == set()


def test_an_ordinary_day_does_not_even_warn(project: Project, raw: Raw, queries: Queries) -> None:
    assert _judge(project, _features(raw, queries, date(2013, 5, 7))) == []


def test_broken_days_may_not(project: Project, raw: Raw, queries: Queries) -> None:
    day = _features(raw, queries, date(2013, 5, 7))

    lost = day.filter(pc.not_equal(day["origin"], "JFK"))
    assert "expect_column_distinct_values_to_equal_set(origin)" in _failed(project, lost)
    assert "expect_table_row_count_to_be_between()" in _failed(project, day.slice(0, 9))
    assert "expect_column_values_to_be_unique(flight_id)" in _failed(project, pa.concat_tables([day, day.slice(0, 1)]))
    fresh = day.set_column(
        day.column_names.index("weather_age_hours"), "weather_age_hours", pc.multiply(day["weather_age_hours"], 0.0)
    )
    assert "expect_column_values_to_be_between(weather_age_hours)" in _failed(project, fresh)
    lacking = _failed(project, day.drop_columns(["distance"]))
    assert any(name.startswith("expect_table_columns_to_match_set") for name in lacking)
