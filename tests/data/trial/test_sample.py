"""What `tally validate --data` finds in a sample of the raw files: as ingest would, in bounds, and nothing is left."""

from __future__ import annotations

import gzip
import os
import zipfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallywright.data.etl.ingest import ingest
from tallywright.data.raw import beginnings
from tallywright.data.trial import look, sample
from tallywright.data.trial.look import DataReport, look_at_data
from tallywright.errors import InputError, TallyError
from tallywright.spec import load_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEADER = "id,day,amount,kind,outcome,known_at"
PERIOD = "2024-01-05"


@pytest.fixture
def raw(shop: Any) -> Any:
    """A shop whose orders lie in the folder `raw`, which is empty."""
    (shop.folder / "raw").mkdir()
    given_source(shop, path="raw", strict=True, null_value="NA", types={"amount": "DOUBLE"})
    return shop


def given_source(shop: Any, **keys: Any) -> None:
    shop.data["sources"] = {"orders": shop.data.get("sources", {}).get("orders", {}) | keys}


def text(shop: Any, header: str = HEADER) -> str:
    return "".join(f"{line}\n" for line in [header, *shop.lines])


def write(shop: Any, content: str | bytes, name: str = "a.csv") -> Path:
    file: Path = shop.folder / "raw" / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def looked(shop: Any, left: Callable[[], float] = lambda: 1e6) -> DataReport:
    """The report; nothing but the project's own files is left."""
    project = shop.project()
    before = sorted(shop.folder.rglob("*"))
    report = look_at_data(project, left)
    assert sorted(shop.folder.rglob("*")) == before
    return report


def told(report: DataReport) -> list[str]:
    return [str(error) for error in report.errors]


def files(report: DataReport) -> list[tuple[str, int, bool]]:
    [found] = report.sources
    return [(one.file, one.rows, one.whole) for one in found.looked_at]


def table(shop: Any, **columns: Any) -> pa.Table:
    plain = shop.table()
    made = {name: make(plain.num_rows) for name, make in columns.items()}
    return pa.table({name: plain[name] for name in plain.column_names} | made)


# --- What is as it should be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [
    lambda given: given, lambda given: "\ufeff" + given, lambda given: given.replace("\n", "\r\n"),
    lambda given: given.replace("\n", "\r"), lambda given: given[:-1], lambda given: "\n" * 3000 + given,
    lambda given: given.replace(",a,", ",é,"),
])  # fmt: skip
def test_a_good_file_has_no_problem(raw: Any, content: Callable[[str], str]) -> None:
    write(raw, content(text(raw)))
    report = looked(raw)
    assert (told(report), report.notes) == ([], [])
    assert files(report) == [("raw/a.csv", 50, True)]
    assert report.period is not None
    assert (report.period.period, report.period.rows, report.period.labels) == (PERIOD, 10, {"known": 10})
    assert report.not_looked_at == ["the expectations: they judge a day that was ingested"]


def test_the_reference_project(repository: Path) -> None:
    """Its data come from a package, its contract asks for the numbers of rows, and one file is read in part."""
    report = look_at_data(load_project("flight_delays", root=repository), lambda: 1e6)
    assert told(report) == []
    assert {one.source: one.is_whole for one in report.sources} == {"flights": False, "weather": True, "airports": True}
    assert report.sources[1].null_cells["wind_gust"] > 10_000
    assert report.period is not None
    assert report.period.rows > 500
    assert any("the rest of data.sources.flights" in what for what in report.not_looked_at)


def test_null_cells_are_counted_by_column(raw: Any) -> None:
    raw.lines[41] = raw.order(41, PERIOD, amount=None)
    raw.lines[42] = raw.order(42, PERIOD, amount=None, outcome=None)
    write(raw, text(raw))
    report = looked(raw)
    assert told(report) == []
    assert report.sources[0].null_cells == {"amount": 2, "outcome": 1}
    assert report.as_dict()["sources"][0]["null_cells"] == {"amount": 2, "outcome": 1}


def test_rows_that_would_be_quarantined(raw: Any) -> None:
    raw.lines[3] = raw.order(3, "2024-01-01", amount="n/a")
    raw.lines += [raw.order(100 + number, PERIOD) for number in range(3)] + [raw.order(200, PERIOD, amount=None)]
    write(raw, text(raw))
    report = looked(raw)
    assert told(report) == []
    said = "raw/a.csv line 5: amount: 'n/a' is not a DOUBLE"
    assert report.notes == [f"data.sources.orders: 1 of 54 rows would be quarantined, such as {said}"]
    assert report.period is not None
    assert (report.period.rows, report.period.quarantined, report.period.reasons) == (13, 1, {"no amount": 1})


def test_columns_that_nobody_names_are_harmless(raw: Any) -> None:
    write(raw, "".join(f"{line},9\n" for line in [f"{HEADER},more", *raw.lines][1:]).join([f"{HEADER},more\n", ""]))
    report = looked(raw)
    assert told(report) == []
    assert report.notes == ["data.sources.orders: columns that neither spec nor queries name: more"]


# --- What is not ----------------------------------------------------------------------------------------------------


def gz_cut(content: bytes) -> bytes:
    return gzip.compress(content)[:-20]


@pytest.mark.parametrize(("name", "change", "problem"), [
    ("a.csv", lambda _: b"", "raw/a.csv is empty (0 bytes); expected a header"),
    ("a.csv", lambda given: given.replace(b",a,", b",\xe9,"), "raw/a.csv line 2: byte 0xE9 is no text in utf-8"),
    ("a.csv", lambda given: given.replace(b"o7,", b"o\0,"), "raw/a.csv line 9: a byte 0"),
    ("a.csv", lambda given: given.replace(b",", b";"), "is the delimiter ';'?"),
    ("a.csv", lambda given: given.replace(b"o7,", b'"o7,'), "line 9: the quote that opens field 1 is never closed"),
    ("a.csv", lambda given: given + b"1,2\n", "raw/a.csv line 52: 2 fields, the header has 6"),
    ("a.csv", lambda given: given.partition(b"\n")[2], "raw/a.csv line 1: no header: found o0"),
    ("a.csv", lambda given: given.replace(b"kind", b"id"), "raw/a.csv line 1: id stands twice in the header"),
    ("a.csv", lambda given: given.replace(b"kind", b"ID"), "stand twice in the header"),
    ("a.csv", lambda given: given.replace(b"amount", b"amuont"), "no column 'amount' (did you mean 'amuont'?)"),
    ("a.csv", gzip.compress, "raw/a.csv line 1: is no text: it is packed"),
    ("a.csv.gz", lambda given: given, "raw/a.csv.gz is damaged: Not a gzipped file"),
    ("a.csv.gz", gz_cut, "raw/a.csv.gz ends too early"),
    ("a.txt", lambda given: given, "no file"),
    (".a.csv", lambda given: given, "no file"),
    ("a.zip", lambda given: given, "raw/a.zip is damaged"),
])  # fmt: skip
def test_a_file_that_ingest_refuses_is_told_in_the_same_words(
    raw: Any, name: str, change: Callable[[bytes], bytes], problem: str
) -> None:
    write(raw, change(text(raw).encode()), name)
    report = looked(raw)
    assert [error.exit_code for error in report.errors][:1] == [4]
    assert problem in told(report)[0]
    assert report.period is None
    with pytest.raises(InputError) as caught:
        ingest(raw.project(), raw.lake, *[datetime(2024, 1, 1, tzinfo=UTC).date()] * 2)
    assert str(caught.value) == told(report)[0]


@pytest.mark.parametrize("make", [
    lambda folder: (folder / "a.csv").mkdir(), lambda folder: os.mkfifo(folder / "a.csv"),
    lambda folder: folder.rmdir(),
])  # fmt: skip
def test_what_is_no_file(raw: Any, make: Callable[[Path], None]) -> None:
    make(raw.folder / "raw")
    [problem] = told(looked(raw))
    assert problem.startswith("data.sources.orders: no file ")


def test_a_text_without_the_mark_of_its_encoding(raw: Any) -> None:
    given_source(raw, encoding="utf-16")
    write(raw, text(raw).encode(), "a.csv")
    assert "raw/a.csv is no text in utf-16" in told(looked(raw))[0]


def test_a_link_to_nowhere(raw: Any) -> None:
    (raw.folder / "raw" / "a.csv").symlink_to("/nowhere/a.csv")
    assert told(looked(raw))[0].startswith("data.sources.orders: raw/a.csv is a link to /nowhere/a.csv")


def test_a_package_that_is_not_there(raw: Any) -> None:
    given_source(raw, package="no_such_package")
    assert "package no_such_package is not installed" in told(looked(raw))[0]


def test_a_link_out_of_the_project_is_a_problem_of_the_spec(raw: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("out") / "a.csv"
    out.write_text(text(raw))
    (raw.folder / "raw" / "a.csv").symlink_to(out)
    [error] = looked(raw).errors
    assert (error.exit_code, "leads out of the project" in error.found) == (3, True)


def test_each_file_that_is_wrong_is_named_and_the_others_are_read(raw: Any) -> None:
    write(raw, text(raw))
    write(raw, "", "b.csv")
    write(raw, text(raw).replace("kind", "kand"), "c.csv")
    report = looked(raw)
    assert [problem.partition("\n")[0] for problem in told(report)] == [
        "raw/b.csv is empty (0 bytes); expected a header",
        "raw/c.csv has no column kind (did you mean 'kand'?)",
    ]
    assert files(report) == [("raw/a.csv", 50, True)]
    assert not report.sources[0].is_whole


def test_a_source_of_which_no_row_can_be_read(raw: Any) -> None:
    raw.lines = [raw.order(number, PERIOD, amount="x" * 500) for number in range(5)]
    write(raw, text(raw))
    [problem] = told(looked(raw))
    assert problem.startswith("data.sources.orders: 5 of the 5 rows that were read cannot be used")
    assert "x" * 61 not in problem


def test_a_zip_that_says_it_is_too_large_is_not_unpacked(raw: Any) -> None:
    given_source(raw, max_unpacked_mb=1)
    with zipfile.ZipFile(raw.folder / "raw" / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", text(raw) + "\n" * (2 << 20))
    assert "raw/a.zip unpacks to more than 1 MB" in told(looked(raw))[0]


# --- Queries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("query", "old", "new", "problem", "code"), [
    ("features", "kind, amount", "kind, colour, amount", "features.sql line 2: no column colour", 3),
    ("features", "kind, amount", "kidn AS kind, amount", "no column kidn (did you mean 'kind'?)", 3),
    ("features", "kind, amount", "amount AS kind, amount", "features.sql: column kind is DOUBLE, expected VARCHAR", 3),
    ("features", "CAST(score_date AS TIMESTAMP)", "CAST(score_date + 2 AS TIMESTAMP)",
     "rows whose score_moment lies outside of their day", 4),
    ("features", "FROM accepted WHERE", "FROM accepted WHERE id <> 'o44' AND",
     "9 rows from 10 accepted ones", 4),
    ("features", "SELECT score_date, id,", "SELECT score_date, CAST('x' AS VARCHAR) AS id,", "occur more than once", 4),
    ("features", "kind, amount", "kind, CAST(NULL AS DOUBLE) AS amount", "no values in amount (10 of 10 null)", 4),
    ("labels", "CAST(known_at AS TIMESTAMP)", "TIMESTAMP '2024-01-01'", "label_time before their score_moment", 4),
    ("labels", "CAST(outcome AS INTEGER)", "7", "bad has values that are no label of a binary task: '7'", 4),
    ("labels", "ELSE 'known'", "ELSE 'knwon'", "a label_status other than", 4),
    ("contract", "SELECT CAST(o.day AS DATE)", "SELECT CAST(NULL AS DATE)", "50 rows have score_date null", 4),
    ("contract", "WHERE CAST(o.day AS DATE) BETWEEN :lookback_date AND :to_date", "",
     "rows have score_date 2024-01-01 (and others)", 4),
    ("contract", "CASE WHEN o.amount IS NULL", "CASE WHEN true", "no rows for date 2024-01-05", 4),
    ("contract", "o.amount,", "CAST(o.kind AS DOUBLE) AS amount,", "Could not convert string 'a' to DOUBLE", 4),
])  # fmt: skip
def test_what_is_wrong_with_the_rows_of_a_query(
    raw: Any, query: str, old: str, new: str, problem: str, code: int
) -> None:
    written = getattr(raw, query)
    assert old in written
    setattr(raw, query, written.replace(old, new, 1))
    write(raw, text(raw))
    report = looked(raw)
    found = [error for error in report.errors if problem in str(error)]
    assert [error.exit_code for error in found] == [code], told(report)


def test_missing_rows_of_what_was_read_in_part_are_no_problem(raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that the features are joined with is cut: what they miss may stand behind the cut."""
    monkeypatch.setattr(sample, "BYTES", 1)
    monkeypatch.setattr(sample, "LEAST_BYTES", 1 << 16)
    kinds = raw.folder / "kinds.csv"
    kinds.write_text("name,weight\n" + "".join(f"k{number},1.0\n" for number in range(50_000)) + "a,1.0\nb,2.0\n")
    write(raw, text(raw))
    raw.data["sources"]["kinds"] = {"path": "kinds.csv", "types": {"weight": "DOUBLE"}, "strict": True}
    raw.features = raw.features.replace("FROM accepted", "FROM accepted JOIN kinds ON kinds.name = kind")
    report = looked(raw)
    assert told(report) == []
    assert any("from 10 accepted ones" in note for note in report.notes)
    kinds.write_text("name,weight\na,1.0\n")
    assert any("5 rows from 10 accepted ones" in problem for problem in told(looked(raw)))


def test_rows_of_no_period_of_the_schedule_are_said(raw: Any) -> None:
    write(raw, text(raw).replace("2024-01", "2031-01"))
    report = looked(raw)
    assert told(report) == []
    assert "it holds 2031-01-01 to 2031-01-05" in report.notes[0]


def test_queries_for_spark_are_not_run(raw: Any) -> None:
    raw.data["engine"] = "spark"
    write(raw, text(raw))
    report = looked(raw)
    assert (told(report), files(report), report.period) == ([], [("raw/a.csv", 50, True)], None)
    assert "the queries: they are run by spark, which is not started" in report.not_looked_at


# --- Bounds ---------------------------------------------------------------------------------------------------------


def test_of_many_files_some_are_opened(raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "FILES", 7)
    for place in range(30):
        write(raw, f"{HEADER}\n{raw.order(place, PERIOD)}\n", f"f{place:02}.csv")
    report = looked(raw)
    assert told(report) == []
    assert [name for name, _, _ in files(report)] == [f"raw/f{place:02}.csv" for place in (0, 4, 9, 14, 19, 24, 29)]
    assert report.sources[0].files == 30
    assert "7 rows were read, of 7 of 30 files" in report.not_looked_at[0]


@pytest.mark.parametrize("pack", [None, gzip.compress])
def test_only_the_beginning_of_a_file_is_read(raw: Any, monkeypatch: pytest.MonkeyPatch, pack: Any) -> None:
    read: list[int] = []
    was = beginnings.plain
    monkeypatch.setattr(sample, "LEAST_BYTES", 1 << 16)
    monkeypatch.setattr(sample, "BYTES", 1 << 16)
    raw.lines = [raw.order(number, PERIOD) for number in range(20_000)]
    content = text(raw).encode() + b'"never closed'

    class Counted:
        def __init__(self, *args: Any, **keys: Any) -> None:
            self._opened = was(*args, **keys)

        def __enter__(self) -> Any:
            self._stream = self._opened.__enter__()
            return self

        def __exit__(self, *error: object) -> Any:
            return self._opened.__exit__(*error)

        def read(self, size: int) -> bytes:
            block: bytes = self._stream.read(size)
            read.append(len(block))
            return block

    monkeypatch.setattr(beginnings, "plain", Counted)
    write(raw, pack(content) if pack else content, "a.csv.gz" if pack else "a.csv")
    report = looked(raw)
    assert told(report) == []
    assert sum(read) <= 3 << 16 < len(content)
    [(_, rows, whole)] = files(report)
    assert (0 < rows < 20_000, whole) == (True, False)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    share=st.integers(60, 900), encoding=st.sampled_from(["utf-8", "utf-16", "latin-1"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]), said=st.sampled_from(['"a\nb"', '"a""\r\n,b"', "é", '""', "plain"]),
)  # fmt: skip
def test_no_cut_makes_an_error(raw: Any, share: int, encoding: str, end: str, said: str) -> None:
    """Wherever the sample ends, what it holds are the first rows of the file."""
    rows = [f"o{number},{PERIOD},{number},{said},1,{PERIOD} 18:00:00" for number in range(60)]
    write(raw, end.join([HEADER, *rows, ""]).encode(encoding))
    given_source(raw, encoding=encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "BYTES", share)
        patch.setattr(sample, "LEAST_BYTES", 1)
        patch.setattr(beginnings, "_BLOCK", share)
        patch.setattr(look, "_try_queries", lambda *_: None)
        report = looked(raw)
    assert told(report) == []
    [(_, count, whole)] = files(report)
    assert count < 60
    assert not whole


def test_a_line_without_an_end_is_refused_as_ingest_does(raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write(raw, "x" * (40 << 20))
    assert "raw/a.csv line 1: no line end within 32 MB" in told(looked(raw))[0]


def test_a_file_that_grows_meanwhile_has_no_cut_row(raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(raw, text(raw) + "o99,2024")
    was = beginnings.plain

    def growing(*args: Any, **keys: Any) -> Any:
        with file.open("a") as more:
            more.write("-01")
        return was(*args, **keys)

    monkeypatch.setattr(beginnings, "plain", growing)
    report = looked(raw)
    assert (told(report), files(report)) == ([], [("raw/a.csv", 50, False)])


def test_time_that_is_up_is_said(raw: Any) -> None:
    write(raw, text(raw))
    report = looked(raw, lambda: 0)
    assert (told(report), report.period) == ([], None)
    assert "data.sources.orders: there was no time for it" in report.not_looked_at
    seconds = [9.0]
    project = raw.project()
    report = look_at_data(project, lambda: seconds[0], lambda what: seconds.insert(0, "queries" not in what))
    assert (told(report), files(report), report.period) == ([], [("raw/a.csv", 50, True)], None)
    assert "what there was no time for: the queries over the sample" in report.not_looked_at


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
def test_nothing_is_left_of_one_that_is_stopped(
    raw: Any, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    write(raw, text(raw))
    project = raw.project()

    def stopped(*_: Any) -> Any:
        assert list((raw.folder / "work" / "raw").iterdir())
        raise stop

    monkeypatch.setattr(sample, "stage_csv", stopped)
    with pytest.raises(stop):
        look_at_data(project, lambda: 1e6)
    assert not (raw.folder / "work").exists()


def test_a_work_folder_that_cannot_be_made_is_no_fault_of_the_data(raw: Any) -> None:
    write(raw, text(raw))
    project = raw.project()
    (raw.folder / "work").write_text("a file")
    [error] = look_at_data(project, lambda: 1e6).errors
    assert error.exit_code == 11


# --- Parquet --------------------------------------------------------------------------------------------------------


@pytest.fixture
def parquet(raw: Any) -> Any:
    raw.data["sources"] = {"orders": {"path": "raw", "format": "parquet", "strict": True}}
    return raw


@pytest.mark.parametrize("columns", [
    {}, {"kind": lambda rows: pa.array(["a"] * rows).dictionary_encode()},
    {"more": lambda rows: [{"a b": [{"q'": 1}]}] * rows}, {"more": lambda rows: pa.array([1] * rows, pa.time64("ns"))},
    {"more": lambda rows: pa.array([[("a", 1)]] * rows, pa.map_(pa.string(), pa.int32()))},
    {"amount": lambda rows: [float("nan")] * rows},
    {"known_at": lambda rows: pa.array([1704585600000000001] * rows, pa.timestamp("ns"))},
])  # fmt: skip
def test_parquet_files_of_many_types(parquet: Any, columns: Any) -> None:
    pq.write_table(table(parquet, **columns), parquet.folder / "raw" / "a.parquet")
    report = looked(parquet)
    assert told(report) == []
    assert files(report) == [("raw/a.parquet", 50, True)]
    assert report.period is not None


@pytest.mark.parametrize(("columns", "problem"), [
    ({"amount": lambda rows: [{"a": 1}] * rows}, "features.sql: column amount is struct<"),
    ({"amount": pa.nulls}, "features.sql: column amount is"),
    ({"AMOUNT": lambda rows: [1.0] * rows}, "amount, AMOUNT stand twice in the header"),
])  # fmt: skip
def test_parquet_files_that_do_not_fit(parquet: Any, columns: Any, problem: str) -> None:
    pq.write_table(table(parquet, **columns), parquet.folder / "raw" / "a.parquet")
    assert problem in told(looked(parquet))[0]


@pytest.mark.parametrize("content", [b"", b"PAR1xxxxPAR1", b"id,day\n"])
def test_what_is_no_parquet(parquet: Any, content: bytes) -> None:
    write(parquet, content, "a.parquet")
    assert "raw/a.parquet is no whole Parquet file" in told(looked(parquet))[0]


def test_declared_types_of_parquet_are_compared_and_do_not_count(parquet: Any) -> None:
    parquet.data["sources"]["orders"]["types"] = {"amount": "INTEGER", "colour": "VARCHAR", "kind": "VARCHAR"}
    pq.write_table(table(parquet), parquet.folder / "raw" / "a.parquet")
    report = looked(parquet)
    assert told(report) == []
    assert report.notes == [
        "data.sources.orders.types.amount: INTEGER, and the files have DOUBLE, which is what is read",
        "data.sources.orders.types.colour: no file has that column; types say nothing of Parquet",
    ]


def test_of_parquet_the_first_rows_are_read_of_the_first_row_group(
    parquet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "ROWS", 30)
    monkeypatch.setattr(sample, "_LEAST_ROWS", 1)
    taken: list[int] = []
    was = sample._copy_rows

    def copied(file: Path, target: Path, rows: int, *others: Any) -> None:
        was(file, target, rows, *others)
        taken.append(pq.read_metadata(target).num_rows)

    monkeypatch.setattr(sample, "_copy_rows", copied)
    first = parquet.folder / "raw" / "a.parquet"
    pq.write_table(table(parquet), first, row_group_size=20)
    assert (files(looked(parquet)), taken) == ([("raw/a.parquet", 20, False)], [20])
    pq.write_table(table(parquet), first, row_group_size=50)
    assert (files(looked(parquet)), taken) == ([("raw/a.parquet", 30, False)], [20, 30])
    pq.write_table(table(parquet, more=lambda rows: [os.urandom(1 << 16) for _ in range(rows)]), first)
    monkeypatch.setattr(sample, "BYTES", 1 << 18)
    [(_, rows, _)] = files(looked(parquet))
    assert rows <= 4


def test_an_error_of_one_source_hides_no_other(raw: Any) -> None:
    write(raw, "")
    raw.data["sources"]["kinds"] = {"path": "nowhere.csv", "strict": True}
    report = looked(raw)
    assert [isinstance(error, TallyError) and error.exit_code for error in report.errors] == [4, 4]
