"""The one shape that every engine has, what it declares about itself, and how `auto` chooses.

A new engine is one module with a function `engine(settings)` and one line in `ENGINES`; nothing outside asks for its
name.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self, runtime_checkable

from tallywright.data.store_options import is_s3
from tallywright.errors import UsageError
from tallywright.spec.environment import EngineSettings

if TYPE_CHECKING:
    from types import TracebackType

    import pyarrow as pa

    from tallywright.records import Manifest
    from tallywright.scoring.fragments import Portion
    from tallywright.scoring.kernel import PartManifest
    from tallywright.scoring.score_job import ScoreJob
    from tallywright.scoring.verify import Counted, Hashes

AUTO: Final = "auto"
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
    """It is a `CommittingEngine` too: `io: engine` is possible."""
    own_io_on_s3: bool = False
    """Of two of its own commits of one version on S3, one is refused."""

    @property
    def available(self) -> bool:
        """True when everything it requires is installed here."""
        return all(importlib.util.find_spec(module) is not None for module in self.requires)

    def seconds(self, size: int) -> float:
        """The expected time for `size` bytes of input."""
        return self.startup_seconds + size / self.bytes_per_second


class Engine(Protocol):
    """Distributes portions to workers that run the kernel, and gathers the manifests of their parts."""

    @property
    def name(self) -> str:
        """What the manifest records."""

    def score(self, job: ScoreJob, portions: Sequence[Portion], advance: Advance) -> list[PartManifest]:
        """Scores every portion once, in any order; on failure deletes what it staged and raises."""

    def close(self) -> None:
        """Ends what the engine started; it is not used again."""


class LostRaceError(Exception):
    """Another writer changed the day while the engine committed it; nothing of ours stands."""


class StagedRows(Protocol):
    """The rows of a day, scored and kept by an engine, before they are in the table."""

    @property
    def counted(self) -> Sequence[Counted]:
        """What was counted of each piece; together the pieces are the day."""

    def keys_with(self, hashes: Hashes) -> Iterator[pa.RecordBatch]:
        """The key columns of the rows whose key has one of these hashes."""

    def commit(self, manifest: Manifest, transaction: str) -> None:
        """Replaces the manifest's date by these rows in one commit, with the manifest and the app transaction in it.

        A commit that the table skips, because the transaction is recorded already, is silent: read back.

        Raises:
            LostRaceError: Another writer was there first; the rows are still staged.
            EngineError: Anything else.
        """

    def commit_shadows(self, manifest: Manifest, transaction: str, labels: Sequence[str]) -> None:
        """The same for the rows of these shadows (`shadow:3`), in the table of shadows.

        Raises:
            LostRaceError: As `commit`.
            EngineError: As `commit`.
        """


@runtime_checkable
class CommittingEngine(Protocol):
    """An engine that can also read and write tables in its own way (`io: engine`)."""

    @property
    def prefers_own_io(self) -> bool:
        """What `io: auto` means in this environment."""

    def staged(self, job: ScoreJob, source: Source, advance: Advance) -> AbstractContextManager[StagedRows]:
        """Scores the pinned day and keeps the rows until the block is left."""


@dataclass(frozen=True, slots=True)
class Source:
    """A pinned version of the input table."""

    table: str
    """Its address."""
    version: int


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """One line of the registry: capabilities are known without importing the engine."""

    module: str
    capabilities: Capabilities


ENGINES: Final[dict[str, EngineEntry]] = {
    "local": EngineEntry("tallywright.scoring.local", Capabilities(startup_seconds=0.1, bytes_per_second=100e6)),
    "spark": EngineEntry(
        "tallywright.scoring.spark",
        # The rate is that of a small cluster of eight cores.
        Capabilities(20, 400e6, distributed=True, requires=("pyspark",), own_io=True),
    ),
    # On one machine it does the same work in the same time; what it adds is other people's clusters.
    "beam": EngineEntry(
        "tallywright.scoring.beam",
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
        return EngineChoice(wanted, "named in the spec or on the command line")
    ready = {
        name: entry.capabilities
        for name, entry in ENGINES.items()
        if entry.capabilities.available and (name in allowed or not entry.capabilities.distributed)
    }
    best = min(ready, key=lambda name: ready[name].seconds(size))
    others = ", ".join(f"{name} {ready[name].seconds(size):.1f} s" for name in ready if name != best)
    why = f"{size / 1e6:.1f} MB to read: {best} is expected to take {ready[best].seconds(size):.1f} s"
    return EngineChoice(best, f"{why}, {others}" if others else f"{why}; the environment allows no other engine")


def uses_own_io(engine: Engine, wanted: str, lake: str) -> bool:
    """Resolves `scoring.io`: whether the engine reads and writes in its own way.

    Args:
        engine: The engine of the day.
        wanted: `scoring.io`.
        lake: The address of the lake.

    Raises:
        UsageError: That is asked for, and the engine has no own way, or none that is safe there.
    """
    able = ENGINES[engine.name].capabilities
    if able.own_io and isinstance(engine, CommittingEngine):
        own = wanted == OWN_IO or (wanted == AUTO and engine.prefers_own_io)
        if own and is_s3(lake) and not able.own_io_on_s3:
            raise UsageError(
                f"`io: engine` cannot commit to {lake}: on S3 the table writer of {engine.name!r} makes no conditional "
                "put, so that two writers could overwrite one another's commits",
                expected="`io: direct` on S3: workers read and write there, and the driver commits by conditional put",
                remedy=f"set scoring.io: direct in model.yaml, or engine.{engine.name}.io: direct in the overlay",
            )
        return own
    if wanted == OWN_IO:
        others = ", ".join(name for name, entry in ENGINES.items() if entry.capabilities.own_io)
        raise UsageError(
            f"the engine {engine.name!r} has no table writer of its own",
            expected=f"`io: direct`, or one of the engines {others}",
        )
    return False


def load_engine(name: str, settings: EngineSettings | None = None) -> Engine:
    """The engine itself; imports it now."""
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

    @classmethod
    @contextmanager
    def borrowed(cls, engines: Engines | None, settings: EngineSettings | None = None) -> Iterator[Engines]:
        """The caller's engines, which go on afterwards; or new ones, which do not."""
        if engines is not None:
            yield engines
            return
        with cls(settings) as own:
            yield own


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
