"""Section `training.tuning`: the parameters of an estimator that are searched, where, and for how long.

A parameter that changes the loss is not searched: losses of different kinds say nothing about one another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema, model_validator

from tallywright.errors import closest, did_you_mean
from tallywright.spec.base import Section
from tallywright.spec.estimators import LIGHTGBM_PARAMS, XGBOOST_PARAMS, EstimatorSpec, Sklearn, named
from tallywright.spec.values import Name, Number, Whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

OUTCOMES: Final = ("complete", "pruned", "failed")
"""How a trial ends."""
MOST_PARAMETERS: Final = 20
MOST_TRIALS: Final = 1_000
_MOST_CHOICES: Final = 100
_MOST_STEPS: Final = 1_000_000
_LARGEST: Final = 1e12
_LOSSES: Final = frozenset(
    {"objective", "alpha", "fair_c", "poisson_max_delta_step", "tweedie_variance_power", "huber_slope"}
)
_BOOSTING: Final = {"learning_rate": "number", "rounds": "whole", "patience": "whole"}
_WHOLE: Final = (
    *("num_leaves", "max_depth", "min_data_in_leaf", "bagging_freq", "max_bin", "min_data_in_bin", "max_leaves"),
    *("bin_construct_sample_cnt", "max_cat_threshold", "max_cat_to_onehot", "min_data_per_group", "num_parallel_tree"),
)
_NAMED: Final = (
    *("extra_trees", "data_sample_strategy", "monotone_constraints_method"),
    *("grow_policy", "sampling_method", "tree_method"),
)
"""Parameters of the libraries whose values are texts or truth values; those in neither list are numbers."""


def _typed(params: frozenset[str]) -> dict[str, str]:
    return {name: "whole" if name in _WHOLE else "named" if name in _NAMED else "number" for name in params - _LOSSES}


PARAMETERS: Final[Mapping[str, Mapping[str, str]]] = {
    "torch": {
        "hidden": "named",
        "dropout": "number",
        "epochs": "whole",
        "batch_size": "whole",
        "learning_rate": "number",
        "weight_decay": "number",
        "patience": "whole",
    },
    "lightgbm": _BOOSTING | _typed(LIGHTGBM_PARAMS),
    "xgboost": _BOOSTING | _typed(XGBOOST_PARAMS),
}
"""What can be searched of a kind of estimator, to the type of its values; of scikit-learn all `params` of the class."""


def _plain_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
        raise ValueError(f"a number is needed, of at most {_LARGEST:g}")
    return value


Amount = Annotated[Any, AfterValidator(_plain_number), WithJsonSchema({"type": "number"})]
"""A number as it is written: 7 is whole, 7.0 is not."""


def _choice(value: Any) -> Any:
    """Refuses what no parameter can be; a list stays one."""
    for one in value if isinstance(value, list | tuple) else (value,):
        if one is not None and not isinstance(one, bool | str):
            _plain_number(one)
    return list(value) if isinstance(value, tuple) else value


class SearchedParameter(Section):
    """The values of a parameter that may be tried: a range, or a list."""

    low: Amount | None = None
    high: Amount | None = None
    log: bool = False
    """Tries as many values between 0.01 and 0.1 as between 0.1 and 1."""
    step: Amount | None = None
    """Tries `low` and every `step` from there on."""
    choices: tuple[Annotated[Any, AfterValidator(_choice)], ...] = Field(default=(), max_length=_MOST_CHOICES)

    @model_validator(mode="after")
    def _a_range_or_choices(self) -> SearchedParameter:
        if self.choices:
            self._require_choices()
            return self
        if self.low is None or self.high is None:
            raise ValueError("give `low` and `high`, or `choices`")
        if not self.low < self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("`log` needs a `low` above 0, and no `step`")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ValueError(f"step {self.step} leads to no value between low {self.low} and high {self.high}")
        if self.step is not None and (self.high - self.low) / self.step > _MOST_STEPS:
            raise ValueError(f"step {self.step} makes more than {_MOST_STEPS:,} values")
        return self

    def _require_choices(self) -> None:
        if self.log or any(one is not None for one in (self.low, self.high, self.step)):
            raise ValueError("give `low` and `high`, or `choices`: `log` and `step` belong to a range")
        if len({repr(one) for one in self.choices}) < len(self.choices) or len(self.choices) == 1:
            raise ValueError("`choices` are at least two, each once")

    @property
    def values(self) -> dict[str, Any]:
        """The values at the ends of the range by their keys, or each choice."""
        if self.choices:
            return {f"choices.{number}": value for number, value in enumerate(self.choices)}
        return {"low": self.low, "high": self.high} | ({} if self.step is None else {"step": self.step})

    @property
    def whole(self) -> bool:
        """True for a range of whole numbers."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step) if value is not None)


class Tuning(Section):
    """A search for the parameters of an estimator, judged on the validation days by `gates.primary_metric`."""

    estimator: Name | None = None
    """Which estimator of the list, by its name in the report; not needed where there is one."""
    space: dict[str, SearchedParameter] = Field(min_length=1, max_length=MOST_PARAMETERS)
    """The parameters that are searched, by the names of `training.estimator` and of its `params`."""
    trials: Whole = Field(default=50, ge=1, le=MOST_TRIALS)
    """Ends after so many trials."""
    minutes: Number | None = Field(default=None, gt=0, le=1_440)
    """Begins no trial after so many minutes of trials. How many are made then depends on the machine."""
    sampler: Literal["tpe", "random"] = "tpe"
    """`tpe` looks where earlier trials were good; `random` anywhere. Both draw by `training.seed`."""
    pruning: bool = True
    """Ends a trial whose validation loss is worse than the median of the earlier ones after as many rounds."""


def with_values(estimator: EstimatorSpec, values: Mapping[str, Any]) -> EstimatorSpec:
    """An estimator with other parameters.

    Raises:
        ValidationError: A value that it cannot have.
    """
    # Whatever is searched of scikit-learn is a parameter of the class.
    own = {} if isinstance(estimator, Sklearn) else type(estimator).model_fields
    content = estimator.model_dump() | {name: value for name, value in values.items() if name in own}
    params = {name: value for name, value in values.items() if name not in own}
    if params:
        content["params"] = content["params"] | params
    return type(estimator).model_validate(content)


def outcomes_told(record: Mapping[str, Any]) -> str:
    """How many trials of a search ended in which way, by what a package records of it."""
    return ", ".join(f"{record[state]} {state}" for state in OUTCOMES)


Problem = tuple[tuple[str, ...], str, str]
"""The keys below `training.tuning`, what is wrong there, and the nearest match."""


def tuned_of(tuning: Tuning, estimators: Sequence[EstimatorSpec]) -> EstimatorSpec | None:
    """The estimator that a search is about; None where it names none, or does not say which."""
    asked = [one for one in estimators if tuning.estimator in (None, named(one))]
    return asked[0] if len(asked) == 1 else None


def problems_in(tuning: Tuning, estimators: Sequence[EstimatorSpec]) -> Iterator[Problem]:
    """What does not fit between a search and the estimators of the spec."""
    names, estimator = [named(one) for one in estimators], tuned_of(tuning, estimators)
    if estimator is None:
        found = f"no estimator is called {tuning.estimator!r}" if tuning.estimator else "say which one is tuned"
        nearest = closest(tuning.estimator or "", names)
        yield (
            ("estimator",),
            f"{found}{did_you_mean(tuning.estimator or '', names)}; there is {', '.join(names)}",
            nearest,
        )
        return
    if estimator.kind == "onnx":
        yield ("estimator",), "nothing of a ready file can be tuned", ""
        return
    for name, parameter in tuning.space.items():
        yield from _problems_of(estimator, name, parameter)


def _problems_of(estimator: EstimatorSpec, name: str, parameter: SearchedParameter) -> Iterator[Problem]:
    known = PARAMETERS.get(estimator.kind, {})
    if not isinstance(estimator, Sklearn) and name not in known:
        told = f"{estimator.kind} has no {name!r} to be searched{did_you_mean(name, sorted(known))}"
        yield ("space", name), f"{told}; it has {', '.join(sorted(known))}", closest(name, sorted(known))
        return
    kind = known.get(name, "any")
    if kind == "named" and not parameter.choices:
        yield ("space", name), f"{name} has no range: give `choices`", ""
        return
    for key, value in parameter.values.items():
        wrong = _wrong_type(estimator, kind, value) or (_wrong(estimator, name, value) if key != "step" else "")
        if wrong:
            yield ("space", name, *key.split(".")), f"{name} cannot be {value!r}: {wrong}", ""


def _wrong_type(estimator: EstimatorSpec, kind: str, value: Any) -> str:
    """Why a value is none of a type; empty where it is one."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "whole" and not (number and isinstance(value, int)):
        return "a whole number is needed"
    if kind == "number" and not number:
        return "a number is needed"
    # The network's own named one is `hidden`, a list.
    if kind == "named" and estimator.kind != "torch" and not isinstance(value, bool | str):
        return "a text or a truth value is needed"
    return ""


def _wrong(estimator: EstimatorSpec, name: str, value: Any) -> str:
    """What an estimator says against a value of a parameter; empty where it can have it."""
    try:
        with_values(estimator, {name: value})
    except ValidationError as error:
        return error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
    return ""
