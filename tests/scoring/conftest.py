"""A lake, a spec and a package for one test."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from synthetic import DAY, make_features, make_package, make_request, make_spec, put_day

from tallywright.data.lake import Lake
from tallywright.packaging.package import Package
from tallywright.records import InputVersion
from tallywright.scoring.tally import ScoreOutcome, ScoreRequest, score_day
from tallywright.spec.model import ModelSpec


@dataclass
class Shop:
    """The synthetic project in a folder of its own."""

    root: Path
    package: Package
    spec: ModelSpec = field(default_factory=make_spec)

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root / "lake"))

    def put(self, features: pa.Table | int = 300, *, day: date = DAY, seed: int = 0) -> InputVersion:
        table = make_features(features, seed=seed) if isinstance(features, int) else features
        return put_day(self.lake, self.spec, table, day=day)

    def request(self, pinned: InputVersion, **changes: Any) -> ScoreRequest:
        return make_request(self.lake, changes.pop("spec", self.spec), pinned, self.package, **changes)

    def score(self, pinned: InputVersion, **changes: Any) -> ScoreOutcome:
        return score_day(self.request(pinned, **changes))

    def version(self, table: str = "scores") -> int:
        return self.lake.open(self.spec.table(table)).version()

    def files(self) -> set[Path]:
        return set((self.root / "lake" / "shop__scores").rglob("*.parquet"))


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return make_package(tmp_path_factory.mktemp("package") / "one")


@pytest.fixture
def shop(tmp_path: Path, package: Package) -> Shop:
    return Shop(tmp_path, package)
