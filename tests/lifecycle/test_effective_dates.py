"""A candidate is held against the champion of its effective date, and what a refusal advises works."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rollout_world import World, on
from synthetic import make_package

from tallywright.cli.main import tally
from tallywright.data.snapshot import take_snapshot
from tallywright.errors import GateRefusedError, UsageError
from tallywright.lifecycle.handover import hand_over_package
from tallywright.lifecycle.steps import promotion
from tallywright.lifecycle.steps.advance import advance
from tallywright.lifecycle.steps.gates import champion_of
from tallywright.records import JUDGED_AGAINST, NO_CHAMPION, QUALITY, Decision
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions_table import recorded_versions

# MLflow takes seconds to import.
pytestmark = pytest.mark.slow

EARLY, LATE = 5, 10
"""Days of the first champion, and from which on there is another one."""


@pytest.fixture
def world(born: Callable[..., World], tmp_path: Path) -> World:
    """Version 1 is champion at first, version 2 from a later day on; 3, which is better, was held against 2."""
    world = born(
        training={"window_days": 2, "validation_days": 1, "holdout_days": 7},
        gates={"max_calibration_error": 1.0, "min_holdout_rows": 100},
        rollout={"stages": [{"stage": "shadow", "days": 6}]},
    )
    for number in range(-10, 0):
        world.put(on(number))
    snapshot = take_snapshot(world.project, world.lake, on(0)).to_json()
    made = {
        seed: make_package(
            tmp_path / f"late{seed}", seed=seed, snapshot_json=snapshot, through=on(-1), run_id=world.new_run()
        )
        for seed in (2, 3)
    }
    world.packages = {**world.packages, **made}
    world.step("promote", LATE, version=world.register(3), by="ann", reason="it is later")
    world.register(2)
    return world


def run(world: World, *arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(tally, [*arguments, "--root", str(world.project.root)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


def refused(world: World, day: int, version: int) -> GateRefusedError:
    with pytest.raises(GateRefusedError, match="is out of date") as found:
        promoted(world, day, version)
    return found.value


def promoted(world: World, day: int, version: int) -> dict[str, Any]:
    return world.step("promote", day, version=version, by="ann", reason=f"from day {day} on", allow_later_lines=True)


def champions(world: World, *days: int) -> list[int | None]:
    log = PromotionLog(world.lake, world.spec)
    return [None if (found := log.champion_on(on(day))) is None else found.model_version for day in days]


def follow(world: World, error: GateRefusedError) -> Result:
    """Runs the first command that a refusal advises, word for word."""
    assert error.remedy
    command = re.search(r"`tally ([^`]+)`", error.remedy)
    assert command
    return run(world, *command[1].split())


def test_gates_look_at_the_champion_of_the_effective_date(world: World) -> None:
    digests = {line.model_version: line.package_digest for line in world.log}
    for number, options, wanted in (
        (EARLY, {}, 1),
        (LATE, {}, 2),
        (EARLY, {"effective_from": on(LATE)}, 2),
        (LATE, {"effective_from": on(EARLY)}, 1),
        (LATE, {"effective_from": on(-1)}, None),
    ):
        champion = champion_of(world.context(number, **options))
        assert (None if champion is None else champion.digest) == digests.get(wanted or 0)
    context = world.context(LATE, effective_from=on(EARLY))
    hand_over_package(context, world.packages[2])
    assert world.step("quality_gate", LATE, effective_from=on(EARLY))["verdict"] == "pass"
    # Its evidence is that of a promotion from this date on, and of no other.
    assert promoted(world, EARLY, 3)["effective_from"] == str(on(EARLY))


@pytest.mark.long
def test_the_advice_about_evidence_against_another_champion_works(world: World) -> None:
    error = refused(world, EARLY, 3)
    assert f"which is not that of {on(EARLY)} (version 1)" in error.found
    assert "by their floors" not in str(error.remedy)
    told = follow(world, error)
    assert "passed" in told.output
    again = run(world, "judge", "shop", "--version", "3", "--date", str(on(EARLY)), "--json").output
    assert f"it has passed against the champion of {on(EARLY)}" in again
    promoted(world, EARLY, 3)
    assert champions(world, 4, EARLY, LATE) == [1, 3, 2]
    quality = next(one for one in Decision.from_json(world.log[-1].decision_json).reports if one.gate == QUALITY)
    assert quality.observed(JUDGED_AGAINST) == world.log[0].package_digest
    # Another comparison takes nothing back: the one with version 2 still stands.
    promoted(world, LATE, 3)
    assert champions(world, LATE) == [3]
    assert "it is champion" in run(world, "judge", "shop", "--version", "3", "--date", str(on(LATE)), "--json").output


@pytest.mark.long
def test_what_another_comparison_finds_does_not_take_a_version_back(world: World) -> None:
    """Version 2 has passed against version 1; version 3, which is better, is champion later on."""
    promoted(world, 12, 3)
    row = recorded_versions(world.lake, world.spec)[2]
    told = follow(world, refused(world, 14, 2))
    assert "refused" in told.output
    with pytest.raises(GateRefusedError, match="did not pass"):
        promoted(world, 14, 2)
    assert recorded_versions(world.lake, world.spec)[2] == row
    assert promoted(world, EARLY, 2)["model_version"] == 2
    state = run(world, "versions", "shop", "--json").output
    assert '"refused"' not in state


@pytest.mark.long
def test_where_a_champion_was_withdrawn_another_one_takes_its_days(world: World) -> None:
    promotion.withdraw(world.context(LATE, version=1, reason="an error", by="ann"))
    assert champions(world, EARLY, LATE) == [None, 2]
    error = refused(world, EARLY, 2)
    assert "against no champion, by their floors alone" in str(error.remedy)
    follow(world, error)
    promoted(world, EARLY, 2)
    assert champions(world, EARLY, LATE) == [2, 2]
    quality = next(one for one in Decision.from_json(world.log[-1].decision_json).reports if one.gate == QUALITY)
    assert quality.observed(JUDGED_AGAINST) == NO_CHAMPION


@pytest.mark.long
def test_a_refused_version_is_not_judged_until_it_passes(world: World) -> None:
    promoted(world, 12, 3)
    follow(world, refused(world, 14, 2))
    again = run(world, "judge", "shop", "--version", "2", "--date", str(on(14)), "--json").output
    assert "a gate has refused it" in again


@pytest.mark.parametrize(
    "command",
    [
        ("train", "shop", "--date", str(on(2)), "--effective-from", str(on(8))),
        ("run", "shop", "snapshot", "--date", str(on(2)), "--effective-from", str(on(8))),
        ("run", "shop", "promote", "--date", str(on(2)), "--effective-from", str(on(8)), "--version", "1"),
        ("promote", "shop", "--version", "1", "--effective-from", str(on(8)), "--by", "ann"),
        ("rollback", "shop", "--effective-from", str(on(8)), "--by", "ann", "--reason", "wrong"),
        ("judge", "shop", "--version", "1", "--date", str(on(2)), "--effective-from", str(on(8))),
    ],
)
def test_an_effective_date_outside_of_the_schedule_is_refused_before_anything_is_done(tmp_path, command) -> None:
    world = World(tmp_path, {2: make_package(tmp_path / "two", seed=2)}, schedule={"end_date": on(7)})
    with pytest.raises(UsageError, match=f"no score date {on(8)}") as found:
        run(world, *command)
    assert f"to {on(7)}" in str(found.value)
    assert world.lake.tables() == []


def test_a_line_after_the_schedules_end_is_read_and_rolled_back(born) -> None:
    """Versions before wrote such lines."""
    world = born(schedule={"end_date": on(7)})
    version = world.register(2)
    world.step("promote", 9, version=version, by="ann", reason="past the end")
    assert champions(world, 7, 9) == [1, version]
    back = ("rollback", "shop", "--by", "ann", "--reason", "wrong", "--effective-from")
    with pytest.raises(UsageError, match="already recorded as champion") as found:
        run(world, *back, str(on(7)))
    # No date of the schedule is late enough.
    assert str(on(9)) not in str(found.value.remedy)
    assert "--allow-later-lines" in str(found.value.remedy)
    with pytest.raises(UsageError, match=f"no score date {on(8)}"):
        run(world, *back, str(on(8)))
    run(world, *back, str(on(9)))
    assert champions(world, 7, 9) == [1, 1]
    current = PromotionLog(world.lake, world.spec).current()
    assert current is not None
    assert current.model_version == 1


def test_a_rollout_decides_nothing_on_the_last_day(born) -> None:
    world = born(schedule={"end_date": on(0)})
    world.register(2)
    world.score(0)
    assert advance(world.context(0))["why"] == f"the schedule ends on {on(0)}: nothing holds from the date after it on"
    assert {line.effective_from for line in world.log} == {on(0)}
    assert on(0) + timedelta(days=1) == on(1)
