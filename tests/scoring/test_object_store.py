"""Scoring on a real S3-compatible store: the bits of a disk, races, lost answers; kills stand in tests/faults."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http import HTTPStatus

import pytest
from losing_proxy import losing_proxy
from object_store import SECRET
from synthetic import DAY, make_features, make_spec, read_profile, read_scores

from tallywright.errors import StorageError
from tallywright.scoring.commit import sink
from tallywright.scoring.commit.manifests import logged_tallies, manifests, recorded_tallies
from tallywright.scoring.worker.fragments import plan_splits

RACES = 100 if int(os.environ.get("TALLYWRIGHT_KILLS", "0")) >= 100 else 10
COMMIT = r"^PUT /[^?]*/shop__scores/_delta_log/0{19}1\.json"
"""The first tally: version 0 is the empty table."""


@pytest.fixture
def stored(shop, bucket):
    """The same project with its lake on a store."""
    return replace(shop, address=f"{bucket.address}/lake", options=bucket.options)


def facts(shop) -> list[dict]:
    """What the manifests say of the days that stand, less clock and run."""
    same = {"score_date", "generation", "reason", "rows", "input", "key_digest", "profile_digest", "scoring_digest"}
    return [manifest.model_dump(include=same) for manifest in manifests(shop.lake, shop.spec)]


def test_a_day_on_a_store_has_the_bits_of_the_day_on_a_disk(shop, stored, monkeypatch) -> None:
    monkeypatch.setattr("tallywright.data.delta.replacing._ROW_GROUP", 200)
    monkeypatch.setattr("tallywright.scoring.prepare.plan_splits", partial(plan_splits, target_rows=400))
    spec = make_spec(scoring={"batch_rows": 256, "workers": 2})
    for rows, seed in ((1500, 1), (1490, 2)):  # the second restates the first
        for place in (shop, stored):
            outcome = place.score(place.put(make_features(rows, seed=seed)), spec=spec)
            assert (outcome.action, outcome.manifest.rows) == ("committed", rows)
            assert place.score(outcome.manifest.input, spec=spec).action == "unchanged"
        assert read_scores(stored.lake, spec).equals(read_scores(shop.lake, spec))
        assert facts(stored) == facts(shop)
        (ours,), (theirs,) = (manifests(place.lake, spec) for place in (stored, shop))
        assert read_profile(stored.lake, spec, ours) == read_profile(shop.lake, spec, theirs)
    assert len(stored.files()) == len(shop.files()) == 8
    assert len(stored.lake.files("shop__scores", day=DAY)) == 4


@pytest.mark.slow
def test_two_writers_that_race_for_one_date_make_one_tally_each_time(stored, monkeypatch) -> None:
    """Both have scored and verified before either commits; the loser finds equal inputs, and takes its part away.

    Each lake takes ten generations, because each look at a log costs as many requests as it has entries.
    """
    meet, own = threading.Barrier(2), threading.local()

    def failpoint(name: str) -> None:
        if name == "before-commit" and not own.met:
            own.met = True
            meet.wait(timeout=60)

    def race(shop, pinned, writer):
        own.met = False
        return shop.score(pinned, run_id=writer)

    monkeypatch.setattr(sink, "failpoint", failpoint)
    keys = make_features(50)["order_id"].to_pylist()
    with ThreadPoolExecutor(2) as pool:
        for lake in range(RACES // 10):
            shop = replace(stored, address=f"{stored.address}-{lake}")
            pinned = shop.put(50)
            for generation in range(1, 11):
                shop.spec = make_spec(scoring={"threshold": generation / 100})
                outcomes = list(pool.map(partial(race, shop, pinned), ("one", "two")))
                assert sorted(outcome.action for outcome in outcomes) == ["committed", "unchanged"]
                assert {outcome.manifest.generation for outcome in outcomes} == {generation}
                assert len({outcome.manifest.run_id for outcome in outcomes}) == 1
                assert read_scores(shop.lake, shop.spec)["order_id"].to_pylist() == keys
            logged = logged_tallies(shop.lake, shop.lake.open("shop__scores"))
            assert [tally.manifest.generation for tally in logged] == list(range(10, 0, -1))
            assert len(recorded_tallies(shop.lake, shop.spec, DAY)) == 10
            assert len(shop.files()) == 10  # one part for each tally: no loser left an orphan


@pytest.mark.parametrize("times", [1, 100])
def test_a_commit_whose_answer_was_lost_is_found_to_be_ours(stored, times) -> None:
    """Once: delta-rs asks again, and is told that the entry is there already. Always: it gives up."""
    pinned = stored.put()
    with losing_proxy(stored.options["AWS_ENDPOINT_URL"]) as proxy:
        through = replace(stored, options=stored.options | {"AWS_ENDPOINT_URL": proxy.endpoint, "retry_timeout": "3s"})
        proxy.lose(COMMIT, times=times)
        outcome = through.score(pinned)
        first, *others = proxy.lost()
    assert first == HTTPStatus.OK
    assert set(others) == ({HTTPStatus.PRECONDITION_FAILED} if times > 1 else set())
    assert (outcome.action, outcome.version, outcome.manifest.generation) == ("committed", 1, 1)
    (logged,) = logged_tallies(stored.lake, stored.lake.open("shop__scores"))
    assert logged.manifest == outcome.manifest
    assert read_scores(stored.lake, stored.spec).num_rows == 300
    assert len(stored.files()) == 1
    assert stored.score(pinned).action == "unchanged"


def test_a_commit_that_never_arrived_changes_nothing_and_keeps_its_part_for_maintenance(stored) -> None:
    pinned = stored.put()
    with losing_proxy(stored.options["AWS_ENDPOINT_URL"]) as proxy:
        through = replace(stored, options=stored.options | {"AWS_ENDPOINT_URL": proxy.endpoint, "retry_timeout": "3s"})
        proxy.lose(COMMIT, times=100, arrives=False)
        with pytest.raises(sink.UncertainCommitError, match="may yet arrive") as found:
            through.score(pinned)
        assert set(proxy.lost()) == {0}
    assert SECRET not in str(found.value)
    assert stored.version() == 0
    left = stored.files()
    assert len(left) == 1
    assert stored.score(pinned).action == "committed"
    assert len(stored.files() - left) == 1
    assert read_scores(stored.lake, stored.spec).num_rows == 300


def test_a_commit_that_arrives_after_its_writer_gave_up_stands_with_its_rows(stored) -> None:
    pinned = stored.put()
    patience = {"retry_timeout": "2s", "timeout": "1s"}
    with losing_proxy(stored.options["AWS_ENDPOINT_URL"]) as proxy:
        through = replace(stored, options=stored.options | patience | {"AWS_ENDPOINT_URL": proxy.endpoint})
        proxy.lose(COMMIT, times=100, after=5.0)
        with pytest.raises(sink.UncertainCommitError, match="may yet arrive"):
            through.score(pinned)
        assert stored.version() == 0
        deadline = time.monotonic() + 30
        while HTTPStatus.OK not in proxy.lost() and time.monotonic() < deadline:
            time.sleep(0.1)
    assert stored.version() == 1
    assert read_scores(stored.lake, stored.spec).num_rows == 300
    assert stored.score(pinned).action == "unchanged"


@pytest.mark.parametrize("wanted", ["(PUT|POST) /[^?]*/shop__scores/score_date", "GET /[^?]*/shop__features/score_"])
def test_a_store_that_fails_under_a_worker_is_a_storage_error_and_leaves_no_part(stored, wanted) -> None:
    pinned = stored.put()
    with losing_proxy(stored.options["AWS_ENDPOINT_URL"]) as proxy:
        through = replace(stored, options=stored.options | {"AWS_ENDPOINT_URL": proxy.endpoint})
        proxy.lose(wanted, times=100, arrives=False)
        with pytest.raises(StorageError) as found:
            through.score(pinned)
        assert set(proxy.lost()) == {0}
    assert SECRET not in str(found.value)
    assert stored.files() == set()
    assert stored.score(pinned).action == "committed"
