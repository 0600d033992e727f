"""What an approver has answered, as tags of the version in MLflow: who, what, and their comment.

They show the promotion log, which is the truth; whoever gives the same answer again sets them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallywright.mlflow_client import mlflow_client

if TYPE_CHECKING:
    from tallywright.records import Promotion
    from tallywright.spec import Project

_LONGEST: Final = 4_000
"""Characters of a comment; stores of MLflow take no longer tag."""


def answer_tags(entry: Promotion) -> dict[str, str]:
    """The tags that an entry of the promotion log gives to its version."""
    return {
        "tallywright.answer": entry.action,
        "tallywright.answered_by": f"{entry.approver} ({entry.authentication})",
        "tallywright.answer_comment": entry.reason[:_LONGEST],
    }


def tag_answer(project: Project, entry: Promotion) -> None:
    """Writes an answer to the tags of its version.

    Raises:
        TrackingError: MLflow is missing, away, or has no such version; the log holds the answer all the same.
    """
    with mlflow_client(project.environment.tracking.address) as client:
        for name, value in answer_tags(entry).items():
            client.set_model_version_tag(project.spec.registered_name, str(entry.model_version), name, value)
