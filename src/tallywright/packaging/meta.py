"""The metadata of a package: its origin, for traces, gates and model cards; none of it changes a score."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import Field

from tallywright.records import Record
from tallywright.tasks import TaskName


class PackageMeta(Record):
    """The record of a package's origin.

    `trained_through` is the last date whose labels took part in fitting or judging: scoring up to it would be a leak.
    `evaluation` maps a model (`model`, a baseline's name) to its metrics on the holdout. `requirements` pins what the
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
    snapshot_json: str = ""
    run_id: str = ""
    code_version: str = ""
    owner: str = ""
    requirements: dict[str, str] = Field(default_factory=dict)
    training_config: dict[str, Any] = Field(default_factory=dict)
    evaluation: dict[str, dict[str, float]] = Field(default_factory=dict)
    created_at: datetime
