"""Every engine gives the same rows, bit for bit, however the input is laid out and the work is shared."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from synthetic import DAY, make_features, make_spec, put_day, read_profile, read_scores

from tallywright.data.delta.lake import Lake
from tallywright.scoring.day import score_day
from tallywright.scoring.engines.base import ENGINES, OWN_IO, choose_engine, load_engine
from tallywright.scoring.worker.fragments import plan_splits
from tallywright.spec.environment import AUTO

from .conftest import crossed, every_way

QUICK_WAYS = [param for param in every_way() if param.values[0].quick]
SLOW_WAYS = [param for param in every_way() if not param.values[0].quick]
OUTPUTS = ["order_id", "prediction", "probability", "confidence"]
FEATURES = make_features(3000)


def same_bits(ours: pa.Table, theirs: pa.Table) -> None:
    assert ours.select(OUTPUTS).equals(theirs.select(OUTPUTS))
    for name in ("probability", "confidence"):
        bits = [np.asarray(rows[name].combine_chunks()).view(np.uint32) for rows in (ours, theirs)]
        assert np.array_equal(*bits)


def test_rows_are_what_the_predictor_says(bench) -> None:
    rows, manifest = bench.score([FEATURES])
    same_bits(rows, bench.directly(FEATURES))
    assert manifest.engine == bench.way.engine
    assert manifest.rows == 3000


def test_the_layout_of_the_input_changes_nothing(bench) -> None:
    shuffled = FEATURES.take(np.random.default_rng(3).permutation(3000))
    pieces = [shuffled.slice(start, length) for start, length in ((0, 1), (1, 1000), (1001, 0), (1001, 1999))]
    once, first = bench.score([FEATURES], batch_rows=65_536, workers=1)
    many, second = bench.score(pieces, row_group_rows=333, batch_rows=256, workers=3)
    assert bench.pieces[-1] > 1
    same_bits(many, once)
    assert (first.key_digest, first.profile_digest) == (second.key_digest, second.profile_digest)


def test_empty_files_beside_full_ones_are_read_as_nothing(bench) -> None:
    ends = [0, 0, 10, 10, 300, 300]
    rows, _ = bench.score([FEATURES.slice(low, high - low) for low, high in pairwise(ends)])
    assert bench.pieces[-1] == 2
    same_bits(rows, bench.directly(FEATURES.slice(0, 300)))


@pytest.mark.parametrize(("way", "workers"), crossed([1, 2, 5], [2]), indirect=["way"])
def test_a_day_of_several_parts_holds_every_key_once(bench, workers, monkeypatch) -> None:
    monkeypatch.setattr("tallywright.scoring.prepare.plan_splits", partial(plan_splits, target_rows=500))
    rows, _ = bench.score([FEATURES], row_group_rows=100, workers=workers, batch_rows=256)
    same_bits(rows, bench.directly(FEATURES))
    assert pc.count_distinct(rows["order_id"]).as_py() == 3000
    paths = DeltaTable(bench.root / "lake-1" / "shop__scores").file_uris()
    assert bench.way.io == OWN_IO or len(paths) == 6


def test_one_row(bench) -> None:
    rows, manifest = bench.score([FEATURES.slice(1234, 1)])
    same_bits(rows, bench.directly(FEATURES.slice(1234, 1)))
    whole, _ = bench.score([FEATURES])
    same_bits(rows, whole.filter(pc.equal(whole["order_id"], rows["order_id"][0])))
    assert manifest.rows == 1


NUMBERS = [None, float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1e308, 5e-324]
TEXTS = [None, "", "ünseen", "grün", "赤", "a\u0000b", "🛫" * 50]


@pytest.mark.parametrize(("way", "value"), crossed(NUMBERS, [NUMBERS[1], 5e-324]), indirect=["way"])
def test_a_column_of_one_strange_number(bench, value) -> None:
    features = FEATURES.slice(0, 50).set_column(2, "x0", pa.array([value] * 50, pa.float64()))
    rows, _ = bench.score([features])
    same_bits(rows, bench.directly(features))


@pytest.mark.parametrize(("way", "value"), crossed(TEXTS, [None, "a\u0000b"]), indirect=["way"])
def test_a_column_of_one_strange_text(bench, value) -> None:
    features = FEATURES.slice(0, 50)
    place = features.schema.get_field_index("c1")
    features = features.set_column(place, "c1", pa.array([value] * 50, pa.string()))
    rows, _ = bench.score([features])
    same_bits(rows, bench.directly(features))


def test_a_file_older_than_a_column_is_read_with_nulls(bench) -> None:
    young, old = FEATURES.slice(0, 20), FEATURES.slice(20, 20)
    nulls = old.set_column(old.schema.get_field_index("x3"), "x3", pa.nulls(20, pa.float64()))
    expected, _ = bench.score([young, nulls])
    lake = Lake(str(bench.root / "evolved"))
    spec = make_spec()
    put_day(lake, spec, old.drop_columns(["x3"]), day=date(2024, 2, 1))
    put_day(lake, spec, young, day=date(2024, 2, 2))
    pinned = put_day(lake, spec, young)
    early = pinned.model_copy(update={"score_date": date(2024, 2, 1)})
    score_day(bench.request(lake, early))
    rows = read_scores(lake, spec, date(2024, 2, 1))
    same_bits(rows, expected.filter(pc.is_in(expected["order_id"], value_set=rows["order_id"].combine_chunks())))


def test_threads_that_score_one_day_make_one_tally(bench) -> None:
    lake, spec = Lake(str(bench.root / "lake")), make_spec()
    pinned = put_day(lake, spec, FEATURES)
    request = bench.request(lake, pinned)
    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(score_day, [request] * 3))
    assert sorted(outcome.action for outcome in outcomes) == ["committed", "unchanged", "unchanged"]
    same_bits(read_scores(lake, spec), bench.directly(FEATURES))


def test_the_profile_is_that_of_the_whole_day(bench) -> None:
    lake, spec = Lake(str(bench.root / "lake")), make_spec()
    pinned = put_day(lake, spec, FEATURES)
    outcome = score_day(bench.request(lake, pinned))
    row = read_profile(lake, spec, outcome.manifest)
    assert row is not None
    scores = read_scores(lake, spec)["probability"].to_numpy()
    assert row.rows == 3000
    assert row.mean_score == pytest.approx(float(np.mean(scores, dtype=np.float64)), abs=1e-6)
    assert row.profile.columns["x0"].nulls == int(pc.sum(pc.is_null(FEATURES["x0"], nan_is_null=True)).as_py())


LAYOUTS = st.fixed_dictionaries(
    {
        "cuts": st.lists(st.integers(0, 400), max_size=4),
        "row_groups": st.integers(1, 200),  # of 400 rows: there is always something to share
        "batch_rows": st.sampled_from([256, 300, 4096]),
        "workers": st.integers(1, 4),
    }
)


@pytest.mark.parametrize("way", QUICK_WAYS, indirect=True)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(layout=LAYOUTS)
def test_any_layout_gives_the_same_bits(bench, layout) -> None:
    check_layout(bench, **layout)


@pytest.mark.parametrize("way", SLOW_WAYS, indirect=True)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=2,
    phases=[Phase.explicit, Phase.generate],  # a failure is not made smaller: that takes minutes
)
@given(layout=LAYOUTS)
def test_any_layout_gives_the_same_bits_on_workers(bench, layout) -> None:
    check_layout(bench, **layout)


def check_layout(bench, cuts: list[int], row_groups: int, batch_rows: int, workers: int) -> None:
    features = FEATURES.slice(0, 400)
    edges = [0, *sorted(cuts), 400]
    pieces = [features.slice(low, high - low) for low, high in pairwise(edges)]
    rows, _ = bench.score(pieces, row_group_rows=row_groups, batch_rows=batch_rows, workers=workers)
    # Of a file of tiny row groups most is the footer: Spark, which cuts at bytes, may find all rows in one half.
    assert bench.pieces[-1] > 1 or (bench.way.io == OWN_IO and row_groups < 50)
    same_bits(rows, bench.directly(features))


@pytest.mark.parametrize("name", ENGINES)
def test_the_engine_says_its_own_name(name) -> None:
    assert ENGINES[name].capabilities.available
    assert load_engine(name).name == name


def test_auto_chooses_by_bytes_and_says_why() -> None:
    small = choose_engine(AUTO, 1_000)
    assert small.name == "local"
    assert "MB to read" in small.why
    assert choose_engine("local", 1).why == "scoring.engine is local"


def test_days_are_independent_of_one_another(bench) -> None:
    lake, spec = Lake(str(bench.root / "lake")), make_spec()
    later = date(2024, 3, 2)
    for day in (DAY, later):
        pinned = put_day(lake, spec, FEATURES, day=day)
        score_day(bench.request(lake, pinned))
    same_bits(read_scores(lake, spec), read_scores(lake, spec, later))
