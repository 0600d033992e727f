"""Metrics that do not fit the task or the costs are refused by `validate`; costs that are not given leave no trace."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from synthetic import make_spec

from tallywright.spec.demands import Demands, weaker
from tallywright.spec.sections import Gates, Registry

COSTS = {"false_positive": 2.0, "false_negative": 35.0}


@pytest.mark.parametrize(
    ("task", "sections", "said"),
    [
        ("binary", {"gates": {"primary_metric": "expected_cost"}}, "no costs are given: write such as `gates: {costs:"),
        ("binary", {"gates": {"floors": {"expected_cost": {"max": 1.0}}}}, "no costs are given"),
        ("multiclass", {"gates": {"costs": COSTS}}, "gates.costs are those of a binary model's decisions"),
        ("regression", {"gates": {"primary_metric": "expected_cost"}}, "no metric of the task regression"),
        ("binary", {"gates": {"primary_metric": "macro_f1"}}, "no metric of the task binary"),
        ("binary", {"gates": {"floors": {"recall_late": {"min": 0.5}}}}, "no metric of the task binary"),
        ("multiclass", {"gates": {"floors": {"recall_a/b": {"min": 0.5}}}}, "macro_recall, auc_CLASS, recall_CLASS"),
        ("multiclass", {"gates": {"floors": {"recall_late": {"min": 1.5}}}}, "recall_late lies between 0 and 1"),
        ("multiclass", {"monitoring": {"performance_floor": {"macro_recal": {"min": 0.5}}}}, "mean 'macro_recall'"),
        ("regression", {"monitoring": {"performance_floor": {"bias": {"max": float("inf")}}}}, "finite"),
        ("binary", {"gates": {"costs": COSTS | {"false_positive": 0}}}, "greater than 0"),
        ("binary", {"gates": {"costs": COSTS | {"false_positive": 1e308}}}, "less than or equal to 1000000000000"),
        ("binary", {"gates": {"costs": COSTS | {"false_negative": 1.1e12}}}, "less than or equal to 1000000000000"),
        ("binary", {"gates": {"costs": COSTS | {"currency": "€/row"}}}, "currency"),
    ],
)
def test_what_does_not_fit_is_refused(task: str, sections: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("{", r"\{")):
        make_spec(training={"task": task}, **sections)


def test_what_fits_is_taken() -> None:
    costs = {"costs": COSTS, "primary_metric": "expected_cost", "min_gain": 0.02}
    spec = make_spec(gates=costs, monitoring={"performance_floor": {"expected_cost": {"max": 3.5}}})
    assert spec.unit_of("expected_cost") == "EUR a row"
    bounds = {"recall_late:2Fvery": {"min": 0.5}, "macro_auc": {"min": 0.6}}
    make_spec(training={"task": "multiclass"}, gates={"floors": bounds, "primary_metric": "macro_auc"})
    two_sided = {"floors": {"bias": {"min": -1, "max": 1}}}
    spec = make_spec(training={"task": "regression", "unit": "hours"}, gates=two_sided)
    assert (spec.unit_of("bias"), spec.unit_of("r2"), make_spec().unit_of("roc_auc")) == ("hours", "", "")


def test_costs_that_are_not_given_leave_no_trace() -> None:
    assert "costs" not in Gates().model_dump(mode="json")
    assert "costs" not in Demands(spec="", gates=Gates(), registry=Registry()).to_json()
    given = Gates.model_validate({"costs": COSTS})
    assert given.identity() != Gates().identity()
    assert not given.identity().first  # the first version knew no costs
    assert Gates.model_validate(given.model_dump(mode="json")) == given
    assert list(weaker(Gates(), given)) == ["costs"]
