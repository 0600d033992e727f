"""Ingest records which raw files, and which code, a date was made from; what it had before stays on record."""

from __future__ import annotations

from datetime import date

import pytest

from tallywright.data.delta.table import Table
from tallywright.data.etl.ingest import ingest
from tallywright.data.etl.raw_rows import FileRows, given_by
from tallywright.data.inputs.versions import INPUTS, InputRow, input_version
from tallywright.records import RawFileRows

FIRST, SECOND = date(2024, 1, 1), date(2024, 1, 2)


@pytest.fixture
def by_file(shop):
    """The orders of each day in a file of their own, and a table of kinds that the contract does not select from."""
    shop.data = {
        "sources": {
            "orders": {"path": "raw", "types": {"amount": "DOUBLE"}},
            "kinds": {"path": "kinds.csv", "types": {}},
        }
    }
    shop.features = shop.features.replace("FROM accepted", "FROM accepted JOIN kinds USING (kind)")
    (shop.folder / "kinds.csv").write_text("kind,name\na,first\nb,second\n")
    (shop.folder / "raw").mkdir()
    put(shop, "one.csv", [line for line in shop.lines if "2024-01-01" in line])
    put(shop, "two.csv", [line for line in shop.lines if "2024-01-02" in line])
    return shop


def put(shop, name: str, lines: list[str]) -> None:
    header = "id,day,amount,kind,outcome,known_at"
    (shop.folder / "raw" / name).write_text("\n".join([header, *lines]) + "\n")


def row_of(shop, day: date) -> InputRow:
    (row,) = Table(INPUTS, shop.lake, shop.spec()).read({"score_date": day})
    return row


def test_a_date_names_the_files_that_have_rows_of_it(by_file) -> None:
    ingest(by_file.project(), by_file.lake, FIRST, SECOND, code_version="c0ffee")
    looked_up = RawFileRows(source="kinds", file="kinds.csv", rows=2, quarantined=0, whole=True)
    for day, name in ((FIRST, "raw/one.csv"), (SECOND, "raw/two.csv")):
        pinned = input_version(by_file.lake, by_file.spec(), day)
        own = RawFileRows(source="orders", file=name, rows=10, quarantined=0)
        assert sorted(pinned.raw_files, key=lambda one: one.source) == [looked_up, own]
        assert pinned.code_version == "c0ffee"


def test_what_a_date_had_before_stays_on_record(by_file) -> None:
    ingest(by_file.project(), by_file.lake, FIRST, SECOND, code_version="c0ffee")
    before = input_version(by_file.lake, by_file.spec(), FIRST)
    put(by_file, "more.csv", [by_file.order(99, "2024-01-01"), by_file.order(98, "2024-01-01", amount=None)])
    ingest(by_file.project(), by_file.lake, FIRST, SECOND, code_version="beef")
    after = input_version(by_file.lake, by_file.spec(), FIRST)
    given = {one.file: (one.rows, one.quarantined) for one in after.raw_files if not one.whole}
    assert given == {"raw/one.csv": (10, 0), "raw/more.csv": (1, 1)}
    (earlier,) = row_of(by_file, FIRST).earlier
    assert (earlier.version, earlier.fingerprint, earlier.code_version) == (
        before.version,
        before.fingerprint,
        "c0ffee",
    )
    assert earlier.raw_files == before.raw_files
    assert row_of(by_file, SECOND).earlier == ()


def test_a_date_of_before_is_completed_by_an_ingest_of_the_same_content(by_file) -> None:
    ingest(by_file.project(), by_file.lake, FIRST, FIRST)
    table = Table(INPUTS, by_file.lake, by_file.spec())
    table.replace([row_of(by_file, FIRST).model_copy(update={"raw_files_json": None, "code_version": None})])
    assert input_version(by_file.lake, by_file.spec(), FIRST).raw_files is None
    (day,) = ingest(by_file.project(), by_file.lake, FIRST, FIRST, code_version="beef")
    assert not day.changed
    pinned = input_version(by_file.lake, by_file.spec(), FIRST)
    assert {one.file for one in pinned.raw_files} == {"raw/one.csv", "kinds.csv"}
    assert pinned.code_version == ""  # who ingested it is not known
    assert row_of(by_file, FIRST).earlier == ()
    standing = table.name, by_file.lake.open(table.name).version()
    ingest(by_file.project(), by_file.lake, FIRST, FIRST, code_version="beef")
    assert (table.name, by_file.lake.open(table.name).version()) == standing


def test_files_that_are_too_many_to_name_are_counted() -> None:
    files = [
        FileRows(source="orders", file=f"{number}.csv", rows=3, accepted=1, quarantined=0, outside=2)
        for number in range(201)
    ]
    (one,) = given_by(files, {"orders"})
    assert (one.file, one.files, one.rows) == ("", 201, None)
    assert len(given_by(files[1:], {"orders"})) == 200


def test_rows_that_are_not_counted_by_file_are_not_known() -> None:
    unknown = FileRows(source="orders", file="a.csv", rows=3, accepted=None, quarantined=None, outside=None)
    undated = FileRows(source="orders", file="b.csv", rows=3, accepted=0, quarantined=1, outside=2, undated=1)
    (one,) = given_by([unknown, undated], {"orders"})
    assert (one.file, one.rows) == ("a.csv", None)
