from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.errors import UsageError
from tallywright.orchestration.dates import RunFacts, parse_date, run_period
from tallywright.spec.schedule import Schedule

NEW_YORK = Schedule(timezone="America/New_York", start_date=date(2013, 1, 1), end_date=date(2013, 12, 31))
OPEN = Schedule(timezone="UTC", start_date=date(2013, 1, 1))


def test_a_scheduled_run_is_about_the_local_date_of_its_interval_start() -> None:
    start = datetime(2013, 6, 27, 4, tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)
    assert run_period(RunFacts(data_interval_start=start), NEW_YORK) == date(2013, 6, 27)


def test_an_evening_in_new_york_is_not_the_date_of_greenwich() -> None:
    assert run_period(RunFacts(data_interval_start=datetime(2013, 6, 28, 1, tzinfo=UTC)), NEW_YORK) == date(2013, 6, 27)


def test_the_form_comes_before_the_partition_and_the_partition_before_the_interval() -> None:
    interval = datetime(2013, 3, 3, 12, tzinfo=UTC)
    assert run_period(RunFacts("2013-03-01", "2013-03-02", interval), NEW_YORK) == date(2013, 3, 1)
    assert run_period(RunFacts(None, "2013-03-02", interval), NEW_YORK) == date(2013, 3, 2)
    assert run_period(RunFacts(None, "2013-03-02T00:00:00", None), NEW_YORK) == date(2013, 3, 2)
    assert run_period(RunFacts(None, None, interval), NEW_YORK) == date(2013, 3, 3)


def test_a_bad_form_is_refused_although_the_interval_would_do() -> None:
    with pytest.raises(UsageError):
        run_period(RunFacts("", None, datetime(2013, 3, 3, tzinfo=UTC)), NEW_YORK)


def test_the_facts_of_every_kind_of_run() -> None:
    start = datetime(2013, 6, 27, 8, tzinfo=UTC)
    backfill = {"params": {"date": None}, "data_interval_start": start, "dag_run": SimpleNamespace(partition_key=None)}
    manual = {"params": {"date": "2013-06-28"}, "dag_run": SimpleNamespace(partition_key=None)}
    partitioned = {"params": {}, "dag_run": SimpleNamespace(partition_key="2013-06-29")}
    asset_triggered = {"params": {"date": None}, "dag_run": SimpleNamespace(partition_key=None)}
    assert run_period(RunFacts.of(backfill), NEW_YORK) == date(2013, 6, 27)
    assert run_period(RunFacts.of(manual), NEW_YORK) == date(2013, 6, 28)
    assert run_period(RunFacts.of(partitioned), NEW_YORK) == date(2013, 6, 29)
    with pytest.raises(UsageError, match="no date"):
        run_period(RunFacts.of(asset_triggered), NEW_YORK)


@pytest.mark.parametrize("day", ["2012-12-31", "2014-01-01"])
def test_a_date_the_schedule_does_not_cover_is_refused(day: str) -> None:
    with pytest.raises(UsageError, match="outside the schedule"):
        run_period(RunFacts(day), NEW_YORK)


def test_an_interval_without_a_zone_is_refused() -> None:
    with pytest.raises(UsageError, match="no timezone"):
        run_period(RunFacts(data_interval_start=datetime(2013, 6, 27)), OPEN)  # noqa: DTZ001 - that is the case


@pytest.mark.parametrize(
    "text",
    [
        "2013-06-27; rm -rf /",
        "$(reboot)",
        "2013-06-27' OR '1'='1",
        "2013-06-27\n",
        " 2013-06-27",
        "2013-6-27",
        "20130627",
        "2013-W26-4",
        "2013-02-30",
        "٢٠١٣-٠٦-٢٧",
        "--force",
        "",
        20130627,
        ["2013-06-27"],
        True,
    ],
)
def test_only_a_date_is_a_date(text: object) -> None:
    with pytest.raises(UsageError, match="YYYY-MM-DD"):
        parse_date(text, "params.date")


@given(st.text())
def test_no_text_but_a_date_passes(text: str) -> None:
    try:
        day = parse_date(text, "params.date")
    except UsageError:
        return
    assert day.isoformat() == text


@given(st.datetimes(datetime(2013, 1, 2), datetime(2013, 12, 30)))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_any_instant_of_a_local_day_is_that_day(moment: datetime) -> None:
    local = moment.replace(tzinfo=ZoneInfo("America/New_York"))
    assert run_period(RunFacts(data_interval_start=local.astimezone(UTC)), NEW_YORK) - local.date() == timedelta(0)
