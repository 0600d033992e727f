"""One run of a model's three queries over its raw sources, for a whole range of score dates.

The queries run once, on the engine of the spec; then each day is fetched by itself.
"""

# ruff: noqa: S608 - relations cannot be parameters; names are quoted
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import pyarrow as pa

from tallywright.data.delta.slices import quoted
from tallywright.data.etl.day_checks import check_columns, label_schema, with_stored_target
from tallywright.data.etl.engine import sql_engine
from tallywright.data.etl.quarantine import quarantine_rows
from tallywright.data.etl.sources import stage_sources
from tallywright.data.etl.sql import date_parameters, read_query
from tallywright.data.types import feature_schema
from tallywright.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from types import TracebackType

    from tallywright.spec import Project

_CONTRACT: Final = "contract_rows"
_FEATURES: Final = "feature_rows"
_LABELS: Final = "label_rows"
_REASON: Final = "reject_reason"
_CONTRACT_SCHEMA: Final = pa.schema([("score_date", pa.date32()), (_REASON, pa.string())])


@dataclass(frozen=True, slots=True)
class RawDay:
    """What the queries return for one score date, not checked yet."""

    day: date
    accepted: int
    features: pa.Table
    labels: pa.Table
    label_schema: pa.Schema
    rejected: pa.Table


class RawRun:
    """The queries of a project over one range; a context manager that owns its SQL engine.

    Raises:
        SpecError: A query that is missing or not a plain query.
        InputError: A query that fails, or whose columns are not those of the spec.
        UsageError: What the engine of the spec needs is not installed.
        StorageError: Raw files, work folder or cluster that cannot be used.
    """

    def __init__(self, project: Project, first: date, last: date) -> None:
        self._project = project
        self._data = project.spec.data
        self._parameters = date_parameters(first, last, self._data.lookback_days)
        self._columns: list[str] = []

    def __enter__(self) -> Self:
        sources = stage_sources(self._project)
        data = self._data
        self._queries = {
            file: read_query(self._project.folder / file, self._parameters)
            for file in (data.contract, data.features, data.labels)
        }
        self._engine = sql_engine(self._project)
        try:
            for name, files in sources.items():
                self._engine.source(name, files)
            self._prepare()
        except BaseException:
            self._engine.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.close()

    def day(self, day: date) -> RawDay:
        """The rows of one date, features and labels in key order."""
        key = self._data.key
        rejected = self._engine.rows(_CONTRACT, day, self._columns, present=_REASON)
        return RawDay(
            day=day,
            accepted=self._contract_days.get(day, 0) - rejected.num_rows,
            features=self._engine.rows(_FEATURES, day, ["score_date", *self._data.columns], order=key),
            labels=self._engine.rows(_LABELS, day, self._label_schema.names, order=key),
            label_schema=self._label_schema,
            rejected=quarantine_rows(rejected),
        )

    def _prepare(self) -> None:
        self._keep(_CONTRACT, self._data.contract, self._check_contract)
        self._contract_days = self._days(_CONTRACT, self._data.contract, "lookback_date")
        accepted = ", ".join(quoted(name) for name in self._columns if name != _REASON)
        self._engine.view("accepted", f"SELECT {accepted} FROM {_CONTRACT} WHERE {_REASON} IS NULL")
        self._keep(_FEATURES, self._data.features, self._check_features)
        self._days(_FEATURES, self._data.features, "from_date")
        self._keep(_LABELS, self._data.labels, self._check_labels)
        self._days(_LABELS, self._data.labels, "from_date")

    def _keep(self, relation: str, file: str, check: Callable[[pa.Schema], None]) -> None:
        self._engine.keep(relation, self._queries[file], str(self._project.folder / file), check)

    def _check_contract(self, found: pa.Schema) -> None:
        check_columns(found, _CONTRACT_SCHEMA, self._data.contract, others=True)
        self._columns = list(found.names)

    def _check_features(self, found: pa.Schema) -> None:
        check_columns(found, feature_schema(self._project.spec), self._data.features)

    def _check_labels(self, found: pa.Schema) -> None:
        self._label_schema = label_schema(self._project.spec, found)
        check_columns(with_stored_target(self._project.spec, found), self._label_schema, self._data.labels)

    def _days(self, relation: str, file: str, from_parameter: str) -> dict[date | None, int]:
        """The number of rows by score date, all of them within the range."""
        low, high = self._parameters[from_parameter], self._parameters["to_date"]
        found = self._engine.days(relation)
        outside = {day: rows for day, rows in found.items() if day is None or not low <= day <= high}
        if outside:
            example = min((day for day in outside if day is not None), default=None)
            raise InputError(
                f"{file}: {sum(outside.values())} rows have score_date "
                f"{'null' if example is None else f'{example} (and others)'}",
                expected=f"score dates from {low} to {high}",
                remedy=f"end the query with WHERE score_date BETWEEN :{from_parameter} AND :to_date",
            )
        return found
