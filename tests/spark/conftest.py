"""A lake and a model, and both ways in which Spark moves the rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from shared import shared
from synthetic import DAY, make_features, make_package, make_request, make_spec, put_day

from tallywright.data.delta.lake import Lake
from tallywright.scoring.day import score_day
from tallywright.scoring.prepare import ScoreOutcome

if TYPE_CHECKING:
    from tallywright.packaging.package import Package
    from tallywright.records import InputVersion


@dataclass
class Shop:
    """The synthetic project in a folder of its own, scored by Spark unless another engine is named."""

    root: Path
    package: Package
    io: str = "direct"

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root / "lake"))

    def put(self, features: pa.Table | int = 300, *, seed: int = 0, day: Any = DAY) -> InputVersion:
        table = make_features(features, seed=seed) if isinstance(features, int) else features
        return put_day(self.lake, make_spec(), table, day=day)

    def score(self, pinned: InputVersion, *, engine: str = "spark", io: str = "", **changes: Any) -> ScoreOutcome:
        io = (io or self.io) if engine == "spark" else "auto"
        spec = make_spec(scoring={"io": io} | changes.pop("scoring", {}))
        return score_day(make_request(self.lake, spec, pinned, self.package, engine=engine, **changes))

    def files(self) -> set[Path]:
        return set((self.root / "lake" / "shop__scores").rglob("*.parquet"))


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    made = make_package(tmp_path_factory.mktemp("package") / "one")
    shared(made.folder)
    return made


@pytest.fixture(params=["direct", "engine"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, package: Package, spark: Any) -> Shop:
    return Shop(tmp_path, package, request.param)
