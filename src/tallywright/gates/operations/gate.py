"""The operations gate: the deployment checklist of a candidate, checked by running its package."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tallywright.data.types import arrow_type
from tallywright.errors import PackageError
from tallywright.gates.operations.checks import run_checks
from tallywright.gates.operations.dependencies import dependencies_check
from tallywright.gates.operations.pickles import no_pickle_check
from tallywright.gates.operations.probe import ProbeRequest
from tallywright.gates.operations.process import ask
from tallywright.gates.operations.standins import Incumbent, fallback_check, rollback_checks
from tallywright.records import OPERATIONS, Check, GateReport, Verdict
from tallywright.spec.sections import CONSTANT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.gates.operations.process import Observations
    from tallywright.packaging.package import Package
    from tallywright.spec import ModelSpec, Project

__all__ = ["Incumbent", "operations_gate"]


def operations_gate(
    project: Project, candidate: Package, *, champion: Incumbent | None = None, withdrawn: Sequence[int] = ()
) -> GateReport:
    """Runs the package in a fresh process of its recorded dependencies, and reports on the checklist.

    Args:
        project: Whose bounds, fallback and owner count.
        candidate: The package, as it lies on disk.
        champion: Who is replaced, and brought back by a rollback; None when this is the first model, or no champion is
            left.
        withdrawn: The versions that were withdrawn, which says why none is left.
    """
    spec = project.spec
    answer = ask(candidate, _asked(candidate, champion, spec))
    return GateReport(
        gate=OPERATIONS,
        model=spec.name,
        subject=candidate.digest,
        checks=(
            dependencies_check(candidate.meta.requirements),
            _loads(answer),
            no_pickle_check(candidate.folder),
            _schema_of_the_spec(candidate, spec),
            *(() if answer.failure else run_checks(candidate, answer, spec.gates)),
            fallback_check(spec.scoring.fallback, champion, answer.observed),
            *rollback_checks(candidate, champion, withdrawn, answer.observed),
            _owner(candidate, spec),
        ),
    )


def _asked(candidate: Package, champion: Incumbent | None, spec: ModelSpec) -> ProbeRequest:
    fallback = spec.scoring.fallback
    return ProbeRequest(
        folder=str(candidate.folder.absolute()),
        digest=candidate.digest,
        champion=None if champion is None else (str(champion.package.folder.absolute()), champion.package.digest),
        constant=fallback.constant if fallback is not None and fallback.model == CONSTANT else None,
        threshold=spec.scoring.threshold,
    )


def _loads(answer: Observations) -> Check:
    version = f"python {sys.version_info.major}.{sys.version_info.minor}"
    return Check(
        name="loads_in_clean_process",
        verdict=Verdict.FAIL if answer.failure else Verdict.PASS,
        observed=None if answer.failure else f"{answer.observed['load_seconds']:.2f} s",
        bound="digests match; pickle and network off; nothing to import but what is recorded",
        evidence=answer.failure or f"{version}, a process of its own",
    )


def _schema_of_the_spec(candidate: Package, spec: ModelSpec) -> Check:
    """Whether the package asks for the types that the feature table has: otherwise it accepts what is not there."""
    name, bound, declared = "schema_of_the_spec", "the types of data.columns", spec.data.columns
    try:
        schema = candidate.input_schema
    except PackageError as error:
        return Check(name=name, verdict=Verdict.FAIL, bound=bound, evidence=error.found)
    other = [
        f"{field.name} is {field.type}, declared {declared[field.name]}"
        for field in schema
        if field.name in declared and field.type != arrow_type(declared[field.name], f"data.columns.{field.name}")
    ]
    return Check.of(name, not other, "; ".join(other) or f"{len(schema)} columns", bound)


def _owner(candidate: Package, spec: ModelSpec) -> Check:
    named = bool(spec.owner.name.strip()) and bool(spec.owner.email.strip()) and bool(candidate.meta.owner.strip())
    return Check.of(
        "owner_named",
        named,
        candidate.meta.owner or "nobody",
        "a name in the package; a name and an e-mail address in the spec",
        f"{spec.owner.name} <{spec.owner.email}>",
    )
