"""An ONNX file from elsewhere: its own scores, and the graph that a package has of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.errors import first_line
from tallywright.training.adoption.onnx_ends import positive_column, with_ends
from tallywright.training.adoption.onnx_inputs import NUMBERS, understood_inputs
from tallywright.training.estimators.tried_graph import opened, run_in_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tallywright.errors import TallyError
    from tallywright.packaging.preprocess import Preprocess
    from tallywright.spec.sections import Training
    from tallywright.training.matrices import Rows
    from tallywright.training.objective import Objective

_SCORES: Final = ("score", "probabilities", "probability", "variable")
"""Names of the output that is meant where there are several: ours, and those of skl2onnx and onnxmltools."""
_LOOKED_AT: Final = 50
_MATRIX: Final = 2


class OnnxFile:
    """An ONNX graph as somebody has exported it.

    Raises:
        TallyError: It cannot be opened, or its inputs and outputs are none of those that are understood.
    """

    tolerance = 1e-5

    def __init__(self, content: bytes, training: Training, refusal: Callable[[str], TallyError]) -> None:
        self._content, self._refusal = content, refusal
        self._session = opened(content, refusal)
        self._inputs = understood_inputs(self._session.get_inputs(), training, refusal)
        self._output = self._chosen_output()

    def categories(self, column: str) -> tuple[str, ...] | None:  # noqa: ARG002 - of any column
        """None: a graph that reads texts knows them itself, and one that reads codes does not say what they mean."""
        return None

    def graph(self, preprocess: Preprocess, objective: Objective, rows: Rows) -> bytes:
        """The file with nodes before its inputs and behind its output; as it is where these fit."""
        raw = self._raw(preprocess, rows.take(slice(_LOOKED_AT)))
        width = self._width(raw, objective)
        plain = raw.ndim == (_MATRIX if objective.kind.per_class else 1) and raw.dtype == np.float32
        if plain and self._output == "score" and all(one.is_own for one in self._inputs):
            return self._content
        try:
            return with_ends(self._content, self._inputs, self._output, width, preprocess, objective)
        except Exception as error:
            raise self._refusal(f"cannot be given the ends of a package: {first_line(error)}") from error

    def scores(self, preprocess: Preprocess, objective: Objective, rows: Rows) -> np.ndarray:
        """The file's own output, of inputs that are made without the nodes of the package's graph."""
        raw = self._raw(preprocess, rows)
        if objective.kind.per_class:
            return raw
        return raw[:, positive_column(objective)] if self._width(raw, objective) > 1 else raw.reshape(-1)

    def _chosen_output(self) -> str:
        found = {one.name: one.type for one in self._session.get_outputs()}
        numbers = [name for name, kind in found.items() if kind in NUMBERS]
        chosen = next((name for name in _SCORES if name in numbers), numbers[0] if len(numbers) == 1 else "")
        if not chosen:
            zipped = any(kind.startswith("seq(map") for kind in found.values())
            hint = "; export it with options={'zipmap': False}" if zipped else ""
            raise self._refusal(f"gives {found}; expected one output of floats, or one of {', '.join(_SCORES)}{hint}")
        return chosen

    def _width(self, raw: np.ndarray, objective: Objective) -> int:
        """How many columns an output has."""
        width, kind = 1 if raw.ndim == 1 else int(raw.shape[-1]), objective.kind
        allowed = {objective.outputs} if kind.per_class else {1, 2} if kind.thresholds else {1}
        if raw.ndim not in {1, _MATRIX} or width not in allowed:
            wanted = " or ".join(map(str, sorted(allowed)))
            raise self._refusal(f"gives {self._output} of the shape {list(raw.shape)}; expected {wanted} columns")
        return width

    def _raw(self, preprocess: Preprocess, rows: Rows) -> np.ndarray:
        def run(matrices: Mapping[str, np.ndarray]) -> Any:
            feed = {one.name: one.values(matrices, preprocess) for one in self._inputs}
            return self._session.run([self._output], feed)[0]

        return run_in_pieces(rows, run, self._refusal)
