"""Beam runners by name, in this process or elsewhere, and the pipeline of a day.

Options of the environment are passed on untouched, after those that are set here, so that they win.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from tallywright.errors import EngineError
from tallywright.observability import log
from tallywright.scoring.engines.beam.outcomes import unpacked
from tallywright.scoring.worker.kernel import threads_for

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Sequence

    from tallywright.scoring.engines.beam.outcomes import OutcomeFolder
    from tallywright.scoring.job import ScoreJob
    from tallywright.scoring.worker.fragments import InputSplit
    from tallywright.spec.environment import BeamSettings

FN_API: Final = "FnApiRunner"
_FN_API_CLASS: Final = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_SHOWN: Final = 600


class Backend(Protocol):
    """A runner that is ready for pipelines, one after the other or side by side."""

    def run(self, job: ScoreJob, splits: Sequence[InputSplit], outcome_folder: OutcomeFolder) -> None:
        """Runs the pipeline of a day to its end.

        Raises:
            EngineError: It did not end well.
        """

    def close(self) -> None:
        """Ends what was started."""


class NamedBackend:
    """A runner that needs nothing but its options."""

    def __init__(self, settings: BeamSettings) -> None:
        self._settings = settings

    def run(self, job: ScoreJob, splits: Sequence[InputSplit], outcome_folder: OutcomeFolder) -> None:
        """Runs the pipeline of a day to its end."""
        from apache_beam.runners.runner import create_runner

        in_process = self._settings.runner == FN_API
        if in_process:
            _keep_quiet()
        runner = create_runner(_FN_API_CLASS if in_process else self._settings.runner)
        options = in_process_options(threads_for(job.workers, len(splits))) if in_process else []
        with failures_named(self._settings.runner):
            pipeline = day_pipeline(runner, [*options, *self._settings.options], job, splits, outcome_folder)
            pipeline.run(test_runner_api=False).wait_until_finish()

    def close(self) -> None:
        """Does nothing: a runner has no process of ours."""


def in_process_options(threads: int) -> list[str]:
    """The options for this many workers as threads of this process, without a port.

    Arrow and ONNX Runtime release the interpreter lock; `multi_threading` would be the same threads behind gRPC
    servers that listen on every interface, and `multi_processing` imports everything again for each day.
    """
    return [f"--direct_num_workers={threads}", "--direct_running_mode=in_memory"]


def day_pipeline(
    runner: Any,
    options: Sequence[str],
    job: ScoreJob,
    splits: Sequence[InputSplit],
    outcome_folder: OutcomeFolder,
    *,
    environments: int = 1,
) -> Any:
    """Builds the pipeline of a day with these command line options, without running it."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from tallywright.scoring.engines.beam.graph import add_day

    pipeline = beam.Pipeline(runner=runner, options=PipelineOptions(list(options)))
    add_day(pipeline, job, splits, outcome_folder, environments=environments)
    return pipeline


@contextmanager
def failures_named(runner: str) -> Iterator[None]:
    """Replaces Beam's exceptions and their pages of traceback by the failure in them, or an EngineError."""
    from tallywright.scoring.engines.beam.steps import CARRIED

    try:
        yield
    except EngineError:
        raise
    except Exception as error:
        text = str(error)
        log.debug("%s failed: %s", runner, text)
        carried = re.search(rf"{CARRIED}([A-Za-z0-9_=-]+)", text)
        if carried is not None and (failure := unpacked(carried[1])) is not None:
            raise failure.error() from error
        raise EngineError(
            f"{runner} failed: {_last_line(text)}",
            expected="a pipeline that ends well",
            remedy="the table is unchanged, run it again; `tally -v` shows all that Beam said",
        ) from error


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.replace("\\n", "\n").splitlines() if line.strip(" \"'")]
    return lines[-1][:_SHOWN] if lines else "it does not say why"


def _keep_quiet() -> None:
    """Silences a warning that FnApiRunner logs for every pipeline, about settings that are intended here."""
    import logging

    logging.getLogger("apache_beam.runners.portability.fn_api_runner.fn_runner").addFilter(_unwanted)


def _unwanted(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("If direct_num_workers is not equal to 1")
