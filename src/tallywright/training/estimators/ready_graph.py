"""The estimator `onnx`: a ready file of the model project, checked and packaged as it is; nothing is trained."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import SpecError
from tallywright.packaging.preprocess import Category, Preprocess, fit_preprocess
from tallywright.training.estimators.protocol import Fitted
from tallywright.training.estimators.tried_graph import TriedGraph

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from tallywright.spec import Project
    from tallywright.spec.estimators import ClassWeight, Ready
    from tallywright.training.estimators.protocol import FitTask

TOLERANCE: Final = 1e-5
"""Between the file on rows as they come, and the package on padded pieces of them."""
MOST_BYTES: Final = 300_000_000
_REMEDY: Final = "export the model again, see docs/estimators.md"


class ReadyGraph:
    """A ready ONNX file.

    Raises:
        SpecError: No such file in the project, it is too large, or no graph with the package's inputs and output.
    """

    def __init__(self, project: Project, section: Ready) -> None:
        self._spec, self._section = project.spec.training, section
        folder = project.folder.resolve()
        path = (folder / section.file).resolve()
        if not path.is_file() or not path.is_relative_to(folder):
            raise self._refusal("is no file in the model project")
        if path.stat().st_size > MOST_BYTES:
            raise self._refusal(f"has {path.stat().st_size:,} bytes; at most {MOST_BYTES:,} are packaged")
        self._tried = TriedGraph(path.read_bytes(), self._spec, self._refusal)
        self.texts: Mapping[str, str] = {}
        self.identity: Mapping[str, Any] = {"onnx_sha256": hashlib.sha256(self._tried.graph).hexdigest()}
        self.class_weight: ClassWeight = "none"

    def preprocess(self, train: pa.Table) -> Preprocess:
        """The columns of the spec, with the categories that it lists for the file."""
        found = fit_preprocess(train, self._spec.numeric, self._spec.categorical, self._spec.min_category_rows)
        listed = self._section.categories
        categorical = tuple(Category(column=name, categories=listed[name]) for name in self._spec.categorical)
        return found.model_copy(update={"categorical": categorical})

    def fit(self, task: FitTask) -> Fitted:
        """Tries the graph on a handful of rows; that is all."""
        task.doing(f"trying {self._section.file} on a handful of rows", None)
        self._tried.try_on(task)
        return Fitted(graph=self._tried.graph, predict=self._tried.scores, tolerance=TOLERANCE, rounds=1)

    def _refusal(self, what: str) -> SpecError:
        return SpecError(
            f"training.estimator.file {self._section.file} {what}",
            expected="one ONNX file: inputs numeric float32 [N, F] and categorical int64 [N, C], output score float32",
            remedy=_REMEDY,
        )
