"""The reference project gives the same tables when Spark SQL runs its queries, broken flights and all."""

from __future__ import annotations

import csv
from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from two_engines import assert_equal_on_all

from tallywright.spec import load_project

if TYPE_CHECKING:
    from pathlib import Path

    from flights import Raw

pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore")]

FIRST, LAST = date(2013, 3, 9), date(2013, 3, 10)

# Texts that one engine reads and another does not.
NUMBERS = ["", " 7", "7.0", "1e2", "0x1F", "1_0", "+5", "-5", "٣", "2147483647", "99999999999", "NaN", "infinity"]
MOMENTS = ["2013-03-10", "2013-03-10 05:00", "2013-3-10T5:00:00Z", "2013-03-10T05:00:00+05:00", "epoch", "infinity"]
HOSTILE = [
    *({column: text} for text in NUMBERS for column in (
        "year", "month", "day", "flight", "distance", "sched_dep_time", "sched_arr_time",
        "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time",
    )),
    *({"time_hour": text} for text in MOMENTS),
]  # fmt: skip

BROKEN = [
    {"carrier": None},
    {"sched_dep_time": "soon"},
    {"day": "31", "month": "2"},
    {"dest": None, "origin": "ß\"'\\\n"},
    {"time_hour": "2013-03-10T03:00:00Z"},
    # One key again and again: the row whose unknown values sort first stays, on every engine.
    {"dep_time": None, "arr_time": "1"},
    {"dep_time": None, "arr_time": None},
]


@pytest.mark.long
@pytest.mark.usefixtures("spark")
def test_both_engines_make_the_same_tables(repository: Path, raw: Raw, tmp_path: Path) -> None:
    some = raw.around(LAST, before=33).without_numbers()
    on_the_last = pc.and_(pc.equal(some.flights["month"], "3"), pc.equal(some.flights["day"], str(LAST.day)))
    flight, other = some.flights.filter(on_the_last).slice(100, 2).to_pylist()
    broken = [flight | change for change in BROKEN] + [other | change for change in HOSTILE]
    flights = pa.concat_tables([some.flights, pa.Table.from_pylist(broken, schema=some.flights.schema)])
    with (tmp_path / "flights.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(flights.column_names)
        # As the data have it: `NA` is null, in quotes it were a text, and an empty field is one too.
        rows.writerows(["NA" if cell is None else cell for cell in row.values()] for row in flights.to_pylist())
    settings = [
        f"environment.storage.work={tmp_path}/work",
        f"environment.storage.raw=[{tmp_path}]",
        f"data.sources.flights.path={tmp_path}/flights.csv",
        "data.sources.flights.package=null",
    ]
    project = load_project("flight_delays", root=repository, overrides=settings)
    days = assert_equal_on_all(project, tmp_path, FIRST, LAST)
    assert [day.rows for day in days] == [765, 908 + 2]  # two of the hostile texts are flight numbers
    assert sum(day.quarantined for day in days) > len(BROKEN) + len(MOMENTS)
