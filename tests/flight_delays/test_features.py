"""The feature query: its columns, its independence of how it is run, and a recount by hand."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from flights import Queries, Ran, Raw, Truth, exact_rows, run_queries

from tallywright.data.types import feature_schema

if TYPE_CHECKING:
    from tallywright.spec import Project

FIRST, LAST = date(2013, 3, 8), date(2013, 3, 10)


@pytest.fixture(scope="module")
def some(raw: Raw) -> Raw:
    return raw.around(LAST, before=45)


@pytest.fixture(scope="module")
def ran(some: Raw, queries: Queries) -> Ran:
    return run_queries(queries, some, FIRST, LAST)


def test_the_columns_are_those_of_the_spec(project: Project, ran: Ran) -> None:
    wanted = feature_schema(project.spec)
    naive = [f.with_type(pa.timestamp("us")) if pa.types.is_timestamp(f.type) else f for f in wanted]
    assert ran.features.schema.names == [field.name for field in naive]
    assert ran.features.schema.types == [field.type for field in naive]


@pytest.mark.parametrize("lookback", [31, 45])
def test_a_day_has_the_same_features_alone_and_in_a_range(
    some: Raw, queries: Queries, ran: Ran, project: Project, lookback: int
) -> None:
    assert project.spec.data.lookback_days == 31
    alone = run_queries(queries, some, LAST, LAST, lookback=lookback)
    in_range = [row for row in exact_rows(ran.features) if row[0] == LAST]
    assert exact_rows(alone.features) == in_range


def test_no_flight_is_lost_or_doubled(some: Raw, ran: Ran) -> None:
    assert ran.features.num_rows == sum(some.around(day, before=0, after=0).flights.num_rows for day in _days())
    assert ran.features.group_by(["score_date", "flight_id"]).aggregate([]).num_rows == ran.features.num_rows


def _days() -> list[date]:
    return [FIRST + timedelta(days=offset) for offset in range((LAST - FIRST).days + 1)]


@pytest.mark.slow
def test_the_windows_count_what_a_person_would(some: Raw, ran: Ran) -> None:
    truth = Truth(some)
    flights = [
        flight | {"left": truth.departed(flight), "there": truth.arrived(flight), "due": truth.scheduled(flight)}
        for flight in some.flights.to_pylist()
    ]
    late = lambda flight: int(flight["arr_delay"]) > 15  # noqa: E731
    for row in random.Random(5).sample(ran.features.to_pylist(), 25):
        moment = row["score_moment"].replace(tzinfo=UTC)

        def known(what: str, hours: int, moment: datetime = moment, **same: str) -> list[dict[str, object]]:
            return [
                flight
                for flight in flights
                if flight[what] is not None
                and moment - timedelta(hours=hours) <= flight[what] <= moment
                and all(flight[name] == value for name, value in same.items())
            ]

        def rate(found: list[dict[str, object]]) -> float | None:
            return sum(map(late, found)) / len(found) if found else None

        origin = {"origin": row["origin"]}
        hour = {"hour": str(int(row["departure_minute"]) // 60)}
        assert row["origin_outcomes_6h"] == len(known("there", 6, **origin))
        assert row["origin_late_rate_6h"] == rate(known("there", 6, **origin))
        assert row["carrier_late_rate_24h"] == rate(known("there", 24, carrier=row["carrier"]))
        assert row["carrier_late_rate_7d"] == rate(known("there", 168, carrier=row["carrier"]))
        assert row["dest_late_rate_6h"] == rate(known("there", 6, dest=row["dest"]))
        assert row["route_late_rate_28d"] == rate(known("there", 672, dest=row["dest"], **origin))
        assert row["hour_late_rate_28d"] == rate(known("there", 672, **origin, **hour))
        assert row["origin_overdue_3h"] == len(known("due", 3, **origin)) - len(known("left", 3, **origin))
        delays = [int(flight["dep_delay"]) for flight in known("left", 2, **origin)]
        assert row["origin_departure_delay_2h"] == (sum(delays) / len(delays) if delays else None)


def test_the_weather_is_the_last_hour_known(some: Raw, ran: Ran) -> None:
    hours = {(hour["origin"], datetime.fromisoformat(hour["time_hour"])): hour for hour in some.weather.to_pylist()}
    for row in random.Random(6).sample(ran.features.to_pylist(), 300):
        moment = row["score_moment"].replace(tzinfo=UTC)
        stamps = [moment.replace(minute=0) - timedelta(hours=back) for back in range(1, 7)]
        hour = next((hours[row["origin"], stamp] for stamp in stamps if (row["origin"], stamp) in hours), None)
        assert hour is not None
        assert row["temperature"] == hour["temp"]
        assert row["wind_gust"] == (hour["wind_gust"] if hour["wind_gust"] is not None else hour["wind_speed"])
        age = moment - datetime.fromisoformat(hour["time_hour"])
        assert row["weather_age_hours"] == pytest.approx(age.total_seconds() / 3600)
        assert row["weather_age_hours"] >= 1


def test_the_impossible_wind_is_no_wind(raw: Raw, queries: Queries) -> None:
    day = date(2013, 2, 12)
    features = run_queries(queries, raw.around(day, before=1, after=0), day, day).features
    winds = [wind for wind in features["wind_speed"].to_pylist() if wind is not None]
    assert None in features["wind_speed"].to_pylist()
    assert max(winds) < 60
