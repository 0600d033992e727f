"""What outputs mean: one decision threshold for a day, and no two meanings of a column in one table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import pytest
from synthetic import make_features, make_package, make_request, make_spec, model_ref, put_day, read_scores

from tallywright.data.delta.lake import Lake
from tallywright.errors import SpecError
from tallywright.packaging.pyfunc import _load_pyfunc
from tallywright.records import Role
from tallywright.scoring.commit.profile_table import profile_digest
from tallywright.scoring.day import recount_tally, score_day

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.packaging.package import Package
    from tallywright.scoring.prepare import ScoreOutcome
    from tallywright.spec.model import ModelSpec

ROWS = 300


class Shop:
    """A lake, and the models that score a day in it."""

    def __init__(self, root: Path) -> None:
        self.lake = Lake(str(root / "lake"))

    def score(self, spec: ModelSpec, champion: Package, **others: Package) -> ScoreOutcome:
        pinned = put_day(self.lake, spec, make_features(ROWS))
        roles = [
            model_ref(spec, Role(role), package, number) for number, (role, package) in enumerate(others.items(), 2)
        ]
        packages = {package.digest: package for package in (champion, *others.values())}
        models = (model_ref(spec, Role.CHAMPION, champion, 1), *roles)
        return score_day(make_request(self.lake, spec, pinned, champion, models=models, packages=packages))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def positives(shop: Shop, spec: ModelSpec, threshold: float) -> None:
    rows = read_scores(shop.lake, spec)
    expected = pc.greater_equal(rows["probability"], threshold).cast("int32")
    assert rows["prediction"].to_pylist() == expected.to_pylist()
    assert 0 < sum(rows["prediction"].to_pylist()) < ROWS


def test_the_threshold_of_the_package_is_the_days_and_a_part_of_its_identity(shop: Shop, tmp_path: Path) -> None:
    package = make_package(tmp_path / "a", threshold=0.25)
    silent, given = make_spec(), make_spec(scoring={"threshold": 0.25})
    outcome = shop.score(silent, package)
    positives(shop, silent, 0.25)
    assert json.loads(outcome.manifest.scoring_json)["threshold"] == 0.25
    assert given.scoring.identity().matches(outcome.manifest.scoring_digest)
    # Taken out of the spec, or written into it: the same rows, no new generation.
    assert [shop.score(spec, package).action for spec in (silent, given)] == ["unchanged"] * 2
    sums = recount_tally(shop.lake, silent, outcome.manifest, lambda _: package)
    assert profile_digest(sums.profile) == outcome.manifest.profile_digest
    frame = make_features(ROWS).to_pandas()
    predicted = dict(
        zip(frame["order_id"], _load_pyfunc(str(package.folder)).predict(frame)["prediction"], strict=True)
    )
    rows = read_scores(shop.lake, silent)
    assert [predicted[key] for key in rows["order_id"].to_pylist()] == rows["prediction"].to_pylist()


def test_a_threshold_that_is_not_the_champions_is_refused_and_changes_nothing(shop: Shop, tmp_path: Path) -> None:
    package = make_package(tmp_path / "a", threshold=0.5)
    shop.score(make_spec(), package)
    version = shop.lake.open("shop__scores").version()
    with pytest.raises(SpecError, match=r"scoring.threshold is 0.3, and the champion was trained with 0.5") as caught:
        shop.score(make_spec(scoring={"threshold": 0.3}), package)
    assert caught.value.exit_code == 3
    assert "tally train shop" in caught.value.remedy
    assert shop.lake.open("shop__scores").version() == version


def test_a_package_of_before_is_scored_by_the_specs_threshold(shop: Shop, tmp_path: Path) -> None:
    package = make_package(tmp_path / "a")
    for threshold in (0.3, 0.6):
        spec = make_spec(scoring={"threshold": threshold})
        assert shop.score(spec, package).action == "committed"
        positives(shop, spec, threshold)


MEANINGS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"task": "multiclass", "class_type": "int32", "classes": ("0", "1", "2")},
        {"task": "multiclass", "class_type": "int32", "classes": ("0", "1", "3")},
        "its classes are 0, 1, 3, the champion's 0, 1, 2",
    ),
    (
        {"task": "multiclass", "classes": ("a", "b", "c")},
        {"task": "multiclass", "classes": ("b", "a", "c")},
        "its classes are b, a, c, the champion's a, b, c",
    ),
    (
        {"classes": ("no", "yes"), "positive": "yes"},
        {"classes": ("yes", "no"), "positive": "no"},
        "its positive class is no, the champion's yes",
    ),
    ({}, {"classes": ("no", "yes"), "positive": "yes"}, "its positive class is yes, the champion's 1"),
    ({}, {"target": "cancelled"}, "its target is cancelled, the champion's label"),
    (
        {"task": "regression", "unit": "hours"},
        {"task": "regression", "unit": "minutes"},
        "its unit is minutes, the champion's hours",
    ),
]


@pytest.mark.parametrize("role", ["canary", "shadow", "fallback"])
@pytest.mark.parametrize(("champion", "other", "why"), MEANINGS)
def test_a_model_that_means_something_else_is_left_out_with_the_reason(
    shop: Shop, tmp_path: Path, role: str, champion: dict[str, Any], other: dict[str, Any], why: str
) -> None:
    task = champion.get("task", "binary")
    scoring = {
        "canary": {"model": 2, "share": 0.5},
        "fallback": {"model": "previous", "covers": ["output"]},
        "shadow": [2],
    }
    spec = make_spec(training={"task": task}, scoring={role: scoring[role]})
    mine = make_package(tmp_path / "a", seed=1, **champion)
    its = make_package(tmp_path / "b", seed=2, **other)
    manifest = shop.score(spec, mine, **{role: its}).manifest
    assert {one.role.value: one.note for one in manifest.roles} == {"champion": "", role: why}
    assert manifest.rows_by_role == {"champion": ROWS}
    assert manifest.meaning == mine.meaning


def test_models_that_mean_the_same_score_together(shop: Shop, tmp_path: Path) -> None:
    spec = make_spec(training={"task": "regression"}, scoring={"shadow": [2]})
    packages = [make_package(tmp_path / f"in {unit}", task="regression", seed=seed, unit=unit)
                for seed, unit in enumerate(("", "hours"))]  # fmt: skip
    manifest = shop.score(spec, packages[0], shadow=packages[1]).manifest
    assert {one.role.value: one.rows for one in manifest.roles} == {"champion": ROWS, "shadow": ROWS}
