"""The contract of a tally holds whoever moves the rows: what is refused, what is skipped, what follows what."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from synthetic import DAY, make_features, make_package, make_request, make_spec, network, read_scores

from tallywright.errors import CommitConflictError, GateRefusedError, InputError, PackageError
from tallywright.packaging.package import PackageContents, write_package
from tallywright.scoring.commit import sink
from tallywright.scoring.commit.manifests import logged_tallies
from tallywright.scoring.engines.base import Engines, PinnedDay
from tallywright.scoring.engines.spark import native
from tallywright.scoring.prepare import job_for
from tallywright.scoring.roles.eligibility import assemble
from tallywright.spec.environment import EngineSettings

pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def scored(shop):
    shop.score(shop.put())
    before = (read_scores(shop.lake, make_spec()), shop.lake.open("shop__scores").version(), shop.files())
    yield shop
    assert read_scores(shop.lake, make_spec()).equals(before[0])
    assert shop.lake.open("shop__scores").version() == before[1]
    assert shop.files() == before[2]


def test_duplicate_keys_are_refused(scored) -> None:
    features = make_features(300, seed=4)
    doubled = pa.concat_tables([features, features.slice(7, 1)])
    with pytest.raises(InputError, match="1 keys occur more than once, such as öрд-4-0000007"):
        scored.score(scored.put(doubled))


def test_a_count_that_differs_from_the_ingest_record_is_refused(scored) -> None:
    pinned = scored.put(seed=6).model_copy(update={"rows": 299})
    with pytest.raises(InputError, match="300 rows"):
        scored.score(pinned)


def test_outputs_out_of_bounds_are_refused(scored, tmp_path) -> None:
    good = scored.package
    scored.package = write_package(
        tmp_path / "broken",
        PackageContents(
            meta=good.meta,
            preprocess=good.preprocess,
            onnx=network(4, 2, broken=True),
            weights={},
            definition=good.definition,
            reference=good.reference,
            parity=good.parity(),
        ),
    )
    with pytest.raises(GateRefusedError, match=r"probability is outside 0\.\.1"):
        scored.score(scored.put(seed=3), version=2)


def test_what_an_executor_refuses_arrives_as_itself(scored, tmp_path) -> None:
    scored.package = make_package(tmp_path / "altered", seed=8)
    (tmp_path / "altered" / "preprocess.json").write_text("{}")
    with pytest.raises(PackageError, match="altered") as caught:
        scored.score(scored.put(seed=3), version=2)
    assert caught.value.remedy.startswith("take the package from the registry again")


def test_engines_follow_one_another_in_one_table(shop) -> None:
    pinned = shop.put()
    first = shop.score(pinned, engine="local")
    rows = read_scores(shop.lake, make_spec())
    ways: list[dict[str, Any]] = [{"io": "engine"}, {"engine": "local"}, {"io": "direct"}, {"io": "engine"}]
    for generation, way in enumerate(ways, start=2):
        outcome = shop.score(pinned, force=True, **way)
        assert outcome.manifest.generation == generation
        assert outcome.manifest.key_digest == first.manifest.key_digest
        assert outcome.manifest.profile_digest == first.manifest.profile_digest
        assert read_scores(shop.lake, make_spec()).equals(rows)
    logged = [tally.manifest.generation for tally in logged_tallies(shop.lake, shop.lake.open("shop__scores"), DAY)]
    assert logged == [5, 4, 3, 2, 1]


def test_the_same_inputs_again_are_a_no_op(shop) -> None:
    pinned = shop.put()
    first = shop.score(pinned)
    again = shop.score(pinned)
    assert (again.action, again.version) == ("unchanged", first.version)


def test_spark_itself_reads_what_was_written(shop, spark) -> None:
    shop.score(shop.put())
    table = DeltaTable(shop.lake.uri("shop__scores"))
    ours = read_scores(shop.lake, make_spec())
    theirs = spark.read.format("delta").load(shop.lake.uri("shop__scores")).toArrow()
    theirs = theirs.select(sorted(theirs.column_names)).sort_by("order_id").combine_chunks()
    assert theirs.cast(ours.schema).equals(ours)
    assert [action["score_date"] for action in table.partitions()] == [str(DAY)]


def once(monkeypatch, act) -> None:
    """Does something between the last look at the table and the commit, the first time."""
    waiting = [act]

    def failpoint(name: str) -> None:
        if name == "before-commit" and waiting:
            waiting.pop()()

    monkeypatch.setattr(sink, "failpoint", failpoint)


def test_equal_inputs_between_look_and_commit_win(shop, monkeypatch) -> None:
    pinned = shop.put(seed=2)
    once(monkeypatch, lambda: shop.score(pinned, engine="local", run_id="quicker"))
    outcome = shop.score(pinned, run_id="slower")
    assert (outcome.action, outcome.manifest.run_id) == ("unchanged", "quicker")
    assert read_scores(shop.lake, make_spec()).num_rows == 300


def test_another_spec_between_look_and_commit_is_a_conflict(shop, monkeypatch) -> None:
    """Nothing says which spec is the newer one."""
    pinned = shop.put(seed=2)
    once(monkeypatch, lambda: shop.score(pinned, engine="local", scoring={"threshold": 0.25}))
    with pytest.raises(CommitConflictError, match="was meanwhile scored from version"):
        shop.score(pinned)
    assert read_scores(shop.lake, make_spec()).num_rows == 300


def test_a_newer_input_between_look_and_commit_is_a_conflict(shop, monkeypatch) -> None:
    pinned = shop.put(seed=2)
    once(monkeypatch, lambda: shop.score(shop.put(seed=3), engine="local"))
    with pytest.raises(CommitConflictError, match="was meanwhile scored from version"):
        shop.score(pinned)
    assert len(shop.files()) == 1


def test_other_days_and_optimize_between_look_and_commit_are_no_conflict(shop, monkeypatch) -> None:
    other = shop.put(200, seed=1, day=DAY + timedelta(days=1))
    shop.score(shop.put(seed=4))
    pinned = shop.put(290, seed=2)

    def act() -> None:
        shop.score(other, engine="local")
        shop.lake.open("shop__scores").optimize.compact()

    once(monkeypatch, act)
    assert shop.score(pinned).manifest.generation == 2
    assert read_scores(shop.lake, make_spec()).num_rows == 290
    assert read_scores(shop.lake, make_spec(), DAY + timedelta(days=1)).num_rows == 200


@pytest.mark.parametrize("shop", ["engine"], indirect=True)
def test_rows_that_executors_lost_after_the_check_are_the_same_rows_again(shop) -> None:
    pinned = shop.put(2000)
    with Engines(EngineSettings()) as engines:
        spec = make_spec(scoring={"io": "engine"})
        request = make_request(shop.lake, spec, pinned, shop.package, engine="spark", engines=engines)
        job = job_for(spec, shop.lake, pinned, assemble(request.candidates))
        told: list[int] = []
        day = PinnedDay(job, pinned, (), shop.lake.uri(pinned.table), "engine")
        with engines.get("spark").staged(day, told.append) as staged:
            rows = staged.rows
            keys = staged.verify()
            rows.packed.unpersist(blocking=True)
            manifest = shop.score(pinned, engine="local").manifest
            later = manifest.model_copy(update={"generation": 2, "commit_id": "mine", "reason": "forced"})
            before = read_scores(shop.lake, spec)
            rows.commit(later, "tallywright/shop/2024-03-01")
    assert (keys.hex, sum(told)) == (manifest.key_digest, 2000)
    assert next(logged_tallies(shop.lake, shop.lake.open("shop__scores"), DAY)).manifest.commit_id == "mine"
    assert read_scores(shop.lake, spec).equals(before)


@pytest.mark.parametrize("shop", ["engine"], indirect=True)
def test_a_commit_while_spark_writes_is_a_race_that_equal_inputs_may_lose(shop, monkeypatch, tmp_path) -> None:
    pinned = shop.put()
    shop.score(pinned, engine="local")
    writing, go_on = tmp_path / "writing", tmp_path / "go-on"
    monkeypatch.setattr(native, "unpacked", held_up(writing, go_on))
    with ThreadPoolExecutor(1) as pool:
        slower = pool.submit(shop.score, pinned, version=2, run_id="slower")
        wait_for(writing)
        quicker = shop.score(pinned, engine="local", version=2, run_id="quicker")
        go_on.touch()
        outcome = slower.result(timeout=120)
    assert (outcome.action, outcome.manifest.run_id, outcome.version) == ("unchanged", "quicker", quicker.version)
    assert read_scores(shop.lake, make_spec()).num_rows == 300


@pytest.mark.long
@pytest.mark.parametrize("shop", ["engine"], indirect=True)
def test_a_day_is_compacted_while_spark_writes_it(shop, monkeypatch, tmp_path) -> None:
    """Delta's writer gives up, and the same rows are committed on top of the new files."""
    for seed in range(2):
        shop.score(shop.put(seed=seed), scoring={"batch_rows": 256})
    pinned = shop.put(290, seed=5)
    writing, go_on = tmp_path / "writing", tmp_path / "go-on"
    monkeypatch.setattr(native, "unpacked", held_up(writing, go_on))
    with ThreadPoolExecutor(1) as pool:
        slower = pool.submit(shop.score, pinned)
        wait_for(writing)
        rewritten = shop.lake.open("shop__scores").optimize.z_order(["order_id"])
        go_on.touch()
        outcome = slower.result(timeout=120)
    assert rewritten["numFilesAdded"] == 1
    assert (outcome.action, outcome.manifest.generation) == ("committed", 3)
    assert read_scores(shop.lake, make_spec()).num_rows == 290


def held_up(writing: Path, go_on: Path) -> Any:
    """`unpacked`, but it waits in the executor until it may go on."""

    def slow(packed: Any) -> Any:
        import time
        from pathlib import Path

        from tallywright.scoring.engines.spark.packed import unpacked

        Path(writing).touch()
        deadline = time.monotonic() + 60
        while not Path(go_on).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        yield from unpacked(packed)

    return slow


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
