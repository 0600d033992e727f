from __future__ import annotations

import numpy as np

from tallywright.gates.operations.checks import _percentiles
from tallywright.gates.operations.gate import operations_gate
from tallywright.gates.operations.samples import as_batch
from tallywright.records import Verdict

LINES = [
    "dependencies",
    "loads_in_clean_process",
    "no_pickle_inside",
    "schema_of_the_spec",
    "pickle_off",
    "network_off",
    "slim_imports",
    "parity_rows",
    "parity_with_training",
    "scores_finite",
    "schema_accepted",
    "classes",
    "independent_of_the_batch",
    "schema_accepts",
    "schema_refuses",
    "schema_odd_values",
    "latency_ms_per_1000",
    "latency_ms_1",
    "latency_ms_1000",
    "latency_ms_100000",
    "peak_memory_mb",
    "logs_seen",
    "counters_seen",
    "fallback_scores",
    "rollback_target",
    "owner_named",
]
MEASURED = ("loads_in_clean_process", "latency_ms", "peak_memory_mb")


def measured_apart(report):
    return [
        check.model_copy(update={"observed": None}) if check.name.startswith(MEASURED) else check
        for check in report.checks
    ]


def test_a_sound_package_passes_every_line_of_the_checklist(project, package):
    """And an equal one gets an equal report, but for what is measured."""
    candidate = package()
    report = operations_gate(project, candidate)
    assert report.verdict is Verdict.PASS, report.failed
    assert (report.gate, report.model, report.subject) == ("operations", "toy", candidate.digest)
    assert [check.name for check in report.checks] == LINES
    assert measured_apart(operations_gate(project, package("b"))) == measured_apart(report)


def test_bounds_on_latency_are_percentiles_of_calls(with_section):
    bounds = with_section("gates", max_latency_ms={"rows_1": {"p50": 2, "p99": 4}}).spec.gates.max_latency_ms
    check = _percentiles(1, [1.0] * 98 + [3.0, 5.0], bounds)
    assert (check.verdict, check.bound) == (Verdict.PASS, "p50 <= 2, p99 <= 4")
    assert check.observed == "p50 1, p95 1, p99 3 (100 calls)"
    assert _percentiles(1, [1.0] * 97 + [5.0, 5.0, 5.0], bounds).verdict is Verdict.FAIL
    assert _percentiles(1_000, [9.0], bounds).verdict is Verdict.PASS


def test_rows_made_from_model_inputs_give_them_back(package):
    candidate = package()
    inputs, _ = candidate.parity()
    again = candidate.preprocess.transform(as_batch(candidate, inputs))
    np.testing.assert_array_equal(again.numeric, inputs.numeric)
    np.testing.assert_array_equal(again.categorical, inputs.categorical)
