"""What a suite says about one day's rows, as checks: the verdict by severity, what was observed, some examples.

`Batch.validate` works out from scratch, at every call, which metrics each expectation needs of a batch; that costs
several times as much as the metrics of a thousand rows. A range asks the same of every day. So the steps of the
library's own `Validator.graph_validate` are taken here one by one, what does not depend on the rows is kept (`Plan`),
and the days of a range share one suite and one index of the Data Docs (`DayGates`).
"""

from __future__ import annotations

import math
import traceback
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

from tallywright.gates.data_docs import write_index
from tallywright.gates.suite import Frames, build, load_suite
from tallywright.records import Check, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    import pandas as pd

    from tallywright.gates.suite import Expected, Suite

BOOLEAN_ONLY: Final = "BOOLEAN_ONLY"
"""The form of result that says only whether an expectation was met."""
_DETAILS: Final = {"result_format": "SUMMARY", "partial_unexpected_count": 5}
_VERDICTS: Final = {"critical": Verdict.FAIL, "warning": Verdict.WARN, "info": Verdict.PASS}


@dataclass(frozen=True, slots=True)
class _Ready:
    """An expectation and what it needs to be judged.

    Attributes:
        expectation: The library's object.
        needs: Its metrics by the names that it knows them by, and the form of its result.
        graph: These metrics and those that they are made from; or the exception that came of asking.
    """

    expectation: Any
    needs: Any
    graph: Any

    @property
    def edges(self) -> Sequence[Any]:
        """The metrics in pairs, each with one that it is made from."""
        return () if isinstance(self.graph, Exception) else self.graph.graph.edges


class Plan:
    """Some expectations of a batch, ready to be judged; it holds for each later batch of the same id."""

    def __init__(self, batch: Any, expectations: Sequence[Any], result_format: Any) -> None:
        self._engine = batch.data.execution_engine
        self._settings = {"result_format": result_format}
        self._expectations = [_of_batch(item, batch.id) for item in expectations]
        self._kept = [self._ready_without_rows(item) for item in self._expectations]

    def run(self) -> list[Any]:
        """What each expectation finds in the batch that is loaded, in their order."""
        pairs = zip(self._expectations, self._kept, strict=True)
        ready = [kept or self._ready(item, self._engine) for item, kept in pairs]
        metrics, aborted = self._graph_of(ready).resolve(dict(self._settings), show_progress_bars=False)
        return [self._judged(one, metrics, aborted) for one in ready]

    def _ready_without_rows(self, expectation: Any) -> _Ready | None:
        """What holds for any rows; None for the few that look at rows to say what they need, such as those of types.

        An engine without a batch tells them apart: with it, they cannot say.
        """
        try:
            ready = self._ready(expectation, type(self._engine)())
        except Exception:  # noqa: BLE001 - asked again with the rows, where an exception is a finding
            return None
        return None if isinstance(ready.graph, Exception) else ready

    def _ready(self, expectation: Any, engine: Any) -> _Ready:
        from great_expectations.validator.metrics_calculator import MetricsCalculator
        from great_expectations.validator.validation_graph import ExpectationValidationGraph

        needs = expectation.get_validation_dependencies(engine, dict(self._settings))
        try:
            graph = MetricsCalculator(engine, show_progress_bars=False).build_metric_dependency_graph(
                needs.get_metric_configurations(), dict(self._settings)
            )
        except Exception as error:  # noqa: BLE001 - as in the library: it is about this expectation, not about the suite
            return _Ready(expectation, needs, error)
        return _Ready(expectation, needs, ExpectationValidationGraph(expectation.configuration, graph))

    def _graph_of(self, ready: Sequence[_Ready]) -> Any:
        from great_expectations.validator.validation_graph import ValidationGraph

        graph = ValidationGraph(self._engine)
        for one in ready:
            for edge in one.edges:
                graph.add(edge)  # once, although many expectations need it
        return graph

    def _judged(self, ready: _Ready, metrics: Any, aborted: Any) -> Any:
        if isinstance(ready.graph, Exception):
            return _not_evaluated(ready.expectation, _told(ready.graph))
        if reasons := ready.graph.get_exception_info(aborted) if aborted else None:
            return _not_evaluated(ready.expectation, reasons)
        try:
            return self._evaluated(ready, metrics)
        except Exception as error:  # noqa: BLE001 - whatever an expectation raises is its own finding
            return _not_evaluated(ready.expectation, _told(error))

    def _evaluated(self, ready: _Ready, metrics: Any) -> Any:
        """What `Expectation.metrics_validate` does, less asking the expectation again what it needs."""
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
    """The expectation as the library makes it for a batch before it is run."""
    configuration = expectation.configuration
    configuration.kwargs["batch_id"] = batch_id
    return configuration.to_domain_obj()


def _not_evaluated(expectation: Any, reasons: Any) -> Any:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult

    return ExpectationValidationResult(
        success=False, exception_info=reasons, expectation_config=expectation.configuration
    )


def _told(error: Exception) -> Any:
    from great_expectations.validator.exception_info import ExceptionInfo

    trace = "".join(traceback.format_exception(error))
    return ExceptionInfo(exception_traceback=trace, exception_message=str(error))


@dataclass(frozen=True, slots=True)
class Validated:
    """What the suite found: one check per expectation in the order of the file, and the library's own result."""

    checks: tuple[Check, ...]
    result: Any


class SuiteValidator:
    """A suite made ready at its first use, in one context of the library, for any number of days."""

    def __init__(self, suite: Suite, file: Path) -> None:
        self.suite = suite
        self._file = file
        self._plan: Plan | None = None

    def validate(self, rows: pd.DataFrame) -> Validated:
        """Runs every expectation once without details, and those that failed once more for their examples.

        Raises:
            SpecError: An expectation that does not exist, or arguments it does not take, all problems at once.
        """
        with warnings.catch_warnings():
            # The library imports the deprecated sre_constants, and pandas warns of the dtypes it builds.
            warnings.simplefilter("ignore")
            batch = self._frames.load(rows)
            if self._plan is None:
                self._plan = Plan(batch, self._expectations, BOOLEAN_ONLY)
            results = self._plan.run()
            failed = [index for index, result in enumerate(results) if not result.success]
            if failed:
                again = Plan(batch, [self._expectations[index] for index in failed], _DETAILS).run()
                detailed = dict(zip(failed, again, strict=True))
                results = [detailed.get(index, result) for index, result in enumerate(results)]
        checks = tuple(_check(e, r) for e, r in zip(self.suite.expectations, results, strict=True))
        return Validated(checks, _suite_result(self.suite, results, batch))

    @cached_property
    def _expectations(self) -> list[Any]:
        return build(self.suite, self._file)

    @cached_property
    def _frames(self) -> Frames:
        return Frames(self.suite.dataset)


def validate(suite: Suite, rows: pd.DataFrame, file: Path) -> Validated:
    """Judges one day by a suite that is needed once.

    Raises:
        SpecError: As for `SuiteValidator.validate`.
    """
    return SuiteValidator(suite, file).validate(rows)


def _check(expected: Expected, result: Any) -> Check:
    error = _exception(result)
    # An expectation that could not even be evaluated is missing evidence, whatever its severity.
    failure = Verdict.FAIL if error else _VERDICTS[expected.severity]
    said = [f"severity {expected.severity}"] if not result.success else []
    said += [text for text in (error, _examples(result.result), expected.notes) if text]
    return Check(
        name=expected.name,
        verdict=Verdict.PASS if result.success else failure,
        observed=_observed(result.result),
        bound=expected.bound,
        evidence="; ".join(said),
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
    """The day gates of one command; use it in a `with`, whose end writes the index of the days judged.

    A range is judged by the suite as its first day found it, so that it is one suite for all of them.
    """

    def __init__(self) -> None:
        self._validators: dict[tuple[Path, str], SuiteValidator] = {}
        self._folders: dict[Path, str] = {}

    def validator(self, file: Path, dataset: str) -> SuiteValidator:
        """The suite of a dataset, read at its first use.

        Raises:
            SpecError: The suite is missing or is not one.
        """
        if (file, dataset) not in self._validators:
            self._validators[file, dataset] = SuiteValidator(load_suite(file, dataset), file)
        return self._validators[file, dataset]

    def judged(self, folder: Path, model: str) -> None:
        """Remembers that the Data Docs in this folder have a day that their index does not show yet."""
        self._folders[folder] = model

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._folders:
            write_index(*self._folders.popitem())
