"""The metadata of a package: its origin, for traces, gates and model cards; none of it changes a score."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Final, Literal

from pydantic import Field

from tallywright.records import Record
from tallywright.tasks import TaskName

ESTIMATOR: Final = "estimator"
ROUNDS: Final = "rounds"
TUNED: Final = "tuned"
THRESHOLD: Final = "threshold"
ADOPTED: Final = "adopted"
"""Keys of `training_config`: the estimator's name, the rounds that its fit has chosen, what a search for its parameters
has chosen, how costs have chosen the decision threshold, and the origin of a file from elsewhere, whose estimator has
that name in the report."""


class PackageMeta(Record):
    """The record of a package's origin.

    `trained_through` is the last date whose labels took part in fitting or judging: scoring up to it would be a leak.
    `fitted_through` is the last date whose rows were fitted, tuned or early-stopped on, before the holdout for a judged
    package and its end for a refit; None in packages of before, see `Package.fitted_through`. `judged` is the digest of
    the package whose recipe a refit repeats. `evaluation` maps a model (`model`, a baseline's name) to its metrics on
    the holdout; in a refit they are those of the judged package: figures about the recipe. `requirements` pins what the
    score depends on, name to version (`python` is the interpreter's). `classes`, `positive`, `unit` and `threshold` are
    those of `Postprocess`.
    """

    model: str
    task: TaskName
    target: str
    key: tuple[str, ...] = ()
    score_date_column: str = "score_date"
    classes: tuple[str, ...] = ()
    class_type: Literal["string", "int32"] = "string"
    positive: str = ""
    unit: str = ""
    threshold: float | None = None
    trained_through: date
    fitted_through: date | None = None
    judged: str = ""
    snapshot_json: str = ""
    run_id: str = ""
    code_version: str = ""
    owner: str = ""
    requirements: dict[str, str] = Field(default_factory=dict)
    training_config: dict[str, Any] = Field(default_factory=dict)
    evaluation: dict[str, dict[str, float]] = Field(default_factory=dict)
    created_at: datetime
