"""The driver's side of the Spark engine: one session for all the days of a command, and `io: direct`."""

from __future__ import annotations

import time
import uuid
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final

from tallywright.data.storage.options import is_s3
from tallywright.errors import UsageError
from tallywright.scoring.engines.base import OWN_IO, PartsEngine
from tallywright.scoring.engines.spark.failures import comes_from_spark, engine_error, ignore_lost_jvm
from tallywright.scoring.engines.spark.native import EngineRows, PackedRows, day_session
from tallywright.scoring.engines.spark.packed import PackTask
from tallywright.scoring.engines.spark.shipping import Shipper
from tallywright.scoring.engines.spark.worker import Attempts, ResultsByTask, SplitTask, TaskResult
from tallywright.scoring.worker.fragments import discard_run
from tallywright.spark_session import end_session, session_lives, session_runs, spark_session
from tallywright.spec.environment import AUTO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    from tallywright.errors import TallyError
    from tallywright.scoring.commit.sink import StagedOutput
    from tallywright.scoring.engines.base import Advance, PinnedDay
    from tallywright.scoring.job import ScoreJob
    from tallywright.scoring.worker.fragments import InputSplit
    from tallywright.scoring.worker.kernel import PartManifest
    from tallywright.spec.environment import SparkSettings

NAME: Final = "spark"
_CANCEL_SECONDS: Final = 15.0
"""Seconds for the tasks of a cancelled job to end: Spark takes about four to end a Python worker."""
_WORKER_EXIT_SECONDS: Final = 0.2
"""Seconds in which a Python worker is killed whose task has ended: its daemon is only told to."""


class SparkEngine(PartsEngine):
    """Scores splits in tasks of Spark's executors; the first day starts the session, or uses one that runs already."""

    name = NAME

    def __init__(self, settings: SparkSettings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._session: SparkSession | None = None
        self._shipper: Shipper | None = None
        self._own = False
        self._with_delta = False

    def score(self, job: ScoreJob, splits: Sequence[InputSplit], advance: Advance) -> list[PartManifest]:
        """Scores the splits, the large ones first; after the first failure the other tasks are cancelled."""
        try:
            results = self._results(job, splits, advance)
        except Exception as error:
            raise engine_error(error) from error
        parts = [result.part for result in results if result.part is not None]
        failure = next((result.failure for result in results if result.failure is not None), None)
        if failure is not None:
            discard_run(job.folders, job.run, job.options)
            raise failure.error()
        return parts

    @contextmanager
    def staged(self, day: PinnedDay, advance: Advance) -> Iterator[StagedOutput]:
        """Scores the pinned day: into staged parts, or as Spark reads it, with the rows kept in Spark's cache."""
        if not self._own_io(day):
            with super().staged(day, advance) as parts:
                yield parts
            return
        scored = False
        try:
            with self._kept(day, advance) as rows:
                scored = True
                yield EngineRows(day.job, day.pinned, rows)
        except Exception as error:
            if scored and not comes_from_spark(error):
                raise  # the caller's own
            raise engine_error(error) from error

    def _own_io(self, day: PinnedDay) -> bool:
        """Resolves `scoring.io`: True when Spark itself reads the input and writes the rows."""
        own = day.io == OWN_IO or (day.io == AUTO and self._settings.io == OWN_IO)
        if own and is_s3(day.table):
            raise UsageError(
                f"`io: engine` cannot commit to {day.job.table}: on S3 the table writer of {NAME!r} makes no "
                "conditional put, so that two writers could overwrite one another's commits",
                expected="`io: direct` on S3: workers read and write there, and the driver commits by conditional put",
                remedy=f"set scoring.io: direct in model.yaml, or engine.{NAME}.io: direct in the overlay",
            )
        return own

    def session(self, *, delta: bool) -> SparkSession:
        """The session of all days of this engine; started again when it died or was stopped.

        Raises:
            UsageError: Spark cannot be started here, or Delta is needed by a session that was started without it.
            StorageError: Spark does not start.
        """
        with self._lock:
            if self._session is not None and not session_lives(self._session):
                self._end()
            if self._session is None:
                self._own = not session_runs()
                self._session = spark_session(
                    "tallywright", self._settings.conf, master=self._settings.master, delta=delta
                )
                self._shipper = Shipper.of(self._session.sparkContext)
            elif delta and not self._with_delta:
                spark_session("tallywright", delta=True)
            self._with_delta = self._with_delta or delta
            return self._session

    def ship(self, job: ScoreJob) -> None:
        """Offers the job's packages to the executors."""
        with self._lock:
            if self._shipper is not None:
                self._shipper.ship(job)

    def close(self) -> None:
        """Ends the session, if it was started here."""
        with self._lock:
            self._end()

    def _results(self, job: ScoreJob, splits: Sequence[InputSplit], advance: Advance) -> list[TaskResult]:
        """The results of all splits; when Spark fails, the parts of its tasks are deleted."""
        context = self.session(delta=False).sparkContext
        self.ship(job)
        with cancellable(context, f"score {job.score_date}") as work:
            listener = _Listener(advance, work.cancel)
            task = SplitTask(job, attempts_of(context), context.accumulator({}, ResultsByTask(listener)))
            texts = [split.to_json() for split in sorted(splits, key=lambda split: -split.rows)]
            try:
                done = context.parallelize(texts, len(texts)).mapPartitions(task).collect()
            except BaseException as error:
                work.cancel()
                work.wait()
                discard_run(job.folders, job.run, job.options)
                if isinstance(error, Exception) and listener.failure is not None:
                    raise listener.failure from error
                raise
        return [TaskResult.from_json(text) for text in done]

    @contextmanager
    def _kept(self, day: PinnedDay, advance: Advance) -> Iterator[PackedRows]:
        job = day.job
        session = day_session(self.session(delta=True), job)
        context = session.sparkContext
        self.ship(job)
        with cancellable(context, f"score {job.score_date}") as work:
            listener = _Listener(advance, work.cancel)
            task = PackTask(job, attempts_of(context), context.accumulator({}, ResultsByTask(listener)))
            try:
                rows = PackedRows.of(session, day, task)
            except Exception as error:
                if listener.failure is not None:
                    raise listener.failure from error
                raise
            try:
                yield rows
            finally:
                rows.release()

    def _end(self) -> None:
        if self._session is not None and (self._own or not session_lives(self._session)):
            if self._shipper is not None:
                self._shipper.close()
            end_session(self._session)
        self._session = self._shipper = None
        self._with_delta = False


class _Listener:
    """Receives each result on Spark's accumulator thread, where it never raises."""

    def __init__(self, advance: Advance, cancel: Callable[[], None]) -> None:
        self._advance = advance
        self._cancel = cancel
        self.failure: TallyError | None = None

    def __call__(self, text: str) -> None:
        try:
            result = TaskResult.from_json(text)
            if result.failure is not None:
                self.failure = self.failure or result.failure.error()
                self._cancel()
            self._advance(result.rows)
        except Exception as error:  # noqa: BLE001 - Spark would stop listening
            self.failure = self.failure or engine_error(error)
            self._cancel()


class TaggedJobs:
    """The Spark jobs that were started under one tag."""

    def __init__(self, context: SparkContext, tag: str) -> None:
        self._context = context
        self._tag = tag

    def cancel(self) -> None:
        """Cancels the jobs: no further task starts, Python workers are ended; returns before they are gone."""
        with ignore_lost_jvm():
            self._context.cancelJobsWithTag(self._tag)

    def wait(self, seconds: float = _CANCEL_SECONDS) -> None:
        """Waits until no task runs any more, so that nobody writes; at most so many seconds."""
        deadline = time.monotonic() + seconds
        with ignore_lost_jvm():
            while self._running() and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(_WORKER_EXIT_SECONDS)

    def _running(self) -> bool:
        """True while a job or a task runs; tasks are counted late while their job runs, and exactly once it ended."""
        tracker = self._context.statusTracker()
        ids = self._context._jsc.sc().statusTracker().getJobIdsForTag(self._tag)  # noqa: SLF001 - not in Python's
        jobs = [info for job in ids if (info := tracker.getJobInfo(job)) is not None]
        if any(job.status == "RUNNING" for job in jobs):
            return True
        stages = [tracker.getStageInfo(stage) for job in jobs for stage in job.stageIds]
        return any(stage is not None and stage.numActiveTasks for stage in stages)


@contextmanager
def cancellable(context: SparkContext, description: str) -> Iterator[TaggedJobs]:
    """Tags the Spark jobs of the block, and cancels them when it is left by an error.

    Their threads are not interrupted: an interrupted one lets go of its Python worker, which then goes on to write.
    """
    work = TaggedJobs(context, tag := f"tallywright-{uuid.uuid4().hex}")
    context.addJobTag(tag)
    context.setInterruptOnCancel(False)
    context.setJobDescription(description)
    try:
        yield work
    except BaseException:
        work.cancel()
        raise
    finally:
        with ignore_lost_jvm():
            context.removeJobTag(tag)
            context.setJobDescription(None)


def attempts_of(context: SparkContext) -> Attempts:
    """How often Spark attempts a task: `spark.task.maxFailures`; a `local` master knows only its second number."""
    if not context.master.startswith("local"):
        return Attempts(int(context.getConf().get("spark.task.maxFailures", "4")))
    _, _, failures = context.master.partition(",")
    return Attempts(int(failures.rstrip("]")) if failures else 1)
