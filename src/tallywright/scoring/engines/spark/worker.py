"""What runs on executors: a Python worker keeps its models loaded, and returns small records, never rows.

An expected failure is returned as a result: raised, it would come back as a Java stack trace, after Spark has tried it
again for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tallywright import __version__
from tallywright.errors import EngineError, TallyError
from tallywright.records import Record
from tallywright.scoring.engines.spark.shipping import with_local_packages
from tallywright.scoring.worker.failure import Failure
from tallywright.scoring.worker.fragments import InputSplit
from tallywright.scoring.worker.kernel import PartManifest, score_split
from tallywright.scoring.worker.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tallywright.scoring.job import ScoreJob

_MOST_SCORERS: Final = 8
"""Scorers a worker keeps: a backfill with the champions of its days goes from one to the next."""


class TaskResult(Record):
    """The result of one split or partition: the rows scored, the staged part if there is one, or the failure."""

    rows: int = 0
    part: PartManifest | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Attempts:
    """Decides whether Spark should try a failed task again, on another executor."""

    most: int
    """How often Spark starts a task before it gives the job up."""

    def another(self, error: TallyError) -> bool:
        """True when the error may be this machine's, and this is not the last attempt."""
        from pyspark import TaskContext

        context = TaskContext.get()
        return error.retryable and context is not None and context.attemptNumber() + 1 < self.most


@dataclass(frozen=True, slots=True)
class SplitTask:
    """Scores splits; splits and results are JSON, for Spark to carry."""

    job: ScoreJob
    attempts: Attempts
    results: Any
    """The accumulator that gives the driver each result as soon as its task has ended."""
    version: str = __version__

    def __call__(self, splits: Iterable[str]) -> Iterator[str]:
        """Yields a result for each split."""
        for text in splits:
            split = InputSplit.from_json(text)
            result = self._scored(split).to_json()
            self.results.add({split.index: result})
            yield result

    def _scored(self, split: InputSplit) -> TaskResult:
        try:
            scorer = scorer_for(self.job, self.version)
            part = score_split(scorer.job, scorer, split, lambda _: None)
            return TaskResult(rows=part.rows, part=part)
        except TallyError as error:
            if self.attempts.another(error):
                raise
            return TaskResult(failure=Failure.of(error))


class ResultsByTask:
    """The accumulator parameter for results: a dictionary by task, so that a task that ran twice counts once.

    Args:
        listener: The driver's; called with each new entry as soon as its task has ended.
    """

    def __init__(self, listener: Any = None) -> None:
        self._listener = listener

    def __reduce__(self) -> tuple[type[ResultsByTask], tuple[()]]:
        return ResultsByTask, ()

    def zero(self, _: Mapping[int, str]) -> dict[int, str]:
        """No results."""
        return {}

    def addInPlace(self, known: dict[int, str], more: Mapping[int, str]) -> dict[int, str]:  # noqa: N802 - Spark's name
        """Adds the entries whose task is not there yet, and passes them to the listener."""
        for key, value in more.items():
            if key not in known:
                known[key] = value
                if self._listener is not None:
                    self._listener(value)
        return known


_scorers: dict[tuple[object, ...], Scorer] = {}


def scorer_for(job: ScoreJob, version: str) -> Scorer:
    """The scorer of the job; its models are loaded once in this process.

    Raises:
        EngineError: This executor has another Tallywright than the driver.
        PackageError: A package is not what its digest says.
    """
    if version != __version__:
        raise EngineError(
            f"an executor has tallywright {__version__}",
            expected=f"{version}, as on the driver",
            remedy="install the same version in the executors' Python environment",
        )
    models = (job.threshold, *(model.package_digest for model in job.models))
    known = _scorers.pop(models, None)
    if known is None:
        known = Scorer.load(with_local_packages(job))
    while len(_scorers) >= _MOST_SCORERS:
        del _scorers[next(iter(_scorers))]
    _scorers[models] = known
    return known.for_job(job)
