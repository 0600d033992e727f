"""What goes into a model and what comes out: as Arrow, as readable JSON, and as an MLflow signature."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa

from tallywright.errors import PackageError
from tallywright.records import Record
from tallywright.tasks import TaskName

if TYPE_CHECKING:
    from tallywright.packaging.preprocess import Preprocess

_MLFLOW_TYPES: Final = {"double": "double", "string": "string", "int32": "integer", "float": "float"}


class Postprocess(Record):
    """The fitted output side of a model: from the graph's `score` to output columns.

    `classes` are the labels of a multiclass model in the order of its probabilities; with `class_type` int32 they are
    whole numbers written as text.
    """

    task: TaskName
    classes: tuple[str, ...] = ()
    class_type: Literal["string", "int32"] = "string"

    @property
    def output_schema(self) -> pa.Schema:
        """The columns a prediction has, none of them nullable."""
        kinds: dict[str, pa.DataType] = {
            "binary": {"prediction": pa.int32(), "probability": pa.float32(), "confidence": pa.float32()},
            "multiclass": {
                "prediction": pa.string() if self.class_type == "string" else pa.int32(),
                "probabilities": pa.list_(pa.float32()),
                "confidence": pa.float32(),
            },
            "regression": {"prediction": pa.float32()},
        }[self.task]
        return pa.schema([pa.field(name, kind) for name, kind in kinds.items()])


def input_schema(preprocess: Preprocess) -> pa.Schema:
    """The columns a model reads; narrower numbers and dictionary-encoded text are accepted for them too."""
    numeric = [pa.field(name, pa.float64()) for name in preprocess.numeric]
    return pa.schema([*numeric, *(pa.field(category.column, pa.string()) for category in preprocess.categorical)])


def schema_json(schema: pa.Schema) -> str:
    """A schema as readable JSON: one object a column, in order."""
    return json.dumps([{"name": field.name, "type": str(field.type)} for field in schema], indent=2) + "\n"


def signature(preprocess: Preprocess, postprocess: Postprocess) -> dict[str, str]:
    """The MLflow signature, in the form that stands in an `MLmodel` file."""
    return {
        "inputs": json.dumps([_column(field) for field in input_schema(preprocess)]),
        "outputs": json.dumps([_column(field) for field in postprocess.output_schema]),
    }


def _column(field: pa.Field) -> dict[str, Any]:
    if pa.types.is_list(field.type):
        items = {"type": _mlflow_type(field.type.value_type)}
        return {"type": "array", "items": items, "name": field.name, "required": True}
    return {"type": _mlflow_type(field.type), "name": field.name, "required": True}


def _mlflow_type(kind: pa.DataType) -> str:
    if str(kind) not in _MLFLOW_TYPES:
        raise PackageError(f"no MLflow type for {kind}", expected=f"one of {', '.join(_MLFLOW_TYPES)}")
    return _MLFLOW_TYPES[str(kind)]
