"""Canary, shadow, direct replacement and fallback: who scored a row, to the bit, and what never costs the day."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from decided import decided
from first_version import as_the_first_version
from hypothesis import given
from hypothesis import strategies as st
from shared import shared
from synthetic import DAY, make_features, make_package, make_spec, model_ref, read_scores

from tallywright.data.fingerprint import row_hashes
from tallywright.errors import GateRefusedError, InputError, PackageError, StorageError
from tallywright.packaging.predictor import Predictor
from tallywright.records import Promotion, Role
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.resolve import resolve
from tallywright.scoring.commit import sink
from tallywright.scoring.commit.manifests import recorded_tallies
from tallywright.scoring.commit.profile_table import read_profiles
from tallywright.scoring.day import ensure_profile, recount_tally
from tallywright.scoring.roles.routing import canary_rule, is_canary
from tallywright.spec.sections import Scoring

OUTPUTS = ["order_id", "prediction", "probability", "confidence"]
LENIENT = {"max_mean_difference": 1.0}
PREVIOUS = {"model": "previous", "max_share": 1.0}
CONSTANT = {"model": "constant", "constant": 0.25, "max_share": 1.0}
on_disk_and_store = pytest.mark.parametrize("shop", ["disk", "store"], indirect=True)


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """Sound models 1 to 3, and two that fail on rows whose `c0` was not seen."""
    folder = tmp_path_factory.mktemp("packages")
    made = {seed + 1: make_package(folder / str(seed), seed=seed) for seed in range(3)}
    made["twin"] = make_package(folder / "twin", seed=7)
    made |= {fault: make_package(folder / fault, seed=7, fault=fault) for fault in ("output", "prediction")}
    shared(folder)
    return made


@pytest.fixture
def cast(shop, packages):
    """Scores a day with models in roles; packages are named as in the fixture, versions follow the order."""

    def act(pinned, *, lost=(), scoring=None, force=False, progress=None, **roles):
        named = [(Role(role), roles.get(role)) for role in ("champion", "canary", "fallback")]
        named[0] = (Role.CHAMPION, roles.get("champion", 1))
        named += [(Role.SHADOW, name) for name in roles.get("shadows", ())]
        found = [(role, packages.get(name), versions(name)) for role, name in named if name is not None]
        spec = make_spec(scoring={"batch_rows": 256} | (scoring or {}))
        at_hand = {package.digest: package for _, package, _ in found if package}
        for name in lost:
            del at_hand[packages[name].digest]
        request = {"models": tuple(model_ref(spec, *one) for one in found), "packages": at_hand, "spec": spec}
        return shop.score(pinned, force=force, progress=progress, **request)

    return act


def versions(name):
    return {"output": 8, "prediction": 9, "constant": 0}.get(name, name)


def with_canary(share=0.3, **limits):
    return {"canary": {"model": 2, "share": share, "limits": LENIENT | limits}}


def with_fallback(kind, *covers, **changes):
    return {"fallback": kind | {"covers": covers} | changes}


def answers(package, features):
    """What a model says to every row, sorted by key."""
    outputs = Predictor(package)(features.combine_chunks().to_batches()[0])
    rows = pa.table([features["order_id"].combine_chunks(), *outputs.columns], names=OUTPUTS)
    return rows.sort_by("order_id")


def same_bits(ours, theirs):
    ours, theirs = (rows.select(OUTPUTS).combine_chunks() for rows in (ours, theirs))
    assert ours.equals(theirs)
    for name in ("probability", "confidence"):
        bits = [np.asarray(rows[name].combine_chunks()).view(np.uint32) for rows in (ours, theirs)]
        assert np.array_equal(*bits)


def of_role(rows, role):
    return rows.filter(pc.equal(rows["role"], role))


def keys_of(rows):
    return set(rows["order_id"].to_pylist())


def only(rows, keys):
    return rows.filter(pc.is_in(rows["order_id"], pa.array(sorted(keys))))


def notes(manifest):
    return {(one.role.value, one.version): one.note for one in manifest.roles if one.note}


def unseen(features):
    known = pc.is_in(features["c0"], pa.array(["blue", "grün", "red", "赤"]))
    return keys_of(features.filter(pc.and_(pc.invert(known), pc.is_valid(features["c0"]))))


# --- Canary -----------------------------------------------------------------------------------------------------


@on_disk_and_store
def test_a_canary_scores_its_share_of_the_keys_and_the_champion_the_rest(shop, cast, packages) -> None:
    features = make_features(3000)
    outcome = cast(shop.put(features), canary=2, scoring=with_canary())
    rows = read_scores(shop.lake, shop.spec)
    assert rows["order_id"].to_pylist() == sorted(features["order_id"].to_pylist())
    mine, others = of_role(rows, "canary"), of_role(rows, "champion")
    assert (set(mine["model_version"].to_pylist()), set(others["model_version"].to_pylist())) == ({2}, {1})
    same_bits(mine, only(answers(packages[2], features), keys_of(mine)))
    same_bits(others, only(answers(packages[1], features), keys_of(others)))
    assert 0.25 < mine.num_rows / 3000 < 0.35
    assert outcome.manifest.rows_by_role == {"champion": others.num_rows, "canary": mine.num_rows}
    assert [(ref.role, ref.version) for ref in outcome.manifest.models] == [(Role.CHAMPION, 1), (Role.CANARY, 2)]
    assert cast(shop.put(features), canary=2, scoring=with_canary()).action == "unchanged"


def test_a_key_stays_where_it_is_on_every_day(shop, cast) -> None:
    groups = []
    for offset in range(3):
        features = make_features(500).set_column(2, "x0", make_features(500, seed=offset)["x0"])
        day = DAY + timedelta(days=offset)
        cast(shop.put(features.take(np.random.default_rng(offset).permutation(500)), day=day), canary=2,
             scoring=with_canary())  # fmt: skip
        groups.append(keys_of(of_role(read_scores(shop.lake, shop.spec, day), "canary")))
    assert groups[0] == groups[1] == groups[2]


@given(share=st.floats(0.001, 0.999), more=st.floats(0, 1), version=st.integers(1, 99))
def test_the_share_is_a_threshold_on_the_hash_and_a_larger_one_only_adds_keys(share, more, version) -> None:
    hashes = row_hashes(KEYS, ["order_id"])
    mine = is_canary(canary_rule("shop", version, share), hashes)
    assert abs(mine.mean() - share) < 5 * np.sqrt(share * (1 - share) / mine.size)
    larger = share + (0.9999 - share) * more
    assert not (mine & ~is_canary(canary_rule("shop", version, larger), hashes)).any()


KEYS = make_features(20_000).select(["order_id"]).combine_chunks().to_batches()[0]


def test_another_version_is_tried_on_other_keys() -> None:
    hashes = row_hashes(KEYS, ["order_id"])
    one, other = (is_canary(canary_rule("shop", version, 0.5), hashes) for version in (1, 2))
    assert abs((one & other).mean() - 0.25) < 0.02


@on_disk_and_store
def test_a_canary_far_from_the_champion_leaves_all_rows_to_it(shop, cast, packages, caplog) -> None:
    features = make_features(1000)
    scoring = with_canary(max_mean_difference=0.001)
    outcome = cast(shop.put(features), canary=2, shadows=[3], scoring=scoring)
    rows = read_scores(shop.lake, shop.spec)
    same_bits(rows, answers(packages[1], features))
    assert set(rows["role"].to_pylist()) == {"champion"}
    assert outcome.manifest.rows_by_role == {"champion": 1000}
    (note,) = notes(outcome.manifest).values()
    assert "differs from the champion's by" in note
    assert "the champion takes all rows" in caplog.text
    # The first pass left nothing behind, and deciding it again gives the same.
    assert len(shop.files()) == 1
    assert len(shop.lake.files("shop__shadow")) == len(shop.files("shadow"))
    assert cast(outcome.manifest.input, canary=2, shadows=[3], scoring=scoring).action == "unchanged"


def test_a_repeat_of_a_day_whose_canary_broke_its_limits_takes_the_verdict_as_it_stands(shop, cast) -> None:
    pinned, passes = shop.put(1000), []
    scoring = with_canary(max_mean_difference=0.001)
    first = cast(pinned, canary=2, scoring=scoring, progress=lambda done, _: passes.append(done)).manifest
    assert max(passes) == 1000
    assert passes.count(1000) == 2
    passes.clear()
    again = cast(pinned, canary=2, scoring=scoring, force=True, progress=lambda done, _: passes.append(done)).manifest
    assert (again.generation, again.reason, passes.count(1000)) == (2, "forced", 1)
    assert again.roles == first.roles


def test_few_rows_of_a_canary_are_no_proof_and_the_figures_say_so(shop, cast, caplog) -> None:
    """The models differ by more than the limit on these rows, by no more than chance allows."""
    features = make_features(160)
    outcome = cast(shop.put(features), canary=3, scoring=with_canary(share=0.1, max_mean_difference=0.05))
    (canary,) = (one for one in outcome.manifest.roles if one.role is Role.CANARY)
    assert canary.rows < 25
    assert "more than 0.05 is not shown" in caplog.text
    assert f"the mean score of {canary.rows} rows differs from the champion's by" in canary.figures
    assert canary.note == ""


@pytest.mark.parametrize("fault", ["output", "prediction"])
def test_rows_that_a_canary_cannot_score_are_the_champions_within_the_limit(shop, cast, packages, fault) -> None:
    features = make_features(1000)
    outcome = cast(shop.put(features), canary=fault, scoring=with_canary(max_problem_share=0.9))
    rows = read_scores(shop.lake, shop.spec)
    mine = of_role(rows, "canary")
    assert mine.num_rows > 100
    assert not keys_of(mine) & unseen(features)
    others = of_role(rows, "champion")
    same_bits(others, only(answers(packages[1], features), keys_of(others)))
    assert sum(outcome.manifest.rows_by_role.values()) == 1000
    broken = cast(outcome.manifest.input, canary=fault, scoring=with_canary())
    assert broken.manifest.rows_by_role == {"champion": 1000}
    assert "have no sound answer" in notes(broken.manifest)["canary", versions(fault)]


def test_a_canary_without_a_package_is_left_out_until_it_is_there(shop, cast) -> None:
    pinned = shop.put(1000)
    outcome = cast(pinned, canary=2, lost=[2], scoring=with_canary())
    assert outcome.manifest.rows_by_role == {"champion": 1000}
    assert notes(outcome.manifest) == {("canary", 2): "its package is not at hand"}
    assert cast(pinned, canary=2, lost=[2], scoring=with_canary()).action == "unchanged"
    again = cast(pinned, canary=2, scoring=with_canary())
    assert (again.manifest.reason, again.manifest.generation) == ("model", 2)
    assert again.manifest.rows_by_role["canary"] > 100


def test_models_beside_the_champion_that_have_seen_the_day_are_left_out(shop, cast, packages, tmp_path) -> None:
    packages = packages | {4: make_package(tmp_path / "late", seed=4, through=DAY)}
    late = {"canary": packages[4], "shadow": packages[4]}
    models = tuple(model_ref(shop.spec, Role(role), package, 4) for role, package in late.items())
    champion = model_ref(shop.spec, Role.CHAMPION, packages[1], 1)
    at_hand = {package.digest: package for package in packages.values()}
    spec = make_spec(scoring=with_canary())
    outcome = shop.score(shop.put(), models=(champion, *models), packages=at_hand, spec=spec)
    assert outcome.manifest.rows_by_role == {"champion": 300}
    assert set(notes(outcome.manifest)) == {("canary", 4), ("shadow", 4)}
    assert not outcome.manifest.leak_allowed
    allowed = make_spec(scoring=with_canary() | {"allow_leak": True})
    outcome = shop.score(outcome.manifest.input, models=(champion, *models), packages=at_hand, spec=allowed)
    assert outcome.manifest.leak_allowed
    assert outcome.manifest.rows_by_role["canary"] > 0


# --- Shadow -----------------------------------------------------------------------------------------------------


def test_a_shadow_scores_every_row_into_its_own_table_in_the_same_schema(shop, cast, packages) -> None:
    features = make_features(700)
    outcome = cast(shop.put(features), shadows=[2, 3])
    shadow = read_scores(shop.lake, shop.spec, what="shadow")
    assert shadow.schema.equals(read_scores(shop.lake, shop.spec).schema)
    for version in (2, 3):
        rows = shadow.filter(pc.equal(shadow["model_version"], version))
        same_bits(rows, answers(packages[version], features))
        assert set(rows["role"].to_pylist()) == {"shadow"}
    same_bits(read_scores(shop.lake, shop.spec), answers(packages[1], features))
    assert outcome.manifest.rows_by_role == {"champion": 700}
    assert {one.version: one.rows for one in outcome.manifest.roles if one.role is Role.SHADOW} == {2: 700, 3: 700}


def test_a_shadow_that_joins_a_scored_day_makes_the_next_generation_of_the_same_scores(shop, cast) -> None:
    pinned = shop.put()
    cast(pinned)
    before = read_scores(shop.lake, shop.spec)
    outcome = cast(pinned, shadows=[2])
    assert (outcome.manifest.generation, outcome.manifest.reason) == (2, "model")
    assert read_scores(shop.lake, shop.spec).equals(before)
    version, shadow = shop.version(), shop.version("shadow")
    assert cast(pinned, shadows=[2]).action == "unchanged"
    assert (shop.version(), shop.version("shadow")) == (version, shadow)


def test_a_restated_day_replaces_every_role_in_one_commit(shop, cast) -> None:
    cast(shop.put(400), canary=2, shadows=[3], scoring=with_canary())
    before, shadow = shop.version(), shop.version("shadow")
    outcome = cast(shop.put(350, seed=5), canary=2, shadows=[3], scoring=with_canary())
    assert (shop.version(), shop.version("shadow")) == (before + 1, shadow + 1)
    keys = sorted(make_features(350, seed=5)["order_id"].to_pylist())
    assert read_scores(shop.lake, shop.spec)["order_id"].to_pylist() == keys
    assert read_scores(shop.lake, shop.spec, what="shadow")["order_id"].to_pylist() == keys
    assert outcome.manifest.reason == "restated_input"


@on_disk_and_store
@pytest.mark.parametrize("fault", ["output", "prediction"])
def test_a_shadow_that_fails_costs_neither_the_day_nor_the_other_shadow(shop, cast, packages, fault, caplog) -> None:
    features = make_features(700)
    outcome = cast(shop.put(features), shadows=[fault, 3])
    same_bits(read_scores(shop.lake, shop.spec), answers(packages[1], features))
    shadow = read_scores(shop.lake, shop.spec, what="shadow")
    assert set(shadow["model_version"].to_pylist()) == {3}
    assert list(notes(outcome.manifest)) == [("shadow", versions(fault))]
    assert "the day goes on without it" in caplog.text
    named = shop.lake.files("shop__shadow")
    assert {path.rsplit("/", 1)[1] for path in shop.files("shadow")} == {file.path.rsplit("/", 1)[1] for file in named}
    assert cast(outcome.manifest.input, shadows=[fault, 3]).action == "unchanged"


def test_a_shadow_without_a_package_costs_nothing(shop, cast) -> None:
    outcome = cast(shop.put(), shadows=[2], lost=[2])
    assert outcome.manifest.rows_by_role == {"champion": 300}
    assert notes(outcome.manifest) == {("shadow", 2): "its package is not at hand"}
    assert not shop.lake.exists("shop__shadow")


def test_a_shadow_whose_package_was_swapped_on_disk_costs_nothing(shop, cast, packages, tmp_path) -> None:
    package = make_package(tmp_path / "swapped", seed=2)
    shutil.copy(packages["output"].onnx_path, package.onnx_path)
    ref = model_ref(shop.spec, Role.SHADOW, package, 5)
    champion = model_ref(shop.spec, Role.CHAMPION, packages[1], 1)
    at_hand = {one.digest: one for one in (packages[1], package)}
    outcome = shop.score(shop.put(), models=(champion, ref), packages=at_hand)
    assert "altered" in notes(outcome.manifest)["shadow", 5]


def test_a_table_of_shadows_that_cannot_be_used_costs_nothing(shop, cast) -> None:
    (shop.root / "lake").mkdir(exist_ok=True)
    (shop.root / "lake" / "shop__shadow").write_text("a file where the table should be")
    outcome = cast(shop.put(), shadows=[2])
    assert outcome.manifest.rows_by_role == {"champion": 300}
    assert "cannot be used" in notes(outcome.manifest)["shadow", 2]


def test_a_commit_of_shadows_that_fails_costs_nothing(shop, cast, monkeypatch) -> None:
    write = sink._write

    def fail(table, *rest):
        if "shop__shadow" in table.table_uri:
            raise OSError(28, "No space left on device")
        write(table, *rest)

    monkeypatch.setattr("tallywright.scoring.commit.sink._write", fail)
    outcome = cast(shop.put(), shadows=[2])
    assert outcome.manifest.rows_by_role == {"champion": 300}
    assert "No space left" in notes(outcome.manifest)["shadow", 2]


def test_shadows_of_the_first_version_stand_when_its_day_did_not(shop, cast, monkeypatch) -> None:
    write, pinned = sink._write, shop.put()

    def fail(table, *rest):
        if "shop__scores" in table.table_uri:
            raise OSError(28, "No space left on device")
        write(table, *rest)

    with monkeypatch.context() as patched, as_the_first_version(Scoring):
        patched.setattr("tallywright.scoring.commit.sink._write", fail)
        with pytest.raises(StorageError, match="No space left"):
            cast(pinned, shadows=[2])
    before, files = shop.version("shadow"), shop.files("shadow")
    outcome = cast(pinned, shadows=[2])
    assert outcome.manifest.scoring_digest.startswith("1:")
    assert (shop.version("shadow"), shop.files("shadow")) == (before, files)


def test_a_shadow_that_reads_a_column_which_is_gone_costs_nothing(shop, packages, tmp_path) -> None:
    wide = make_package(tmp_path / "wide", numeric=6)
    champion = model_ref(shop.spec, Role.CHAMPION, packages[1], 1)
    shadow = model_ref(shop.spec, Role.SHADOW, wide, 6)
    at_hand = {one.digest: one for one in (packages[1], wide)}
    outcome = shop.score(shop.put(), models=(champion, shadow), packages=at_hand)
    assert "x4" in notes(outcome.manifest)["shadow", 6]


# --- Direct replacement -----------------------------------------------------------------------------------------


def test_direct_replacement_takes_all_rows_from_its_effective_date_on(shop, packages) -> None:
    log = PromotionLog(shop.lake, shop.spec)
    for version, start in ((1, DAY), (2, DAY + timedelta(days=1))):
        line = decided(Promotion(
            model="shop", sequence=0, action="promote", model_version=version, package_digest=packages[version].digest,
            trained_through=date(2024, 1, 31), effective_from=start, recorded_at=datetime(2024, 3, 1, tzinfo=UTC),
            approver="policy", reason="better",
        ))  # fmt: skip
        log.append(lambda _, line=line: line)
    at_hand = {package.digest: package for package in packages.values()}
    for offset, version in ((0, 1), (1, 2), (2, 2)):
        day, features = DAY + timedelta(days=offset), make_features(300, seed=offset)
        models = resolve(shop.lake, shop.spec, day)
        shop.score(shop.put(features, day=day), models=models, packages=at_hand)
        rows = read_scores(shop.lake, shop.spec, day)
        same_bits(rows, answers(packages[version], features))
        assert set(zip(rows["model_version"].to_pylist(), rows["role"].to_pylist(), strict=True)) == {
            (version, "champion")
        }


# --- Fallback ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", ["output", "prediction"])
@pytest.mark.parametrize(("kind", "standing_in"), [(PREVIOUS, 2), (CONSTANT, "constant")])
def test_a_covered_failure_of_a_row_falls_back_and_says_so(shop, cast, packages, failure, kind, standing_in) -> None:
    features = make_features(1500)
    scoring = with_fallback(kind, failure)
    outcome = cast(shop.put(features), champion=failure, fallback=standing_in, scoring=scoring)
    rows = read_scores(shop.lake, shop.spec)
    fell, sound = of_role(rows, "fallback"), of_role(rows, "champion")
    assert keys_of(fell) == unseen(features)
    assert set(fell["model_version"].to_pylist()) == {versions(standing_in)}
    # The sound twin of the champion has the same weights.
    same_bits(sound, only(answers(packages["twin"], features), keys_of(sound)))
    if standing_in == "constant":
        assert set(fell["probability"].to_pylist()) == {0.25}
        assert set(fell["prediction"].to_pylist()) == {0}
        assert set(fell["confidence"].to_pylist()) == {0.75}
    else:
        same_bits(fell, only(answers(packages[2], features), keys_of(fell)))
    assert outcome.manifest.rows_by_role == {"champion": sound.num_rows, "fallback": fell.num_rows}
    assert cast(outcome.manifest.input, champion=failure, fallback=standing_in, scoring=scoring).action == "unchanged"


@pytest.mark.parametrize(
    ("failure", "others", "error"),
    [
        ("output", ("package", "prediction"), GateRefusedError),
        ("prediction", ("package", "output"), PackageError),
    ],
)
def test_a_failure_that_the_spec_does_not_name_fails_the_day(shop, cast, failure, others, error) -> None:
    pinned = shop.put()
    with pytest.raises(error):
        cast(pinned, champion=failure, fallback=2, scoring=with_fallback(PREVIOUS, *others))
    assert not shop.files()
    with pytest.raises(error):
        cast(pinned, champion=failure)


@on_disk_and_store
def test_too_many_rows_that_fall_back_fail_the_day(shop, cast) -> None:
    pinned = shop.put(1000)
    with pytest.raises(GateRefusedError, match=r"stand in for \d+ of 1000 rows"):
        cast(pinned, champion="output", fallback=2, scoring=with_fallback(PREVIOUS, "output", max_share=0.05))
    assert not shop.files()


def test_a_graph_that_fails_on_too_many_rows_fails_the_day_before_all_are_looked_at(shop, cast) -> None:
    pinned = shop.put(1000)
    with pytest.raises(GateRefusedError, match=r"raises an error for \d+ of \d+ rows of .* that were tried"):
        cast(pinned, champion="prediction", fallback=2, scoring=with_fallback(PREVIOUS, "prediction", max_share=0.05))
    assert not shop.files()


def test_a_fallback_that_is_no_better_is_refused(shop, cast) -> None:
    with pytest.raises(GateRefusedError, match="outside"):
        cast(shop.put(), champion="prediction", fallback="output", scoring=with_fallback(PREVIOUS, "prediction"))


@pytest.mark.parametrize(("kind", "standing_in"), [(PREVIOUS, 2), (CONSTANT, "constant")])
def test_a_lost_package_falls_back_for_the_day_until_it_is_there(shop, cast, packages, kind, standing_in) -> None:
    features = make_features(400)
    pinned = shop.put(features)
    scoring = with_fallback(kind, "package") | with_canary()
    outcome = cast(pinned, canary=3, fallback=standing_in, shadows=[2], lost=[1], scoring=scoring)
    rows = read_scores(shop.lake, shop.spec)
    assert set(rows["role"].to_pylist()) == {"fallback"}
    assert set(rows["model_version"].to_pylist()) == {versions(standing_in)}
    assert outcome.manifest.primary.role is Role.FALLBACK
    assert outcome.manifest.rows_by_role == {"fallback": 400}
    assert {("champion", 1), ("canary", 3)} <= set(notes(outcome.manifest))
    if standing_in == 2:
        same_bits(rows, answers(packages[2], features))
    else:
        assert set(rows["probability"].to_pylist()) == {0.25}
        counted = recount_tally(shop.lake, make_spec(scoring=scoring), outcome.manifest, lambda _: shop.package)
        assert counted.profile.mean("prediction") == 0.25
    kwargs = {"canary": 3, "fallback": standing_in, "shadows": [2], "scoring": scoring}
    assert cast(pinned, lost=[1], **kwargs).action == "unchanged"
    again = cast(pinned, **kwargs)
    assert again.manifest.reason == "model"
    assert again.manifest.primary.role is Role.CHAMPION


def test_a_package_altered_on_disk_is_a_covered_failure_too(shop, packages, tmp_path) -> None:
    package = make_package(tmp_path / "altered", seed=3)
    (package.folder / "model.onnx").write_bytes(b"something else")
    models = (model_ref(shop.spec, Role.CHAMPION, package, 4), model_ref(shop.spec, Role.FALLBACK, packages[2], 2))
    at_hand = {one.digest: one for one in (package, packages[2])}
    pinned = shop.put()
    with pytest.raises(PackageError, match="altered"):
        shop.score(pinned, models=models, packages=at_hand)
    spec = make_spec(scoring=with_fallback(PREVIOUS, "package"))
    assert shop.score(pinned, models=models, packages=at_hand, spec=spec).manifest.rows_by_role == {"fallback": 300}


@pytest.mark.parametrize("covers", [("output",), ("prediction",), ("output", "prediction")])
def test_a_lost_package_that_is_not_covered_fails_the_day(shop, cast, covers) -> None:
    with pytest.raises(PackageError, match="version 1 of shop is not at hand"):
        cast(shop.put(), fallback=2, lost=[1], scoring=with_fallback(PREVIOUS, *covers))


def test_without_a_previous_champion_nothing_can_be_covered(shop, cast) -> None:
    with pytest.raises(PackageError, match="nobody was champion before"):
        cast(shop.put(), shadows=[2], lost=[1], scoring=with_fallback(PREVIOUS, "package"))


def test_a_fallback_covers_no_mistake_of_the_data(shop, cast) -> None:
    features = make_features(300, seed=4)
    doubled = pa.concat_tables([features, features.slice(7, 1)])
    everything = with_fallback(PREVIOUS, "package", "output", "prediction")
    with pytest.raises(InputError, match="occur more than once"):
        cast(shop.put(doubled), fallback=2, scoring=everything)


# --- Determinism ------------------------------------------------------------------------------------------------


def test_batches_and_workers_change_nothing_about_who_scores_what(shop, cast, tmp_path, monkeypatch) -> None:
    features = make_features(3000)
    scoring = with_canary(max_problem_share=0.5) | with_fallback(PREVIOUS, "output", "prediction")
    contents = []
    for batch_rows, workers, target in ((256, 1, 1 << 20), (777, 3, 1 << 20), (65_536, 2, 900)):
        from tallywright.scoring import prepare
        from tallywright.scoring.worker.fragments import plan_splits

        monkeypatch.setattr(
            prepare, "plan_splits", lambda paths, options, target=target: plan_splits(paths, target_rows=target)
        )
        pinned = shop.put(features.take(np.random.default_rng(batch_rows).permutation(3000)))
        sizes = {"batch_rows": batch_rows, "workers": workers}
        outcome = cast(pinned, champion="prediction", canary=2, fallback=3, shadows=[1], scoring=scoring | sizes,
                       force=True)  # fmt: skip
        rows = [read_scores(shop.lake, shop.spec, what=what).drop_columns(["input_version"])
                for what in ("scores", "shadow")]  # fmt: skip
        roles = [one.model_dump() for one in outcome.manifest.roles]
        contents.append((rows, roles, outcome.manifest.key_digest))
    for rows, roles, keys in contents[1:]:
        assert roles == contents[0][1]
        assert keys == contents[0][2]
        for ours, theirs in zip(rows, contents[0][0], strict=True):
            assert ours.equals(theirs)
            same_bits(ours, theirs)


# --- Profiles and manifests -------------------------------------------------------------------------------------


def test_every_model_has_its_profile_row_and_they_can_be_counted_again(shop, cast, packages) -> None:
    pinned = shop.put(1000)
    scoring = with_canary() | with_fallback(PREVIOUS, "output")
    kwargs = {"champion": "output", "canary": 2, "fallback": 3, "shadows": [1], "scoring": scoring}
    manifest = cast(pinned, **kwargs).manifest
    rows = read_profiles(shop.lake, shop.spec, manifest)
    counted = {(row.role, row.model_version): row.rows for row in rows.values()}
    served = manifest.rows_by_role
    assert counted["canary", 2] == served["canary"]
    assert counted["fallback", 3] == served["fallback"]
    assert counted["shadow", 1] == 1000
    # The champion's holds every row that it scored soundly, the canary's too.
    assert counted["champion", 8] == 1000 - len(unseen(make_features(1000)))
    shop.lake.open("shop__profile").delete()
    assert cast(pinned, **kwargs).action == "unchanged"
    assert read_profiles(shop.lake, shop.spec, manifest) == rows


def test_a_canary_changes_nothing_about_the_champions_profile(shop, cast) -> None:
    pinned = shop.put(1000)
    alone = cast(pinned).manifest
    beside = cast(pinned, canary=2, scoring=with_canary()).manifest
    assert alone.profile_digest == beside.profile_digest


def test_profiles_of_a_day_whose_canary_broke_its_limits_are_counted_again_without_it(shop, cast) -> None:
    pinned = shop.put(1000)
    kwargs = {"canary": 2, "scoring": with_canary(max_mean_difference=0.0001)}
    manifest = cast(pinned, **kwargs).manifest
    rows = read_profiles(shop.lake, shop.spec, manifest)
    assert {row.role for row in rows.values()} == {"champion"}
    shop.lake.open("shop__profile").delete()
    assert cast(pinned, **kwargs).action == "unchanged"
    assert read_profiles(shop.lake, shop.spec, manifest) == rows


def test_the_manifest_in_the_table_of_tallies_has_the_roles(shop, cast) -> None:
    manifest = cast(shop.put(), canary=2, shadows=[3], scoring=with_canary()).manifest
    assert [tally.manifest for tally in recorded_tallies(shop.lake, shop.spec, DAY)] == [manifest]
    assert [(one.role.value, one.version) for one in manifest.roles] == [("champion", 1), ("canary", 2), ("shadow", 3)]


def test_roles_that_are_not_given_leave_no_trace_in_the_identity() -> None:
    identity = make_spec().scoring.identity()
    assert make_spec(scoring={"shadow": [3]}).scoring.identity() == identity
    tried = make_spec(scoring=with_canary()).scoring.identity()
    assert tried != identity
    # Which model it is, the tally's identity knows from the models themselves.
    other = {"canary": with_canary()["canary"] | {"model": "challenger"}}
    assert make_spec(scoring=other).scoring.identity() == tried
    assert make_spec(scoring=with_canary(share=0.4)).scoring.identity() != tried
    assert make_spec(scoring=with_fallback(PREVIOUS, "output")).scoring.identity() != identity


def test_ensure_profile_of_a_day_with_roles_is_the_champions(shop, cast, packages) -> None:
    pinned = shop.put(500)
    manifest = cast(pinned, canary=2, scoring=with_canary()).manifest
    by_digest = {one.digest: one for one in packages.values()}
    _, row = ensure_profile(shop.lake, shop.spec, DAY, lambda ref: by_digest[ref.digest])
    assert (row.role, row.model_version, row.rows) == ("champion", 1, 500)
    assert row.generation == manifest.generation
