"""The quality gate of multiclass models, of regressions and of costs: classes, slices, and what cannot be computed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from synthetic import make_features, make_package, make_project

from tallywright.gates.evidence.level import Level
from tallywright.gates.quality import gate
from tallywright.gates.quality.bounds import absolute_checks
from tallywright.gates.quality.classes import class_checks
from tallywright.gates.quality.scored_rows import ScoredRows, Scores
from tallywright.gates.quality.slices import slice_checks
from tallywright.gates.quality.superiority import champion_checks
from tallywright.records import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.records import Check
    from tallywright.spec import ModelSpec

DAYS, A_DAY = 14, 300
CLASSES = ("rare", "late/very", "on time")
PRIORS = np.array([0.1, 0.3, 0.6])
LEVEL = Level(date(2024, 4, 1), 0.05, 0.1)


def spec_of(tmp_path: Path, task: str, version: int = 1, **gates: Any) -> ModelSpec:
    training = {"task": task, "slices": ["c0"]}
    gates = {"min_holdout_rows": 100} | gates
    spec = make_project(tmp_path, training=training, gates=gates).spec
    return spec.model_copy(update={"spec_version": version})


def scored(spec: ModelSpec, target: np.ndarray, candidate: np.ndarray, champion: np.ndarray, slices: Any) -> ScoredRows:
    return ScoredRows(
        spec=spec,
        target=target.astype(np.float64),
        dates=np.repeat(np.arange(DAYS, dtype=np.int32), A_DAY),
        candidate=Scores(candidate, 0.1),
        champion=Scores(champion, 0.5),
        unseen=np.ones(len(target), np.bool_),
        slices=pa.table({"c0": slices}),
        classes=CLASSES if candidate.ndim > 1 else (),
        own_classes=CLASSES if candidate.ndim > 1 else (),
    )


def shares(chance: np.random.Generator, target: np.ndarray, told: np.ndarray, *, blind: bool = False) -> np.ndarray:
    """The probabilities after evidence that tells the classes apart, each row's as clearly as `told` says.

    A blind model gets no evidence for the class `rare`, and does not know that.
    """
    signs = np.diag([0.0 if blind else 1.0, 1.0, 1.0])[target]
    evidence = told[:, None] * signs + chance.normal(size=(len(target), 3))
    logits = np.log(PRIORS) + told[:, None] * evidence
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


def world(spec: ModelSpec, worse: str) -> ScoredRows:
    """A candidate that is better on the whole, and worse on the class `rare` or on the slice `north`."""
    chance = np.random.default_rng(4)
    rows = DAYS * A_DAY
    north = chance.random(rows) < 0.2
    target = chance.choice(3, rows, p=PRIORS)
    hurt = north & (worse == "north")
    if spec.training.kind.per_class:
        champion = shares(chance, target, np.full(rows, 1.2))
        told = np.where(hurt, 0.5, 2.2)
        candidate = shares(chance, target, told, blind=worse == "rare")
        return scored(spec, target, candidate, champion, np.where(north, "north", "south"))
    values = chance.normal(100, 20, rows)
    candidate = values + chance.normal(size=rows) * np.where(hurt, 13, 5)
    return scored(spec, values, candidate, values + chance.normal(size=rows) * 9, np.where(north, "north", "south"))


def absolute(samples: list[ScoredRows]) -> list[Check]:
    return absolute_checks(samples, [sample.figures(by_class=True) for sample in samples])


def of_classes(samples: list[ScoredRows]) -> list[Check]:
    return class_checks(samples, samples[0].figures(by_class=True))


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


@pytest.mark.parametrize("metric", ["log_loss", "macro_recall", "macro_f1"])
def test_a_better_multiclass_model_is_promoted_by_any_of_its_metrics(tmp_path: Path, metric: str) -> None:
    sample = world(spec_of(tmp_path, "multiclass", primary_metric=metric), "")
    found = by_name([*absolute([sample]), *champion_checks([sample], LEVEL, (), ""), *of_classes([sample])])
    assert {check.verdict for check in found.values()} <= {Verdict.PASS, Verdict.NOTE}, found
    assert found[f"superiority_{metric}"].observed > 0
    assert found["class_late:2Fvery"].observed > 0.5
    assert found["classes"].observed == 3


@pytest.mark.parametrize("metric", ["log_loss", "macro_auc"])
def test_a_class_that_pays_for_the_others_is_refused(tmp_path: Path, metric: str) -> None:
    sample = world(spec_of(tmp_path, "multiclass", primary_metric=metric), "rare")
    found = by_name(of_classes([sample]))
    assert [name for name, check in found.items() if check.verdict is Verdict.FAIL] == ["class_rare"]
    assert {check.verdict for check in champion_checks([sample], LEVEL, (), "")} == {Verdict.PASS}
    assert "not shown to be worse than the champion's" in found["class_rare"].bound


@pytest.mark.parametrize("task", ["multiclass", "regression"])
@pytest.mark.parametrize("metric", [None, "other"])
def test_a_slice_that_pays_for_the_others_is_refused(tmp_path: Path, task: str, metric: str | None) -> None:
    other = {"multiclass": "macro_auc", "regression": "mae"}[task]
    sample = world(spec_of(tmp_path, task, **({} if metric is None else {"primary_metric": other})), "north")
    found = by_name(slice_checks([sample]))
    assert found["slice_c0=north"].verdict is Verdict.FAIL
    assert found["slice_c0=south"].verdict is Verdict.PASS
    assert {check.verdict for check in champion_checks([sample], LEVEL, (), "")} == {Verdict.PASS}


def test_rows_without_a_value_are_a_slice_and_no_two_slices_share_a_name(tmp_path: Path) -> None:
    made = world(spec_of(tmp_path, "regression"), "north")
    north = np.array(made.slices["c0"]) == "north"
    names = np.where(north, None, np.where(np.arange(len(north)) % 2 == 0, "x", "x,flag=True"))
    flags = np.where(np.arange(len(north)) % 4 < 2, "True", "back\\")
    spec = made.spec.model_copy(update={"training": made.spec.training.model_copy(update={"slices": ("c0", "flag")})})
    sample = replace(made, spec=spec, slices=pa.table({"c0": pa.array(names.tolist(), pa.string()), "flag": flags}))
    checks = slice_checks([sample])
    found = by_name(checks)
    assert len(found) == len(checks)
    assert found["slice_c0 is null"].verdict is Verdict.FAIL
    assert {"slice_c0=x", "slice_c0=x\\,flag=True", "slice_c0=x,flag=True", "slice_c0=x,flag=back\\\\"} <= found.keys()
    assert "slice_c0 is null,flag=True" in found


def test_a_floor_of_a_class_and_of_the_bias_is_judged_by_its_interval(tmp_path: Path) -> None:
    floors = {"recall_late:2Fvery": {"min": 0.3}, "macro_recall": {"min": 0.99}, "recall_lost": {"min": 0.1}}
    found = by_name(absolute([world(spec_of(tmp_path, "multiclass", floors=floors), "")]))
    assert found["floor_recall_late:2Fvery"].verdict is Verdict.PASS
    assert found["floor_macro_recall"].verdict is Verdict.FAIL
    assert found["floor_recall_lost"].verdict is Verdict.FAIL
    assert "no class of the model" in found["floor_recall_lost"].evidence
    bias = {"bias": {"min": -1.0, "max": 1.0}}
    found = by_name(absolute([world(spec_of(tmp_path / "r", "regression", floors=bias), "")]))
    assert found["floor_bias"].verdict is Verdict.PASS
    assert abs(found["floor_bias"].observed) < 1


@pytest.mark.parametrize(
    ("gates", "verdict"),
    [
        ({}, Verdict.WARN),
        ({"primary_metric": "macro_recall"}, Verdict.FAIL),
        ({"floors": {"macro_f1": {"min": 0.0}}}, Verdict.FAIL),
        ({"floors": {"recall_rare": {"min": 0.0}}}, Verdict.FAIL),
        ({"floors": {"recall_on time": {"min": 0.0}}}, Verdict.WARN),
    ],
)
def test_a_class_that_no_row_has_is_a_verdict(tmp_path: Path, gates: dict[str, Any], verdict: Verdict) -> None:
    sample = world(spec_of(tmp_path, "multiclass", **gates), "")
    sample.target[sample.target == 0] = 2
    found = by_name([*of_classes([sample]), *absolute([sample])])
    assert found["classes"].verdict is verdict
    assert "no row of class rare: nothing is known about it" in found["classes"].evidence
    assert "class_rare" not in found
    if "recall_rare" in gates.get("floors", {}):
        assert found["floor_recall_rare"].verdict is Verdict.FAIL
        assert "none of the class" in found["floor_recall_rare"].evidence


def test_a_metric_that_the_days_do_not_define_is_no_evidence(tmp_path: Path) -> None:
    """All rows of a class are of one day: without that day a mean over classes is another metric."""
    sample = world(spec_of(tmp_path, "multiclass", primary_metric="macro_recall"), "")
    sample.target[(sample.target == 0) & (sample.dates > 0)] = 2
    found = by_name(champion_checks([sample], LEVEL, (), ""))
    assert found["superiority_macro_recall"].verdict is Verdict.FAIL
    assert "cannot be computed" in found["superiority_macro_recall"].evidence
    few = by_name(of_classes([sample]))["classes"]
    assert few.verdict is Verdict.NOTE
    assert f"rare ({int((sample.target == 0).sum())})" in few.evidence


@pytest.mark.parametrize(
    ("version", "said", "verdict"),
    [(1, {}, Verdict.WARN), (2, {}, Verdict.FAIL), (1, {"max_calibration_error": 0.1}, Verdict.FAIL)],
)
def test_a_multiclass_model_that_is_too_sure_of_itself(
    tmp_path: Path, version: int, said: dict[str, float], verdict: Verdict
) -> None:
    """Specs of version 1 that name no bound were accepted before anybody looked: they are warned."""
    spec = spec_of(tmp_path, "multiclass", version, **said)
    if not said:
        gates = spec.gates.model_copy()
        gates.__pydantic_fields_set__.discard("max_calibration_error")
        spec = spec.model_copy(update={"gates": gates})
    sample = world(spec, "")
    sure = sample.candidate.values**8
    sample.candidate.values[:] = sure / sure.sum(axis=1, keepdims=True)
    sample.target[:] = np.random.default_rng(1).choice(3, len(sample.target))
    check = by_name(absolute([sample]))["calibration_error"]
    assert check.verdict is verdict
    assert check.observed > 0.2


def test_costs_are_compared_in_money_each_model_by_its_own_threshold(tmp_path: Path) -> None:
    costs = {"costs": {"false_positive": 2.0, "false_negative": 35.0}, "primary_metric": "expected_cost"}
    chance, rows = np.random.default_rng(3), DAYS * A_DAY
    target = chance.random(rows) < 0.2
    p = 1 / (1 + np.exp(-(np.log(0.25) + 2 * (target - 0.5) + chance.normal(size=rows))))
    found = {}
    for least in (1.0, 4.0):
        spec = spec_of(tmp_path / str(least), "binary", min_gain=least, **costs)
        # The same scores: what differs is the threshold alone.
        sample = scored(spec, target, p, p + 1e-9, np.full(rows, "all"))
        found[least] = by_name(champion_checks([sample], LEVEL, (), ""))["superiority_expected_cost"]
        mine = np.mean(2.0 * ((p >= 0.1) & ~target) + 35.0 * ((p < 0.1) & target))
        its = np.mean(2.0 * ((p >= 0.5) & ~target) + 35.0 * ((p < 0.5) & target))
        assert sample.gain("expected_cost").estimate.value == pytest.approx(its - mine)
        assert "expected_cost" in by_name(absolute([sample]))["metrics"].evidence
    assert 1.0 < its - mine < 4.0
    assert found[1.0].verdict is Verdict.PASS
    assert "lower bound > 1 EUR a row" in found[1.0].bound
    assert found[4.0].verdict is Verdict.UNDECIDED
    guarded = scored(spec_of(tmp_path / "g", "binary", costs=costs["costs"]), target, p, p + 1e-9, np.full(rows, "a"))
    assert "not_worse_expected_cost" in by_name(champion_checks([guarded], LEVEL, (), ""))


def test_rows_of_a_class_that_the_candidate_does_not_know_are_said(tmp_path: Path) -> None:
    project = make_project(tmp_path, training={"task": "multiclass"}, gates={"min_holdout_rows": 100})
    package = make_package(tmp_path / "a", task="multiclass", classes=("x", "y", "z"))
    features = make_features(600)
    days = [date(2024, 3, 1) + timedelta(days=row % 8) for row in range(600)]
    labels = np.array(["x", "y", "z", "new"], object)[np.arange(600) % 4]
    rows = features.append_column("score_date", pa.array(days, pa.date32())).append_column("label", pa.array(labels))
    report = gate.quality_gate(project, [gate.Sample(package, rows)], None, as_of=date(2024, 4, 1))
    check = by_name(list(report.checks))["classes"]
    assert check.verdict is Verdict.WARN
    assert "150 rows have a class that the candidate does not know" in check.evidence
    alone = rows.filter(pc.equal(rows["label"], "x"))
    report = gate.quality_gate(project, [gate.Sample(package, alone)], None, as_of=date(2024, 4, 1))
    found = by_name(list(report.checks))
    assert report.verdict is Verdict.FAIL
    assert found["metrics"].verdict is Verdict.FAIL
    assert "macro_auc nan" in found["metrics"].evidence


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (("x", "y", "w"), "; no row has z, and the champion does not know w: classes were renamed?"),
        (("x", "z", "w"), "; no row has y, and the champion does not know w: classes were renamed?"),
        (("x", "y", "z"), ""),
    ],
)
def test_a_class_that_may_have_been_renamed_is_asked_about(tmp_path: Path, labels: tuple[str, ...], said: str) -> None:
    project = make_project(tmp_path, training={"task": "multiclass"}, gates={"min_holdout_rows": 100})
    champion = make_package(tmp_path / "a", task="multiclass", seed=1, classes=("x", "y", "z"))
    candidate = make_package(tmp_path / "b", task="multiclass", seed=2, classes=("x", "y", "w"))
    days = [date(2024, 3, 1) + timedelta(days=row % 8) for row in range(600)]
    target = np.array(labels, object)[np.arange(600) % 3]
    rows = make_features(600).append_column("score_date", pa.array(days, pa.date32())).append_column("label", [target])
    report = gate.quality_gate(project, [gate.Sample(candidate, rows)], champion, as_of=date(2024, 4, 1))
    check = by_name(list(report.checks))["means_what_the_champion_means"]
    assert check.verdict is Verdict.WARN
    assert check.evidence == f"its classes are x, y, w, the champion's x, y, z{said}"
