"""SIGKILL between each two writes of a registration and of a promotion: the command again ends as if nothing was."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from old_lake import readdress

from .conftest import World

pytestmark = [pytest.mark.slow, pytest.mark.long]

REGISTERING = ("version-created", "evidence-logged", "version-registered", "version-recorded")
"""Between the writes to the registry, and from the registry to the lake."""
PROMOTING = ("promotion-appended", "head-recorded")
"""After the line of the log, before its head; after that, before the registry's aliases."""
KILLED = -9
TRAIN = ("train", "late_orders", "--date", "2025-04-10", "--no-promote", "--by", "a test", "--run-id", "two")
REGISTER = ("run", "late_orders", "register", "--date", "2025-04-10", "--run-id", "two")
PROMOTE = ("promote", "late_orders", "--version", "2", "--effective-from", "2025-04-11", "--by", "a test")


def twin(world: World, name: str) -> World:
    """The same project in a folder of its own."""
    root = world.root.with_name(name)
    shutil.copytree(world.root, root, symlinks=True)
    readdress(root / ".tally/mlflow.db", str(world.root), str(root))
    return replace(world, root=root)


def state(world: World) -> dict[str, Any]:
    """What registry, lake and log hold, without clocks."""
    database = sqlite3.connect(world.root / ".tally/mlflow.db")
    try:
        aliases = database.execute("SELECT alias, version FROM registered_model_aliases ORDER BY alias").fetchall()
        tags = database.execute(
            # The digest of a card is one over its clocks.
            "SELECT version, key, CASE key WHEN 'tallywright.card' THEN length(value) ELSE value END "
            "FROM model_version_tags WHERE key NOT LIKE '%answer%' ORDER BY version, key"
        ).fetchall()
    finally:
        database.close()
    history = world.tally("history", world.model, "--json").json
    return {
        "aliases": aliases,
        "tags": tags,
        "evidence": sorted(file.name for file in (world.root / ".tally").rglob("evidence/*.json")),
        "versions": world.rows("select model_version, package_digest, verdict, run_id from late_orders__versions "
                               "order by model_version"),
        "heads": world.rows("select sequence from late_orders__heads"),
        "log": [(line["sequence"], line["action"], line["model_version"], line["approver"]) for line in history],
    }  # fmt: skip


@pytest.mark.timeout(1_200)
def test_a_kill_between_registry_and_log_is_repaired_by_the_next_command(copy: Callable[..., World]) -> None:
    trained = copy("trained")
    # A package that MLflow holds and that its run does not name: the training does its step again.
    trained.tally(*TRAIN, code=KILLED, TALLYWRIGHT_KILL_AT="package-uploaded")
    trained.tally(*TRAIN, code=KILLED, TALLYWRIGHT_KILL_AT="evidence-gathered")
    assert [one["version"] for one in trained.tally("versions", trained.model, "--json").json] == [1]
    calm = twin(trained, "calm")
    calm.tally(*REGISTER)
    registered = twin(calm, "registered")
    calm.tally(*PROMOTE)
    wanted = state(calm)
    assert [line[:3] for line in wanted["log"]] == [(1, "promote", 1), (2, "promote", 2)]
    assert ("champion", 2) in wanted["aliases"]

    for point in REGISTERING:
        world = twin(trained, point)
        world.tally(*REGISTER, code=KILLED, TALLYWRIGHT_KILL_AT=point)
        assert [line["model_version"] for line in world.tally("history", world.model, "--json").json] == [1], point
        world.tally(*REGISTER)
        world.tally(*PROMOTE)
        assert state(world) == wanted, point
        shutil.rmtree(world.root)
    for point in PROMOTING:
        world = twin(registered, point)
        world.tally(*PROMOTE, code=KILLED, TALLYWRIGHT_KILL_AT=point)
        assert world.tally("history", world.model, "--verify").code == 0
        # The log is the truth: what scores the next day does so by it, and sets what followed it.
        world.tally(*PROMOTE)
        assert state(world) == wanted, point
        shutil.rmtree(world.root)


@pytest.mark.timeout(600)
def test_scoring_repairs_what_a_killed_promotion_left(copy: Callable[..., World]) -> None:
    world = copy()
    world.tally(*TRAIN)
    world.tally(*PROMOTE, code=KILLED, TALLYWRIGHT_KILL_AT="promotion-appended")
    world.tally("ingest", world.model, "--date", "2025-04-11")
    world.tally("score", world.model, "--date", "2025-04-11")
    assert world.rows("select distinct model_version from late_orders__scores where score_date = '2025-04-11'") == [
        {"model_version": 2}
    ]
    world.tally("history", world.model, "--verify")
