"""A graph that somebody else has made: opened, its inputs and output checked, tried on a handful of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.errors import first_line
from tallywright.packaging.predictor import open_session
from tallywright.training.estimators.outside_tensors import outside_tensors
from tallywright.training.parity import relative_gap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tallywright.errors import TallyError
    from tallywright.spec.sections import Training
    from tallywright.training.estimators.protocol import FitTask
    from tallywright.training.matrices import Rows

_TRIED_ROWS: Final = 300
_LOOKED_AT: Final = 100_000
_PIECE: Final = 16_384
_KINDS: Final = {"numeric": "tensor(float)", "categorical": "tensor(int64)"}
_ROUNDING: Final = 1e-3
_ALONE: Final = 30
_BESIDE: Final = 1e-5
"""By how much the score of a row may change with the rows beside it, relative to the largest score."""


def opened(graph: bytes, refusal: Callable[[str], TallyError]) -> Any:
    """A session of a graph.

    Args:
        graph: ONNX, all of it in one file.
        refusal: Makes the error of what is wrong with it.

    Raises:
        TallyError: It is no such graph, or ONNX Runtime does not take it.
    """
    import onnx
    import onnxruntime

    try:
        outside = next(outside_tensors(onnx.load_model_from_string(graph)), None)
    except Exception as error:
        raise refusal("is no ONNX model") from error
    if outside is not None:
        raise refusal(f"keeps {outside.name or 'a tensor'} in a file beside it; all of it has to be in one file")
    try:
        return open_session(graph)
    except Exception as error:
        raise refusal(f"is refused by ONNX Runtime {onnxruntime.__version__}: {first_line(error)}") from error


class TriedGraph:
    """A graph with the inputs and the output of a package.

    Args:
        graph: ONNX.
        training: The section of the spec whose columns it reads.
        refusal: Makes the error of what is wrong with it.

    Raises:
        TallyError: ONNX Runtime does not take it, or its inputs and output are others.
    """

    def __init__(self, graph: bytes, training: Training, refusal: Callable[[str], TallyError]) -> None:
        self.graph = graph
        self._refusal = refusal
        self._session = opened(graph, refusal)
        self._require_ends(training)

    def _require_ends(self, training: Training) -> None:
        widths = {"numeric": len(training.numeric), "categorical": len(training.categorical)}
        expected = {name: (_KINDS[name], width) for name, width in widths.items() if width}
        found = {one.name: (one.type, one.shape[-1] if one.shape else None) for one in self._session.get_inputs()}
        fits = found.keys() == expected.keys() and all(
            kind == expected[name][0] and (not isinstance(width, int) or width == expected[name][1])
            for name, (kind, width) in found.items()
        )
        outputs = {one.name: one.type for one in self._session.get_outputs()}
        if not fits or outputs.get("score") != "tensor(float)":
            raise self._refusal(
                f"reads {found} and gives {outputs}; expected inputs {expected} and score tensor(float)"
            )

    def try_on(self, task: FitTask) -> None:
        """Refuses scores of another shape, that are no probabilities, or that depend on the rows beside a row.

        Raises:
            TallyError: One of these.
        """
        rows = task.train
        few = _few(rows)
        scores, count, kind = self.scores(few), len(few.target), task.objective.kind
        shape = (count, task.objective.outputs) if kind.per_class else (count,)
        if scores.shape != shape:
            raise self._refusal(f"gives score {list(scores.shape)} for {count} rows; expected {list(shape)}")
        self._require_rows_apart(few, scores)
        if kind.classifies and not _are_probabilities(scores, per_class=kind.per_class):
            raise self._refusal("gives scores that are no probabilities")

    def _require_rows_apart(self, rows: Rows, scores: np.ndarray) -> None:
        """Scores rows from all over the batch once more, each alone, and the batch with zeros behind it as padding."""
        places = np.unique(np.linspace(0, len(scores) - 1, min(_ALONE, len(scores))).astype(int))
        alone = np.concatenate([self.scores(rows.take(slice(at, at + 1))) for at in places])
        padded = self.scores(_padded(rows))[: len(scores)]
        if max(relative_gap(scores[places], alone), relative_gap(scores, padded)) > _BESIDE:
            raise self._refusal(
                "gives a row another score when it comes alone, or beside others: a row's score depends on the rows "
                "beside it, or on chance"
            )

    def scores(self, rows: Rows) -> np.ndarray:
        """The scores of rows.

        Raises:
            TallyError: The graph fails on them.
        """

        def run(matrices: Mapping[str, np.ndarray]) -> Any:
            feed = {name: matrix for name, matrix in matrices.items() if matrix.shape[1]}
            return self._session.run(["score"], feed)[0]

        return run_in_pieces(rows, run, self._refusal)


def run_in_pieces(
    rows: Rows, run: Callable[[Mapping[str, np.ndarray]], Any], refusal: Callable[[str], TallyError]
) -> np.ndarray:
    """What a graph gives for rows, a piece of them at a time.

    Args:
        rows: The rows.
        run: Gives the output for the package's matrices, `numeric` and `categorical`, of some rows.
        refusal: Makes the error of what is wrong with the graph.

    Raises:
        TallyError: It fails on them.
    """
    parts = []
    for start in range(0, len(rows.target), _PIECE):
        piece = rows.take(slice(start, start + _PIECE))
        try:
            parts.append(np.asarray(run({"numeric": piece.numeric, "categorical": piece.categorical})))
        except Exception as error:
            raise refusal(f"fails on rows of the training window: {first_line(error)}") from error
    return np.concatenate(parts)


def _few(rows: Rows) -> Rows:
    """The first rows, and the first that have a null."""
    nulls = np.flatnonzero(np.isnan(rows.numeric[:_LOOKED_AT]).any(axis=1))[:_ALONE]
    return rows.take(np.union1d(np.arange(min(_TRIED_ROWS, len(rows.target))), nulls))


def _padded(rows: Rows) -> Rows:
    numeric, categorical = (np.concatenate([one, np.zeros_like(one)]) for one in (rows.numeric, rows.categorical))
    return type(rows)(numeric, categorical, np.concatenate([rows.target, rows.target]))


def _are_probabilities(scores: np.ndarray, *, per_class: bool) -> bool:
    within = bool(((scores >= 0) & (scores <= 1)).all())
    return within and (not per_class or bool(np.allclose(scores.sum(axis=1), 1, atol=_ROUNDING)))
