"""What the boosting libraries share: what they are told of spec and task, and the graph of their trees."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar, Final

from tallywright.packaging.preprocess import fit_preprocess
from tallywright.training.estimators.libraries import require_installed
from tallywright.training.estimators.model_graph import GraphParts
from tallywright.training.estimators.tree_graph import ensemble_node

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from tallywright.packaging.preprocess import Preprocess
    from tallywright.spec import Project
    from tallywright.spec.estimators import LightGBM, XGBoost
    from tallywright.training.estimators.model_graph import Link
    from tallywright.training.estimators.tree_graph import Tree
    from tallywright.training.matrices import Rows
    from tallywright.training.objective import Objective

_MOST_SEED: Final = 2**31


class BoostedTrees:
    """The part of an estimator that is the same for every boosting library.

    Attributes:
        package: The library's package.
        binary: Its objective for a binary model.
        multiclass: Its objective for a multiclass one.
        regression: Its objective for a regression whose spec names none.
        links: Its objectives for regressions, by name, to the link of each.

    Raises:
        SpecError: The library is not installed.
    """

    package: ClassVar[str]
    binary: ClassVar[str]
    multiclass: ClassVar[str]
    regression: ClassVar[str]
    links: ClassVar[Mapping[str, str]]

    def __init__(self, project: Project, section: LightGBM | XGBoost) -> None:
        require_installed(self.package, section.kind)
        self._spec, self._section = project.spec.training, section
        self.texts: Mapping[str, str] = {}
        self.identity: Mapping[str, Any] = {self.package: importlib.import_module(self.package).__version__}
        self.class_weight = section.class_weight

    def preprocess(self, train: pa.Table) -> Preprocess:
        """Learns the categories from the training table."""
        return fit_preprocess(train, self._spec.numeric, self._spec.categorical, self._spec.min_category_rows)

    def _told(self, objective: Objective) -> dict[str, Any]:
        """The parameters that the libraries call the same: the spec's, the task's objective, learning rate, seed."""
        tasks: dict[str, Any] = {"objective": self._section.params.get("objective", self.regression)}
        if objective.kind.thresholds:
            tasks = {"objective": self.binary}
        elif objective.kind.per_class:
            tasks = {"objective": self.multiclass, "num_class": objective.outputs}
        spec, directions = self._spec, dict(self._section.monotone)
        monotone = [directions.get(name, 0) for name in spec.numeric] + [0] * len(spec.categorical)
        return {
            **self._section.params,
            **tasks,
            **({"monotone_constraints": tuple(monotone)} if any(monotone) else {}),
            "learning_rate": self._section.learning_rate,
            "seed": self._spec.seed % _MOST_SEED,
        }

    def _link(self, objective: Objective) -> Link:
        if objective.kind.classifies:
            return "logistic"
        exp = self.links[str(self._section.params.get("objective", self.regression))] == "exp"
        return "exp" if exp else "identity"


def trees_graph(trees: list[Tree], objective: Objective, rows: Rows, link: Link, base: tuple[float, ...] = ()) -> bytes:
    """The model of some trees over the plain matrix of such rows; `base` is what each output starts from."""
    outputs = objective.outputs
    parts = GraphParts(rows.numeric.shape[1], rows.categorical.shape[1])
    names = (parts.plain_matrix(), "raw")
    parts.nodes.append(ensemble_node(trees, outputs, base or (0.0,) * outputs, names))
    parts.score_of_raw("raw", objective, link)
    return parts.model(outputs)
