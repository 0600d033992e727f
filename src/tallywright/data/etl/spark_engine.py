"""The SQL engine on Spark, for raw data that outgrow one machine.

The rows of a query are written once, as Parquet by score period, below the work folder, and this process reads one date
of them at a time: no row crosses the JVM, and a lost executor cannot make a query run twice with two results. The work
folder must therefore be the same folder for this process and for the executors; rows that are missing are noticed.
"""

from __future__ import annotations

import re
import shutil
import threading
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import pyarrow as pa
from pyarrow.parquet import ParquetFile

from tallywright.data.etl.spark_texts import CLOCK_WORDS, ONLY_BARE, OTHER_EACH_TIME
from tallywright.data.raw.parquet_files import nanosecond_columns
from tallywright.data.raw.relation import numbered_name
from tallywright.data.raw.typed import LINE_BITS
from tallywright.data.statement import tokens, without_semicolon
from tallywright.data.storage.filesystem import as_storage_error, storage_errors
from tallywright.data.storage.scratch import scratch_folder
from tallywright.errors import InputError, SpecError, StorageError, did_you_mean
from tallywright.observability import log
from tallywright.score_period import HOUR_COLUMN, Hour
from tallywright.spark_session import end_session, session_runs, spark_session
from tallywright.spark_session.machine import require_spark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pyspark.errors import PySparkException
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import StructField

    from tallywright.data.etl.queries import Query
    from tallywright.data.raw.relation import Relation
    from tallywright.spec import Project

_BOUND_BY_ANALYZER: Final = ("spark.sql.legacy.parameterSubstitution.constantsOnly", "true")
"""Left to Spark's parser, parameters stay unbound where Delta's parser stands in its place."""
_REMEDY: Final = "correct the query, or the raw files it reads"
_DAY: Final = "tallywright_day"
_NO_DAY: Final = "__HIVE_DEFAULT_PARTITION__"
_DIALECT: Final = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.runSQLOnFiles": "false",
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # Min and max of a Parquet file leave NaN out, so row groups would be skipped that have what `x > 5` asks for.
    "spark.sql.parquet.filterPushdown": "false",
}
"""What makes a text mean the same as on DuckDB: quoted names, timestamps without a zone, errors instead of nulls; no
file is a table."""
_CALLED: Final = re.compile(r'UnresolvedFunction"[^{}]*?"nameParts":"\[([^\]"]*)\]"[^{}]*?"arguments":(\[\])?')
_NAMED: Final = re.compile(r'UnresolvedAttribute"[^{}]*?"nameParts":"\[([^\]",]*)\]"')
_SAID_AFTER: Final = 30.0
_QUERY_FAULTS: Final = ("0A", "21", "22", "42")
"""Classes of SQLSTATE that blame the query or its data: unsupported, cardinality, data, syntax or access rule."""


class SparkSqlEngine:
    """Spark SQL: queries become Parquet folders, one a relation, partitioned by score period."""

    def __init__(self, project: Project) -> None:
        require_spark()
        self._period = project.spec.partition[-1]
        self._minutes = project.spec.data.sql_minutes
        with ExitStack() as opened:
            with _spark_errors("the session of the queries", _REMEDY):
                self._spark = opened.enter_context(_session(project))
            work = Path(project.environment.storage.work) / "etl"
            self._scratch = opened.enter_context(scratch_folder(work))
            self._exit = opened.pop_all()
        self._spark.conf.set(*_BOUND_BY_ANALYZER)
        self._schemas: dict[str, pa.Schema] = {}
        self._files: dict[str, dict[date | datetime | None, list[Path]]] = {}

    def source(self, name: str, source: Relation, *, numbered: bool = False, unreadable: bool = False) -> None:
        """Two views over the files; columns that come from `key=value` folders are text."""
        with _spark_errors(f"data.sources.{name}", "replace the damaged file", unreadable_is_input=True):
            counted = self._numbered(source, unreadable=unreadable)
            counted.createOrReplaceTempView(numbered_name(name))
            plain = counted if numbered else counted.drop(source.numbered_as)
            plain.createOrReplaceTempView(name)

    def _numbered(self, source: Relation, *, unreadable: bool) -> DataFrame:
        """The rows of a source with their numbers."""
        from pyspark.sql import functions

        frame = self._spark.read.option("mergeSchema", "true").parquet(*map(_pattern, source.paths))
        instants = {} if source.number else nanosecond_columns(source.paths)
        columns = [_cut(name, instants[name]) if name in instants else functions.col(_spark_name(name))
                   for name in source.columns]  # fmt: skip
        columns += [_by_file(source, [keys[key] for keys in source.keys]).alias(key) for key in source.key_columns]
        if source.unreadable:
            is_bad = functions.col(_spark_name(source.reason)).isNotNull()
            frame = frame.where(is_bad if unreadable else ~is_bad)
        number = functions.col(_spark_name(source.number)) if source.number else _place_in_files(source)
        return frame.select(*columns, (number + source.offset).cast("bigint").alias(source.numbered_as))

    def check(self, query: Query) -> None:
        """Parses the text as a query, which no command is, and looks at the functions that it names."""
        self._checked(query)

    def _checked(self, query: Query) -> str:
        """The text without a semicolon.

        Raises:
            InputError: It is no SQL.
            SpecError: It is no query, or names a function that gives another value each time, or runs a program.
        """
        from pyspark.errors import PySparkException

        text, one = without_semicolon(query.text), "one SELECT, or WITH … SELECT"
        session = self._spark._jsparkSession  # noqa: SLF001
        # The parser goes by the settings of the thread's session, which is another one where several are open.
        type(self._spark)._get_j_spark_session_class(self._spark._jvm).setActiveSession(session)  # noqa: SLF001
        parser = session.sessionState().sqlParser()
        try:
            tree = str(parser.parseQuery(text).toJSON())
        except PySparkException as error:
            if any(token.text == b";" for token in tokens(text)):
                raise SpecError(f"{query.where}: more than one statement", expected=one) from error
            with suppress(PySparkException):
                command = parser.parsePlan(text).getClass().getSimpleName()
                raise SpecError(f"{query.where}: not a query but {command}", expected=one) from error
            raise _input_error(query.where, error.getMessage(), _REMEDY) from error
        names = [name.lower() for name, empty in _CALLED.findall(tree) if name.lower() != ONLY_BARE or empty]
        found = [f"{name}()" for name in names if name in OTHER_EACH_TIME]
        found += [name for name in map(str.lower, _NAMED.findall(tree)) if name in CLOCK_WORDS]
        sampled = ".logical.Sample" in tree and b"repeatable" not in {token.text.lower() for token in tokens(text)}
        found += ["a sample without REPEATABLE (seed)"] if sampled else []
        if ".ScriptTransformation" in tree:
            raise SpecError(f"{query.where}: TRANSFORM runs a program", expected="SQL alone")
        if found:
            raise _other_rows(query, text, found[0])
        return text

    def keep(self, relation: str, query: Query, check: Callable[[pa.Schema], None]) -> None:
        """Runs the query into Parquet files."""
        where, text = query.where, self._checked(query)
        with _spark_errors(where, _REMEDY, parameters=[*query.values]):
            frame = _typed(self._spark.sql(text, args=dict(query.values)))
            if not frame._jdf.queryExecution().analyzed().deterministic():  # noqa: SLF001
                raise _other_rows(query, text, "a function")
            schema = _arrow_schema(frame)
        check(schema)
        folder = self._scratch / relation
        shutil.rmtree(folder, ignore_errors=True)  # of a query that failed, in whose place this one comes
        with _spark_errors(where, _REMEDY), _in_time(self._spark, where, self._minutes):
            written = _write(frame, folder, self._period)
            kept = self._spark.read.schema(frame.schema).parquet(_local(folder))
            kept.drop(_DAY).createOrReplaceTempView(relation)
        self._schemas[relation] = schema
        self._files[relation] = _files_by_day(folder)
        self._require_all(relation, written)

    def view(self, relation: str, query: str) -> None:
        """Creates the view."""
        with _spark_errors(relation, _REMEDY):
            self._spark.sql(query).createOrReplaceTempView(relation)

    def days(self, relation: str) -> dict[date | datetime | None, int]:
        """Counts the rows by score period, from the footers of the files."""
        with storage_errors(f"reading {self._scratch / relation}"):
            return {day: sum(map(_rows_in, files)) for day, files in self._files[relation].items()}

    def rows(
        self, relation: str, day: date, columns: Sequence[str], *, order: Sequence[str] = (), present: str = ""
    ) -> pa.Table:
        """Reads the files of the date."""
        stored = self._schemas[relation]
        schema = pa.schema([stored.field(name) for name in columns])
        with storage_errors(f"reading {self._scratch / relation}"):
            files = self._files[relation].get(day.instant if isinstance(day, Hour) else day, [])
            batches = [batch for file in files for batch in _batches(file, columns, present)]
        table = (
            pa.Table.from_batches(batches).select(columns).cast(schema)
            if batches
            else pa.Table.from_batches([], schema)
        )
        return table.sort_by([(name, "ascending") for name in order]) if order else table

    def close(self) -> None:
        """Removes the files, and ends the session if it was started here: the next step may need other settings."""
        self._exit.close()

    def _require_all(self, relation: str, written: int) -> None:
        found = sum(self.days(relation).values())
        if found != written:
            raise StorageError(
                f"Spark wrote {written} rows below {self._scratch}, and {found} are found there; nothing was changed",
                expected="a work folder that this process and all executors see as the same one",
                remedy="put environment.storage.work on storage that the cluster shares",
            )


def _place_in_files(source: Relation) -> Column:
    """The number of a row of Parquet files that are read where they are: the file's, and its place in the file."""
    from pyspark.sql import functions

    first = _by_file(source, [place << LINE_BITS for place in range(len(source.paths))])
    return first.cast("bigint") + functions.col("_metadata.row_index") + 1


def _by_file(source: Relation, values: Sequence[int | str | None]) -> Column:
    """Of each row the value of the file in which it lies."""
    from pyspark.sql import functions

    # Spark names a file by its URI, in which a plus is a plus.
    path = functions.url_decode(functions.replace("_metadata.file_path", functions.lit("+"), functions.lit("%2B")))
    found = functions.lit(None)
    for file, value in zip(source.paths, values, strict=True):
        found = functions.when(path.endswith(str(file)), functions.lit(value)).otherwise(found)
    return found


def _cut(name: str, of_zone: bool) -> Column:  # noqa: FBT001 - what the column says of itself
    """An instant of nanoseconds, which Spark reads as their number, to the microsecond."""
    from pyspark.sql import functions

    instant = functions.expr(f"timestamp_micros({_spark_name(name)} div 1000)")
    return (instant if of_zone else instant.cast("timestamp_ntz")).alias(name)


@contextmanager
def _session(project: Project) -> Iterator[SparkSession]:
    """A new session of the process's Spark application, which is started from the environment if none runs."""
    settings, runs = project.environment.engine.spark, session_runs()
    session = spark_session(f"tallywright {project.spec.name} etl", settings.conf, master=settings.master)
    try:
        own = session.newSession()
        for name, value in _DIALECT.items():
            own.conf.set(name, value)
        yield own
    finally:
        if not runs:
            end_session(session)


def _other_rows(query: Query, text: str, found: str) -> SpecError:
    """The error about what differs from run to run, with its line where the text names it."""
    name = found.removesuffix("()")
    starts = [token.start for token in tokens(text) if token.text.decode().lower() == name]
    line = f" line {text.encode()[: starts[0]].count(10) + 1}" if starts else ""
    return SpecError(
        f"{query.where}{line}: {found} gives another value each time",
        expected="a query that is a function of its sources and parameters alone",
        remedy="take instants from the rows, and the day from :from_date and :to_date",
    )


@contextmanager
def _in_time(spark: SparkSession, where: str, minutes: float) -> Iterator[None]:
    """Says what runs when the block takes long, and stops its jobs at the end of their time.

    Raises:
        InputError: They took longer.
    """
    stopped = threading.Event()

    def stop() -> None:
        stopped.set()
        spark.sparkContext.cancelAllJobs()

    def say() -> None:
        log.info("%s has been running for %d seconds; its limit is %g min", where, _SAID_AFTER, minutes)

    timers = [threading.Timer(minutes * 60, stop), threading.Timer(_SAID_AFTER, say)]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    except Exception as error:
        if not stopped.is_set():
            raise
        raise InputError(
            f"{where}: the query has not ended after {minutes:g} minutes and was stopped; nothing was changed",
            expected="SQL that ends within data.sql_minutes",
            remedy="look for a join without a condition; or raise data.sql_minutes",
        ) from error
    finally:
        for timer in timers:
            timer.cancel()


def _local(path: Path) -> str:
    """The path as Spark takes it for a file system path, whatever the cluster's default file system is."""
    return f"file://{path}"


def _pattern(path: Path) -> str:
    """The address of a file for a reader that takes patterns."""
    return _local(Path(re.sub(r"([*?\[\]{}\\])", r"\\\1", str(path))))


def _typed(frame: DataFrame) -> DataFrame:
    """The frame with a type for columns that are nothing but NULL, which Parquet does not store: DuckDB's."""
    from pyspark.sql import functions

    columns = [(functions.col(_spark_name(field.name)), field) for field in frame.schema]
    return frame.select(
        [column.cast("int").alias(field.name) if _is_void(field) else column for column, field in columns]
    )


def _arrow_schema(frame: DataFrame) -> pa.Schema:
    """The columns as `toArrow` gives them, without running anything; whether they may be null is left open."""
    from pyspark.sql.pandas.types import to_arrow_schema

    return pa.schema([(field.name, field.type) for field in to_arrow_schema(frame.schema, timezone="UTC")])


def _is_void(field: StructField) -> bool:
    return bool(field.dataType.typeName() == "void")


def _spark_name(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _write(frame: DataFrame, folder: Path, period: str) -> int:
    """Writes the rows by their period; returns how many there were, as the tasks that wrote them counted."""
    from pyspark.sql import Observation, functions

    counted = Observation()
    # Rebalancing makes few files of small days and several of a big one, whatever the query's own partitions are.
    value = functions.col(period)
    named = value.cast("timestamp").cast("string") if period == HOUR_COLUMN else value
    dated = frame.withColumn(_DAY, named).hint("rebalance", _DAY)
    observed = dated.observe(counted, functions.count(functions.lit(1)).alias("rows"))
    observed.write.partitionBy(_DAY).parquet(_local(folder))
    return int(counted.get["rows"])


def _files_by_day(folder: Path) -> dict[date | datetime | None, list[Path]]:
    found: dict[date | datetime | None, list[Path]] = {}
    for file in sorted(folder.glob(f"{_DAY}=*/*.parquet")):
        value = file.parent.name.partition("=")[2]
        found.setdefault(None if value == _NO_DAY else _value(unquote(value)), []).append(file)
    return found


def _value(text: str) -> date | datetime:
    """A date, or an instant as Spark writes it in a session whose zone is UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if " " in text else date.fromisoformat(text)


def _rows_in(file: Path) -> int:
    with ParquetFile(file) as parquet:
        return int(parquet.metadata.num_rows)


def _batches(file: Path, columns: Sequence[str], present: str) -> Iterator[pa.RecordBatch]:
    with ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(columns=list(columns)):
            yield batch.filter(batch.column(present).is_valid()) if present else batch


@contextmanager
def _spark_errors(
    where: str, remedy: str, *, unreadable_is_input: bool = False, parameters: Sequence[str] = ()
) -> Iterator[None]:
    """Raises InputError for queries that fail in the block, StorageError when storage or the cluster does.

    Args:
        where: The SQL file or the source, as the first words of the message.
        remedy: What the author can do.
        unreadable_is_input: Whether a file that Spark cannot read is the input's fault.
        parameters: Those that the query may use.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import AnalysisException, PySparkException, PySparkTypeError

    try:
        yield
    except PySparkException as error:
        if error.getCondition() == "UNBOUND_SQL_PARAMETER":
            raise _unknown_parameter(where, error, parameters) from error
        is_query_error = isinstance(error, AnalysisException | PySparkTypeError)
        if is_query_error or (error.getSqlState() or "").startswith(_QUERY_FAULTS):
            raise _input_error(where, error.getMessage(), remedy) from error
        raise as_storage_error(where, OSError(_cause(str(error)))) from error
    except (Py4JError, ConnectionError) as error:  # the second: the JVM is gone
        if unreadable_is_input and "FAILED_READ_FILE" in str(error):
            raise _input_error(where, _cause(str(error)), remedy) from error
        raise as_storage_error(where, OSError(_cause(str(error)))) from error


def _unknown_parameter(where: str, error: PySparkException, known: Sequence[str]) -> SpecError:
    name = (error.getMessageParameters() or {}).get("name", "")
    return SpecError(
        f"{where}: unknown parameter :{name}{did_you_mean(name, known)}",
        expected=f"one of {', '.join(f':{one}' for one in known)}",
    )


def _input_error(where: str, message: str, remedy: str) -> InputError:
    brief = " ".join(message.split())[:600]
    return InputError(f"{where}: {brief}", expected="a query that runs on these sources", remedy=remedy)


def _cause(text: str) -> str:
    """The innermost `Caused by` of a Java exception, else its first line."""
    causes = re.findall(r"^Caused by: (.+)$", text, re.MULTILINE) or re.findall(r"^: (.+)$", text, re.MULTILINE)
    return str(causes[-1] if causes else text.strip().splitlines()[0])[:500]
