"""Estimators by their import path: the class, and its parameters, of which some may be estimators."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import SpecError, did_you_mean
from tallywright.training.estimators.libraries import errors_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFUSED: Final = frozenset({"memory", "verbose", "callbacks"})
"""Parameters that write files or to the screen."""
_FIXED: Final = {
    "xgboost": {
        "missing": ((None,), "a null is NaN here, and no other number stands for it"),
        "multi_strategy": ((None, "one_output_per_tree"), "a tree with several outputs cannot be converted"),
    }
}
"""Parameters by package that change what a prediction means and that a graph cannot follow: the values that are taken,
and why no others are. LightGBM's (`zero_as_missing`, `linear_tree`, `use_missing`) are none of its classes' own."""


def made_of(path: str, params: Mapping[str, Any]) -> Any:
    """An estimator, not fitted.

    Raises:
        SpecError: No such class or parameter.
    """
    cls = _class_of(path)
    known = _parameters(cls)
    strange = next((name for name in params if name not in known or name in _REFUSED), None)
    if strange is not None:
        raise SpecError(
            f"{path} takes no parameter {strange!r} here{did_you_mean(strange, known)}",
            expected=", ".join(name for name in known if name not in _REFUSED),
            remedy="correct training.estimator.params",
        )
    _require_fixed(path, params)
    with errors_of(path):
        return cls(**{name: _value(value) for name, value in params.items()})


def _require_fixed(path: str, params: Mapping[str, Any]) -> None:
    for name, (taken, why) in _FIXED.get(path.partition(".")[0], {}).items():
        if params.get(name) not in taken:
            raise SpecError(
                f"{path} cannot be packaged with {name}: {params[name]!r}: {why}",
                expected=f"no {name} in its params",
                remedy=f"take {name} out of training.estimator.params"
                + ("; make the value null in the feature's SQL" if name == "missing" else ""),
            )


def _parameters(cls: type) -> list[str]:
    """The names of a class's parameters, those of its bases too where it hands them on."""
    found: dict[str, None] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        found |= {one.name: None for one in parameters if one.kind in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY}}
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return [name for name in found if name != "self"]


def _value(value: Any) -> Any:
    if isinstance(value, dict) and "path" in value:
        return made_of(value["path"], value.get("params", {}))
    if isinstance(value, dict):
        return {name: _value(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_value(one) for one in value]
    return value


def _class_of(path: str) -> type:
    """The class of an import path.

    Raises:
        SpecError: There is none, or it is no estimator.
    """
    from sklearn.base import BaseEstimator

    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        found = None
    if not isinstance(found, type) or not issubclass(found, BaseEstimator):
        raise SpecError(
            f"there is no estimator {path}",
            expected="the import path of a class, such as sklearn.ensemble.RandomForestClassifier",
            remedy="correct training.estimator",
        )
    return found
