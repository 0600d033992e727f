"""The table versions that registered models were trained on: they must stay readable to train one of them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from tallywright.data.snapshot import Snapshot
from tallywright.errors import PackageError, TrackingError
from tallywright.observability import log
from tallywright.packaging.package import load_package
from tallywright.records import Reference
from tallywright.registry.promotion_log import PromotionLog, champion_on, not_withdrawn
from tallywright.registry.stages import stage_on
from tallywright.registry.versions import fetch, registered_versions
from tallywright.registry.versions_table import recorded_versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tallywright.data.delta.lake import Lake
    from tallywright.records import Promotion
    from tallywright.spec import Project


def training_references(project: Project, lake: Lake, since: datetime) -> list[Reference]:
    """The training data of the versions registered since an instant, and of all that the promotion log still needs.

    Raises:
        TrackingError: MLflow is missing or away, or has lost a version that is needed.
        PackageError: A version's package is not what was registered, or its snapshot cannot be read.
    """
    known = {item.version: item for item in registered_versions(project)}
    wanted = {item.version: item.digest for item in known.values() if item.created_at >= since}
    recorded = recorded_versions(lake, project.spec)
    wanted |= {version: row.package_digest for version, row in recorded.items() if version in wanted}
    wanted |= in_use(PromotionLog(lake, project.spec).entries(), since)
    found: set[tuple[str, int]] = set()
    for version, digest in sorted(wanted.items()):
        snapshot = _snapshot(project, version, digest, known[version].snapshot if version in known else "")
        if snapshot is not None:
            found |= {(pinned.table, pinned.version) for pinned in (snapshot.features, snapshot.labels)}
    return [Reference(table=table, version=version, by="model") for table, version in sorted(found)]


def in_use(entries: Sequence[Promotion], since: datetime) -> dict[int, str]:
    """Version to digest of the current and the previous champion, and of whoever was champion or in a stage since."""
    recent = [entry for entry in entries if entry.recorded_at >= since or entry.effective_from >= since.date()]
    then = filter(None, (champion_on(entries, since.date()), stage_on(entries, since.date())))
    kept = [*recent, *not_withdrawn(entries)[-2:], *then]
    return {entry.model_version: entry.package_digest for entry in kept}


def _snapshot(project: Project, version: int, digest: str, tagged: str) -> Snapshot | None:
    """The snapshot that training wrote into the package; None for a model that was not trained on the lake.

    Anybody may have edited the version's tag: it counts only where the package is not to be had.
    """
    try:
        text = load_package(fetch(project, version, digest), digest=digest).meta.snapshot_json
    except (PackageError, TrackingError) as error:
        found = _parsed(tagged)
        if found is None:
            raise
        log.warning("version %d is said to be trained on what its tag says: %s", version, error.found)
        return found
    found = _parsed(text) if text else None
    if text and found is None:
        raise PackageError(
            f"version {version} does not say on which table versions it was trained",
            expected="the snapshot that training wrote into its package",
            remedy="use the Tallywright that trained it, or train it again",
        )
    return found


def _parsed(text: str) -> Snapshot | None:
    try:
        return Snapshot.from_json(text)
    except ValidationError:
        return None
