"""The manifest of a package: its files with their sha256, one digest, its columns, its requirements.

Requirements are pinned when the package is made and checked before its first row; columns are kept as Arrow, as
readable JSON and as an MLflow signature.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa
from pydantic import ValidationError

from tallywright.errors import PackageError
from tallywright.records import Meaning, Record, digest_of
from tallywright.tasks import NUMBERED, TASKS, TaskName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tallywright.packaging.preprocess import Preprocess

RUNTIME: Final = ("tallywright", "numpy", "onnxruntime", "pyarrow")
_MLFLOW_TYPES: Final = {"double": "double", "string": "string", "int32": "integer", "float": "float", "bool": "boolean"}
_DECIMAL: Final = re.compile(r"decimal128\((\d+), (\d+)\)")
MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
_FOREIGN: Final = frozenset({MANIFEST, "registered_model_meta"})
"""Beside the manifest itself only the note that MLflow leaves in a folder it downloads."""
_REMEDY: Final = "take the package from the registry again; if it is altered there too, retrain or roll back"


def runtime_requirements() -> dict[str, str]:
    """The installed versions of the libraries that a score depends on, and of Python."""
    return {"python": platform.python_version(), **{name: version(name) for name in RUNTIME}}


def check_environment(requirements: Mapping[str, str]) -> None:
    """Refuses an ONNX Runtime older than the one the package was made with: it may not know the graph's operators.

    A newer one reads older graphs by its own promise, and the parity check of the operations gate compares the scores.

    Raises:
        PackageError: ONNX Runtime is missing or too old.
    """
    wanted = requirements.get("onnxruntime")
    if wanted is None:
        return
    try:
        found = version("onnxruntime")
    except PackageNotFoundError:
        found = "none"
    if release_of(found) < release_of(wanted):
        raise PackageError(
            f"onnxruntime {found} is installed",
            expected=f"{wanted} or newer, with which the package was made",
            remedy=f"pip install 'onnxruntime>={wanted}'",
        )


def release_of(text: str) -> tuple[int, ...]:
    """Major and minor; a version that cannot be read counts as the oldest."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


class Postprocess(Record):
    """The fitted output side of a model: from the graph's `score` to output columns.

    `classes` are the labels of a multiclass model in the order of its probabilities, or the negative and the positive
    class of a binary one whose labels are not 0 and 1; with `class_type` int32 they are whole numbers written as text.

    `positive` is the class whose probability a binary model gives, where it is not 1. `unit` is a regression's.
    `threshold` is the decision threshold that was fixed at training; None in packages of the time before.
    """

    task: TaskName
    classes: tuple[str, ...] = ()
    class_type: Literal["string", "int32"] = "string"
    positive: str = ""
    unit: str = ""
    threshold: float | None = None

    def meaning(self, target: str) -> Meaning:
        """What the output columns mean, for the model of this target."""
        numbered = TASKS[self.task].thresholds and not self.classes
        return Meaning(
            task=self.task,
            target=target,
            classes=NUMBERED if numbered else self.classes,
            positive=NUMBERED[1] if numbered else self.positive,
            unit=self.unit,
        )

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


def input_schema(preprocess: Preprocess, types: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
    """The columns a model reads; narrower numbers and dictionary-encoded text are accepted for them too.

    Args:
        preprocess: Which columns.
        types: Their types in the feature table; without, as in packages of the time before, numbers and texts.
    """
    found = {name: _plain(kind) for name, kind in (types or {}).items()}
    numeric = [pa.field(name, found.get(name, pa.float64())) for name in preprocess.numeric]
    names = [category.column for category in preprocess.categorical]
    return pa.schema([*numeric, *(pa.field(name, found.get(name, pa.string())) for name in names)])


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type that a spec declares, however the values are encoded."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.string() if pa.types.is_large_string(value) or pa.types.is_string_view(value) else value


def schema_from_json(text: bytes) -> pa.Schema:
    """The schema that `schema_json` wrote.

    Raises:
        PackageError: It is none.
    """
    try:
        return pa.schema([pa.field(str(column["name"]), _type_named(column["type"])) for column in json.loads(text)])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise PackageError(f"input_schema.json is not valid: {error}", remedy=_REMEDY) from error


def _type_named(name: str) -> pa.DataType:
    decimal = _DECIMAL.fullmatch(name)
    return pa.decimal128(int(decimal[1]), int(decimal[2])) if decimal else pa.type_for_alias(name)


def schema_json(schema: pa.Schema) -> str:
    """A schema as readable JSON: one object a column, in order."""
    return json.dumps([{"name": field.name, "type": str(field.type)} for field in schema], indent=2) + "\n"


def signature(inputs: pa.Schema, postprocess: Postprocess) -> dict[str, str]:
    """The MLflow signature, in the form that stands in an `MLmodel` file."""
    return {
        "inputs": json.dumps([_input_column(field) for field in inputs]),
        "outputs": json.dumps([_column(field) for field in postprocess.output_schema]),
    }


def _input_column(field: pa.Field) -> dict[str, Any]:
    # pandas has no whole number beside a null: as `long` MLflow would refuse the table's own rows, and as `double` its
    # whole ones. So it takes them as they come, and our loader reads them by the table's type.
    if pa.types.is_integer(field.type):
        return {"type": "any", "name": field.name, "required": True}
    return _column(pa.field(field.name, pa.float64()) if pa.types.is_decimal(field.type) else field)


def _column(field: pa.Field) -> dict[str, Any]:
    if pa.types.is_list(field.type):
        items = {"type": _mlflow_type(field.type.value_type)}
        return {"type": "array", "items": items, "name": field.name, "required": True}
    return {"type": _mlflow_type(field.type), "name": field.name, "required": True}


def _mlflow_type(kind: pa.DataType) -> str:
    if str(kind) not in _MLFLOW_TYPES:
        raise PackageError(f"no MLflow type for {kind}", expected=f"one of {', '.join(_MLFLOW_TYPES)}")
    return _MLFLOW_TYPES[str(kind)]


class FileEntry(Record):
    """One file of a package."""

    sha256: str
    size: int


class PackageManifest(Record):
    """All files of a package by their path, which is relative and has forward slashes."""

    format: int = FORMAT
    files: dict[str, FileEntry]

    @property
    def digest(self) -> str:
        """The digest of the package: that of its canonical file list."""
        return digest_of(self.model_dump(mode="json"))

    def write(self, folder: Path) -> None:
        """Writes the manifest into the folder, readable."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def entry_of(content: bytes) -> FileEntry:
    """The manifest's entry for a file of this content."""
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def verified_files(folder: Path) -> tuple[PackageManifest, dict[str, bytes]]:
    """The manifest and the content of all files, each equal to its entry.

    Raises:
        PackageError: No readable manifest, a file too many or too few, or one that was altered.
    """
    manifest = _read_manifest(folder)
    present = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() or path.is_symlink()
    } - _FOREIGN
    missing, extra = sorted(manifest.files.keys() - present), sorted(present - manifest.files.keys())
    if missing or extra:
        found = [f"missing {', '.join(missing)}"] * bool(missing) + [f"not its own {', '.join(extra)}"] * bool(extra)
        raise PackageError(
            f"package {folder}: {'; '.join(found)}", expected="exactly the files of its manifest", remedy=_REMEDY
        )
    return manifest, {name: verified_file(folder, name, entry) for name, entry in manifest.files.items()}


def verified_file(folder: Path, name: str, entry: FileEntry) -> bytes:
    """The content of one file, checked against its entry."""
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise PackageError(f"package {folder}: {name} cannot be read: {error}", remedy=_REMEDY) from error
    found = entry_of(content)
    if found != entry:
        raise PackageError(
            f"package {folder}: {name} was altered: sha256 {found.sha256[:16]}…, {found.size} bytes",
            expected=f"sha256 {entry.sha256[:16]}…, {entry.size} bytes, as its manifest says",
            remedy=_REMEDY,
        )
    return content


def _read_manifest(folder: Path) -> PackageManifest:
    try:
        manifest = PackageManifest.from_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PackageError(f"no package in {folder}: {error}", expected=f"a {MANIFEST}", remedy=_REMEDY) from error
    except ValidationError as error:
        raise PackageError(
            f"package {folder}: {MANIFEST} is not valid ({error.error_count()} problems)", remedy=_REMEDY
        ) from error
    if manifest.format != FORMAT:
        raise PackageError(
            f"package {folder} has the format {manifest.format}",
            expected=f"format {FORMAT}",
            remedy="use the Tallywright that wrote it, or retrain the model with this one",
        )
    return manifest
