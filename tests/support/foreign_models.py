"""Models as other teams bring them: rows with nulls and unseen values, fitted by libraries that know nothing of us."""

from __future__ import annotations

from functools import cache

import numpy as np

VALUES = ("z", "x", "y", "q")
"""In an order of their own, as pandas may have them."""


def frame(task, count, seed):
    """Rows `b`, `k`, `a` in this order, and their targets."""
    import pandas as pd

    random = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "b": random.normal(size=count),
            "k": random.choice(VALUES, count, p=[0.1, 0.4, 0.3, 0.2]),
            "a": random.normal(size=count),
        }
    )
    rows.loc[random.random(count) < 0.1, "b"] = np.nan
    signal = rows.a + (rows.k == "y") + rows.b.fillna(0) / 2 + random.normal(size=count) * 0.3
    rows.loc[random.random(count) < 0.05, "k"] = None
    target = {
        "binary": (signal > 0.5).astype(int),
        "multiclass": np.digitize(signal, [0, 1]),
        "regression": signal * 10 + 100,
    }
    return rows, np.asarray(target[task])


@cache
def lightgbm_text(task, *, columns=("b", "k", "a"), rows=None, **params) -> bytes:
    """A Booster as LightGBM saves it."""
    import lightgbm
    import pandas as pd

    given, target = frame(task, 500, 5)
    given = given[list(columns)]
    if "k" in columns:
        given["k"] = pd.Categorical(given.k, categories=list(VALUES))
    objective = {
        "binary": {"objective": "binary"},
        "multiclass": {"objective": "multiclass", "num_class": 3},
        "regression": {"objective": "regression"},
    }[task]
    params = {**objective, "verbosity": -1, "min_data_per_group": 5, "max_cat_to_onehot": 1, "num_threads": 1} | params
    data = lightgbm.Dataset(given if rows is None else given.to_numpy(), target)
    return lightgbm.train(params, data, 10).model_to_string().encode()


@cache
def xgboost_model(task, form="json", **params):
    """A Booster as XGBoost saves it."""
    import pandas as pd
    import xgboost

    given, target = frame(task, 500, 5)
    given["k"] = pd.Categorical(given.k, categories=list(VALUES))
    objective = {
        "binary": {"objective": "binary:logistic"},
        "multiclass": {"objective": "multi:softprob", "num_class": 3},
        "regression": {"objective": "reg:squarederror"},
    }[task]
    params = {**objective, "max_depth": 4, "max_cat_to_onehot": 1, "nthread": 1} | params
    booster = xgboost.train(params, xgboost.DMatrix(given, target, enable_categorical=True, nthread=1), 6)
    return bytes(booster.save_raw(form))


@cache
def sklearn_pipeline(task, columns=("a", "b", "k")):
    """A pipeline of scikit-learn over columns by name, or over a matrix of numbers."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    given, target = frame(task, 500, 5)
    model = LinearRegression() if task == "regression" else LogisticRegression()
    if "k" not in columns:
        return make_pipeline(SimpleImputer(), model).fit(given[list(columns)].to_numpy(), target)
    given["k"] = given.k.fillna("")
    sides = make_column_transformer((SimpleImputer(), ["a", "b"]), (OneHotEncoder(handle_unknown="ignore"), ["k"]))
    return make_pipeline(sides, model).fit(given, target)


@cache
def sklearn_onnx(task, columns=("a", "b", "k"), *, zipmap=False) -> bytes:
    """Such a pipeline as skl2onnx exports it."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    model = sklearn_pipeline(task, columns)
    inputs = [("X", FloatTensorType([None, len(columns)]))]
    if "k" in columns:
        inputs = [(name, (StringTensorType if name == "k" else FloatTensorType)([None, 1])) for name in columns]
    options = {} if task == "regression" else {"zipmap": zipmap}
    graph: bytes = to_onnx(model, initial_types=inputs, options=options).SerializeToString()
    return graph
