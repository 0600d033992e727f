"""A package is what was written, whole, or it is refused."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import tallywright.packaging.package as package_module
from tallywright.errors import PackageError
from tallywright.packaging.package import Package, PackageContents, load_package, write_package
from tallywright.packaging.preprocess import Category
from tallywright.profiles.comparison import ReferenceDays

FILES = {
    "MLmodel",
    "features/features.sql",
    "input_schema.json",
    "meta.json",
    "model.onnx",
    "model.safetensors",
    "model_card.md",
    "output_schema.json",
    "parity.safetensors",
    "postprocess.json",
    "preprocess.json",
    "profile_definition.json",
    "reference_profile.json",
    "requirements.txt",
}


def test_everything_is_there_and_comes_back(package: Package, contents: PackageContents) -> None:
    found = {path.relative_to(package.folder).as_posix() for path in package.folder.rglob("*") if path.is_file()}
    assert found == FILES | {"manifest.json"}
    again = load_package(package.folder, digest=package.digest)
    assert again == package
    assert (again.meta, again.preprocess) == (contents.meta, contents.preprocess)
    assert (again.definition, again.reference) == (contents.definition, contents.reference)
    inputs, expected = again.parity()
    np.testing.assert_array_equal(inputs.numeric, contents.parity[0].numeric)
    np.testing.assert_array_equal(expected, contents.parity[1])
    np.testing.assert_array_equal(
        load_file(package.folder / "model.safetensors")["weights"], again.weights()["weights"]
    )
    assert "roc_auc" in (package.folder / "model_card.md").read_text()


def test_the_days_of_the_reference_are_part_of_the_package_where_it_has_them(contents, package, tmp_path) -> None:
    days = ReferenceDays.learn({date(2013, 1, 1): contents.reference, date(2013, 1, 2): contents.reference})
    with_days = write_package(tmp_path / "days", replace(contents, reference_days=days))
    assert package.reference_days is None
    assert load_package(with_days.folder).reference_days == days
    assert with_days.digest != package.digest
    path = with_days.folder / "reference_days.json"
    path.write_text(path.read_text().replace("2013-01-02", "2013-01-03"))
    with pytest.raises(PackageError, match=r"reference_days\.json was altered"):
        load_package(with_days.folder)


def test_days_of_another_definition_are_refused(contents, tmp_path) -> None:
    days = ReferenceDays(definition_digest="0" * 64, days=(), values={})
    with pytest.raises(PackageError, match="not about the same columns"):
        write_package(tmp_path / "package", replace(contents, reference_days=days))


def test_equal_contents_have_equal_digests_and_others_do_not(contents, package, tmp_path) -> None:
    assert write_package(tmp_path / "again", contents).digest == package.digest
    other = replace(contents, features={"features.sql": "select 2\n"})
    assert write_package(tmp_path / "other", other).digest != package.digest


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_corrupted_file_is_refused(own_package: Package, name: str) -> None:
    path = own_package.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(PackageError, match=f"{name} was altered"):
        load_package(own_package.folder)


@pytest.mark.parametrize("name", ["model.onnx", "features/features.sql"])
def test_a_missing_file_is_refused(own_package: Package, name: str) -> None:
    (own_package.folder / name).unlink()
    with pytest.raises(PackageError, match=f"missing {name}"):
        load_package(own_package.folder)


@pytest.mark.parametrize("name", ["extra.txt", "features/more.sql", "model.pkl"])
def test_an_extra_file_is_refused(own_package: Package, name: str) -> None:
    (own_package.folder / name).write_text("x")
    with pytest.raises(PackageError, match=f"not its own {name}"):
        load_package(own_package.folder)


def test_the_note_that_mlflow_leaves_is_accepted(own_package: Package) -> None:
    (own_package.folder / "registered_model_meta").write_text("model_name: late\n")
    assert load_package(own_package.folder).digest == own_package.digest


def test_a_swapped_file_or_folder_is_refused(own_package: Package, contents, tmp_path) -> None:
    meta = contents.meta.model_copy(update={"run_id": "another"})
    other = write_package(tmp_path / "other", replace(contents, meta=meta))
    with pytest.raises(PackageError, match="the digest"):
        load_package(other.folder, digest=own_package.digest)
    shutil.copy(other.folder / "meta.json", own_package.folder / "meta.json")
    with pytest.raises(PackageError, match=r"meta\.json was altered"):
        load_package(own_package.folder)
    # With the manifest swapped too, the folder agrees with itself; the registered digest still tells.
    shutil.copy(other.folder / "MLmodel", own_package.folder / "MLmodel")
    shutil.copy(other.folder / "model_card.md", own_package.folder / "model_card.md")
    shutil.copy(other.folder / "manifest.json", own_package.folder / "manifest.json")
    with pytest.raises(PackageError, match="the digest"):
        load_package(own_package.folder, digest=own_package.digest)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1, "files": 3}', '{"format": 9, "files": {}}'])
def test_a_broken_manifest_is_refused(own_package: Package, text: str) -> None:
    (own_package.folder / "manifest.json").write_text(text)
    with pytest.raises(PackageError):
        load_package(own_package.folder)


def test_a_manifest_cannot_reach_outside_the_folder(own_package: Package, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    manifest = json.loads((own_package.folder / "manifest.json").read_text())
    manifest["files"]["../outside"] = manifest["files"]["meta.json"]
    (own_package.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match=r"missing \.\./outside"):
        load_package(own_package.folder)


def test_no_folder_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no package in"):
        load_package(tmp_path / "nowhere")


def test_an_older_onnxruntime_is_refused(contents, tmp_path) -> None:
    meta = contents.meta.model_copy(update={"requirements": {"onnxruntime": "99.1.0"}})
    with pytest.raises(PackageError, match=r"onnxruntime .* is installed"):
        write_package(tmp_path / "p", replace(contents, meta=meta))
    assert not (tmp_path / "p").exists()


def test_parts_that_do_not_fit_are_refused(contents, tmp_path) -> None:
    fewer = contents.preprocess.model_copy(update={"categorical": (Category(column="origin", categories=("EWR",)),)})
    with pytest.raises(PackageError, match="not about the same columns"):
        write_package(tmp_path / "p", replace(contents, preprocess=fewer))
    assert not (tmp_path / "p").exists()


def test_writing_replaces_a_package_but_nothing_else(contents, own_package, tmp_path) -> None:
    assert write_package(own_package.folder, contents).digest == own_package.digest
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(PackageError, match="holds no package"):
        write_package(tmp_path / "mine", contents)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_a_failed_write_leaves_nothing(contents, tmp_path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(package_module.PackageManifest, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        write_package(tmp_path / "p", contents)
    assert list(tmp_path.iterdir()) == []


def test_a_package_knows_that_a_file_was_written_since_it_was_verified(own_package: Package) -> None:
    assert load_package(own_package.folder).untouched
    file = own_package.folder / "meta.json"
    times = file.stat()
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    file.with_name("kept.json").write_bytes(content)
    assert not own_package.untouched
    shutil.rmtree(own_package.folder)
    assert not own_package.untouched


@pytest.mark.parametrize(
    ("said", "snapshot", "found"),
    [
        ({"fitted_through": date(2013, 2, 14)}, {"holdout_from": "2013-02-20"}, date(2013, 2, 14)),
        ({}, {"holdout_from": "2013-02-20"}, date(2013, 2, 19)),
        ({}, {}, date(2013, 3, 1)),
    ],
)
def test_how_far_a_package_was_fitted_is_known_of_packages_of_before_too(
    contents, package, tmp_path, said, snapshot, found
) -> None:
    meta = contents.meta.model_copy(update={**said, "snapshot_json": json.dumps(snapshot) if snapshot else ""})
    made = write_package(tmp_path / "package", replace(contents, meta=meta))
    assert made.fitted_through == found
    # A package that does not say has the files, and so the digest, of the time before.
    assert ("fitted_through" in json.loads(made.read("meta.json"))) is bool(said)
    assert "judged" not in json.loads(made.read("meta.json"))
