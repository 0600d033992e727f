"""The rows that a version was trained on, and the reference that scored days are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tallywright.data.snapshot import SPLITS
from tallywright.profiles.profile import SCORE
from tallywright.reporting.card.content import NOT_RECORDED, CardSection, facts, table

if TYPE_CHECKING:
    from tallywright.profiles.profile import ColumnProfile, Profile
    from tallywright.reporting.card.known import KnownVersion

_NOT_FITTED: Final = (
    "Nothing was fitted on these rows: the version was profiled on those of train and validation, and judged on the "
    "holdout."
)
"""Of an adopted version."""


def data(known: KnownVersion) -> CardSection:
    """The snapshot: tables, windows, rows."""
    found = known.snapshot
    if found is None:
        return CardSection("data", "Data")
    windows = [
        (split, *found.window(split), found.rows.get(split), _share(found.coverage.get(split))) for split in SPLITS
    ]
    return CardSection(
        "data",
        "Data",
        paragraphs=() if known.adopted is None else (_NOT_FITTED,),
        facts=facts(
            ("features", f"{found.features.table}, version {found.features.version}"),
            ("labels", f"{found.labels.table}, version {found.labels.version}"),
            ("as of", found.as_of),
            ("fingerprint", found.fingerprint),
            ("sources", [f"{name}: {source.path}" for name, source in known.spec.data.sources.items()]),
        ),
        tables=table("Windows, both ends included", ("split", "from", "to", "labelled rows", "of all rows"), windows),
    )


def reference(known: KnownVersion) -> CardSection:
    """The training reference in the package, column by column."""
    if known.package is None:
        return CardSection("reference", "Reference", nothing=f"{NOT_RECORDED}: {known.lost}")
    profile, days = known.package.reference, known.package.reference_days
    columns = (*profile.columns, SCORE)
    rows = "those that the version was fitted on" if known.adopted is None else "those that it was profiled on"
    return CardSection(
        "reference",
        "Reference",
        paragraphs=(f"Each scored day is compared with these rows: {rows}.",),
        facts=facts(("rows", profile.rows), ("days", None if days is None else len(days.sizes or days.days))),
        tables=table(
            "Columns of the reference",
            ("column", "nulls", "values", "mean", "least", "most"),
            [_column(name, profile) for name in columns],
        ),
    )


def _column(name: str, profile: Profile) -> tuple[Any, ...]:
    column = profile.column(name)
    nulls = _share(profile.null_share(name))
    label = "the score" if name == SCORE else name
    return (label, nulls, _values(column), column.mean, column.minimum, column.maximum)


def _values(column: ColumnProfile) -> str:
    return "numbers" if column.kind == "numeric" else f"{len(column.counts):,} categories"


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.2%}"
