"""Steps share nothing but the lake and the registry: each may run on a machine of its own."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

TRAIN = ("snapshot", "train", "quality-gate", "operations-gate", "refit", "register", "promote")
SCORE = ("ingest", "day-gate", "resolve", "score", "profile", "drift", "performance", "decide", "monitor", "watch")


@pytest.mark.long
def test_every_step_of_the_life_passes_with_empty_work_and_cache_folders(copy, tmp_path) -> None:
    world = copy()

    def run(step: str, day: str, run_id: str) -> dict:
        machine = tmp_path / f"machine-{run_id}-{step}"
        there = [f"environment.storage.{name}={machine / name}" for name in ("work", "cache")]
        return world.tally(
            "run", world.model, step, "--date", day, "--run-id", run_id, "--json", "--by", "a test",
            *(word for value in there for word in ("--set", value)),
        ).json  # fmt: skip

    trained = {step: run(step, "2025-04-05", "train/1 é") for step in TRAIN}
    assert trained["quality-gate"]["subject"] == trained["train"]["digest"] == trained["refit"]["judged"]
    assert trained["refit"]["digest"] == trained["promote"]["package_digest"]
    assert trained["register"]["version"] == trained["promote"]["model_version"] == 2

    scored = {step: run(step, "2025-04-08", "score") for step in SCORE}
    assert scored["score"]["models"] == ["champion: version 2"]
    assert scored["score"]["action"] == "committed"
    assert scored["watch"]["generation"] == 1
    # The same again, and the train pipeline too, changes nothing.
    assert run("score", "2025-04-08", "score")["action"] == "unchanged"
    assert run("register", "2025-04-05", "train/1 é") == trained["register"]
    assert run("promote", "2025-04-05", "train/1 é")["sequence"] == trained["promote"]["sequence"]


def test_a_step_whose_input_no_run_has_says_so(copy) -> None:
    world = copy()
    for step, wanted in (("train", "snapshot"), ("quality-gate", "train"), ("register", "train")):
        done = world.tally("run", world.model, step, "--date", "2025-04-05", "--run-id", "new", code=2)
        assert f"run 'new' has no result of step '{wanted}'" in done.err
    done = world.tally("run", world.model, "promote", "--date", "2025-04-05", "--run-id", "new", code=2)
    assert "registered no version" in done.err
