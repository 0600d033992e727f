"""What scoring a day is asked for, what it decides, and what it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tallywright.records import InputVersion, Manifest, ModelRef, Record
from tallywright.scoring.commit.manifests import Tally
from tallywright.scoring.commit.profile_table import ProfileRow
from tallywright.scoring.roles.eligibility import Candidates, not_at_hand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.data.delta.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.scoring.engines.registry import Engines
    from tallywright.spec.environment import EngineSettings
    from tallywright.spec.model import ModelSpec


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """One day to be scored: the pinned input, the models by role (the champion first), their packages by digest."""

    spec: ModelSpec
    lake: Lake
    input: InputVersion
    models: tuple[ModelRef, ...]
    packages: Mapping[str, Package]
    run_id: str
    code_version: str
    engine: str = "local"
    engines: Engines | None = None
    """Engines that were started before and go on afterwards; without them the day starts and ends its own."""
    engine_settings: EngineSettings | None = None
    force: bool = False
    missing: Mapping[str, str] = field(default_factory=dict)
    """Digest of a package that is not among `packages`, and why."""

    @property
    def champion(self) -> ModelRef:
        """The model whose scores the table holds."""
        return self.models[0]

    @property
    def candidates(self) -> Candidates:
        """Who may score the day, as far as the request knows."""
        return Candidates(self.spec, self.lake, self.input, self.models, self.packages, self.missing)

    def package_of(self, ref: ModelRef) -> Package:
        """The package of one of the models.

        Raises:
            PackageError: It is not at hand.
        """
        package = self.packages.get(ref.digest)
        if package is None:
            raise not_at_hand(ref, self.missing.get(ref.digest, ""))
        return package


class TallyDecision(Record):
    """What a scoring run would do about a day, and why."""

    action: Literal["score", "no-op"]
    reason: str
    generation: int
    standing: Tally | None = None


class ScoreOutcome(Record):
    """What a scoring run did: `unchanged` when the same inputs were scored already, by whomever."""

    action: Literal["committed", "unchanged"]
    version: int
    manifest: Manifest
    profile_row: ProfileRow | None = Field(default=None, exclude=True)
    """Of the model that answers for the day."""
