"""Trials as nested MLflow runs: what a training that was interrupted goes on from, wherever it runs."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field, ValidationError

from tallywright.mlflow_client import LAKE_TAG, mlflow_errors
from tallywright.records import Record
from tallywright.spec.tuning import MOST_TRIALS
from tallywright.training.tracking import LifecycleRun, TrainingLog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PARENT_TAG: Final = "mlflow.parentRunId"
_MODEL_TAG: Final = "tallywright.model"
_SEARCH_TAG: Final = "tallywright.tuning"
"""The digest of all that determines a search: trials of another one are none of it."""
_TRIAL_TAG: Final = "tallywright.trial"
"""The trial itself; it is set last, so a run without it is one that was interrupted."""
_STATUS: Final = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


class TuningTrial(Record):
    """A finished trial.

    `drawn` is what Optuna drew, `value` the figure on validation (None unless complete), `reported` the losses that
    pruning compares, by round; `problem` says why a trial failed.
    """

    number: int
    state: Literal["complete", "pruned", "failed"]
    drawn: dict[str, int | float]
    value: float | None = None
    reported: dict[int, float] = Field(default_factory=dict)
    rounds: int = 0
    seconds: float = 0.0
    problem: str = ""


@dataclass(slots=True)
class TrialRun:
    """The nested run of a trial while it goes on; what is to be logged is put here.

    Attributes:
        params: The values that are tried.
        losses: On validation, round by round.
        metrics: Figures on validation.
        trial: What came of it.
    """

    params: Mapping[str, Any]
    losses: list[float] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    trial: TuningTrial | None = None


class TrialRuns:
    """The nested runs of one search below the run of a training.

    Args:
        parent: The run of the training.
        search: The digest of the search.
    """

    def __init__(self, parent: LifecycleRun, search: str) -> None:
        self._parent, self._search = parent, search
        with mlflow_errors(parent.uri, "find the run"):
            self._experiment = parent.client.get_run(parent.run_id).info.experiment_id

    def finished(self) -> list[TuningTrial]:
        """The finished trials in their order; what was interrupted, or is of another search, is deleted.

        Raises:
            TrackingError: MLflow refuses or cannot be reached.
        """
        with mlflow_errors(self._parent.uri, "find the trials"):
            children = self._parent.client.search_runs(
                [self._experiment],
                filter_string=f"tags.`{_PARENT_TAG}` = '{self._parent.run_id}'",
                max_results=2 * MOST_TRIALS,
            )
            found = sorted(
                ((trial, child) for child in children if (trial := self._trial(child)) is not None),
                key=lambda pair: pair[0].number,
            )
            kept = [(trial, child) for place, (trial, child) in enumerate(found) if trial.number == place]
            ids = {child.info.run_id for _, child in kept}
            for child in children:
                if child.info.run_id not in ids:
                    self._parent.client.delete_run(child.info.run_id)
        return [trial for trial, _ in kept]

    def _trial(self, child: Any) -> TuningTrial | None:
        """The trial of a nested run; None of one that is no finished trial of this search."""
        tags = child.data.tags
        if tags.get(_SEARCH_TAG) != self._search or _TRIAL_TAG not in tags:
            return None
        try:
            return TuningTrial.from_json(tags[_TRIAL_TAG])
        except ValidationError:
            return None

    @contextmanager
    def begun(self, number: int, params: Mapping[str, Any]) -> Iterator[TrialRun]:
        """The nested run of a trial; at the end of the block all that is known of it is logged.

        Raises:
            TrackingError: MLflow refuses or cannot be reached.
        """
        client, uri = self._parent.client, self._parent.uri
        tags = {name: value for name in (LAKE_TAG, _MODEL_TAG) if (value := self._parent.tags.get(name)) is not None}
        tags |= {_PARENT_TAG: self._parent.run_id, _SEARCH_TAG: self._search}
        with mlflow_errors(uri, "open the run of a trial"):
            run_id = client.create_run(self._experiment, run_name=f"trial {number + 1}", tags=tags).info.run_id
        run = TrialRun(params)
        try:
            yield run
            self._log(run_id, run)
        except BaseException:
            # What went wrong is on its way up already. The run is no trial; the next attempt deletes it.
            with suppress(Exception):
                client.set_terminated(run_id, "KILLED")
            raise

    def _log(self, run_id: str, run: TrialRun) -> None:
        assert run.trial is not None  # noqa: S101 - the block has set it
        child = LifecycleRun(self._parent.client, run_id, self._parent.started_at, self._parent.uri)
        child.log(
            TrainingLog(
                params={name: str(value) for name, value in run.params.items()},
                metrics={f"validation/{name}": value for name, value in run.metrics.items()},
                steps={"validation_loss": tuple(run.losses)} if run.losses else {},
            )
        )
        child.note(_TRIAL_TAG, run.trial.to_json())
        with mlflow_errors(self._parent.uri, "close the run of a trial"):
            self._parent.client.set_terminated(run_id, _STATUS[run.trial.state])
