"""What became of a version: realised performance, its checklist, approvals, history, and where all of this stands."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.gates.evidence.daily import DailyMetric
from tallywright.gates.evidence.interval import jackknife
from tallywright.gates.quality.reliability import RELIABILITY
from tallywright.gates.quality.slices import SLICE_CHECK
from tallywright.records import OPERATIONS, QUALITY
from tallywright.registry.promotion_chain import PROMOTE
from tallywright.registry.promotion_log import APPROVE, REJECT
from tallywright.reporting.card.content import NOTHING, CardSection, CardTable, check_table, facts, table
from tallywright.reporting.card.quality import AGAINST, METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallywright.records import Promotion
    from tallywright.reporting.card.known import KnownVersion

_MOST_DAYS: Final = 31
"""The latest ones; `tally days` and `tally report` have all."""
_LEVEL: Final = 0.05


def realised(known: KnownVersion) -> CardSection:
    """Metrics of the days that it has scored, once their labels were there."""
    by_metric: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(known.performance, key=lambda row: row["score_date"]):
        if row["value"] is not None and math.isfinite(row["value"]):
            by_metric.setdefault(row["metric"], []).append(row)
    primary = known.spec.gates.primary_metric
    columns = ("date", "role", primary, "95 % interval", "rows", "labels known")
    days = [
        (row["score_date"], row["role"], row["value"], _between(row["lower"], row["upper"]), row["rows"], row["known"])
        for row in by_metric.get(primary, [])[-_MOST_DAYS:]
    ]
    return CardSection(
        "realised",
        "Realised performance",
        tables=(
            *table(
                "Mean of its days; bounds at 95 % on each side, from how they differ",
                ("metric", "days", "from", "to", "mean", "interval"),
                [_mean_row(metric, rows) for metric, rows in sorted(by_metric.items())],
            ),
            *table(f"{primary} of its latest days", columns, days),
        ),
        nothing="no day that it has scored has mature labels yet",
    )


def _mean_row(metric: str, rows: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    values = np.array([row["value"] for row in rows], dtype=np.float64)
    mean, count = float(values.mean()), len(values)
    without = (values.sum() - values) / (count - 1) if count > 1 else np.full(1, np.nan)
    found = jackknife(DailyMetric(mean, without))
    interval = "too few days" if found is None else _between(found.lower(_LEVEL), found.upper(_LEVEL))
    return (metric, count, rows[0]["score_date"], rows[-1]["score_date"], mean, interval)


def _between(lower: float | None, upper: float | None) -> str:
    return NOTHING if lower is None or upper is None else f"{lower:.5g} to {upper:.5g}"


def checklist(known: KnownVersion) -> CardSection:
    """The checks of the operations gate, of the others, and what else the quality gate has asked."""
    first = [known.reports[OPERATIONS]] if OPERATIONS in known.reports else []
    others = [report for gate, report in sorted(known.reports.items()) if gate not in (OPERATIONS, QUALITY)]
    tables: list[CardTable] = []
    for report in (*first, *others):
        tables += check_table(f"Gate {report.gate}: {report.verdict.value}", report.checks)
    if known.quality is not None:
        shown = (*METRICS, *AGAINST, SLICE_CHECK, "slices", RELIABILITY)
        rest = [one for one in known.quality.checks if not one.name.startswith(shown)]
        tables += check_table(f"Gate {QUALITY}: {known.quality.verdict.value}; its other checks", rest)
    return CardSection("checklist", "Checklist", tables=tuple(tables))


def approvals(known: KnownVersion) -> CardSection:
    """Who has approved or rejected it, and how they are known."""
    answers = [line for line in known.lines if line.action in (APPROVE, REJECT, PROMOTE)]
    return CardSection(
        "approvals",
        "Approvals",
        facts=facts(("who approves now", _approvers(known))),
        tables=table(
            "Answers, by the promotion log",
            ("line", "answer", "by", "known by", "from", "recorded", "why"),
            [
                (str(one.sequence), one.action, one.approver, _known_by(known, one),
                 one.effective_from, one.recorded_at, one.reason)
                for one in answers
            ],
        ),
    )  # fmt: skip


def _known_by(known: KnownVersion, line: Promotion) -> str:
    if line.authentication:
        return line.authentication
    return "its gates" if line.approver == f"policy of {known.spec.name}" else "a name that was typed"


def _approvers(known: KnownVersion) -> str:
    registry = known.spec.registry
    if registry.approval == "policy":
        return "its gates decide (registry.approval: policy)"
    names = sorted({*registry.approvers, *registry.approver_keys})
    return f"a person: {', '.join(names) or 'whoever is known to Airflow'}"


def history(known: KnownVersion) -> CardSection:
    """What was done with it, in order."""
    row, withdrawn = known.row, known.withdrawn
    registered = (NOTHING, "registered", row.recorded_at, NOTHING, row.author or row.recorded_by, row.reason)
    lines = [
        (str(one.sequence), one.action, one.recorded_at, one.effective_from, one.approver, one.reason)
        for one in known.lines
    ]
    return CardSection(
        "history",
        "History",
        facts=facts(
            ("champion", "; ".join(known.champion) or "of no date"),
            ("withdrawn", "no" if withdrawn is None else f"line {withdrawn.sequence}: {withdrawn.reason}"),
        ),
        tables=table(
            "Its lines of the promotion log", ("line", "what", "recorded", "from", "by", "why"), [registered, *lines]
        ),
    )


def origin(known: KnownVersion) -> CardSection:
    """The digests by which all of this can be found and checked."""
    row, evidence = known.row, known.evidence
    return CardSection(
        "origin",
        "Evidence",
        facts=facts(
            ("package", row.package_digest),
            ("judged package", row.judged_digest),
            ("verified now", "yes" if known.package is not None else known.lost),
            ("evidence at registration", None if evidence is None else evidence.digest),
            ("settings of the gates", None if evidence is None else evidence.gates_digest),
            ("reports", [f"{gate}: {report.verdict.value}" for gate, report in sorted(known.reports.items())] or None),
        ),
    )
