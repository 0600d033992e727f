"""Two versions on the same labelled rows, and the list of versions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from decided import decided
from shared import shared
from synthetic import CLASSES, DAY, make_package, make_project
from world import World

from tallywright.class_metrics import names_of_class_metrics
from tallywright.data.delta.lake import Lake
from tallywright.errors import InputError, UsageError
from tallywright.gates.record import record_report
from tallywright.metrics import evaluate
from tallywright.monitoring.performance import realised
from tallywright.packaging.package import PackageCache
from tallywright.packaging.predictor import Predictor
from tallywright.records import Check, GateReport, ModelRef, Promotion, Verdict
from tallywright.registry.evidence import evidence_of
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions_table import TrainedBy, record_version
from tallywright.registry.withdrawal import WithdrawRequest, withdraw
from tallywright.reporting.compare import compare
from tallywright.reporting.versions import champion_dates, versions
from tallywright.tasks import TASKS, is_of_class

DAYS = [DAY + timedelta(days=offset) for offset in range(6)]
NOW = datetime(2024, 4, 1, tzinfo=UTC)


class Shop:
    """Versions 1 (champion; labels follow its scores), 2 (another), 3 (as 1 by another digest); 4 has seen two days."""

    def __init__(self, root) -> None:
        self.project = make_project(root, monitoring={"min_rows": 100, "min_labels": 50})
        self.lake, self.spec = Lake.of(self.project.environment), self.project.spec
        made = {1: {"seed": 1}, 2: {"seed": 2}, 3: {"seed": 1, "through": date(2024, 2, 1)},
                4: {"seed": 2, "through": DAYS[1]}}  # fmt: skip
        self.packages = {number: make_package(root / f"package-{number}", **how) for number, how in made.items()}
        cache = PackageCache(root / self.project.environment.storage.cache)
        for number, package in self.packages.items():
            cache.put(package.folder)
            self.record(number, package)
        self.promote(1)
        world = World(self.lake, self.spec, self.packages[1])
        for day in DAYS:
            world.score(day)
            world.label(day, never=10)
            realised(self.lake, self.spec, day, day + timedelta(days=self.spec.data.label_maturity_days))
        self.features = world.features

    def record(self, number: int, package, **how) -> None:
        ref = ModelRef(name="shop", version=number, digest=package.digest, trained_through=package.meta.trained_through)
        record_version(
            self.lake, self.spec, ref, evidence_of("shop", ref.digest, ()), recorded_at=NOW, trained_by=TrainedBy(**how)
        )

    def promote(self, number: int, effective: date = DAY) -> None:
        line = decided(Promotion(
            model="shop", sequence=0, action="promote", model_version=number,
            package_digest=self.packages[number].digest, trained_through=date(2024, 1, 31), effective_from=effective,
            recorded_at=NOW, approver="policy", reason="first",
        ))  # fmt: skip
        PromotionLog(self.lake, self.spec).append(lambda _: line)

    def report(self, number: int, gate: str, *checks: Check) -> None:
        report = GateReport(gate=gate, model="shop", subject=self.packages[number].digest, checks=checks)
        record_report(self.lake, self.spec, report, run_id="train", recorded_at=NOW)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    root = tmp_path_factory.mktemp("compare")
    made = Shop(root)
    shared(root)
    return made


def test_metrics_are_those_of_each_version_on_the_same_rows(shop) -> None:
    found = compare(shop.project, shop.lake, (1, 2))
    assert (found.rows, found.days, found.first_date, found.last_date) == (1740, 6, DAYS[0], DAYS[-1])
    assert "neither version has seen" in found.source
    assert found.cautions == ()
    rows = {name: pair for pair in found.metrics for name in [pair.metric]}
    assert rows.keys() == {"roc_auc", "log_loss", "brier", "accuracy", "calibration_error"}

    truth, probabilities = [], {1: [], 2: []}
    for day in DAYS:
        labels = shop.lake.read("shop__labels", where={"score_date": day, "label_status": "known"})
        known = dict(zip(labels["order_id"].to_pylist(), labels["label"].to_pylist(), strict=True))
        features = shop.features[day]
        kept = [at for at, key in enumerate(features["order_id"].to_pylist()) if key in known]
        batch = features.take(kept).combine_chunks().to_batches()[0]
        truth += [known[key] for key in batch.column("order_id").to_pylist()]
        for number, found_before in probabilities.items():
            found_before.extend(Predictor(shop.packages[number])(batch).column("probability").to_pylist())
    for number, side in ((1, "first"), (2, "second")):
        wanted = evaluate(np.array(truth, float), np.array(probabilities[number]))
        assert {name: getattr(pair, side) for name, pair in rows.items()} == pytest.approx(wanted)
    assert found.scores_differ == np.mean(np.array(probabilities[1]) != np.array(probabilities[2]))
    hard = {number: np.array(values) >= 0.5 for number, values in probabilities.items()}
    assert found.predictions_differ == np.mean(hard[1] != hard[2])


def test_the_gain_of_the_worse_version_lies_below_nothing_with_its_interval(shop) -> None:
    rows = {pair.metric: pair for pair in compare(shop.project, shop.lake, (1, 2)).metrics}
    for name in ("roc_auc", "log_loss", "brier"):
        pair = rows[name]
        assert pair.lower < pair.gain < pair.upper < 0, name
    gap = rows["calibration_error"]
    assert gap.lower < gap.gain < gap.upper
    other_way = {pair.metric: pair for pair in compare(shop.project, shop.lake, (2, 1)).metrics}
    for name, pair in rows.items():
        assert other_way[name].gain == pytest.approx(-pair.gain)
        assert (other_way[name].first, other_way[name].second) == (pair.second, pair.first)


def test_the_same_model_under_two_versions_differs_nowhere(shop) -> None:
    found = compare(shop.project, shop.lake, (1, 3))
    assert (found.predictions_differ, found.scores_differ, found.largest_difference) == (0.0, 0.0, 0.0)
    assert {pair.gain for pair in found.metrics} == {0.0}


def test_days_that_a_version_has_seen_are_left_out_unless_they_are_asked_for(shop) -> None:
    unseen = compare(shop.project, shop.lake, (1, 4))
    assert (unseen.first_date, unseen.days) == (DAYS[2], 4)
    asked = compare(shop.project, shop.lake, (1, 4), (DAYS[0], DAYS[1]))
    assert (asked.first_date, asked.last_date, asked.days) == (DAYS[0], DAYS[1], 2)
    few, seen = asked.cautions
    assert few == "a gain has no bounds: 2 days are too few to see how days differ, 6 would do"
    assert seen == f"version 4 was fitted on data through {DAYS[1]}: it has seen these rows"
    assert {(pair.lower, pair.upper) for pair in asked.metrics} == {(None, None)}
    assert compare(shop.project, shop.lake, (1, 4), (DAYS[2], None)).days == 4
    with pytest.raises(InputError, match="no scored day of shop from 2025-01-01 to the last has known labels"):
        compare(shop.project, shop.lake, (1, 2), (date(2025, 1, 1), None))


@pytest.mark.parametrize("pair", [(1, 1), (1, 9), (0, 1)])
def test_versions_that_cannot_be_compared(shop, pair) -> None:
    with pytest.raises(UsageError):
        compare(shop.project, shop.lake, pair)


def test_versions_of_other_classes_are_refused(tmp_path) -> None:
    shop = Shop(tmp_path)
    other = make_package(tmp_path / "other", task="multiclass")
    assert other.postprocess.classes == CLASSES
    PackageCache(tmp_path / shop.project.environment.storage.cache).put(other.folder)
    shop.record(5, other)
    with pytest.raises(InputError, match="predict different things"):
        compare(shop.project, shop.lake, (1, 5))


def test_the_list_of_versions(tmp_path) -> None:
    shop = Shop(tmp_path)
    good = Check(name="holdout_rows", verdict=Verdict.PASS)
    shop.record(1, shop.packages[1], run_id="abc", metrics={"roc_auc": 0.75}, reason="the first")
    for gate in ("quality", "operations"):
        shop.report(1, gate, good)
    shop.report(2, "quality", good, Check(name="roc_auc", verdict=Verdict.FAIL))
    shop.report(2, "operations", good)
    shop.report(
        3, "quality",
        Check(name="floor_roc_auc", verdict=Verdict.PASS, observed=0.7, bound=">= 0.6"),
        Check(name="metrics", verdict=Verdict.PASS, evidence="brier 0.1500, log_loss 0.5123"),
    )  # fmt: skip
    shop.promote(2, DAY + timedelta(days=2))
    shop.promote(3, DAY + timedelta(days=4))
    withdraw(shop.lake, shop.spec, WithdrawRequest(2, "wrong labels", "a person", NOW))

    found = {one.version: one for one in versions(shop.project, shop.lake)}
    assert {number: one.state for number, one in found.items()} == {
        1: "passed", 2: "refused", 3: "undecided", 4: "undecided"
    }  # fmt: skip
    first = found[1]
    assert (first.metrics, first.reason, first.run_id) == ({"roc_auc": 0.75}, "the first", "abc")
    assert first.gates == "operations pass, quality pass"
    assert first.champion == (f"{DAY} to {DAY + timedelta(days=3)}",)
    assert found[2].gates == "operations pass, quality fail (roc_auc)"
    assert found[2].withdrawn == "line 4: wrong labels"
    assert found[2].champion == ()
    assert found[3].metrics == {"roc_auc": 0.7, "brier": 0.15, "log_loss": 0.5123}
    assert found[3].champion == (f"from {DAY + timedelta(days=4)}",)
    assert found[4].champion == ()
    assert found[4].metrics == {}


def test_a_lake_that_recorded_no_versions_shows_those_of_the_log(tmp_path) -> None:
    project = make_project(tmp_path)
    lake = Lake.of(project.environment)
    assert versions(project, lake) == []
    line = decided(Promotion(
        model="shop", sequence=0, action="promote", model_version=7, package_digest="7" * 64,
        trained_through=date(2024, 1, 31), effective_from=DAY, recorded_at=NOW, approver="policy", reason="first",
    ))  # fmt: skip
    PromotionLog(lake, project.spec).append(lambda _: line)
    (found,) = versions(project, lake)
    assert (found.version, found.digest, found.champion) == (7, "7" * 64, (f"from {DAY}",))


def test_the_dates_of_a_champion_that_comes_back_are_two_periods(tmp_path) -> None:
    first = decided(Promotion(
        model="shop", sequence=1, action="promote", model_version=1, package_digest="1" * 64,
        trained_through=date(2024, 1, 31), effective_from=DAY, recorded_at=NOW, approver="policy", reason="first",
    ))  # fmt: skip
    second = first.model_copy(
        update={"sequence": 2, "model_version": 2, "package_digest": "2" * 64, "effective_from": DAYS[1]}
    )
    back = first.model_copy(update={"sequence": 3, "action": "rollback", "effective_from": DAYS[2]})
    assert champion_dates([first, second, back]) == {
        1: [f"{DAYS[0]} to {DAYS[0]}", f"from {DAYS[2]}"], 2: [f"{DAYS[1]} to {DAYS[1]}"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("task", "labels", "metrics"),
    [
        ("regression", [0.5, 1.5, 3.0], TASKS["regression"].metrics),
        ("multiclass", [*CLASSES], TASKS["multiclass"].metrics | {*names_of_class_metrics(CLASSES)}),
    ],
)
def test_versions_of_other_tasks(tmp_path, task, labels, metrics) -> None:
    project = make_project(tmp_path, training={"task": task})
    lake, spec = Lake.of(project.environment), project.spec
    cache = PackageCache(tmp_path / project.environment.storage.cache)
    for number in (1, 2):
        package = make_package(tmp_path / str(number), seed=number, task=task)
        cache.put(package.folder)
        ref = ModelRef(name="shop", version=number, digest=package.digest, trained_through=date(2024, 1, 31))
        record_version(lake, spec, ref, evidence_of(spec.name, ref.digest, ()), recorded_at=NOW)
        if number == 1:
            world = World(lake, spec, package)
    for day in DAYS:
        world.score(day, rows=120)
        scores = lake.read(spec.table("scores"), where={"score_date": day}, columns=["order_id", "score_date"])
        known = pa.table(
            {
                "label": pa.array([labels[at % len(labels)] for at in range(120)]),
                "label_time": pa.array([NOW] * 120, pa.timestamp("us", "UTC")),
                "label_status": ["known"] * 119 + ["never"],
            }
        )
        for name in scores.column_names:
            known = known.append_column(name, scores[name])
        lake.replace(spec.table("labels"), known, slice={"score_date": day}, partition_by=("score_date",))
    found = compare(project, lake, (1, 2), (DAYS[0], None))
    assert found.rows == 6 * 119
    assert {pair.metric for pair in found.metrics} == metrics
    defined = [pair for pair in found.metrics if np.isfinite(pair.gain)]
    assert len(defined) >= len(TASKS[task].metrics)
    assert all(pair.lower is None or pair.lower <= pair.gain <= pair.upper for pair in defined)
    assert all(pair.lower is not None for pair in defined if not is_of_class(pair.metric))
    assert found.scores_differ > 0.5
    worse = {"rmse", "mae", "log_loss", "calibration_error"}
    for pair in defined:
        nearer = abs(pair.first) - abs(pair.second)
        plain = (pair.second - pair.first) * (-1 if pair.metric in worse else 1)
        assert pair.gain == pytest.approx(nearer if pair.metric == "bias" else plain)
