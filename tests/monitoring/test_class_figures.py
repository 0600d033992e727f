"""Realised metrics of classes and of costs: a class without labels is not judged and said; money is what was served."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scored_day import ROWS, ScoredDay, drawn, scored
from synthetic import DAY, read_scores

from tallywright.monitoring.performance import realised

if TYPE_CHECKING:
    from pathlib import Path

NEXT = DAY + timedelta(days=1)
CLASSES = ("late/very", "on time", "lost")
TOLD = {"classes": CLASSES}


def figures_of(day: ScoredDay) -> dict[str, dict[str, Any]]:
    return {row["metric"]: row for row in day.rows(role="champion", slice_key=None)}


def test_a_class_without_a_label_is_not_judged_and_said(tmp_path: Path) -> None:
    floors = {"macro_recall": {"min": 0.0}, "recall_lost": {"min": 0.0}, "recall_never": {"min": 0.0}}
    day = scored(tmp_path, "multiclass", TOLD, monitoring={"performance_floor": floors})
    day.label([CLASSES[number % 2] for number in range(ROWS)])
    found = realised(day.lake, day.spec, DAY, as_of=NEXT)
    rows = figures_of(day)
    assert {(name, rows[name]["value"], rows[name]["note"]) for name in ("macro_auc", "macro_recall", "macro_f1")} == {
        (name, None, "no label of class lost") for name in ("macro_auc", "macro_recall", "macro_f1")
    }
    assert rows["recall_lost"]["note"] == rows["auc_lost"]["note"] == "no label of its class"
    assert "the model has no such class" in rows["recall_never"]["note"]
    late = rows["recall_late:2Fvery"]
    assert late["lower"] < late["value"] < late["upper"]
    assert rows["auc_on time"]["lower"] < rows["auc_on time"]["value"]
    assert found.violated == ()
    bounded = [row["metric"] for row in rows.values() if row["bound_min"] is not None and row["note"]]
    assert sorted(bounded) == ["macro_recall", "recall_lost", "recall_never"]  # each is a reason of the decision
    assert not [row for row in day.rows(role="champion", slice_key="c0") if row["metric"].endswith("lost")]


def test_a_bound_on_a_class_is_a_violation_of_the_day(tmp_path: Path) -> None:
    day = scored(tmp_path, "multiclass", TOLD, monitoring={"performance_floor": {"recall_lost": {"min": 0.999}}})
    day.label(drawn("multiclass", TOLD))
    found = realised(day.lake, day.spec, DAY, as_of=NEXT)
    (said,) = found.violated
    assert said.startswith(f"recall_lost of {DAY} is ")


def test_a_day_without_labels_names_every_metric_of_classes(tmp_path: Path) -> None:
    day = scored(tmp_path, "multiclass", TOLD)
    day.label(drawn("multiclass", TOLD))
    realised(day.lake, day.spec, DAY, as_of=NEXT)
    known = figures_of(day).keys()
    day.lake.replace("shop__labels", day.lake.read("shop__labels").slice(0, 0), slice={"score_date": DAY})
    realised(day.lake, day.spec, DAY, as_of=NEXT)
    rows = figures_of(day)
    assert rows.keys() == known
    assert {row["note"] for row in rows.values() if row["metric"] != "coverage"} == {"no label is known"}


@pytest.mark.parametrize("threshold", [0.3, 0.6])
def test_the_expected_cost_is_that_of_the_decisions_that_were_served(tmp_path: Path, threshold: float) -> None:
    costs = {"false_positive": 2.0, "false_negative": 35.0}
    floor = {"expected_cost": {"max": 0.5}}
    day = scored(tmp_path, "binary", {"threshold": threshold}, gates={"costs": costs},
                 monitoring={"performance_floor": floor})  # fmt: skip
    values = drawn("binary", {})
    day.label(values)
    found = realised(day.lake, day.spec, DAY, as_of=NEXT)
    rows = read_scores(day.lake, day.spec)
    y, predicted = np.array(values), np.array(rows["prediction"])
    assert (predicted == (np.array(rows["probability"]) >= np.float32(threshold))).all()
    paid = 2.0 * ((predicted == 1) & (y == 0)) + 35.0 * ((predicted == 0) & (y == 1))
    row = figures_of(day)["expected_cost"]
    assert row["value"] == pytest.approx(paid.mean())
    assert row["upper"] - row["value"] == pytest.approx(1.96 * paid.std(ddof=1) / ROWS**0.5, rel=1e-3)
    assert row["violated"]
    assert len(found.violated) == 1
    (mine,) = day.rows(role="champion", slice_key="c0", slice_value="red", metric="expected_cost")
    assert mine["value"] > 0


def test_the_bias_has_a_sign_and_an_interval_on_both_sides_of_zero(tmp_path: Path) -> None:
    floor = {"bias": {"min": -1.0, "max": 1.0}}
    day = scored(tmp_path, "regression", {}, monitoring={"performance_floor": floor})
    predicted = np.array(read_scores(day.lake, day.spec)["prediction"], np.float64)
    noise = np.random.default_rng(3).normal(size=ROWS)
    day.label((predicted + 2 + noise).tolist())
    found = realised(day.lake, day.spec, DAY, as_of=NEXT)
    row = figures_of(day)["bias"]
    assert row["value"] == pytest.approx(-2 - noise.mean())
    assert row["lower"] < row["value"] < row["upper"] < 0
    assert found.violated == (f"bias of {DAY} is {row['value']:.3f}, bound -1 or more and 1 or less",)
