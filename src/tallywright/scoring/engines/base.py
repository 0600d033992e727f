"""The one shape that every engine has, and what it declares about itself."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from tallywright.scoring.commit.staged_output import StagedParts

if TYPE_CHECKING:
    from tallywright.packaging.package import Package
    from tallywright.records import InputVersion
    from tallywright.scoring.commit.staged_output import StagedOutput
    from tallywright.scoring.job import ScoreJob
    from tallywright.scoring.worker.fragments import InputSplit
    from tallywright.scoring.worker.results import PartManifest

DIRECT: Final = "direct"
OWN_IO: Final = "engine"
"""`scoring.io`: workers read and write files themselves, or the engine does with its own reader and table writer."""

Advance = Callable[[int], None]
"""Told how many more rows were scored; may be called from any thread of the driver."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine needs and is good for; decisions are made from this, never from its name."""

    startup_seconds: float
    """Before the first row, in a fresh process."""
    bytes_per_second: float
    """Parquet bytes of input scored in a second on one ordinary machine, once started."""
    distributed: bool = False
    """Workers are other processes or machines: they must reach the lake by the same addresses."""
    requires: tuple[str, ...] = ()
    """Importable modules it cannot work without."""
    own_io: bool = False
    """It can read and write tables in its own way: `io: engine` is possible."""

    @property
    def available(self) -> bool:
        """True when everything it requires is installed here."""
        return all(importlib.util.find_spec(module) is not None for module in self.requires)

    def seconds(self, size: int) -> float:
        """The expected time for `size` bytes of input."""
        return self.startup_seconds + size / self.bytes_per_second


@dataclass(frozen=True, slots=True)
class PinnedDay:
    """A day's pinned input and what shall be made of it."""

    job: ScoreJob
    pinned: InputVersion
    splits: Sequence[InputSplit]
    table: str
    """Address of the input table."""
    io: str
    """`scoring.io`: how the spec wants rows to move."""
    packages: Mapping[str, Package] = field(default_factory=dict)
    """By digest, as the driver has verified them; workers elsewhere verify their own."""


class Engine(Protocol):
    """Distributes a day's splits to workers that run the kernel."""

    @property
    def name(self) -> str:
        """What the manifest records."""

    def staged(self, day: PinnedDay, advance: Advance) -> AbstractContextManager[StagedOutput]:
        """Scores every row of the day once, in any order; on failure deletes what it staged and raises."""

    def close(self) -> None:
        """Ends what the engine started; it is not used again."""


class PartsEngine(ABC):
    """An engine whose workers write staged parts themselves."""

    @abstractmethod
    def score(self, job: ScoreJob, splits: Sequence[InputSplit], advance: Advance) -> list[PartManifest]:
        """Scores every split once, in any order; on failure deletes what it staged and raises."""

    def parts(self, day: PinnedDay, advance: Advance) -> list[PartManifest]:
        """As `score`, for an engine that has a use for what the driver knows of the day."""
        return self.score(day.job, day.splits, advance)

    @contextmanager
    def staged(self, day: PinnedDay, advance: Advance) -> Iterator[StagedOutput]:
        """The day's parts, which no commit names yet."""
        yield StagedParts(day.job, day.pinned, day.splits, self.parts(day, advance))
