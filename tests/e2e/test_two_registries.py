"""A life in two environments: trained in dev on production's days, promoted and scored in prod, and trained again."""

from __future__ import annotations

import json

import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.long]

DEV = {
    "storage": {"lake": ".tally-dev/lake", "work": ".tally-dev/work", "cache": ".tally-dev/cache"},
    "tracking": {"uri": "sqlite:///.tally-dev/mlflow.db", "artifacts": ".tally-dev/mlartifacts"},
    "registries": {
        "here": "training",
        "production": {
            "name": "prod",
            "storage": {"lake": ".tally/lake"},
            "tracking": {"uri": "sqlite:///.tally/mlflow.db"},
        },
    },
}
PROD = {
    "registries": {
        "here": "production",
        "training": {
            "name": "dev",
            "storage": {"lake": ".tally-dev/lake"},
            "tracking": {"uri": "sqlite:///.tally-dev/mlflow.db"},
        },
    }
}
ARRIVES = ("--env", "prod", "--from", "dev", "--by", "a test")
SCORED = "2025-04-10"


def test_a_version_goes_from_dev_to_prod_and_the_next_one_is_compared_with_it(copy) -> None:
    """Production has a champion of the time when there was one registry; the candidate of dev is better."""
    world = copy()
    for name, overlay in (("dev", DEV), ("prod", PROD)):
        (world.root / "conf" / f"{name}.yaml").write_text(yaml.safe_dump(overlay))
    model, before = world.model, _promotions(world)
    train = ("train", model, "--env", "dev", "--json", "--date")

    first = world.tally(*train, "2025-04-10").json
    assert (first["register"]["version"], first["register"]["verdict"]) == (1, "passed")
    assert _compared_with(world, 1) == before[0]["package_digest"]
    assert _promotions(world) == before
    assert world.tally("versions", model, "--env", "prod", "--json").json[-1]["version"] == 1
    assert [one["version"] for one in world.tally("versions", model, "--env", "dev", "--json").json] == [1]

    promote = ("promote", model, "--version", "1", "--effective-from", SCORED, *ARRIVES, "--json")
    promoted = world.tally(*promote).json
    assert (promoted["model_version"], promoted["from"]) == (2, "dev version 1")
    assert promoted["package_digest"] == first["register"]["digest"]
    assert world.tally(*promote).json["sequence"] == promoted["sequence"]

    world.tally("score", model, "--env", "prod", "--date", SCORED)
    row = world.rows(f"select * from {model}__scores where score_date = '{SCORED}' limit 1")[0]
    assert row["model_version"] == 2
    (tally,) = world.rows(f"select manifest_json from {model}__tallies where score_date = '{SCORED}'")
    assert json.loads(tally["manifest_json"])["origins"] == [
        {"digest": first["register"]["digest"], "registry": "dev", "version": 1}
    ]
    told = world.tally("trace", model, row["order_id"], SCORED, "--env", "prod", "--json").json["model"]
    assert (told["version"], told["came from"]) == (2, "dev version 1")
    # Days of before, and commands in an environment with one registry, read the same lake.
    (old,) = world.rows(f"select manifest_json from {model}__tallies where score_date = '2025-04-01'")
    assert "origins" not in json.loads(old["manifest_json"])
    assert world.tally("verify", model, "--env", "prod", "--json").json == []
    assert world.tally("verify", model, "--env", "dev", "--json").json == []

    # Too few days are left to compare with a champion that was fitted through 8 April: it is registered all the same.
    world.tally(*train, "2025-04-11", code=8)
    assert _compared_with(world, 2) == first["register"]["digest"]

    (file,) = (world.root / ".tally-dev/mlartifacts").rglob(f"packages/{_digest(world, 2)}/model.onnx")
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    asked = ("--version", "2", "--effective-from", "2025-04-11", *ARRIVES)
    assert "model.onnx" in world.tally("promote", model, *asked, code=6).err
    assert len(_promotions(world)) == len(before) + 1
    assert world.tally("versions", model, "--env", "prod", "--json").json[-1]["version"] == 2


def _promotions(world):
    return world.tally("history", world.model, "--env", "prod", "--json").json


def _digest(world, version):
    rows = world.tally("versions", world.model, "--env", "dev", "--json").json
    return next(one["digest"] for one in rows if one["version"] == version)


def _compared_with(world, version):
    """The digest of the champion that the quality report about a version of dev names."""
    sql = f"select evidence_json from {world.model}__versions where model_version = {version}"
    (row,) = world.tally("query", sql, "--env", "dev", "--json").json
    return json.loads(row["evidence_json"])["champion_digest"]
