"""A model keeps the kind of periods that it began with, or rows would be in its tables twice."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from cadences import add_model, write_orders

from tallywright.data.delta.lake import Lake
from tallywright.data.etl.ingest import ingest
from tallywright.errors import TableContractError
from tallywright.spec import Project, load_project

DAY = date(2025, 1, 6)


def project_of(folder: Path, cadence: str, lake: Path) -> Project:
    """The sample model with a cadence, on a lake that projects share."""
    model = add_model(folder / cadence, "orders", cadence, {})
    write_orders(model / "raw", [(date(2025, 1, 1), date(2025, 1, 12))], an_hour=1)
    place = [f"environment.storage.lake={lake}"]
    return load_project("orders", root=folder / cadence, environment="local", overrides=place)


@pytest.mark.parametrize(
    ("first", "then", "found"),
    [("day", "week", "rows by the day"), ("week", "day", "rows by the week"), ("week", "month", "rows by the week"),
     ("day", "hour", "partitioned by"), ("hour", "day", "partitioned by")],
)  # fmt: skip
def test_another_kind_of_periods_is_refused(tmp_path: Path, first: str, then: str, found: str) -> None:
    lake = tmp_path / "lake"
    began, changed = (project_of(tmp_path, cadence, lake) for cadence in (first, then))
    period = began.spec.schedule.calendar.from_date(DAY)
    ingest(began, Lake(str(lake)), period, period)
    before = {path: path.stat().st_mtime_ns for path in lake.rglob("*") if path.is_file()}
    period = changed.spec.schedule.calendar.first_on(DAY)
    with pytest.raises(TableContractError, match=found):
        ingest(changed, Lake(str(lake)), period, period)
    assert {path: path.stat().st_mtime_ns for path in lake.rglob("*") if path.is_file()} == before


def test_business_days_are_days(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    for cadence in ("day", "business-day"):
        project = project_of(tmp_path, cadence, lake)
        found = ingest(project, Lake(str(lake)), DAY, DAY)
        assert [one.changed for one in found] == [cadence == "day"]
