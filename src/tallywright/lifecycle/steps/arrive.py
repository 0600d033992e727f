"""The step that brings a version from the registry of training to that of production, before its first stage there."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallywright.errors import StorageError, TrackingError, UsageError
from tallywright.lifecycle.arrival import copy, sent
from tallywright.lifecycle.cards import attach
from tallywright.lifecycle.steps.promotion import follow_log
from tallywright.observability import log
from tallywright.registry.arrival import version_of_training
from tallywright.registry.numbers import arrived, arrived_package, require_source

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext
    from tallywright.registry.versions_table import VersionRow


def arrive(context: RunContext) -> dict[str, Any]:
    """Copies the version that `--from` names, unless it is here; a number of this registry is left as it is.

    Raises:
        UsageError: No version was named, or there is no such one.
        PackageError: What the registry of training holds, or what has arrived, is not what was registered.
        IntegrityError: Lake and registry of training do not agree on it.
        TrackingError: One of the registries is away, or refuses the credentials.
    """
    version, source = context.options.version, context.options.source
    if version is None:
        raise UsageError("no version was named", expected="--version N")
    if not source:
        return {"action": "none", "version": version, "why": "the number is this registry's own; see --from"}
    require_source(context.project, source)
    training = context.training
    try:
        row, evidence = version_of_training(training.project, training.lake, version)
    except (TrackingError, StorageError) as error:
        known = arrived(context.lake, training.lake, context.spec, source, version)
        if known is None:
            raise
        log.warning("%s is not asked, and version %s has arrived before: %s", source, version, error.found)
        return _told("unchanged", known)
    known = arrived_package(context.lake, context.spec, row.package_digest)
    if known is not None:
        log.info("version %s of %s is version %s here already", version, source, known.model_version)
        attach(context, known.model_version)
        return _told("unchanged", known)
    with tempfile.TemporaryDirectory(prefix="tally-arrival-") as folder:
        copy(context, sent(context, row, evidence, Path(folder)))
    follow_log(context)
    found = arrived_package(context.lake, context.spec, row.package_digest)
    assert found is not None  # noqa: S101 - it was recorded above
    attach(context, found.model_version)
    log.info("version %s of %s has arrived as version %s", version, source, found.model_version)
    return _told("copied", found)


def _told(action: str, row: VersionRow) -> dict[str, Any]:
    return {
        "action": action,
        "version": row.model_version,
        "from": str(row.origin),
        "digest": row.package_digest,
        "verdict": row.verdict,
    }
