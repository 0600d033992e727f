"""Two registries: a version is trained in one, arrives in the other with its evidence, and is promoted there."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from day_gate import report_day
from synthetic import commit_day, make_features
from two_sides import DAY, Registry, TwoSides

from tallywright.cli.history_command import history
from tallywright.cli.registry_commands import advance
from tallywright.data.delta.table import Table
from tallywright.errors import GateRefusedError, IntegrityError, PackageError, TrackingError, UsageError
from tallywright.gates.record import reports_of_gate
from tallywright.lifecycle import arrival
from tallywright.lifecycle.context import RunContext
from tallywright.lifecycle.run import run_step
from tallywright.lifecycle.steps.gates import champion_of
from tallywright.mlflow_client import connect
from tallywright.observability import at_failpoint
from tallywright.records import Check, GateReport, Manifest, Verdict, VersionOrigin
from tallywright.registry.evidence import Evidence
from tallywright.registry.numbers import log_for_aliases
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions import stale_aliases
from tallywright.registry.versions_table import VERSIONS, VersionRow
from tallywright.reporting.card.known import known_version
from tallywright.reporting.trace import trace
from tallywright.reporting.versions import versions
from tallywright.scoring.commit.manifests import latest_manifest

AWAY = Registry("sqlite:///conf/local.yaml/mlflow.db")
"""Of a database that cannot be made."""
NO_STORE = {
    "aws_endpoint": "http://127.0.0.1:9",
    "aws_allow_http": True,
    "aws_region": "none",
    "aws_access_key_id": "a",
    "aws_secret_access_key": "b",
    "max_retries": 0,
}
"""Of a lake at an address where nothing listens."""
RECORDED = ("arrival-recorded", "before-promotions", "promotion-appended")
"""Points at which the version is whole in production, and the log does not say so yet, or its head does not."""


@pytest.fixture
def sides(tmp_path: Path, empty_store: Path) -> TwoSides:
    return TwoSides(tmp_path / "two", empty_store)


def aliases(sides: TwoSides, name: str) -> dict[str, int]:
    found = connect(sides.project(name).environment.tracking.address).get_registered_model("shop").aliases
    return {alias: int(version) for alias, version in found.items()}


def quality_runs(sides: TwoSides, name: str) -> list[str]:
    """The runs whose quality reports an environment counts, as tries of the year's level."""
    context = sides.context(name)
    lakes = [context.training.lake, context.production.lake]
    return [run for run, _ in reports_of_gate(lakes, context.spec, "quality")]


def test_a_version_is_trained_here_and_promoted_there_and_the_next_is_compared_with_it(sides: TwoSides) -> None:
    sides.trained(1)
    second = sides.trained(2)
    promoted = sides.promote(2)
    assert (second.model_version, promoted["model_version"]) == (2, 1)
    assert promoted["package_digest"] == second.package_digest
    _is_whole(sides, second)
    # A report that was copied is one try in both.
    assert quality_runs(sides, "dev") == quality_runs(sides, "prod") == ["train 1", "train 2"]
    _is_not_copied_again(sides)
    _scores_by_both_numbers(sides, second)

    dev, before = sides.context("dev"), sides.promotions()
    champion = champion_of(dev)
    assert champion is not None
    assert champion.digest == second.package_digest
    third = sides.trained(3, champion=champion.digest)
    assert sides.promotions() == before
    assert [row.model_version for row in sides.rows("prod")] == [1]
    # Its aliases follow production's log, in its own numbers.
    assert aliases(sides, "dev") == {"champion": 2, "challenger": 3}
    assert stale_aliases(dev.project, log_for_aliases(dev.project, dev.lake)) == []
    with pytest.raises(UsageError, match="only read from here"):
        PromotionLog(dev.production.lake, dev.spec).append(lambda entries: entries[-1])
    _is_shown_in_training(sides)
    sides.promote(3, DAY + timedelta(days=1))
    assert [(one.model_version, one.package_digest) for one in sides.promotions()] == [
        (1, second.package_digest),
        (2, third.package_digest),
    ]


@pytest.mark.long
def test_where_versions_go_through_stages_the_one_that_arrives_begins_with_the_first(sides: TwoSides) -> None:
    spec = sides.root / "models/shop/model.yaml"
    spec.write_text(spec.read_text() + "rollout: {stages: [{stage: shadow, days: 7}]}\n")
    first = sides.trained(1)
    assert sides.promote(1)["action"] == "promote"  # there is nobody to be held against
    second = sides.trained(2, champion=first.package_digest)
    arrived = sides.promote(2, DAY + timedelta(days=1))
    assert (arrived["action"], arrived["version"]) == ("none", 2)
    assert "first stage" in arrived["why"]
    _scored(sides)
    assert run_step(sides.context("prod", "advance"), "advance")["stage"] == "shadow (1 of 1)"
    begun = sides.promotions()[-1]
    assert (begun.action, begun.model_version, begun.package_digest) == ("stage", 2, second.package_digest)


def _is_whole(sides: TwoSides, sent: VersionRow) -> None:
    (row,) = sides.rows("prod")
    assert row.origin == VersionOrigin(digest=sent.package_digest, registry="dev", version=2)
    same = ("package_digest", "judged_digest", "evidence_json", "author", "recorded_by", "reason", "metrics_json")
    assert {name: getattr(row, name) for name in same} == {name: getattr(sent, name) for name in same}
    (there,) = sides.registered("prod")
    assert there.tags["tallywright.source"] == "dev version 2"
    tags = sides.registered("dev")[1].tags
    assert {name: there.tags.get(name) for name in tags} == tags
    client = connect(sides.project("prod").environment.tracking.address)
    assert {item.path for item in client.list_artifacts(row.run_id, "packages")} == {
        f"packages/{row.package_digest}",
        f"packages/{row.judged_digest}",
    }
    run = client.get_run(row.run_id)
    assert run.data.tags["tallywright.source_run"] == sent.run_id
    assert run.info.status == "FINISHED"
    assert aliases(sides, "prod") == {"champion": 1}


def _is_shown_in_training(sides: TwoSides) -> None:
    dev = sides.context("dev")
    assert known_version(dev.project, dev.lake, 2).champion
    assert known_version(dev.project, dev.lake, 3).champion == []
    assert [bool(one.champion) for one in versions(dev.project, dev.lake)] == [False, True, False]
    told = CliRunner().invoke(history, ["shop", "--root", str(sides.root), "--env", "dev", "--json"])
    assert [line["model_version"] for line in json.loads(told.stdout)] == [1]
    assert "version numbers are those of prod" in told.stderr


def _is_not_copied_again(sides: TwoSides) -> None:
    prod = sides.context("prod")
    table, before = prod.spec.table("versions"), sides.promotions()
    version = prod.lake.look(table).version()
    again = sides.arrive(2)
    assert (again["action"], again["version"], again["from"]) == ("unchanged", 1, "dev version 2")
    assert sides.promote(2)["sequence"] == 1
    # Nor is the registry of training needed any more.
    sides.write("prod", Registry("sqlite:///prod/mlflow.db"), "production", "training", "dev", AWAY)
    assert (sides.arrive(2)["action"], sides.promote(2)["sequence"]) == ("unchanged", 1)
    with pytest.raises(TrackingError):
        sides.arrive(1)
    sides.write(
        "prod",
        Registry("sqlite:///prod/mlflow.db"),
        "production",
        "training",
        "dev",
        Registry("sqlite:///dev/mlflow.db"),
    )
    assert prod.lake.look(table).version() == version
    assert len(sides.registered("prod")) == 1
    assert sides.promotions() == before


def _scored(sides: TwoSides) -> RunContext:
    """Scores the day in production."""
    prod = sides.context("prod")
    commit_day(prod.lake, prod.spec, make_features(50), day=DAY)
    report_day(prod.lake, prod.spec, DAY, at=prod.now)
    run_step(prod, "score")
    return prod


def _scores_by_both_numbers(sides: TwoSides, row: VersionRow) -> None:
    prod = _scored(sides)
    manifest = latest_manifest(prod.lake, prod.spec, DAY)
    assert manifest is not None
    assert manifest.origins == (VersionOrigin(digest=row.package_digest, registry="dev", version=2),)
    assert [(ref.version, ref.digest) for ref in manifest.models] == [(1, row.package_digest)]
    key = prod.lake.read(prod.spec.table("scores"))["order_id"][0].as_py()
    model = trace(prod.project, key, DAY)["model"]
    assert (model["version"], model["came from"], model["digest"]) == (1, "dev version 2", row.package_digest)
    # With one registry the manifest says nothing of it.
    assert "origins" not in manifest.model_copy(update={"origins": ()}).to_json()
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_nothing_arrives_but_what_was_registered(sides: TwoSides, monkeypatch: pytest.MonkeyPatch) -> None:
    row = sides.trained(1)

    def refused(error: type[Exception], found: str, make: Callable[[], object], undo: Callable[[], object]) -> None:
        make()
        with pytest.raises(error, match=found):
            sides.promote(1)
        assert sides.rows("prod") == []
        assert sides.promotions() == []
        undo()

    # Lake and registry of training say different things.
    client, tag = connect(sides.project("dev").environment.tracking.address), "tallywright.evidence"
    true = sides.registered("dev")[0].tags[tag]
    refused(
        IntegrityError,
        "do not agree on the evidence of version 1",
        lambda: client.set_model_version_tag("shop", "1", tag, "0" * 64),
        lambda: client.set_model_version_tag("shop", "1", tag, true),
    )
    # Both say the same, and the evidence is not about this version.
    reports, dev = Evidence.from_json(row.evidence_json).reports, sides.context("dev")
    table = Table(VERSIONS, dev.lake, dev.spec)

    def forge(**changes: object) -> None:
        forged = Evidence.from_json(row.evidence_json).model_copy(update=changes)
        told = {"evidence_json": forged.to_json(), "judged_digest": forged.judged_digest, "verdict": forged.verdict}
        table.replace([row.model_copy(update=told)])
        client.set_model_version_tag("shop", "1", tag, forged.digest)

    def undo() -> None:
        table.replace([row])
        client.set_model_version_tag("shop", "1", tag, true)

    def with_first(**changes: str) -> tuple[GateReport, ...]:
        return (reports[0].model_copy(update=changes), *reports[1:])

    failed = (Check(name="all", verdict=Verdict.FAIL),)
    worse = GateReport(gate=reports[0].gate, model="shop", subject=row.package_digest, checks=failed)
    refused(IntegrityError, "is about shop 0000", lambda: forge(reports=with_first(subject="0" * 64)), undo)
    refused(IntegrityError, "is about other ", lambda: forge(reports=with_first(model="other")), undo)
    refused(IntegrityError, "reported more than once", lambda: forge(reports=(worse, *reports)), undo)
    refused(IntegrityError, "passed is the verdict, and undecided follows", lambda: forge(reports=reports[1:]), undo)
    own = tuple(one.model_copy(update={"subject": row.package_digest}) for one in reports)
    unjudged = {"reports": own, "judged_digest": row.package_digest}
    refused(IntegrityError, f"its package names {row.judged_digest}", lambda: forge(**unjudged), undo)
    # A byte of the judged package changes in the registry of training, and one of the version on its way.
    (file,) = (sides.root / "dev/mlartifacts").rglob(f"packages/{row.judged_digest}/model.onnx")
    content = file.read_bytes()
    refused(
        PackageError,
        "model.onnx",
        lambda: file.write_bytes(content[:-1] + bytes([content[-1] ^ 1])),
        lambda: file.write_bytes(content),
    )
    arrives = sides.root / "prod/mlartifacts"
    mark = arrival.mark_origin

    def mark_and_damage(*given: object) -> None:
        mark(*given)  # type: ignore[arg-type]
        for there in arrives.rglob(f"packages/{row.package_digest}/model.onnx"):
            there.write_bytes(content)

    refused(
        PackageError,
        "model.onnx",
        lambda: monkeypatch.setattr(arrival, "mark_origin", mark_and_damage),
        monkeypatch.undo,
    )
    # The same command, once all is as it was registered.
    assert sides.promote(1)["package_digest"] == row.package_digest
    assert len(sides.registered("prod")) == 1


@pytest.mark.long
def test_a_number_that_training_gave_again_means_the_package_that_has_it_by_now(sides: TwoSides) -> None:
    row, other = sides.trained(1), "b" * 64
    sides.arrive(1)
    (copied,) = sides.rows("prod")
    dev, prod = sides.context("dev"), sides.context("prod")
    # As after two arrivals, and with a registry of training that was made anew, in another order.
    second = {"model_version": 2, "package_digest": other, "source_version": 2}
    Table(VERSIONS, prod.lake, prod.spec).replace([copied.model_copy(update=second)])
    anew = [row.model_copy(update={"model_version": 2}), row.model_copy(update={"package_digest": "c" * 64})]
    for one in anew:
        Table(VERSIONS, dev.lake, dev.spec).replace([one])

    def promoted(version: int) -> dict[str, object]:
        asked = {"version": version, "source": "dev", "by": "Ann", "effective_from": DAY}
        return run_step(sides.context("prod", **asked), "promote")

    with pytest.raises(IntegrityError, match=f"came with the package {row.package_digest}, and has .* {'c' * 64}"):
        promoted(1)
    assert sides.promotions() == []
    done = promoted(2)
    assert (done["model_version"], done["package_digest"]) == (1, row.package_digest)
    # Where nobody can say what dev has by now, it is the version that came by the number.
    overlay = sides.root / "conf/prod.yaml"
    values = yaml.safe_load(overlay.read_text())
    values["registries"]["training"]["storage"] = {"lake": "s3://away/lake", "options": NO_STORE}
    overlay.write_text(yaml.safe_dump(values))
    assert promoted(1)["package_digest"] == row.package_digest


def test_a_challenger_is_not_looked_at_where_versions_are_trained(sides: TwoSides) -> None:
    asked = ["shop", "--root", str(sides.root), "--env", "dev", "--date", f"{DAY}"]
    with pytest.raises(UsageError, match="versions are promoted, and score, in prod, and this is dev"):
        CliRunner().invoke(advance, asked, catch_exceptions=False)


@pytest.mark.long
def test_an_undecided_version_arrives_and_is_not_promoted(sides: TwoSides) -> None:
    sides.trained(1, quality=Verdict.UNDECIDED)
    with pytest.raises(GateRefusedError):
        sides.promote(1)
    assert [row.verdict for row in sides.rows("prod")] == ["undecided"]
    assert sides.promotions() == []


@pytest.mark.parametrize(
    ("name", "step", "options", "found"),
    [
        ("dev", "judge", {"version": 1}, "versions are promoted, and score, in prod, and this is dev"),
        ("dev", "score", {}, "versions are promoted, and score, in prod, and this is dev"),
        ("prod", "snapshot", {}, "versions are trained in dev, and this is prod"),
        ("prod", "promote", {"version": 7, "source": "dev"}, "version 7 of dev has not arrived in prod"),
        ("prod", "arrive", {"version": 7, "source": "dev"}, "version 7 of shop was not registered where"),
        ("prod", "arrive", {"version": 7, "source": "elsewhere"}, "do not arrive in prod from 'elsewhere'"),
        ("local", "promote", {"version": 7, "source": "dev"}, "do not arrive in local from 'dev'"),
    ],
)
def test_what_belongs_to_the_other_side_is_refused(
    sides: TwoSides, name: str, step: str, options: dict[str, object], found: str
) -> None:
    with pytest.raises(UsageError, match=found):
        run_step(sides.context(name, **options), step)


class _Stopped(BaseException):
    """What ends a command at a point; no handler takes it for an error."""


def test_what_was_stopped_between_the_copies_is_not_visible_and_is_finished(sides: TwoSides) -> None:
    """As the next test does with killed processes, at the point where MLflow has the version and the lake does not."""
    row = sides.trained(1)

    def stop(point: str) -> None:
        if point == "arrival-registered":
            raise _Stopped

    token = at_failpoint.set(stop)
    with pytest.raises(_Stopped):
        sides.arrive(1)
    at_failpoint.reset(token)
    assert len(sides.registered("prod")) == 1
    assert sides.rows("prod") == []
    asked = {"by": "Ann", "effective_from": DAY}
    with pytest.raises(UsageError, match="has not arrived whole"):
        run_step(sides.context("prod", version=1, **asked), "promote")
    with pytest.raises(UsageError, match="version 1 of dev has not arrived"):
        run_step(sides.context("prod", version=1, source="dev", **asked), "promote")
    assert sides.promote(1)["package_digest"] == row.package_digest
    assert len(sides.registered("prod")) == 1


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("point", ["arrival-uploaded", "arrival-registered", "arrival-reported", *RECORDED])
def test_the_next_command_finishes_what_a_killed_one_has_begun(sides: TwoSides, point: str) -> None:
    row = sides.trained(1)
    killed = sides.promoted_by_command(1, TALLYWRIGHT_KILL_AT=point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [one.package_digest for one in sides.rows("prod")] == [row.package_digest] * (point in RECORDED)
    assert len(sides.registered("prod")) == (point != "arrival-uploaded")
    assert len(sides.promotions()) == (point == "promotion-appended")

    done = sides.promoted_by_command(1)
    assert done.returncode == 0, done.stderr
    assert len(sides.registered("prod")) == 1
    assert [one.package_digest for one in sides.rows("prod")] == [row.package_digest]
    assert [(one.model_version, one.package_digest) for one in sides.promotions()] == [(1, row.package_digest)]
    assert quality_runs(sides, "prod") == ["train 1"]
    assert aliases(sides, "prod") == {"champion": 1}
