"""Every registered engine, and days laid out in awkward files."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake.transaction import AddAction
from synthetic import DAY, make_package, make_request, make_spec, put_day, read_scores

from tallywright.data.fingerprint import digest
from tallywright.data.lake import Lake
from tallywright.packaging.package import Package
from tallywright.packaging.predictor import Predictor
from tallywright.records import InputVersion, Manifest
from tallywright.scoring.engine import ENGINES
from tallywright.scoring.tally import score_day


def engine_params() -> list[Any]:
    """Every registered engine, with the mark of what it requires."""
    marks = {"apache_beam": [pytest.mark.beam, pytest.mark.filterwarnings("ignore")]}
    return [
        pytest.param(name, marks=[mark for module in entry.capabilities.requires for mark in marks.get(module, [])])
        for name, entry in sorted(ENGINES.items())
    ]


@pytest.fixture(params=engine_params())
def engine(request: pytest.FixtureRequest) -> str:
    """One engine after the other; an engine that is registered is tested."""
    return str(request.param)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return make_package(tmp_path_factory.mktemp("package") / "one")


@dataclass
class Bench:
    """Scores days with one engine, each in a lake of its own."""

    root: Path
    engine: str
    package: Package
    lakes: int = 0

    def score(
        self, pieces: Sequence[pa.Table], *, row_group_rows: int = 1 << 20, **scoring: Any
    ) -> tuple[pa.Table, Manifest]:
        """The rows a reader sees, sorted by key, after scoring a day whose input is these files."""
        self.lakes += 1
        lake = Lake(str(self.root / f"lake-{self.lakes}"))
        spec = make_spec(scoring=scoring)
        pinned = lay_out(lake, pieces, row_group_rows)
        outcome = score_day(make_request(lake, spec, pinned, self.package, engine=self.engine))
        return read_scores(lake, spec), outcome.manifest

    def directly(self, features: pa.Table) -> pa.Table:
        """What the Predictor says to all rows in one batch."""
        batch = features.combine_chunks().to_batches()[0]
        outputs = Predictor(self.package)(batch)
        rows = pa.table({"order_id": features["order_id"].combine_chunks()} | _columns(outputs))
        return rows.sort_by("order_id").combine_chunks()


def _columns(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return dict(zip(batch.schema.names, batch.columns, strict=True))


@pytest.fixture
def bench(tmp_path: Path, engine: str, package: Package) -> Bench:
    return Bench(tmp_path, engine, package)


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
