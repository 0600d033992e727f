"""What runs on executors: a Python worker keeps its models loaded, and answers with small records, never with rows.

An expected failure is an answer too: raised, it would come back as a Java stack trace, after Spark has tried it again
for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tallywright import __version__
from tallywright.errors import EngineError, TallyError
from tallywright.records import Record
from tallywright.scoring.engines.spark.shipping import arrived
from tallywright.scoring.worker.failure import Failure
from tallywright.scoring.worker.fragments import InputSplit
from tallywright.scoring.worker.kernel import PartManifest, score_split
from tallywright.scoring.worker.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tallywright.scoring.job import ScoreJob

_KEPT: Final = 8
"""Sets of models a worker keeps: a backfill as of its champions goes from one to the next."""


class Answer(Record):
    """What a task says of its piece: how many rows it scored, its part if it made one, or why there is none."""

    rows: int = 0
    part: PartManifest | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Attempts:
    """Whether it makes sense to let Spark try a task again, on another executor."""

    most: int
    """How often Spark starts a task before it gives the job up."""

    def another(self, error: TallyError) -> bool:
        """True when the error may be this machine's, and this is not the last attempt."""
        from pyspark import TaskContext

        context = TaskContext.get()
        return error.retryable and context is not None and context.attemptNumber() + 1 < self.most


@dataclass(frozen=True, slots=True)
class SplitTask:
    """Scores splits, given and answered as JSON."""

    job: ScoreJob
    attempts: Attempts
    reports: Any
    """The accumulator that tells the driver of each answer at once."""
    version: str = __version__

    def __call__(self, splits: Iterable[str]) -> Iterator[str]:
        """An answer for each split."""
        for text in splits:
            split = InputSplit.from_json(text)
            answer = self._answer(split).to_json()
            self.reports.add({split.index: answer})
            yield answer

    def _answer(self, split: InputSplit) -> Answer:
        try:
            scorer = scorer_for(self.job, self.version)
            part = score_split(scorer.job, scorer, split, lambda _: None)
            return Answer(rows=part.rows, part=part)
        except TallyError as error:
            if self.attempts.another(error):
                raise
            return Answer(failure=Failure.of(error))


class Reports:
    """An accumulator's way of adding: a dictionary by task, so that a task that ran twice counts once.

    Args:
        listener: The driver's; told of each new entry as soon as its task has ended.
    """

    def __init__(self, listener: Any = None) -> None:
        self._listener = listener

    def __reduce__(self) -> tuple[type[Reports], tuple[()]]:
        return Reports, ()

    def zero(self, _: Mapping[int, str]) -> dict[int, str]:
        """Nothing told yet."""
        return {}

    def addInPlace(self, known: dict[int, str], more: Mapping[int, str]) -> dict[int, str]:  # noqa: N802 - Spark's name
        """Takes what is new."""
        for key, value in more.items():
            if key not in known:
                known[key] = value
                if self._listener is not None:
                    self._listener(value)
        return known


_scorers: dict[tuple[object, ...], Scorer] = {}


def scorer_for(job: ScoreJob, version: str) -> Scorer:
    """A scorer of the job whose models this process loads only once.

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
        known = Scorer.load(arrived(job))
    while len(_scorers) >= _KEPT:
        del _scorers[next(iter(_scorers))]
    _scorers[models] = known
    return known.for_job(job)
