"""One score is found by its key, whatever the key's type is."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from synthetic import DAY, make_spec

from tallywright.data.delta.lake import Lake
from tallywright.data.keys import key_text, value_text
from tallywright.errors import InputError
from tallywright.reporting.trace import score_of
from tallywright.spec.model import ModelSpec

VALUES: dict[str, tuple[pa.DataType, list[Any], list[str]]] = {
    "VARCHAR": (pa.string(), ["7", "o'7"], ["7", "o'7"]),
    "BIGINT": (pa.int64(), [7, -8], ["7", "-8"]),
    "INTEGER": (pa.int32(), [7, 8], ["7", "8"]),
    "BOOLEAN": (pa.bool_(), [True, False], ["true", "false"]),
    "DOUBLE": (pa.float64(), [0.1, 1e300], ["0.1", "1e300"]),
    "FLOAT": (pa.float32(), [0.10000000149011612, 2.5], ["0.1", "2.5"]),
    "DECIMAL(10,2)": (pa.decimal128(10, 2), [Decimal("1.50"), Decimal("-0.07")], ["1.5", "-0.07"]),
    "TIMESTAMP": (
        pa.timestamp("us", "UTC"),
        [datetime(2024, 2, 1, 4, 0, 0, 7, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)],
        ["2024-02-01T04:00:00.000007Z", "2024-02-01 00:00:00"],
    ),
    "DATE": (pa.date32(), [date(2024, 2, 1), date(2024, 2, 2)], ["2024-02-01", "2024-02-02"]),
}


def _spec(*kinds: str) -> ModelSpec:
    names = [f"k{index}" for index in range(len(kinds))]
    columns = {"score_moment": "TIMESTAMP", "x0": "DOUBLE"} | dict(zip(names, kinds, strict=True))
    data = {"key": names, "columns": columns, "sources": {"raw": {"path": "raw.csv"}}}
    return make_spec(1, 0, data=data)


def _put(lake: Lake, spec: ModelSpec, **keys: pa.Array) -> None:
    size = len(keys["k0"])
    rows = pa.table(keys | {"score_date": [DAY] * size, "probability": pa.array(range(size), pa.float32())})
    lake.replace(spec.table("scores"), rows, slice={"score_date": DAY}, partition_by=("score_date",))


@pytest.mark.parametrize("kind", VALUES)
def test_a_score_is_found_by_a_key_of_any_type(kind: str, tmp_path) -> None:
    lake, spec = Lake(str(tmp_path)), _spec(kind)
    arrow, values, texts = VALUES[kind]
    _put(lake, spec, k0=pa.array(values, arrow))
    for number, text in enumerate(texts):
        assert score_of(lake, spec, text, DAY)["probability"] == number
        assert score_of(lake, spec, value_text(values[number], joined=False), DAY)["probability"] == number


HOSTILE = [
    "A/A",
    "",
    " ",
    "%",
    "%2F",
    "a%2Fb",
    "a=b",
    "k1=7",
    "'; drop",
    '"',
    "*",
    "?",
    "a\nb",
    "\u202egnp.exe",
    "🙂",
    "x" * 1000,
    "--json",
]


@pytest.mark.parametrize("columns", [1, 2])
def test_a_key_of_any_text_is_found_as_it_is_printed(columns: int, tmp_path) -> None:
    lake, spec = Lake(str(tmp_path)), _spec(*["VARCHAR"] * columns)
    keys = [[value, HOSTILE[-number]] for number, value in enumerate(HOSTILE)]
    _put(lake, spec, **{f"k{at}": pa.array([key[at] for key in keys]) for at in range(columns)})
    for number, key in enumerate(keys):
        assert score_of(lake, spec, key_text(key[:columns]), DAY)["probability"] == number


def test_an_unescaped_key_is_found_unless_it_may_mean_several(tmp_path) -> None:
    lake, spec = Lake(str(tmp_path)), _spec("VARCHAR", "VARCHAR")
    _put(lake, spec, k0=pa.array(["A/A", "B", "B/C", "50%25"]), k1=pa.array(["o1", "C/o2", "o2", "%41"]))
    assert score_of(lake, spec, "A/A/o1", DAY)["probability"] == 0
    assert score_of(lake, spec, "k0=A/A k1=o1", DAY)["probability"] == 0
    assert score_of(lake, spec, "k0=B/C, k1=o2", DAY)["probability"] == 2
    assert score_of(lake, spec, "50%25/%41", DAY)["probability"] == 3
    with pytest.raises(InputError, match="may mean 2 keys") as caught:
        score_of(lake, spec, "B/C/o2", DAY)
    assert caught.value.expected == "B/C%2Fo2 or B%2FC/o2"


def test_a_key_of_several_columns_is_joined_by_slashes(tmp_path) -> None:
    lake, spec = Lake(str(tmp_path)), _spec("VARCHAR", "BIGINT")
    _put(lake, spec, k0=pa.array(["a", "a"]), k1=pa.array([1, 2]))
    assert score_of(lake, spec, "a/2", DAY)["probability"] == 1
    with pytest.raises(InputError, match="has 1 parts"):
        score_of(lake, spec, "a", DAY)


@pytest.mark.parametrize("text", ["seven", "", "7; drop table x", "7.5", "99999999999999999999"])
def test_a_key_that_is_not_of_its_type_is_refused(text: str, tmp_path) -> None:
    lake, spec = Lake(str(tmp_path)), _spec("BIGINT")
    _put(lake, spec, k0=pa.array([7, 8]))
    with pytest.raises(InputError, match="cannot be read") as caught:
        score_of(lake, spec, text, DAY)
    assert "BIGINT" in caught.value.expected


def test_a_key_without_a_score_is_refused(tmp_path) -> None:
    lake, spec = Lake(str(tmp_path)), _spec("BIGINT")
    _put(lake, spec, k0=pa.array([7, 8]))
    with pytest.raises(InputError, match="no score of '9'"):
        score_of(lake, spec, "9", DAY)
