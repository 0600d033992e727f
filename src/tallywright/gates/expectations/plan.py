"""Runs expectations of the library over one batch after another, and keeps what does not depend on the rows.

`Batch.validate` works out from scratch, at every call, which metrics each expectation needs of a batch; that costs
several times as much as the metrics of a thousand rows, and a range needs the same of every day. So the steps of the
library's own `Validator.graph_validate` are taken here one by one, and the graph of metrics is kept.

The library counts unexpected rows by a mask over them. The mask is kept, so that examples need no second pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BOOLEAN_ONLY: Final = "BOOLEAN_ONLY"
"""The result format that says only whether an expectation was met."""
_SETTINGS: Final = {"result_format": BOOLEAN_ONLY}
_COUNT: Final = ".unexpected_count"
_NULLS: Final = "column_values.nonnull.condition"
"""The mask that most expectations of a column need besides their own."""


@dataclass(frozen=True, slots=True)
class ExpectationOutcome:
    """What the library says of one expectation.

    Attributes:
        success: Whether it was met.
        result: What it observed, by the library's names.
        unexpected: True for each judged row that is unexpected, by its place among all rows; None where it judges none.
        error: Why it could not be evaluated; empty when it was.
    """

    success: bool
    result: dict[str, Any] = field(default_factory=dict)
    unexpected: Any = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An expectation with the metrics that it needs.

    Attributes:
        expectation: The library's object.
        needs: Its metrics by the names it knows them by, and the format of its result.
        graph: These metrics and those that they depend on; or the exception that the library raised.
        masks: Those of the metrics that are masks over rows; its own comes before that of the nulls.
    """

    expectation: Any
    needs: Any
    graph: Any
    masks: tuple[Any, ...] = ()

    @property
    def edges(self) -> Sequence[Any]:
        """The edges of the metric graph: each metric with one that it depends on."""
        return () if isinstance(self.graph, Exception) else self.graph.graph.edges


class ExpectationPlan:
    """Expectations with their resolved metrics; reusable for each later batch of the same id."""

    def __init__(self, batch: Any, expectations: Sequence[Any]) -> None:
        self._engine = batch.data.execution_engine
        self._expectations = [_of_batch(item, batch.id) for item in expectations]
        self._kept = [self._prepared_without_rows(item) for item in self._expectations]

    def run(self) -> list[ExpectationOutcome]:
        """Validates the loaded batch; one outcome an expectation, in their order."""
        ready: list[_Prepared | ExpectationOutcome] = []
        for item, kept in zip(self._expectations, self._kept, strict=True):
            try:
                ready.append(kept or self._prepare(item, self._engine))
            except Exception as error:  # noqa: BLE001 - whatever the library raises is about this expectation
                ready.append(_not_evaluated(error))
        prepared = [one for one in ready if isinstance(one, _Prepared)]
        try:
            metrics, aborted = self._resolved(prepared)
        except Exception as error:  # noqa: BLE001 - of several it does not say which; each is asked alone
            judged = iter([_not_evaluated(error)] if len(prepared) == 1 else [self._alone(one) for one in prepared])
        else:
            judged = iter([self._judged(one, metrics, aborted) for one in prepared])
        return [one if isinstance(one, ExpectationOutcome) else next(judged) for one in ready]

    def _alone(self, one: _Prepared) -> ExpectationOutcome:
        try:
            metrics, aborted = self._resolved([one])
        except Exception as error:  # noqa: BLE001 - now it is about this one
            return _not_evaluated(error)
        return self._judged(one, metrics, aborted)

    def _resolved(self, ready: Sequence[_Prepared]) -> tuple[Any, Any]:
        found: tuple[Any, Any] = self._graph_of(ready).resolve(dict(_SETTINGS), show_progress_bars=False)
        return found

    def _prepared_without_rows(self, expectation: Any) -> _Prepared | None:
        """Prepares an expectation without rows; None for the few that need rows to name their metrics.

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

        needs = expectation.get_validation_dependencies(engine, dict(_SETTINGS))
        try:
            graph = MetricsCalculator(engine, show_progress_bars=False).build_metric_dependency_graph(
                needs.get_metric_configurations(), dict(_SETTINGS)
            )
        except Exception as error:  # noqa: BLE001 - as in the library: it is about this expectation, not about the suite
            return _Prepared(expectation, needs, error)
        masks = _masks(graph, needs.metric_configurations)
        return _Prepared(expectation, needs, ExpectationValidationGraph(expectation.configuration, graph), masks)

    def _graph_of(self, ready: Sequence[_Prepared]) -> Any:
        from great_expectations.validator.validation_graph import ValidationGraph

        graph = ValidationGraph(self._engine)
        for one in ready:
            for edge in one.edges:
                graph.add(edge)  # once, although many expectations need it
        return graph

    def _judged(self, ready: _Prepared, metrics: Any, aborted: Any) -> ExpectationOutcome:
        if isinstance(ready.graph, Exception):
            return _not_evaluated(ready.graph)
        try:
            if reasons := ready.graph.get_exception_info(aborted) if aborted else None:
                return ExpectationOutcome(success=False, error="; ".join(sorted(_messages(reasons))))
            return self._evaluated(ready, metrics)
        except Exception as error:  # noqa: BLE001 - whatever an expectation raises is its own finding
            return _not_evaluated(error)

    def _evaluated(self, ready: _Prepared, metrics: Any) -> ExpectationOutcome:
        """Evaluates an expectation as `Expectation.metrics_validate` does, without resolving its metrics again."""
        found = ready.expectation._validate(  # noqa: SLF001 - the method that every expectation implements
            metrics={name: metrics[metric.id] for name, metric in ready.needs.metric_configurations.items()},
            runtime_configuration={"result_format": dict(ready.needs.result_format)},
            execution_engine=self._engine,
        )
        masks = (metrics[one] for one in ready.masks if one in metrics)
        mask = next((found[0] for found in masks if isinstance(found, tuple)), None)
        return ExpectationOutcome(bool(found["success"]), found.get("result") or {}, mask)


def _messages(reasons: Any) -> set[str]:
    """The messages of what was raised about the metrics of an expectation."""
    found = reasons.values() if isinstance(reasons, dict) else reasons
    return {str(getattr(one, "exception_message", one)) for one in found}


def _masks(graph: Any, needed: Iterable[str]) -> tuple[Any, ...]:
    """The ids of the masks of what the expectation counts."""
    counts = [name for name in needed if name.endswith(_COUNT)]
    wanted = {name.removesuffix(_COUNT) + ".condition" for name in counts}
    metrics = {one.id: one.metric_name for edge in graph.edges for one in (edge.left, edge.right) if one is not None}
    masks = [one for one, name in metrics.items() if name in wanted]
    return tuple(sorted(masks, key=lambda one: bool(metrics[one] == _NULLS)))


def _of_batch(expectation: Any, batch_id: str) -> Any:
    """The expectation bound to a batch, as the library does before it runs it."""
    configuration = expectation.configuration
    configuration.kwargs["batch_id"] = batch_id
    return configuration.to_domain_obj()


def _not_evaluated(error: Exception) -> ExpectationOutcome:
    return ExpectationOutcome(
        success=False, error=f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    )
