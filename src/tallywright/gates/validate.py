"""Validates a day's rows with an expectation suite; results become checks, with a verdict by severity and examples.

`Batch.validate` works out from scratch, at every call, which metrics each expectation needs of a batch; that costs
several times as much as the metrics of a thousand rows, and a range needs the same of every day. So the steps of the
library's own `Validator.graph_validate` are taken here one by one, what does not depend on the rows is kept
(`ExpectationPlan`), and the days of a range share one suite and one index of the Data Docs (`DayGates`).
"""

from __future__ import annotations

import math
import traceback
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

from tallywright.gates.data_docs import write_index
from tallywright.gates.suite import Frames, build, parse_suite, read_suite
from tallywright.records import Check, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    import pandas as pd

    from tallywright.gates.suite import ExpectationConfig, Suite

BOOLEAN_ONLY: Final = "BOOLEAN_ONLY"
"""The result format that says only whether an expectation was met."""
_DETAILS: Final = {"result_format": "SUMMARY", "partial_unexpected_count": 5}
FAILED_VERDICTS: Final = {"critical": Verdict.FAIL, "warning": Verdict.WARN, "info": Verdict.NOTE}


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An expectation with the metrics that it needs.

    Attributes:
        expectation: The library's object.
        needs: Its metrics by the names it knows them by, and the format of its result.
        graph: These metrics and those that they depend on; or the exception that the library raised.
    """

    expectation: Any
    needs: Any
    graph: Any

    @property
    def edges(self) -> Sequence[Any]:
        """The edges of the metric graph: each metric with one that it depends on."""
        return () if isinstance(self.graph, Exception) else self.graph.graph.edges


class ExpectationPlan:
    """Expectations with their resolved metrics; reusable for each later batch of the same id."""

    def __init__(self, batch: Any, expectations: Sequence[Any], result_format: Any) -> None:
        self._engine = batch.data.execution_engine
        self._settings = {"result_format": result_format}
        self._expectations = [_of_batch(item, batch.id) for item in expectations]
        self._kept = [self._prepared_without_rows(item) for item in self._expectations]

    def run(self) -> list[Any]:
        """Validates the loaded batch; one result an expectation, in their order."""
        pairs = zip(self._expectations, self._kept, strict=True)
        ready = [kept or self._prepare(item, self._engine) for item, kept in pairs]
        metrics, aborted = self._graph_of(ready).resolve(dict(self._settings), show_progress_bars=False)
        return [self._judged(one, metrics, aborted) for one in ready]

    def _prepared_without_rows(self, expectation: Any) -> _Prepared | None:
        """Prepares an expectation without rows; None for the few that need rows to name their metrics, such as types.

        An engine without a batch tells them apart: there they raise.
        """
        try:
            ready = self._prepare(expectation, type(self._engine)())
        except Exception:  # noqa: BLE001 - asked again with the rows, where an exception is a finding
            return None
        return None if isinstance(ready.graph, Exception) else ready

    def _prepare(self, expectation: Any, engine: Any) -> _Prepared:
        from great_expectations.validator.metrics_calculator import MetricsCalculator
        from great_expectations.validator.validation_graph import ExpectationValidationGraph

        needs = expectation.get_validation_dependencies(engine, dict(self._settings))
        try:
            graph = MetricsCalculator(engine, show_progress_bars=False).build_metric_dependency_graph(
                needs.get_metric_configurations(), dict(self._settings)
            )
        except Exception as error:  # noqa: BLE001 - as in the library: it is about this expectation, not about the suite
            return _Prepared(expectation, needs, error)
        return _Prepared(expectation, needs, ExpectationValidationGraph(expectation.configuration, graph))

    def _graph_of(self, ready: Sequence[_Prepared]) -> Any:
        from great_expectations.validator.validation_graph import ValidationGraph

        graph = ValidationGraph(self._engine)
        for one in ready:
            for edge in one.edges:
                graph.add(edge)  # once, although many expectations need it
        return graph

    def _judged(self, ready: _Prepared, metrics: Any, aborted: Any) -> Any:
        if isinstance(ready.graph, Exception):
            return _not_evaluated(ready.expectation, _exception_info(ready.graph))
        if reasons := ready.graph.get_exception_info(aborted) if aborted else None:
            return _not_evaluated(ready.expectation, reasons)
        try:
            return self._evaluated(ready, metrics)
        except Exception as error:  # noqa: BLE001 - whatever an expectation raises is its own finding
            return _not_evaluated(ready.expectation, _exception_info(error))

    def _evaluated(self, ready: _Prepared, metrics: Any) -> Any:
        """Evaluates an expectation as `Expectation.metrics_validate` does, without resolving its metrics again."""
        needed = ready.needs.metric_configurations
        if any(metric.id not in metrics for metric in needed.values()):
            return ready.expectation.metrics_validate(metrics, dict(self._settings), self._engine)  # raises, says why
        found = ready.expectation._validate(  # noqa: SLF001 - the method that every expectation implements
            metrics={name: metrics[metric.id] for name, metric in needed.items()},
            runtime_configuration={"result_format": dict(ready.needs.result_format)},
            execution_engine=self._engine,
        )
        result = ready.expectation._build_evr(found)  # noqa: SLF001 - its other half
        if self._settings["result_format"] == BOOLEAN_ONLY:
            result.result = {}
        return result


def _of_batch(expectation: Any, batch_id: str) -> Any:
    """The expectation bound to a batch, as the library does before it runs it."""
    configuration = expectation.configuration
    configuration.kwargs["batch_id"] = batch_id
    return configuration.to_domain_obj()


def _not_evaluated(expectation: Any, reasons: Any) -> Any:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult

    return ExpectationValidationResult(
        success=False, exception_info=reasons, expectation_config=expectation.configuration
    )


def _exception_info(error: Exception) -> Any:
    from great_expectations.validator.exception_info import ExceptionInfo

    trace = "".join(traceback.format_exception(error))
    return ExceptionInfo(exception_traceback=trace, exception_message=str(error))


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """The checks of a suite, one an expectation in the order of the file, and the library's own result."""

    checks: tuple[Check, ...]
    result: Any


class SuiteValidator:
    """Validates any number of days with one suite, in one context of the library."""

    def __init__(self, suite: Suite, file: Path) -> None:
        self.suite = suite
        self._file = file
        self._plan: ExpectationPlan | None = None

    def validate(self, rows: pd.DataFrame) -> SuiteResult:
        """Runs every expectation once without details, and those that failed once more for their examples.

        Raises:
            SpecError: An expectation that does not exist, or arguments it does not take, all problems at once.
        """
        with warnings.catch_warnings():
            # The library imports the deprecated sre_constants, and pandas warns of the dtypes it builds.
            warnings.simplefilter("ignore")
            batch = self._frames.load(rows)
            if self._plan is None:
                self._plan = ExpectationPlan(batch, self._expectations, BOOLEAN_ONLY)
            results = self._plan.run()
            failed = [index for index, result in enumerate(results) if not result.success]
            if failed:
                again = ExpectationPlan(batch, [self._expectations[index] for index in failed], _DETAILS).run()
                detailed = dict(zip(failed, again, strict=True))
                results = [detailed.get(index, result) for index, result in enumerate(results)]
        checks = tuple(_check(e, r) for e, r in zip(self.suite.expectations, results, strict=True))
        return SuiteResult(checks, _suite_result(self.suite, results, batch))

    @cached_property
    def _expectations(self) -> list[Any]:
        return build(self.suite, self._file)

    @cached_property
    def _frames(self) -> Frames:
        return Frames(self.suite.dataset)


def validate(suite: Suite, rows: pd.DataFrame, file: Path) -> SuiteResult:
    """Validates one day with a suite that is used once.

    Raises:
        SpecError: As for `SuiteValidator.validate`.
    """
    return SuiteValidator(suite, file).validate(rows)


def _check(expected: ExpectationConfig, result: Any) -> Check:
    error = _exception(result)
    # An expectation that could not even be evaluated is missing evidence, whatever its severity.
    failure = Verdict.FAIL if error else FAILED_VERDICTS[expected.severity]
    evidence = [f"severity {expected.severity}"] if not result.success else []
    evidence += [text for text in (error, _examples(result.result), expected.notes) if text]
    return Check(
        name=expected.name,
        verdict=Verdict.PASS if result.success else failure,
        observed=_observed(result.result),
        bound=expected.bound,
        evidence="; ".join(evidence),
    )


def _exception(result: Any) -> str:
    info = result.exception_info or {}
    infos = [info] if "raised_exception" in info else list(info.values())
    messages = {str(item.get("exception_message")) for item in infos if item.get("raised_exception")}
    return f"could not be evaluated: {'; '.join(sorted(messages))[:300]}" if messages else ""


def _observed(result: dict[str, Any]) -> float | str | None:
    value = result.get("observed_value", result.get("unexpected_percent"))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)[:200]
    shown = "% unexpected" if "observed_value" not in result else ""
    number = float(value)
    return f"{number:.4g}{shown}" if shown or not math.isfinite(number) else number


def _examples(result: dict[str, Any]) -> str:
    if not result.get("unexpected_count"):
        return ""
    values = dict.fromkeys(str(value) for value in result.get("partial_unexpected_list", ()))
    rows = f"of {result['element_count']} rows" if "element_count" in result else "unexpected values"
    return f"{result['unexpected_count']} {rows}, such as {', '.join(values)}"[:300]


def _suite_result(suite: Suite, results: list[Any], batch: Any) -> Any:
    from great_expectations.core import ExpectationSuiteValidationResult

    good = sum(bool(result.success) for result in results)
    return ExpectationSuiteValidationResult(
        success=good == len(results),
        results=results,
        suite_name=suite.dataset,
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": good,
            "unsuccessful_expectations": len(results) - good,
            "success_percent": 100 * good / len(results),
        },
        meta={"active_batch_definition": {"batch_id": batch.id}},
    )


class DayGates:
    """The suites that the days of one command share; the end of its `with` block writes the index of the Data Docs.

    Each suite is read once, so that all days of a range are validated by the same one.
    """

    def __init__(self) -> None:
        self._validators: dict[tuple[Path, str], SuiteValidator] = {}
        self._texts: dict[tuple[Path, str], str] = {}
        self._folders: dict[Path, str] = {}

    def text(self, file: Path, dataset: str) -> str:
        """The text of a dataset's suite, which is read at its first use.

        Raises:
            SpecError: The suite is missing or is no text.
        """
        if (file, dataset) not in self._texts:
            self._texts[file, dataset] = read_suite(file, dataset)
        return self._texts[file, dataset]

    def validator(self, file: Path, dataset: str) -> SuiteValidator:
        """The validator of a dataset's suite, which is made at its first use.

        Raises:
            SpecError: The suite is missing or is not one.
        """
        if (file, dataset) not in self._validators:
            suite = parse_suite(self.text(file, dataset), file, dataset)
            self._validators[file, dataset] = SuiteValidator(suite, file)
        return self._validators[file, dataset]

    def judged(self, folder: Path, model: str) -> None:
        """Notes that the Data Docs in this folder have a new page, so that their index is written at the end."""
        self._folders[folder] = model

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._folders:
            write_index(*self._folders.popitem())
