"""The day gate: validates a day of the feature table with the model's expectation suite, before it is scored.

A gate sees all rows of a day, or a bounded sample of a large one beside exact counts.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.parquet import ParquetFile

from tallywright.data.delta.damage import damage_of
from tallywright.data.delta.rows import scalar_of
from tallywright.data.fingerprint import row_hashes
from tallywright.data.storage.filesystem import is_disk
from tallywright.gates.data_docs import page_of, write_day
from tallywright.gates.expectations.results import FAILED_VERDICTS, CheckFinding
from tallywright.gates.record import DAY_GATE, day_subject
from tallywright.gates.suite import day_columns
from tallywright.records import Check, GateReport, InputVersion, Verdict, digest_of
from tallywright.score_period import columns_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.gates.expectations.conditions import Condition
    from tallywright.gates.suite import CheckedExpectation, CheckedSuite
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
        counted: By condition, how many rows meet it, exactly.
    """

    table: pa.Table
    rows: int
    missing: dict[str, int]
    counted: dict[str, int] = field(default_factory=dict)

    @property
    def sampled(self) -> bool:
        """True when `table` holds only some of the rows."""
        return int(self.table.num_rows) < self.rows


def read_day(
    lake: Lake, spec: ModelSpec, judged: InputVersion, counted: Sequence[Condition] = (), *, max_rows: int = MAX_ROWS
) -> DayRows:
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
        kept = table if rows <= max_rows else _sample(table, spec, max_rows / rows)
        return DayRows(kept, table.num_rows, _missing(table), _counted(table, counted))
    schema = pa.schema(lake.look(judged.table, judged.version).schema().to_arrow())
    parts = [_judged_columns(pa.Table.from_batches([], schema), spec)]
    missing = dict.fromkeys(parts[0].column_names, 0)
    counts = Counter[str]()
    for batch in _batches(lake.uri(judged.table), [file.path for file in files]):
        part = _judged_columns(_aligned(pa.Table.from_batches([batch]), schema, judged.score_date), spec)
        for name, count in _missing(part).items():
            missing[name] += count
        counts.update(_counted(part, counted))
        parts.append(_sample(part, spec, max_rows / rows))
    return DayRows(pa.concat_tables(parts), rows, missing, dict(counts))


def _counted(table: pa.Table, conditions: Sequence[Condition]) -> dict[str, int]:
    """How many rows meet each condition; a condition on a column that the table lacks says nothing."""
    with suppress(KeyError):
        return {one.text: int(pc.sum(one.holds(table)).as_py() or 0) for one in conditions}
    return {}


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
    for column in schema:
        if column.name in table.column_names:
            columns.append(table[column.name].cast(column.type))
        elif column.name in period:
            columns.append(pa.repeat(scalar_of(period[column.name], column.type), table.num_rows))
        else:
            columns.append(pa.nulls(table.num_rows, column.type))
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


def day_gate(project: Project, lake: Lake, judged: InputVersion, *, gates: DayGates) -> GateReport:
    """Validates one day as ingest left it, and writes its page of the Data Docs.

    Three checks need no suite: the rows are all there, the columns of the spec are there, and no column is wholly
    null, unless the spec calls it sparse or the suite has an expectation about its nulls. Columns that only older days
    had are no business of the gate.

    Args:
        project: The model project.
        lake: Where the day is.
        judged: The day, as ingested.
        gates: What the days of a range share; its end writes the index of the Data Docs.

    Raises:
        SpecError: The suite is missing, or something in it cannot be judged.
        StorageError: The day cannot be read, or the Data Docs cannot be written.
    """
    spec, folder = project.spec, data_docs_folder(project)
    validator = gates.validator(project.expectations, spec.table("features"), day_columns(spec))
    day = read_day(lake, spec, judged, _counted_conditions(validator))
    built_in = (_rows(day, judged), _columns(day, spec), _not_all_null(day, spec, validator.suite))
    expected = _judged(validator, day, spec)
    checks = (*built_in, *(one.check for one in expected))
    report = GateReport(gate=DAY_GATE, model=spec.name, subject=day_subject(judged), checks=checks)
    write_day(folder, judged.score_date, report, [*(CheckFinding(check, check.bound) for check in built_in), *expected])
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


def _counted_conditions(validator: SuiteValidator) -> list[Condition]:
    """The conditions of row counts, which are counted exactly whatever the sample."""
    return [one.condition for one in validator.suite.expectations
            if one.condition is not None and one.config.expect in _ROW_COUNT]  # fmt: skip


def _judged(validator: SuiteValidator, day: DayRows, spec: ModelSpec) -> list[CheckFinding]:
    """One finding an expectation; none for an empty day, which has failed already."""
    if not day.rows:
        return []
    findings = validator.validate(day.table, spec.data.key)
    if not day.sampled:
        return findings
    pairs = zip(validator.suite.expectations, findings, strict=True)
    return [replace(found, check=_of_a_sample(expected, found.check, day)) for expected, found in pairs]


def _of_a_sample(expected: CheckedExpectation, check: Check, day: DayRows) -> Check:
    """Adapts a check of the sample to the whole day: row counts are exact, other evidence names the sample."""
    condition = expected.condition
    rows = day.rows if condition is None else day.counted.get(condition.text)
    if expected.config.expect not in _ROW_COUNT or rows is None:
        note = f"on a sample of {day.table.num_rows:,} of {day.rows:,} rows"
        return check.model_copy(update={"evidence": "; ".join(filter(None, [check.evidence, note]))})
    bounds = expected.values
    low, high = bounds.get("min_value", bounds.get("value")), bounds.get("max_value", bounds.get("value"))
    above = low is None or rows > low or (rows == low and not bounds.get("strict_min"))
    below = high is None or rows < high or (rows == high and not bounds.get("strict_max"))
    return check.model_copy(
        update={
            "verdict": Verdict.PASS if above and below else FAILED_VERDICTS[expected.config.severity],
            "observed": float(rows),
            "evidence": "; ".join(filter(None, ["counted exactly", expected.config.notes])),
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


def _not_all_null(day: DayRows, spec: ModelSpec, suite: CheckedSuite) -> Check:
    spoken = [one for one in suite.expectations if one.config.expect in _NULL_EXPECTATIONS and one.condition is None]
    exempt = {one.values["column"] for one in spoken}
    exempt.update(spec.data.sparse_columns)
    empty = [name for name, count in day.missing.items() if count == day.rows > 0 and name not in exempt]
    return Check(
        name="no_column_all_null",
        verdict=Verdict.FAIL if empty else Verdict.PASS,
        observed=f"all null: {', '.join(empty)}" if empty else "none",
        bound="each column has a value, unless it is sparse or the suite speaks of its nulls",
    )
