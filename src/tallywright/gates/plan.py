"""How a suite is judged day after day: what its expectations need is worked out once, and each day resolves it.

`Batch.validate` works out from scratch, at every call, which metrics each expectation needs of a batch; that costs
several times as much as the metrics of a thousand rows. A range asks the same of every day. So the steps of the
library's own `Validator.graph_validate` are taken here one by one, and what does not depend on the rows is kept.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

BOOLEAN_ONLY: Final = "BOOLEAN_ONLY"
"""The form of result that says only whether an expectation was met."""


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
