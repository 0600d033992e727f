"""Judges a version again: on its holdout and on the days on which it has scored in shadow, together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tallywright.data.snapshot import last_period
from tallywright.gates.quality.gate import Sample, quality_gate
from tallywright.lifecycle.handover import package_of_run
from tallywright.lifecycle.labelled_rows import labelled_rows, with_labels
from tallywright.lifecycle.steps.gates import champion_of, holdout_of, recorded, spent_on
from tallywright.lifecycle.steps.promotion import asked_ref, reports_about, verdict_about, verified
from tallywright.lifecycle.steps.register import record_evidence, run_of
from tallywright.records import JUDGED_AGAINST, NO_CHAMPION, QUALITY, VersionVerdict
from tallywright.score_period import date_of
from tallywright.scoring.commit.manifests import manifests

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext
    from tallywright.packaging.package import Package


def judge(context: RunContext) -> dict[str, Any]:
    """Lets the quality gate look at a version again, against the champion of the effective date.

    That is one which is undecided, or has passed against another champion; one that was refused, or has passed against
    this one, is left as it is.

    Its days in shadow are those of before the run's date whose labels have all arrived. They are about the version
    itself, which is the refit; the holdout is about the recipe that was judged.
    """
    ref, package = verified(context, asked_ref(context))
    verdict, champion = verdict_about(context, package), champion_of(context)
    why = _why_not(context, package, champion, verdict)
    if why:
        return {"action": "none", "version": ref.version, "verdict": verdict.value, "why": why}
    run_id = run_of(context, ref, package)
    candidate = package_of_run(context, run_id, package.meta.judged) if package.meta.judged else package
    judged = [Sample(candidate, holdout_of(context, candidate))]
    days = _shadow_rows(context, package, ref.version)
    if days is not None:
        judged.append(Sample(package, days))
    report = quality_gate(
        context.project, judged, champion, as_of=context.day, spent=spent_on(context, candidate, champion)
    )
    result, found = recorded(context, report), verdict_about(context, package)
    # A version that has passed may serve beside its champion: what another comparison finds does not take that back.
    if verdict is VersionVerdict.UNDECIDED or found is VersionVerdict.PASSED:
        record_evidence(context, ref, package)
    return result | {"version": ref.version, "verdict": found.value}


def _why_not(context: RunContext, package: Package, champion: Package | None, verdict: VersionVerdict) -> str:
    """Why a version is not judged again; empty where it is."""
    day = context.effective_from
    if champion is not None and package.digest == champion.digest:
        return f"it is champion on {day}"
    if verdict is VersionVerdict.UNDECIDED:
        return ""
    if verdict is VersionVerdict.REFUSED:
        return "a gate has refused it"
    quality = next(report for report in reports_about(context, package) if report.gate == QUALITY)
    same = quality.observed(JUDGED_AGAINST) == (NO_CHAMPION if champion is None else champion.digest)
    return f"it has passed against the champion of {day}" if same else ""


def _shadow_rows(context: RunContext, package: Package, version: int) -> pa.Table | None:
    """The labelled rows of the days on which the version has scored, and whose labels have all arrived."""
    spec, lake = context.spec, context.lake
    last = last_period(spec, context.day)
    parts = [
        labelled_rows(lake, spec, manifest)
        for manifest in manifests(lake, spec)
        if package.fitted_through < date_of(manifest.score_date)
        and manifest.score_date <= last
        and any(model.version == version for model in manifest.models)
    ]
    if not parts:
        return None
    known = with_labels(spec, pa.concat_tables(parts, promote_options="default"))
    return known if known.num_rows else None
