"""What is wrong with a candidate, or with its evidence, is refused by the check that names it, and never promoted."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tallywright.gates.quality import gate, leaks
from tallywright.records import Check, Decision, GateReport, Verdict, VersionVerdict
from tallywright.registry.evidence import verdict_of

from .conftest import DAY, holdout
from .test_quality import AS_OF, with_gates

OPERATIONS = GateReport(
    gate="operations", model="toy", subject="", checks=(Check(name="all", verdict=Verdict.PASS),)
)  # fmt: skip


def labels(rows: pa.Table, values: np.ndarray) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index("late"), "late", pa.array(values))


def led_by_colour() -> pa.Table:
    """Blue rows are late nine times of ten; red ones seldom, and by x."""
    rows = holdout(8000)
    x, blue = np.asarray(rows["x"]), np.asarray(rows["colour"]) == "blue"
    chance = np.where(blue, 0.9, 1 / (1 + np.exp(2 - 1.5 * x)))
    return labels(rows, (np.random.default_rng(5).uniform(size=len(x)) < chance).astype(float))


def numbered(rows: pa.Table) -> pa.Table:
    """The number is the minutes of delay, of which the label is made."""
    return labels(rows, (np.asarray(rows["x"]) > 0.25).astype(float))


def coloured(rows: pa.Table) -> pa.Table:
    """The colour says what became of the row."""
    return labels(rows, (np.asarray(rows["colour"]) == "red").astype(float))


# The candidate, the champion (None: the first model), the holdout, and the checks that refuse.
FAULTS = {
    "worse": ({"colours": (2.0, -2.0)}, {}, holdout,
              ["calibration_error", "superiority_roc_auc", "not_worse_log_loss", "not_worse_brier"]),
    "equal": ({}, {"code_version": "another"}, holdout, ["superiority_roc_auc"]),
    "better overall, worse on a slice": (
        {"weight": -0.3, "colours": (2.2, -1.5)}, {"weight": 1.5}, led_by_colour, ["slice_colour=red"],
    ),
    "miscalibrated": ({"bias": 3.0}, None, holdout, ["calibration_error"]),
    "an empty holdout": ({}, None, lambda: holdout(0), ["holdout_rows"]),
    "a label leak: fitted on its holdout": (
        {"fitted_through": DAY + timedelta(days=9)}, None, holdout, ["holdout_unseen"],
    ),
    "a label leak: a number": ({}, None, lambda: numbered(holdout()), ["inputs_are_no_labels"]),
    "a label leak: a category": ({"colours": (-9.0, 9.0)}, None, lambda: coloured(holdout()), ["inputs_are_no_labels"]),
    "itself": ({}, None, holdout, ["is_not_the_champion"]),
    "its own recipe, judged": ({}, None, holdout, ["is_not_the_champion"]),
    "other classes": (
        {"classes": ("no", "yes"), "positive": "no"}, {"classes": ("no", "yes"), "positive": "yes"}, holdout,
        ["means_what_the_champion_means"],
    ),
}  # fmt: skip


def judged(project, package, fault: str) -> tuple[GateReport, list[str]]:
    candidate, champion, rows, checks = FAULTS[fault]
    made = package(**candidate)
    other = None if champion is None else package("champion", **champion)
    if fault == "itself":
        other = made
    elif fault == "its own recipe, judged":
        other = package("champion", weight=1.4, judged=made.digest)
    return gate.quality_gate(project, [gate.Sample(made, rows())], other, as_of=AS_OF), checks


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_refused_and_never_promoted(project, package, fault) -> None:
    report, checks = judged(project, package, fault)
    found = [check.name for check in report.failed]
    assert found == checks
    reports = (report, OPERATIONS.model_copy(update={"subject": report.subject}))
    assert verdict_of(reports) is VersionVerdict.REFUSED
    decision = Decision(
        model="toy", candidate_version=1, candidate_digest=report.subject, reports=reports, approver="me", reason="",
    )  # fmt: skip
    assert not decision.approved


def test_no_mode_and_no_settings_let_a_model_pass_against_itself(project, package) -> None:
    made = package()
    for settings in ({"mode": "refresh"}, {"mode": "refresh", "margin": 1.0, "confidence": 0.51}):
        asked = with_gates(project, **settings)
        report = gate.quality_gate(asked, [gate.Sample(made, holdout())], made, as_of=AS_OF)
        assert [check.name for check in report.failed] == ["is_not_the_champion"]


def test_an_input_that_hints_is_no_leak(project, package) -> None:
    """One row of another class is enough, and so is a column that only few rows have."""
    rows = numbered(holdout())
    late = np.asarray(rows["late"]).copy()
    late[0] = 1 - late[0]
    few = rows["x"].to_pylist()[:50] + [None] * (rows.num_rows - 50)
    for hinting in (labels(rows, late), rows.set_column(rows.schema.get_field_index("x"), "x", pa.array(few))):
        report = gate.quality_gate(project, [gate.Sample(package(), hinting)], None, as_of=AS_OF)
        assert report.observed("inputs_are_no_labels") == "none"


def test_the_value_of_a_regression_is_no_input(project, package) -> None:
    training = project.spec.training.model_copy(update={"task": "regression"})
    regression = replace(project, spec=project.spec.model_copy(update={"training": training}))
    rows = holdout()
    same, near = (labels(rows, np.asarray(rows["x"]) + shift) for shift in (0.0, 0.5))
    found = [
        gate.quality_gate(regression, [gate.Sample(package(task="regression"), one)], None, as_of=AS_OF)
        for one in (same, near)
    ]
    assert [one.observed("inputs_are_no_labels") for one in found] == ["x", "none"]


def with_input(rows: pa.Table, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index("x"), "x", values)


@pytest.mark.parametrize("absent", ["nan", "null", "both", "none"])
@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.int32()])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_leak_is_one_whatever_its_type_and_where_it_has_no_value(project, package, task, kind, absent) -> None:
    """NaN is null to a model, and a FLOAT that was made of a DOUBLE is the same number."""
    rows = holdout()
    generator = np.random.default_rng(3)
    labels_of = {
        "binary": generator.integers(0, 2, rows.num_rows).astype(float),
        "multiclass": generator.integers(0, 3, rows.num_rows),
        "regression": generator.normal(scale=1e3, size=rows.num_rows),
    }
    late = labels_of[task].round() if pa.types.is_integer(kind) else labels_of[task]
    leak = late.astype(kind.to_pandas_dtype())
    place = np.arange(rows.num_rows)
    if absent in {"nan", "both"} and pa.types.is_floating(kind):
        leak[place % 7 == 0] = np.nan
    column = pa.array(leak, kind, mask=(place % 5 == 0) if absent in {"null", "both"} else None)
    spec = project.spec
    spec = spec.model_copy(update={"training": spec.training.model_copy(update={"task": task})})
    candidate = package(task="regression" if task == "regression" else "binary")
    leaking, hinting = with_input(labels(rows, late), column), with_input(labels(rows, np.roll(late, 1)), column)
    found = [
        next(check.observed for check in leaks.leak_checks(spec, candidate, None, one) if "inputs" in check.name)
        for one in (leaking, hinting)
    ]
    assert found == ["x", "none"]


def test_a_column_of_nan_alone_and_a_label_that_is_nan_tell_nothing(project, package) -> None:
    training = project.spec.training.model_copy(update={"task": "regression"})
    spec = project.spec.model_copy(update={"training": training})
    rows, place = holdout(), np.arange(4000)
    x = np.asarray(rows["x"])
    nothing = with_input(labels(rows, x), pa.array(np.full(4000, np.nan)))
    some = labels(rows, np.where(place % 3 == 0, np.nan, x))
    found = [
        next(check.observed for check in leaks.leak_checks(spec, package(task="regression"), None, one)
             if "inputs" in check.name)
        for one in (nothing, some)
    ]  # fmt: skip
    assert found == ["none", "x"]


def test_every_fault_in_the_docs_has_its_test(repository: Path) -> None:
    text = (repository / "docs/gates.md").read_text(encoding="utf-8").partition("## Injected faults")[2]
    rows = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("| ") and "`tests/" in line]
    named = {name for line in rows for name in re.findall(r"`(tests/[^`]+)`", line)}
    assert len(rows) >= 13
    for name in sorted(named):
        file, _, function = name.partition("::")
        assert f"def {function}(" in (repository / file).read_text(encoding="utf-8"), name
