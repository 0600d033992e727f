"""Section `training.estimator`: which library learns the model, and with which of its parameters.

What a library's parameters are called is the library's business: they stand under `params` by its own names. Only those
in the lists here are taken. The product sets the rest itself (seeds, threads, loss, data), or they would read and write
files.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, cast

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from tallywright.errors import did_you_mean
from tallywright.spec.base import RelativePath, Section
from tallywright.spec.values import LARGEST, MOST_NAMES, Column, Name, Number, Share, Whole, Width

_MOST_BATCH_ROWS: Final = 1 << 24
_MOST_ROUNDS: Final = 100_000
_MOST_ESTIMATORS: Final = 20
_DEEPEST: Final = 24
"""Of parameters that are estimators with parameters."""
PACKAGES: Final = ("sklearn", "lightgbm", "xgboost")
"""Whose classes `kind: sklearn` takes."""
OWN_NAMES: Final = frozenset(
    {"model", "validation", "logistic_regression", "linear_regression", "gradient_boosting", "refit"}
)
"""Names of the report that no estimator may have."""
Scalar = bool | Whole | Number | str
ClassWeight = Literal["none", "balanced"]

LIGHTGBM_PARAMS: Final = frozenset(
    {
        *("num_leaves", "max_depth", "min_data_in_leaf", "min_sum_hessian_in_leaf", "min_gain_to_split"),
        *("bagging_fraction", "bagging_freq", "pos_bagging_fraction", "neg_bagging_fraction", "feature_fraction"),
        *("feature_fraction_bynode", "extra_trees", "lambda_l1", "lambda_l2", "max_delta_step"),
        *("path_smooth", "max_bin", "min_data_in_bin", "bin_construct_sample_cnt", "data_sample_strategy", "top_rate"),
        *("other_rate", "cat_l2", "cat_smooth", "max_cat_threshold", "max_cat_to_onehot", "min_data_per_group"),
        *("monotone_constraints_method", "monotone_penalty", "objective", "alpha", "fair_c", "poisson_max_delta_step"),
        "tweedie_variance_power",
    }
)
XGBOOST_PARAMS: Final = frozenset(
    {
        *("max_depth", "max_leaves", "grow_policy", "min_child_weight", "gamma", "subsample", "sampling_method"),
        *("colsample_bytree", "colsample_bylevel", "colsample_bynode", "reg_alpha", "reg_lambda", "max_delta_step"),
        *("max_bin", "max_cat_to_onehot", "max_cat_threshold", "tree_method", "objective", "huber_slope"),
        *("tweedie_variance_power", "num_parallel_tree"),
    }
)
LIGHTGBM_OBJECTIVES: Final = {
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "identity"),
    **dict.fromkeys(("poisson", "gamma", "tweedie"), "exp"),
}
"""Losses of a regression, to how raw scores become values."""
XGBOOST_OBJECTIVES: Final = {
    **dict.fromkeys(("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror"), "identity"),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie"), "exp"),
}


def _known(params: dict[str, Scalar], allowed: frozenset[str], objectives: dict[str, str]) -> dict[str, Scalar]:
    """Refuses parameters that are not in the list, by the library's own names.

    Raises:
        ValueError: Names one, with the nearest match.
    """
    unknown = sorted(params.keys() - allowed)
    if unknown:
        name = unknown[0]
        raise ValueError(
            f"takes no {name!r}{did_you_mean(name, sorted(allowed))}; it takes {', '.join(sorted(allowed))}"
        )
    objective = params.get("objective", next(iter(objectives)))
    if objective not in objectives:
        raise ValueError(
            f"takes no objective {objective!r}{did_you_mean(str(objective), sorted(objectives))}; it takes "
            f"{', '.join(objectives)}, for a regression"
        )
    return params


class Network(Section):
    """The torch network and how it is trained."""

    module: RelativePath = "network.py"
    """The file in the model project that defines `build(dims) -> torch.nn.Module`."""
    hidden: tuple[Width, ...] = Field(default=(64, 32), max_length=64)
    dropout: Share = 0.1
    epochs: Whole = Field(default=20, ge=1, le=100_000)
    batch_size: Whole = Field(default=1024, ge=2, le=_MOST_BATCH_ROWS)
    learning_rate: Number = Field(default=2e-3, gt=0)
    weight_decay: Number = Field(default=1e-4, ge=0)
    patience: Whole = Field(default=3, ge=1)
    """Epochs without a better validation log loss before training stops."""
    class_weight: ClassWeight = "none"


class Torch(Network):
    """The model project's own torch network."""

    kind: Literal["torch"]
    name: Name | None = None
    """Its name in the report; the kind when not given."""


class Boosting(Section):
    """What the libraries of boosted trees have in common."""

    name: Name | None = None
    """Its name in the report; the kind when not given."""
    rounds: Whole = Field(default=1000, ge=1, le=_MOST_ROUNDS)
    """At most so many boosting rounds: a tree each, or one a class."""
    patience: Whole = Field(default=50, ge=1)
    """Rounds without a better validation loss before training stops; the best round is kept."""
    learning_rate: Number = Field(default=0.05, gt=0, le=1)
    class_weight: ClassWeight = "none"
    """`balanced`: rare classes weigh more while it learns; probabilities are corrected, so they stay calibrated."""
    monotone: dict[Column, Literal[-1, 1]] = Field(default_factory=dict, max_length=MOST_NAMES)
    """Numeric columns in which the score may only rise (1) or only fall (-1); not for multiclass models."""


class LightGBM(Boosting):
    """Gradient-boosted trees of LightGBM."""

    kind: Literal["lightgbm"]
    params: dict[str, Scalar] = Field(default_factory=dict)
    """Parameters by LightGBM's own names, such as `num_leaves`."""

    @model_validator(mode="after")
    def _of_lightgbm(self) -> LightGBM:
        _known(self.params, LIGHTGBM_PARAMS, LIGHTGBM_OBJECTIVES)
        return self


class XGBoost(Boosting):
    """Gradient-boosted trees of XGBoost."""

    kind: Literal["xgboost"]
    params: dict[str, Scalar] = Field(default_factory=dict)
    """Parameters by XGBoost's own names, such as `max_depth`."""

    @model_validator(mode="after")
    def _of_xgboost(self) -> XGBoost:
        _known(self.params, XGBOOST_PARAMS, XGBOOST_OBJECTIVES)
        return self


FORESTS: Final = ("sklearn.ensemble.RandomForestClassifier", "sklearn.ensemble.ExtraTreesClassifier")
"""What may be fitted by folds."""


def _import_path(path: str) -> str:
    parts = path.split(".")
    if parts[0] not in PACKAGES or len(parts) < 2 or not all(part.isidentifier() for part in parts):  # noqa: PLR2004 - a package and a class
        raise ValueError(f"a class of {', '.join(PACKAGES)} is needed, such as sklearn.ensemble.RandomForestClassifier")
    if any(part.startswith("_") for part in parts):
        raise ValueError("a part of it begins with `_`: only what the package makes public is taken")
    return path


ImportPath = Annotated[str, Field(max_length=200), AfterValidator(_import_path)]


def _plain_params(params: dict[str, Any]) -> dict[str, Any]:
    _require_plain(params, 0)
    return params


def _require_plain(value: Any, depth: int) -> None:
    """Refuses what no parameter can be: only plain values, lists, and `{path, params}` for an estimator inside."""
    if depth > _DEEPEST:
        raise ValueError(f"parameters lie more than {_DEEPEST} deep in one another")
    if isinstance(value, dict):
        _require_mapping(value, depth)
    elif isinstance(value, list | tuple):
        for inner in value:
            _require_plain(inner, depth + 1)
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"{type(value).__name__} is nothing that a parameter can be")
    elif isinstance(value, int | float) and not abs(value) <= LARGEST:
        raise ValueError(f"{value} is no number that a parameter can be")


def _require_mapping(value: dict[Any, Any], depth: int) -> None:
    if not all(isinstance(key, str) for key in value):
        raise ValueError("the keys of a mapping in a parameter are texts")
    if "path" in value:
        if value.keys() - {"path", "params"} or not isinstance(value["path"], str):
            raise ValueError("an estimator inside is written `{path: …, params: {…}}`")
        _import_path(value["path"])
    for inner in value.values():
        _require_plain(inner, depth + 1)


class Sklearn(Section):
    """A classifier or regressor by its import path."""

    kind: Literal["sklearn"]
    name: Name | None = None
    """Its name in the report; the kind when not given."""
    path: ImportPath
    """Such as `sklearn.ensemble.RandomForestClassifier`; a class of scikit-learn, LightGBM or XGBoost."""
    params: Annotated[dict[str, Any], AfterValidator(_plain_params)] = Field(default_factory=dict)
    """Its parameters by their own names; an estimator in a parameter is `{path: …, params: {…}}`."""
    inputs: Literal["plain", "normalised"] = "plain"
    """`plain`: the numeric columns with NaN for null, then the codes of the categorical ones. `normalised`: mean 0 and
    variance 1, nulls as 0 with an indicator, categories one-hot; for what is linear or measures distances."""
    class_weight: ClassWeight = "none"
    """`balanced`: rare classes weigh more while it learns; probabilities are corrected, so they stay calibrated."""
    folds: Whole = Field(default=1, ge=1, le=20)
    """More than 1, of a binary forest: a model for each fold of the rows, stratified by class, that learns from the
    others. Each score becomes its rank among the rows that its model has not seen; the mean rank is calibrated."""
    max_rows: Whole | None = Field(default=None, ge=100)
    """Learns from the newest rows of the window alone, at most so many."""

    @model_validator(mode="after")
    def _forest_of_folds(self) -> Sklearn:
        if self.folds > 1 and self.path not in FORESTS:
            raise ValueError(f"folds are for {' and '.join(FORESTS)}, not for {self.path}")
        if self.folds > 1 and self.inputs != "plain":
            raise ValueError("folds are for `inputs: plain`: trees need no normalised columns")
        return self


class Ready(Section):
    """A ready ONNX file of the model project: nothing is trained."""

    kind: Literal["onnx"]
    name: Name | None = None
    """Its name in the report; the kind when not given."""
    file: RelativePath = "model.onnx"
    """Inputs `numeric` float32 [N, F] in the order of `training.numeric`, NaN for null, and `categorical` int64 [N, C]
    of codes; output `score` float32 [N], or [N, classes]."""
    categories: dict[Column, tuple[str, ...]] = Field(default_factory=dict, max_length=MOST_NAMES)
    """The values of each categorical column in the order of the file's codes: the first one has the code 2; null has 0,
    whatever is not in the list 1."""


EstimatorSpec = Torch | LightGBM | XGBoost | Sklearn | Ready
KINDS: Final[dict[str, type[Section]]] = {
    "torch": Torch,
    "lightgbm": LightGBM,
    "xgboost": XGBoost,
    "sklearn": Sklearn,
    "onnx": Ready,
}
_ONE, _SEVERAL = "one", "several"


def _kind(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) and kind in KINDS else None


def named(estimator: EstimatorSpec) -> str:
    """The name of an estimator in the report."""
    return estimator.name or estimator.kind


def _each_named(estimators: tuple[EstimatorSpec, ...]) -> tuple[EstimatorSpec, ...]:
    names = [named(one) for one in estimators]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two are called {twice!r}: give each a `name`")
    taken = OWN_NAMES.intersection(names)
    if taken:
        raise ValueError(f"the name {min(taken)!r} means something else in the report")
    return estimators


One = Annotated[
    Annotated[Torch, Tag("torch")]
    | Annotated[LightGBM, Tag("lightgbm")]
    | Annotated[XGBoost, Tag("xgboost")]
    | Annotated[Sklearn, Tag("sklearn")]
    | Annotated[Ready, Tag("onnx")],
    Discriminator(
        _kind,
        custom_error_type="estimator_kind",
        custom_error_message=f"needs a `kind`: one of {', '.join(KINDS)}",
    ),
]
Several = Annotated[tuple[One, ...], Field(min_length=1, max_length=_MOST_ESTIMATORS), AfterValidator(_each_named)]
Estimators = Annotated[
    Annotated[One, Tag(_ONE)] | Annotated[Several, Tag(_SEVERAL)],
    Discriminator(lambda value: _SEVERAL if isinstance(value, list | tuple) else _ONE),
]
"""One estimator, or several of which the best on validation becomes the candidate."""


def plain_place(at: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The keys that lead to a value of `training.estimator`, without the branches that validation has taken."""
    if at[:2] != ("training", "estimator") or at[2:3] not in ((_ONE,), (_SEVERAL,)):
        return at
    rest = list(at[3:])
    place = [rest.pop(0)] if at[2] == _SEVERAL and rest and isinstance(rest[0], int) else []
    if rest and rest[0] in KINDS:
        rest.pop(0)
    return (*at[:2], *place, *rest)


def kind_at(at: tuple[int | str, ...]) -> type[Section] | None:
    """The section of the estimator in which a place of validation lies; None elsewhere."""
    found = at[4:5] if at[2:3] == (_SEVERAL,) else at[3:4]
    if at[:2] != ("training", "estimator") or not found:
        return None
    return KINDS.get(cast("str", found[0]))
