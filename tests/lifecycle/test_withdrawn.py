"""What a withdrawn version has scored stands until somebody asks for another; a day still to be scored gets another."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from day_gate import report_day
from decided import decided
from shared import shared
from synthetic import DAY, commit_day, make_features, make_package, make_project, read_scores

from tallywright.data.delta.lake import Lake
from tallywright.errors import NoChampionError
from tallywright.lifecycle.context import RunContext, RunOptions
from tallywright.lifecycle.run import run_step
from tallywright.observability import at_failpoint
from tallywright.packaging.package import PackageCache
from tallywright.records import Promotion
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.withdrawal import WithdrawRequest, withdraw
from tallywright.reporting.overview import overview
from tallywright.reporting.preview import preview
from tallywright.reporting.trace import trace
from tallywright.scoring.commit.manifests import latest_manifest

NOW = datetime(2024, 3, 2, tzinfo=UTC)
NEXT = DAY + timedelta(days=1)


class Shop:
    """Version 1 champion from the start, version 2 from DAY on; DAY scored, the next day judged and not scored."""

    def __init__(self, root, packages) -> None:
        self.project = make_project(root)
        self.lake, self.spec = Lake.of(self.project.environment), self.project.spec
        cache = PackageCache(root / self.project.environment.storage.cache)
        for version, package in packages.items():
            cache.put(package.folder)
            self.promote(version, package.digest, DAY - timedelta(days=2 - version))
        for day in (DAY, NEXT):
            self.put(day, seed=day.toordinal())

    def promote(self, version: int, digest: str, effective: date) -> None:
        line = decided(Promotion(
            model="shop", sequence=0, action="promote", model_version=version, package_digest=digest,
            trained_through=date(2024, 1, 31), effective_from=effective, recorded_at=NOW, approver="policy",
            reason="better",
        ))  # fmt: skip
        PromotionLog(self.lake, self.spec).append(lambda _: line)

    def put(self, day: date, seed: int) -> None:
        commit_day(self.lake, self.spec, make_features(200, seed=seed), day=day)
        report_day(self.lake, self.spec, day, run_id=f"gate {seed}", at=NOW)

    def step(self, name: str, day: date = DAY, project=None, **options):
        run_id = f"{name} {day} {options}"
        return run_step(RunContext(project or self.project, day, run_id, RunOptions(**options)), name)

    def withdraw(self, version: int = 2) -> None:
        withdraw(self.lake, self.spec, WithdrawRequest(version, "wrong labels", "a person", NOW))

    def versions(self, day: date = DAY) -> set[int]:
        return set(read_scores(self.lake, self.spec, day)["model_version"].to_pylist())

    def manifest(self, day: date = DAY):
        return latest_manifest(self.lake, self.spec, day)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    made = {version: make_package(folder / str(version), seed=version) for version in (1, 2)}
    shared(folder)
    return made


@pytest.fixture
def shop(tmp_path, packages) -> Shop:
    made = Shop(tmp_path, packages)
    assert made.step("score")["models"] == ["champion: version 2"]
    made.withdraw()
    return made


def test_a_repeat_of_what_it_scored_is_unchanged_and_says_so(shop) -> None:
    told = shop.step("score")
    assert (told["action"], told["generation"]) == ("unchanged", 1)
    assert "version 2 was withdrawn by line 3 of the log (wrong labels)" in told["withdrawn"]
    assert "--rescore" in told["withdrawn"]
    assert shop.versions() == {2}
    (shown,) = preview(shop.project, DAY, DAY)
    assert shown.action == "no-op"
    assert "withdrawn by line 3" in shown.why


@pytest.mark.parametrize("option", ["rescore", "force"])
def test_it_is_scored_again_where_somebody_asks_for_it(shop, option) -> None:
    assert preview(shop.project, DAY, DAY, **{option: True})[0].why == "withdrawn"
    told = shop.step("score", **{option: True})
    assert (told["action"], told["generation"], told["reason"]) == ("committed", 2, "withdrawn")
    assert shop.versions() == {1}
    again = shop.step("score")
    assert (again["action"], again["generation"]) == ("unchanged", 2)
    assert "withdrawn" not in again


def test_a_day_still_to_be_scored_gets_the_newest_earlier_champion(shop) -> None:
    resolved = shop.step("resolve", NEXT)
    assert [model["version"] for model in resolved["models"]] == [1]
    assert resolved["withdrawn"] == [{"model_version": 2, "sequence": 3, "reason": "wrong labels"}]
    assert preview(shop.project, NEXT, NEXT)[0].why == "withdrawn"
    told = shop.step("score", NEXT)
    assert (told["models"], told["reason"]) == (["champion: version 1"], "withdrawn")
    assert shop.manifest(NEXT).reason == "withdrawn"
    assert shop.step("score", NEXT)["action"] == "unchanged"


@pytest.mark.parametrize("point", ["staging", "staged", "before-commit"])
def test_a_version_that_is_withdrawn_while_it_scores_does_not_score(tmp_path, packages, point) -> None:
    shop = Shop(tmp_path, packages)
    waiting = [shop.withdraw]
    token = at_failpoint.set(lambda name: waiting.pop()() if name == point and waiting else None)
    try:
        told = shop.step("score")
    finally:
        at_failpoint.reset(token)
    assert (told["models"], told["generation"]) == (["champion: version 1"], 1)
    assert shop.versions() == {1}
    assert "withdrawn" not in shop.step("score")


def test_other_inputs_are_no_repeat(shop) -> None:
    shop.put(DAY, seed=1)
    assert shop.step("score")["reason"] == "restated_input+withdrawn"
    assert shop.versions() == {1}


def test_another_scoring_section_is_no_repeat(shop) -> None:
    scoring = shop.spec.scoring.model_copy(update={"threshold": 0.7})
    project = replace(shop.project, spec=shop.spec.model_copy(update={"scoring": scoring}))
    assert shop.step("score", project=project)["reason"] == "withdrawn+spec"
    assert shop.versions() == {1}


def test_a_later_promotion_scores_the_day_again_as_ever(shop, packages) -> None:
    shop.promote(3, packages[1].digest, DAY)
    assert shop.step("score")["reason"] == "model"
    assert shop.versions() == {3}


def test_without_an_earlier_champion_what_it_scored_stands_and_nothing_else_is_scored(shop) -> None:
    shop.withdraw(1)
    assert shop.step("score")["action"] == "unchanged"
    for name, day, options in (("score", NEXT, {}), ("resolve", NEXT, {}), ("score", DAY, {"rescore": True})):
        with pytest.raises(NoChampionError, match="withdrawn"):
            shop.step(name, day, **options)


def test_what_the_stand_in_scored_stands_when_it_is_withdrawn_too(shop) -> None:
    assert shop.step("score", rescore=True)["reason"] == "withdrawn"
    assert shop.step("score", NEXT)["reason"] == "withdrawn"
    shop.withdraw(1)
    for day in (DAY, NEXT):
        told = shop.step("score", day)
        assert (told["action"], told["models"]) == ("unchanged", ["champion: version 1"])
        assert "version 1 was withdrawn by line 4" in told["withdrawn"]
        with pytest.raises(NoChampionError, match="withdrawn"):
            shop.step("score", day, rescore=True)


def test_the_resolution_of_a_run_from_before_the_withdrawal_does_not_decide(tmp_path, packages) -> None:
    shop = Shop(tmp_path, packages)
    context = RunContext(shop.project, NEXT, "scheduled")
    run_step(context, "resolve")
    shop.withdraw()
    assert run_step(context, "score")["models"] == ["champion: version 1"]


def test_days_and_trace_say_it(shop) -> None:
    (day,) = overview(shop.project)
    assert day.roles == "version 2 withdrawn"
    key = read_scores(shop.lake, shop.spec)["order_id"][0].as_py()
    told = trace(shop.project, key, DAY)
    assert told["promotion"]["action"] == "promote"
    assert told["withdrawn"]["reason"] == "wrong labels"
    assert told["withdrawn"]["sequence"] == 3
