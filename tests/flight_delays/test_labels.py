"""A label is known when the flight is at its gate: checked by the zones' own clocks, not the queries' arithmetic."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pytest
from flights import HOME, Truth, run_queries

if TYPE_CHECKING:
    from flights import Queries, Raw

# Around both changes of the clocks, a week of storms, and the turn of the year.
WEEKS = [date(2013, 3, 10), date(2013, 7, 1), date(2013, 11, 3), date(2013, 12, 30)]


def _key(flight: dict[str, str]) -> tuple[date, str]:
    name = f"{flight['carrier']}-{flight['flight']}-{flight['origin']}-{int(flight['sched_dep_time']):04d}"
    return date(int(flight["year"]), int(flight["month"]), int(flight["day"])), name


@pytest.mark.parametrize("middle", WEEKS, ids=str)
def test_label_times_are_the_arrivals(raw: Raw, queries: Queries, middle: date) -> None:
    week = raw.around(middle, before=1, after=1)
    labels = run_queries(queries, week, middle - timedelta(days=1), middle + timedelta(days=1)).labels.to_pylist()
    found = {(row["score_date"], row["flight_id"]): row for row in labels}
    truth = Truth(raw)
    assert len(found) == week.flights.num_rows
    for flight in week.flights.to_pylist():
        row = found[_key(flight)]
        arrived = truth.arrived(flight)
        if arrived is None:
            assert (row["label_status"], row["label_time"], row["late"]) == ("never", None, None)
        else:
            assert row["label_status"] == "known"
            assert row["late"] == int(int(flight["arr_delay"]) > 15)
            said = row["label_time"].replace(tzinfo=UTC)
            assert said >= arrived, "a label known before the arrival is a leak"
            # In the hour when the clocks change the file's clocks are New York's of before: later, never earlier.
            assert said - arrived in (timedelta(0), timedelta(hours=1))


def test_score_moments_are_two_hours_before_the_local_departure(raw: Raw, queries: Queries) -> None:
    day = date(2013, 11, 3)
    features = run_queries(queries, raw.around(day, before=0, after=0), day, day).features.to_pylist()
    assert features
    for row in features:
        local = row["score_moment"].replace(tzinfo=UTC).astimezone(HOME) + timedelta(hours=2)
        assert local.date() == row["score_date"]
        assert local.hour * 60 + local.minute == row["departure_minute"]
        assert f"{local:%H%M}" == row["flight_id"][-4:]
        assert f"{local:%A}" == row["day_of_week"]


def test_an_airport_without_a_time_zone_gets_its_labels_late_rather_than_early(raw: Raw, queries: Queries) -> None:
    day = date(2013, 5, 14)
    week = raw.around(day, before=0, after=0)
    nowhere = replace(week, airports=week.airports.filter(pc.not_equal(week.airports["faa"], "ATL")))
    known = run_queries(queries, week, day, day)
    doubtful = run_queries(queries, nowhere, day, day)
    atlanta = pc.equal(known.features["dest"], "ATL")
    early = known.labels["label_time"].filter(atlanta).to_pylist()
    late = doubtful.labels["label_time"].filter(atlanta).to_pylist()
    assert len(early) > 10
    assert all(one is None or other > one for one, other in zip(early, late, strict=True))
