"""What is scored: a day of 12 numbers and 3 texts a row, and a torch MLP as a package and as its plain ONNX graph."""

from __future__ import annotations

import dataclasses
import importlib
import io
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from tallywright.data.delta.lake import Lake
from tallywright.packaging.package import Package, PackageContents, load_package, write_package
from tallywright.records import InputVersion
from tallywright.scoring.day import score_day

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.scoring.engines.base import Engines

DAY: Final = date(2024, 3, 1)
NUMERIC: Final = [f"x{index}" for index in range(12)]
TEXTS: Final = [f"c{index}" for index in range(3)]


@dataclass(frozen=True, slots=True)
class World:
    """A prepared folder."""

    root: Path

    @property
    def lake(self) -> Lake:
        """The lake with the day's features."""
        return Lake(str(self.root / "lake"))

    @property
    def pinned(self) -> InputVersion:
        """The day's input."""
        return InputVersion.from_json((self.root / "input.json").read_text())

    @property
    def package(self) -> Package:
        """The model."""
        return load_package(self.root / "package")

    @property
    def categories(self) -> tuple[str, ...]:
        """The values of every text column; value i has the code i + 2."""
        return tuple(synthetic().COLORS)

    def files(self) -> list[str]:
        """The day's Parquet files."""
        pinned = self.pinned
        return [file.path for file in self.lake.files(pinned.table, day=DAY, version=pinned.version)]

    def score(self, engine: str, io: str, engines: Engines) -> None:
        """The whole protocol of a day: score, verify, commit, profile."""
        spec = synthetic().make_spec(len(NUMERIC), len(TEXTS), scoring={"io": io})
        request = synthetic().make_request(
            self.lake, spec, self.pinned, self.package, engine=engine, engines=engines, force=True
        )
        score_day(request)


def synthetic() -> Any:
    """The synthetic model project of the tests."""
    return importlib.import_module("synthetic")


def make_world(root: Path, rows: int) -> None:
    """Writes the package and the feature table, through the lake as ingest does."""
    random = np.random.default_rng(1)
    columns: dict[str, Any] = {"order_id": pa.array(np.arange(rows)).cast(pa.string())}
    columns |= {name: pa.array(random.normal(size=rows)) for name in NUMERIC}
    colors = synthetic().COLORS
    for name in TEXTS:
        codes = pa.array(random.integers(0, len(colors), size=rows, dtype=np.int32))
        columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array(colors)).cast(pa.string())
    spec = synthetic().make_spec(len(NUMERIC), len(TEXTS))
    pinned = synthetic().put_day(Lake(str(root / "lake")), spec, pa.table(columns), day=DAY)
    (root / "input.json").write_text(pinned.to_json())
    _make_package(root)


def _make_package(root: Path) -> None:
    """The package of the tests with a torch MLP for its graph."""
    package = synthetic().make_package(root / "small", numeric=len(NUMERIC), categorical=len(TEXTS))
    contents = PackageContents(
        meta=package.meta,
        preprocess=package.preprocess,
        onnx=torch_mlp(len(package.preprocess.categorical[0].categories) + 2),
        weights=package.weights(),
        definition=package.definition,
        reference=package.reference,
        parity=package.parity(),
    )
    write_package(root / "package", dataclasses.replace(contents))


def torch_mlp(codes: int) -> bytes:
    """Embeddings of 8, layers of 64 and 32, a sigmoid; as ONNX."""
    import torch

    class Mlp(torch.nn.Module):  # type: ignore[misc] # torch is untyped here
        def __init__(self) -> None:
            super().__init__()
            self.embeddings = torch.nn.ModuleList(torch.nn.Embedding(codes, 8) for _ in TEXTS)
            self.layers = torch.nn.Sequential(
                torch.nn.Linear(len(NUMERIC) + 8 * len(TEXTS), 64),
                torch.nn.ReLU(),
                torch.nn.Linear(64, 32),
                torch.nn.ReLU(),
                torch.nn.Linear(32, 1),
                torch.nn.Sigmoid(),
            )

        def forward(self, numeric: Any, categorical: Any) -> Any:
            embedded = [embed(categorical[:, index]) for index, embed in enumerate(self.embeddings)]
            return self.layers(torch.cat([numeric, *embedded], dim=1)).squeeze(1)

    torch.manual_seed(1)
    sample = (torch.zeros(2, len(NUMERIC)), torch.zeros(2, len(TEXTS), dtype=torch.int64))
    buffer = io.BytesIO()
    torch.onnx.export(
        Mlp().eval(),
        sample,
        buffer,
        dynamo=False,
        input_names=["numeric", "categorical"],
        output_names=["score"],
        dynamic_axes={"numeric": {0: "n"}, "categorical": {0: "n"}, "score": {0: "n"}},
    )
    return buffer.getvalue()
