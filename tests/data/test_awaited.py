"""What a run waits for: the last open period, by then, of a table of another model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError
from synthetic import make_features, make_project, make_spec, put_day

from tallywright.data.awaited import awaited, require_awaited
from tallywright.data.delta.lake import Lake
from tallywright.errors import InputError, SpecError
from tallywright.score_period import Hour
from tallywright.spec import Project

FRIDAY, SUNDAY = date(2024, 3, 8), date(2024, 3, 10)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with a daily table, an hourly one, and one of business days, each up to the end of a week."""
    lake, rows = Lake(str(tmp_path / "lake")), make_features(5)
    hour = Hour(SUNDAY, datetime(2024, 3, 10, 23, tzinfo=UTC))
    for name, cadence, period in [("days", "day", SUNDAY), ("hours", "hour", hour), ("work", "business-day", FRIDAY)]:
        spec = make_spec(schedule={"cadence": cadence}).model_copy(update={"name": name})
        put_day(lake, spec, rows, day=period)
    return lake


@pytest.fixture
def waiting(tmp_path: Path) -> Callable[..., Project]:
    """A project with a model that waits, beside one of business days."""
    work = make_project(tmp_path, schedule={"cadence": "business-day"}).folder
    shutil.copytree(work, work.with_name("work"))
    file = work.with_name("work") / "model.yaml"
    file.write_text(file.read_text().replace("name: shop", "name: work"))
    return lambda **schedule: make_project(tmp_path, schedule=schedule)


@pytest.mark.parametrize(
    ("table", "cadence", "there", "missing"),
    [
        ("days__features", "day", SUNDAY, date(2024, 3, 11)),
        ("days__features", "week", date(2024, 3, 4), date(2024, 3, 11)),
        ("hours__features", "day", SUNDAY, date(2024, 3, 9)),
        ("hours__features", "week", date(2024, 3, 4), date(2024, 2, 26)),
        ("work__features", "week", date(2024, 3, 4), date(2024, 3, 11)),
        ("work__features", "day", SUNDAY, date(2024, 3, 11)),
    ],
)
def test_a_table_has_to_hold_its_last_open_period(
    lake: Lake, waiting: Callable[..., Project], table: str, cadence: str, there: date, missing: date
) -> None:
    project = waiting(cadence=cadence, after=table)
    assert awaited(project, lake, there) == ""
    assert f"{table} holds nothing of " in awaited(project, lake, missing)
    with pytest.raises(InputError, match=r"schedule\.after has the runs of shop about .* wait for it"):
        require_awaited(project, lake, missing)


def test_an_hour_waits_for_its_own(lake: Lake, waiting: Callable[..., Project]) -> None:
    project = waiting(cadence="hour", after="hours__features")
    calendar = project.spec.schedule.calendar
    assert awaited(project, lake, calendar.parse("2024-03-10T23:00Z")) == ""
    missing = awaited(project, lake, calendar.parse("2024-03-10T22:00Z"))
    assert missing == "hours__features holds nothing of 2024-03-10T22:00Z"


def test_a_table_that_is_not_there_yet_is_waited_for_and_one_without_dates_is_a_mistake(
    lake: Lake, waiting: Callable[..., Project]
) -> None:
    project = waiting(after="weather__features")
    assert awaited(project, lake, SUNDAY) == "there is no weather__features yet"
    lake.replace("weather__features", pa.table({"k": [1]}), slice={"k": 1})
    with pytest.raises(SpecError, match="not partitioned by score_date"):
        awaited(project, lake, SUNDAY)


def test_nothing_and_an_asset_are_not_looked_for_in_the_lake(lake: Lake, waiting: Callable[..., Project]) -> None:
    for after in ("", "s3://bucket/weather"):
        assert awaited(waiting(after=after), lake, SUNDAY) == ""


@pytest.mark.parametrize(
    ("after", "message"), [("shop__scores", "wait for itself"), ("Weather!", "should match pattern")]
)
def test_what_nobody_can_wait_for_is_refused(after: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_spec(schedule={"after": after})
