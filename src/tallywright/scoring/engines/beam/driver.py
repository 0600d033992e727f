"""The driver's side of the engine `beam`: runs the pipeline of a day, and takes one outcome for each split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallywright.errors import EngineError, StorageError, TallyError
from tallywright.observability import log
from tallywright.scoring.commit.verify import staged_paths
from tallywright.scoring.engines.base import PartsEngine
from tallywright.scoring.engines.beam.attempts import stop_attempts
from tallywright.scoring.engines.beam.backends import backend_for
from tallywright.scoring.engines.beam.outcomes import Outcome, OutcomeFolder
from tallywright.scoring.worker.fragments import discard, discard_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tallywright.scoring.engines.base import Advance
    from tallywright.scoring.engines.beam.runners import Backend
    from tallywright.scoring.job import ScoreJob
    from tallywright.scoring.worker.fragments import InputSplit
    from tallywright.scoring.worker.kernel import PartManifest
    from tallywright.spec.environment import BeamSettings

NAME: Final = "beam"


class BeamEngine(PartsEngine):
    """One pipeline a day, on a runner that is started once.

    Args:
        settings: The runner and its options.
    """

    name = NAME

    def __init__(self, settings: BeamSettings) -> None:
        self._settings = settings
        self._backend: Backend | None = None

    def score(self, job: ScoreJob, splits: Sequence[InputSplit], advance: Advance) -> list[PartManifest]:
        """Scores the splits; after a failure nothing stays staged."""
        outcome_folder = OutcomeFolder.below(job.table, job.options)
        try:
            self._run(job, splits, outcome_folder)
            parts = self._gathered(job, splits, outcome_folder)
        except BaseException as error:
            stop_attempts(job.run)
            cause = _first_failure(_outcomes_or_none(outcome_folder))
            discard_run(job.folders, job.run, job.options)
            if cause is not None and isinstance(error, EngineError):
                raise cause from error
            raise
        finally:
            outcome_folder.remove()
        for part in parts:
            advance(part.rows)
        return parts

    def close(self) -> None:
        """Ends the runner and its workers."""
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def _run(self, job: ScoreJob, splits: Sequence[InputSplit], outcome_folder: OutcomeFolder) -> None:
        if self._backend is None:
            self._backend = backend_for(self._settings)
        try:
            self._backend.run(job, splits, outcome_folder)
        except EngineError:
            # A runner that lost something is not trusted with another day.
            self.close()
            raise

    def _gathered(
        self, job: ScoreJob, splits: Sequence[InputSplit], outcome_folder: OutcomeFolder
    ) -> list[PartManifest]:
        """The part of each split, from the attempts that the runner counts; parts of other attempts are deleted."""
        outcomes, names = outcome_folder.outcomes(), outcome_folder.gathered()
        if names is None or not names <= outcomes.keys():
            raise EngineError(
                "the pipeline ended well, and its result is not there",
                expected=f"what {len(splits)} splits left below {outcome_folder.folder}",
                remedy="can the driver read what workers write there? they must share the lake's address",
            )
        counted = [outcomes[name] for name in sorted(names)]
        kept = {outcome.split: outcome.part for outcome in counted if outcome.part is not None}
        for outcome in counted:
            if outcome.failure is not None and outcome.split not in kept:
                raise outcome.failure.error()
        paths = {part.path for part in kept.values()}
        _discard(job, (other for other in outcomes.values() if other.part and other.part.path not in paths))
        return [part for _, part in sorted(kept.items())]


def _first_failure(outcomes: Iterable[Outcome]) -> TallyError | None:
    return next((outcome.failure.error() for outcome in outcomes if outcome.failure is not None), None)


def _outcomes_or_none(outcome_folder: OutcomeFolder) -> list[Outcome]:
    """The outcomes, to explain a failure; none when they cannot be read."""
    try:
        return list(outcome_folder.outcomes().values())
    except (OSError, StorageError) as error:
        log.warning("cannot read the outcomes of the workers: %s", error)
        return []


def _discard(job: ScoreJob, outcomes: Iterable[Outcome]) -> None:
    discard(staged_paths(job, [outcome.part for outcome in outcomes if outcome.part is not None]), job.options)
