"""The model inside a distribution: rows as Python values, and files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tallywright.errors import InputError, PackageError, StorageError
from tallywright.packaging.embedded import EmbeddedModel, run
from tallywright.packaging.predictor import Predictor


@pytest.fixture
def model(package, tmp_path) -> EmbeddedModel:
    with zipfile.ZipFile(tmp_path / "package.zip", "w") as archive:
        for path in package.folder.rglob("*"):
            archive.write(path, path.relative_to(package.folder))
    return EmbeddedModel(tmp_path / "package.zip", package.digest)


def test_columns_of_python_values_are_rows(model, package, rows) -> None:
    few = rows.slice(0, 100)
    assert model.predict(few.to_pydict()).equals(Predictor(package)(few))
    assert model.check() == 200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wind": ["a lot"]}, "column 'wind' cannot be read as double"),
        ({"wind": [1.0, 2.0]}, "columns of different lengths"),
        ({"wind": None}, "the input has no column 'wind'"),
    ],
)
def test_values_that_are_none_of_the_table(model, rows, changes, message) -> None:
    columns = rows.slice(0, 1).to_pydict() | changes
    with pytest.raises(InputError, match=message):
        model.predict({name: values for name, values in columns.items() if values is not None})


def test_another_digest_or_no_archive(model, tmp_path) -> None:
    with pytest.raises(PackageError, match="has the digest"):
        EmbeddedModel(tmp_path / "package.zip", "0" * 64).check()
    (tmp_path / "torn.zip").write_bytes(b"PK")
    for name in ("torn.zip", "nothing.zip"):
        with pytest.raises(PackageError, match="cannot be read"):
            EmbeddedModel(tmp_path / name, model.digest).predict({})


def test_a_file_without_rows_has_the_columns(model, rows, tmp_path) -> None:
    pq.write_table(rows.schema.empty_table(), tmp_path / "in.parquet")
    assert model.score_file(tmp_path / "in.parquet", tmp_path / "out.parquet") == 0
    assert pq.read_schema(tmp_path / "out.parquet").names[-3:] == ["prediction", "probability", "confidence"]


def test_what_cannot_be_scored_leaves_no_file(model, rows, tmp_path, capsys) -> None:
    scored = pa.Table.from_batches([rows]).append_column("probability", rows.column(1))
    pq.write_table(scored, tmp_path / "scored.parquet")
    pq.write_table(pa.Table.from_batches([rows]).drop_columns(["wind"]), tmp_path / "short.parquet")
    (tmp_path / "text.parquet").write_text("none")
    before = sorted(tmp_path.iterdir())
    for name, error in (("scored", InputError), ("short", InputError), ("text", StorageError), ("none", StorageError)):
        with pytest.raises(error):
            model.score_file(tmp_path / f"{name}.parquet", tmp_path / "out.parquet")
    assert run(model, ["one"]) == 2
    assert run(model, [str(tmp_path / "none.parquet"), str(Path("out"))]) == StorageError.exit_code
    assert "Traceback" not in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
