"""The data of the report's sections, read from the tables of one model; no HTML.

Days are score periods: of an hourly model they are hours.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.delta.rows import rows_of, written_order
from tallywright.monitoring.performance import COVERAGE
from tallywright.monitoring.periods import read_periods
from tallywright.monitoring.policy import state_word
from tallywright.records import Role
from tallywright.registry.promotion_log import PromotionLog, champion_on
from tallywright.registry.stages import stage_named
from tallywright.reporting.plot import Cell, Gap, HeatMap, Plot, Series
from tallywright.score_period import HOUR_COLUMN, date_of
from tallywright.scoring.commit.manifests import manifests
from tallywright.tasks import EXPECTED_COST, metric_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.monitoring.periods import PeriodRow
    from tallywright.records import Manifest, Promotion
    from tallywright.spec import ModelSpec

_MOST_DAYS: Final = 92
"""Unless a range is asked for, the page shows at most this many days, the latest ones: more do not fit a screen."""

_PER_CENT: Final = frozenset({COVERAGE, "accuracy", "macro_recall"})
PROFILE_COLUMNS: Final = ("score_date", "generation", "role", "mean_score")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChampionPeriod:
    """A run of days with one champion."""

    first: date
    last: date
    promotion: Promotion


@dataclass(frozen=True, slots=True)
class Gate:
    """The latest report of one gate."""

    name: str
    subject: str
    verdict: str
    recorded_at: Any
    checks: Sequence[Row]


@dataclass(frozen=True)
class Sources:
    """The tables of one model, each read once; a table that is not there has no rows."""

    lake: Lake
    spec: ModelSpec
    all_tallies: Sequence[Manifest]
    first: date | None = None
    last: date | None = None
    _cache: dict[str, list[Row]] = field(default_factory=dict)

    @classmethod
    def of(cls, lake: Lake, spec: ModelSpec, first: date | None = None, last: date | None = None) -> Sources:
        """The sources of a model, for the days of a range; None is open."""
        return cls(lake, spec, manifests(lake, spec), first, last)

    @cached_property
    def all_days(self) -> list[date]:
        """All days that were scored or due."""
        return sorted({*(tally.score_date for tally in self.all_tallies), *(row.score_date for row in self._unscored)})

    @cached_property
    def days(self) -> list[date]:
        """The days that the page shows: scored ones, and due ones that were not scored, which leave a gap."""
        if self.first is None and self.last is None:
            return self.all_days[-_MOST_DAYS:]
        return [
            day
            for day in self.all_days
            if (self.first is None or self.first <= day) and (self.last is None or day <= self.last)
        ]

    @cached_property
    def _shown(self) -> frozenset[date]:
        return frozenset(self.days)

    def shows(self, row: Row) -> bool:
        """True for a row about a day that the page shows."""
        return row["score_date"] in self._shown

    @cached_property
    def tallies(self) -> list[Manifest]:
        """The tallies of the days that the page shows."""
        return [tally for tally in self.all_tallies if tally.score_date in self._shown]

    @cached_property
    def unscored(self) -> list[PeriodRow]:
        """The periods that the page shows and that ended without a tally, by date."""
        return [row for row in self._unscored if row.score_date in self._shown]

    @cached_property
    def gaps(self) -> dict[date, Gap]:
        """The same, as marks of the plots."""
        return {row.score_date: Gap(row.state, _gap_text(row)) for row in self.unscored}

    @cached_property
    def _unscored(self) -> list[PeriodRow]:
        scored = {tally.score_date for tally in self.all_tallies}
        periods = read_periods(self.lake, self.spec)
        return [periods[day] for day in sorted(periods) if day not in scored]

    @property
    def period(self) -> str:
        """What a score period is called: `day`, `hour`, `week` or `month`."""
        return self.spec.schedule.calendar.noun

    def rows(self, what: str, columns: Sequence[str] | None = None) -> list[Row]:
        """The rows of `<model>__<what>`, of all days."""
        if what not in self._cache:
            table = self.spec.table(what)
            handle = self.lake.find(table)
            stored = [] if handle is None else [field.name for field in handle.schema().fields]
            wanted = stored if columns is None else [name for name in stored if name in (*columns, HOUR_COLUMN)]
            self._cache[what] = [] if handle is None else rows_of(self.lake.read(table, columns=wanted))
        return self._cache[what]


def _gap_text(row: PeriodRow) -> str:
    return f"{row.score_date}: {row.state}" + (f", {row.reason}" if row.reason else "")


def score_plots(sources: Sources) -> list[Plot]:
    """Rows a day; the mean score, and of a binary model the share of positive predictions."""
    days, spec = sources.days, sources.spec
    rows = {tally.score_date: float(tally.rows) for tally in sources.tallies}
    # Of the model that answers for the day: a canary, a fallback and shadows have rows of their own.
    primaries = {tally.score_date: tally.primary.role for tally in sources.tallies}
    profiles = [
        row for row in sources.rows("profile", PROFILE_COLUMNS) if row["role"] == primaries.get(row["score_date"])
    ]
    means = {row["score_date"]: row["mean_score"] for row in _newest(profiles, "generation")}
    lines = [Series("mean score", "one", [means.get(day) for day in days])]
    if spec.training.kind.thresholds:
        positive = _positive_shares(sources)
        lines.append(Series("predicted positive", "two", [positive.get(day) for day in days]))
    kind = spec.training.kind
    unit = "share" if kind.classifies else "number"
    title = "Mean score and share of positive predictions" if kind.thresholds else "Mean prediction"
    if kind.per_class:
        title = "Mean probability of the predicted class"
    return [
        Plot(
            f"Rows scored {'an' if sources.period == 'hour' else 'a'} {sources.period}",
            days,
            [Series("rows", "one", [rows.get(day) for day in days], bars=True)],
            "count",
            zero=True,
            gaps=sources.gaps,
        ),
        Plot(title, days, lines, unit, zero=unit == "share"),
    ]


def _positive_shares(sources: Sources) -> dict[date, float]:
    return {row["score_date"]: row["share"] for row in of_scores(sources, "avg(prediction) AS share")}


def of_scores(sources: Sources, columns: str) -> list[Row]:
    """What SQL says of the scores of each day that the page shows; columns that are no aggregates are told apart."""
    from tallywright.data.query import query

    table = sources.spec.table("scores")
    if not sources.days or sources.lake.find(table) is None:
        return []
    period = ", ".join(sources.spec.partition)
    first, last = date_of(sources.days[0]), date_of(sources.days[-1])
    sql = (
        f'SELECT {period}, {columns} FROM "{table}"'  # noqa: S608 - names are checked by the spec
        f" WHERE score_date BETWEEN DATE '{first}' AND DATE '{last}' GROUP BY ALL"
    )
    return rows_of(query(sources.lake, sql))


def heat_map(sources: Sources) -> HeatMap | None:
    """How far each column was from the reference on each day, and where that is sure; None without comparisons."""
    by_place: dict[tuple[str, date], list[Row]] = defaultdict(list)
    for row in filter(sources.shows, sources.rows("drift")):
        by_place[row["column_name"], row["score_date"]].append(row)
    if not by_place:
        return None
    days = sources.days
    if sources.spec.is_hourly:  # hours are compared by their dates, at the last one of each
        compared = {day for _, day in by_place}
        days = [day for day in days if day in compared]
    columns = {
        column: [_cell(by_place.get((column, day), [])) for day in days]
        for column in {column for column, _ in by_place}
    }
    ranked = sorted(columns.items(), key=lambda item: (*_rank([cell for cell in item[1] if cell]), item[0]))
    return HeatMap(days, ranked, sources.gaps)


def _rank(cells: Sequence[Cell]) -> tuple[int, float]:
    """The columns with most violations come first, then those that are furthest away."""
    return -sum(cell.violated for cell in cells), -_mean(cell.heat for cell in cells)


def _cell(rows: Sequence[Row]) -> Cell | None:
    """The furthest of a column's metrics, of those that are violated where one is."""
    if not rows:
        return None
    violated = [row for row in rows if row["violated"]]
    head = f"{rows[0]['column_name']} on {rows[0]['score_date']}: "
    return Cell(
        heat=max(row["value"] / row["threshold"] if row["threshold"] else 0.0 for row in violated or rows),
        violated=bool(violated),
        text=head + "; ".join(_drift_text(row) for row in rows),
    )


def _drift_text(row: Row) -> str:
    bound = row.get("reference_bound")
    # Rows of packages without reference days have no bound.
    usual = "" if bound is None else f", reference days {bound:.3g}"
    found = f"{row['metric']} {row['value']:.3g} (threshold {row['threshold']:g}{usual}, p {row['p_value']:.1e})"
    return found + (" violated" if row["violated"] else f", {row.get('not_judged')}" if row.get("not_judged") else "")


def violations(sources: Sources) -> list[Row]:
    """The violated comparisons of the last compared day, the least probable first."""
    rows = list(filter(sources.shows, sources.rows("drift")))
    last = max((row["score_date"] for row in rows), default=None)
    return sorted(
        (row for row in rows if row["violated"] and row["score_date"] == last),
        key=lambda row: (row["p_value"], row["column_name"]),
    )


def performance_plots(sources: Sources) -> list[Plot]:
    """Realised metrics with intervals and floors, at the latest label age of each day; none without labels."""
    rows = [row for row in realised(sources) if row["slice_key"] is None]
    spec, days = sources.spec, sources.days
    reported = (*spec.training.kind.reported, COVERAGE)
    costs = (EXPECTED_COST,) if spec.gates.costs is not None else ()
    wanted = dict.fromkeys([spec.gates.primary_metric, *spec.monitoring.performance_floor, *costs, *reported])
    plots = []
    for metric in wanted:
        found = {row["score_date"]: row for row in rows if row["metric"] == metric}
        values, lower, upper = (
            [found[day][name] if day in found else None for day in days] for name in ("value", "lower", "upper")
        )
        series = Series(metric, "one", values, lower, upper)
        unit = "share" if metric in _PER_CENT or metric.startswith(("recall_", "precision_")) else "number"
        plots.append(Plot(_title(spec, metric), days, [series], unit, _bounds(spec, metric)))
    return [plot for plot in plots if not plot.empty]


def _title(spec: ModelSpec, metric: str) -> str:
    names = {
        "roc_auc": "Area under the ROC curve", COVERAGE: "Share of rows with a known label",
        "rmse": "Root mean squared error", "mae": "Mean absolute error", "r2": "R²: share of the variance explained",
        "bias": "Bias: mean of predicted less true", "macro_auc": "Area under the ROC curve, mean over the classes",
        "macro_recall": "Recall, mean over the classes", "macro_f1": "F1, mean over the classes",
    }  # fmt: skip
    unit = "" if metric == COVERAGE else spec.unit_of(metric)
    return names.get(metric, metric.replace("_", " ").capitalize()) + (f", {unit}" if unit else "")


def _bounds(spec: ModelSpec, metric: str) -> list[tuple[str, float]]:
    floor = spec.monitoring.performance_floor.get(metric)
    if floor is None:
        return []
    return [(name, value) for name, value in (("least", floor.min), ("most", floor.max)) if value is not None]


def slices(sources: Sources) -> list[Row]:
    """The primary metric by slice on the last day with mature labels, the worst first."""
    metric = sources.spec.gates.primary_metric
    rows = [
        row
        for row in realised(sources)
        if row["slice_key"] is not None and row["metric"] == metric and row["value"] is not None
    ]
    last = max((row["score_date"] for row in rows), default=None)
    goodness = metric_of(metric).goodness
    return sorted((row for row in rows if row["score_date"] == last), key=lambda row: goodness(row["value"]))


def realised(sources: Sources) -> list[Row]:
    """The realised metrics of the champion, at the latest label age of each day."""
    mine = [
        row
        for row in filter(sources.shows, sources.rows("performance"))
        if row["role"] == Role.CHAMPION and row["mature"]
    ]
    latest: dict[date, int] = {}
    for row in mine:
        latest[row["score_date"]] = max(row["label_age_days"], latest.get(row["score_date"], 0))
    return [row for row in mine if row["label_age_days"] == latest[row["score_date"]]]


def decisions(sources: Sources) -> list[Row]:
    """The current decisions, by date; with a `revision` above 1 an earlier one was superseded.

    Their `state` is the word for it: days that were not judged say why.
    """
    rows = [row for row in _decisions(sources) if not row["superseded"]]
    return sorted(rows, key=lambda row: row["score_date"])


def superseded(sources: Sources) -> list[Row]:
    """The superseded decisions, the latest first."""
    rows = [row for row in _decisions(sources) if row["superseded"]]
    return sorted(rows, key=lambda row: (row["score_date"], row["revision"]), reverse=True)


def _decisions(sources: Sources) -> list[Row]:
    shown = filter(sources.shows, sources.rows("decisions"))
    return [row | {"state": state_word(row["state"], row["reasons"])} for row in shown]


def promotions(sources: Sources) -> list[Promotion]:
    """The promotion log, the latest entry first."""
    return PromotionLog(sources.lake, sources.spec).entries()[::-1]


def stages(log: Iterable[Promotion]) -> dict[int, str]:
    """The stages of challengers, by the numbers of the entries that begin them."""
    return {entry.sequence: named for entry in log if (named := stage_named(entry))}


def champion_periods(sources: Sources, log: Sequence[Promotion]) -> list[ChampionPeriod]:
    """The champions of the days that the page shows, as runs of days."""
    found: list[ChampionPeriod] = []
    for day in sources.days:
        entry = champion_on(log, day)
        if entry is None:
            continue
        if found and found[-1].promotion == entry:
            found[-1] = ChampionPeriod(found[-1].first, day, entry)
        else:
            found.append(ChampionPeriod(day, day, entry))
    return found


def gates(sources: Sources) -> list[Gate]:
    """The latest report of each gate."""
    reports: dict[str, list[Row]] = defaultdict(list)
    for row in sources.rows("gates"):
        reports[row["report_id"]].append(row)
    latest: dict[str, list[Row]] = {}
    for rows in sorted(reports.values(), key=lambda rows: written_order(rows[0])):
        latest[rows[0]["gate"]] = rows
    return [
        Gate(
            name=name,
            subject=rows[0]["subject"],
            verdict=rows[0]["gate_verdict"],
            recorded_at=rows[0]["recorded_at"],
            checks=sorted(rows, key=lambda row: row["position"]),
        )
        for name, rows in sorted(latest.items())
    ]


def unscored(sources: Sources) -> list[PeriodRow]:
    """The periods that ended without a tally, the latest first."""
    return sources.unscored[::-1]


def _newest(rows: Iterable[Row], order: str) -> list[Row]:
    """The last row of each date in that order."""
    return list({row["score_date"]: row for row in sorted(rows, key=lambda row: row[order])}.values())


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0
