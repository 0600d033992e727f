"""The record of a trained model, which later steps read from the run folder, without torch."""

from __future__ import annotations

from tallywright.records import Record


class TrainedModel(Record):
    """A trained, evaluated and packaged model.

    `run_id` is MLflow's. `metrics` maps `model` and each baseline to its metrics on the holdout.
    """

    folder: str
    digest: str
    run_id: str
    metrics: dict[str, dict[str, float]]
