"""The frozen records that layers exchange.

A record is immutable, forbids unknown fields, and round-trips through JSON: `record.to_json()` and
`Record.from_json(text)`. Business dates are `datetime.date`, instants are UTC `datetime`.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from tallywright.score_period import DATE_COLUMN, HOUR_COLUMN, Hour, with_hour


class Record(BaseModel):
    """A frozen value with an exact JSON form."""

    model_config = ConfigDict(
        frozen=True, defer_build=True, extra="forbid", ser_json_inf_nan="constants", protected_namespaces=()
    )

    def to_json(self) -> str:
        """The record as one line of JSON, keys in field order."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The record that `to_json` wrote."""
        return cls.model_validate_json(text)


class PeriodRecord(Record):
    """A record about a score period, `score_date`; in JSON an hour is two values, as it is two columns of a table."""

    @model_validator(mode="before")
    @classmethod
    def _with_hour(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get(HOUR_COLUMN) is None:
            return values
        day, instant = values[DATE_COLUMN], values[HOUR_COLUMN]
        day = date.fromisoformat(day) if isinstance(day, str) else day
        instant = datetime.fromisoformat(instant) if isinstance(instant, str) else instant
        return with_hour({**values, DATE_COLUMN: day, HOUR_COLUMN: instant})

    @model_serializer(mode="wrap")
    def _in_json(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        period = getattr(self, DATE_COLUMN, None)
        if isinstance(period, Hour) and DATE_COLUMN in values and info.mode == "json":
            values[HOUR_COLUMN] = str(period)
        return values


FORMAT: Final = 1
"""The form of the stored records that this version writes; records of the time before have none, and count as 0."""


class StoredRecord(Record):
    """A record that is stored in a table or a commit, which every later version must be able to read.

    It is read tolerantly: fields that this version does not know are left out, those that an older version did not have
    get their defaults. `format` says by which rules it was written.
    """

    model_config = ConfigDict(extra="ignore")

    format: int = FORMAT

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The record that `to_json` of this or of another version wrote."""
        record = cls.model_validate_json(text)
        return record if "format" in record.model_fields_set else record.model_copy(update={"format": 0})


class StoredPart(Record):
    """A nested part of stored records, which tolerates unknown fields as they do."""

    model_config = ConfigDict(extra="ignore")


def digest_of(value: Any) -> str:
    """The sha256 (hex) of a JSON-able value in canonical form: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class Role(StrEnum):
    """The role of a model for a row."""

    CHAMPION = "champion"
    CANARY = "canary"
    FALLBACK = "fallback"
    SHADOW = "shadow"


class TableVersion(Record):
    """A pinned version of a Delta table; `table` is its short name, such as `flight_delays__features`."""

    table: str
    version: int


class Reference(Record):
    """A table version that is still referred to, and by what: `input`, `tally` or `model`."""

    table: str
    version: int
    by: str


class CommittedFile(StoredPart):
    """A data file as it was committed: path relative to its table, bytes, rows, sha256 of its Parquet footer.

    Of a file of at most 256 KiB, `footer` is the sha256 of all its bytes.
    `checksums` says that each of its pages has a checksum, so that reading it finds a damaged page.
    """

    path: str
    size: int
    rows: int
    footer: str
    checksums: bool = False


class RawFileRows(StoredPart):
    """What a date was given of one raw file when it was ingested.

    `rows` are those that the contract accepted, `quarantined` those that it did not; None is not known. Of a file that
    is only looked up in (`whole`) every date has all rows. A source of very many files is one entry without a name.
    """

    source: str
    file: str
    rows: int | None = None
    quarantined: int | None = None
    whole: bool = False
    files: int = 1


class InputVersion(PeriodRecord, StoredPart):
    """One date of the input table as ingest left it.

    `version` is the Delta version that last changed this date's content, `fingerprint` its order-free content digest,
    `files` the files that hold it (none in records of before).
    """

    table: str
    score_date: date
    version: int
    fingerprint: str
    rows: int
    files: tuple[CommittedFile, ...] = ()
    raw_files: tuple[RawFileRows, ...] | None = None
    """The raw files that it was ingested from; None where that was not recorded, as before it was."""
    code_version: str = ""
    """The project's code that ingested it; empty where that was not recorded."""


class ModelRef(StoredPart):
    """One immutable model version, in the role it has for a score date.

    Version 0 is no model but the constant that the spec declares as fallback; registered versions start at 1.
    """

    name: str
    version: int
    digest: str
    role: Role = Role.CHAMPION
    effective_from: date | None = None
    trained_through: date | None = None

    @property
    def is_constant(self) -> bool:
        """True for the declared constant, which has no package."""
        return self.version == 0


class VersionOrigin(StoredPart):
    """Where a version was registered when it was trained, and the number that it has there."""

    digest: str
    registry: str
    """The name of the environment, such as `dev`."""
    version: int

    def __str__(self) -> str:
        return f"{self.registry} version {self.version}"


QUALITY: Final = "quality"
OPERATIONS: Final = "operations"
REFIT: Final = "refit"
"""The gates of a version; the last compares a refit with the package that was judged."""
JUDGED_AGAINST: Final = "judged_against"
"""The check of a quality report that names the champion's digest, or `NO_CHAMPION`."""
JUDGED_BY: Final = "judged_by"
"""The check of a quality report that names the digest of the spec's section `gates`."""
JUDGED_PACKAGE: Final = "judged_package"
"""The check of a refit's report that names the digest of the package that was judged."""
NO_CHAMPION: Final = "no champion"


class Verdict(StrEnum):
    """What follows from a check. A failure refuses; what is undecided blocks until more evidence is there.

    Nothing follows from a note, which is no pass.
    """

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    NOTE = "note"
    WARN = "warn"
    UNDECIDED = "undecided"
    FAIL = "fail"


class VersionVerdict(StrEnum):
    """What the gates say about a version, once it is registered."""

    PASSED = "passed"
    UNDECIDED = "undecided"
    """Nothing is violated, and not all is shown: it may score in shadow, and be judged again."""
    REFUSED = "refused"
    """It may be looked at and score in shadow, and is never promoted."""


class Check(StoredPart):
    """One named comparison of something observed with its bound."""

    name: str
    verdict: Verdict
    observed: float | str | None = None
    bound: str = ""
    evidence: str = ""

    @property
    def found(self) -> Verdict:
        """What was found, whatever follows from it: PASS where the condition was met, else FAIL."""
        return Verdict.PASS if self.verdict is Verdict.PASS else Verdict.FAIL

    @property
    def goes_through(self) -> bool:
        """True where nobody has to look at it: it passed, or was only noted."""
        return self.verdict in (Verdict.PASS, Verdict.NOTE)

    @classmethod
    def of(cls, name: str, good: bool, observed: float | str | None, bound: str, evidence: str = "") -> Check:  # noqa: FBT001
        """A check that passes when `good`, and fails otherwise."""
        verdict = Verdict.PASS if good else Verdict.FAIL
        return cls(name=name, verdict=verdict, observed=observed, bound=bound, evidence=evidence)


class GateReport(StoredPart):
    """The report of one gate about one subject (a day, a candidate)."""

    gate: str
    model: str
    subject: str
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst verdict, where notes count as passed; a report without checks is no evidence and fails."""
        if not self.checks:
            return Verdict.FAIL
        worst = max((check.verdict for check in self.checks), key=list(Verdict).index)
        return Verdict.PASS if worst is Verdict.NOTE else worst

    def observed(self, name: str) -> float | str | None:
        """The observed value of a check; None when the report has no such check."""
        return next((check.observed for check in self.checks if check.name == name), None)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed, in order."""
        return self.with_verdict(Verdict.FAIL)

    def with_verdict(self, verdict: Verdict) -> tuple[Check, ...]:
        """The checks with this verdict, in order."""
        return tuple(check for check in self.checks if check.verdict is verdict)


class Decision(StoredRecord):
    """The gate reports about one candidate and who decided on them; every promotion needs one."""

    model: str
    candidate_version: int
    candidate_digest: str
    reports: tuple[GateReport, ...]
    approver: str
    reason: str
    judged_digest: str = ""
    """The package that was judged on the holdout, where the candidate is its recipe fitted again; else empty."""
    authentication: str = ""
    """How the approver is known: by Airflow, by a key. Empty for a policy, and for a name that somebody typed."""
    answer: int | None = None
    """The entry of the promotion log that holds the approval; None where it was given with the promotion itself."""

    @property
    def approved(self) -> bool:
        """True when there is at least one report, and each of them passed."""
        return bool(self.reports) and all(report.verdict in {Verdict.PASS, Verdict.WARN} for report in self.reports)


class Promotion(Record):
    """An entry of the promotion log: from `effective_from` on, as known since `recorded_at`, this is the champion.

    The champion of a date is the line with the latest `effective_from` not after it; among equals the latest
    `sequence` wins. `recorded_at` is what the clock of the writer showed, and orders nothing.
    """

    model: str
    sequence: int
    action: str
    model_version: int
    package_digest: str
    trained_through: date
    effective_from: date
    recorded_at: datetime
    approver: str
    reason: str
    decision_json: str = ""
    request: str = ""
    """Identity of the request that the line answers; empty in older lines, which have it in their other fields."""
    digest: str = ""
    """Of this entry and the one before it; empty in entries of before."""
    authentication: str = ""
    """How the approver is known; without it the name is a claim of `recorded_by`."""
    recorded_by: str = ""
    """The system user whose process wrote the entry; empty in entries of before."""
    evidence: str = ""
    """The digest of its evidence: reports of gates, approver, answer and comment; empty in entries of before."""
    answer_json: str = ""
    """The answer that an approver has signed; of approvals and rejections alone."""
    stage_json: str = ""
    """The stage that a challenger begins, with the terms by which it ends; of the action `stage` alone."""


class Meaning(StoredPart):
    """What the output columns of a model mean: models whose rows stand in one table agree in all of it.

    Attributes:
        task: The task.
        target: The column that is predicted.
        classes: The classes by name: in the order of the probabilities, or the negative and the positive one.
        positive: The class whose probability a binary model gives.
        unit: Of a regression's value; empty where nobody said.
    """

    task: str
    target: str = ""
    classes: tuple[str, ...] = ()
    positive: str = ""
    unit: str = ""

    def difference(self, champion: Meaning) -> str:
        """What tells this meaning from the champion's, in words; empty where the columns mean the same."""
        pairs = {
            "task is": (self.task, champion.task),
            "target is": (self.target, champion.target),
            "positive class is": (self.positive, champion.positive),
            "classes are": (", ".join(self.classes), ", ".join(champion.classes)),
            "unit is": (self.unit, champion.unit) if self.unit and champion.unit else ("", ""),
        }
        found = (f"its {what} {mine}, the champion's {its}" for what, (mine, its) in pairs.items() if mine != its)
        return next(found, "")


class RoleTally(StoredPart):
    """The rows that one model scored on a day, or the reason why it scored none."""

    role: Role
    version: int
    rows: int = 0
    """In the scores table; for a shadow, in the table of shadows."""
    profile_digest: str = ""
    """Of its row in `<model>__profile`; empty when it scored nothing."""
    note: str = ""
    """Why it was not heard: its package is missing, a limit is broken, it has seen the day."""
    figures: str = ""
    """What a canary was judged by, with intervals and rows; empty for others, and in tallies of before."""


class Manifest(PeriodRecord, StoredRecord):
    """The manifest of a tally, stored in its commit and in `<model>__tallies`."""

    model: str
    score_date: date
    generation: int
    reason: str
    input: InputVersion
    models: tuple[ModelRef, ...]
    scoring_digest: str
    rows: int
    key_digest: str
    engine: str
    run_id: str
    code_version: str
    committed_at: datetime
    profile_digest: str
    leak_allowed: bool = False
    """True when a model had seen data of the score date, and the spec accepted that."""
    commit_id: str = ""
    """Drawn for each commit, by which a writer finds its own commit after a lost response."""
    roles: tuple[RoleTally, ...] = ()
    """What each model did; empty in tallies of the time when only champions scored."""
    scoring_json: str = ""
    """The spec's scoring section at the commit, so that the tally can be counted again; empty in older tallies."""
    files: tuple[CommittedFile, ...] = ()
    """The files of the commit; none in older tallies, and where the engine's own writer made them."""
    promotion_sequence: int | None = None
    """The newest line of the promotion log when the models were resolved; None in older tallies."""
    override: str = ""
    """The reason given with `--force`, by which it was committed over whatever stood; empty for all others."""
    meaning: Meaning | None = None
    """What the output columns mean, by the package of the model that answers for the day; None in older tallies."""
    origins: tuple[VersionOrigin, ...] = ()
    """Of the models that came from another registry: their numbers there; left out where there are none."""

    @model_serializer(mode="wrap")
    def _in_json(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        values = super()._in_json(handler, info)
        if not self.origins:
            values.pop("origins", None)
        return values

    @property
    def primary(self) -> ModelRef:
        """The primary model of the day: the champion, or the fallback on a day without one."""
        return self.models[0]

    @property
    def rows_by_role(self) -> dict[str, int]:
        """How many rows of the scores table each role has; roles without rows are left out."""
        if not self.roles:
            return {self.primary.role.value: self.rows}
        return {one.role.value: one.rows for one in self.roles if one.rows and one.role is not Role.SHADOW}

    @property
    def inputs_digest(self) -> str:
        """The digest of everything that determines the rows: equal digests mean the same inputs."""
        return inputs_digest(self.input.fingerprint, self.models, self.scoring_digest)


def inputs_digest(fingerprint: str, models: tuple[ModelRef, ...], scoring_digest: str) -> str:
    """The digest of the inputs of a tally: content of the day, model digests by role, the scoring section."""
    by_role = sorted((model.role.value, model.name, model.version, model.digest) for model in models)
    return digest_of([fingerprint, by_role, scoring_digest])


class DriftSignal(PeriodRecord):
    """One comparison of a day's column profile with a reference."""

    model: str
    model_version: int
    score_date: date
    column: str
    baseline: str
    metric: str
    value: float
    threshold: float
    violated: bool


class DayState(StrEnum):
    """The state of the retraining policy after a day."""

    OK = "ok"
    NOT_JUDGED = "not judged"
    """Nothing was violated, and something could not be judged: too few rows, labels or reference days."""
    SUSPECTED = "suspected"
    CONFIRMED = "confirmed"
    RETRAINING = "retraining"
    COOLDOWN = "cooldown"


class RetrainDecision(PeriodRecord):
    """The retraining decision of a day; every day has one."""

    model: str
    score_date: date
    state: DayState
    retrain: bool
    reasons: tuple[str, ...]
    signals_json: str
    policy_digest: str
    decision_id: str
