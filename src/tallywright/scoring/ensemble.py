"""The models of a day that may and can score it: whoever is missing, broken or has seen the day is left out, and noted.

What a canary or a shadow lacks never costs the champion's day; what the champion lacks, only a fallback can make good,
where the spec says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from tallywright.errors import PackageError, TallyError
from tallywright.observability import log
from tallywright.packaging.predictor import Predictor
from tallywright.packaging.schema import Postprocess
from tallywright.records import ModelRef, Role, RoleTally
from tallywright.scoring.preflight import leak_of, leaks
from tallywright.scoring.scores_table import arrow_schema

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from tallywright.packaging.package import Package
    from tallywright.scoring.tally import ScoreRequest
    from tallywright.spec.model import ModelSpec

PACKAGE: Final = "package"


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Who scores a day: the model that answers for it first; `packages` by digest; `absent` are those left out."""

    models: tuple[ModelRef, ...]
    packages: Mapping[str, Package]
    output_schema: pa.Schema
    absent: tuple[RoleTally, ...] = ()

    @classmethod
    def of(cls, models: tuple[ModelRef, ...], packages: Mapping[str, Package], spec: ModelSpec) -> Ensemble:
        """These models as they are.

        Raises:
            PackageError: The package of one of them is not at hand.
        """
        for ref in models:
            if not ref.is_constant and ref.digest not in packages:
                raise not_at_hand(ref)
        lead = models[0]
        schema = _constant_schema(spec) if lead.is_constant else packages[lead.digest].output_schema
        return cls(models, packages, schema)

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The columns that the models read."""
        scoring = [self.packages[ref.digest] for ref in self.models if not ref.is_constant]
        return tuple(dict.fromkeys(name for package in scoring for name in package.preprocess.columns))

    def of_role(self, role: Role) -> ModelRef | None:
        """The first model in that role."""
        return next((ref for ref in self.models if ref.role is role), None)

    def row_failures(self, spec: ModelSpec) -> frozenset[str]:
        """The failures of single rows in which a fallback stands in; a fallback has none of its own."""
        fallback = spec.scoring.fallback
        if fallback is None or self.of_role(Role.FALLBACK) in {None, self.models[0]}:
            return frozenset()
        return frozenset(fallback.covers) - {PACKAGE}


def not_at_hand(ref: ModelRef, why: str = "") -> PackageError:
    """The error about a package that scoring was not given."""
    return PackageError(
        f"the package of version {ref.version} of {ref.name} is not at hand" + (f": {why}" if why else ""),
        expected=f"digest {ref.digest}",
        remedy="fetch it into the cache first",
    )


def admitted(spec: ModelSpec, models: tuple[ModelRef, ...], day: date) -> tuple[ModelRef, ...]:
    """The models that may score the day, as far as that can be said without their packages; the champion always is."""
    champion, *others = models
    return champion, *(ref for ref in others if not _barred(spec, champion, ref, day))


def _barred(spec: ModelSpec, champion: ModelRef, ref: ModelRef, day: date) -> str:
    """Why a model must not score beside this champion, in words; empty when it may."""
    if ref.digest == champion.digest:
        return "it is the champion's own model"
    return leak_of(ref) if leaks(ref, day) and not spec.scoring.allow_leak else ""


def assemble(request: ScoreRequest) -> Ensemble:
    """Looks at every model of the request before a row is read.

    Raises:
        PackageError: The champion's package is not at hand or cannot be loaded, and no fallback covers that.
    """
    lead, *others = request.models
    if not others:
        return Ensemble.of(request.models, request.packages, request.spec)
    audition = _Audition(request)
    covered = request.spec.scoring.fallback is not None and PACKAGE in request.spec.scoring.fallback.covers
    trouble = audition.unloadable(lead) if covered else ""
    if trouble:
        return _without_champion(request, audition, trouble)
    standard = Ensemble.of((lead,), request.packages, request.spec).output_schema
    notes = {ref: audition.unfit(ref, standard) for ref in others}
    kept = (lead, *(ref for ref in others if not notes[ref]))
    return Ensemble(kept, request.packages, standard, _absent(notes))


def _without_champion(request: ScoreRequest, audition: _Audition, trouble: str) -> Ensemble:
    """The fallback answers for the day; without a champion there is nothing to hold a canary against."""
    champion, *others = request.models
    fallback = next((ref for ref in others if ref.role is Role.FALLBACK), None)
    reason = audition.unfit(fallback, None) if fallback is not None else "nobody was champion before"
    if fallback is None or reason:
        raise not_at_hand(champion, f"{trouble}; the fallback cannot stand in: {reason}")
    standard = audition.output_schema(fallback)
    notes = {champion: trouble}
    for ref in others:
        if ref.role is Role.CANARY:
            notes[ref] = "there is no champion to hold it against"
        elif ref.role is Role.SHADOW:
            notes[ref] = audition.unfit(ref, standard)
    kept = (fallback, *(ref for ref in others if ref.role is Role.SHADOW and not notes[ref]))
    return Ensemble(kept, request.packages, standard, _absent(notes))


def _absent(notes: Mapping[ModelRef, str]) -> tuple[RoleTally, ...]:
    for ref, note in notes.items():
        if note:
            log.warning("%s version %d does not score: %s", ref.role.value, ref.version, note)
    return tuple(RoleTally(role=ref.role, version=ref.version, note=note) for ref, note in notes.items() if note)


class _Audition:
    """Why a model cannot score the day, in words; empty when it can."""

    def __init__(self, request: ScoreRequest) -> None:
        self._request = request
        columns = arrow_schema(request.lake.open(request.input.table))
        self._nothing = pa.record_batch([pa.nulls(0, column.type) for column in columns], schema=columns)

    def unfit(self, ref: ModelRef, standard: pa.Schema | None) -> str:
        """Asks everything: the champion's own version? a leak? loadable? the columns? the champion's outputs?"""
        asked = self._request
        barred = _barred(asked.spec, asked.champion, ref, asked.input.score_date)
        trouble = barred or self.unloadable(ref) or self._misfit(ref)
        if not trouble and standard is not None and not self.output_schema(ref).equals(standard):
            return f"its outputs are {', '.join(self.output_schema(ref).names)} of other types than the champion's"
        return trouble

    def unloadable(self, ref: ModelRef) -> str:
        """Asks only whether the package is here, whole, and can be run."""
        if ref.is_constant:
            return ""
        package = self._request.packages.get(ref.digest)
        if package is None:
            return self._request.missing.get(ref.digest, "its package is not at hand")
        try:
            Predictor(package)
        except PackageError as error:
            return error.found
        return ""

    def output_schema(self, ref: ModelRef) -> pa.Schema:
        """The columns of its predictions."""
        if ref.is_constant:
            return _constant_schema(self._request.spec)
        return self._request.packages[ref.digest].output_schema

    def _misfit(self, ref: ModelRef) -> str:
        """Lets the preprocessing look at no rows of the input."""
        if ref.is_constant:
            return ""
        try:
            self._request.packages[ref.digest].preprocess.transform(self._nothing)
        except TallyError as error:
            return error.found
        return ""


def _constant_schema(spec: ModelSpec) -> pa.Schema:
    return Postprocess(task=spec.training.task).output_schema
