"""Every registered engine, and days laid out in awkward files."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from beam_world import on
from deltalake.transaction import AddAction
from shared import shared
from synthetic import DAY, make_package, make_request, make_spec, put_day, read_scores

from tallywright.data.delta.lake import Lake
from tallywright.data.fingerprint import digest
from tallywright.packaging.package import Package
from tallywright.packaging.predictor import Predictor
from tallywright.records import InputVersion, Manifest
from tallywright.scoring import execution
from tallywright.scoring.commit.sink import StagedOutput, StagedParts
from tallywright.scoring.day import score_day
from tallywright.scoring.engines.base import DIRECT, ENGINES, OWN_IO, Engines
from tallywright.scoring.prepare import ScoreRequest
from tallywright.scoring.worker.fragments import plan_splits
from tallywright.spec.environment import EngineSettings

NEEDS_MARK = {"pyspark": "spark", "apache_beam": "beam"}
TARGET_ROWS = 250
"""A split of these days: each way has something to share among its workers although the days are small."""
OPEN_COST = "spark.sql.files.openCostInBytes"
"""Without it Spark's own reader gives each core its share of the bytes, however few they are."""


@dataclass(frozen=True, slots=True)
class Way:
    """An engine, and who moves the rows."""

    engine: str
    io: str
    runner: str = ""

    @property
    def quick(self) -> bool:
        """False where every job costs a second or so."""
        return not ENGINES[self.engine].capabilities.distributed


def every_way() -> list[Any]:
    """What is registered is tested: each engine with each `io` that it can do."""
    ways = []
    for name, entry in sorted(ENGINES.items()):
        marks = [
            getattr(pytest.mark, NEEDS_MARK[module]) for module in entry.capabilities.requires if module in NEEDS_MARK
        ]
        marks += [pytest.mark.filterwarnings("ignore")] * bool(marks)
        for io in (DIRECT, OWN_IO) if entry.capabilities.own_io else (DIRECT,):
            label = f"{name}-{io}" if entry.capabilities.own_io else name
            ways.append(pytest.param(Way(name, io), id=label, marks=marks))
        if name == "beam":
            ways.append(pytest.param(Way(name, DIRECT, "PrismRunner"), id="beam-prism", marks=marks))
    return ways


def crossed(values: Sequence[Any], few: Sequence[Any]) -> list[Any]:
    """Parameters `way` and another: all values for each way, of which `make test` gives a slow way only these few."""
    return [
        pytest.param(
            param.values[0],
            value,
            id=f"{param.id}-{ascii(value)[:12]}",
            marks=[*param.marks, *[pytest.mark.long] * (not param.values[0].quick and value not in few)],
        )
        for param in every_way()
        for value in values
    ]


def around(ways: Sequence[Any]) -> list[Any]:
    """Parameters `way` and the id of the way before it: all pairs, of which `make test` goes once around."""
    return [
        pytest.param(
            after.values[0],
            first.id,
            id=f"{after.id}-after {first.id}",
            marks=[*first.marks, *after.marks, *[pytest.mark.long] * (ways[number - 1] is not first)],
        )
        for number, after in enumerate(ways)
        for first in ways
    ]


@pytest.fixture(params=every_way())
def way(request: pytest.FixtureRequest) -> Way:
    """One way after the other."""
    found: Way = request.param
    return found


@pytest.fixture(scope="session")
def started() -> Iterator[dict[Way, Engines]]:
    """The engines of each way, started at its first day and shared by the days after it."""
    engines: dict[Way, Engines] = {}
    yield engines
    for one in engines.values():
        one.__exit__(None, None, None)


@pytest.fixture
def engines_of(started: dict[Way, Engines], request: pytest.FixtureRequest) -> Callable[[Way], Engines]:
    """The running engines of a way."""

    def find(way: Way) -> Engines:
        if way not in started:
            started[way] = Engines(_settings(way, request))
        return started[way]

    return find


def _settings(way: Way, request: pytest.FixtureRequest) -> EngineSettings:
    # PySpark forks its JVM, and a fork of a process in which gRPC already runs may die: Spark is the first to start.
    if way.engine == "spark" or (way.runner and any(map(_needs_spark, request.session.items))):
        request.getfixturevalue("spark")
    if way.runner == "PrismRunner":
        location = f"--prism_location={request.getfixturevalue('prism')}"
        return on(way.runner, location, "--sdk_worker_parallelism=2")
    return EngineSettings()


def _needs_spark(item: pytest.Item) -> bool:
    return item.get_closest_marker("spark") is not None


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Cuts days small, for whoever reads them; into how many pieces with rows each day of this test was scored."""
    counted: list[int] = []

    commit = execution._commit

    def counting(scored: Any, day: StagedOutput, note: str) -> Any:
        counted.append(_pieces_of(day))
        return commit(scored, day, note)

    monkeypatch.setattr(execution, "_commit", counting)
    monkeypatch.setattr("tallywright.data.delta.replacing._ROW_GROUP", TARGET_ROWS)
    monkeypatch.setattr("tallywright.scoring.prepare.plan_splits", partial(plan_splits, target_rows=TARGET_ROWS))
    if ENGINES["spark"].capabilities.available:
        _share_bytes(monkeypatch)
    return counted


def _pieces_of(day: StagedOutput) -> int:
    if isinstance(day, StagedParts):
        return sum(part.rows > 0 for part in day.parts)
    return sum(len(piece.hashes) > 0 for piece in day.rows.counted)


def _share_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    from tallywright.scoring.engines.spark import driver
    from tallywright.scoring.engines.spark.native import day_session

    def sharing(*arguments: Any) -> Any:
        session = day_session(*arguments)
        session.conf.set(OPEN_COST, "0")
        return session

    monkeypatch.setattr(driver, "day_session", sharing)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    made = make_package(tmp_path_factory.mktemp("package") / "one")
    shared(made.folder)
    return made


@dataclass
class Bench:
    """Scores days with one engine, each in a lake of its own."""

    root: Path
    way: Way
    package: Package
    engines_of: Callable[[Way], Engines]
    pieces: list[int]
    lakes: int = 0

    def score(
        self, pieces: Sequence[pa.Table], *, row_group_rows: int = 1 << 20, **scoring: Any
    ) -> tuple[pa.Table, Manifest]:
        """The rows a reader sees, sorted by key, after scoring a day whose input is these files."""
        self.lakes += 1
        lake = Lake(str(self.root / f"lake-{self.lakes}"))
        pinned = lay_out(lake, pieces, row_group_rows)
        outcome = score_day(self.request(lake, pinned, **scoring))
        return read_scores(lake, make_spec()), outcome.manifest

    def request(self, lake: Lake, pinned: InputVersion, **scoring: Any) -> ScoreRequest:
        """A request for this way, with these values in its scoring section."""
        spec = make_spec(scoring=scoring | {"io": self.way.io})
        engines = self.engines_of(self.way)
        return make_request(lake, spec, pinned, self.package, engine=self.way.engine, engines=engines)

    def directly(self, features: pa.Table) -> pa.Table:
        """What the Predictor says to all rows in one batch."""
        batch = features.combine_chunks().to_batches()[0]
        outputs = Predictor(self.package)(batch)
        rows = pa.table({"order_id": features["order_id"].combine_chunks()} | _columns(outputs))
        return rows.sort_by("order_id").combine_chunks()


def _columns(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return dict(zip(batch.schema.names, batch.columns, strict=True))


@pytest.fixture
def bench(tmp_path: Path, way: Way, package: Package, engines_of: Callable[[Way], Engines], pieces: list[int]) -> Bench:
    return Bench(tmp_path, way, package, engines_of, pieces)


def lay_out(lake: Lake, pieces: Sequence[pa.Table], row_group_rows: int) -> InputVersion:
    """Writes the day's input as exactly these files, empty ones too, with row groups of the given size."""
    spec = make_spec()
    pinned = put_day(lake, spec, pieces[0])
    table = lake.open(spec.table("features"))
    folder = Path(lake.uri(spec.table("features")))
    (folder / f"score_date={DAY}").mkdir(exist_ok=True)
    adds = []
    for piece in pieces:
        path = f"score_date={DAY}/part-{len(adds):05d}-{uuid.uuid4()}.parquet"
        pq.write_table(piece, folder / path, row_group_size=row_group_rows)
        size = (folder / path).stat().st_size
        stats = f'{{"numRecords": {piece.num_rows}}}'
        adds.append(AddAction(path, size, {"score_date": str(DAY)}, 1_700_000_000_000, True, stats))
    table.create_write_transaction(
        adds, "overwrite", table.schema(), ["score_date"], partition_filters=[("score_date", "=", str(DAY))]
    )
    whole = pa.concat_tables(pieces)
    return pinned.model_copy(
        update={
            "version": table.version() + 1,
            "rows": whole.num_rows,
            "fingerprint": digest(whole, whole.column_names).hex,
        }
    )
