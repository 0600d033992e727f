"""The table versions that registered models were trained on: they must stay readable to train one of them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from tallywright.data.snapshot import Snapshot
from tallywright.errors import PackageError
from tallywright.packaging.package import load_package
from tallywright.records import Reference
from tallywright.registry.promotion_log import PromotionLog, champion_on, not_withdrawn
from tallywright.registry.versions import fetch, registered_versions

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
    wanted |= in_use(PromotionLog(lake, project.spec).entries(), since)
    found: set[tuple[str, int]] = set()
    for version, digest in sorted(wanted.items()):
        snapshot = _snapshot(project, version, digest, known[version].snapshot if version in known else "")
        if snapshot is not None:
            found |= {(pinned.table, pinned.version) for pinned in (snapshot.features, snapshot.labels)}
    return [Reference(table=table, version=version, by="model") for table, version in sorted(found)]


def in_use(entries: Sequence[Promotion], since: datetime) -> dict[int, str]:
    """Version to digest of the current and the previous champion, and of all champions of a date since an instant."""
    recent = [entry for entry in entries if entry.recorded_at >= since or entry.effective_from >= since.date()]
    then = champion_on(entries, since.date())
    kept = [*recent, *not_withdrawn(entries)[-2:], *([then] if then else [])]
    return {entry.model_version: entry.package_digest for entry in kept}


def _snapshot(project: Project, version: int, digest: str, tagged: str) -> Snapshot | None:
    """The snapshot, from the version's tag or from its package; None for a model that was not trained on the lake."""
    try:
        return Snapshot.from_json(tagged)
    except ValidationError:
        text = load_package(fetch(project, version, digest), digest=digest).meta.snapshot_json
    if not text:
        return None
    try:
        return Snapshot.from_json(text)
    except ValidationError as error:
        raise PackageError(
            f"version {version} does not say on which table versions it was trained: {error.errors()[0]['msg']}",
            expected="the snapshot that training wrote into its package",
            remedy="use the Tallywright that trained it, or train it again",
        ) from error
