"""Raw files as they come: each by its header, each line to its end, each row accepted, quarantined or outside."""

from __future__ import annotations

import gzip
import json
import random
import zipfile
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tallywright.data.embedded_sql import sql_errors
from tallywright.data.etl import sources
from tallywright.data.etl.ingest import ingest
from tallywright.data.etl.queries import Query
from tallywright.data.etl.raw_rows import in_all, numbered
from tallywright.data.etl.transform import RawRun
from tallywright.errors import InputError, StorageError
from tallywright.gates.day import read_day
from tallywright.spec.sources import Source

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND, LAST = date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 5)
HEADER = "id,day,amount,kind,outcome,known_at"
STRICT = {"path": "orders.csv", "strict": True, "null_value": "NA", "types": {"amount": "DOUBLE"}}


def strict(shop: Any, **keys: Any) -> None:
    shop.data["sources"] = {"orders": STRICT | keys}


def write(shop: Any, name: str, lines: list[str], *, header: str = HEADER) -> Path:
    file = shop.folder / "raw" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in ([header] if header else []) + lines))
    return file


@pytest.fixture
def two(shop: Any) -> Any:
    """Two files: the second one has the last four orders of the first day."""
    strict(shop, path="raw/orders-*.csv")
    write(shop, "orders-a.csv", shop.lines[:6] + shop.lines[10:])
    write(shop, "orders-b.csv", shop.lines[6:10])
    return shop


def run(shop: Any, first: date = FIRST, last: date = LAST) -> Any:
    return ingest(shop.project(), shop.lake, first, last)


def refused(shop: Any, message: str) -> InputError:
    with pytest.raises(InputError, match=message) as caught:
        run(shop)
    assert shop.lake.tables() == []
    left = [path for path in (shop.folder / "work" / "raw").glob("*") if path.suffix != ".parquet"]
    assert left == []
    return caught.value


def outcome(shop: Any) -> int | str:
    """The rows of the first day, or why they are refused."""
    try:
        return int(run(shop, FIRST, FIRST)[0].rows)
    except InputError as error:
        return error.found


def counts(day: Any, name: str) -> tuple[Any, ...]:
    [file] = [one for one in day.files if one.file == name]
    return (file.rows, file.accepted, file.quarantined, file.outside, file.undated)


# --- Headers, file by file ----------------------------------------------------------------------------------------


def test_rows_are_counted_by_file(two: Any) -> None:
    two.lines[8] = two.order(8, "2024-01-01", amount=None)
    write(two, "orders-b.csv", two.lines[6:10])
    day, *_ = days = run(two)
    assert (day.rows, day.quarantined) == (9, 1)
    assert counts(day, "raw/orders-a.csv") == (46, 6, 0, 40, 0)
    assert counts(day, "raw/orders-b.csv") == (4, 3, 1, 0, 0)
    assert [(one.file, one.accepted, one.quarantined, one.outside) for one in in_all(one.files for one in days)] == [
        ("raw/orders-a.csv", 46, 0, 0),
        ("raw/orders-b.csv", 3, 1, 0),
    ]
    [row] = two.lake.read("shop__quarantine").to_pylist()
    assert (row["reason"], row["file"], row["line"]) == ("no amount", "raw/orders-b.csv", 4)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", r"raw/orders-b\.csv line 1: no header: found o6, 2024-01-01, .*; expected id, day, amount, kind"),
        ("id,date,amount,kind,outcome,known_at", r"raw/orders-b\.csv has no column day\n"),
        ("id,day,amuont,kind,outcome,known_at", r"raw/orders-b\.csv has no column amount .did you mean 'amuont'\?"),
        ("id,day,amount, kind,outcome,known_at", r"raw/orders-b\.csv has no column kind .did you mean ' kind'"),
        ("id,day,amount,amount,outcome,known_at",
         r"raw/orders-b\.csv line 1: amount stands twice in the header; kind is missing"),
        ("id;day;amount;kind;outcome;known_at",
         r'raw/orders-b\.csv line 1: one field "id;day;.*", expected 6 between commas: is the delimiter \';\'\?'),
        ('"id";"day";"amount";"kind";"outcome";"known_at"',
         r'raw/orders-b\.csv line 1: one field "id;day;.*", expected 6 between commas: is the delimiter \';\'\?'),
    ],
)  # fmt: skip
def test_a_header_that_is_not_the_expected_one(two: Any, header: str, message: str) -> None:
    write(two, "orders-b.csv", two.lines[6:10], header=header)
    assert refused(two, message).exit_code == 4


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER.upper(), r"no column 'amount' .did you mean 'AMOUNT'\?"),
        (HEADER.replace(",", ", "), r"no column 'amount' .did you mean ' amount'\?"),
        (HEADER.replace("amount", "a\u200bmount"), r"no column 'amount' .did you mean 'a\\u200bmount'\?"),
    ],
)
def test_the_header_of_the_only_file(shop: Any, header: str, message: str) -> None:
    strict(shop, path="raw/orders.csv")
    write(shop, "orders.csv", shop.lines, header=header)
    refused(shop, message)


def test_an_accent_in_one_sign_or_two(two: Any) -> None:
    write(two, "orders-a.csv", two.lines[:6] + two.lines[10:], header=HEADER.replace("kind", "caf\u00e9"))
    write(two, "orders-b.csv", two.lines[6:10], header=HEADER.replace("kind", "cafe\u0301"))
    two.contract = two.contract.replace("o.kind", 'o."caf\u00e9" AS kind')
    refused(two, r"raw/orders-b\.csv has no column caf\u00e9 .did you mean 'cafe\\u0301'\?")


@pytest.mark.parametrize("is_strict", [True, False])
def test_a_column_that_another_file_spells_otherwise(two: Any, *, is_strict: bool) -> None:
    strict(two, path="raw/orders-*.csv", strict=is_strict)
    write(two, "orders-b.csv", two.lines[6:10], header=HEADER.replace("kind", "Kind"))
    said = "has no column kind .did you mean 'Kind'" if is_strict else "has a column Kind, which raw/orders-a.csv calls"
    refused(two, rf"raw/orders-b\.csv {said}")


def test_a_file_that_lacks_a_column(two: Any, heard: pytest.LogCaptureFixture) -> None:
    lacking = [",".join(line.split(",")[:3] + line.split(",")[4:]) for line in two.lines[6:10]]
    write(two, "orders-b.csv", lacking, header=HEADER.replace("kind,", ""))
    assert "may_lack: [kind]" in refused(two, r"raw/orders-b\.csv has no column kind").remedy
    strict(two, path="raw/orders-*.csv", may_lack=["kind"])
    assert run(two, FIRST, FIRST)[0].rows == 10
    assert "raw/orders-b.csv lacks kind, which is null in its 4 rows" in heard.text
    assert two.lake.read("shop__features")["kind"].null_count == 4


def test_a_spec_of_before_reads_a_file_that_lacks_a_column_and_says_so(
    two: Any, heard: pytest.LogCaptureFixture
) -> None:
    lacking = [",".join(line.split(",")[:3] + line.split(",")[4:]) for line in two.lines[6:10]]
    write(two, "orders-b.csv", lacking, header=HEADER.replace("kind,", ""))
    two.data["sources"] = {"orders": {"path": "raw/orders-*.csv", "types": {"amount": "DOUBLE"}}}
    assert run(two, FIRST, FIRST)[0].rows == 10
    assert "to say so: `data.sources.orders.may_lack: [kind]`" in heard.text


def test_a_column_that_only_some_files_have_is_left_out_unless_a_query_names_it(
    two: Any, heard: pytest.LogCaptureFixture
) -> None:
    write(two, "orders-b.csv", [f"{line},x" for line in two.lines[6:10]], header=f"{HEADER},note")
    assert run(two, FIRST, FIRST)[0].rows == 10
    assert "note of raw/orders-b.csv takes no part" in heard.text
    two.contract = two.contract.replace("o.id,", "o.id, o.note,")
    with pytest.raises(InputError, match=r"raw/orders-a\.csv has no column note"):
        run(two, FIRST, FIRST)


def test_files_without_a_header(two: Any) -> None:
    write(two, "orders-a.csv", two.lines[:6] + two.lines[10:], header="")
    write(two, "orders-b.csv", two.lines[6:10], header="")
    strict(two, path="raw/orders-*.csv", header=False, columns=HEADER.split(","))
    assert [day.rows for day in run(two)] == [10] * 5


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_dialect_and_encoding_are_what_the_spec_says(shop: Any, delimiter: str) -> None:
    lines = [shop.order(number, "2024-01-01", kind="'grün, \"x'") for number in range(3)]
    file = shop.folder / "other.csv"
    text = (
        "\r\n".join([HEADER, *lines]).replace("grün, ", "grün; ").replace(",", delimiter).replace("; ", f"{delimiter} ")
    )
    file.write_bytes(text.encode("latin-1"))
    strict(shop, path="other.csv", delimiter=delimiter, quote="'", encoding="latin-1")
    run(shop, FIRST, FIRST)
    assert set(shop.lake.read("shop__features")["kind"].to_pylist()) == {f'grün{delimiter} "x'}


# --- Lines and bytes ----------------------------------------------------------------------------------------------


def test_lines_of_another_width(two: Any) -> None:
    write(two, "orders-b.csv", [*two.lines[6:8], *(f"{line},eur" for line in two.lines[8:10])])
    refused(two, r"raw/orders-b\.csv line 4: 7 fields, the header has 6")
    strict(two, path="raw/orders-*.csv", bad_lines="quarantine")
    [day] = run(two, FIRST, FIRST)
    assert (day.rows, counts(day, "raw/orders-b.csv")) == (8, (4, 2, 2, 0, 2))
    rows = two.lake.read("shop__unreadable").to_pylist()
    assert [(row["file"], row["line"], row["reason"]) for row in rows] == [
        ("raw/orders-b.csv", line, "7 fields, the header has 6") for line in (4, 5)
    ]
    assert json.loads(rows[0]["raw_row"]) == {"fields": [*two.lines[8].split(","), "eur"]}
    write(two, "orders-b.csv", two.lines[6:10])
    assert run(two, FIRST, FIRST)[0].rows == 10
    assert two.lake.read("shop__unreadable").num_rows == 0


def test_a_hash_begins_no_comment(shop: Any) -> None:
    strict(shop)
    shop.lines = [f"#{line}" for line in shop.lines]
    assert [day.rows for day in run(shop)] == [10] * 5
    shop.lines.append("# end of export")
    with pytest.raises(InputError, match=r"orders\.csv line 52: 1 field, the header has 6"):
        run(shop)


def test_a_file_that_ends_within_a_row(shop: Any) -> None:
    strict(shop, path="cut.csv")
    (shop.folder / "cut.csv").write_text("\n".join([HEADER, *shop.lines])[:-30])
    refused(shop, r"cut\.csv line 51: the file ends within a row: [1-5] fields?, the header has 6")


def test_a_quote_that_is_never_closed(shop: Any) -> None:
    strict(shop)
    shop.lines = [shop.order(number, "2024-01-01", kind='"a"') for number in range(30)]
    shop.lines[20] = shop.lines[20].replace('"a"', '"a')
    refused(shop, r"orders\.csv line 22: the quote that opens field 4 is never closed")


def test_mixed_line_ends_are_legal(shop: Any) -> None:
    strict(shop, path="mixed.csv")
    text = "\r\n".join([HEADER, *shop.lines[:20]]) + "\r\n" + "\n".join(shop.lines[20:]) + "\n"
    (shop.folder / "mixed.csv").write_bytes(text.encode())
    assert [day.rows for day in run(shop)] == [10] * 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"raw/orders-b\.csv is empty .0 bytes.; expected a header"),
        (b"\n\n", r"raw/orders-b\.csv is empty .2 bytes.; expected a header"),
        (HEADER.encode() + b"\no6,2024-01-01,1,gr\xfcn,1,NA\n", r"line 2: byte 0xFC is no text in utf-8"),
        (HEADER.encode("utf-16"), r"line 1: a byte 0"),
        (gzip.compress(HEADER.encode(), mtime=0), r"line 1: is no text: it is packed"),
    ],
)
def test_bytes_that_are_no_rows(two: Any, data: bytes, message: str) -> None:
    (two.folder / "raw" / "orders-b.csv").write_bytes(data)
    refused(two, message)


def test_an_empty_file_where_the_spec_allows_it(two: Any) -> None:
    (two.folder / "raw" / "orders-b.csv").write_bytes(b"")
    strict(two, path="raw/orders-*.csv", allow_empty=True)
    [day] = run(two, FIRST, FIRST)
    assert (day.rows, counts(day, "raw/orders-b.csv")) == (6, (0, 0, 0, 0, 0))


# --- Packed files -------------------------------------------------------------------------------------------------


def packed(shop: Any, name: str, members: dict[str, bytes | str], **keys: Any) -> Path:
    shop.project()
    file = shop.folder / name
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    strict(shop, path=name, **keys)
    return file


def text_of(shop: Any) -> str:
    return "\n".join([HEADER, *shop.lines]) + "\n"


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("orders.csv.zip", {"orders.csv": "", "__MACOSX/._orders.csv": b"\x00\x05", ".DS_Store": b"\x00"}),
        ("ORDERS.ZIP", {"in/ORDERS.CSV": "", "readme.txt": "x"}),
    ],
)
def test_zips_of_the_real_world(shop: Any, name: str, members: dict[str, bytes | str]) -> None:
    packed(shop, name, {member: data or text_of(shop) for member, data in members.items()})
    [day] = run(shop, FIRST, FIRST)
    assert (day.rows, counts(day, name)) == (10, (50, 10, 0, 40, 0))


def test_a_zip_with_a_password(shop: Any) -> None:
    file = packed(shop, "orders.zip", {"a.csv": text_of(shop)})
    data = bytearray(file.read_bytes())
    data[6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(data)
    assert refused(shop, r"orders\.zip: a\.csv is encrypted").remedy == "deliver it without a password"


def test_a_zip_that_holds_another_number_of_files(shop: Any) -> None:
    packed(shop, "orders.zip", {"a.csv": text_of(shop), "b.csv": text_of(shop)})
    refused(shop, r"orders\.zip holds a\.csv, b\.csv")
    packed(shop, "orders.zip", {"a.txt": text_of(shop)})
    refused(shop, r"orders\.zip holds a\.txt")


@pytest.mark.parametrize("ending", [".csv.gz", ".csv.zst", ".zip"])
def test_a_packed_file_that_is_whole_cut_or_changed(shop: Any, ending: str) -> None:
    shop.lines += [shop.order(number, "2024-01-06", kind=f"k{number * 7919 % 1000}") for number in range(100, 900)]
    file = packed(shop, f"orders{ending}", {"orders.csv": text_of(shop)})
    if ending != ".zip":
        with pa.CompressedOutputStream(str(file), {".csv.gz": "gzip", ".csv.zst": "zstd"}[ending]) as stream:
            stream.write(text_of(shop).encode())
    whole = file.read_bytes()
    assert run(shop, FIRST, FIRST)[0].rows == 10
    number = random.Random(random.getrandbits(32))
    for place in [len(whole) * 2 // 3, *(number.randrange(1, len(whole)) for _ in range(4))]:
        broken = bytearray(whole)
        broken[place] ^= 1 << number.randrange(8)
        for data in (whole[:place], bytes(broken)):
            file.write_bytes(data)
            found = outcome(shop)
            # A bit may mean nothing, such as one of a time: zip and gzip have checksums of the content.
            assert found == 10 or f"orders{ending}" in str(found) or ending == ".csv.zst", found


def test_a_bomb_is_refused_before_it_fills_the_disk(shop: Any) -> None:
    zeros = "\n".join(["0"] * (1 << 20))
    packed(shop, "orders.zip", {"a.csv": f"{HEADER}\n{zeros}"}, max_unpacked_mb=1, bad_lines="quarantine")
    assert "max_unpacked_mb" in refused(shop, r"orders\.zip unpacks to more than 1 MB").remedy
    packed(shop, "orders.zip", {"a.csv": f"{HEADER}\n" + "0" * (40 << 20)})
    refused(shop, r"orders\.zip line 2: no line end within 32 MB")


# --- What is staged, and where files are --------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "exchanged"])
def test_a_staged_file_that_is_not_what_was_staged_is_made_again(
    shop: Any, damage: str, heard: pytest.LogCaptureFixture
) -> None:
    strict(shop)
    first = run(shop, FIRST, FIRST)
    [staged] = (shop.folder / "work" / "raw").glob("*.parquet")
    if damage == "cut":
        staged.write_bytes(staged.read_bytes()[:1000])
    else:
        rows = pq.read_table(staged)
        pq.write_table(rows.slice(0, 7).replace_schema_metadata(rows.schema.metadata), staged)
    assert run(shop, FIRST, FIRST)[0].model_copy(update={"changed": True}) == first[0]
    assert "is not what was staged" in heard.text
    [again] = (shop.folder / "work" / "raw").glob("*.parquet")
    assert again.name == staged.name


def test_files_of_a_folder_that_are_no_data(shop: Any, heard: pytest.LogCaptureFixture) -> None:
    write(shop, "orders.csv", shop.lines)
    for name in ("~$orders.csv", "._orders.csv", "_SUCCESS", "readme.txt"):
        (shop.folder / "raw" / name).write_bytes(bytes.fromhex("054D650000"))
    shop.contract = shop.contract.replace("o.id,", "o.*, o.id AS one,").replace(
        " o.kind, o.amount, o.outcome, o.known_at", " 1 AS n"
    )
    strict(shop, path="raw")
    assert run(shop, FIRST, FIRST)[0].rows == 10
    for name in ("~$orders.csv", "._orders.csv", "_SUCCESS", "readme.txt"):
        assert f"raw/{name}" in heard.text
    strict(shop, path="raw", pattern="*.tsv")
    with pytest.raises(InputError, match=r"no file .*raw; there are .*orders\.csv"):
        run(shop, FIRST, FIRST)


def test_a_link_that_leads_nowhere_is_a_delivery_that_is_missing(two: Any) -> None:
    (two.folder / "raw" / "orders-c.csv").symlink_to("orders-c.part")
    refused(two, r"raw/orders-c\.csv is a link to orders-c\.part, and nothing is there")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_whose_name_is_no_text(shop: Any, kind: str) -> None:
    strict(shop, path="raw", format=kind, types={})
    (shop.folder / "raw").mkdir()
    (shop.folder / "raw" / f"a\udcff.{kind}").write_text("id\n1\n")
    refused(shop, r"the name of a file is no text: 'raw/a\\udcff")


def test_a_header_of_more_columns_than_any_source_has(shop: Any) -> None:
    strict(shop, path="raw/orders.csv")
    write(shop, "orders.csv", [], header=",".join(f"c{number}" for number in range(20_000)))
    refused(shop, r"raw/orders\.csv line 1: 20,000 columns")


def test_a_file_that_is_refused_while_it_is_written_is_read_again(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    strict(shop, path="raw/orders.csv")
    file = write(shop, "orders.csv", [*shop.lines, "the first half of"])
    stage = sources.stage

    def staged(*arguments: Any) -> Any:
        try:
            return stage(*arguments)
        except InputError:
            write(shop, "orders.csv", shop.lines)
            raise

    monkeypatch.setattr(sources, "stage", staged)
    assert [day.rows for day in run(shop)] == [10] * 5
    assert len(file.read_text().splitlines()) == 51


def test_folders_named_key_value_change_nothing(shop: Any) -> None:
    plain = run(shop)
    shop.storage = {"work": str(shop.folder / "kind=z" / "work"), "lake": str(shop.folder / "lake2")}
    assert [day.fingerprint for day in run(shop)] == [day.fingerprint for day in plain]
    folder = shop.folder / "raw" / "kind=z"
    folder.mkdir(parents=True)
    pq.write_table(shop.table(), folder / "a[1].parquet")
    shop.data["sources"] = {"orders": {"path": "raw/*/*.parquet", "format": "parquet", "strict": True}}
    shop.storage |= {"lake": str(shop.folder / "lake3")}
    found = run(shop)
    assert [day.fingerprint for day in found] == [day.fingerprint for day in plain]
    assert counts(found[0], "raw/kind=z/a[1].parquet") == (50, 10, 0, 40, 0)
    shop.data["sources"]["orders"]["partition_columns"] = ["kind"]
    with pytest.raises(InputError, match="has a column kind, and lies in a folder kind="):
        run(shop)


def test_a_parquet_file_that_lacks_a_column_or_is_damaged(shop: Any) -> None:
    (shop.folder / "raw").mkdir()
    table = shop.table()
    pq.write_table(table.slice(0, 20), shop.folder / "raw" / "a.parquet")
    pq.write_table(table.slice(20).drop_columns("kind"), shop.folder / "raw" / "b.parquet")
    shop.data["sources"] = {"orders": {"path": "raw", "format": "parquet", "strict": True}}
    refused(shop, r"raw/b\.parquet has no column kind")
    (shop.folder / "raw" / "b.parquet").write_bytes(b"PAR1 is not enough")
    refused(shop, r"raw/b\.parquet is no whole Parquet file")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"path": "raw/**orders*"}, r"'\*\*orders\*' is no pattern.*raw/\*\*/\*orders\*"),
        ({"path": "a\nb"}, "plain characters"),
        ({"package": "__main__"}, "import name"),
        ({"package": "duckdb./etc"}, "import name"),
        ({"encoding": "utf-9"}, "no such encoding"),
        ({"encoding": "base64"}, "no encoding of texts"),
        ({"delimiter": "\n"}, "two different ASCII characters"),
        ({"delimiter": '"'}, "two different ASCII characters"),
        ({"delimiter": "€"}, "two different ASCII characters"),
        ({"header": False}, "needs `columns`"),
        ({"columns": ["a", "A"]}, "names a column twice"),
        ({"columns": ["a"], "types": {"b": "DOUBLE"}}, "columns lacks b"),
        ({"partition_columns": ["a"]}, "parquet"),
    ],
)
def test_what_the_spec_refuses(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Source.model_validate({"path": "x.csv"} | keys)


def test_a_package_whose_import_fails(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(name: str) -> None:
        raise RuntimeError(name)

    monkeypatch.setattr("importlib.util.find_spec", failing)
    strict(shop, package="somewhere", path="x.csv")
    refused(shop, "package somewhere is not installed")


# --- Cells --------------------------------------------------------------------------------------------------------


def test_only_what_the_spec_says_is_null(shop: Any, heard: pytest.LogCaptureFixture) -> None:
    shop.lines[:4] = [
        shop.order(number, "2024-01-01", kind=kind) for number, kind in enumerate(["NA", '"NA"', "", '""'])
    ]
    kinds = {}
    for name, keys in {"default": {"null_value": ""}, "na": {}, "both": {"null_value": ["NA", ""]}}.items():
        strict(shop, **keys)
        run(shop, FIRST, FIRST)
        rows = shop.lake.read("shop__features", where={"score_date": FIRST}).to_pylist()
        kinds[name] = [row["kind"] for row in rows[:4]]
    assert kinds == {"default": ["NA", "NA", None, ""], "na": [None, "NA", "", ""], "both": [None, "NA", None, ""]}
    assert "cells that are null, because they are 'NA': kind 1" in heard.text
    shop.data["sources"] = {"orders": {"path": "orders.csv", "types": {"amount": "DOUBLE"}}}
    run(shop, FIRST, FIRST)
    rows = shop.lake.read("shop__features", where={"score_date": FIRST}).to_pylist()
    assert [row["kind"] for row in rows[:4]] == [None] * 4  # as in the first release


def test_one_bad_cell_quarantines_one_row(shop: Any) -> None:
    strict(shop)
    shop.lines[17] = shop.order(17, "2024-01-02", amount="n/a")
    days = run(shop)
    assert [(day.rows, day.quarantined) for day in days] == [(10, 0), (9, 1), (10, 0), (10, 0), (10, 0)]
    [row] = shop.lake.read("shop__quarantine").to_pylist()
    assert row | {"raw_row": json.loads(row["raw_row"])} == {
        "score_date": SECOND,
        "reason": "amount: 'n/a' is not a DOUBLE",
        "file": "orders.csv",
        "line": 19,
        "raw_row": dict(zip(HEADER.split(","), shop.lines[17].split(","), strict=True)),
    }
    assert counts(days[0], "orders.csv") == (50, 10, 0, 40, 0)
    assert counts(days[1], "orders.csv") == (50, 9, 1, 40, 0)
    assert not any(day.changed for day in run(shop))
    assert shop.lake.find("shop__unreadable") is None


def test_a_bad_cell_takes_nobodys_place(shop: Any) -> None:
    """The contract numbers the rows of an id; an unreadable row does not count among them."""
    strict(shop)
    shop.contract = shop.contract.replace(
        "'no amount' END",
        "'no amount' WHEN ROW_NUMBER() OVER (PARTITION BY o.id ORDER BY o.amount NULLS FIRST) > 1 THEN 'twice' END",
    )
    shop.lines.append(shop.order(3, "2024-01-01", amount="n/a"))
    [day] = run(shop, FIRST, FIRST)
    assert (day.rows, day.quarantined) == (10, 1)


def test_a_row_whose_date_cannot_be_read(shop: Any, heard: pytest.LogCaptureFixture) -> None:
    strict(shop, types={"amount": "DOUBLE", "day": "DATE"})
    shop.lines[17] = shop.order(17, "2024-01-32")
    days = run(shop)
    assert [(day.rows, day.quarantined) for day in days] == [(10, 0), (9, 0), (10, 0), (10, 0), (10, 0)]
    assert "orders.csv line 19: day: '2024-01-32' is not a DATE: quarantined without a date" in heard.text
    assert counts(days[1], "orders.csv") == (50, 9, 1, 40, 1)
    [total] = in_all(day.files for day in days)
    assert (total.accepted, total.quarantined, total.outside) == (49, 1, 0)
    [row] = shop.lake.read("shop__unreadable").to_pylist()
    assert (row["source"], row["file"], row["line"]) == ("orders", "orders.csv", 19)


def test_a_contract_column_of_any_name_is_in_the_quarantine(shop: Any) -> None:
    for name in ("raw", "rejected", "reason", "file", "line"):
        shop.contract = shop.contract.replace("o.id,", f"'x ' || o.id AS {name}, o.id,", 1)
    shop.lines[0] = shop.order(0, "2024-01-01", amount=None)
    run(shop, FIRST, FIRST)
    [row] = shop.lake.read("shop__quarantine").to_pylist()
    assert json.loads(row["raw_row"])["raw"] == json.loads(row["raw_row"])["line"] == "x o0"


def test_instants_end_at_the_microsecond(shop: Any) -> None:
    table = shop.table()
    midnight = datetime(2024, 1, 1, tzinfo=UTC)
    days = [int((datetime.fromisoformat(day).replace(tzinfo=UTC) - midnight).days) for day in table["day"].to_pylist()]
    at = pa.array([1_704_067_200_000_226_999 + day * 86_400 * 10**9 for day in days], pa.timestamp("ns"))
    pq.write_table(table.append_column("at", at), shop.folder / "raw.parquet")
    shop.contract = shop.contract.replace("o.id,", "o.at AS moment, o.id,")
    shop.features = shop.features.replace("CAST(score_date AS TIMESTAMP)", "moment")
    shop.data["sources"] = {"orders": {"path": "raw.parquet", "format": "parquet"}}
    assert [day.rows for day in run(shop)] == [10] * 5
    assert set(shop.lake.read("shop__features")["score_moment"].to_pylist()) == {
        datetime(2024, 1, day, 0, 0, 0, 226, tzinfo=UTC) for day in range(1, 6)
    }


def test_a_column_that_the_spec_has_no_more_is_harmless(shop: Any) -> None:
    shop.data["columns"] = shop.spec().data.columns | {"twice": "DOUBLE"}
    features = shop.features
    shop.features = features.replace(" amount\n", " amount, amount * 2 AS twice\n")
    run(shop, FIRST, SECOND)
    del shop.data["columns"]
    shop.features = features
    days = run(shop)
    project = shop.project()
    from tallywright.data.inputs.versions import input_version

    judged = read_day(shop.lake, project.spec, input_version(shop.lake, project.spec, LAST))
    assert "twice" not in judged.table.column_names
    assert "twice" not in judged.missing
    assert [day.rows for day in days] == [10] * 5
    assert not any(day.changed for day in run(shop))


# --- Where each row goes, by its number ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contract", "expected"),
    [
        ("SELECT a FROM orders", 'SELECT "orders".source_row, a FROM "_numbered_orders" AS "orders"'),
        ("-- é\nselect a from Orders o where b", '-- é\nselect "o".source_row, a from "_numbered_orders" o where b'),
        ("SELECT * FROM orders", 'SELECT * FROM "_numbered_orders" AS "orders"'),
        ("SELECT o.*, x.a FROM orders o JOIN x ON 1=1", 'SELECT o.*, x.a FROM "_numbered_orders" o JOIN x ON 1=1'),
        ('SELECT x.* FROM "orders" JOIN x USING (k)',
         'SELECT "orders".source_row, x.* FROM "_numbered_orders" AS "orders" JOIN x USING (k)'),
        ("SELECT DISTINCT a FROM orders", None),
        ("SELECT a FROM orders GROUP BY a", None),
        ("SELECT a FROM orders UNION SELECT a FROM orders", None),
        ("WITH orders AS (SELECT 1 AS a) SELECT a FROM orders", None),
        ("SELECT a FROM (SELECT * FROM orders)", None),
        ("SELECT a FROM elsewhere", None),
        ("SELECT 1", None),
        ("SELEC a FROM orders", None),
    ],
)  # fmt: skip
def test_a_plain_contract_is_given_the_numbers(contract: str, expected: str | None) -> None:
    found = numbered(Query(contract, {}, "contract.sql"), {"orders", "x"})
    assert (found and found.text) == expected


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_raw_column_called_source_row_is_the_files(shop: Any, kind: str) -> None:
    header, lines = f"{HEADER},source_row", [f"{line},x{place}" for place, line in enumerate(shop.lines)]
    if kind == "csv":
        write(shop, "a.csv", lines, header=header)
    else:
        (shop.folder / "raw").mkdir()
        pq.write_table(shop.table(lines, header=header), shop.folder / "raw" / "a.parquet")
    shop.contract = shop.contract.replace("o.id,", "o.id, o.source_row AS mine,")
    shop.features = shop.features.replace(" kind,", " mine AS kind,")
    strict(shop, path="raw", format=kind, types={"amount": "DOUBLE"} if kind == "csv" else {})
    [day] = run(shop, FIRST, FIRST)
    assert shop.lake.read("shop__features")["kind"].to_pylist() == [f"x{place}" for place in range(10)]
    assert counts(day, f"raw/a.{kind}") == (50, 10, 0, 40, 0)


NAMES = ["source_row", "__source_row", "__unreadable", "____UNREADABLE", "__raw_row", "file_index", "File_Row_Number"]
"""What rows are numbered by and judged with, here and in the engine; and what these names give way to."""


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("names", [NAMES[:1], NAMES[1:2], NAMES[2:3], NAMES[4:5], NAMES[:2], NAMES[5:], NAMES])
def test_a_raw_column_may_have_any_name(shop: Any, kind: str, names: list[str]) -> None:
    header, own = ",".join([HEADER, *names]), ",".join(f"{name}!" for name in names)
    lines = [f"{line},{own}" for line in [*shop.lines, shop.order(90, "2024-01-01", amount="n/a")]]
    if kind == "csv":
        write(shop, "a.csv", lines, header=header)
    else:
        (shop.folder / "raw").mkdir()
        pq.write_table(shop.table(lines[:-1], header=header), shop.folder / "raw" / "a.parquet")
    shop.contract = shop.contract.replace(
        "o.id,", f'o.id, concat({", ".join(f"""o."{one}" """ for one in names)}) AS own,'
    )
    shop.features = shop.features.replace(" kind,", " own AS kind,")
    strict(shop, path="raw", format=kind, types={"amount": "DOUBLE"} if kind == "csv" else {})
    [day] = run(shop, FIRST, FIRST)
    assert shop.lake.read("shop__features")["kind"].unique().to_pylist() == [own.replace(",", "")]
    assert day.rows == 10
    # Where the file has a `source_row` the contract's rows have no number of ours: the row has no date then.
    if kind == "csv" and "source_row" not in names:
        [rejected] = shop.lake.read("shop__quarantine").to_pylist()
        assert rejected["reason"] == "amount: 'n/a' is not a DOUBLE"
        assert json.loads(rejected["raw_row"])[names[0]] == f"{names[0]}!"


@pytest.mark.parametrize("name", ["source_row", "__source_row", "file_index", "file_row_number"])
def test_a_folder_may_give_a_column_of_any_name(shop: Any, name: str) -> None:
    folder = shop.folder / "raw" / f"{name}=7"
    folder.mkdir(parents=True)
    pq.write_table(shop.table(), folder / "a.parquet")
    shop.contract = shop.contract.replace("o.id,", f"o.id, CAST(o.{name} AS VARCHAR) AS own,")
    shop.features = shop.features.replace(" kind,", " own AS kind,")
    strict(shop, path="raw/**/*.parquet", format="parquet", types={}, partition_columns=[name])
    [day] = run(shop, FIRST, FIRST)
    assert day.rows == 10
    assert shop.lake.read("shop__features")["kind"].unique().to_pylist() == ["7"]
    assert counts(day, f"raw/{name}=7/a.parquet") == (50, 10, 0, 40, 0)


@pytest.mark.parametrize("name", ["file_index", "filename", "__file"])
def test_what_folders_say_does_not_hang_on_the_columns_of_the_files(shop: Any, name: str) -> None:
    for zone, lines in {"7": shop.lines[:5], "8": shop.lines[5:]}.items():
        folder = shop.folder / "raw" / f"zone={zone}"
        folder.mkdir(parents=True)
        own = pa.array([0 if zone == "8" else 1] * len(lines))  # the place of the other file
        pq.write_table(shop.table(lines).append_column(name, own), folder / "a[1].parquet")
    shop.contract = shop.contract.replace("o.id,", f"o.id, concat(o.zone, '/', o.{name}) AS own,")
    shop.features = shop.features.replace(" kind,", " own AS kind,")
    strict(shop, path="raw/**/*.parquet", format="parquet", types={}, partition_columns=["zone"])
    run(shop, FIRST, FIRST)
    assert sorted(shop.lake.read("shop__features")["kind"].to_pylist()) == ["7/1"] * 5 + ["8/0"] * 5


CTE = """
WITH dated AS (SELECT CAST(o.day AS DATE) AS score_date, o.* FROM orders o)
SELECT score_date, CASE WHEN amount IS NULL THEN 'no amount' END AS reject_reason, id, kind, amount, outcome, known_at
FROM dated WHERE score_date BETWEEN :lookback_date AND :to_date
"""


@given(seed=st.integers(0, 2**32), form=st.sampled_from(["plain", "star", "join", "cte", "without"]))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_raw_rows_are_accepted_quarantined_or_outside(shop: Any, seed: int, form: str) -> None:
    """Whatever the files and the contract's form; and only where rows have no number is that unknown, never wrong."""
    number = random.Random(seed)
    plain = shop.contract
    contracts = {
        "plain": plain,
        "star": plain.replace("o.id, o.kind, o.amount, o.outcome, o.known_at", "o.*"),
        "join": plain.replace("FROM orders o WHERE", "FROM orders o LEFT JOIN (SELECT 1 AS k) s ON k = 2 WHERE"),
        "cte": CTE.replace("id, kind,", "id, source_row, kind,"),
        "without": CTE,
    }
    made: dict[str, dict[str, int]] = {}
    strict(shop, path="raw/orders-*.csv")
    for old in (shop.folder / "raw").glob("*"):
        old.unlink()
    for place in range(number.randrange(1, 4)):
        tally, lines = made.setdefault(f"raw/orders-{place}.csv", dict.fromkeys(("rows", "good", "bad"), 0)), []
        for row in range(number.randrange(20)):
            day = number.choice(["2024-01-01", "2024-01-01", "2023-12-30", "2024-02-01"])
            amount = number.choice([1.5, 2.5, None, "n/a"])
            lines.append(shop.order(100 * place + row, day, amount=amount))
            tally["rows"] += 1
            if day == "2024-01-01":
                tally["good" if isinstance(amount, float) else "bad"] += 1
        write(shop, f"orders-{place}.csv", lines)
    shop.contract = contracts[form]
    try:
        with RawRun(shop.project(), FIRST, FIRST) as opened:
            day = opened.day(FIRST)
    finally:
        shop.contract = plain
    assert [file.file for file in day.files] == list(made)
    for file in day.files:
        expected = made[file.file]
        if form == "without":
            assert file.accepted is None or len(made) == 1
            continue
        assert (file.rows, file.accepted, file.quarantined) == (expected["rows"], expected["good"], expected["bad"])
        assert file.rows == file.accepted + file.quarantined + file.outside
    assert day.accepted == sum(tally["good"] for tally in made.values())
    if form != "without":
        assert day.rejected.num_rows == sum(tally["bad"] for tally in made.values())


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("IO Error: Could not write file: No space left on device", StorageError),
        ("IO Error: Cannot open file: Permission denied", StorageError),
        ("IO Error: Could not establish connection to host", StorageError),
        ("IO Error: Unexpected end of GZIP stream", InputError),
        ("IO Error: corrupted file", InputError),
    ],
)
def test_only_what_the_system_says_is_worth_a_retry(text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind), sql_errors("here", "look"):
        raise duckdb.IOException(text)
