"""The step of the maintain pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallywright.lifecycle.maintenance import maintain_model

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext


def maintain(context: RunContext) -> dict[str, Any]:
    """Compacts the model's tables, and deletes files that nothing refers to any more."""
    report = maintain_model(context.project, context.lake, now=context.now, dry_run=context.options.dry_run)
    return report.model_dump(mode="json")
