from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from tallywright.gates.operations import operations_gate
from tallywright.gates.probe import as_batch
from tallywright.records import ModelRef, Verdict

from .conftest import DAY


def failed(report):
    return [check.name for check in report.failed]


def test_a_sound_package_passes_every_line_of_the_checklist(project, package):
    candidate = package()
    report = operations_gate(project, candidate)
    assert report.verdict is Verdict.PASS, report.failed
    assert (report.gate, report.model, report.subject) == ("operations", "toy", candidate.digest)
    assert {"loads_in_clean_process", "parity_with_training", "latency_ms_per_1000", "owner_named"} <= {
        check.name for check in report.checks
    }


def test_scores_unlike_those_of_training_fail(project, package):
    assert failed(operations_gate(project, package(parity_shift=0.01))) == ["parity_with_training"]


def test_an_altered_file_fails(project, package):
    candidate = package()
    (candidate.folder / "model.onnx").write_bytes(b"something else")
    report = operations_gate(project, candidate)
    assert failed(report) == ["loads_in_clean_process"]
    assert "model.onnx was altered" in report.failed[0].evidence


def test_a_package_without_an_owner_fails(project, package):
    assert failed(operations_gate(project, package(owner=""))) == ["owner_named"]


def test_a_rollback_needs_another_model_to_go_back_to(project, package):
    candidate = package()
    same = ModelRef(name="toy", version=1, digest=candidate.digest, effective_from=DAY)
    assert failed(operations_gate(project, candidate, rollback_target=same)) == ["rollback_target"]


@pytest.mark.parametrize(
    ("withdrawn", "why"), [((), "first model"), ((1, 2), "no champion is left: versions 1, 2 withdrawn")]
)
def test_without_a_champion_to_go_back_to_the_checklist_says_why(project, package, withdrawn, why):
    report = operations_gate(project, package(), withdrawn=withdrawn)
    (check,) = (one for one in report.checks if one.name == "rollback_target")
    assert (check.verdict, check.observed, check.evidence) == (Verdict.PASS, "none", why)


def test_too_slow_fails(project, package):
    gates = project.spec.gates.model_copy(update={"max_latency_ms_per_1000": 1e-9})
    spec = project.spec.model_copy(update={"gates": gates})
    hasty = type(project)(spec=spec, folder=project.folder, root=project.root, environment=project.environment)
    assert failed(operations_gate(hasty, package())) == ["latency_ms_per_1000"]


def test_rows_made_from_model_inputs_give_them_back(package):
    candidate = package()
    inputs, _ = candidate.parity()
    again = candidate.preprocess.transform(as_batch(candidate, inputs))
    np.testing.assert_array_equal(again.numeric, inputs.numeric)
    np.testing.assert_array_equal(again.categorical, inputs.categorical)


@pytest.mark.parametrize("loads", ["pickle.loads", "__import__('_pickle').loads"])
def test_the_probe_cannot_unpickle(loads):
    program = (
        "import sys, pickle; from tallywright.gates import probe; sys.addaudithook(probe._no_pickle)\n"
        f"{loads}({pickle.dumps(np.float64)!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "packages hold none" in done.stderr
