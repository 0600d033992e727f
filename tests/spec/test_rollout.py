"""The section `rollout`: what it takes, what it refuses, and that a spec without it is what it was."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from synthetic import make_spec

SHADOW = {"stage": "shadow", "days": 7}
TENTH = {"stage": "canary", "share": 0.1, "days": 7}
HALF = {"stage": "canary", "share": 0.5, "days": 14, "margin": 0.02}


def test_a_section_that_is_not_given_leaves_no_trace_so_digests_of_before_stay() -> None:
    assert "rollout" not in make_spec().model_dump(mode="json")
    assert make_spec(rollout={"mode": "direct"}).staged_rollout is None


def test_stages_in_their_order() -> None:
    rollout = make_spec(rollout={"stages": [SHADOW, TENTH, HALF]}).staged_rollout
    assert rollout is not None
    assert [(one.stage, one.share, one.days) for one in rollout.stages] == [
        ("shadow", None, 7), ("canary", 0.1, 7), ("canary", 0.5, 14)
    ]  # fmt: skip
    assert rollout.approval == ("canary", "champion")


@pytest.mark.parametrize(
    ("rollout", "said"),
    [
        ({}, "give `stages` exactly when"),
        ({"mode": "direct", "stages": [SHADOW]}, "give `stages` exactly when"),
        ({"stages": [TENTH, SHADOW]}, "a stage takes more keys than the one before"),
        ({"stages": [TENTH, TENTH]}, "a stage takes more keys than the one before"),
        ({"mode": "ab", "stages": [SHADOW]}, "the last stage is a canary"),
        ({"mode": "ab", "stages": [HALF]}, "without a `margin`"),
        ({"stages": [{"stage": "canary", "days": 7}]}, "give `share` exactly when"),
        ({"stages": [SHADOW | {"share": 0.1}]}, "give `share` exactly when"),
        ({"stages": [SHADOW | {"days": 5}]}, "greater than or equal to 6"),
        ({"stages": [SHADOW], "metric": "rmse"}, "rollout.metric names 'rmse', which is no metric of the task binary"),
        ({"stages": [SHADOW], "level": 0.5}, "less than 0.5"),
    ],
)
def test_what_cannot_be_meant_is_refused(rollout: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        make_spec(rollout=rollout)


@pytest.mark.parametrize(
    ("scoring", "said"),
    [
        ({"canary": {"model": "challenger", "share": 0.1}}, "scoring.canary and rollout both name a canary"),
        ({"shadow": ["challenger"]}, "scoring.shadow and rollout both name the challenger"),
        ({"models": "current"}, "with a rollout in stages it must be as-of"),
    ],
)
def test_the_log_alone_names_the_challenger(scoring: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        make_spec(rollout={"stages": [SHADOW]}, scoring=scoring)
    # A shadow by its number is somebody else; and without stages all is as it was.
    make_spec(rollout={"stages": [SHADOW]}, scoring={"shadow": [3]})
    make_spec(rollout={"mode": "direct"}, scoring=scoring)


@pytest.mark.parametrize("metric", ["macro_auc", "macro_recall", "macro_f1"])
def test_a_mean_over_classes_compares_no_canary_whose_rows_are_of_other_classes(metric: str) -> None:
    training = {"task": "multiclass"}
    with pytest.raises(ValidationError, match=f"rollout.metric is '{metric}'.*write `rollout: {{metric: log_loss}}`"):
        make_spec(rollout={"stages": [SHADOW, TENTH], "metric": metric}, training=training)
    gates = {"primary_metric": metric}
    with pytest.raises(ValidationError, match=f"gates.primary_metric counts: it is '{metric}'"):
        make_spec(rollout={"stages": [TENTH]}, training=training, gates=gates)
    make_spec(rollout={"stages": [TENTH], "metric": "log_loss"}, training=training, gates=gates)
    make_spec(rollout={"stages": [SHADOW]}, training=training, gates=gates)
    make_spec(rollout={"mode": "direct"}, training=training, gates=gates)
