"""The job of a day, which its workers are given: models by role, columns, where parts go; small and picklable."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from tallywright.errors import EngineError, GateRefusedError
from tallywright.records import Role
from tallywright.score_period import partition_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

    from tallywright.tasks import TaskName

PROVENANCE: Final = pa.schema(
    [("model_name", pa.string()), ("model_version", pa.int64()), ("role", pa.string()), ("input_version", pa.int64())]
)
SCORES: Final = "scores"
"""Under this name stand the rows of the scores table where a batch gives rows for several tables."""


def scores_schema(keys: Iterable[pa.Field], period: pa.Schema, outputs: pa.Schema) -> pa.Schema:
    """Key columns, those of the period, outputs, provenance: the columns of a scored row, in this order."""
    return pa.schema([*keys, *period, *outputs, *PROVENANCE]).remove_metadata()


@dataclass(frozen=True, slots=True)
class JobModel:
    """One model of a day."""

    role: Role
    package: str
    """Folder of the verified package, for workers that must load it themselves."""
    package_digest: str
    constants: Mapping[str, str | int]
    """The provenance columns, equal in every row that this model scores."""

    @property
    def label(self) -> str:
        """Role and version, such as `shadow:3`."""
        return label_of(self.role, int(self.constants["model_version"]))


@dataclass(frozen=True, slots=True)
class JobConstant:
    """The declared constant, in the place of a model, as version 0."""

    score: float
    task: TaskName
    constants: Mapping[str, str | int]

    @property
    def label(self) -> str:
        """Role and version: `fallback:0`."""
        return label_of(Role.FALLBACK, 0)


@dataclass(frozen=True, slots=True)
class CanaryRule:
    """Selects the canary's keys: those whose salted hash lies below a bound."""

    salt: int
    below: int
    """Of 2**64."""
    strict: bool = False
    """True where no row may be without a sound answer: the first error of its graph is the end of the canary."""


@dataclass(frozen=True, slots=True)
class FallbackLimit:
    """How many rows of the day may fall back, and the share that says so."""

    rows: int
    share: float
    day: date

    @classmethod
    def of(cls, share: float, total: int, day: date) -> FallbackLimit:
        """The greatest number of rows whose share of all is not above that."""
        rows = int(share * total) + 1
        while rows > 0 and rows / total > share:
            rows -= 1
        return cls(rows, share, day)

    def exceeded(self, failing: int, tried: int) -> GateRefusedError:
        """The error about a champion that fails on too many rows; `failing` of the `tried` ones did."""
        return GateRefusedError(
            f"the champion's graph raises an error for {failing} of {tried} rows of {self.day} that were tried: more "
            "would have to fall back than may",
            expected=f"at most {self.share:.1%} of the day: scoring.fallback.max_share",
            remedy="look at the champion and at the day's features; the table is unchanged",
        )


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """What all splits of a day have in common; files are named by absolute address."""

    table: str
    """Folder of the scores table."""
    score_date: date
    key: tuple[str, ...]
    input_schema: pa.Schema
    """Key and model columns as the input table declares them; a file older than a column gives nulls."""
    part_schema: pa.Schema
    """The scores table's schema without its partition columns."""
    models: tuple[JobModel, ...]
    """The one that answers for the day first (unless a constant does), then canary, fallback and shadows."""
    threshold: float
    batch_rows: int
    workers: int = 0
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Storage options of the lake; they may hold secrets."""
    canary: CanaryRule | None = None
    covers: frozenset[str] = frozenset()
    """The failures of single rows in which the fallback stands in: `output`, `prediction`."""
    limit: FallbackLimit | None = None
    """Of the rows that may fall back; None where nothing is covered."""
    constant: JobConstant | None = None
    """The fallback, where it is no model."""
    shadow_table: str = ""
    shadow_schema: pa.Schema | None = None
    """As `part_schema`, of the table of shadows; None when there are none."""
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    """In the name of each part, so that a driver finds what its workers left without a word."""

    def no_memory(self) -> EngineError:
        """The error of a machine that cannot hold a batch: says how many rows that was."""
        return EngineError(
            f"scoring {self.score_date}: no memory for a batch of {self.batch_rows:,} rows",
            expected=f"memory for {self.batch_rows:,} rows a thread",
            remedy="lower scoring.batch_rows or scoring.workers, or give the machine more memory",
        )

    @property
    def champion(self) -> JobModel:
        """The primary model of the day; None only when the constant is the primary."""
        return self.models[0]

    @property
    def primary(self) -> JobModel | JobConstant:
        """The model or constant that scores every row that no other one does."""
        if self.models and self.models[0].role is not Role.SHADOW:
            return self.models[0]
        if self.constant is None:
            raise ValueError("a job without a model that answers for the day")
        return self.constant

    @property
    def fallback(self) -> JobModel | JobConstant | None:
        """The model or constant for the rows on which the primary fails; None when there is none."""
        if not self.covers:
            return None
        return self.constant or self.of_role(Role.FALLBACK)

    @property
    def shadows(self) -> tuple[JobModel, ...]:
        """The models whose rows go into the shadow table."""
        return tuple(model for model in self.models if model.role is Role.SHADOW) if self.shadow_schema else ()

    @property
    def partition(self) -> str:
        """The folder of the day inside the table."""
        return partition_folder(self.score_date)

    @property
    def folders(self) -> tuple[str, ...]:
        """The addresses of the day's folders: of the scores table and, if there are any, of the shadows."""
        tables = (self.table, self.shadow_table) if self.shadow_schema is not None else (self.table,)
        return tuple(f"{table.rstrip('/')}/{self.partition}" for table in tables)

    def of_role(self, role: Role) -> JobModel | None:
        """The first model in that role."""
        return next((model for model in self.models if model.role is role), None)

    def without_canary(self) -> ScoreJob:
        """The same day, all rows the champion's."""
        models = tuple(model for model in self.models if model.role is not Role.CANARY)
        return replace(self, models=models, canary=None)

    def for_shadows(self) -> ScoreJob:
        """The same day as the table of shadows sees it."""
        if self.shadow_schema is None:
            raise ValueError("a job without shadows")
        return replace(self, table=self.shadow_table, part_schema=self.shadow_schema)


def label_of(role: Role, version: int) -> str:
    """Role and version, such as `shadow:3`."""
    return f"{role.value}:{version}"
