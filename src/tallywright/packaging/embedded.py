"""A package inside a Python distribution: what `tally package --format wheel` and `docker` leave behind runs this.

The package lies in the distribution as one archive, since pip compiles every Python file that it installs, and a
package holds no file more than its manifest says. It is unpacked to be loaded, and every file of it verified.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import uuid
import zipfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from tallywright.errors import InputError, PackageError, StorageError, TallyError, UsageError
from tallywright.packaging.package import load_package
from tallywright.packaging.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallywright.packaging.preprocess import ModelInput

ARCHIVE: Final = "package.zip"
CHECK: Final = "--check"
PARITY_BOUND: Final = 1e-5
"""Of a score from training's, relative to the largest score where that is above 1: on another kind of processor the
last bits of a float32 may differ."""
_USAGE: Final = f"INPUT.parquet OUTPUT.parquet, or {CHECK}"


class EmbeddedModel:
    """The model of an archive; loaded and verified when it is first used, and usable by several threads.

    Args:
        archive: The package's files, as `ARCHIVE`.
        digest: The package's digest, as it was when it was packaged.
    """

    def __init__(self, archive: Path, digest: str) -> None:
        self.digest = digest
        self._archive = archive
        self._lock = threading.Lock()

    def predict(self, batch: pa.RecordBatch | Mapping[str, Sequence[Any]]) -> pa.RecordBatch:
        """The output columns of the rows, in their order; columns that the model does not read are ignored.

        Args:
            batch: Rows as Arrow, or as columns of Python values by name.

        Raises:
            InputError: A column is missing, or has values of another type.
            PackageError: The model inside is not what was packaged, or cannot run here.
        """
        with self._lock:
            predictor, schema = self._loaded[:2]
            return predictor(batch if isinstance(batch, pa.RecordBatch) else _as_batch(batch, schema))

    def check(self) -> int:
        """Scores the recorded sample as training did; returns its rows.

        Raises:
            PackageError: As `predict`, or a score is another one than training computed.
        """
        with self._lock:
            predictor, _, (inputs, expected) = self._loaded
            scores = predictor.score(inputs)
        bound = PARITY_BOUND * max(1.0, float(np.abs(expected).max(initial=0.0)))
        gap = float(np.abs(scores - expected).max(initial=0.0)) if scores.shape == expected.shape else np.inf
        if not gap <= bound:
            raise PackageError(
                f"the model scores its recorded sample otherwise than training did, by {gap:.3g}",
                expected=f"at most {bound:g}",
                remedy="run it where the versions of its requirements are installed",
            )
        return inputs.rows

    def score_file(self, source: Path, target: Path) -> int:
        """Scores a Parquet file into another one with all its columns and the outputs; returns the number of rows.

        Raises:
            StorageError: A file cannot be read or written; nothing is left of the other one.
            InputError: A column is missing or mistyped, or has the name of an output.
        """
        import pyarrow.parquet as pq

        staged = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            with pq.ParquetFile(source) as file:
                # Of no rows first: a file that cannot be scored is refused before anything is written.
                schema = _beside(self.predict(pa.RecordBatch.from_pylist([], file.schema_arrow)), file.schema_arrow)
                with pq.ParquetWriter(staged, schema) as writer:
                    for batch in file.iter_batches():
                        columns = [*batch.columns, *self.predict(batch).columns]
                        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
                rows = int(file.metadata.num_rows)
            staged.replace(target)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{source} cannot be scored into {target}: {error}", expected=_USAGE) from error
        finally:
            staged.unlink(missing_ok=True)
        return rows

    @cached_property
    def _loaded(self) -> tuple[Predictor, pa.Schema, tuple[ModelInput, Any]]:
        with tempfile.TemporaryDirectory(prefix="tally-model-") as folder:
            try:
                with zipfile.ZipFile(self._archive) as archive:
                    archive.extractall(folder)
            except (OSError, zipfile.BadZipFile) as error:
                raise PackageError(
                    f"{self._archive} cannot be read: {error}", remedy="install the distribution again"
                ) from error
            package = load_package(Path(folder), digest=self.digest)
            return Predictor(package), package.input_schema, package.parity()


def run(model: EmbeddedModel, arguments: Sequence[str]) -> int:
    """The command line of a distribution with a model; returns the exit code."""
    try:
        print(_answer(model, arguments))  # noqa: T201 - this is the command's output
    except TallyError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - as above
        return error.exit_code
    return 0


def _answer(model: EmbeddedModel, arguments: Sequence[str]) -> str:
    if list(arguments) == [CHECK]:
        return f"package {model.digest}: verified, {model.check():,} rows scored as at training"
    if len(arguments) != 2:  # noqa: PLR2004 - a source and a target
        raise UsageError(f"{len(arguments)} arguments", expected=_USAGE)
    source, target = map(Path, arguments)
    return f"{model.score_file(source, target):,} rows scored into {target}"


def _as_batch(columns: Mapping[str, Sequence[Any]], schema: pa.Schema) -> pa.RecordBatch:
    """The columns that the model reads, with the types of the feature table."""
    fields = [field for field in schema if field.name in columns]
    arrays = [_typed(field, columns[field.name]) for field in fields]
    lengths = {field.name: len(array) for field, array in zip(fields, arrays, strict=True)}
    if len(set(lengths.values())) > 1:
        raise InputError(f"columns of different lengths: {lengths}", expected="one value a row in each column")
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _typed(field: pa.Field, values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"column {field.name!r} cannot be read as {field.type}: {error}",
            expected=f"values of the feature table, of the type {field.type}",
            remedy="pass the column as the feature table has it",
        ) from error


def _beside(outputs: pa.RecordBatch, inputs: pa.Schema) -> pa.Schema:
    """The columns of the file, and behind them those of the outputs."""
    taken = sorted({*inputs.names} & {*outputs.schema.names})
    if taken:
        raise InputError(
            f"the file has columns named {', '.join(taken)} already", remedy="leave them out: the outputs have the name"
        )
    return pa.schema([*inputs, *outputs.schema])
