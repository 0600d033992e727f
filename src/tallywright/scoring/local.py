"""The engine in this process: one thread a core, each with its own predictor, reading, scoring and writing at once.

Arrow and ONNX Runtime release the interpreter lock, so the threads overlap; each holds one batch and one row group.
"""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final

from tallywright.scoring.cores import threads_for
from tallywright.scoring.files import discard_run
from tallywright.scoring.kernel import PartManifest, score_portion
from tallywright.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tallywright.scoring.fragments import Portion
    from tallywright.scoring.score_job import ScoreJob
    from tallywright.spec.environment import EngineSettings

NAME: Final = "local"


class _StoppedError(Exception):
    """Another thread failed: this one gives up at its next batch."""


class LocalEngine:
    """Threads in the driver's own process."""

    name = NAME

    def score(self, job: ScoreJob, portions: Sequence[Portion], advance: Callable[[int], None]) -> list[PartManifest]:
        """Scores the portions; after the first failure the other threads stop and nothing stays staged."""
        stop = threading.Event()
        first = Scorer.load(job)
        own = threading.local()

        def on_batch(rows: int) -> None:
            if stop.is_set():
                raise _StoppedError
            advance(rows)

        def work(portion: Portion) -> PartManifest:
            if stop.is_set():
                raise _StoppedError
            if not hasattr(own, "scorer"):
                own.scorer = first.clone()
            return score_portion(job, own.scorer, portion, on_batch)

        try:
            with ThreadPoolExecutor(max_workers=threads_for(job.workers, len(portions))) as pool:
                futures = [pool.submit(work, portion) for portion in portions]
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
        """Nothing outlives a day."""


def engine(settings: EngineSettings) -> LocalEngine:
    """The engine, for the registry; a thread needs no settings."""
    del settings
    return LocalEngine()


def _results(futures: Sequence[Future[PartManifest]]) -> list[PartManifest]:
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise next((error for error in errors if not isinstance(error, _StoppedError)), errors[0])
    return [future.result() for future in futures]
