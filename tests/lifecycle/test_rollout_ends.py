"""How a trial ends: by people, by what is realised, by a test of who is better."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from rollout_world import STAGES, World, on
from shared import shared
from synthetic import make_package

from tallywright.data.snapshot import take_snapshot
from tallywright.lifecycle.steps import promotion
from tallywright.lifecycle.steps.advance import advance
from tallywright.records import Decision, Verdict
from tallywright.registry.stages import terms_of
from tallywright.registry.versions_table import recorded_versions

# MLflow takes seconds to import.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def key(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "ann"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ann", "-f", str(file)], check=True)
    shared(file.parent)
    return file


class ByPeople:
    """A world in which Ann approves by her key."""

    def __init__(self, root: Path, packages, store: Path, key: Path, **rollout: Any) -> None:
        public = key.with_suffix(".pub").read_text().strip()
        registry = {"approval": "person", "approver_keys": {"ann": public}}
        self.world = World(root, packages, rollout=rollout, registry=registry)
        self.world.use_store(store)
        self.key = key
        self.world.register(1)
        self.answer("approve", 1)
        self.world.step("promote", 0, version=1, by="ann")

    def answer(self, answer: str, version: int, reason: str = "as agreed", day: int = 0) -> None:
        context = self.world.context(day, version=version, reason=reason, key=self.key)
        getattr(promotion, answer)(context)


def test_a_person_is_asked_before_the_first_canary_and_before_it_is_champion(
    tmp_path, rollout_packages, empty_store, key
):
    life = ByPeople(tmp_path, rollout_packages, empty_store, key, stages=[STAGES[2]])
    world = life.world
    version = world.register(2)
    world.score(0)
    told = advance(world.context(0))
    assert told["action"] == "waits"
    assert f"tally approve shop {version} --reason WHY --key FILE" in told["why"]
    life.answer("approve", version)
    begun = advance(world.context(0))
    assert (begun["action"], begun["stage"]) == ("stage", "canary 0.5 (1 of 1)")
    line = world.log[-1]
    assert line.approver == "ann"
    assert line.authentication.startswith(f"line {line.sequence - 1}: key SHA256:")


@pytest.mark.long
def test_what_was_approved_before_the_stage_began_makes_no_champion(tmp_path, rollout_packages, empty_store, key):
    life = ByPeople(tmp_path, rollout_packages, empty_store, key, stages=[STAGES[2]])
    world = life.world
    version = world.register(2)
    life.answer("approve", version)
    told = world.live(range(8))
    assert [one["action"] for one in told] == ["stage", *["stays"] * 5, "waits", "waits"]
    life.answer("approve", version, "the canary went well")
    promoted = advance(world.context(7))
    assert (promoted["action"], promoted["promotion"]["approver"]) == ("promoted", "ann")
    assert promoted["promotion"]["effective_from"] == str(on(8))


@pytest.mark.long
def test_whom_a_person_rejects_is_returned_when_it_would_go_on(tmp_path, rollout_packages, empty_store, key):
    life = ByPeople(tmp_path, rollout_packages, empty_store, key, stages=[STAGES[0], STAGES[2]])
    world = life.world
    version = world.register(2)
    world.live(range(6))
    life.answer("reject", version, "not now")
    (told,) = world.live(range(6, 7))
    assert (told["action"], told["version"]) == ("return", version)
    assert told["why"].endswith("not now")


@pytest.mark.long
def test_a_share_that_grows_and_labels_that_are_waited_for(born) -> None:
    world = born(maturity=1)
    version = world.register(2)
    told = world.live(range(22))
    ends = [(number, one["action"], one.get("stage")) for number, one in enumerate(told) if one["action"] != "stays"]
    assert ends == [
        (0, "stage", "shadow (1 of 3)"), (7, "stage", "canary 0.1 (2 of 3)"), (14, "stage", "canary 0.5 (3 of 3)"),
        (21, "promoted", None),
    ]  # fmt: skip
    assert told[3]["why"] == "shadow (1 of 3): 2 of 6 days have mature labels, 1 wait for theirs"
    assert [world.score(number)["action"] for number in (0, 3, 10, 18)] == ["unchanged"] * 4
    # A key stays with the canary for as long as the version is tried; a larger share only adds keys.
    tenth, half = (world.lake.read("shop__scores", where={"score_date": on(number)})["role"].to_pylist()
                   for number in (10, 18))  # fmt: skip
    assert 0.04 < tenth.count("canary") / len(tenth) < 0.17
    assert 0.4 < half.count("canary") / len(half) < 0.6
    assert world.score(22)["models"] == [f"champion: version {version}"]


@pytest.mark.long
def test_a_weekly_model_counts_its_weeks(born) -> None:
    world = born(maturity=6, weekly=True, rollout={"stages": [STAGES[0], STAGES[2]]})
    version = world.register(2)
    told = world.live(range(15))
    ends = [(number, one["action"], one.get("stage")) for number, one in enumerate(told) if one["action"] != "stays"]
    # Labels of a week are mature six days after its end, and so is the week in the run of the next one.
    assert ends == [(0, "stage", "shadow (1 of 2)"), (7, "stage", "canary 0.5 (2 of 2)"), (14, "promoted", None)]
    assert world.score(15)["models"] == [f"champion: version {version}"]
    assert [world.score(number)["action"] for number in (0, 5, 10)] == ["unchanged"] * 3


@pytest.mark.long
def test_a_challenger_that_is_worse_in_shadow_never_serves_a_row(born) -> None:
    world = born(champion=2)
    version = world.register(3)
    told = world.live(range(8))
    assert [one["action"] for one in told] == ["stage", *["stays"] * 5, "return", "none"]
    assert "shown to be worse: roc_auc" in told[6]["why"]
    line = next(line for line in world.log if line.action == "return")
    (report,) = Decision.from_json(line.decision_json).reports
    assert [check.name for check in report.failed] == ["gain_roc_auc"]
    assert set(world.lake.read("shop__scores")["model_version"].to_pylist()) == {1}
    assert set(world.lake.read("shop__shadow")["model_version"].to_pylist()) == {version}


@pytest.mark.long
def test_an_ab_test_ends_as_soon_as_b_is_shown_to_be_better(born) -> None:
    world = born(rollout={"mode": "ab", "stages": [{"stage": "canary", "share": 0.5, "days": 14}]})
    world.register(2)
    told = world.live(range(15))
    end = next(number for number, one in enumerate(told) if one["action"] == "promoted")
    assert 6 <= end < 14
    assert told[end]["why"].startswith("A/B 0.5 (1 of 1): roc_auc 0.")
    assert terms_of(next(line for line in world.log if line.action == "stage")).test


@pytest.mark.long
def test_an_ab_test_that_shows_nothing_ends_with_its_difference_and_interval(born) -> None:
    world = born(rollout={"mode": "ab", "stages": [{"stage": "canary", "share": 0.5, "days": 6}]}, truth=2)
    world.register(3)  # neither knows anything of the truth
    told = world.live(range(7))
    assert told[-1]["action"] == "return"
    assert "not shown to be better in 6 days: roc_auc 0." in told[-1]["why"] or "worse" in told[-1]["why"]
    assert "gain " in told[-1]["why"]


@pytest.mark.long
def test_an_undecided_version_is_judged_again_when_its_days_in_shadow_are_over(born, tmp_path) -> None:
    world = born(
        rollout={"stages": [STAGES[0], STAGES[2]]},
        training={"window_days": 2, "validation_days": 1, "holdout_days": 7},
        gates={"max_calibration_error": 1.0, "min_holdout_rows": 100},  # its days in shadow are planned by the rollout
    )
    for number in range(-10, 0):
        world.put(on(number))
    snapshot = take_snapshot(world.project, world.lake, on(0))
    package = make_package(
        tmp_path / "late", seed=2, snapshot_json=snapshot.to_json(), through=on(-1), run_id=world.new_run()
    )
    world.packages = {**world.packages, 9: package}
    version = world.register(9, quality=Verdict.UNDECIDED)
    assert not recorded_versions(world.lake, world.spec)[version].gates_passed
    told = world.live(range(7), every=3)
    assert [one["action"] for one in told] == ["stage", "stays", "stage"]
    assert told[-1]["stage"] == "canary 0.5 (2 of 2)"
    assert recorded_versions(world.lake, world.spec)[version].gates_passed


@pytest.mark.long
def test_what_a_canary_scored_before_it_was_withdrawn_stands(born) -> None:
    world = born(rollout={"stages": [STAGES[2]]})
    version = world.register(2)
    world.live(range(3))
    promotion.withdraw(world.context(2, version=version, reason="an error", by="ann"))
    assert world.score(2)["action"] == "unchanged"
    again = world.step("score", 2, rescore=True)
    assert (again["action"], again["models"]) == ("committed", ["champion: version 1"])
    assert world.score(3)["models"] == ["champion: version 1"]
    assert advance(world.context(3))["action"] == "none"


@pytest.mark.long
def test_a_canary_whose_labels_never_come_is_returned(born) -> None:
    world = born(rollout={"stages": [STAGES[2]]})
    world.register(2)
    for number in range(13):
        world.put(on(number))
        labels = world.lake.read("shop__labels", where={"score_date": on(number)}).slice(0, 0)
        world.lake.replace("shop__labels", labels, slice={"score_date": on(number)}, partition_by=("score_date",))
    assert [one["action"] for one in world.live(range(12), every=11)] == ["stage", "stays"]
    (told,) = world.live(range(12, 13))
    assert told["action"] == "return"
    assert told["why"].endswith("not measured: 0 of 6 days have mature labels, 12 have no labelled rows")
    (report,) = Decision.from_json(world.log[-1].decision_json).reports
    assert [check.name for check in report.failed] == ["labelled"]
