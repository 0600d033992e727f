"""The trees of LightGBM's and XGBoost's models with the interface of scikit-learn."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np

from tallywright.spec.estimators import LIGHTGBM_OBJECTIVES, XGBOOST_OBJECTIVES
from tallywright.training.estimators import lightgbm_trees, xgboost_trees
from tallywright.training.estimators.sklearn.trees import TreeModel

_LIGHTGBM_LINKS: Final = {"binary": "logistic", "multiclass": "logistic"} | LIGHTGBM_OBJECTIVES
_XGBOOST_LINKS: Final = {"binary:logistic": "logistic", "multi:softprob": "logistic"} | XGBOOST_OBJECTIVES


def boosted_trees_of(model: Any) -> TreeModel | None:
    """The trees of a fitted model; None where it is of another package, or of another kind than a sum of trees."""
    package = type(model).__module__.partition(".")[0]
    if package == "lightgbm":
        return _of_lightgbm(model.booster_)
    return _of_xgboost(model.get_booster()) if package == "xgboost" else None


def _of_lightgbm(booster: Any) -> TreeModel | None:
    text, outputs = booster.model_to_string(), booster.num_model_per_iteration()
    head = dict(line.split("=", 1) for line in text.partition("\nTree=")[0].splitlines() if "=" in line)
    objective, *details = head.get("objective", "").split(" ")
    link: Any = _LIGHTGBM_LINKS.get(objective)
    # A random forest is a mean, which stands in a line by itself; another sigmoid has another factor.
    strange = [detail for detail in details if detail.startswith("sigmoid:") and detail != "sigmoid:1"]
    if link is None or strange or "\naverage_output\n" in text:
        return None
    return TreeModel(list(lightgbm_trees.read_trees(text, outputs)), (0.0,) * outputs, link)


def _of_xgboost(booster: Any) -> TreeModel | None:
    raw = bytes(booster.save_raw("json"))
    learner = json.loads(raw)["learner"]
    link: Any = _XGBOOST_LINKS.get(learner["objective"]["name"])
    if link is None or learner["gradient_booster"]["name"] != "gbtree":
        return None
    outputs = max(1, int(learner["learner_model_param"]["num_class"]))
    base = np.resize(np.array(json.loads(f"[{learner['learner_model_param']['base_score'].strip('[]')}]")), outputs)
    starts = tuple(xgboost_trees.margin_of(float(np.float32(one)), link, several=outputs > 1) for one in base)
    return TreeModel(list(xgboost_trees.read_trees(raw)), starts, link)
