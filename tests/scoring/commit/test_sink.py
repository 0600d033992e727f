"""The commit against everything that can happen around it: OPTIMIZE, other writers, lost answers, failing storage."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from deltalake.exceptions import CommitFailedError
from first_version import as_the_first_version
from synthetic import DAY, read_scores

from tallywright.errors import CommitConflictError, StorageError
from tallywright.scoring.commit import sink
from tallywright.scoring.commit.manifests import logged_tallies
from tallywright.scoring.worker.fragments import plan_splits
from tallywright.spec.sections import Scoring

pytestmark = pytest.mark.parametrize("shop", ["disk", "store"], indirect=True)


@pytest.fixture
def small_parts(monkeypatch) -> None:
    """Many files a day, so that OPTIMIZE has something to do."""
    monkeypatch.setattr("tallywright.data.delta.replacing._ROW_GROUP", 50)
    monkeypatch.setattr("tallywright.scoring.prepare.plan_splits", partial(plan_splits, target_rows=1))


def once(monkeypatch, action) -> None:
    """Does something just before the first commit, as another process would."""
    waiting = [action]

    def failpoint(name: str) -> None:
        if name == "before-commit" and waiting:
            waiting.pop()()

    monkeypatch.setattr(sink, "failpoint", failpoint)


@pytest.mark.usefixtures("small_parts")
def test_optimize_between_look_and_commit_duplicates_nothing(shop, monkeypatch) -> None:
    for seed in range(3):
        shop.score(shop.put(seed=seed, day=DAY + timedelta(days=seed)))
    shop.score(shop.put(seed=7))
    pinned = shop.put(290, seed=8)
    compacted = []
    once(monkeypatch, lambda: compacted.append(shop.lake.open("shop__scores").optimize.compact()))
    outcome = shop.score(pinned)
    assert compacted[0]["numFilesRemoved"] == 18
    assert outcome.manifest.generation == 3
    assert read_scores(shop.lake, shop.spec).num_rows == 290
    assert read_scores(shop.lake, shop.spec, DAY + timedelta(days=1)).num_rows == 300


def test_another_day_between_look_and_commit_costs_a_second_try(shop, monkeypatch) -> None:
    other = shop.put(seed=1, day=DAY + timedelta(days=1))
    pinned = shop.put(seed=2)
    once(monkeypatch, lambda: shop.score(other))
    outcome = shop.score(pinned)
    assert (outcome.action, outcome.version) == ("committed", 2)
    assert read_scores(shop.lake, shop.spec, DAY + timedelta(days=1)).num_rows == 300


def test_equal_inputs_between_look_and_commit_win(shop, monkeypatch) -> None:
    pinned = shop.put(seed=2)
    once(monkeypatch, lambda: shop.score(pinned, run_id="quicker"))
    outcome = shop.score(pinned, run_id="slower")
    assert (outcome.action, outcome.manifest.run_id) == ("unchanged", "quicker")
    assert len(shop.files()) == 1


def test_they_win_too_when_the_quicker_writer_is_of_the_first_version(shop, monkeypatch) -> None:
    pinned = shop.put(seed=2)

    def quicker() -> None:
        with as_the_first_version(Scoring):
            shop.score(pinned, run_id="quicker")

    once(monkeypatch, quicker)
    outcome = shop.score(pinned, run_id="slower")
    assert (outcome.action, outcome.manifest.run_id) == ("unchanged", "quicker")
    assert outcome.manifest.scoring_digest == shop.spec.scoring.identity().first


@pytest.mark.parametrize("error", [OSError("connection reset"), CommitFailedError("timed out")])
def test_a_commit_whose_answer_was_lost_is_found_in_the_log(shop, monkeypatch, error) -> None:
    write = sink._write

    def write_and_fail(*arguments) -> None:
        write(*arguments)
        raise error

    monkeypatch.setattr(sink, "_write", write_and_fail)
    outcome = shop.score(shop.put())
    assert (outcome.action, outcome.version, outcome.manifest.generation) == ("committed", 1, 1)
    assert len(list(logged_tallies(shop.lake, shop.lake.open("shop__scores")))) == 1
    assert read_scores(shop.lake, shop.spec).num_rows == 300


@pytest.mark.parametrize("error", [OSError("no space left"), CommitFailedError("permission denied")])
def test_a_commit_that_storage_refuses_changes_nothing(shop, monkeypatch, error) -> None:
    shop.score(shop.put())
    before = (shop.version(), shop.files())

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(sink, "_write", fail)
    with pytest.raises(StorageError, match=str(error)):
        shop.score(shop.put(seed=1))
    assert shop.version() == before[0]
    # What a store refused may yet arrive: its part stays for maintenance.
    assert len(shop.files() - before[1]) == bool(shop.address)


def test_parts_of_a_commit_nobody_can_judge_are_left_alone(shop, monkeypatch) -> None:
    shop.score(shop.put())
    before = shop.files()
    write, opened = sink._write, type(shop.lake).open

    def write_and_lose_the_storage(*arguments) -> None:
        write(*arguments)
        monkeypatch.setattr(type(shop.lake), "open", _unreadable)
        raise OSError("connection reset")

    monkeypatch.setattr(sink, "_write", write_and_lose_the_storage)
    with pytest.raises(sink.UncertainCommitError, match="log cannot be read"):
        shop.score(shop.put(seed=1, features=200))
    monkeypatch.setattr(type(shop.lake), "open", opened)
    assert len(shop.files() - before) == 1
    assert read_scores(shop.lake, shop.spec).num_rows == 200


def _unreadable(*_: object, **__: object) -> None:
    raise OSError("connection reset")


def test_a_table_that_never_comes_to_rest_is_a_conflict(shop, monkeypatch) -> None:
    pinned = shop.put()
    numbers = iter(range(50, 100))

    def failpoint(name: str) -> None:
        if name == "before-commit":
            shop.lake.open("shop__scores").alter.set_table_properties({"delta.checkpointInterval": str(next(numbers))})

    monkeypatch.setattr(sink, "failpoint", failpoint)
    monkeypatch.setattr(sink, "ATTEMPTS", 3)
    with pytest.raises(CommitConflictError, match="changed under each of 3 attempts"):
        shop.score(pinned)
    assert shop.files() == set()
