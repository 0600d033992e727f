"""What the workers of a day must know: the models by role, the columns, where the parts go; small, and it pickles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    import pyarrow as pa

    from tallywright.records import Role


@dataclass(frozen=True, slots=True)
class JobModel:
    """One model of a day."""

    role: Role
    package: str
    """Folder of the verified package, for workers that must load it themselves."""
    package_digest: str
    constants: Mapping[str, str | int]
    """The provenance columns, equal in every row that this model scores."""


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """All that the portions of a day have in common; files are named by absolute address."""

    table: str
    """Folder of the scores table."""
    score_date: date
    key: tuple[str, ...]
    input_schema: pa.Schema
    """Key and model columns as the input table declares them; a file older than a column gives nulls."""
    part_schema: pa.Schema
    """The scores table's schema without its partition column."""
    models: tuple[JobModel, ...]
    """The champion first."""
    threshold: float
    batch_rows: int
    workers: int = 0
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Storage options of the lake; they may hold secrets."""

    @property
    def champion(self) -> JobModel:
        """The model whose scores the table holds."""
        return self.models[0]

    @property
    def partition(self) -> str:
        """The folder of the day inside the table."""
        return f"score_date={self.score_date.isoformat()}"
