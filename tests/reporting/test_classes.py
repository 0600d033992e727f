"""The report of a multiclass model: its classes by name, how often each is predicted; and costs in money."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from markupsafe import escape
from scored_day import drawn, scored
from synthetic import DAY, read_scores

from tallywright.monitoring.performance import realised
from tallywright.reporting.classes import class_figures, class_shares
from tallywright.reporting.report import write_report
from tallywright.reporting.sections import Sources, performance_plots
from tallywright.spec.environment import Environment
from tallywright.spec.load import Project

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ("<b>late</b>", "on time", "lost")


def test_classes_stand_in_the_report_by_their_own_names(tmp_path: Path) -> None:
    told = {"classes": CLASSES}
    day = scored(tmp_path, "multiclass", told)
    day.label([name if name != "lost" else "on time" for name in drawn("multiclass", told)])
    realised(day.lake, day.spec, DAY, as_of=DAY + timedelta(days=1))
    sources = Sources.of(day.lake, day.spec)
    rows = {row["name"]: row for row in class_figures(sources)}
    assert rows.keys() == set(CLASSES)
    assert rows["lost"]["auc"] is None
    assert rows["lost"]["note"] == "no label of its class"
    (stored,) = day.rows(role="champion", slice_key=None, metric="recall_on time")
    assert rows["on time"]["recall"] == stored["value"]
    predicted = np.array(read_scores(day.lake, day.spec)["prediction"].to_pylist())
    shares = {plot.series[0].name: plot.series[0].values for plot in class_shares(sources)}
    assert shares == {name: [pytest.approx((predicted == name).mean())] for name in set(predicted)}
    titles = [plot.title for plot in performance_plots(sources)]
    assert "Log loss" in titles
    assert "Calibration error" in titles
    project = Project(day.spec, tmp_path, tmp_path, Environment(name="test"))
    page = write_report(project, day.lake, tmp_path / "page.html").read_text()
    assert "Mean probability of the predicted class" in page
    assert "share of positive" not in page
    assert f"<td>{escape(CLASSES[0])}</td>" in page
    assert "<b>late</b>" not in page


def test_a_binary_model_has_no_section_of_classes_and_shows_its_costs_in_money(tmp_path: Path) -> None:
    costs = {"false_positive": 2.0, "false_negative": 35.0, "currency": "CHF"}
    day = scored(tmp_path, "binary", {}, gates={"costs": costs})
    day.label(drawn("binary", {}))
    realised(day.lake, day.spec, DAY, as_of=DAY + timedelta(days=1))
    sources = Sources.of(day.lake, day.spec)
    assert (class_figures(sources), class_shares(sources)) == ([], [])
    assert "Expected cost, CHF a row" in [plot.title for plot in performance_plots(sources)]


def test_a_regression_shows_its_unit(tmp_path: Path) -> None:
    day = scored(tmp_path, "regression", {})
    spec = day.spec.model_copy(update={"training": day.spec.training.model_copy(update={"unit": "hours"})})
    day.label(drawn("regression", {}))
    realised(day.lake, spec, DAY, as_of=DAY + timedelta(days=1))
    titles = [plot.title for plot in performance_plots(Sources.of(day.lake, spec))]
    assert "Root mean squared error, hours" in titles
    assert "Bias: mean of predicted less true, hours" in titles
