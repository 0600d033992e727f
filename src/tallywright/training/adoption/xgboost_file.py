"""A model that XGBoost has saved as JSON or UBJSON: its trees as a graph."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.errors import TallyError
from tallywright.packaging.preprocess import FIRST_CODE, NULL_CODE, UNSEEN_CODE
from tallywright.spec.estimators import XGBOOST_OBJECTIVES
from tallywright.training.adoption.tree_columns import TreeColumns
from tallywright.training.adoption.understood import link_of
from tallywright.training.estimators.boosted import trees_graph
from tallywright.training.estimators.libraries import scores_of_raw
from tallywright.training.estimators.xgboost_trees import TOLERANCE, margin_of, trees_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallywright.packaging.preprocess import Preprocess
    from tallywright.spec.sections import Training
    from tallywright.training.estimators.model_graph import Link
    from tallywright.training.matrices import Rows
    from tallywright.training.objective import Objective

_LINKS: Final[dict[str, dict[str, str]]] = {
    "binary": {"binary:logistic": "logistic"},
    "multiclass": {"multi:softprob": "logistic", "multi:softmax": "logistic"},
    "regression": XGBOOST_OBJECTIVES,
}


class XGBoostFile:
    """A model that `Booster.save_model` has written.

    Args:
        content: Of the file.
        training: The section of the spec.
        refusal: Makes the error of what is wrong with it.
        best_rounds: Only the rounds through the best one predict, as in scikit-learn's classes of XGBoost.

    Raises:
        TallyError: It is none, or reads other columns than the spec has.
    """

    tolerance = TOLERANCE

    def __init__(
        self, content: bytes, training: Training, refusal: Callable[[str], TallyError], *, best_rounds: bool = False
    ) -> None:
        import xgboost

        self._refusal = refusal
        try:
            self._booster = xgboost.Booster()
            self._booster.load_model(bytearray(content))
            learner = json.loads(bytes(self._booster.save_raw("json")))["learner"]
            width = int(learner["learner_model_param"]["num_feature"])
            boosting = learner["gradient_booster"]
        except Exception as error:
            raise refusal(f"is no model that XGBoost has saved as JSON or UBJSON: {type(error).__name__}") from error
        if boosting["name"] != "gbtree":
            raise refusal(f"is of the booster {boosting['name']}; only gbtree is read")
        self._learner, self._model = learner, boosting["model"]
        self._objective = str(learner["objective"]["name"])
        names = learner.get("feature_names") or [f"f{number}" for number in range(width)]
        self.columns = TreeColumns(names, width, training, refusal)
        best = learner["attributes"].get("best_iteration") if best_rounds else None
        self._rounds = self._booster.num_boosted_rounds() if best is None else int(best) + 1

    def categories(self, column: str) -> tuple[str, ...]:
        """The values that the model was fitted on, as it keeps them since XGBoost 3.1."""
        place = self.columns.names.index(column)
        try:
            kept = self._model["cats"]["enc"][place]
            ends, content = kept["offsets"], bytes(kept["values"])
            return tuple(content[start:end].decode() for start, end in pairwise(ends))
        except (KeyError, IndexError, ValueError) as error:
            raise self._refusal(
                f"does not say which values of {column} its codes stand for: fit it on a pandas frame with texts of "
                "the type category, by XGBoost 3.1 or later"
            ) from error

    def graph(self, preprocess: Preprocess, objective: Objective, rows: Rows) -> bytes:  # noqa: ARG002 - the protocol's
        """The trees over the package's matrix."""
        link = self._link(objective)
        try:
            base = self._base(objective, link)
            trees = [self.columns.moved(tree, 0) for tree in trees_of(self._trees())]
        except TallyError:
            raise
        except Exception as error:
            raise self._refusal(f"has trees that cannot be read: {type(error).__name__}: {error}") from error
        return trees_graph(trees, objective, rows, link, base)

    def scores(self, preprocess: Preprocess, objective: Objective, rows: Rows) -> np.ndarray:  # noqa: ARG002 - as above
        """XGBoost's own scores."""
        import xgboost

        kinds = ["c" if name in self.columns.categorical else "float" for name in self.columns.names]
        matrix = xgboost.DMatrix(
            self.columns.matrix(rows),
            feature_names=self._learner.get("feature_names") or None,
            feature_types=kinds,
            enable_categorical=True,
        )
        raw = self._booster.predict(matrix, output_margin=True, iteration_range=(0, self._rounds))
        raw = np.asarray(raw, dtype=np.float64)
        return scores_of_raw(objective, raw.reshape(len(raw), -1), self._link(objective))

    def _trees(self) -> dict[str, Any]:
        """The trees of the rounds that predict; null and unseen categories are in the set where they go that way."""
        count = self._model["iteration_indptr"][self._rounds]
        trees = self._model["trees"][:count]
        return {"trees": [_with_nulls(tree) for tree in trees], "tree_info": self._model["tree_info"][:count]}

    def _link(self, objective: Objective) -> Link:
        outputs = max(1, int(self._learner["learner_model_param"]["num_class"]))
        return link_of(_LINKS, self._objective, outputs, objective, self._refusal)

    def _base(self, objective: Objective, link: Link) -> tuple[float, ...]:
        """What the raw outputs start from."""
        told = json.loads(str(self._learner["learner_model_param"]["base_score"]))
        values = [float(one) for one in (told if isinstance(told, list) else [told])]
        if len(values) == 1:
            values *= objective.outputs
        return tuple(margin_of(one, link, several=objective.kind.per_class) for one in values)


def _with_nulls(tree: dict[str, Any]) -> dict[str, Any]:
    """A tree whose sets have the codes of the package."""
    codes: list[int] = []
    starts, sizes = [], []
    segments = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    for node, start, size in segments:
        # A code of the set goes right, and so does null unless its way is the left one.
        nulls = [] if tree["default_left"][node] else [NULL_CODE, UNSEEN_CODE]
        mine = nulls + [code + FIRST_CODE for code in tree["categories"][start : start + size]]
        starts.append(len(codes))
        sizes.append(len(mine))
        codes += mine
    return tree | {"categories": codes, "categories_segments": starts, "categories_sizes": sizes}
