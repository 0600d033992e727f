"""The DoFns of a day's pipeline: splits are scored by the kernel, and their outcomes written for the driver."""

from __future__ import annotations

from collections.abc import Iterable, Iterator  # noqa: TC003 - Beam reads the annotations
from threading import Lock
from typing import TYPE_CHECKING, Final

import apache_beam as beam

from tallywright.errors import TallyError
from tallywright.scoring.commit.verify import staged_paths
from tallywright.scoring.engines.beam.attempts import attempt, require_wanted
from tallywright.scoring.engines.beam.outcomes import Outcome, OutcomeFolder, packed
from tallywright.scoring.worker.failure import Failure
from tallywright.scoring.worker.fragments import InputSplit, discard
from tallywright.scoring.worker.kernel import score_split
from tallywright.scoring.worker.scorer import Scorer

if TYPE_CHECKING:
    from tallywright.scoring.job import ScoreJob

CARRIED: Final = "tallywright-failure:"
"""Before a packed failure, in the text of the exception that fails the pipeline."""

_KEPT_SCORERS: Final = 4
_lock = Lock()
_scorers: dict[tuple[object, ...], Scorer] = {}


def scorer_for(job: ScoreJob) -> Scorer:
    """A scorer for one thread; the models are loaded and verified once a process, and kept from day to day."""
    key = (job.threshold, *((model.package, model.package_digest) for model in job.models))
    with _lock:
        if key not in _scorers:
            if len(_scorers) >= _KEPT_SCORERS:
                _scorers.clear()
            _scorers[key] = Scorer.load(job)
        return _scorers[key].for_job(job).clone()


class ScoreSplits(beam.DoFn):  # type: ignore[misc]  # beam ships no types that mypy follows here
    """Scores splits (JSON) and emits the names of their outcomes under one key, so that grouping them is the barrier.

    A TallyError is an outcome too: a runner's retries would only repeat it, and it would lose its class on the way.
    Whatever else is raised is the runner's business.

    Args:
        job: What the whole day has in common.
        outcome_folder: Where outcomes go.
    """

    def __init__(self, job: ScoreJob, outcome_folder: OutcomeFolder) -> None:
        super().__init__()
        self._job = job
        self._outcomes = outcome_folder
        self._scorer: Scorer | None = None

    def process(self, element: str) -> Iterator[tuple[str, str]]:
        """Scores one split."""
        split = InputSplit.from_json(element)
        with attempt(self._job.run):
            try:
                self._scorer = self._scorer or scorer_for(self._job)
                part = score_split(self._job, self._scorer, split, lambda _: require_wanted(self._job.run))
                outcome = Outcome(split=split.index, part=part)
            except TallyError as error:
                outcome = Outcome(split=split.index, failure=Failure.of(error))
            name = self._left(outcome)
        yield "", name

    def _left(self, outcome: Outcome) -> str:
        """Writes the outcome; if that fails, its part is deleted and the failure travels in the exception."""
        try:
            return self._outcomes.put(outcome)
        except TallyError as error:
            if outcome.part is not None:
                discard(staged_paths(self._job, [outcome.part]), self._job.options)
            failure = outcome.failure or Failure.of(error)
            raise RuntimeError(f"{CARRIED}{packed(failure)}") from error


class Gather(beam.DoFn):  # type: ignore[misc]  # as above
    """Writes, after the barrier, which outcomes the runner counts as its result."""

    def __init__(self, run: str, outcome_folder: OutcomeFolder) -> None:
        super().__init__()
        self._run = run
        self._outcomes = outcome_folder

    def process(self, element: tuple[str, Iterable[str]]) -> None:
        """Writes all names at once, and emits nothing."""
        with attempt(self._run):
            self._outcomes.gather(element[1])
