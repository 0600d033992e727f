"""The contract check: what is set aside and why, and that nothing else is, in all of 2013."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from flights import Queries, Ran, Raw, exact_rows, run_queries

if TYPE_CHECKING:
    from tallywright.spec import Project

DAY = date(2013, 4, 2)

BROKEN = {
    "carrier missing": {"carrier": None},
    "flight number missing or not a number": {"flight": "many"},
    "origin is not a New York airport": {"origin": "BOS"},
    "destination missing": {"dest": None},
    "impossible date": {"day": "31"},
    "impossible scheduled departure": {"sched_dep_time": "1261"},
    "impossible scheduled arrival": {"sched_arr_time": "2561"},
    "UTC hour disagrees with the scheduled departure": {"time_hour": "2013-04-02T03:00:00Z"},
    "distance missing or not positive": {"distance": "0"},
    "duplicate key": {},
}


@pytest.fixture(scope="module")
def small(raw: Raw) -> Raw:
    return raw.around(DAY, before=1)


@pytest.fixture(scope="module")
def untouched(small: Raw, queries: Queries) -> Ran:
    return run_queries(queries, small, DAY, DAY)


@pytest.fixture(scope="module")
def one_flight(small: Raw) -> dict[str, Any]:
    day = pc.and_(pc.equal(small.flights["month"], "4"), pc.equal(small.flights["day"], "2"))
    return small.flights.filter(day).slice(100, 1).to_pylist()[0]


def _with(raw: Raw, *flights: dict[str, Any]) -> Raw:
    more = pa.Table.from_pylist(list(flights), schema=raw.flights.schema)
    return replace(raw, flights=pa.concat_tables([raw.flights, more]))


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_flight_is_set_aside_and_touches_no_other(
    small: Raw, queries: Queries, untouched: Ran, one_flight: dict[str, Any], reason: str
) -> None:
    ran = run_queries(queries, _with(small, one_flight | BROKEN[reason]), DAY, DAY)
    rejected = ran.contract.filter(pc.is_valid(ran.contract["reject_reason"]))
    assert rejected["reject_reason"].to_pylist() == [reason]
    assert exact_rows(ran.features) == exact_rows(untouched.features)
    assert exact_rows(ran.labels) == exact_rows(untouched.labels)


@pytest.mark.parametrize("column", ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum"])
@pytest.mark.parametrize("value", [None, "nonsense"])
def test_an_outcome_never_decides_whether_a_flight_is_scored(
    small: Raw, queries: Queries, untouched: Ran, column: str, value: str | None
) -> None:
    index = small.flights.column_names.index(column)
    changed = small.flights.set_column(index, column, pa.array([value] * small.flights.num_rows, pa.string()))
    ran = run_queries(queries, replace(small, flights=changed), DAY, DAY)
    assert ran.features["flight_id"] == untouched.features["flight_id"]
    assert ran.labels["flight_id"] == untouched.labels["flight_id"]


def test_every_flight_of_the_year_is_taken_once(project: Project, raw: Raw, queries: Queries) -> None:
    nothing = queries.features.replace("WHERE a.score_date", "WHERE 1 = 0 AND a.score_date")
    ran = run_queries(replace(queries, features=nothing), raw, date(2013, 1, 1), date(2013, 12, 31))
    assert ran.contract.num_rows == 336_776
    assert ran.contract["reject_reason"].null_count == 336_776
    assert ran.contract.group_by(["score_date", *project.spec.data.key]).aggregate([]).num_rows == 336_776
    assert pc.value_counts(ran.labels["label_status"]).to_pylist() == [
        {"values": "known", "counts": 327_346},
        {"values": "never", "counts": 9_430},
    ]
    assert ran.labels["late"].null_count == ran.labels["label_time"].null_count == 9_430
    assert pc.sum(ran.labels["late"]).as_py() == 77_630


def test_the_identifier_is_readable(untouched: Ran) -> None:
    matches = pc.match_substring_regex(untouched.features["flight_id"], r"^[0-9A-Z]{2}-\d{1,4}-(EWR|JFK|LGA)-\d{4}$")
    assert pc.all(matches).as_py()
