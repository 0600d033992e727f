"""A lake, a spec and a package for one test, on a disk and on an object store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from object_store import Bucket
from pyarrow import fs
from shared import shared
from synthetic import DAY, make_features, make_package, make_request, make_spec, put_day

from tallywright.data.delta.lake import Lake
from tallywright.data.storage.filesystem import filesystem_of
from tallywright.packaging.package import Package
from tallywright.records import InputVersion
from tallywright.scoring.day import score_day
from tallywright.scoring.execution import Progress
from tallywright.scoring.prepare import ScoreOutcome, ScoreRequest
from tallywright.spec.model import ModelSpec


@dataclass
class Shop:
    """The synthetic project with a lake of its own."""

    root: Path
    package: Package
    spec: ModelSpec = field(default_factory=make_spec)
    address: str = ""
    """Of the lake, where it is not in the folder."""
    options: dict[str, str] = field(default_factory=dict)

    @property
    def lake(self) -> Lake:
        return Lake(self.address or str(self.root / "lake"), self.options)

    def put(self, features: pa.Table | int = 300, *, day: date = DAY, seed: int = 0) -> InputVersion:
        table = make_features(features, seed=seed) if isinstance(features, int) else features
        return put_day(self.lake, self.spec, table, day=day)

    def request(self, pinned: InputVersion, **changes: Any) -> ScoreRequest:
        return make_request(self.lake, changes.pop("spec", self.spec), pinned, self.package, **changes)

    def score(self, pinned: InputVersion, *, progress: Progress | None = None, **changes: Any) -> ScoreOutcome:
        return score_day(self.request(pinned, **changes), progress=progress)

    def version(self, table: str = "scores") -> int:
        return self.lake.open(self.spec.table(table)).version()

    def files(self, table: str = "scores", suffix: str = ".parquet") -> set[str]:
        """The files of a table that are there, whether or not its log names them."""
        filesystem, inner = filesystem_of(self.lake.uri(self.spec.table(table)), self.options)
        found = filesystem.get_file_info(fs.FileSelector(inner, recursive=True, allow_not_found=True))
        return {entry.path for entry in found if entry.type == fs.FileType.File and entry.path.endswith(suffix)}

    def remove(self, paths: Iterable[str]) -> None:
        """Deletes files behind everybody's back."""
        filesystem, _ = filesystem_of(self.lake.root, self.options)
        for path in paths:
            filesystem.delete_file(path)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    made = make_package(tmp_path_factory.mktemp("package") / "one")
    shared(made.folder)
    return made


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path, package: Package) -> Shop:
    """On a disk, unless the test is parametrized with "store"."""
    if getattr(request, "param", "disk") == "disk":
        return Shop(tmp_path, package)
    bucket: Bucket = request.getfixturevalue("bucket")
    return Shop(tmp_path, package, address=f"{bucket.address}/lake", options=bucket.options)
