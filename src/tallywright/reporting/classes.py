"""What the report says of the classes of a multiclass model: how often each is predicted, and how well each is told."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from tallywright.class_metrics import kind_of
from tallywright.mlflow_names import decoded
from tallywright.reporting.plot import Plot, Series
from tallywright.reporting.sections import of_scores, realised
from tallywright.tasks import is_of_class, metric_of

if TYPE_CHECKING:
    from datetime import date

    from tallywright.reporting.sections import Row, Sources

_MOST_PLOTS: Final = 6
"""The most frequent classes have a plot; what a page of hundreds would show, nobody would see."""


def class_shares(sources: Sources) -> list[Plot]:
    """The share of rows that were predicted to be of each class, the most frequent first; none for other tasks."""
    if not sources.spec.training.kind.per_class:
        return []
    counts = _predicted(sources)
    totals: Counter[str] = Counter()
    for of_day in counts.values():
        totals.update(of_day)
    return [
        Plot(
            f"Share of rows predicted {name}",
            sources.days,
            [Series(name, "one", [_share(counts.get(day), name) for day in sources.days])],
            "share",
            zero=True,
            gaps=sources.gaps,
        )
        for name, _ in sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:_MOST_PLOTS]
    ]


def _share(of_day: dict[str, int] | None, name: str) -> float | None:
    return None if not of_day else of_day.get(name, 0) / sum(of_day.values())


def _predicted(sources: Sources) -> dict[date, dict[str, int]]:
    """How many rows of each day were predicted to be of each class."""
    found: dict[date, dict[str, int]] = defaultdict(dict)
    for row in of_scores(sources, "CAST(prediction AS VARCHAR) AS class, count(*) AS count"):
        found[row["score_date"]][row["class"]] = row["count"]
    return found


def class_figures(sources: Sources) -> list[Row]:
    """The metrics of each class on the last day with mature labels, the worst AUC first; none for other tasks."""
    rows = [row for row in realised(sources) if row["slice_key"] is None and is_of_class(row["metric"])]
    last = max((row["score_date"] for row in rows), default=None)
    by_class: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in rows:
        if row["score_date"] == last:
            kind, of_class = kind_of(row["metric"]), metric_of(row["metric"]).of_class
            by_class[of_class] |= {kind: row["value"], "note": by_class[of_class].get("note") or row["note"]}
    return [
        {"score_date": last, "name": decoded(of_class), **by_class[of_class]}
        for of_class in sorted(by_class, key=lambda name: (by_class[name].get("auc") or 0.0, name))
    ]
