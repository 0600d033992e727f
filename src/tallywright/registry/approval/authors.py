"""The author of a training, who may not approve of its version unless the files say so.

The author is whoever started the training, as Airflow or the system knows them, and the owner of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallywright.errors import GateRefusedError
from tallywright.registry.versions_table import recorded_versions

if TYPE_CHECKING:
    from tallywright.data.delta.lake import Lake
    from tallywright.spec import Project
    from tallywright.spec.demands import Demands


@dataclass(frozen=True, slots=True)
class Approver:
    """Who approves: the name, and the system user where that is the approver's own; empty where it is a service's."""

    name: str
    system_user: str = ""


def author_may_approve(project: Project, demands: Demands) -> bool:
    """Whether all who have a say let the author of a training approve of its version."""
    sections = (demands.registry, project.committed.registry, project.spec.registry)
    return all(one.author_may_approve for one in sections)


def require_other_than_author(
    project: Project, lake: Lake, demands: Demands, *, version: int, approver: Approver
) -> None:
    """Refuses an approval by the author of a training, where the spec wants somebody else.

    Args:
        project: Whose version.
        lake: Where it is recorded who started the training.
        demands: What the version has to show.
        version: Its number.
        approver: Who approves.

    Raises:
        GateRefusedError: The approver started the training or owns the model, or nobody knows who did.
    """
    if author_may_approve(project, demands):
        return
    row, owner = recorded_versions(lake, project.spec).get(version), project.committed.owner
    started = {row.author, row.recorded_by} - {""} if row is not None else set()
    authors = {name.casefold(): name for name in (*started, owner.name, owner.email) if name}
    found = authors.get(approver.name.casefold(), "")
    if row is not None and approver.system_user and approver.system_user == row.recorded_by:
        found = found or approver.system_user
    if started and not found:
        return
    raise GateRefusedError(
        f"version {version}: {found} is its author" if found else f"nobody has recorded who trained version {version}",
        expected="an approver who has not started the training and does not own the model",
        remedy="let somebody else approve, as a system user of their own; or, where it is meant, train under a spec "
        "with registry.author_may_approve: true",
    )
