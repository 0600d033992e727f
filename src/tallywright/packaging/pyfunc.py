"""The MLflow pyfunc loader module of packages: loads them without pickle, to equal scores."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tallywright.errors import InputError
from tallywright.packaging.package import load_package
from tallywright.packaging.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd


class PackagedModel:
    """A package behind MLflow's `predict`: a pandas frame in, a pandas frame with the output columns out."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._schema = predictor.package.input_schema
        # MLflow serves from several threads; a predictor is for one.
        self._lock = threading.Lock()

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The predictions of the rows, under the rows' index; there are no `params`.

        Raises:
            InputError: A column is missing or mistyped.
        """
        if params:
            raise InputError(
                f"unknown params {sorted(params)}", expected="none", remedy="the threshold is the package's own"
            )
        batch = _batch(model_input, self._schema)
        with self._lock:
            outputs = self._predictor(batch)
        frame: pd.DataFrame = outputs.to_pandas()
        frame.index = model_input.index
        return frame


def _load_pyfunc(path: str) -> PackagedModel:
    """Loads a package; MLflow calls it with the model's folder."""
    return PackagedModel(Predictor(load_package(Path(path))))


def _batch(frame: pd.DataFrame, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of the frame that the model reads, with the types of the feature table."""
    names: Sequence[str] = [field.name for field in schema if field.name in frame.columns]
    arrays = [_typed(name, frame[name], schema.field(name).type) for name in names]
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _typed(name: str, values: pd.Series, kind: pa.DataType) -> pa.Array:
    """A column as the feature table has it: pandas makes floats of whole numbers, and objects of booleans, by a null.

    Raises:
        InputError: Values that are none of that type: they would count as unseen, or as another number.
    """
    try:
        array = pa.array(values, from_pandas=True)
        # A column that holds nothing but None has no type of its own.
        looser = pa.types.is_floating(kind) or pa.types.is_string(kind)
        return array if looser and not pa.types.is_null(array.type) else array.cast(kind)
    except pa.ArrowException as error:
        raise InputError(
            f"column {name!r} cannot be read as {kind}: {str(error).splitlines()[0]}",
            expected=f"values of the feature table, of the type {kind}",
            remedy="pass the column as the feature table has it",
        ) from error
