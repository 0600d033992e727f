"""The day gate: may this day of the feature table be scored? Judged by the model's expectation suite, by severity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tallywright.gates.data_docs import write_day
from tallywright.gates.day_rows import DayRows, read_day
from tallywright.gates.record import DAY_GATE, day_subject
from tallywright.gates.session import DayGates
from tallywright.records import Check, GateReport, InputVersion, Verdict

if TYPE_CHECKING:
    from tallywright.data.delta.lake import Lake
    from tallywright.gates.suite import Expected, Suite
    from tallywright.gates.validate import SuiteValidator
    from tallywright.spec import ModelSpec, Project

_ABOUT_NULLS: Final = frozenset(
    {"expect_column_values_to_not_be_null", "expect_column_proportion_of_non_null_values_to_be_between"}
)
_ROW_COUNT: Final = frozenset({"expect_table_row_count_to_be_between", "expect_table_row_count_to_equal"})


def day_gate(
    project: Project, lake: Lake, judged: InputVersion, *, gates: DayGates | None = None, page: bool = False
) -> GateReport:
    """Judges one day as ingest left it, and writes its page of the Data Docs.

    Three checks need no suite: the rows are all there, the columns of the spec are there, and no column is wholly
    null, unless the spec calls it sparse or the suite itself speaks of its nulls.

    Args:
        project: The model project.
        lake: Where the day is.
        judged: The day, as ingested.
        gates: What the days of a range share; a single day has its own.
        page: Let Great Expectations render its page too although all expectations were met: it takes longer than
            judging the day.

    Raises:
        SpecError: The suite is missing or is not one.
        StorageError: The day cannot be read, or the Data Docs cannot be written.
    """
    spec, folder = project.spec, data_docs_folder(project)
    with DayGates.borrowed(gates) as shared:
        validator = shared.validator(project.expectations, spec.table("features"))
        day = read_day(lake, spec, judged)
        built_in = (_rows(day, judged), _columns(day, spec), _not_all_null(day, spec, validator.suite))
        expected, result = _judged(validator, day)
        report = GateReport(gate=DAY_GATE, model=spec.name, subject=day_subject(judged), checks=built_in + expected)
        rendered = result is not None and (page or not result.success)
        write_day(folder, judged.score_date, report, result if rendered else None)
        shared.judged(folder, spec.name)
    return report


def data_docs_folder(project: Project) -> Path:
    """Where the model's Data Docs stand; open `index.html` in it."""
    return Path(project.environment.storage.work) / "data_docs" / project.spec.name


def _judged(validator: SuiteValidator, day: DayRows) -> tuple[tuple[Check, ...], Any]:
    """One check an expectation; an empty day has nothing to look at and has failed already."""
    if not day.rows:
        return (), None
    validated = validator.validate(day.table.to_pandas())
    if not day.sampled:
        return validated.checks, validated.result
    pairs = zip(validator.suite.expectations, validated.checks, strict=True)
    return tuple(_of_a_sample(expected, check, day) for expected, check in pairs), validated.result


def _of_a_sample(expected: Expected, check: Check, day: DayRows) -> Check:
    """The check as it holds for the whole day: row counts exactly, the rest as found in the sample."""
    if expected.expect not in _ROW_COUNT:
        note = f"on a sample of {day.table.num_rows:,} of {day.rows:,} rows"
        return check.model_copy(update={"evidence": "; ".join(filter(None, [check.evidence, note]))})
    bounds = expected.arguments
    low, high = bounds.get("min_value", bounds.get("value")), bounds.get("max_value", bounds.get("value"))
    good = (low is None or day.rows >= low) and (high is None or day.rows <= high)
    failure = {"critical": Verdict.FAIL, "warning": Verdict.WARN, "info": Verdict.PASS}[expected.severity]
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
    spoken_of = {item.arguments.get("column") for item in suite.expectations if item.expect in _ABOUT_NULLS}
    spoken_of.update(spec.data.sparse_columns)
    empty = [name for name, count in day.missing.items() if count == day.rows > 0 and name not in spoken_of]
    return Check(
        name="no_column_all_null",
        verdict=Verdict.FAIL if empty else Verdict.PASS,
        observed=f"all null: {', '.join(empty)}" if empty else "none",
        bound="each column has a value, unless it is sparse or the suite speaks of its nulls",
    )
