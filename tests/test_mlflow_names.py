"""Values of the data in names of metrics: equal names only for equal values, all of them names that MLflow takes."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tallywright.errors import UsageError
from tallywright.mlflow_names import LONGEST, decode, encode, metric_name, slice_name

HOSTILE = ["", " ", "   ", ".", "..", "...", "/", "//", "a/b", "../../north", "x=y", "x/y", "x&y", ":", ":null", ":3A"]
HOSTILE += [
    "None",
    "null",
    "%2F",
    "*",
    "?",
    '"',
    "'",
    "\n",
    "\r\n",
    "\0",
    "CON",
    "Food & Drink",
    "🙂",
    "שלום",
    "\u202e",
]
HOSTILE += ["\u202e", "é", "e\u0301", "a" * 80, "a" * 81, "x" * 1000, "/" * 1000, "🙂" * 1000, "\ud800"]
values = st.text(st.characters(), max_size=30) | st.sampled_from(HOSTILE) | st.none()
long_values = values | st.text(min_size=60, max_size=1000)


@given(long_values)
@example("x" * 1000)
def test_a_short_name_gives_its_value_back(value: str | None) -> None:
    name = encode(value)
    assert len(name) <= LONGEST
    if ":sha256:" not in name:
        assert decode(name) == value
    else:
        assert value is not None
        assert name.endswith(hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest())
        with pytest.raises(UsageError, match=r"metric_names\.json|cannot be decoded"):
            decode(name)


@given(long_values, long_values)
@example("x=y", "x/y")
@example("x" * 1000, "x" * 999 + "y")
@example("", None)
@example(None, "None")
def test_other_values_have_other_names(one: str | None, other: str | None) -> None:
    assume(one != other)
    assert encode(one) != encode(other)
    assert slice_name("region", one) != slice_name("region", other)
    assert metric_name(slice_name("c", one), "rows") != metric_name(slice_name("c", other), "rows")


@given(long_values)
def test_mlflow_takes_every_name(value: str | None) -> None:
    validation = pytest.importorskip("mlflow.utils.validation")
    longest_column = "c" * 127
    validation._validate_metric_name(metric_name(slice_name(longest_column, value), "calibration_error"))


def test_names_of_ordinary_values_are_what_they_were() -> None:
    assert metric_name("model", "roc_auc") == "model/roc_auc"
    assert metric_name(slice_name("carrier", "9E"), "log_loss") == "slice/carrier/9E/log_loss"
    assert metric_name(slice_name("region", "Food & Drink"), "rows") == "slice/region/Food :26 Drink/rows"


@pytest.mark.parametrize("text", [":26x:", ":zz", "a/b", ":C3", "a:sha256:", "x" * 90])
def test_what_is_no_encoded_value_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be decoded"):
        decode(text)
