"""The classes that a multiclass model predicts are profiled in the scoring pass, and drift as any column does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from synthetic import DAY, make_features, make_package, make_request, make_spec, put_day, read_profile, read_scores

from tallywright.data.delta.lake import Lake
from tallywright.errors import PackageError
from tallywright.monitoring.drift import compare_profiles
from tallywright.packaging.package import Package, PackageContents, write_package
from tallywright.packaging.predictor import Predictor
from tallywright.profiles.accumulate import Accumulator, with_predicted_class
from tallywright.profiles.profile import PREDICTED_CLASS, Profile, ProfileDefinition
from tallywright.scoring.commit.manifests import latest_manifest
from tallywright.scoring.day import score_day
from tallywright.spec.sections import Monitoring

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 2000


def profile_of(package: Package, rows: pa.Table, piece: int = ROWS) -> Profile:
    counted, predictor = Accumulator(package.definition), Predictor(package)
    for batch in rows.combine_chunks().to_batches(max_chunksize=piece):
        prediction = predictor.predict(batch)
        counted.update(prediction.inputs.numeric, prediction.inputs.categorical, prediction.scores)
    return counted.profile()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A package whose definition counts the predicted class, as training makes it."""
    folder = tmp_path_factory.mktemp("packages")
    plain = make_package(folder / "plain", task="multiclass")
    return write_package(folder / "draft", counting(plain, plain.meta.classes))


def counting(plain: Package, classes: tuple[str, ...]) -> PackageContents:
    categories = plain.definition.categorical | {PREDICTED_CLASS: classes}
    definition = ProfileDefinition.model_validate(plain.definition.model_dump() | {"categorical": categories})
    return PackageContents(
        meta=plain.meta,
        preprocess=plain.preprocess,
        onnx=plain.read("model.onnx"),
        weights=plain.weights(),
        definition=definition,
        reference=Profile.empty(definition),
        parity=plain.parity(),
    )


def test_each_row_counts_for_the_class_that_it_is_predicted_to_be(package: Package) -> None:
    rows = make_features(ROWS, seed=3)
    (batch,) = rows.combine_chunks().to_batches()
    predicted = Counter(Predictor(package)(batch)["prediction"].to_pylist())
    profile = profile_of(package, rows)
    assert list(profile.columns)[-1] == PREDICTED_CLASS
    assert list(profile.columns[PREDICTED_CLASS].counts) == [predicted[name] for name in package.meta.classes]
    assert profile_of(package, rows, piece=77) == profile


def test_a_day_that_is_scored_has_them_and_another_mix_of_classes_is_drift(package: Package, tmp_path: Path) -> None:
    rows = make_features(ROWS, seed=3)
    served = write_package(
        tmp_path / "served", replace(counting(package, package.meta.classes), reference=profile_of(package, rows))
    )
    spec, lake = make_spec(training={"task": "multiclass"}), Lake(str(tmp_path / "lake"))
    score_day(make_request(lake, spec, put_day(lake, spec, make_features(600, seed=4)), served))
    manifest = latest_manifest(lake, spec, DAY)
    assert manifest is not None
    stored = read_profile(lake, spec, manifest)
    assert stored is not None
    scored = Counter(read_scores(lake, spec)["prediction"].to_pylist())
    profile = Profile.from_json(stored.profile_json)
    assert list(profile.columns[PREDICTED_CLASS].counts) == [scored[name] for name in served.meta.classes]

    (batch,) = rows.combine_chunks().to_batches()
    prediction = pa.array(Predictor(served)(batch)["prediction"].to_pylist())
    _, (second, count), *_ = Counter(prediction.to_pylist()).most_common()
    shifted = profile_of(served, rows.filter(pc.equal(prediction, second)))
    assert shifted.rows == count > 200
    for day, violated in ((profile, False), (shifted, True)):
        found = [
            one
            for one in compare_profiles(served.reference, None, day, Monitoring())
            if one.column == PREDICTED_CLASS and one.metric in ("psi", "js")
        ]
        assert [one.violated for one in found] == [violated, violated]


def test_models_of_other_tasks_and_packages_of_before_count_what_the_model_reads(tmp_path: Path) -> None:
    for task in ("binary", "multiclass", "regression"):
        plain = make_package(tmp_path / task, task=task)
        assert list(profile_of(plain, make_features(50)).columns) == list(plain.preprocess.columns)


def test_a_row_without_a_score_has_no_class(package: Package) -> None:
    shares = np.array([[0.1, 0.7, 0.2], [np.nan, np.nan, np.nan]], np.float32)
    found = with_predicted_class(package.definition, np.zeros((2, 2), np.int64), shares)
    assert found.tolist() == [[0, 0, 3], [0, 0, 0]]


def test_a_definition_about_other_classes_is_refused(package: Package, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="not about the same columns"):
        write_package(tmp_path / "a", counting(package, package.meta.classes[::-1]))
    binary = make_package(tmp_path / "b")
    with pytest.raises(PackageError, match="not about the same columns"):
        write_package(tmp_path / "c", counting(binary, ()))
