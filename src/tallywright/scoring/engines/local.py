"""The engine in this process: one thread a core, each with its own predictor, reading, scoring and writing at once.

Arrow and ONNX Runtime release the interpreter lock, so the threads overlap; each holds one batch and one row group.
"""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final

from tallywright.scoring.engines.base import PartsEngine
from tallywright.scoring.worker.fragments import discard_run
from tallywright.scoring.worker.kernel import score_split, threads_for
from tallywright.scoring.worker.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallywright.packaging.package import Package
    from tallywright.scoring.engines.base import Advance, PinnedDay
    from tallywright.scoring.job import ScoreJob
    from tallywright.scoring.worker.fragments import InputSplit
    from tallywright.scoring.worker.kernel import PartManifest
    from tallywright.spec.environment import EngineSettings

NAME: Final = "local"


class _StoppedError(Exception):
    """Raised in a thread at its next batch once another thread has failed."""


class LocalEngine(PartsEngine):
    """Scores splits in threads of the driver's own process."""

    name = NAME

    def parts(self, day: PinnedDay, advance: Advance) -> list[PartManifest]:
        """As `score`, with the packages that this process has verified already."""
        return self._score(day.job, day.splits, advance, day.packages)

    def score(self, job: ScoreJob, splits: Sequence[InputSplit], advance: Advance) -> list[PartManifest]:
        """Scores the splits; after the first failure the other threads stop and nothing stays staged."""
        return self._score(job, splits, advance, {})

    def _score(
        self, job: ScoreJob, splits: Sequence[InputSplit], advance: Advance, packages: Mapping[str, Package]
    ) -> list[PartManifest]:
        stop = threading.Event()
        first = Scorer.load(job, packages)
        own = threading.local()

        def on_batch(rows: int) -> None:
            if stop.is_set():
                raise _StoppedError
            advance(rows)

        def work(split: InputSplit) -> PartManifest:
            if stop.is_set():
                raise _StoppedError
            if not hasattr(own, "scorer"):
                own.scorer = first.clone()
            return score_split(job, own.scorer, split, on_batch)

        try:
            with ThreadPoolExecutor(max_workers=threads_for(job.workers, len(splits))) as pool:
                futures = [pool.submit(work, split) for split in splits]
                try:
                    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                    if any(future.exception() for future in done):
                        stop.set()
                except BaseException:
                    stop.set()
                    raise
            return _results(futures)
        except BaseException:
            discard_run(job.folders, job.run, job.options)
            raise

    def close(self) -> None:
        """Does nothing: threads end with their day."""


def engine(settings: EngineSettings) -> LocalEngine:
    """The engine, for the registry; a thread needs no settings."""
    del settings
    return LocalEngine()


def _results(futures: Sequence[Future[PartManifest]]) -> list[PartManifest]:
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise next((error for error in errors if not isinstance(error, _StoppedError)), errors[0])
    return [future.result() for future in futures]
