"""A model that LightGBM has saved as text: its trees as a graph."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.errors import TallyError
from tallywright.packaging.preprocess import FIRST_CODE
from tallywright.spec.estimators import LIGHTGBM_OBJECTIVES
from tallywright.training.adoption.tree_columns import TreeColumns
from tallywright.training.adoption.understood import link_of
from tallywright.training.estimators.boosted import trees_graph
from tallywright.training.estimators.libraries import scores_of_raw
from tallywright.training.estimators.lightgbm_trees import TOLERANCE, read_trees

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallywright.packaging.preprocess import Preprocess
    from tallywright.spec.sections import Training
    from tallywright.training.estimators.model_graph import Link
    from tallywright.training.matrices import Rows
    from tallywright.training.objective import Objective

_CATEGORIES: Final = "\npandas_categorical:"
_LINKS: Final[dict[str, dict[str, str]]] = {
    "binary": {"binary": "logistic"},
    "multiclass": {"multiclass": "logistic"},
    "regression": LIGHTGBM_OBJECTIVES,
}
"""Objectives of each task, to how raw scores become scores."""


class LightGBMFile:
    """A text that `Booster.save_model` has written.

    Raises:
        TallyError: It is none, or reads other columns than the spec has.
    """

    tolerance = TOLERANCE

    def __init__(self, content: bytes, training: Training, refusal: Callable[[str], TallyError]) -> None:
        import lightgbm

        self._refusal = refusal
        try:
            text = content.decode()
            head = dict(line.split("=", 1) for line in text.split("\nTree=", 1)[0].splitlines() if "=" in line)
            names, outputs = head["feature_names"].split(" "), int(head["num_tree_per_iteration"])
            objective, *options = head["objective"].split(" ")
            sizes = [int(one) for one in head["tree_sizes"].split()]
            kept = text.rpartition(_CATEGORIES)[2].splitlines()[0] if _CATEGORIES in text else "null"
            self._kept: list[Any] = list(json.loads(kept) or [])
        except Exception as error:
            raise refusal(f"is no model that LightGBM has saved as text: {type(error).__name__}") from error
        if not _is_complete(content, sizes):
            raise refusal("is cut off, or was changed: its trees are not those that its first lines announce")
        self._text, self._outputs, self._objective, self._options = text, outputs, objective, options
        self.columns = TreeColumns(names, len(names), training, refusal)
        self._require_understood(head)
        try:
            self._trees = [self.columns.moved(tree, FIRST_CODE) for tree in read_trees(text, outputs)]
            self._booster = lightgbm.Booster(model_str=text)  # the library trusts what it reads: ours is first
        except TallyError:
            raise
        except Exception as error:
            raise refusal(f"has trees that cannot be read: {type(error).__name__}: {error}") from error

    def categories(self, column: str) -> tuple[str, ...]:
        """The values that pandas had when the model was fitted."""
        return tuple(map(str, self._kept[self.columns.categorical.index(column)]))

    def graph(self, preprocess: Preprocess, objective: Objective, rows: Rows) -> bytes:  # noqa: ARG002 - the protocol's
        """The trees over the package's matrix."""
        return trees_graph(self._trees, objective, rows, self._link(objective))

    def scores(self, preprocess: Preprocess, objective: Objective, rows: Rows) -> np.ndarray:  # noqa: ARG002 - as above
        """LightGBM's own scores."""
        raw = np.asarray(self._booster.predict(self.columns.matrix(rows), raw_score=True, num_threads=1))
        return scores_of_raw(objective, raw.reshape(len(raw), -1), self._link(objective))

    def _link(self, objective: Objective) -> Link:
        return link_of(_LINKS, self._objective, self._outputs, objective, self._refusal)

    def _require_understood(self, head: dict[str, str]) -> None:
        if "average_output" in self._text.split("\nTree=", 1)[0]:
            raise self._refusal("is a forest (boosting: rf); only boosted trees are read")
        if "\nis_linear=1" in self._text:
            raise self._refusal("has linear models in its leaves (linear_tree); only plain leaves are read")
        if self._objective == "binary" and "sigmoid:1" not in self._options:
            raise self._refusal(f"has the objective {head['objective']}; only sigmoid:1 is read")
        if len(self._kept) != len(self.columns.categorical):
            raise self._refusal(
                f"names the values of {len(self._kept)} categorical columns, and the spec has "
                f"{len(self.columns.categorical)}: fit it on a pandas frame whose categorical columns have the type "
                "category"
            )
        for values in self._kept:
            plain = isinstance(values, list) and all(type(one) in {str, int} for one in values)
            if not plain:
                raise self._refusal(f"has the categories {str(values)[:100]}; expected texts or whole numbers")


def _is_complete(content: bytes, sizes: list[int]) -> bool:
    """True where each tree has the size that the head says, and all that is begun has its end.

    LightGBM reads by these sizes, and ends the process where the text is shorter.
    """
    at = content.find(b"\nTree=") + 1
    for number, size in enumerate(sizes):
        if size <= 0 or not content.startswith(b"Tree=%d\n" % number, at):
            return False
        at += size
    whole = b"\nparameters:" not in content or b"\nend of parameters" in content
    return whole and content.startswith(b"end of trees", at)
