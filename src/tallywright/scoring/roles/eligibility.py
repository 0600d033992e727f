"""Which models may and can score a day: a model that is missing, broken or leaks is left out, with a note.

What a canary or a shadow lacks never costs the champion's day; what the champion lacks, only a fallback can make good,
where the spec says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from tallywright.data.delta.schema import arrow_schema
from tallywright.errors import LeakError, PackageError, SpecError, TallyError
from tallywright.observability import log
from tallywright.packaging.manifest import Postprocess
from tallywright.records import ModelRef, Role, RoleTally
from tallywright.score_period import date_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.records import InputVersion, Meaning
    from tallywright.spec.model import ModelSpec

PACKAGE: Final = "package"


def leaks(ref: ModelRef, day: date) -> bool:
    """True for a model whose training data reach the date, or that does not say how far they reach."""
    return not ref.is_constant and (ref.trained_through is None or ref.trained_through >= date_of(day))


def check_leak(spec: ModelSpec, models: tuple[ModelRef, ...], day: date) -> bool:
    """Refuses a champion whose training data reach the day; returns True when the spec lets a leaking model score.

    Models in other roles are not refused here: they are left out of the day (`assemble`).

    Raises:
        LeakError: `trained_through` is not before the day, or unknown, and `scoring.allow_leak` is off.
    """
    if spec.scoring.allow_leak:
        return any(leaks(ref, day) for ref in models)
    for ref in models:
        if ref.role is Role.CHAMPION and leaks(ref, day):
            raise LeakError(
                f"{describe_leak(ref)} and would score {day}",
                expected="a model trained only on days before the score date",
                remedy="use `scoring.models: as-of`; or write `scoring: {allow_leak: true}` in model.yaml to mark it",
            )
    return False


def as_trained(models: tuple[ModelRef, ...], packages: Mapping[str, Package]) -> tuple[ModelRef, ...]:
    """The models with what their verified packages say about the reach of their training data, where that is later.

    What a line of the log or a row of the registry says may come from a tag that somebody has edited.
    """
    return tuple(_as_trained(ref, packages.get(ref.digest)) for ref in models)


def _as_trained(ref: ModelRef, package: Package | None) -> ModelRef:
    if package is None or ref.trained_through is None or package.meta.trained_through <= ref.trained_through:
        return ref
    return ref.model_copy(update={"trained_through": package.meta.trained_through})


def describe_leak(ref: ModelRef) -> str:
    """Describes a leak for messages."""
    through = f"on data through {ref.trained_through}" if ref.trained_through else "on data of unknown dates"
    return f"version {ref.version} of {ref.name} was trained {through}"


@dataclass(frozen=True, slots=True)
class Candidates:
    """The models that were resolved for a day, the champion first, and the packages there are of them."""

    spec: ModelSpec
    lake: Lake
    input: InputVersion
    models: tuple[ModelRef, ...]
    packages: Mapping[str, Package]
    """By digest."""
    missing: Mapping[str, str]
    """Digest of a package that is not among `packages`, and why."""


@dataclass(frozen=True, slots=True)
class ModelSet:
    """The models that score a day, the primary first; `packages` by digest; `absent` are those left out."""

    models: tuple[ModelRef, ...]
    packages: Mapping[str, Package]
    output_schema: pa.Schema
    absent: tuple[RoleTally, ...] = ()

    @property
    def meaning(self) -> Meaning | None:
        """What the output columns mean: the primary's word, for all rows of the tables; None for a constant."""
        return None if self.models[0].is_constant else self.packages[self.models[0].digest].meaning

    @classmethod
    def of(cls, models: tuple[ModelRef, ...], packages: Mapping[str, Package], spec: ModelSpec) -> ModelSet:
        """The set of all these models, without any check.

        Raises:
            PackageError: The package of one of them is not at hand.
        """
        for ref in models:
            if not ref.is_constant and ref.digest not in packages:
                raise missing_package(ref)
        primary = models[0]
        schema = _constant_schema(spec) if primary.is_constant else packages[primary.digest].output_schema
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
        """The failures of single rows that the fallback covers; none when the fallback is the primary."""
        fallback = spec.scoring.fallback
        if fallback is None or self.of_role(Role.FALLBACK) in {None, self.models[0]}:
            return frozenset()
        return frozenset(fallback.covers) - {PACKAGE}


def threshold_problem(spec: ModelSpec, champion: Package) -> str:
    """Describes a threshold that the spec gives and the champion was not trained with; empty where they agree."""
    fixed, given = champion.postprocess.threshold, spec.scoring.threshold
    if fixed is None or fixed == given or "threshold" not in spec.scoring.model_fields_set:
        return ""
    return f"scoring.threshold is {given:g}, and the champion was trained with {fixed:g}"


def with_threshold(spec: ModelSpec, model_set: ModelSet) -> ModelSpec:
    """The spec with the threshold by which the day is scored, which is a part of the tally's identity.

    Raises:
        SpecError: The spec gives another one than the champion was trained with.
    """
    primary = model_set.models[0]
    if primary.is_constant:
        return spec
    package = model_set.packages[primary.digest]
    problem = threshold_problem(spec, package) if primary.role is Role.CHAMPION else ""
    if problem:
        raise SpecError(
            f"{problem} (version {primary.version})",
            expected="one decision threshold: fixed at training, used by gates, scoring and monitoring alike",
            remedy=f"train a model with it, `tally train {spec.name}`, or take scoring.threshold out of the spec",
        )
    fixed = package.threshold(spec.scoring.threshold)
    if fixed == spec.scoring.threshold:
        return spec
    return spec.model_copy(update={"scoring": spec.scoring.model_copy(update={"threshold": fixed})})


def missing_package(ref: ModelRef, why: str = "") -> PackageError:
    """The error about a package that scoring was not given."""
    return PackageError(
        f"the package of version {ref.version} of {ref.name} is not at hand" + (f": {why}" if why else ""),
        expected=f"digest {ref.digest}",
        remedy="fetch it into the cache first",
    )


def eligible(spec: ModelSpec, models: tuple[ModelRef, ...], day: date) -> tuple[ModelRef, ...]:
    """The models that may score the day, as far as that is known without their packages; the champion always may."""
    champion, *others = models
    return champion, *(ref for ref in others if not _ineligible(spec, champion, ref, day))


def covers_package(spec: ModelSpec) -> bool:
    """True when a fallback may stand in for a champion whose package is not to be had."""
    return spec.scoring.fallback is not None and PACKAGE in spec.scoring.fallback.covers


def _ineligible(spec: ModelSpec, champion: ModelRef, ref: ModelRef, day: date) -> str:
    """The reason why a model must not score beside this champion; empty when it may."""
    if ref.digest == champion.digest:
        return "it is the champion's own model"
    return describe_leak(ref) if leaks(ref, day) and not spec.scoring.allow_leak else ""


def assemble(candidates: Candidates) -> ModelSet:
    """Checks every candidate before a row is read, and returns the models that score the day.

    Raises:
        PackageError: The champion's package is not at hand or cannot be loaded, and no fallback covers that.
    """
    primary, *others = candidates.models
    if not others:
        return ModelSet.of(candidates.models, candidates.packages, candidates.spec)
    eligibility = _Eligibility(candidates)
    problem = eligibility.load_problem(primary) if covers_package(candidates.spec) else ""
    if problem:
        return _without_champion(candidates, eligibility, problem)
    standard = ModelSet.of((primary,), candidates.packages, candidates.spec)
    notes = {ref: eligibility.problem_with(ref, standard) for ref in others}
    kept = (primary, *(ref for ref in others if not notes[ref]))
    return ModelSet(kept, candidates.packages, standard.output_schema, _absent(notes))


def _without_champion(candidates: Candidates, eligibility: _Eligibility, problem: str) -> ModelSet:
    """The model set of a day that the fallback scores; a canary needs a champion to be compared with."""
    champion, *others = candidates.models
    fallback = next((ref for ref in others if ref.role is Role.FALLBACK), None)
    reason = eligibility.problem_with(fallback, None) if fallback is not None else "nobody was champion before"
    if fallback is None or reason:
        raise missing_package(champion, f"{problem}; the fallback cannot stand in: {reason}")
    standard = ModelSet.of((fallback,), candidates.packages, candidates.spec)
    notes = {champion: problem}
    for ref in others:
        if ref.role is Role.CANARY:
            notes[ref] = "there is no champion to hold it against"
        elif ref.role is Role.SHADOW:
            notes[ref] = eligibility.problem_with(ref, standard)
    kept = (fallback, *(ref for ref in others if ref.role is Role.SHADOW and not notes[ref]))
    return ModelSet(kept, candidates.packages, standard.output_schema, _absent(notes))


def _absent(notes: Mapping[ModelRef, str]) -> tuple[RoleTally, ...]:
    for ref, note in notes.items():
        if note:
            log.warning("%s version %d does not score: %s", ref.role.value, ref.version, note)
    return tuple(RoleTally(role=ref.role, version=ref.version, note=note) for ref, note in notes.items() if note)


class _Eligibility:
    """Finds the reason why a model cannot score the day; empty when it can."""

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates
        columns = arrow_schema(candidates.lake.look(candidates.input.table))
        self._nothing = pa.record_batch([pa.nulls(0, column.type) for column in columns], schema=columns)

    def problem_with(self, ref: ModelRef, standard: ModelSet | None) -> str:
        """Checks all: the champion's own version, a leak, loading, the input's columns, outputs and their meaning."""
        asked = self._candidates
        trained = _as_trained(ref, asked.packages.get(ref.digest))
        ineligible = _ineligible(asked.spec, asked.models[0], trained, asked.input.score_date)
        problem = ineligible or self.load_problem(ref) or self._schema_mismatch(ref)
        if problem or standard is None:
            return problem
        if not self.output_schema(ref).equals(standard.output_schema):
            return f"its outputs are {', '.join(self.output_schema(ref).names)} of other types than the champion's"
        if ref.is_constant or standard.meaning is None:
            return ""
        return asked.packages[ref.digest].meaning.difference(standard.meaning)

    def load_problem(self, ref: ModelRef) -> str:
        """Checks only that the package is here, whole, and loads in ONNX Runtime."""
        from tallywright.packaging.predictor import Predictor  # brings ONNX Runtime; a leak is checked without

        if ref.is_constant:
            return ""
        package = self._candidates.packages.get(ref.digest)
        if package is None:
            return self._candidates.missing.get(ref.digest, "its package is not at hand")
        try:
            Predictor(package)
        except PackageError as error:
            return error.found
        return ""

    def output_schema(self, ref: ModelRef) -> pa.Schema:
        """The columns of its predictions."""
        if ref.is_constant:
            return _constant_schema(self._candidates.spec)
        return self._candidates.packages[ref.digest].output_schema

    def _schema_mismatch(self, ref: ModelRef) -> str:
        """Checks the input's columns by preprocessing a batch of no rows."""
        if ref.is_constant:
            return ""
        try:
            self._candidates.packages[ref.digest].preprocess.transform(self._nothing)
        except TallyError as error:
            return error.found
        return ""


def _constant_schema(spec: ModelSpec) -> pa.Schema:
    return Postprocess(task=spec.training.task).output_schema
