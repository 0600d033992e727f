"""The model card that is attached to a version: artifacts of its MLflow run, beside the evidence, and a tag.

It is no part of the package, and nothing is decided by it: a newer card replaces it, the version stays what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallywright.mlflow_client import mlflow_client
from tallywright.records import digest_of

if TYPE_CHECKING:
    from tallywright.spec import Project

CARD_TAG: Final = "tallywright.card"
"""The digest of the card that is attached."""


@dataclass(frozen=True, slots=True)
class CardFiles:
    """One card in both forms, which say the same."""

    markdown: str
    html: str

    @property
    def digest(self) -> str:
        """The sha256 of both."""
        return digest_of([self.markdown, self.html])


def attach_card(project: Project, version: int, card: CardFiles) -> bool:
    """Attaches the card of a version in place of the one before; returns False where the same one is attached.

    Raises:
        TrackingError: MLflow is missing, away, or has no such version.
    """
    name = project.spec.registered_name
    with mlflow_client(project.environment.tracking.address) as client:
        found = client.get_model_version(name, str(version))
        if found.tags.get(CARD_TAG) == card.digest:
            return False
        # A run that has trained twice has made two versions.
        client.log_text(found.run_id, card.markdown, f"card/version_{version}.md")
        client.log_text(found.run_id, card.html, f"card/version_{version}.html")
        client.set_model_version_tag(name, str(version), CARD_TAG, card.digest)
    return True
