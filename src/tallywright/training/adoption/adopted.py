"""A model from elsewhere as an estimator: its file is read, fitted with the ends of a package, and tried; no more."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, cast

from tallywright.errors import PackageError
from tallywright.packaging.meta import ADOPTED
from tallywright.packaging.preprocess import Category, Preprocess, fit_preprocess
from tallywright.training.adoption.lightgbm_file import LightGBMFile
from tallywright.training.adoption.onnx_file import OnnxFile
from tallywright.training.adoption.xgboost_file import XGBoostFile
from tallywright.training.estimators.protocol import Fitted
from tallywright.training.estimators.tried_graph import TriedGraph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    import pyarrow as pa

    from tallywright.errors import TallyError
    from tallywright.spec import Project
    from tallywright.spec.estimators import ClassWeight
    from tallywright.spec.sections import Training
    from tallywright.training.estimators.protocol import FitTask
    from tallywright.training.matrices import Rows
    from tallywright.training.objective import Objective

_BEST: Final = "best"
Library = Literal["onnx", "lightgbm", "xgboost"]


@dataclass(frozen=True, slots=True)
class Adopted:
    """A model's file on this machine, and where it is from.

    Args:
        path: The file.
        library: What wrote it.
        sha256: Of its content.
        source: The address from which it was taken.
        by: Who adopts it.
        trained_through: The last date whose rows the model has seen, by the word of who adopts it.
        best_rounds: Of XGBoost: only the rounds through the best one predict.
    """

    path: Path
    library: Library
    sha256: str
    source: str
    by: str
    trained_through: date
    best_rounds: bool = False

    @property
    def origin(self) -> dict[str, str]:
        """What the package, the run and the version say about it."""
        return {
            "source": self.source,
            "sha256": self.sha256,
            "library": self.library,
            "by": self.by,
            "trained_through": self.trained_through.isoformat(),
            **({"rounds": _BEST} if self.best_rounds else {}),
        }

    @classmethod
    def of(cls, path: Path, origin: Mapping[str, str]) -> Adopted:
        """A file that is here, of such an origin."""
        return cls(
            path,
            cast("Library", origin["library"]),
            origin["sha256"],
            origin["source"],
            origin["by"],
            date.fromisoformat(origin["trained_through"]),
            best_rounds=origin.get("rounds") == _BEST,
        )


class AdoptedFile(Protocol):
    """A file whose model can be had as a graph with the ends of a package.

    Attributes:
        tolerance: By how much the graph's scores may differ from the file's own.
    """

    tolerance: float

    def categories(self, column: str) -> tuple[str, ...] | None:
        """The values of a categorical column in the order of its codes; None where the file does not say them."""
        ...

    def graph(self, preprocess: Preprocess, objective: Objective, rows: Rows) -> bytes:
        """The graph; a few rows are there to look at what comes out.

        Raises:
            PackageError: The file is of another task, or reads other columns.
        """
        ...

    def scores(self, preprocess: Preprocess, objective: Objective, rows: Rows) -> np.ndarray:
        """What the file itself says about rows, by its own library."""
        ...


_FILES: Final[dict[str, Callable[[Adopted, bytes, Training, Callable[[str], TallyError]], AdoptedFile]]] = {
    "onnx": lambda _, *given: OnnxFile(*given),
    "lightgbm": lambda _, *given: LightGBMFile(*given),
    "xgboost": lambda adopted, *given: XGBoostFile(*given, best_rounds=adopted.best_rounds),
}


class AdoptedModel:
    """The estimator of an adopted file: nothing is trained.

    Raises:
        PackageError: The file is another one by now, or cannot be read, or does not fit the spec's columns.
    """

    def __init__(self, project: Project, adopted: Adopted) -> None:
        self._spec, self._adopted = project.spec.training, adopted
        _require_library(adopted.library)
        content = adopted.path.read_bytes()
        if hashlib.sha256(content).hexdigest() != adopted.sha256:
            raise self._refusal("is another file by now")
        self._file = _FILES[adopted.library](adopted, content, self._spec, self._refusal)
        self.texts: Mapping[str, str] = {}
        self.identity: Mapping[str, Any] = {ADOPTED: adopted.origin}
        self.class_weight: ClassWeight = "none"

    def preprocess(self, train: pa.Table) -> Preprocess:
        """The columns of the spec, with the categories of the file; those of the training window where it has none."""
        found = fit_preprocess(train, self._spec.numeric, self._spec.categorical, 1)
        categorical = tuple(
            Category(
                column=one.column,
                categories=one.categories if (known := self._file.categories(one.column)) is None else known,
            )
            for one in found.categorical
        )
        self._preprocess = found.model_copy(update={"categorical": categorical})
        return self._preprocess

    def fit(self, task: FitTask) -> Fitted:
        """Makes the graph, and tries it on a handful of rows."""
        task.doing(f"trying {self._adopted.source} on a handful of rows", None)
        file, preprocess = self._file, self._preprocess
        tried = TriedGraph(file.graph(preprocess, task.objective, task.train), self._spec, self._refusal)
        tried.try_on(task)
        return Fitted(
            graph=tried.graph,
            predict=lambda rows: file.scores(preprocess, task.objective, rows),
            tolerance=file.tolerance,
            rounds=1,
        )

    def _refusal(self, what: str) -> PackageError:
        spec = self._spec
        return PackageError(
            f"the model {self._adopted.source} {what}",
            expected=f"a {spec.task} model that reads the columns {', '.join((*spec.numeric, *spec.categorical))}",
            remedy="see docs/adopt.md for the inputs and outputs that are understood",
        )


def _require_library(library: Library) -> None:
    if importlib.util.find_spec(library) is None:
        raise PackageError(
            f"a model of {library} is adopted, and {library} is not installed here",
            expected=f"the package {library} where models are adopted",
            remedy="pip install 'tallywright[train,trees]'; to score such a model nothing of it is needed",
        )
