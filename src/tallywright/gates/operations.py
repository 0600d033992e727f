"""The operations gate: the deployment checklist of a candidate, checked by running its package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any, Final

from tallywright.gates.probe import LATENCY_ROWS
from tallywright.records import Check, GateReport, ModelRef, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.packaging.package import Package
    from tallywright.spec import ModelSpec, Project

GATE: Final = "operations"

_PARITY: Final = 1e-5
"""Training and scoring run the same graph or two that differ in the last bits of a float32."""
_MEMORY_MEGABYTES: Final = 2048.0
_TIMEOUT_SECONDS: Final = 300


def operations_gate(
    project: Project, candidate: Package, *, rollback_target: ModelRef | None = None, withdrawn: Sequence[int] = ()
) -> GateReport:
    """Runs the package in a clean process with pickle disabled, and reports on the checklist.

    Args:
        project: Whose bounds and owner count.
        candidate: The package, as it lies on disk.
        rollback_target: The champion that a rollback would bring back; None when this is the first model, or no
            champion is left.
        withdrawn: The versions that were withdrawn, which says why none is left.
    """
    spec = project.spec
    observed, failure = _probe(candidate)
    loads = Check(
        name="loads_in_clean_process",
        verdict=Verdict.FAIL if failure else Verdict.PASS,
        observed=None if failure else f"{observed['load_seconds']:.2f} s",
        bound="digests match, no pickle, ONNX Runtime alone",
        evidence=failure or f"python {sys.version_info.major}.{sys.version_info.minor}, a process of its own",
    )
    run_checks = () if failure else _run_checks(observed, spec)
    return GateReport(
        gate=GATE,
        model=spec.name,
        subject=candidate.digest,
        checks=(loads, *run_checks, _owner(candidate, spec), _rollback(rollback_target, candidate, withdrawn)),
    )


def _probe(candidate: Package) -> tuple[dict[str, Any], str]:
    """The observations of the probe process, and the reason why it failed (empty when it did not)."""
    command = [sys.executable, "-m", "tallywright.gates.probe", str(candidate.folder.absolute()), candidate.digest]
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as empty:
        try:
            done = subprocess.run(
                command,
                cwd=empty,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {}, f"the probe did not end within {_TIMEOUT_SECONDS} s"
    if done.returncode != 0:
        return {}, f"exit code {done.returncode}: {done.stderr.strip()[-500:]}"
    try:
        observed: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        return {}, f"the probe gave no answer: {done.stdout.strip()[-300:]!r}"
    return observed, ""


def _run_checks(observed: dict[str, Any], spec: ModelSpec) -> tuple[Check, ...]:
    parity, limit = observed["parity"], spec.gates.max_latency_ms_per_1000
    rows, foreign = observed["rows"], observed["foreign"]
    return (
        Check.of("parity_rows", rows > 0, rows, "at least one row", "the sample stored in the package"),
        Check.of(
            "parity_with_training",
            parity is not None and parity <= _PARITY,
            parity,
            f"<= {_PARITY:g}",
            "largest difference of a score from the one computed at training",
        ),
        Check.of("scores_finite", observed["finite"], None, "no NaN, no infinity", f"{rows} rows"),
        Check.of("schema_accepted", observed["schema"], None, "the output schema of the package", ""),
        Check.of(
            "independent_of_the_batch",
            observed["batch_free"],
            None,
            "the same bits, whole or in pieces",
            f"{rows} rows at once, and one row plus the rest",
        ),
        Check.of(
            "latency_ms_per_1000",
            observed["milliseconds"] <= limit,
            observed["milliseconds"],
            f"<= {limit:g}",
            f"median of {LATENCY_ROWS:,} rows on one core",
        ),
        Check.of(
            "peak_memory_mb",
            observed["peak_megabytes"] <= _MEMORY_MEGABYTES,
            observed["peak_megabytes"],
            f"<= {_MEMORY_MEGABYTES:g}",
            "of the whole process",
        ),
        Check.of("slim_imports", not foreign, ", ".join(foreign) or "none", "no training or orchestration library", ""),
    )


def _owner(candidate: Package, spec: ModelSpec) -> Check:
    named = bool(spec.owner.name.strip()) and bool(candidate.meta.owner.strip())
    return Check.of(
        "owner_named",
        named,
        candidate.meta.owner or "nobody",
        "a name in the package and in the spec",
        f"{spec.owner.name} <{spec.owner.email}>",
    )


def _rollback(target: ModelRef | None, candidate: Package, withdrawn: Sequence[int]) -> Check:
    if target is None:
        versions = f"version{'s' * (len(withdrawn) > 1)} {', '.join(map(str, withdrawn))}"
        why = f"no champion is left: {versions} withdrawn" if withdrawn else "first model"
        return Check.of("rollback_target", True, "none", "the champion before, where there is one", why)
    return Check.of(
        "rollback_target",
        target.digest != candidate.digest,
        f"version {target.version}",
        "a champion other than the candidate",
        f"digest {target.digest[:16]}, effective from {target.effective_from}",
    )
