"""The step of the maintain pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallywright.errors import IntegrityError
from tallywright.lifecycle.maintenance import maintain_model
from tallywright.lifecycle.verify.model import verify_model

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext
    from tallywright.lifecycle.verify.findings import Defect


def maintain(context: RunContext) -> dict[str, Any]:
    """Verifies the model's lake, compacts its tables, and deletes files that nothing refers to any more.

    Raises:
        IntegrityError: Something is not what was committed; the sound tables were maintained all the same.
    """
    project, lake, dry_run = context.project, context.lake, context.options.dry_run
    found = [] if dry_run else verify_model(project, lake, now=context.now)
    damaged = {one.what for one in found}
    report = maintain_model(project, lake, now=context.now, dry_run=dry_run, damaged=damaged)
    if found:
        raise _error(context.spec.name, found)
    return report.model_dump(mode="json")


def _error(model: str, found: list[Defect]) -> IntegrityError:
    first = found[0]
    day = f" of {first.score_date}" if first.score_date else ""
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return IntegrityError(
        f"{first.what}{day}: {first.problem}{more}",
        expected=f"all that is stored of {model} as it was committed",
        remedy=f"{first.remedy}; `tally verify {model}` lists everything",
    )
