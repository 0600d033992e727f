"""What is wrong with a package is refused by the check that names it: every fault alone, and several together."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from tallywright.gates.operations.checks import _contract
from tallywright.gates.operations.contract import NOT_FINITE, ODD_VALUES, REFUSES, tried
from tallywright.gates.operations.gate import operations_gate
from tallywright.gates.operations.pickles import holds_pickle
from tallywright.gates.operations.samples import of_schema
from tallywright.packaging.manifest import runtime_requirements
from tallywright.packaging.predictor import Predictor
from tallywright.packaging.tensors import dump_tensors
from tallywright.records import Verdict

RECORDED = runtime_requirements()
HEAVY = dump_tensors({"weight": np.zeros(24 * 2**20, np.float32)})
"""96 MiB."""
SLOW = {"max_latency_ms_per_1000": 1e-9, "max_latency_ms": {"rows_100000": {"p95": 1e-9}}}


def torch_archive() -> bytes:
    """As `torch.save` writes it: an archive with a pickle in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(OrderedDict(weight=1), protocol=2))
    return file.getvalue()


def schema_with(kind: str) -> bytes:
    return json.dumps([{"name": "x", "type": kind}, {"name": "colour", "type": "string"}]).encode()


def failed(report):
    return [check.name for check in report.failed]


MADE = {
    "scores unlike those of training": ({"parity_shift": 0.01}, ["parity_with_training"]),
    "a missing dependency": ({"requirements": RECORDED | {"absent": "1.0"}}, ["dependencies"]),
    "a dependency that is too old here": ({"requirements": RECORDED | {"numpy": "99.0"}}, ["dependencies"]),
    "a dependency that nobody recorded": ({"requirements": {"onnxruntime": "1.20"}}, ["dependencies"]),
    "a training library to score with": (
        {"requirements": RECORDED | {"scikit-learn": "1.0"}},
        ["slim_imports"],
    ),
    "nobody to answer for it": ({"owner": ""}, ["owner_named"]),
    "classes that the graph has not": (
        {"task": "multiclass", "classes": ("a", "b", "c")},
        [
            "scores_sample",
            "schema_accepts",
            "schema_refuses",
            "schema_odd_values",
            "latency_ms_per_1000",
            "logs_seen",
            "counters_seen",
        ],
    ),
}
FILES = {
    "a pickle inside": ({"features/late.bin": pickle.dumps(np.float64)}, ["no_pickle_inside"]),
    "a pickle in an archive": ({"features/late.pt2": torch_archive()}, ["no_pickle_inside"]),
    "a schema that takes texts for numbers": (
        {"input_schema.json": schema_with("string")},
        ["schema_of_the_spec", "schema_accepts", "schema_refuses", "schema_odd_values"],
    ),
    "a schema that takes whole numbers for numbers": (
        {"input_schema.json": schema_with("int64")},
        ["schema_of_the_spec"],
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("fault", MADE)
def test_a_package_that_was_made_wrong(project, package, fault):
    how, checks = MADE[fault]
    assert failed(operations_gate(project, package(**how))) == checks


@pytest.mark.long
@pytest.mark.parametrize("fault", FILES)
def test_a_package_with_a_wrong_file(project, package, forged, fault):
    files, checks = FILES[fault]
    assert failed(operations_gate(project, forged(package(), files))) == checks


def test_faults_do_not_hide_one_another(package, forged, with_section):
    wrong = package(parity_shift=0.01, owner="", requirements=RECORDED | {"absent": "1.0", "numpy": "99"})
    bad = forged(wrong, FILES["a pickle inside"][0] | FILES["a schema that takes whole numbers for numbers"][0])
    report = operations_gate(with_section("gates", max_memory_mb=1, **SLOW), bad)
    assert failed(report) == [
        "dependencies",
        "no_pickle_inside",
        "schema_of_the_spec",
        "parity_with_training",
        "latency_ms_per_1000",
        "latency_ms_100000",
        "peak_memory_mb",
        "owner_named",
    ]
    assert report.observed("dependencies").startswith("absent 1.0: not installed; numpy 99: 2.")
    assert report.observed("no_pickle_inside") == "features/late.bin"
    assert report.observed("schema_of_the_spec") == "x is int64, declared DOUBLE"


def test_a_graph_of_other_classes(project, package):
    how, checks = MADE["classes that the graph has not"]
    report = operations_gate(project, package(**how))
    assert failed(report) == checks
    assert "broadcast" in report.failed[0].evidence


@pytest.mark.parametrize("name", [pytest.param("model.onnx", marks=pytest.mark.long), "input_schema.json"])
def test_one_byte_changed(package, project, name):
    candidate = package()
    content = bytearray((candidate.folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (candidate.folder / name).write_bytes(bytes(content))
    report = operations_gate(project, candidate)
    assert failed(report)[0] == "loads_in_clean_process"
    assert f"{name} was altered" in report.failed[0].evidence


@pytest.mark.long
def test_a_package_that_needs_more_memory_than_it_may(package, forged, with_section):
    light = operations_gate(with_section("gates"), package()).observed("peak_memory_mb")
    bounded = with_section("gates", max_memory_mb=light + 64)
    assert failed(operations_gate(bounded, package())) == []
    heavy = forged(package("heavy"), {"model.safetensors": HEAVY})
    assert failed(operations_gate(bounded, heavy)) == ["peak_memory_mb"]


def test_a_package_that_accepts_everything(package):
    candidate = package()
    predictor = Predictor(candidate)
    whole = of_schema(candidate)

    def lenient(batch):
        """Takes what is missing from elsewhere, and any type for any other."""
        sound = batch.schema.names == whole.schema.names and batch.schema.types == whole.schema.types
        return predictor(batch if sound else whole)

    check = _contract(REFUSES, "", [case for case in tried(candidate, lenient) if case["check"] == REFUSES])
    assert (check.verdict, check.observed) == (Verdict.FAIL, "0 of 5 batches")
    assert "no column x: scored, not refused" in check.evidence


def test_no_score_for_a_null_is_a_warning_and_an_error_a_failure():
    case = {"check": ODD_VALUES, "what": "nulls", "expected": "scored"}
    assert _contract(ODD_VALUES, "", [case | {"found": f"{NOT_FINITE}: x"}]).verdict is Verdict.WARN
    assert _contract(ODD_VALUES, "", [case | {"found": "PackageError: no"}]).verdict is Verdict.FAIL
    infinite = case | {"what": "positive infinities", "found": "PackageError: no"}
    assert _contract(ODD_VALUES, "", [infinite]).verdict is Verdict.WARN


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_any_protocol_is_found(protocol):
    assert holds_pickle(pickle.dumps({"weights": np.arange(3), "name": "x"}, protocol=protocol))


@pytest.mark.parametrize("content", [b"", b".", b"N.", b"select 1.", b"\x80\x04.", b"PK\x03\x04 torn", HEAVY[:2000]])
def test_what_is_no_pickle_is_let_through(content):
    assert not holds_pickle(content)
