"""What can be known of queries for Spark without a Spark: for `tally validate`, which starts none.

DuckDB's parser reads much of Spark's SQL. Where it reads a text, the text's statement, sources and functions are looked
at; where it does not, that is no problem of the text. Columns and types are left to Spark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallywright.data.statement import NotOneSelectError, parse_select, with_named_parameters
from tallywright.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from tallywright.data.etl.queries import Query
    from tallywright.data.statement import Statement

OTHER_EACH_TIME: Final = frozenset({
    "curdate", "current_date", "current_time", "current_timestamp", "current_catalog", "current_database",
    "current_schema", "current_user", "session_user", "user", "localtimestamp", "now", "rand", "randn", "random",
    "randstr", "uniform", "uuid", "shuffle", "monotonically_increasing_id", "spark_partition_id", "input_file_name",
    "input_file_block_start", "input_file_block_length", "reflect", "try_reflect", "java_method", "unix_timestamp",
})  # fmt: skip
"""Functions of the clock, of chance, of the place where a row is worked on, and of Java; Spark calls some of them
deterministic because they are constant within a query."""
ONLY_BARE: Final = "unix_timestamp"
"""A function that reads the clock where it is given nothing."""
CLOCK_WORDS: Final = frozenset({"current_date", "current_time", "current_timestamp", "localtimestamp"})
"""Values without parentheses."""


def text_problems(connection: duckdb.DuckDBPyConnection, query: Query, relations: set[str]) -> Iterator[str]:
    """What is wrong with a query whichever rows there are, each with its file.

    Args:
        connection: A locked one, which parses.
        query: The text of a user, for Spark.
        relations: What it may read.
    """
    text, unknown = with_named_parameters(query.text, [*query.values])
    for call in unknown if "\\" not in text else ():  # with which Spark's strings go on, and DuckDB's do not
        hint = did_you_mean(call.name, [f":{name}" for name in query.values])
        yield f"{query.where} line {call.line}: unknown parameter {call.name}{hint}"
    try:
        statement = parse_select(connection, text)
    except NotOneSelectError as error:
        if not error.syntax:
            yield f"{query.where}{error.line}: {error.found}; expected one SELECT, or WITH … SELECT"
        return
    for line, name in _other_each_time(statement):
        yield f"{query.where} line {line}: {name} gives another value each time"
    own = {name.lower() for name in relations | statement.withs}
    for table in sorted(statement.tables):
        if table.lower() not in own:
            hint = did_you_mean(table, sorted(relations))
            yield f"{query.where}: no source {table}{hint}; there are {', '.join(sorted(relations))}"


def _other_each_time(statement: Statement) -> list[tuple[int, str]]:
    calls = [
        (call.line, f"{call.name}()")
        for call in statement.calls
        if call.name in OTHER_EACH_TIME and not (call.name == ONLY_BARE and call.arguments)
    ]
    words = [(call.line, call.name) for call in statement.words if call.name in CLOCK_WORDS - statement.names]
    return sorted({*calls, *words})
