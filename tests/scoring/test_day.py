"""One tally a day: no-op for equal inputs, generations with reasons, refusals that change nothing."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from datetime import date, timedelta

import pyarrow as pa
import pytest
from first_version import as_the_first_version
from synthetic import DAY, make_features, make_package, make_spec, network, read_profile, read_scores

from tallywright.errors import (
    CommitConflictError,
    GateRefusedError,
    InputError,
    IntegrityError,
    LeakError,
    PackageError,
    StorageError,
    TableContractError,
    UsageError,
)
from tallywright.packaging.package import PackageContents, write_package
from tallywright.records import ModelRef
from tallywright.scoring.commit.manifests import latest_manifest, manifests, recorded_tallies
from tallywright.scoring.day import decide, ensure_profile, recount_tally, score_day
from tallywright.spec.sections import Scoring

on_disk_and_store = pytest.mark.parametrize("shop", ["disk", "store"], indirect=True)


@on_disk_and_store
def test_a_first_score_commits_every_row_once_with_its_provenance(shop) -> None:
    features = make_features(300)
    outcome = shop.score(shop.put(features))
    rows = read_scores(shop.lake, shop.spec)
    assert (outcome.action, outcome.manifest.reason, outcome.manifest.generation) == ("committed", "first", 1)
    assert rows["order_id"].to_pylist() == sorted(features["order_id"].to_pylist())
    assert set(rows.column_names) == {
        *("order_id", "score_date", "prediction", "probability", "confidence"),
        *("model_name", "model_version", "role", "input_version"),
    }
    constants = {name: set(rows[name].to_pylist()) for name in ("model_name", "model_version", "role", "input_version")}
    assert constants == {"model_name": {"shop"}, "model_version": {1}, "role": {"champion"}, "input_version": {1}}


@on_disk_and_store
def test_the_same_inputs_again_are_a_successful_no_op(shop) -> None:
    pinned = shop.put()
    first = shop.score(pinned)
    again = shop.score(pinned, run_id="another", code_version="newer")
    assert again.action == "unchanged"
    assert again.manifest == first.manifest
    assert again.version == first.version == shop.version()
    assert len(shop.files()) == 1


@on_disk_and_store
def test_other_days_and_optimize_do_not_cause_a_new_commit(shop) -> None:
    pinned = shop.put()
    shop.score(pinned)
    shop.put(seed=5, day=DAY + timedelta(days=1))
    shop.lake.open("shop__features").optimize.compact()
    shop.lake.open("shop__scores").optimize.compact()
    same = pinned.model_copy(update={"version": shop.version("features")})
    before = shop.version()
    assert shop.score(same).action == "unchanged"
    assert shop.version() == before


@pytest.mark.parametrize(
    ("restated", "model", "spec", "reason"),
    [
        (True, False, False, "restated_input"),
        (False, True, False, "model"),
        (False, False, True, "spec"),
        (True, True, True, "restated_input+model+spec"),
        (False, True, True, "model+spec"),
    ],
)
def test_what_changed_is_the_reason_of_the_next_generation(shop, tmp_path, restated, model, spec, reason) -> None:
    pinned = shop.put()
    shop.score(pinned)
    pinned = shop.put(310, seed=1) if restated else pinned
    if model:
        shop.package = make_package(tmp_path / "other", seed=1)
    shop.spec = make_spec(scoring={"threshold": 0.7}) if spec else shop.spec
    outcome = shop.score(pinned, version=2 if model else 1)
    assert (outcome.manifest.generation, outcome.manifest.reason) == (2, reason)
    assert read_scores(shop.lake, shop.spec).num_rows == (310 if restated else 300)
    assert [tally.manifest.generation for tally in recorded_tallies(shop.lake, shop.spec, DAY)] in ([1, 2], [2, 1])
    assert latest_manifest(shop.lake, shop.spec, DAY) == outcome.manifest


def test_workers_and_batches_are_no_part_of_the_inputs(shop) -> None:
    pinned = shop.put()
    shop.score(pinned)
    assert shop.score(pinned, spec=make_spec(scoring={"workers": 3, "batch_rows": 256})).action == "unchanged"


@on_disk_and_store
def test_force_repeats_equal_inputs_to_equal_rows(shop) -> None:
    pinned = shop.put()
    shop.score(pinned)
    before = read_scores(shop.lake, shop.spec)
    outcome = shop.score(pinned, force=True)
    assert (outcome.action, outcome.manifest.generation, outcome.manifest.reason) == ("committed", 2, "forced")
    assert read_scores(shop.lake, shop.spec).equals(before)


def test_force_does_not_hide_a_real_reason(shop) -> None:
    shop.score(shop.put())
    assert shop.score(shop.put(seed=1), force=True).manifest.reason == "restated_input"


def test_a_decision_says_what_would_happen_and_changes_nothing(shop) -> None:
    pinned = shop.put()
    decision = decide(shop.request(pinned))
    assert (decision.action, decision.reason, decision.generation) == ("score", "first", 1)
    assert not shop.lake.exists("shop__scores")
    shop.score(pinned)
    assert decide(shop.request(pinned)).action == "no-op"
    assert decide(shop.request(pinned, force=True)).reason == "forced"


@on_disk_and_store
def test_days_do_not_touch_one_another(shop) -> None:
    days = [DAY + timedelta(days=offset) for offset in range(4)]
    pinned = [shop.put(seed=offset, day=day) for offset, day in enumerate(days)]
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(shop.score, pinned))
    assert {outcome.action for outcome in outcomes} == {"committed"}
    assert [manifest.score_date for manifest in manifests(shop.lake, shop.spec)] == days
    keys = [read_scores(shop.lake, shop.spec, day)["order_id"][0].as_py() for day in days]
    assert keys == [f"öрд-{seed}-0000000" for seed in range(4)]


@on_disk_and_store
def test_racing_threads_make_one_tally(shop) -> None:
    pinned = shop.put()
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: shop.score(pinned), range(4)))
    assert sorted(outcome.action for outcome in outcomes) == ["committed"] + ["unchanged"] * 3
    assert len({outcome.version for outcome in outcomes}) == 1
    assert read_scores(shop.lake, shop.spec).num_rows == 300
    assert len(shop.files()) == 1


def test_progress_ends_with_all_rows(shop) -> None:
    seen: list[tuple[int, int]] = []
    score_day(shop.request(shop.put()), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (300, 300)


def counted_again(shop, manifest):
    return recount_tally(shop.lake, shop.spec, manifest, lambda _: shop.package).profile


@on_disk_and_store
def test_a_lost_row_of_tallies_and_profile_is_written_again(shop) -> None:
    pinned = shop.put()
    outcome = shop.score(pinned)
    profile = counted_again(shop, outcome.manifest)
    for table in ("tallies", "profile"):
        shop.lake.open(shop.spec.table(table)).delete()
    assert latest_manifest(shop.lake, shop.spec, DAY) == outcome.manifest
    assert manifests(shop.lake, shop.spec) == [outcome.manifest]
    assert counted_again(shop, outcome.manifest) == profile
    assert shop.score(pinned).action == "unchanged"
    assert [tally.manifest for tally in recorded_tallies(shop.lake, shop.spec)] == [outcome.manifest]
    row = read_profile(shop.lake, shop.spec, outcome.manifest)
    assert row is not None
    assert row.profile == profile
    assert ensure_profile(shop.lake, shop.spec, DAY, lambda _: shop.package)[1] == row


def _clean_log(shop) -> None:
    """As log cleanup does after a month: another day's commit is the newest, all before it is in the checkpoint."""
    shop.score(shop.put(day=DAY + timedelta(days=1), seed=9))
    shop.lake.open("shop__scores").create_checkpoint()
    shop.remove(sorted(shop.files(suffix=".json"))[:-1])


@on_disk_and_store
def test_manifests_survive_without_the_log(shop) -> None:
    outcome = shop.score(shop.put())
    _clean_log(shop)
    assert latest_manifest(shop.lake, shop.spec, DAY) == outcome.manifest
    assert shop.score(outcome.manifest.input).action == "unchanged"


@on_disk_and_store
def test_a_lost_manifest_means_scoring_again(shop) -> None:
    pinned = shop.put()
    shop.score(pinned)
    _clean_log(shop)
    shop.lake.open("shop__tallies").delete()
    outcome = shop.score(pinned)
    assert (outcome.manifest.generation, outcome.manifest.reason) == (2, "lost_manifest")


@on_disk_and_store
def test_losing_to_a_newer_input_is_a_conflict_that_a_retry_solves(shop, monkeypatch) -> None:
    old = shop.put()
    new = shop.put(seed=1)
    stale = decide(shop.request(old))
    shop.score(new)
    monkeypatch.setattr("tallywright.scoring.day.decide", lambda _: stale)
    before = shop.files()
    with pytest.raises(CommitConflictError, match="meanwhile scored from version"):
        shop.score(old)
    assert shop.files() == before
    assert latest_manifest(shop.lake, shop.spec, DAY).input == new


def test_losing_to_another_spec_is_a_conflict_for_nothing_says_which_is_newer(shop, monkeypatch) -> None:
    pinned = shop.put()
    stale = decide(shop.request(pinned))
    shop.score(pinned, spec=make_spec(scoring={"threshold": 0.9}))
    with monkeypatch.context() as patched:
        patched.setattr("tallywright.scoring.day.decide", lambda _: stale)
        with pytest.raises(CommitConflictError, match=r"meanwhile scored .* \(generation 1\)"):
            shop.score(pinned)
    outcome = shop.score(pinned)
    assert (outcome.action, outcome.manifest.generation, outcome.manifest.reason) == ("committed", 2, "spec")


@pytest.mark.parametrize(
    ("mine", "theirs", "stands"),
    [((1, 2), (1, 3), "theirs"), ((1, 3), (1, 2), "mine"), ((1, 2), (2, 1), "theirs"), ((1, 2), (1, 2), "theirs")],
)
@pytest.mark.parametrize("raced", [True, False])
def test_the_newer_input_and_the_newer_promotion_stand(shop, monkeypatch, mine, theirs, stands, raced) -> None:
    """Two writers with an input version and a promotion sequence each, the one decided before the other committed."""
    inputs = {1: shop.put(), 2: shop.put(seed=1)}
    request = shop.request(inputs[mine[0]], version=1, promotion_sequence=mine[1])
    stale = decide(request)
    shop.score(inputs[theirs[0]], version=2, promotion_sequence=theirs[1])
    with monkeypatch.context() as patched:
        if raced:
            patched.setattr("tallywright.scoring.day.decide", lambda _: stale)
        refused = stands == "theirs" and (raced or mine != theirs)
        with pytest.raises(CommitConflictError, match="promotion sequence") if refused else nullcontext():
            score_day(request)
    if raced or mine != theirs:
        version = latest_manifest(shop.lake, shop.spec, DAY).primary.version
        assert version == {"mine": 1, "theirs": 2}[stands]
    forced = score_day(replace(request, force=True, override="it was wrong"))
    assert (forced.manifest.primary.version, forced.manifest.override) == (1, "it was wrong")
    assert forced.manifest.promotion_sequence == mine[1]


def test_an_input_table_that_was_made_anew_is_not_older(shop) -> None:
    for seed in range(3):
        shop.score(shop.put(seed=seed))
    shutil.rmtree(shop.lake.uri("shop__features"))
    outcome = shop.score(shop.put(seed=9))
    assert (outcome.action, outcome.manifest.generation) == ("committed", 4)
    assert outcome.manifest.input.version < 3


@on_disk_and_store
def test_an_output_column_that_is_new_is_added_and_old_rows_stay(shop) -> None:
    shop.score(shop.put())
    shop.lake.open("shop__scores").alter.add_columns(_field("calibrated"))
    other = DAY + timedelta(days=1)
    shop.score(shop.put(day=other, seed=3))
    assert read_scores(shop.lake, shop.spec, other)["calibrated"].null_count == 300


def _field(name: str):
    from deltalake import Field
    from deltalake.schema import PrimitiveType

    return [Field(name, PrimitiveType("double"))]


# --- Refusals: a clear error, and nothing changed ---------------------------------------------------------------


@pytest.fixture
def scored(shop):
    shop.score(shop.put())
    shop.before = (read_scores(shop.lake, shop.spec), shop.version(), shop.files())
    yield shop
    assert read_scores(shop.lake, shop.spec).equals(shop.before[0])
    assert shop.version() == shop.before[1]
    assert shop.files() == shop.before[2]


def test_an_empty_day_is_refused(scored) -> None:
    pinned = scored.put(make_features(5).slice(0, 0))
    with pytest.raises(InputError, match="no input rows"):
        scored.score(pinned)


def test_far_fewer_rows_than_usual_are_refused(scored) -> None:
    for offset in range(1, 5):
        scored.put(day=DAY - timedelta(days=offset), seed=offset)
    pinned = scored.put(3, seed=9)
    with pytest.raises(InputError, match=r"3 input rows for 2024-03-01, 1\.0% of the usual"):
        scored.score(pinned)


@on_disk_and_store
def test_duplicate_keys_are_refused(scored) -> None:
    features = make_features(300, seed=4)
    doubled = pa.concat_tables([features, features.slice(7, 1)])
    with pytest.raises(InputError, match="1 keys occur more than once, such as öрд-4-0000007"):
        scored.score(scored.put(doubled))


def test_a_count_that_differs_from_the_ingest_record_is_refused(scored) -> None:
    pinned = scored.put(seed=6).model_copy(update={"rows": 299})
    with pytest.raises(InputError, match="has 300 rows"):
        scored.score(pinned)


def test_a_missing_column_is_refused_by_name(scored) -> None:
    scored.lake.replace(
        "shop__narrow",
        make_features(10).drop_columns(["x1"]).append_column("score_date", pa.array([DAY] * 10)),
        slice={"score_date": DAY},
        partition_by=("score_date",),
    )
    pinned = scored.put(seed=2).model_copy(update={"table": "shop__narrow", "version": 1, "rows": 10})
    with pytest.raises(InputError, match="shop__narrow has no column x1"):
        scored.score(pinned)


def test_a_mistyped_column_is_refused_by_name(scored) -> None:
    features = make_features(300, seed=2)
    features = features.set_column(2, "x0", features["order_id"])
    dated = features.append_column("score_date", pa.array([DAY] * 300))
    scored.lake.replace("shop__mistyped", dated, slice={"score_date": DAY}, partition_by=("score_date",))
    pinned = scored.put(seed=2).model_copy(update={"table": "shop__mistyped", "version": 1})
    with pytest.raises(InputError, match="'x0' has the type"):
        scored.score(pinned)


@on_disk_and_store
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


@pytest.mark.parametrize("through", [DAY, DAY + timedelta(days=1), None])
def test_a_model_that_saw_the_day_is_refused_unless_the_spec_allows_it(scored, through: date | None) -> None:
    pinned = scored.put(seed=3)
    models = (ModelRef(name="shop", version=1, digest=scored.package.digest, trained_through=through),)
    with pytest.raises(LeakError, match="would score 2024-03-01"):
        scored.score(pinned, models=models)


def test_a_leak_that_the_spec_allows_is_scored_and_marked(shop) -> None:
    models = (ModelRef(name="shop", version=1, digest=shop.package.digest, trained_through=DAY),)
    shop.spec = make_spec(scoring={"allow_leak": True})
    assert shop.score(shop.put(), models=models).manifest.leak_allowed


def test_a_package_that_is_not_at_hand_is_refused(scored) -> None:
    with pytest.raises(PackageError, match="not at hand"):
        scored.score(scored.put(seed=3), packages={})


def test_an_unknown_engine_is_refused(scored) -> None:
    with pytest.raises(UsageError, match="no scoring engine 'turbo'"):
        scored.score(scored.put(seed=3), engine="turbo")


@on_disk_and_store
def test_vacuumed_input_is_refused(scored) -> None:
    pinned = scored.put(seed=3)
    scored.remove(scored.files("features"))
    with pytest.raises(IntegrityError, match="of 2024-03-01: it is gone"):
        scored.score(pinned)


def test_an_altered_package_is_refused(scored, tmp_path) -> None:
    scored.package = make_package(tmp_path / "altered", seed=8)
    (tmp_path / "altered" / "preprocess.json").write_text("{}")
    with pytest.raises(PackageError, match="altered"):
        scored.score(scored.put(seed=3), version=2)


@on_disk_and_store
def test_a_table_with_unsupported_features_is_refused(shop) -> None:
    shop.score(shop.put())
    before = shop.version()
    shop.lake.open("shop__scores").alter.set_table_properties(
        {"delta.setTransactionRetentionDuration": "interval 1 day"}
    )
    with pytest.raises(TableContractError, match="setTransactionRetentionDuration"):
        shop.score(shop.put(seed=3))
    from deltalake import DeltaTable

    assert DeltaTable(shop.lake.uri("shop__scores"), storage_options=shop.lake.options).version() == before + 1


@on_disk_and_store
def test_a_column_of_another_type_is_refused(shop) -> None:
    features = make_features(4)
    wrong = features.select(["order_id"]).append_column("score_date", pa.array([DAY] * 4))
    wrong = wrong.append_column("probability", pa.array(["high"] * 4))
    shop.lake.replace("shop__scores", wrong, slice={"score_date": DAY}, partition_by=("score_date",))
    with pytest.raises(TableContractError, match="probability is string, the run writes float"):
        shop.score(shop.put(seed=3))


def test_a_place_that_cannot_be_written_is_refused(shop) -> None:
    pinned = shop.put()
    (shop.root / "lake" / "shop__scores").write_text("a file where the table should be")
    with pytest.raises(StorageError):
        shop.score(pinned)


def test_parts_that_cannot_be_written_are_a_storage_error_and_nothing_is_left(scored) -> None:
    other = DAY + timedelta(days=1)
    (scored.root / "lake" / "shop__scores" / f"score_date={other}").write_text("a file where the day should be")
    with pytest.raises(StorageError, match="failed on storage"):
        scored.score(scored.put(day=other, seed=3))


@pytest.mark.parametrize("scoring", [{}, {"threshold": 0.3}])
def test_a_tally_of_the_first_version_stands(shop, scoring) -> None:
    shop.spec, pinned = make_spec(scoring=scoring), shop.put()
    with as_the_first_version(Scoring):
        first = shop.score(pinned)
    assert first.manifest.scoring_digest == shop.spec.scoring.identity().first
    again = shop.score(pinned)
    assert (again.action, again.manifest) == ("unchanged", first.manifest)
    shop.spec = make_spec(scoring={"threshold": 0.9})
    changed = shop.score(pinned)
    assert (changed.manifest.reason, changed.manifest.generation) == ("spec", 2)
    assert changed.manifest.scoring_digest == shop.spec.scoring.identity().current
