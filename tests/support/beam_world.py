"""A synthetic day for the Beam engine by itself, and the settings that name a runner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from synthetic import make_features, make_request, make_spec, put_day

from tallywright.data.delta.lake import Lake
from tallywright.packaging.package import Package
from tallywright.records import InputVersion
from tallywright.scoring.engines.base import Engines
from tallywright.scoring.engines.beam.driver import BeamEngine
from tallywright.scoring.job import ScoreJob
from tallywright.scoring.prepare import ScoreRequest, job_for
from tallywright.scoring.roles.eligibility import assemble
from tallywright.scoring.worker.fragments import InputSplit, plan_splits
from tallywright.spec.environment import BeamSettings, EngineSettings


def on(runner: str, *options: str) -> EngineSettings:
    """The settings of an environment with this runner."""
    return EngineSettings(beam=BeamSettings(runner=runner, options=options))


@dataclass
class BeamDay:
    """One day in a lake of its own."""

    lake: Lake
    package: Package
    pinned: InputVersion

    def request(self, **changes: object) -> ScoreRequest:
        spec = make_spec(scoring={"batch_rows": 256, "workers": 2})
        return make_request(self.lake, spec, self.pinned, self.package, **({"engine": "beam"} | changes))

    def job(self) -> ScoreJob:
        request = self.request()
        return job_for(request.spec, self.lake, self.pinned, assemble(request.candidates))

    def splits(self) -> tuple[InputSplit, ...]:
        files = self.lake.files(self.pinned.table, day=self.pinned.score_date)
        return plan_splits([file.path for file in files])

    @property
    def left(self) -> list[str]:
        """Every file below the scores table that is not the table's log."""
        root = Path(self.lake.uri("shop__scores"))
        files = [file.relative_to(root) for file in root.rglob("*") if file.is_file()]
        return sorted(str(file) for file in files if file.parts[0] != "_delta_log")


def make_day(root: Path, package: Package, features: pa.Table | None = None) -> BeamDay:
    lake = Lake(str(root / "lake"))
    return BeamDay(lake, package, put_day(lake, make_spec(), make_features(3000) if features is None else features))


def beam_engine(engines: Engines) -> BeamEngine:
    engine = engines.get("beam")
    assert isinstance(engine, BeamEngine)
    return engine


def times(splits: Sequence[InputSplit], count: int) -> list[InputSplit]:
    """The first split so many times over, each with a number of its own."""
    return [splits[0].model_copy(update={"index": index}) for index in range(count)]
