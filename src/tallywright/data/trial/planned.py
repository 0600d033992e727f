"""The three queries planned against what the spec declares, without opening a data file: for `tally validate`.

Relations stand for the sources: with the declared columns, and with those that the queries ask for besides, because a
column of a CSV file that has no declared type is a VARCHAR. What the queries return is compared with the spec, as far
as it can be known without the files.
"""

# ruff: noqa: S608 - relations cannot be parameters; names are quoted, types are those of the spec

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from tallywright.data.delta.rows import quoted
from tallywright.data.embedded_sql import QueryTimeError, brief, close, connect, line_of, lock, run
from tallywright.data.etl.day_checks import check_columns, label_schema, with_stored_target
from tallywright.data.etl.queries import checked, read_query
from tallywright.data.etl.spark_texts import text_problems
from tallywright.data.etl.transform import label_parameters, period_parameters
from tallywright.data.types import arrow_type, feature_schema, period_schema
from tallywright.errors import InputError, SpecError, TallyError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    import duckdb

    from tallywright.data.etl.queries import Query, ReadyQuery
    from tallywright.spec import Project

_NO_COLUMN: Final = re.compile(r'[Cc]olumn (?:with name |named )?"([^"]+)"')
_NO_TABLE: Final = re.compile(r"Table with name (.+?) does not exist!")
_UNKNOWN: Final = "tallywright_unknown"
"""The column of a source of which none is known."""
_MOST_COLUMNS: Final = 5_000
_NO_TYPE: Final = "NULL"
_MINUTES: Final = 0.5
"""How long the engine may plan: it computes what is constant while it does."""


def sql_problems(project: Project, columns: Mapping[str, Mapping[str, str]] | None = None) -> list[str]:
    """What is wrong with a project's queries, each with its file and line.

    Args:
        project: Whose queries; of those for Spark the texts alone.
        columns: All columns of sources with their types, where they are known.
    """
    data = project.spec.data
    connection = connect()
    try:
        lock(connection)
        planned = _Planned(connection, project, columns or {})
        look = planned.problems if data.engine == "duckdb" else planned.problems_of_texts
        return run(connection, look, f"planning {project.spec.name}'s queries", minutes=min(data.sql_minutes, _MINUTES))
    except QueryTimeError as error:
        return [error.found]
    finally:
        close(connection)


class _Planned:
    """The relations of a project without their rows."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, project: Project, columns: Mapping[str, Mapping[str, str]]
    ) -> None:
        self._connection, self._project = connection, project
        self._closed = frozenset(columns)
        self._sources = {
            name: dict(columns.get(name, source.types)) for name, source in project.spec.data.sources.items()
        }
        self._contract: ReadyQuery | None = None
        self._accepted: dict[str, str] = {}
        self._problems: list[str] = []

    def problems(self) -> list[str]:
        spec, data = self._project.spec, self._project.spec.data
        day = spec.schedule.first_period
        whole = period_parameters(spec, day, day)
        try:
            for source, types in self._sources.items():
                for name, kind in {} if source in self._closed else types.items():
                    arrow_type(kind, f"data.sources.{source}.types.{name}")
                self._make(source, types)
        except TallyError:  # an unknown type is a problem of the spec, and told as one
            return []
        contract = self._query(data.contract, whole)
        if contract is None:
            return self._problems + self._others(whole)
        found = self._plan(contract, "contract")
        if found is None:
            return self._problems + self._others(whole)
        period = period_schema(spec).field(spec.partition[-1])
        self._contract, _ = found
        self._compare(found, contract, pa.schema([period, ("reject_reason", pa.string())]), others=True)
        self._accept()
        features = self._query(data.features, whole)
        if features is not None and (found := self._plan(features, "features")) is not None:
            self._compare(found, features, self._selected(feature_schema(spec)))
        labels = self._query(data.labels, whole | label_parameters(spec, day))
        if labels is not None and (found := self._plan(labels, "labels")) is not None:
            ready, schema = found
            stored = with_stored_target(spec, schema)
            self._compare((ready, stored), labels, self._selected(label_schema(spec, schema)))
        return self._problems

    def problems_of_texts(self) -> list[str]:
        """What is wrong with the texts of queries that another engine runs; nothing is planned."""
        spec, data = self._project.spec, self._project.spec.data
        whole = period_parameters(spec, spec.schedule.first_period, spec.schedule.first_period)
        known, late = {*self._sources}, whole | label_parameters(spec, spec.schedule.first_period)
        for file, values, more in ((data.contract, whole, ()), (data.features, whole, ("accepted",)),
                                   (data.labels, late, ("accepted",))):  # fmt: skip
            query = self._query(file, values)
            if query is not None:
                self._problems += text_problems(self._connection, query, known.union(more))
        return self._problems

    def _others(self, whole: dict[str, date]) -> list[str]:
        """What can be seen of the two queries over `accepted` without it: what they are, not what they name."""
        before, self._problems = self._problems, []
        spec, data = self._project.spec, self._project.spec.data
        day = spec.schedule.first_period
        for file, values in ((data.features, whole), (data.labels, whole | label_parameters(spec, day))):
            query = self._query(file, values)
            if query is not None:
                self._ready(query)
        found, self._problems = self._problems, before
        return found

    def _query(self, file: str, values: Mapping[str, date]) -> Query | None:
        path = self._project.folder / file
        if not path.is_file():  # told as a missing file
            return None
        try:
            return read_query(path, values, str(path.relative_to(self._project.root)))
        except SpecError as error:
            self._problems.append(error.found)
            return None

    def _ready(self, query: Query) -> ReadyQuery | None:
        try:
            return checked(self._connection, query, {name for types in self._sources.values() for name in types})
        except (SpecError, InputError) as error:
            self._problems += error.found.splitlines()
            return None

    def _plan(self, query: Query, what: str) -> tuple[ReadyQuery, pa.Schema] | None:
        """A query and the columns that it returns; None where it fails, or where that cannot be known."""
        import duckdb

        ready = self._ready(query)
        if ready is None:
            return None
        for _ in range(_MOST_COLUMNS):
            try:
                return ready, self._columns_of(ready)
            except duckdb.Error as error:
                missing = _NO_COLUMN.search(str(error)) if isinstance(error, duckdb.BinderException) else None
                if missing is None or not self._learn(ready, missing[1], str(error)):
                    self._say(query, what, error, missing[1] if missing else "")
                    return None
        return None

    def _columns_of(self, ready: ReadyQuery) -> pa.Schema:
        described = self._described(ready)
        nothing = ", ".join(f"{_null(kind)} AS {quoted(name)}" for name, kind in described.items())
        return self._connection.cursor().sql(f"SELECT {nothing} WHERE false").to_arrow_table().schema

    def _described(self, ready: ReadyQuery) -> dict[str, str]:
        """The columns of a query and their types; it is bound, and not run."""
        statement = f"DESCRIBE SELECT * FROM ({ready.text}\n)"
        rows = self._connection.cursor().execute(statement, ready.values).fetchall()
        return {str(name): str(kind).strip('"') for name, kind, *_ in rows}

    def _learn(self, ready: ReadyQuery, column: str, error: str) -> bool:
        """Gives a source a column that its file may have; False where that helps nothing, or is a slip of the keys."""
        declared = {name for types in self._sources.values() for name in types}
        if any(sorted(name.lower()) == sorted(column.lower()) for name in declared if name.lower() != column.lower()):
            return False
        named = {table.lower() for table in ready.statement.tables}
        if self._contract is not None and "accepted" in named and self._contract.statement.stars:
            named |= {table.lower() for table in self._contract.statement.tables}
        for source, types in self._sources.items():
            known = {name.lower() for name in types}
            if source in self._closed or source.lower() not in named or column.lower() in known:
                continue
            csv = self._project.spec.data.sources[source].format == "csv"
            self._sources[source] = types | {column: "VARCHAR" if csv else _NO_TYPE}
            self._make(source, self._sources[source])
            if self._differs(ready, column, error):
                return True
            self._sources[source] = types
            self._make(source, types)
        return False

    def _differs(self, ready: ReadyQuery, column: str, before: str) -> bool:
        """True when the query no longer fails in the same way."""
        import duckdb

        try:
            self._accept()
            self._columns_of(ready)
        except duckdb.Error as error:
            found = _NO_COLUMN.search(str(error))
            same = found is not None and found[1] == column and line_of(error) == line_of(Exception(before))
            return not same and "Ambiguous" not in str(error)
        return True

    def _accept(self) -> None:
        """Makes `accepted` of what the contract returns."""
        if self._contract is None:
            return
        self._accepted = self._described(self._contract)
        self._accepted.pop("reject_reason", None)
        self._make("accepted", self._accepted)

    def _make(self, name: str, columns: Mapping[str, str]) -> None:
        listed = ", ".join(
            f"{_null(kind)} AS {quoted(column)}" for column, kind in (columns or {_UNKNOWN: _NO_TYPE}).items()
        )
        self._connection.execute(f"CREATE OR REPLACE VIEW {quoted(name)} AS SELECT {listed} WHERE false")

    def _say(self, query: Query, what: str, error: duckdb.Error, column: str) -> None:
        where = f"{query.where}{line_of(error)}"
        table = _NO_TABLE.search(str(error))
        if column:
            known = {name for types in self._sources.values() for name in types} | {*self._accepted} - {_UNKNOWN}
            self._problems.append(f"{where}: no column {column}{did_you_mean(column, sorted(known))}")
        elif table is not None:
            known = {*self._sources} | (set() if what == "contract" else {"accepted"})
            hint = did_you_mean(table[1], sorted(known))
            self._problems.append(f"{where}: no source {table[1]}{hint}; there are {', '.join(sorted(known))}")
        elif not self._has_untyped:
            self._problems.append(f"{where}: {brief(error)}")

    @property
    def _has_untyped(self) -> bool:
        """True when the type of a column is not known, so that an error about types need not be one."""
        return any(kind == _NO_TYPE for types in self._sources.values() for kind in types.values())

    def _compare(
        self, planned: tuple[ReadyQuery, pa.Schema], query: Query, expected: pa.Schema, *, others: bool = False
    ) -> None:
        """Compares what a query returns with what the spec says, unless a star may bring more than is known."""
        ready, found = planned
        is_known = self._closed >= self._sources.keys()
        if self._has_untyped or (ready.statement.stars and not is_known):
            return
        try:
            check_columns(found, expected, query.where, others=others)
        except InputError as error:
            self._problems.append(error.found)

    def _selected(self, stored: pa.Schema) -> pa.Schema:
        """The columns that a query has to return for these stored ones: the date of an hour follows from it."""
        before: Sequence[str] = self._project.spec.partition[:-1]
        return pa.schema([field for field in stored if field.name not in before])


def _null(kind: str) -> str:
    """A null of a type; one that is not known fits everywhere."""
    return _NO_TYPE if kind == _NO_TYPE else f"CAST(NULL AS {kind})"
