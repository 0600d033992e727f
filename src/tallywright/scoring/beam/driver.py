"""The driver's side of the engine `beam`: runs the pipeline of a day, and takes one outcome for each portion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallywright.errors import EngineError, StorageError, TallyError
from tallywright.observability import log
from tallywright.scoring.beam.outcomes import Mailbox, Outcome
from tallywright.scoring.beam.runners import backend_for
from tallywright.scoring.files import discard, discard_run
from tallywright.scoring.verify import staged_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tallywright.scoring.beam.runners import Backend
    from tallywright.scoring.fragments import Portion
    from tallywright.scoring.kernel import PartManifest
    from tallywright.scoring.score_job import ScoreJob
    from tallywright.spec.environment import BeamSettings

NAME: Final = "beam"


class BeamEngine:
    """One pipeline a day, on a runner that is started once.

    Args:
        settings: The runner and its options.
    """

    name = NAME

    def __init__(self, settings: BeamSettings) -> None:
        self._settings = settings
        self._backend: Backend | None = None

    def score(self, job: ScoreJob, portions: Sequence[Portion], advance: Callable[[int], None]) -> list[PartManifest]:
        """Scores the portions; after a failure nothing stays staged."""
        mailbox = Mailbox.below(job.table, job.options)
        try:
            self._run(job, portions, mailbox)
            parts = self._gathered(job, portions, mailbox)
        except BaseException as error:
            cause = _first_failure(_outcomes_or_none(mailbox))
            discard_run(job.folders, job.run, job.options)
            if cause is not None and isinstance(error, EngineError):
                raise cause from error
            raise
        finally:
            mailbox.remove()
        for part in parts:
            advance(part.rows)
        return parts

    def close(self) -> None:
        """Ends the runner and its workers."""
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def _run(self, job: ScoreJob, portions: Sequence[Portion], mailbox: Mailbox) -> None:
        if self._backend is None:
            self._backend = backend_for(self._settings)
        try:
            self._backend.run(job, portions, mailbox)
        except EngineError:
            # A runner that lost something is not trusted with another day.
            self.close()
            raise

    def _gathered(self, job: ScoreJob, portions: Sequence[Portion], mailbox: Mailbox) -> list[PartManifest]:
        """One part a portion, from the attempts that the runner counts; the parts of others are deleted."""
        outcomes, names = mailbox.outcomes(), mailbox.gathered()
        if names is None or not names <= outcomes.keys():
            raise EngineError(
                "the pipeline ended well, and its result is not there",
                expected=f"what {len(portions)} portions left below {mailbox.folder}",
                remedy="can the driver read what workers write there? they must share the lake's address",
            )
        counted = [outcomes[name] for name in sorted(names)]
        kept = {outcome.portion: outcome.part for outcome in counted if outcome.part is not None}
        for outcome in counted:
            if outcome.failure is not None and outcome.portion not in kept:
                raise outcome.failure.error()
        paths = {part.path for part in kept.values()}
        _discard(job, (other for other in outcomes.values() if other.part and other.part.path not in paths))
        return [part for _, part in sorted(kept.items())]


def _first_failure(outcomes: Iterable[Outcome]) -> TallyError | None:
    return next((outcome.failure.error() for outcome in outcomes if outcome.failure is not None), None)


def _outcomes_or_none(mailbox: Mailbox) -> list[Outcome]:
    """What explains a failure, if it can be read."""
    try:
        return list(mailbox.outcomes().values())
    except (OSError, StorageError) as error:
        log.warning("cannot read what the workers said: %s", error)
        return []


def _discard(job: ScoreJob, outcomes: Iterable[Outcome]) -> None:
    discard(staged_paths(job, [outcome.part for outcome in outcomes if outcome.part is not None]), job.options)
