"""Which training data maintenance must leave alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from decided import decided

from tallywright.data.snapshot import Snapshot
from tallywright.errors import PackageError, TrackingError
from tallywright.mlflow_client import mlflow_client
from tallywright.packaging.package import PackageContents, write_package
from tallywright.records import Promotion, Role, TableVersion
from tallywright.registry import references, versions
from tallywright.registry.evidence import evidence_of
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.references import in_use, training_references
from tallywright.registry.stages import StageTerms

from .conftest import DAY, NOW

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)


def line(version: int, offset: int, *, action: str = "promote", recorded_at: datetime = LONG_AGO) -> Promotion:
    return decided(
        Promotion(
            model="toy",
            sequence=offset,
            action=action,
            model_version=version,
            package_digest=f"{version:064x}",
            trained_through=DAY,
            effective_from=DAY + timedelta(days=offset),
            recorded_at=recorded_at,
            approver="policy",
            reason="because",
        )
    )


def stage(version: int, offset: int, champion: int) -> Promotion:
    terms = StageTerms(number=1, of=1, role=Role.SHADOW, days=7, metric="roc_auc", level=0.05, champion=champion)
    return line(version, offset, action="stage").model_copy(update={"stage_json": terms.to_json()})


def on(offset: int) -> datetime:
    return datetime.combine(DAY + timedelta(days=offset), datetime.min.time(), UTC)


@pytest.mark.parametrize(
    ("lines", "since", "wanted"),
    [
        ([], 0, set()),
        ([line(1, 0), line(2, 10), line(3, 20), line(4, 30)], 100, {3, 4}),
        ([line(1, 0), line(2, 10), line(3, 20), line(4, 30)], 15, {2, 3, 4}),
        ([line(1, 0), line(2, 10), line(3, 20), line(4, 30)], 10, {2, 3, 4}),
        ([line(1, 0), line(2, 10), line(3, 20), line(4, 30)], 9, {1, 2, 3, 4}),
        ([line(1, 0), line(2, 10), line(3, 20), line(2, 30, action="rollback")], 100, {1, 2}),
        ([line(1, 0), line(2, 10), line(3, 20, recorded_at=FUTURE), line(4, 21), line(5, 22)], 100, {3, 4, 5}),
        ([line(1, 0), stage(2, 10, 1)], 100, {1, 2}),
        ([line(1, 0), stage(2, 10, 1), line(2, 30, action="return")], 15, {1, 2}),
        ([line(1, 0), stage(2, 10, 1), line(2, 30, action="return")], 100, {1}),
    ],
)
def test_the_log_needs_who_was_champion_or_tried_since_and_who_can_come_back(lines, since, wanted) -> None:
    found = in_use(lines, on(since))
    assert set(found) == wanted
    assert all(digest == f"{version:064x}" for version, digest in found.items())


def snapshot(features: int, labels: int) -> Snapshot:
    return Snapshot(
        model="toy",
        as_of=DAY,
        features=TableVersion(table="toy__features", version=features),
        labels=TableVersion(table="toy__labels", version=labels),
        **{name: DAY for name in Snapshot.model_fields if name.endswith(("_from", "_to"))},
        rows={},
        coverage={},
        fingerprint="",
    )


@pytest.fixture
def register(project, package, tmp_path):
    """Registers a package that was trained on a snapshot."""

    def act(name: str, text: str, weight: float) -> int:
        made = package(name, weight)
        contents = PackageContents(
            meta=made.meta.model_copy(update={"snapshot_json": text}),
            preprocess=made.preprocess,
            onnx=made.read("model.onnx"),
            weights=made.weights(),
            definition=made.definition,
            reference=made.reference,
            parity=made.parity(),
        )
        folder = write_package(tmp_path / "trained" / name, contents).folder
        with mlflow_client(project.environment.tracking.uri) as client:
            found = client.get_experiment_by_name("toy")
            location = project.environment.tracking.artifacts
            experiment = found.experiment_id if found else client.create_experiment("toy", artifact_location=location)
            run_id = client.create_run(experiment).info.run_id
        return versions.register(project, folder, run_id=run_id, evidence=evidence_of("toy", "", [])).version

    return act


def pairs(found) -> set[tuple[str, int]]:
    assert {reference.by for reference in found} <= {"model"}
    return {(reference.table.removeprefix("toy__"), reference.version) for reference in found}


@pytest.mark.slow
def test_registered_versions_name_what_they_were_trained_on(project, lake, register) -> None:
    assert training_references(project, lake, LONG_AGO) == []
    register("a", snapshot(3, 4).to_json(), 1.0)
    register("b", snapshot(5, 4).to_json(), 2.0)
    register("c", "", 3.0)
    everything = {("features", 3), ("features", 5), ("labels", 4)}
    assert pairs(training_references(project, lake, LONG_AGO)) == everything
    assert training_references(project, lake, FUTURE) == []

    # a champion's training data stay, however long ago that was
    (first, *_) = versions.registered_versions(project)
    champion = decided(line(1, 0).model_copy(update={"package_digest": first.digest}))
    PromotionLog(lake, project.spec).append(lambda _: champion)
    assert pairs(training_references(project, lake, FUTURE)) == {("features", 3), ("labels", 4)}


@pytest.mark.slow
def test_a_snapshot_that_the_tag_cuts_short_comes_from_the_package(project, lake, register) -> None:
    version = register("a", snapshot(3, 4).to_json(), 1.0)
    with mlflow_client(project.environment.tracking.uri) as client:
        client.set_model_version_tag("toy", str(version), "tallywright.snapshot", snapshot(3, 4).to_json()[:50])
    assert pairs(training_references(project, lake, LONG_AGO)) == {("features", 3), ("labels", 4)}


@pytest.mark.slow
def test_a_tag_that_was_edited_gives_no_training_data_away(project, lake, register) -> None:
    version = register("a", snapshot(3, 4).to_json(), 1.0)
    with mlflow_client(project.environment.tracking.uri) as client:
        client.set_model_version_tag("toy", str(version), "tallywright.snapshot", snapshot(9, 9).to_json())
    assert pairs(training_references(project, lake, LONG_AGO)) == {("features", 3), ("labels", 4)}


@pytest.mark.slow
def test_without_an_answer_nothing_may_be_deleted(project, lake, register) -> None:
    register("a", '{"not": "a snapshot"}', 1.0)
    with pytest.raises(PackageError, match="does not say on which table versions"):
        training_references(project, lake, LONG_AGO)
    PromotionLog(lake, project.spec).append(lambda _: line(9, 0, recorded_at=NOW))
    with pytest.raises(TrackingError):
        training_references(project, lake, FUTURE)


def test_a_model_without_a_snapshot_refers_to_nothing(project, lake, package, monkeypatch) -> None:
    made = package()
    monkeypatch.setattr(
        references, "registered_versions", lambda _: [versions.RegistryVersion(1, made.digest, "", NOW)]
    )
    monkeypatch.setattr(references, "fetch", lambda *_: made.folder)
    assert training_references(project, lake, LONG_AGO) == []
