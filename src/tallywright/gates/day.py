"""The day gate: validates a day of the feature table with the model's expectation suite, before it is scored.

A gate sees all rows of a day, or a bounded sample of a large one beside exact counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.parquet import ParquetFile

from tallywright.data.delta.damage import damage_of
from tallywright.data.delta.rows import scalar_of
from tallywright.data.fingerprint import row_hashes
from tallywright.data.storage.filesystem import is_disk
from tallywright.gates.data_docs import page_of, write_day
from tallywright.gates.record import DAY_GATE, day_subject
from tallywright.gates.validate import FAILED_VERDICTS
from tallywright.records import Check, GateReport, InputVersion, Verdict, digest_of
from tallywright.score_period import columns_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.gates.suite import ExpectationConfig, Suite
    from tallywright.gates.validate import DayGates, SuiteValidator
    from tallywright.spec import ModelSpec, Project

MAX_ROWS: Final = 500_000
"""A larger day is sampled down to about this many rows."""
_FORM: Final = 2
"""Raised when a check of this module changes its meaning, so that reports of before are not taken for today's."""
_NOT_JUDGED: Final = frozenset({"label_wait_days"})
"""Keys of `data` that were invented later and say nothing about the features of a day."""
_JUDGED_OF_SOURCES: Final = frozenset({"path", "package", "format", "null_value", "types"})
"""The keys of a source that the first version had: how files are read says nothing about a day that was ingested."""
_NULL_EXPECTATIONS: Final = frozenset(
    {"expect_column_values_to_not_be_null", "expect_column_proportion_of_non_null_values_to_be_between"}
)
_ROW_COUNT: Final = frozenset({"expect_table_row_count_to_be_between", "expect_table_row_count_to_equal"})


@dataclass(frozen=True, slots=True)
class DayRows:
    """The rows of a day for the gate: all of them or a sample, with exact counts.

    Attributes:
        table: All rows, or the sample.
        rows: How many there are, exactly.
        missing: Null or NaN values by column, exactly.
    """

    table: pa.Table
    rows: int
    missing: dict[str, int]

    @property
    def sampled(self) -> bool:
        """True when `table` holds only some of the rows."""
        return int(self.table.num_rows) < self.rows


def read_day(lake: Lake, spec: ModelSpec, judged: InputVersion, *, max_rows: int = MAX_ROWS) -> DayRows:
    """Reads a day at the version that ingest recorded, sampled when it is large.

    The sample is taken by the hash of the keys: it does not depend on how the rows are stored, and holds the same rows
    when the day is judged again.

    Raises:
        StorageError: The table or the pinned version is gone.
    """
    files = lake.files(judged.table, day=judged.score_date, version=judged.version)
    rows = sum(file.rows for file in files)
    if rows <= max_rows or not all(is_disk(file.path) for file in files):
        where = {"score_date": judged.score_date}
        table = _judged_columns(lake.read(judged.table, where=where, version=judged.version), spec)
        missing = _missing(table)
        kept = table if rows <= max_rows else _sample(table, spec, max_rows / rows)
        return DayRows(kept, table.num_rows, missing)
    schema = pa.schema(lake.look(judged.table, judged.version).schema().to_arrow())
    parts = [_judged_columns(pa.Table.from_batches([], schema), spec)]
    missing = dict.fromkeys(parts[0].column_names, 0)
    for batch in _batches(lake.uri(judged.table), [file.path for file in files]):
        part = _judged_columns(_aligned(pa.Table.from_batches([batch]), schema, judged.score_date), spec)
        for name, count in _missing(part).items():
            missing[name] += count
        parts.append(_sample(part, spec, max_rows / rows))
    return DayRows(pa.concat_tables(parts), rows, missing)


def _judged_columns(table: pa.Table, spec: ModelSpec) -> pa.Table:
    """The columns of the spec: those that the table had before are nobody's."""
    return table.select([name for name in table.column_names if name in (*spec.partition, *spec.data.columns)])


def _batches(uri: str, paths: list[str]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with damage_of(uri, path), ParquetFile(path, page_checksum_verification=True) as file:
            yield from file.iter_batches(batch_size=1 << 16)


def _aligned(table: pa.Table, schema: pa.Schema, day: date) -> pa.Table:
    """Fits a file's rows to the table's schema: the partition's date is added, columns the file lacks are null."""
    columns, period = [], columns_of({"score_date": day})
    for field in schema:
        if field.name in table.column_names:
            columns.append(table[field.name].cast(field.type))
        elif field.name in period:
            columns.append(pa.repeat(scalar_of(period[field.name], field.type), table.num_rows))
        else:
            columns.append(pa.nulls(table.num_rows, field.type))
    return pa.table(columns, schema=schema)


def _missing(table: pa.Table) -> dict[str, int]:
    counts = {}
    for name in table.column_names:
        is_float = pa.types.is_floating(table.schema.field(name).type)
        counts[name] = int(pc.sum(pc.is_null(table[name], nan_is_null=is_float)).as_py() or 0)
    return counts


def _sample(table: pa.Table, spec: ModelSpec, share: float) -> pa.Table:
    key = [name for name in spec.data.key if name in table.column_names] or table.column_names
    hashes = row_hashes(table, key)
    return table.filter(pa.array(hashes < np.uint64(int(min(share, 1.0) * (2**64 - 1)))))


def day_gate(project: Project, lake: Lake, judged: InputVersion, *, gates: DayGates, page: bool = False) -> GateReport:
    """Validates one day as ingest left it, and writes its page of the Data Docs.

    Three checks need no suite: the rows are all there, the columns of the spec are there, and no column is wholly
    null, unless the spec calls it sparse or the suite has an expectation about its nulls.

    Args:
        project: The model project.
        lake: Where the day is.
        judged: The day, as ingested.
        gates: What the days of a range share; its end writes the index of the Data Docs.
        page: Let Great Expectations render its page too although all expectations were met: it takes longer than
            judging the day.

    Raises:
        SpecError: The suite is missing or is not one.
        StorageError: The day cannot be read, or the Data Docs cannot be written.
    """
    spec, folder = project.spec, data_docs_folder(project)
    validator = gates.validator(project.expectations, spec.table("features"))
    day = read_day(lake, spec, judged)
    built_in = (_rows(day, judged), _columns(day, spec), _not_all_null(day, spec, validator.suite))
    expected, result = _judged(validator, day)
    report = GateReport(gate=DAY_GATE, model=spec.name, subject=day_subject(judged), checks=built_in + expected)
    rendered = result is not None and (page or not result.success)
    write_day(folder, judged.score_date, report, result if rendered else None)
    gates.judged(folder, spec.name)
    return report


def judged_by(project: Project, gates: DayGates) -> str:
    """Digest of what a verdict depends on besides the day: suite, data section, Great Expectations, this module.

    Raises:
        SpecError: The suite is missing or is no text.
    """
    suite = gates.text(project.expectations, project.spec.table("features"))
    data = project.spec.data.as_json(without=_NOT_JUDGED)
    data["sources"] = {
        name: {key: value for key, value in source.items() if key in _JUDGED_OF_SOURCES}
        for name, source in data["sources"].items()
    }
    return digest_of([_FORM, MAX_ROWS, suite, data, version("great-expectations")])


def day_page(project: Project, day: date) -> Path:
    """The address of a day's page in the Data Docs, whether or not there is one."""
    return page_of(data_docs_folder(project), day)


def data_docs_folder(project: Project) -> Path:
    """The folder of the model's Data Docs; open `index.html` in it."""
    return Path(project.environment.storage.work) / "data_docs" / project.spec.name


def _judged(validator: SuiteValidator, day: DayRows) -> tuple[tuple[Check, ...], Any]:
    """One check an expectation; none for an empty day, which has failed already."""
    if not day.rows:
        return (), None
    validated = validator.validate(day.table.to_pandas())
    if not day.sampled:
        return validated.checks, validated.result
    pairs = zip(validator.suite.expectations, validated.checks, strict=True)
    return tuple(_of_a_sample(expected, check, day) for expected, check in pairs), validated.result


def _of_a_sample(expected: ExpectationConfig, check: Check, day: DayRows) -> Check:
    """Adapts a check of the sample to the whole day: row counts are exact, other evidence names the sample."""
    if expected.expect not in _ROW_COUNT:
        note = f"on a sample of {day.table.num_rows:,} of {day.rows:,} rows"
        return check.model_copy(update={"evidence": "; ".join(filter(None, [check.evidence, note]))})
    bounds = expected.arguments
    low, high = bounds.get("min_value", bounds.get("value")), bounds.get("max_value", bounds.get("value"))
    good = (low is None or day.rows >= low) and (high is None or day.rows <= high)
    failure = FAILED_VERDICTS[expected.severity]
    return check.model_copy(
        update={
            "verdict": Verdict.PASS if good else failure,
            "observed": float(day.rows),
            "evidence": "; ".join(filter(None, ["counted exactly", expected.notes])),
        }
    )


def _rows(day: DayRows, judged: InputVersion) -> Check:
    good = day.rows == judged.rows and day.rows > 0
    return Check(
        name="rows_as_ingested",
        verdict=Verdict.PASS if good else Verdict.FAIL,
        observed=float(day.rows),
        bound=f"{judged.rows}, and at least one",
        evidence=f"{judged.table} version {judged.version}",
    )


def _columns(day: DayRows, spec: ModelSpec) -> Check:
    lacking = [name for name in spec.data.columns if name not in day.table.column_names]
    return Check(
        name="columns_of_the_spec",
        verdict=Verdict.FAIL if lacking else Verdict.PASS,
        observed=f"missing: {', '.join(lacking)}" if lacking else "all there",
        bound=f"{len(spec.data.columns)} columns of data.columns",
    )


def _not_all_null(day: DayRows, spec: ModelSpec, suite: Suite) -> Check:
    exempt = {item.arguments.get("column") for item in suite.expectations if item.expect in _NULL_EXPECTATIONS}
    exempt.update(spec.data.sparse_columns)
    empty = [name for name, count in day.missing.items() if count == day.rows > 0 and name not in exempt]
    return Check(
        name="no_column_all_null",
        verdict=Verdict.FAIL if empty else Verdict.PASS,
        observed=f"all null: {', '.join(empty)}" if empty else "none",
        bound="each column has a value, unless it is sparse or the suite speaks of its nulls",
    )
