"""What a run waits for: the period itself, its last date or its last hour, in a table of another model."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from pydantic import ValidationError
from synthetic import make_features, make_spec, put_day

from tallywright.data.awaited import awaited, require_awaited
from tallywright.data.delta.lake import Lake
from tallywright.errors import InputError, SpecError
from tallywright.score_period import Hour

SUNDAY = date(2024, 3, 10)


@pytest.fixture
def lake(tmp_path) -> Lake:
    """A lake with a daily table and an hourly one, each up to a Sunday."""
    lake, rows = Lake(str(tmp_path / "lake")), make_features(5)
    put_day(lake, make_spec().model_copy(update={"name": "days"}), rows, day=SUNDAY)
    hourly = make_spec(schedule={"cadence": "hour"}).model_copy(update={"name": "hours"})
    put_day(lake, hourly, rows, day=Hour(SUNDAY, datetime(2024, 3, 10, 23, tzinfo=UTC)))
    return lake


@pytest.mark.parametrize("table", ["days__features", "hours__features"])
@pytest.mark.parametrize(
    ("cadence", "there", "missing"),
    [("day", SUNDAY, date(2024, 3, 9)), ("week", date(2024, 3, 4), date(2024, 3, 11))],
)
def test_a_table_has_a_period_with_its_last_date_or_hour(lake, table, cadence, there, missing) -> None:
    spec = make_spec(schedule={"cadence": cadence, "after": table}).model_copy(update={"name": "later"})
    assert awaited(lake, spec, there) == ""
    assert awaited(lake, spec, missing) == f"{table} holds nothing of {missing}"
    with pytest.raises(InputError, match=r"schedule\.after has the runs of later wait for it"):
        require_awaited(lake, spec, missing)


def test_an_hour_waits_for_its_own(lake) -> None:
    spec = make_spec(schedule={"cadence": "hour", "after": "hours__features"}).model_copy(update={"name": "later"})
    calendar = spec.schedule.calendar
    assert awaited(lake, spec, calendar.parse("2024-03-10T23:00Z")) == ""
    assert awaited(lake, spec, calendar.parse("2024-03-10T22:00Z"))


def test_a_table_that_is_not_there_yet_is_waited_for_and_one_without_dates_is_a_mistake(lake) -> None:
    spec = make_spec(schedule={"after": "weather__features"})
    assert awaited(lake, spec, SUNDAY) == "there is no weather__features yet"
    lake.replace("weather__features", pa.table({"k": [1]}), slice={"k": 1})
    with pytest.raises(SpecError, match="not partitioned by score_date"):
        awaited(lake, spec, SUNDAY)


def test_nothing_and_an_asset_are_not_looked_for_in_the_lake(lake) -> None:
    for after in ("", "s3://bucket/weather"):
        assert awaited(lake, make_spec(schedule={"after": after}), SUNDAY) == ""


@pytest.mark.parametrize(
    ("after", "message"), [("shop__scores", "wait for itself"), ("Weather!", "should match pattern")]
)
def test_what_nobody_can_wait_for_is_refused(after: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_spec(schedule={"after": after})
