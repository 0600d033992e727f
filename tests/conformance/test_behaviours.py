"""What a day may look like and what may be done to it: each way of scoring does the same with it, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder
from synthetic import DAY, make_features, make_package, make_spec, put_day, read_scores

from tallywright.data.delta.lake import Lake
from tallywright.data.delta.rows import rows_of
from tallywright.data.fingerprint import digest
from tallywright.data.query import query
from tallywright.packaging.predictor import Predictor
from tallywright.records import ModelRef
from tallywright.score_period import Hour
from tallywright.scoring.day import score_day

from .conftest import around, crossed, every_way

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FEATURES = make_features(600, seed=5)
WAYS = {param.id: param.values[0] for param in every_way()}


def content(rows: pa.Table) -> str:
    return digest(rows, sorted(rows.column_names)).hex


def pieces_of(features: pa.Table, edges: list[int]) -> list[pa.Table]:
    return [features.slice(low, high - low) for low, high in pairwise([0, *edges, features.num_rows])]


@pytest.mark.parametrize(
    "edges",
    [
        pytest.param(list(range(3, 600, 3)), id="200 files"),
        pytest.param([1], id="skewed files"),
        pytest.param([0, 0, 300, 300], id="empty files between"),
    ],
)
def test_many_skewed_and_empty_files(bench, edges: list[int]) -> None:
    rows, manifest = bench.score(pieces_of(FEATURES, edges), row_group_rows=50)
    assert bench.pieces[-1] > 1
    outputs = bench.directly(FEATURES)
    assert content(rows.select(outputs.column_names)) == content(outputs)
    assert manifest.rows == 600


def test_one_big_file_of_many_row_groups(bench) -> None:
    features = make_features(20_000, seed=6)
    rows, _ = bench.score([features], row_group_rows=700, batch_rows=512)
    assert bench.pieces[-1] > 1
    outputs = bench.directly(features)
    assert content(rows.select(outputs.column_names)) == content(outputs)


KEYS: dict[str, tuple[str, Callable[[int], pa.Array]]] = {
    "a decimal": ("DECIMAL(12,2)", lambda n: pa.array([Decimal(i) / 4 - 7 for i in range(n)], pa.decimal128(12, 2))),
    "a timestamp": (
        "TIMESTAMP",
        lambda n: pa.array(
            [datetime(2024, 3, 10, tzinfo=UTC) + timedelta(seconds=977 * i, microseconds=i) for i in range(n)],
            pa.timestamp("us", "UTC"),
        ),
    ),
    "a date": ("DATE", lambda n: pa.array([date(1969, 12, 1) + timedelta(days=i) for i in range(n)], pa.date32())),
    "a number": ("BIGINT", lambda n: pa.array([(1 << 62) - i for i in range(n)], pa.int64())),
    "a text": ("VARCHAR", lambda n: pa.array([f"赤-{i}-{'ü' * (i % 90)}" for i in range(n)])),
}


@pytest.mark.parametrize(("way", "kind"), crossed(list(KEYS), ["a decimal", "a text"]), indirect=["way"])
def test_keys_of_every_type_come_out_as_they_went_in(bench, kind: str) -> None:
    declared, values = KEYS[kind]
    features = FEATURES.append_column("part_id", values(600))
    spec = make_spec(
        data={"key": ["order_id", "part_id"], "columns": make_spec().data.columns | {"part_id": declared}},
        scoring={"io": bench.way.io},
    )
    lake = Lake(str(bench.root / "keys"))
    pinned = put_day(lake, spec, features)
    score_day(replace(bench.request(lake, pinned), spec=spec))
    rows = read_scores(lake, spec)
    keys = ["order_id", "part_id"]
    assert content(rows.select(keys)) == content(features.select(keys))
    assert rows.schema.field("part_id").type == features.schema.field("part_id").type


@pytest.mark.parametrize(
    ("way", "task"), crossed(["binary", "multiclass", "regression"], ["multiclass"]), indirect=["way"]
)
def test_every_output_kind(bench, task: str, tmp_path_factory) -> None:
    package = make_package(bench.root / f"package-{task}", task=task)
    rows, _ = replace(bench, package=package).score(pieces_of(FEATURES, [100]))
    outputs = Predictor(package)(FEATURES.combine_chunks().to_batches()[0])
    wanted = pa.Table.from_batches([outputs]).append_column("order_id", FEATURES["order_id"])
    assert content(rows.select(wanted.column_names)) == content(wanted)


def test_a_repeat_a_force_and_a_restated_input(bench) -> None:
    lake, spec = Lake(str(bench.root / "lake")), make_spec()
    request = bench.request(lake, put_day(lake, spec, FEATURES))
    first, again = score_day(request), score_day(request)
    assert (first.action, again.action, again.version) == ("committed", "unchanged", first.version)
    before = read_scores(lake, spec)
    forced = score_day(replace(request, force=True)).manifest
    assert (forced.generation, forced.reason) == (2, "forced")
    assert content(read_scores(lake, spec)) == content(before)
    fewer = put_day(lake, spec, FEATURES.slice(0, 599))
    restated = score_day(replace(request, input=fewer)).manifest
    assert (restated.generation, restated.reason, restated.rows) == (3, "restated_input", 599)
    assert read_scores(lake, spec).num_rows == 599


def test_each_day_is_scored_by_the_model_it_was_given(bench) -> None:
    """What `as-of` and `pinned:N` come down to: another version, another package, and the rows say so."""
    lake, spec, other = Lake(str(bench.root / "lake")), make_spec(), make_package(bench.root / "other", seed=7)
    pinned = put_day(lake, spec, FEATURES)
    score_day(bench.request(lake, pinned))
    champion = read_scores(lake, spec)
    ref = ModelRef(name=spec.name, version=2, digest=other.digest, trained_through=other.meta.trained_through)
    request = replace(bench.request(lake, pinned), models=(ref,), packages={other.digest: other})
    manifest = score_day(request).manifest
    assert (manifest.generation, manifest.reason) == (2, "model")
    rows = read_scores(lake, spec)
    assert pc.unique(rows["model_version"]).to_pylist() == [2]
    outputs = replace(bench, package=other).directly(FEATURES)
    assert content(rows.select(outputs.column_names)) == content(outputs)
    assert content(rows) != content(champion)


@pytest.mark.parametrize(("way", "first"), around(every_way()), indirect=["way"])
def test_a_table_of_one_way_is_scored_again_by_another(bench, first: str) -> None:
    """Generations follow one another whoever wrote the last one; the rows and the profile stay what they are."""
    lake, spec = Lake(str(bench.root / "lake")), make_spec()
    pinned = put_day(lake, spec, FEATURES)
    one = score_day(replace(bench, way=WAYS[first]).request(lake, pinned)).manifest
    before = read_scores(lake, spec)
    assert score_day(bench.request(lake, pinned)).action == "unchanged"
    two = score_day(replace(bench.request(lake, pinned), force=True)).manifest
    assert (one.generation, two.generation, two.engine) == (1, 2, bench.way.engine)
    assert (one.key_digest, one.profile_digest) == (two.key_digest, two.profile_digest)
    assert content(read_scores(lake, spec)) == content(before)


@pytest.mark.spark
@pytest.mark.filterwarnings("ignore")
def test_every_reader_reads_the_same(bench, spark: SparkSession) -> None:
    """DuckDB, pandas, delta-rs and Spark SQL, whoever wrote the table."""
    lake, spec = Lake(str(bench.root / "lake")), make_spec()
    score_day(bench.request(lake, put_day(lake, spec, FEATURES)))
    rows = read_scores(lake, spec)
    columns = ["order_id", "score_date", "prediction", "probability", "model_version", "role"]
    wanted = content(rows.select(columns))
    table = DeltaTable(lake.uri(spec.table("scores")))
    listed = ", ".join(columns)
    by_delta = pa.table(QueryBuilder().register("scores", table).execute(f"select {listed} from scores").read_all())
    files = table.file_uris()
    by_duckdb = duckdb.sql(
        f"select {listed} from read_parquet({files}, hive_partitioning = true, hive_types = {{'score_date': date}})"
    ).to_arrow_table()
    frames = [pq.ParquetFile(file).read().to_pandas() for file in files]
    by_pandas = pa.concat_tables([pa.Table.from_pandas(frame, preserve_index=False) for frame in frames])
    if "score_date" in by_pandas.column_names:  # Delta's own writer repeats the partition inside its files
        by_pandas = by_pandas.drop_columns(["score_date"])
    by_pandas = by_pandas.append_column("score_date", pa.array([DAY] * by_pandas.num_rows, pa.date32()))
    found = {
        "delta-rs": by_delta,
        "DuckDB": by_duckdb,
        "pandas": by_pandas.select(columns),
        "Spark SQL": by_spark(spark, table.table_uri, columns),
    }
    assert {name: content(read) for name, read in found.items()} == dict.fromkeys(found, wanted)


def by_spark(session: SparkSession, address: str, columns: list[str]) -> pa.Table:
    session.read.format("delta").load(address).createOrReplaceTempView("scores")
    return pa.table(session.sql(f"select {', '.join(columns)} from scores").toArrow())


def test_constants_of_extreme_values_keep_their_bits(bench) -> None:
    features = FEATURES
    for name, value in {"x0": np.nan, "x1": -np.inf, "x2": 5e-324, "x3": 1.7e308}.items():
        place = features.column_names.index(name)
        features = features.set_column(place, name, pa.array([value, None] * 300, pa.float64()))
    rows, _ = bench.score(pieces_of(features, [1, 2]))
    outputs = bench.directly(features)
    assert content(rows.select(outputs.column_names)) == content(outputs)


@pytest.mark.filterwarnings("ignore")
def test_an_hour_is_scored_and_read_alike(bench) -> None:
    """Two hours of one date, as when clocks are set back: each replaces its own rows, in every reader's eyes."""
    lake = Lake(str(bench.root / "lake"))
    spec = make_spec(schedule={"cadence": "hour", "timezone": "Europe/Berlin"}, scoring={"io": bench.way.io})
    hours = [Hour(date(2024, 10, 27), datetime(2024, 10, 27, hour, tzinfo=UTC)) for hour in (0, 1)]
    halves = [FEATURES.slice(0, 300), FEATURES.slice(300)]
    for hour, rows in zip(hours, halves, strict=True):
        score_day(replace(bench.request(lake, put_day(lake, spec, rows, day=hour)), spec=spec))
    again = replace(bench.request(lake, put_day(lake, spec, halves[0].slice(1), day=hours[0])), spec=spec)
    restated = score_day(again)
    assert (restated.action, restated.manifest.generation, restated.manifest.rows) == ("committed", 2, 299)
    assert score_day(again).action == "unchanged"
    for hour, rows in zip(hours, [halves[0].slice(1), halves[1]], strict=True):
        outputs = bench.directly(rows)
        found = read_scores(lake, spec, hour)
        assert {found["score_hour"][0].value, found["score_hour"][-1].value} == {int(hour.instant.timestamp() * 1e6)}
        assert content(found.select(outputs.column_names)) == content(outputs)
    sql = "select score_date, score_hour, count(*) n from shop__scores group by all order by 2"
    assert rows_of(query(lake, sql)) == [{"score_date": hours[0], "n": 299}, {"score_date": hours[1], "n": 300}]
    assert {file.day for file in lake.files(spec.table("scores"))} == set(hours)
