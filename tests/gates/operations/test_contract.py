"""The batches that a package is tried on have the types of its schema, whatever these are."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tallywright.errors import InputError
from tallywright.gates.operations import latency
from tallywright.gates.operations.contract import cases, tried
from tallywright.gates.operations.samples import _categories, of_schema
from tallywright.packaging.predictor import Predictor

NUMBERS = ("int8", "int16", "int32", "int64", "float", "double", "bool", "decimal128(2, 2)", "decimal128(38, 0)")


@pytest.mark.parametrize("kind", NUMBERS)
def test_every_type_of_a_number_has_its_outcomes(package, forged, kind) -> None:
    schema = [{"name": "x", "type": kind}, {"name": "colour", "type": "string"}]
    candidate = forged(package(), {"input_schema.json": json.dumps(schema).encode()})
    assert of_schema(candidate).schema.equals(candidate.input_schema)
    outcomes = tried(candidate, Predictor(candidate))
    assert [one for one in outcomes if one["found"] != one["expected"]] == []
    assert {one["check"] for one in outcomes} == {"schema_accepts", "schema_refuses", "schema_odd_values"}


@pytest.mark.parametrize(
    ("known", "kind"), [(("1", "-7"), pa.int32()), (("false", "true"), pa.bool_()), ((), pa.int64()), ((), pa.string())]
)
def test_every_type_of_a_category_can_be_made(known, kind) -> None:
    made = _categories(known, kind)
    assert made.type == kind
    assert len(made) == 64


def test_each_column_is_left_out_and_mistyped_once(package) -> None:
    refused = [case.what for case in cases(package()) if case.expected == "refused"]
    assert refused == [
        "no column x", "x of another type", "no column colour", "colour of another type", "x twice",
    ]  # fmt: skip


def test_the_columns_are_named_whose_odd_value_has_no_score(package) -> None:
    candidate = package()
    predictor = Predictor(candidate)

    def blind(batch):
        """Has no score where x is null, and knows no column by its name."""
        try:
            outputs = predictor(batch)
        except InputError:
            raise InputError("something is wrong") from None
        score = pc.if_else(pc.is_null(batch.column("x")), float("nan"), outputs.column("probability"))
        return outputs.set_column(1, outputs.schema.field(1), score.cast(pa.float32()))

    found = {one["what"]: one["found"] for one in tried(candidate, blind) if one["found"] != one["expected"]}
    assert found.pop("nulls") == "scored, not finite: x"
    assert set(found.values()) == {"refused without its name: something is wrong"}


@pytest.mark.parametrize(("milliseconds", "calls"), [(1, 100), (300, 3), (5_000, 1)])
def test_a_slow_model_is_timed_by_fewer_calls(monkeypatch, milliseconds, calls) -> None:
    clock = [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock[0])
    times = latency.time_calls(lambda: clock.append(clock.pop() + milliseconds / 1000), 100)
    assert times == pytest.approx([milliseconds] * calls)
