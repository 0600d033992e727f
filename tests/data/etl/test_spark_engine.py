"""Spark SQL behind the same ingest: equal tables from hostile values, equal refusals, nothing left behind."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cadences import add_model, write_orders
from click.testing import CliRunner
from two_engines import ENGINES, assert_equal_on_all, ingested, lake_rows

from tallywright.cli.init import init
from tallywright.data.etl import spark_engine
from tallywright.errors import InputError, SpecError, StorageError, UsageError
from tallywright.spec import load_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore")]

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 3)
TEXTS = [
    "",
    "NA",
    "na",
    " x ",
    "a'b",
    'say "no"',
    "back\\slash",
    "tab\there",
    "new\nline",
    "größer",
    "日本",
    "🛫",
    "\x07",
]
NUMBERS = ["0", "-0.0", "1e-320", "1.7976931348623157e308", "0.1", "NaN", "Infinity", "-Infinity", "-12.5", "1e22"]
TYPES = {
    "id": "VARCHAR", "score_moment": "TIMESTAMP", "text": "VARCHAR", "number": "DOUBLE", "half": "FLOAT",
    "whole": "BIGINT", "small": "SMALLINT", "exact": "DECIMAL(9,3)", "flag": "BOOLEAN", "day": "DATE",
    "rank": "INTEGER",
}  # fmt: skip
CONTRACT = """
SELECT day AS score_date,
       CASE WHEN text IS NULL THEN 'no text' WHEN number < 0 THEN CONCAT('below zero: ', text) END AS reject_reason,
       NULL AS nothing, r.*
FROM raw r WHERE day BETWEEN :lookback_date AND :to_date -- a comment at the end
"""
FEATURES = """
SELECT score_date, id, "moment" AS score_moment, text, number, half, whole, small, exact, flag, day,
       CAST(ROW_NUMBER() OVER (PARTITION BY score_date ORDER BY text, exact DESC, whole, id) AS INTEGER) AS rank
FROM accepted WHERE score_date BETWEEN :from_date AND :to_date
"""
LABELS = """
SELECT id, score_date, whole % 2 = 0 AS bad, moment + 30 * INTERVAL '1' HOUR AS label_time,
       CASE WHEN whole IS NULL THEN 'never' ELSE 'known' END AS label_status
FROM accepted WHERE score_date BETWEEN :from_date AND :to_date
"""


def _hostile(rows: int, days: int, number: random.Random) -> pa.Table:
    def maybe(value: Any) -> Any:
        return None if number.random() < 0.1 else value

    days_in = [number.randrange(days) for _ in range(rows)]
    moments = [
        1_704_067_200_000_000 + day * 86_400_000_000 + number.randrange(86_400_000_000) for day in days_in
    ]  # a score moment lies in its day
    return pa.table(
        {
            "id": pa.array([f"{number.choice(TEXTS)}{place}" for place in range(rows)]),
            "day": pa.array([FIRST + timedelta(days=day) for day in days_in]),
            "moment": pa.array(moments, pa.timestamp("us")),
            "zoned": pa.array(moments, pa.timestamp("us", "UTC")),
            "text": pa.array([maybe(number.choice(TEXTS)) for _ in range(rows)]),
            "number": pa.array([maybe(float(number.choice(NUMBERS))) for _ in range(rows)]),
            "half": pa.array([maybe(number.uniform(-1, 1)) for _ in range(rows)], pa.float32()),
            "whole": pa.array([maybe(number.randrange(-(2**63), 2**63)) for _ in range(rows)], pa.int64()),
            "small": pa.array([maybe(number.randrange(-9, 9)) for _ in range(rows)], pa.int16()),
            "exact": pa.array([maybe(Decimal(number.randrange(-(10**6), 10**6)).scaleb(-3)) for _ in range(rows)],
                              pa.decimal128(9, 3)),
            "flag": pa.array([maybe(number.random() < 0.5) for _ in range(rows)]),
        }
    )  # fmt: skip


@pytest.fixture
def hostile(shop: Any) -> Any:
    """Three days of values that engines like to disagree about, in two Parquet files; one lacks a column."""
    folder = shop.folder / "raw"
    folder.mkdir()
    rows = _hostile(400, 3, random.Random(random.getrandbits(32)))
    pq.write_table(rows.slice(0, 300), folder / "a.parquet")
    pq.write_table(rows.slice(300).drop_columns("flag"), folder / "b.parquet")
    shop.contract, shop.features, shop.labels = CONTRACT, FEATURES, LABELS
    shop.data = {"sources": {"raw": {"path": "raw", "format": "parquet"}}, "columns": TYPES}
    shop.training = {"numeric": ["number"], "categorical": ["text"]}
    return shop


@pytest.mark.usefixtures("spark")
def test_hostile_values(hostile: Any, tmp_path: Path) -> None:
    days = assert_equal_on_all(hostile.project(), tmp_path, FIRST, LAST)
    assert sum(day.rows + day.quarantined for day in days) == 400
    assert min(day.quarantined for day in days) > 0
    assert not list((tmp_path / "work" / "etl").iterdir())


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("kind", [pytest.param("csv", marks=pytest.mark.long), "parquet"])
def test_a_condition_that_holds_for_nan_finds_its_rows(shop: Any, tmp_path: Path, kind: str) -> None:
    shop.contract = """
    SELECT CAST(o.day AS DATE) AS score_date, CAST(NULL AS VARCHAR(9)) AS reject_reason, o.*
    FROM orders o WHERE CAST(o.day AS DATE) BETWEEN :lookback_date AND :to_date AND amount > 100
    """
    shop.lines = [shop.order(n, str(FIRST), amount="nan" if n % 5 == 0 else n) for n in range(20)]
    if kind == "parquet":
        pq.write_table(shop.table(), shop.folder / "raw.parquet")
        shop.data["sources"] = {"orders": {"path": "raw.parquet", "format": "parquet"}}
    [day] = assert_equal_on_all(shop.project(), tmp_path, FIRST, FIRST)
    assert day.rows == 4


@pytest.mark.usefixtures("spark")
def test_the_project_of_tally_init(tmp_path: Path) -> None:
    CliRunner().invoke(init, [str(tmp_path / "p")], catch_exceptions=False)
    project = load_project("late_orders", root=tmp_path / "p", environment="local")
    days = assert_equal_on_all(project, tmp_path, date(2025, 1, 20), date(2025, 1, 22))
    assert min(day.rows for day in days) > 50


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize(
    ("cadence", "first", "last", "periods"),
    [
        pytest.param("hour", "2025-03-29T22:00Z", "2025-03-30T02:00Z", 5, marks=pytest.mark.long),
        pytest.param("week", "2025-01-06", "2025-01-13", 2, marks=pytest.mark.long),
        ("month", "2025-01", "2025-02", 2),
    ],
)
def test_periods_of_every_cadence(tmp_path: Path, cadence: str, first: str, last: str, periods: int) -> None:
    zone = {"schedule": {"timezone": "Europe/Berlin"}} if cadence == "hour" else {}
    model = add_model(tmp_path / "p", "orders", cadence, zone)
    if cadence == "hour":
        write_orders(model / "raw", [(date(2025, 3, 15), date(2025, 3, 30))], an_hour=4)
    project = load_project("orders", root=tmp_path / "p", environment="local")
    calendar = project.spec.schedule.calendar
    found = assert_equal_on_all(project, tmp_path, calendar.parse(first), calendar.parse(last))
    assert (len(found), min(one.rows for one in found) > 3) == (periods, True)


@pytest.mark.usefixtures("spark")
def test_a_range_and_its_days_alone_give_the_same_on_every_engine(shop: Any, tmp_path: Path) -> None:
    assert_equal_on_all(shop.project(), tmp_path, FIRST, LAST)
    again = {engine: ingested(shop.project(), engine, tmp_path, LAST, LAST) for engine in ENGINES}
    assert [day.changed for day in [*again["duckdb"], *again["spark"]]] == [False, False]


@pytest.mark.usefixtures("spark")
def test_folders_named_key_value_are_text_columns(shop: Any, tmp_path: Path) -> None:
    for part, day in enumerate(["2024-01-01", "2024-01-02"]):
        folder = shop.folder / "raw" / f"day={day}" / f"kind=0{part}"
        folder.mkdir(parents=True)
        rows = {"id": ["a", "b"], "amount": [1.5, 2.5], "outcome": ["0", None], "known_at": [f"{day} 18:00:00"] * 2}
        pq.write_table(pa.table(rows), folder / "rows.parquet")
    shop.data = {"sources": {"orders": {"path": "raw/*/*/*.parquet", "format": "parquet"}}}
    assert_equal_on_all(shop.project(), tmp_path, FIRST, date(2024, 1, 2))
    _, rows = lake_rows(shop.project(), "spark", tmp_path)["shop__features"]
    assert {row[-2] for row in rows} == {"00", "01"}


@pytest.mark.usefixtures("spark")
def test_files_of_any_name_and_instants_of_nanoseconds(shop: Any, tmp_path: Path) -> None:
    folder = shop.folder / "raw" / "part=1" / "kind=none"
    folder.mkdir(parents=True)
    known = pa.array([1_704_132_000_123_456_789, 1_704_132_000_000_000_001], pa.timestamp("ns"))
    rows = {"id": ["a", "b"], "day": ["2024-01-01"] * 2, "amount": [1.5, 2.5], "kind": ["x", "y"], "known_at": known,
            "outcome": ["0", "1"]}  # fmt: skip
    pq.write_table(pa.table(rows), folder / "a[1]*{x}? +%20é.parquet")
    source = {"path": "raw/part=1/kind=none", "format": "parquet", "strict": True, "partition_columns": ["part"]}
    shop.data = {"sources": {"orders": source}}
    [day] = assert_equal_on_all(shop.project(), tmp_path, FIRST, FIRST)
    assert [(file.rows, file.accepted) for file in day.files] == [(2, 2)]
    _, features = lake_rows(shop.project(), "spark", tmp_path)["shop__features"]
    assert {row[-2] for row in features} == {"x", "y"}


@pytest.mark.usefixtures("spark")
def test_raw_rows_are_counted_and_quarantined_alike(shop: Any, tmp_path: Path) -> None:
    source = {
        "path": "raw",
        "strict": True,
        "null_value": "NA",
        "types": {"amount": "DOUBLE"},
        "bad_lines": "quarantine",
    }
    shop.data = {"sources": {"orders": source}}
    shop.lines[3] = shop.order(3, "2024-01-01", amount="n/a")
    shop.lines[4] = shop.order(4, "2024-01-01", amount=None)
    shop.lines[5] += ",eur"
    (shop.folder / "raw").mkdir()
    for name, lines in (("a b.csv", shop.lines[:4]), ("c.csv", shop.lines[4:])):
        (shop.folder / "raw" / name).write_text("\n".join(["id,day,amount,kind,outcome,known_at", *lines]) + "\n")
    [first, *_] = assert_equal_on_all(shop.project(), tmp_path, FIRST, LAST)
    counted = [(file.file, file.rows, file.accepted, file.quarantined, file.outside) for file in first.files]
    assert counted == [("raw/a b.csv", 4, 3, 1, 0), ("raw/c.csv", 46, 4, 2, 40)]


def _broken(part: str, right: str, wrong: str) -> Callable[[Any], None]:
    def change(shop: Any) -> None:
        text = getattr(shop, part)
        assert right in text
        setattr(shop, part, text.replace(right, wrong))

    return change


def _damaged(shop: Any) -> None:
    (shop.folder / "damaged.parquet").write_bytes(b"PAR1 is not enough")
    shop.data = {"sources": {"orders": {"path": "damaged.parquet", "format": "parquet"}}}


MISTAKES: dict[str, tuple[Callable[[Any], None], str]] = {
    "syntax": (_broken("features", "SELECT score_date", "SELECT FROM"), r"features\.sql: "),
    "unknown column": (_broken("labels", "outcome IS", "outcome2 IS"), r"labels\.sql: .*outcome2"),
    "a text that is no number": (
        _broken("features", "amount\n", "CAST(kind AS DOUBLE) AS amount\n"),
        r"features\.sql: .*(cast|convert)",
    ),
    "missing column": (
        _broken("contract", " AS reject_reason", " AS reason"),
        r"contract\.sql: missing column reject_reason",
    ),
    "wrong type": (
        _broken("features", ", amount\n", ", CAST(amount AS FLOAT) AS amount\n"),
        r"features\.sql: column amount is (FLOAT|REAL), expected DOUBLE",
    ),
    "column too many": (
        _broken("features", "amount\n", "amount, 1 AS more\n"),
        r"features\.sql: unknown column more",
    ),
    "date of another range": (
        _broken("labels", "score_date,", "DATE '2023-01-01' AS score_date,"),
        r"labels\.sql: 30 rows have score_date 2023-01-01",
    ),
    "no date": (
        _broken("labels", "score_date,", "CAST(NULL AS DATE) AS score_date,"),
        r"labels\.sql: 30 rows have score_date null",
    ),
    "no rows": (
        _broken("contract", "FROM orders o WHERE", "FROM orders o WHERE 1 > 2 AND"),
        r"no rows for date 2024-01-01",
    ),
    "damaged file": (_damaged, r"data\.sources\.orders: "),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.usefixtures("spark")
def test_a_mistake_is_refused_alike(shop: Any, tmp_path: Path, mistake: str) -> None:
    change, message = MISTAKES[mistake]
    change(shop)
    for engine in ENGINES:
        with pytest.raises(InputError, match=message):
            ingested(shop.project(), engine, tmp_path, FIRST, LAST)
        assert not (tmp_path / engine / "lake").exists()
    assert not list((tmp_path / "work").glob("etl/*"))


REFUSED: dict[str, tuple[str, str, str]] = {
    "chance": ("kind, amount", "kind, rand() AS amount", "rand.. gives another value each time"),
    "the clock": ("kind, amount", "kind, CASE WHEN now() > score_moment THEN 1.0 END AS amount", "now.. gives"),
    "a word of the clock": ("kind, amount", "kind, YEAR(current_date) * 1.0 AS amount", "current_date gives another"),
    "inside": ("SELECT score_date", "WITH x AS (SELECT uuid() AS u) SELECT score_date", "uuid.. gives another"),
    "a sample": ("FROM accepted", "FROM accepted TABLESAMPLE (50 PERCENT)", "a sample without REPEATABLE"),
    "Java": ("kind, amount", "reflect('java.lang.System', 'getenv', 'HOME') AS kind, amount", "reflect.. gives"),
    "a program": ("FROM accepted", "FROM (SELECT TRANSFORM(kind) USING 'cat' AS (z) FROM accepted) t, accepted",
                  "TRANSFORM"),
    "a parameter": (":to_date", ":todate", "unknown parameter :todate"),
    "a second statement": ("\nFROM accepted", "\nFROM accepted; SELECT 1 FROM accepted", "more than one statement"),
    "a command": ("SELECT score_date, id", "DROP VIEW accepted -- ", "(?i)not a query|syntax"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.usefixtures("spark")
def test_what_is_no_function_of_the_rows_is_refused_by_spark_too(shop: Any, tmp_path: Path, what: str) -> None:
    old, new, message = REFUSED[what]
    assert old in shop.features
    shop.features = shop.features.replace(old, new)
    with pytest.raises((SpecError, InputError), match=message):
        ingested(shop.project(), "spark", tmp_path, FIRST, LAST)
    assert not (tmp_path / "spark" / "lake").exists()


@pytest.mark.usefixtures("spark")
def test_a_file_is_no_table_to_spark(shop: Any, tmp_path: Path) -> None:
    shop.contract = shop.contract.replace("FROM orders o", "FROM csv.`/etc/passwd`, orders o")
    with pytest.raises(InputError, match="TABLE_OR_VIEW_NOT_FOUND"):
        ingested(shop.project(), "spark", tmp_path, FIRST, LAST)


@pytest.mark.usefixtures("spark")
def test_rows_that_the_cluster_wrote_elsewhere_are_noticed(
    shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = spark_engine._files_by_day

    def without_the_last_day(folder: Path) -> Any:
        return dict(list(found(folder).items())[:-1])

    monkeypatch.setattr(spark_engine, "_files_by_day", without_the_last_day)
    with pytest.raises(StorageError, match=r"Spark wrote 30 rows .* and 20 are found there; nothing was changed"):
        ingested(shop.project(), "spark", tmp_path, FIRST, LAST)


@pytest.mark.usefixtures("spark")
def test_a_work_folder_that_cannot_be_made(shop: Any, tmp_path: Path) -> None:
    (tmp_path / "work" / "raw").mkdir(parents=True)
    (tmp_path / "work" / "etl").write_text("a file")
    with pytest.raises(StorageError, match="etl"):
        ingested(shop.project(), "spark", tmp_path, FIRST, LAST)


def test_without_pyspark(shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyspark", None)
    with pytest.raises(UsageError, match="pyspark is not installed"):
        ingested(shop.project(), "spark", tmp_path, FIRST, LAST)


def test_without_java(shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="there is no Java"):
        ingested(shop.project(), "spark", tmp_path, FIRST, LAST)
