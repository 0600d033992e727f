"""The Predictor: from an Arrow batch to an Arrow batch of outputs, for scoring, gates and serving alike."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime
import pyarrow as pa

from tallywright.buffers import number_array, string_array
from tallywright.errors import PackageError
from tallywright.metrics import decided
from tallywright.packaging.package import ONNX, Package
from tallywright.packaging.preprocess import ModelInput
from tallywright.packaging.refusals import Refusals
from tallywright.profiles.accumulate import with_predicted_class
from tallywright.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tallywright.packaging.manifest import Postprocess
    from tallywright.packaging.refusals import Lookup
    from tallywright.profiles.profile import ProfileDefinition

MICRO_BATCH: Final = 2048
"""Rows of every single run of the graph; a shorter rest is padded, so that all runs have one shape and one way to
compute: what a row scores cannot depend on the batch it came in."""


def outputs_of(postprocess: Postprocess, scores: NDArray[np.float32], threshold: float) -> pa.RecordBatch:
    """The output batch, in the package's output schema.

    Args:
        postprocess: The package's output side.
        scores: [rows], or [rows, classes] for a multiclass model.
        threshold: Binary models: the least probability that is predicted 1.
    """
    columns = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}[postprocess.task]
    return pa.RecordBatch.from_arrays(columns(postprocess, scores, threshold), schema=postprocess.output_schema)


def _binary(_: Postprocess, scores: NDArray[np.float32], threshold: float) -> list[pa.Array]:
    prediction = decided(scores, threshold).astype(np.int32)
    confidence = np.maximum(scores, np.float32(1) - scores)
    return [_int32(prediction), _float32(scores), _float32(confidence)]


def _regression(_: Postprocess, scores: NDArray[np.float32], __: float) -> list[pa.Array]:
    return [_float32(scores)]


def _multiclass(postprocess: Postprocess, scores: NDArray[np.float32], _: float) -> list[pa.Array]:
    rows, classes = scores.shape
    # The first of equal probabilities wins, on every machine.
    best = scores.argmax(axis=1).astype(np.int32) if rows else np.zeros(0, dtype=np.int32)
    if postprocess.class_type == "int32":
        prediction = _int32(np.array([int(name) for name in postprocess.classes], dtype=np.int32)[best])
    else:
        prediction = _labels(postprocess.classes).take(_int32(best))
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(classes)
    probabilities = pa.Array.from_buffers(
        pa.list_(pa.float32()), rows, [None, pa.py_buffer(offsets)], children=[_float32(scores.reshape(-1))]
    )
    return [prediction, probabilities, _float32(scores.max(axis=1, initial=0))]


@lru_cache(maxsize=64)
def _labels(classes: tuple[str, ...]) -> pa.Array:
    return string_array(classes).cast(pa.string())


def _float32(values: NDArray[Any]) -> pa.Array:
    return number_array(values, pa.float32())


def _int32(values: NDArray[Any]) -> pa.Array:
    return number_array(values, pa.int32())


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction of one batch.

    `scores` float32 [rows] is what is profiled: the probability, the value, or the largest of several probabilities.
    `inputs` are profiled too: those of the model, and behind them the predicted class where the model gives one.
    """

    outputs: pa.RecordBatch
    inputs: ModelInput
    scores: NDArray[np.float32]


class Predictor:
    """Scores batches with one package; one thread at a time (each thread takes a `clone`).

    Args:
        package: A loaded package; its graph is read and verified here once more.
        threshold: Binary models of the time before, which name none: `prediction` is 1 (the positive class) where
            `probability`, a float32, is at least this. A package's own threshold goes before it.

    Raises:
        PackageError: The graph cannot be loaded or does not have the inputs and outputs of the package's schema.
    """

    def __init__(self, package: Package, *, threshold: float = 0.5) -> None:
        self.package = package
        self.threshold = package.threshold(threshold)
        self.input_columns: tuple[str, ...] = package.preprocess.columns
        self.output_schema: pa.Schema = package.output_schema
        self._session = _session(package)
        numeric = np.zeros((MICRO_BATCH, len(package.preprocess.numeric)), dtype=np.float32)
        categorical = np.zeros((MICRO_BATCH, len(package.preprocess.categorical)), dtype=np.int64)
        matrices: dict[str, NDArray[Any]] = {"numeric": numeric, "categorical": categorical}
        self._feed = {name: matrix for name, matrix in matrices.items() if matrix.shape[1]}
        self._any_rows = not any(isinstance(node.shape[0], int) for node in self._session.get_inputs() if node.shape)
        self._refusals: Refusals | None = None
        self._confirmed: dict[Lookup, bool] = {}

    def predict(self, batch: pa.RecordBatch) -> Prediction:
        """Scores a batch; the outputs have its rows in its order.

        Raises:
            InputError: A column is missing or mistyped.
            PackageError: The graph raises an error.
        """
        inputs = self.package.preprocess.transform(batch)
        return self.finish(inputs, self.score(inputs))

    def finish(self, inputs: ModelInput, raw: NDArray[np.float32]) -> Prediction:
        """The prediction from the graph's scores of these inputs."""
        outputs = outputs_of(self.package.postprocess, raw, self.threshold)
        if raw.ndim == 1:
            return Prediction(outputs, inputs, raw)
        codes = with_predicted_class(self.definition, inputs.categorical, raw)
        return Prediction(outputs, ModelInput(inputs.numeric, codes), raw.max(axis=1, initial=0))

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Scores a batch, outputs only."""
        return self.predict(batch).outputs

    @property
    def definition(self) -> ProfileDefinition:
        """The definition by which scored rows are profiled."""
        return self.package.definition

    def no_scores(self, rows: int) -> NDArray[np.float32]:
        """Scores of rows that have none: NaN, in the shape of `score`."""
        classes = len(self.package.postprocess.classes) if TASKS[self.package.postprocess.task].per_class else 0
        return np.full((rows, classes) if classes else rows, np.nan, dtype=np.float32)

    def score(self, inputs: ModelInput) -> NDArray[np.float32]:
        """The graph's `score` of prepared inputs: float32 [rows], or [rows, classes].

        Raises:
            PackageError: The graph raises an error.
        """
        scores = self.no_scores(inputs.rows)
        for start, rows in self._fed(inputs):
            scores[start : start + rows] = self._run()[:rows]
        return scores

    def refused(self, inputs: ModelInput) -> NDArray[np.bool_]:
        """A mask of rows that the graph is known to refuse, at the cost of a part of it; others may fail too.

        Whatever is known of a lookup is confirmed once by the graph itself: it refuses the first such row alone, too.
        """
        if self._refusals is None:
            self._refusals = Refusals(self.package.read(ONNX), open_session)
        known = np.zeros(inputs.rows, dtype=np.bool_)
        for start, rows in self._fed(inputs) if self._refusals.lookups else ():
            for lookup, mask in self._refusals.find(self._feed).items():
                refused = mask[:rows]
                if refused.any() and lookup not in self._confirmed:
                    first = start + int(refused.argmax())
                    self._confirmed[lookup] = self.fails(inputs.take(slice(first, first + 1)))
                if self._confirmed.get(lookup):
                    known[start : start + rows] |= refused
        return known

    def _fed(self, inputs: ModelInput) -> Iterator[tuple[int, int]]:
        """Fills the feed with one piece of the inputs after another, padded; start and rows of each."""
        for start in range(0, inputs.rows, MICRO_BATCH):
            rows = min(MICRO_BATCH, inputs.rows - start)
            for name, matrix in self._feed.items():
                matrix[:rows] = getattr(inputs, name)[start : start + rows]
                matrix[rows:] = 0
            yield start, rows

    def fails(self, inputs: ModelInput) -> bool:
        """True when the graph raises an error for these rows; cheaper than their scores where they are few."""
        if inputs.rows > MICRO_BATCH or not self._any_rows:
            try:
                self.score(inputs)
            except PackageError:
                return True
            return False
        feed = {name: np.ascontiguousarray(getattr(inputs, name)) for name in self._feed}
        try:
            self._session.run(["score"], feed)
        except Exception:  # noqa: BLE001 - whatever it is, these rows have no score
            return True
        return False

    def _run(self) -> NDArray[np.float32]:
        try:
            (result,) = self._session.run(["score"], self._feed)
        except Exception as error:
            raise PackageError(
                f"the graph of package {self.package.folder.name} fails on some rows: {error}",
                expected="a score for every row that the preprocessing lets through",
                remedy="look at these rows; `scoring.fallback` can cover failures of `prediction`",
            ) from error
        scores: NDArray[np.float32] = result
        return scores

    def clone(self) -> Predictor:
        """A predictor for another thread; it shares nothing that changes."""
        return Predictor(self.package, threshold=self.threshold)


def _only_from_bytes(options: onnxruntime.SessionOptions) -> None:
    """Keeps ONNX Runtime from reading files that a model names: below the current directory it would."""
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    options.add_session_config_entry("session.load_model_format", "ONNX")


def open_session(model: bytes) -> Any:
    """A session of ONNX Runtime in which equal rows get equal bits.

    Raises:
        Exception: Of ONNX Runtime, when it does not know how to run this model.
    """
    options = onnxruntime.SessionOptions()
    # More than one thread would split sums differently: tree ensembles then change their bits.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Errors are raised; its own log would repeat each of them on stderr.
    options.log_severity_level = 4
    _only_from_bytes(options)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _session(package: Package) -> Any:
    try:
        session = open_session(package.read(ONNX))
    except PackageError:
        raise
    except Exception as error:
        raise PackageError(
            f"package {package.folder}: ONNX Runtime {onnxruntime.__version__} cannot load {ONNX}: {error}",
            remedy="package the model again with an operator set that this ONNX Runtime knows",
        ) from error
    _check_graph(package, session)
    return session


def _check_graph(package: Package, session: Any) -> None:
    widths = {"numeric": len(package.preprocess.numeric), "categorical": len(package.preprocess.categorical)}
    types = {"numeric": "tensor(float)", "categorical": "tensor(int64)"}
    expected = {name: (types[name], width) for name, width in widths.items() if width}
    found = {node.name: (node.type, node.shape[-1] if node.shape else None) for node in session.get_inputs()}
    # A symbolic width is a name: it fits any number.
    fits = found.keys() == expected.keys() and all(
        kind == expected[name][0] and (not isinstance(width, int) or width == expected[name][1])
        for name, (kind, width) in found.items()
    )
    outputs = {node.name: node.type for node in session.get_outputs()}
    if not fits or outputs.get("score") != "tensor(float)":
        raise PackageError(
            f"package {package.folder}: {ONNX} reads {found} and gives {outputs}",
            expected=f"inputs {expected} and an output score of tensor(float)",
            remedy="export the graph with these names and types",
        )
