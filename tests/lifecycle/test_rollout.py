"""The life of a challenger, day by day: shadow, a share that grows, champion; or back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rollout_world import STAGES, World, on

from tallywright.cli.history_command import history
from tallywright.cli.registry_commands import advance as advance_command
from tallywright.cli.version_commands import versions
from tallywright.errors import GateRefusedError, UsageError
from tallywright.lifecycle.context import Shared
from tallywright.lifecycle.handover import hand_over_package
from tallywright.lifecycle.plan import Pipeline, plan
from tallywright.lifecycle.run import run_step
from tallywright.lifecycle.steps.advance import advance
from tallywright.mlflow_client import mlflow_client
from tallywright.observability import at_failpoint
from tallywright.records import Decision, Promotion, Role, Verdict
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.stages import stage_on, terms_of
from tallywright.registry.versions_table import recorded_versions
from tallywright.reporting.report import render
from tallywright.reporting.trace import trace
from tallywright.scoring.commit.manifests import latest_manifest

# MLflow takes seconds to import.
pytestmark = pytest.mark.slow
TWO = {"stages": [STAGES[0], STAGES[2]]}
CANARY_AT_ONCE = {"stages": [STAGES[2]]}


def models(world: World, number: int) -> list[str]:
    manifest = latest_manifest(world.lake, world.spec, on(number))
    assert manifest is not None
    return [f"{ref.role.value} {ref.version}" for ref in manifest.models]


def shown(world: World, command: Any, *arguments: str) -> Any:
    root = str(world.project.root)
    done = CliRunner().invoke(command, ["shop", *arguments, "--root", root, "--env", "local", "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def actions(told: list[dict[str, Any]]) -> list[str]:
    return [one["action"] for one in told]


class Killed(BaseException):
    """Ends a run where a kill would."""


@contextmanager
def killed_at(point: str) -> Iterator[None]:
    def kill(passed: str) -> None:
        if passed == point:
            raise Killed

    token = at_failpoint.set(kill)
    with pytest.raises(Killed):
        yield
    at_failpoint.reset(token)


@contextmanager
def at(point: str, do: Callable[[], Any]) -> Iterator[None]:
    """Does something once, where another process might."""
    done = []

    def once(passed: str) -> None:
        if passed == point and not done:
            done.append(passed)
            do()

    token = at_failpoint.set(once)
    yield
    at_failpoint.reset(token)
    assert done


@contextmanager
def undone(world: World) -> Iterator[None]:
    """Takes back what happens to the lake."""
    lake = Path(world.project.environment.storage.lake)
    kept = lake.with_name("kept")
    shutil.copytree(lake, kept)
    yield
    shutil.rmtree(lake)
    kept.rename(lake)
    world.shared = Shared(world.project)
    world.lake = world.shared.lake


def record(world: World, action: str, version: int, like: Promotion, **changes: Any) -> None:
    """Appends an entry that is like another one."""
    about = {"action": action, "model_version": version, "stage_json": "", "request": ""}
    PromotionLog(world.lake, world.spec).append(lambda _: like.model_copy(update=about | changes))


def advanced(world: World, number: int, **sections: Any) -> dict[str, Any]:
    """What the step says when the files of the spec have other sections."""
    values = world.spec.model_dump(mode="json", exclude_none=True)
    changed = {name: values[name] | new for name, new in sections.items()}
    spec = type(world.spec).model_validate(values | changed)
    return advance(replace(world.context(number), project=replace(world.project, spec=spec)))


def champion_in_mlflow(world: World) -> int:
    with mlflow_client(world.project.environment.tracking.uri) as client:
        return int(client.get_registered_model("shop").aliases["champion"])


def test_a_good_challenger_goes_from_shadow_to_canary_to_champion(born) -> None:
    world = born(rollout=TWO)
    assert [step.name for step in plan(world.spec, Pipeline.SCORE)].count("advance") == 1
    version = world.register(2)
    assert actions(world.live(range(4), every=3)) == ["stage", "stays"]
    for number in range(4, 7):
        world.score(number)
    with undone(world):
        told = advanced(world, 6, rollout={"stages": TWO["stages"][1:]})
        assert told["action"] == "return"
        assert told["why"].endswith("the rollout had 2 stages when this one began, and has 1 now")
    assert advance(world.context(6))["action"] == "stage"

    # A run that is killed between deciding and writing leaves nothing; one that is killed between the log and MLflow's
    # aliases has decided, and the next one makes good what is missing.
    for number in range(7, 13):
        world.score(number)

    _nothing_that_came_between_is_undone(world, version)
    before = world.log
    with killed_at("advancing"):
        world.step("advance", 12)
    assert world.log == before
    with killed_at("promotion-appended"):
        world.step("advance", 12)
    assert champion_in_mlflow(world) == 1
    assert world.step("advance", 12)["action"] == "none"
    assert champion_in_mlflow(world) == version
    assert advance(world.context(9))["why"] == f"{on(12)} was scored already: only the newest date decides"

    assert [(line.action, line.model_version, line.effective_from) for line in world.log] == [
        ("promote", 1, on(0)), ("stage", version, on(1)), ("stage", version, on(7)), ("promote", version, on(13)),
    ]  # fmt: skip
    assert not PromotionLog(world.lake, world.spec).problems()
    (report,) = Decision.from_json(world.log[2].decision_json).reports
    assert (report.observed("days"), report.observed("stage")) == (6.0, "shadow (1 of 2)")
    assert "canary 0.5 (2 of 2): roc_auc" in world.log[3].reason
    gain = report.observed("gain_roc_auc")
    assert isinstance(gain, float)
    assert gain > 0.1

    # Old days are scored again as they were, whatever the log says since; the next day has a new champion.
    assert [models(world, number) for number in (0, 4, 8)] == [
        ["champion 1"], ["champion 1", f"shadow {version}"], ["champion 1", f"canary {version}"]
    ]  # fmt: skip
    assert [world.score(number)["action"] for number in (0, 4, 8)] == ["unchanged"] * 3
    rules_are_gone = replace(world.project, spec=world.spec.model_copy(update={"rollout": None}))
    assert run_step(replace(world.context(8), project=rules_are_gone), "score")["action"] == "unchanged"
    assert world.score(13)["models"] == [f"champion: version {version}"]
    _told_everywhere(world, version)


def _nothing_that_came_between_is_undone(world: World, version: int) -> None:
    """The last stage is over on day 12: what the next run makes of the log and the files as they are by then."""
    stage = world.log[-1]
    assert advance(world.context(30))["why"] == f"{on(30)} was not scored: only the newest scored date decides"
    withdrawn = {"effective_from": on(0)}
    for action, changes, why in (
        ("withdraw", withdrawn, "another entry has begun or ended a stage meanwhile"),
        ("return", {"effective_from": on(13)}, "another entry has begun or ended a stage meanwhile"),
        ("reject", {"reason": "not now"}, f"version {version} was rejected by {stage.approver}: not now"),
    ):
        with undone(world), at("advancing", partial(record, world, action, version, stage, **changes)):
            assert advance(world.context(12)) == {"action": "waits", "version": version, "why": why}
            assert [line.action for line in world.log] == ["promote", "stage", "stage", action]
    # A champion of later dates has not ended the trial; the promotion would have to give way to it.
    with undone(world):
        decision = Decision.from_json(world.log[0].decision_json).model_copy(update={"candidate_version": 9})
        record(world, "promote", 9, world.log[0], effective_from=on(40), decision_json=decision.to_json())
        assert advance(world.context(12))["why"] == f"version 9 is champion from {on(40)} on"
    # What the files say by now changes nothing about how the stage ends, but the gates may ask for more.
    with undone(world):
        with killed_at("promotion-appended"):
            advanced(world, 12, data={"label_maturity_days": 30, "label_wait_days": 30})
        assert world.log[-1].action == "promote"
    with undone(world):
        told = advanced(world, 12, gates={"min_gain": 0.5})
        assert told["action"] == "return"
        assert "its promotion is refused: the evidence about version" in told["why"]


def _told_everywhere(world: World, version: int) -> None:
    rows = shown(world, history)
    assert [row.get("stage") for row in rows] == [None, "shadow (1 of 2)", "canary 0.5 (2 of 2)", None]
    assert [row["action"] for row in shown(world, history, "--on", str(on(9)))] == ["promote", "stage"]
    assert [row["champion"] for row in shown(world, versions)] == [[f"{on(0)} to {on(12)}"], [f"from {on(13)}"]]
    assert "stage: canary 0.5 (2 of 2)" in render(world.project, world.lake)
    scores = world.lake.read("shop__scores", where={"score_date": on(8)}).to_pylist()
    served = [row for row in scores if row["role"] == "canary"]
    assert 0.4 < len(served) / len(scores) < 0.6
    behind = trace(world.project, served[0]["order_id"], on(8))["promotion"]
    assert (behind["action"], behind["model_version"], behind["effective_from"]) == ("stage", version, str(on(7)))


def test_a_canary_that_breaks_a_limit_is_returned_from_the_next_date_on(born) -> None:
    limits = {"max_mean_difference": 0.001}
    world = born(rollout=CANARY_AT_ONCE | {"limits": limits})
    version = world.register(3)
    assert actions(world.live(range(2))) == ["stage", "return"]
    (line,) = (line for line in world.log if line.action == "return")
    assert line.effective_from == on(2)
    assert f"a limit broke on {on(1)}: the mean score of" in line.reason
    # The champion had taken its rows before the commit; from the next date on it is not asked any more.
    assert world.lake.read("shop__scores")["role"].unique().to_pylist() == ["champion"]
    assert world.score(2)["models"] == ["champion: version 1"]
    told = shown(world, advance_command, "--date", str(on(2)))
    assert told == {"action": "none", "why": "no version is newer than all that were champion or were tried"}
    assert [row["stage"].partition(":")[0] for row in shown(world, versions)] == ["", f"returned from {on(2)}"]
    assert [world.score(number)["action"] for number in (0, 1)] == ["unchanged"] * 2
    # Only a person brings it back, who says why.
    with pytest.raises(GateRefusedError, match="nobody is named"):
        world.step("promote", 2, version=version, reason="it was right")
    with pytest.raises(GateRefusedError, match=f"was returned by line {line.sequence} of the log"):
        world.step("promote", 2, version=version, by="ann")
    with undone(world):
        assert world.step("promote", 2, version=version, by="ann", reason="it was right")["approver"] == "ann"
    # A newer one is tried.
    assert world.register(2) == version + 1
    hand_over_package(world.context(2), world.packages[2])
    why = f"version {version + 1} begins with the first stage of its rollout (advance)"
    assert world.step("promote", 2) == {"action": "none", "version": version + 1, "why": why}
    assert advance(world.context(2))["stage"] == "canary 0.5 (1 of 1)"


def test_who_begins_and_who_does_not(born) -> None:
    world = born(rollout=TWO)
    world.score(0)
    refused = world.register(3, quality=Verdict.FAIL)
    assert advance(world.context(0))["why"] == f"version {refused} was refused by a gate"
    first = world.register(2, quality=Verdict.UNDECIDED)
    row = recorded_versions(world.lake, world.spec)[first]
    about = {"package_digest": row.package_digest, "reason": "a fault"}
    for action in ("withdraw", "reject"):
        with undone(world), at("advancing", partial(record, world, action, first, world.log[0], **about)):
            assert advance(world.context(0))["why"].startswith(f"version {first} was {action}")
    assert advance(world.context(0))["version"] == first
    assert advance(world.context(0))["why"] == f"shadow (1 of 2) of version {first} begins on {on(1)}"
    stage = world.log[-1]
    assert (terms_of(stage).role, terms_of(stage).champion) == (Role.SHADOW, 1)
    with pytest.raises(GateRefusedError, match="did not pass"):
        world.step("promote", 0, version=first, by="ann")
    # A newer one takes its place, and whoever was tried does not begin again.
    newer = world.register(4)
    assert advance(world.context(0))["why"].endswith(f"the newest version, passed, in the place of version {first}")
    assert stage_on(world.log, on(1)) == world.log[-1]
    assert world.log[-1].model_version == newer
    assert [report.gate for report in Decision.from_json(world.log[-1].decision_json).reports] == [
        "operations", "quality"
    ]  # fmt: skip


def test_without_the_section_there_is_no_such_step(tmp_path, rollout_packages) -> None:
    world = World(tmp_path, rollout_packages, rollout={"mode": "direct", "stages": []})
    assert "advance" not in [step.name for step in plan(world.spec, Pipeline.SCORE)]
    with pytest.raises(UsageError, match="promoted at once"):
        advance(world.context(0))
