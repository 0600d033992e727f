"""The protocol of scoring engines, their registry, the choice of `auto`, and the engines that a command has started.

A new engine is one module with a function `engine(settings)` and one line in `ENGINES`; nothing outside asks for its
name.
"""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, Self

from tallywright.errors import UsageError
from tallywright.scoring.commit.sink import StagedParts
from tallywright.spec.environment import AUTO, EngineSettings

if TYPE_CHECKING:
    from types import TracebackType

    from tallywright.packaging.package import Package
    from tallywright.records import InputVersion
    from tallywright.scoring.commit.sink import StagedOutput
    from tallywright.scoring.job import ScoreJob
    from tallywright.scoring.worker.fragments import InputSplit
    from tallywright.scoring.worker.kernel import PartManifest

DIRECT: Final = "direct"
OWN_IO: Final = "engine"
"""`scoring.io`: workers read and write files themselves, or the engine does with its own reader and table writer."""
Advance = Callable[[int], None]
"""Is called with the number of further rows scored; from any thread of the driver."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The requirements and capabilities of an engine; decisions are made from these, never from its name."""

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
    """A day's pinned input with the job to score it."""

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
        """The engine's name, as the manifest records it."""

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
        """As `score`; an engine may override it to use the packages that the driver has loaded."""
        return self.score(day.job, day.splits, advance)

    @contextmanager
    def staged(self, day: PinnedDay, advance: Advance) -> Iterator[StagedOutput]:
        """Yields the day's staged parts."""
        yield StagedParts(day.job, day.pinned, day.splits, self.parts(day, advance))


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """An entry of the registry: capabilities are known without importing the engine."""

    module: str
    capabilities: Capabilities


ENGINES: Final[dict[str, EngineEntry]] = {
    "local": EngineEntry(
        "tallywright.scoring.engines.local", Capabilities(startup_seconds=0.1, bytes_per_second=100e6)
    ),
    "spark": EngineEntry(
        "tallywright.scoring.engines.spark",
        # The rate is that of a small cluster of eight cores.
        Capabilities(20, 400e6, distributed=True, requires=("pyspark",), own_io=True),
    ),
    # On one machine it does the same work in the same time; what it adds is other people's clusters.
    "beam": EngineEntry(
        "tallywright.scoring.engines.beam",
        Capabilities(startup_seconds=3.5, bytes_per_second=100e6, distributed=True, requires=("apache_beam",)),
    ),
}


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine for a day, and why."""

    name: str
    why: str


def choose_engine(wanted: str, size: int, allowed: Sequence[str] = ("local",)) -> EngineChoice:
    """Resolves `auto` by the bytes to read; a named engine is taken at its word.

    Args:
        wanted: `auto` or the name of a registered engine.
        size: Bytes of the day's input files.
        allowed: The engines that the environment lets `auto` choose among; the local one always is.

    Raises:
        UsageError: No such engine, or what it requires is not installed.
    """
    if wanted != AUTO:
        _require(wanted)
        return EngineChoice(wanted, f"scoring.engine is {wanted}")
    ready = {
        name: entry.capabilities
        for name, entry in ENGINES.items()
        if entry.capabilities.available and (name in allowed or not entry.capabilities.distributed)
    }
    best = min(ready, key=lambda name: ready[name].seconds(size))
    others = ", ".join(f"{name} {ready[name].seconds(size):.1f} s" for name in ready if name != best)
    why = f"{size / 1e6:.1f} MB to read: {best} is expected to take {ready[best].seconds(size):.1f} s"
    return EngineChoice(best, f"{why}, {others}" if others else f"{why}; the environment allows no other engine")


def require_io(name: str, wanted: str) -> None:
    """Refuses `io: engine` of an engine that cannot do it.

    Raises:
        UsageError: The engine has no table writer of its own.
    """
    if wanted == OWN_IO and not ENGINES[name].capabilities.own_io:
        others = ", ".join(other for other, entry in ENGINES.items() if entry.capabilities.own_io)
        raise UsageError(
            f"the engine {name!r} has no table writer of its own",
            expected=f"`io: direct`, or one of the engines {others}",
        )


def load_engine(name: str, settings: EngineSettings | None = None) -> Engine:
    """Imports and makes an engine."""
    _require(name)
    engine: Engine = importlib.import_module(ENGINES[name].module).engine(settings or EngineSettings())
    return engine


class Engines:
    """The engines of one command, each started at its first use and ended with the command.

    A range of days shares them, so that a cluster is asked for once; use it in a `with`.
    """

    def __init__(self, settings: EngineSettings | None = None) -> None:
        self._settings = settings or EngineSettings()
        self._started: dict[str, Engine] = {}

    def get(self, name: str) -> Engine:
        """The engine of that name.

        Raises:
            UsageError: No such engine, or what it requires is not installed.
        """
        if name not in self._started:
            self._started[name] = load_engine(name, self._settings)
        return self._started[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._started:
            self._started.popitem()[1].close()


def _require(name: str) -> None:
    entry = ENGINES.get(name)
    if entry is None:
        raise UsageError(f"no scoring engine {name!r}", expected=f"one of {', '.join((AUTO, *ENGINES))}")
    if not entry.capabilities.available:
        raise UsageError(
            f"the engine {name!r} is not installed here",
            expected=f"the modules {', '.join(entry.capabilities.requires)}",
            remedy=f"install tallywright[{name}], or use `engine: local`",
        )
