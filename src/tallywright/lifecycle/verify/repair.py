"""Repairs what a verification found: tables by their logs, then the rows that can be made again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from tallywright.data.delta.table import Table
from tallywright.data.inputs.versions import input_version
from tallywright.data.upkeep.repair import rebuild_log, restore
from tallywright.errors import TallyError
from tallywright.gates.record import day_subject, record_report, reports, reports_of_version
from tallywright.lifecycle.late_labels import realise_standing
from tallywright.lifecycle.run import run_step
from tallywright.lifecycle.seals import row_of, verified_rows
from tallywright.lifecycle.small_tables import model_tables
from tallywright.lifecycle.verify.findings import record_verdict
from tallywright.lifecycle.verify.made_again import record_missing
from tallywright.lifecycle.verify.records import ingested_days
from tallywright.monitoring.decisions import DECISIONS, current_decisions, decide_days
from tallywright.monitoring.drift import drift_of
from tallywright.monitoring.maturity import RunDates, dates_due
from tallywright.observability import log
from tallywright.records import JUDGED_PACKAGE, REFIT, Decision
from tallywright.registry.evidence import evidence_of
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.resolve import as_ref
from tallywright.registry.versions_table import record_version, recorded_versions
from tallywright.scoring.commit.manifests import latest_tallies, record_tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from tallywright.lifecycle.context import RunContext
    from tallywright.scoring.commit.manifests import Tally

T = TypeVar("T")


def repair_model(context: RunContext) -> None:
    """Makes everything right that can be: files that are sound come back, records and follow-up rows are made again.

    Features, labels and scores whose files are damaged are left to `tally ingest` and `tally score`.
    """
    lake, spec = context.lake, context.spec
    for table in model_tables(spec, lake):
        _tried(partial(rebuild_log, lake, table), f"the log of {table}")
        _tried(partial(restore, lake, table, whole=table == spec.table("promotions")), table)
    for day in _tried(partial(ingested_days, lake, spec), "the ingested dates") or []:
        _tried(partial(input_version, lake, spec, day), f"the input of {day}")
    _tried(partial(_make_evidence, context), "the evidence of the promotions")
    _tried(partial(record_missing, context), "tallies and periods")
    _tried(PromotionLog(lake, spec).record_head, "the head of the promotion log")
    tallies = _tried(partial(latest_tallies, lake, spec), "the tallies") or []
    for tally in tallies:
        _tried(partial(record_tally, lake, spec, tally), f"the tally of {tally.manifest.score_date}")
    _tried(partial(_record_models, context, tallies), "the registered versions")
    _tried(partial(_repair_aliases, context), "the registry's aliases")
    for tally in tallies:
        day = tally.manifest.score_date
        if not _tried(partial(reports, lake, spec, subject=day_subject(tally.manifest.input)), f"the gate of {day}"):
            _tried(partial(run_step, replace(context, day=day), "day_gate"), f"the gate of {day}")
        if not drift_of(lake, spec, tally.manifest):
            _tried(partial(run_step, replace(context, day=day), "drift"), f"drift of {day}")
    _tried(partial(_make_followers, context, [tally.manifest.score_date for tally in tallies]), "what follows scores")


def accept_model(context: RunContext) -> None:
    """Takes all tables of a model as they are from now on, and forgets what was sealed before."""
    lake, spec = context.lake, context.spec
    for table in model_tables(spec, lake):
        rebuild_log(lake, table)
        restore(lake, table, accept=True)
    record_verdict(lake, spec, [], row_of(spec, {}, context.now), known=verified_rows(lake, spec))


def _make_followers(context: RunContext, scored: Sequence[date]) -> None:
    """Realises and decides what is missing of the scored dates, as the run of the newest one would.

    Rows that stand stay, whatever the spec says today: a repair is no restatement. Nor are labels mature that no run
    has waited for yet.
    """
    lake, spec = context.lake, context.spec
    for due in dates_due(lake, spec, RunDates(max(scored)), scored) if scored else []:
        _tried(partial(realise_standing, context, due), f"performance of {due.day}")
    decided = current_decisions(Table(DECISIONS, lake, spec).read())
    decide_days(lake, spec, [day for day in scored if day not in decided])


def _make_evidence(context: RunContext) -> None:
    """Records again what the promotion log knows of promoted versions: their gate reports, their digests."""
    lake, spec = context.lake, context.spec
    known = recorded_versions(lake, spec)
    for entry in PromotionLog(lake, spec).entries():
        if not entry.decision_json:
            continue
        decision = Decision.from_json(entry.decision_json)
        if not reports(lake, spec, subject=entry.package_digest):
            for report in decision.reports:
                record_report(lake, spec, report, run_id="repair", recorded_at=entry.recorded_at)
        if entry.model_version not in known:
            ref = as_ref(entry, spec)
            evidence = evidence_of(spec.name, ref.digest, decision.reports, judged=decision.judged_digest)
            record_version(lake, spec, ref, evidence, recorded_at=entry.recorded_at)


def _repair_aliases(context: RunContext) -> None:
    """Lets the registry's aliases name the versions that the promotion log says."""
    from tallywright.registry.numbers import log_for_aliases
    from tallywright.registry.versions import project_aliases

    for repair in project_aliases(context.project, log_for_aliases(context.project, context.lake)):
        log.info("registry: %s", repair)


def _record_models(context: RunContext, tallies: Sequence[Tally]) -> None:
    """Records again the versions that tallies name, with the newest report of each gate about them."""
    lake, spec = context.lake, context.spec
    known = recorded_versions(lake, spec)
    refs = {ref.version: ref for tally in tallies for ref in tally.manifest.models if not ref.is_constant}
    for ref in (refs[version] for version in sorted(refs.keys() - known.keys())):
        found = reports_of_version(lake, spec, ref.digest)
        judged = str(found[REFIT].observed(JUDGED_PACKAGE) or "") if REFIT in found else ""
        evidence = evidence_of(spec.name, ref.digest, found.values(), judged=judged)
        record_version(lake, spec, ref, evidence, recorded_at=context.now)


def _tried(attempt: Callable[[], T], what: str) -> T | None:
    """The result; None, and a line in the log, where it fails."""
    try:
        return attempt()
    except TallyError as error:
        log.warning("%s: not repaired: %s", what, error.found)
        return None
