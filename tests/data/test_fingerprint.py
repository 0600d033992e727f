from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.data import fingerprint
from tallywright.data.fingerprint import RowDigest, digest, digest_hashes, hash_bytes, row_hashes
from tallywright.errors import TableContractError

SCHEMA = pa.schema(
    [
        ("text", pa.string()), ("number", pa.float64()), ("whole", pa.int64()), ("flag", pa.bool_()),
        ("day", pa.date32()), ("moment", pa.timestamp("us", "UTC")), ("list", pa.list_(pa.float32())),
    ]
)  # fmt: skip
ROW = st.fixed_dictionaries(
    {
        "text": st.none() | st.text(max_size=20),
        "number": st.none() | st.floats(),
        "whole": st.none() | st.integers(-(2**63), 2**63 - 1),
        "flag": st.none() | st.booleans(),
        "day": st.none() | st.dates(),
        "moment": st.none() | st.datetimes(timezones=st.just(UTC)),
        "list": st.none() | st.lists(st.floats(width=32), max_size=3),
    }
)
ROWS = st.lists(ROW, max_size=12)


def table(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@given(ROWS, st.randoms())
def test_order_and_chunks_do_not_matter(rows, random):
    whole = digest(table(rows), SCHEMA.names)
    shuffled = rows[:]
    random.shuffle(shuffled)
    cut = random.randint(0, len(rows))
    parts = [table(shuffled[:cut]), table(shuffled[cut:])]
    assert digest(pa.concat_tables(parts), SCHEMA.names[::-1]) == whole
    assert digest(parts[0], SCHEMA.names) + digest(parts[1], SCHEMA.names) == whole
    assert digest(table(rows).slice(0, cut), SCHEMA.names) + digest(table(rows).slice(cut), SCHEMA.names) == whole


@given(ROWS)
def test_storage_does_not_matter(rows):
    plain = table(rows)
    stored = pa.table(
        {
            "text": plain["text"].dictionary_encode(),
            "number": plain["number"],
            "whole": plain["whole"],
            "flag": plain["flag"],
            "day": plain["day"],
            "moment": plain["moment"],
            "list": plain["list"].cast(pa.large_list(pa.float32())),
        }
    )
    large = stored.set_column(0, "text", plain["text"].cast(pa.large_string()))
    assert digest(stored, SCHEMA.names) == digest(plain, SCHEMA.names) == digest(large, SCHEMA.names)


@given(ROWS, ROWS)
def test_different_rows_have_different_digests(left, right):
    def canonical(rows):
        return sorted(repr(sorted(row.items())) for row in rows)

    same = digest(table(left), SCHEMA.names).hex == digest(table(right), SCHEMA.names).hex
    assert same == (canonical(left) == canonical(right))


def test_through_parquet(tmp_path):
    rows = table([{"text": "é" * 9, "number": -0.0, "whole": 1}, {"text": "", "number": math.nan, "flag": False}])
    pq.write_table(rows, tmp_path / "rows.parquet")
    assert digest(pq.ParquetFile(tmp_path / "rows.parquet").read(), SCHEMA.names) == digest(rows, SCHEMA.names)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([None], [""]), ([None], ["\0"]), (["a"], ["a\0"]), (["a" * 8], ["a" * 16]), (["ab", "c"], ["a", "bc"]),
        (["x", "x"], []), (["x", "x", "y"], ["y", "x"]), ([None, None], [None]),
    ],
)  # fmt: skip
def test_near_misses_of_texts(left, right):
    def of(values):
        return digest(pa.table({"c": pa.array(values, pa.string())}), ["c"])

    assert of(left) != of(right)


def test_near_misses_of_numbers_and_names():
    values = [pa.array([0.0]), pa.array([-0.0]), pa.array([math.nan]), pa.array([None], pa.float64()), pa.array([0]),
              pa.array([False]), pa.array([date(1970, 1, 1)]), pa.array([datetime(1970, 1, 1, tzinfo=UTC)]),
              pa.array(["0"]), pa.array([b"0"]), pa.array([Decimal("0.0")]), pa.array([[0.0]])]  # fmt: skip
    digests = {digest(pa.table({name: value}), [name]).hex for value in values for name in ("a", "b")}
    assert len(digests) == 2 * len(values)
    swapped = [pa.table({"a": [1, 2], "b": [2, 1]}), pa.table({"a": [1, 2], "b": [1, 2]})]
    assert digest(swapped[0], ["a", "b"]) != digest(swapped[1], ["a", "b"])


def test_widths_and_every_nan_are_one_content():
    def of(array):
        return digest(pa.table({"a": array}), ["a"])

    assert of(pa.array([1, 2], pa.int8())) == of(pa.array([1, 2], pa.int64()))
    assert of(pa.array([0.5], pa.float32())) == of(pa.array([0.5], pa.float64()))
    assert of(pa.array([math.nan])) == of(pa.array([-math.nan]))


def test_the_digest_never_changes():
    """A stored fingerprint must mean the same after an upgrade; these values are written down for ever."""
    rows = pa.table(
        {"k": ["a", "häßlich und lang", None], "x": [1.5, None, -2.0], "n": pa.array([1, 2, 3], pa.int32())}
    )
    assert digest(rows, ["k", "x", "n"]).hex == PINNED
    assert RowDigest().hex == PINNED_EMPTY


PINNED = "06c5d897e5de51689943210a4dc66925abad55a4dbb06308daa3408b97db9ec0"
PINNED_EMPTY = "1c10b03518fff8fc374a20bbf5107c66496656bec0662d6c6db123d4a898f121"


def test_a_column_that_is_not_there():
    with pytest.raises(TableContractError, match="no column b"):
        row_hashes(pa.table({"a": [1]}), ["b"])


def test_sums_are_modulo_two_to_the_64():
    big = RowDigest(rows=1, total=2**64 - 1, mixed=2**64 - 1, folded=1)
    assert big + big == RowDigest(rows=2, total=2**64 - 2, mixed=2**64 - 2, folded=0)
    assert RowDigest.from_json(big.to_json()) == big


def _mixed(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def _hashed(text: bytes) -> int:
    """The definition, a string at a time: the length, then the words of eight bytes, the last one padded with zeros."""
    total = _mixed(len(text))
    for start in range(0, len(text), 8):
        total = _mixed(total ^ int.from_bytes(text[start : start + 8], "little"))
    return total


@given(
    st.lists(st.binary(max_size=40))
    | st.integers(0, 40).flatmap(lambda length: st.lists(st.binary(min_size=length, max_size=length)))
    | st.integers(0, 30).flatmap(lambda least: st.lists(st.binary(min_size=least, max_size=least + 9))),
    st.integers(0, 3),
)
def test_texts_of_one_length_and_of_many_hash_as_defined(texts: list[bytes], offset: int) -> None:
    array = pa.array(texts, pa.large_binary())
    assert hash_bytes(array).tolist() == [_hashed(text) for text in texts]
    assert hash_bytes(array.slice(offset)).tolist() == [_hashed(text) for text in texts[offset:]]


@given(ROWS, st.integers(1, 5))
def test_the_size_of_a_chunk_does_not_matter(rows, chunk):
    whole, hashes = digest(table(rows), SCHEMA.names), row_hashes(table(rows), SCHEMA.names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "_CHUNK_ROWS", chunk)
        assert digest(table(rows), SCHEMA.names) == whole == digest_hashes(hashes)
        assert row_hashes(table(rows), SCHEMA.names).tolist() == hashes.tolist()
    assert digest_hashes(hashes) == whole
