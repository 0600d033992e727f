"""A project's queries as texts: what they may be, and the parameters that go into them as the engine's own.

A query is a function of the raw rows: one SELECT over the sources, which gives the same rows whenever it runs. What
DuckDB's function catalogue does not call consistent is refused by name and line, inside macros too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

from tallywright.data.statement import (
    READING_FUNCTIONS,
    NotOneSelectError,
    parquet_by_path,
    parse_select,
    parse_tree,
    with_named_parameters,
)
from tallywright.errors import InputError, SpecError, did_you_mean
from tallywright.score_period import Hour

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import duckdb

    from tallywright.data.statement import Call, Statement

_ONE: Final = "one SELECT, or WITH … SELECT"
_CLOCK_WORDS: Final = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
"""Values without parentheses that are no functions of the catalogue by this name."""
_UNMARKED: Final = frozenset({
    "current_localtime", "current_localtimestamp", "reservoir_quantile", "approx_quantile", "approx_top_k",
})  # fmt: skip
"""Functions that the catalogue calls consistent and that are not: they read the clock, or draw or merge samples."""
_SCHEMAS_OF_ITS_OWN: Final = frozenset({"information_schema", "pg_catalog", "system"})
Catalogue = dict[str, list[tuple[str | None, str | None]]]
_asked: Catalogue = {}
_own_views: set[str] = set()
_AGE_OF_TWO: Final = 2
"""`age` of one instant is counted from today."""


@dataclass(frozen=True, slots=True)
class Query:
    """The text of a query with `:name` for parameters, and their values.

    Attributes:
        text: As it stands in the file.
        values: All parameters that it may use.
        where: The file, for messages.
    """

    text: str
    values: Mapping[str, date | datetime]
    where: str

    def __hash__(self) -> int:
        return hash((self.text, self.where))

    def over(self, parameters: Mapping[str, date]) -> Query:
        """The same text with other parameters."""
        return replace(self, values=_values(parameters))


@dataclass(frozen=True, slots=True)
class ReadyQuery:
    """A query that DuckDB may run: with its own parameters, and the values of those that occur."""

    text: str
    values: dict[str, date | datetime]
    statement: Statement


def read_query(file: Path, parameters: Mapping[str, date], where: str = "") -> Query:
    """The query in a file.

    Args:
        file: With or without a byte order mark.
        parameters: Name to date, or to an instant: a TIMESTAMP in UTC.
        where: What messages call it, where that is not its path.

    Raises:
        SpecError: No such file, no text, or a parameter without a value.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"{where or file}: {error}", expected="a readable SQL file that model.yaml names under `data`"
        ) from error
    return Query(text, _values(parameters), where or str(file))


def _values(parameters: Mapping[str, date]) -> dict[str, date | datetime]:
    return {name: _value(name, value) for name, value in parameters.items()}


def _value(name: str, value: date) -> date | datetime:
    naive = isinstance(value, datetime) and value.tzinfo is None
    if naive or not isinstance(value, date) or isinstance(value, Hour):
        raise SpecError(f"parameter {name} is {value!r}", expected="a date, or an instant with a zone")
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else value


def checked(connection: duckdb.DuckDBPyConnection, query: Query, columns: Collection[str] = ()) -> ReadyQuery:
    """The query as DuckDB runs it, if it is one SELECT that gives the same rows each time.

    Args:
        connection: A locked one, which parses.
        query: The text of a user.
        columns: Names of columns that the sources have: `localtime` may be one.

    Raises:
        SpecError: Another statement, a second one, a statement inside a WITH, an unknown parameter, or what gives other
            rows each time.
        InputError: No SQL.
    """
    text, unknown = with_named_parameters(query.text, [*query.values])
    if unknown:
        raise _unknown_parameters(unknown, query)
    try:
        statement = parse_select(connection, text)
    except NotOneSelectError as error:
        if error.syntax:
            raise InputError(f"{query.where}: {error.found}", expected=_ONE, remedy="correct the query") from error
        raise SpecError(f"{query.where}{error.line}: {error.found}", expected=_ONE) from error
    strange = [call for call in statement.parameters if call.name not in query.values]
    if strange:
        raise _unknown_parameters(strange, query)
    problems = [*_other_rows(connection, statement, columns), *_other_sources(connection, statement)]
    if problems:
        raise SpecError(
            "\n".join(f"{query.where} line {line}: {found}" for line, found in problems),
            expected="a query that is a function of its sources and parameters alone",
            remedy="take instants from the rows, and the day from :from_date and :to_date",
        )
    return ReadyQuery(statement.text, {call.name: query.values[call.name] for call in statement.parameters}, statement)


def _unknown_parameters(unknown: Sequence[Call], query: Query) -> SpecError:
    known = [f":{name}" for name in query.values]
    named = (f"{name}{did_you_mean(name, known)}" for name in dict.fromkeys(call.name for call in unknown))
    return SpecError(
        f"{query.where} line {unknown[0].line}: unknown parameter {', '.join(named)}",
        expected=f"one of {', '.join(known)}",
    )


def _other_sources(connection: duckdb.DuckDBPyConnection, statement: Statement) -> list[tuple[int, str]]:
    """What is read besides the sources: table functions, and what the engine tells about itself."""
    found = [(call.line, f"{call.name}()") for call in statement.table_calls if call.name not in READING_FUNCTIONS]
    own = {name.lower() for name in statement.tables} & _views_of_its_own(connection)
    found += [(1, name) for name in sorted(own | (statement.schemas & _SCHEMAS_OF_ITS_OWN))]
    found += [(1, name) for name in parquet_by_path(statement) if name in statement.tables]
    found += [(1, "SHOW, DESCRIBE or SUMMARIZE")] * statement.shows
    return [(line, f"{what} reads something else than the sources") for line, what in found]


def _views_of_its_own(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """What the engine shows of itself by a name without a schema: its log, its types, its tables; asked once."""
    if not _own_views:
        asked = "SELECT lower(view_name) FROM duckdb_views() WHERE internal AND schema_name <> 'information_schema'"
        _own_views.update(name for (name,) in connection.execute(asked).fetchall())
    return frozenset(_own_views)


def _other_rows(
    connection: duckdb.DuckDBPyConnection, statement: Statement, columns: Collection[str]
) -> list[tuple[int, str]]:
    """What makes the rows differ from run to run, and where it stands."""
    used = {call.name for call in (*statement.calls, *statement.words)}
    volatile = _volatile(connection, frozenset(used))
    columns_of_it = {name.lower() for name in columns} | statement.names
    found = [
        (call.line, f"{call.name}() gives another value each time")
        for call in statement.calls
        if call.name in volatile or (call.name == "age" and call.arguments < _AGE_OF_TWO)
    ]
    found += [
        (call.line, f"{call.name} gives another value each time")
        for call in statement.words
        if call.name in volatile | _CLOCK_WORDS and call.name not in columns_of_it
    ]
    found += [(line, "a sample without REPEATABLE (seed) gives other rows each time") for line in statement.samples]
    return sorted(set(found))


def _catalogue(connection: duckdb.DuckDBPyConnection) -> Catalogue:
    """Stability and macro text of the functions that are not simply consistent, by their names; asked once."""
    if not _asked:
        for name, stability, macro in connection.execute(
            "SELECT DISTINCT lower(function_name), stability, macro_definition FROM duckdb_functions() "
            "WHERE stability IS DISTINCT FROM 'CONSISTENT'"
        ).fetchall():
            _asked.setdefault(name, []).append((stability, macro))
    return _asked


def _volatile(connection: duckdb.DuckDBPyConnection, names: frozenset[str]) -> set[str]:
    """Those of the names that are functions whose value is not that of their arguments, macros looked into."""
    catalogue, found = _catalogue(connection), set()
    for name in names:
        if name in _UNMARKED or _is_volatile(connection, catalogue, name, frozenset()):
            found.add(name)
    return found


def _is_volatile(
    connection: duckdb.DuckDBPyConnection,
    catalogue: Catalogue,
    name: str,
    above: frozenset[str],
) -> bool:
    if name in above:
        return False
    for stability, macro in catalogue.get(name, ()):
        if stability is not None:
            return True
        inner = _names_in(connection, macro) if macro else frozenset()
        if inner & _CLOCK_WORDS or any(
            one in _UNMARKED or _is_volatile(connection, catalogue, one, above | {name}) for one in inner
        ):
            return True
    return False


def _names_in(connection: duckdb.DuckDBPyConnection, macro: str) -> frozenset[str]:
    """The functions that the text of a macro calls."""
    for text in (f"SELECT {macro}", macro):
        try:
            statement = parse_tree(connection, text)
        except NotOneSelectError:
            continue
        return frozenset(call.name for call in (*statement.calls, *statement.table_calls, *statement.words))
    return frozenset()
