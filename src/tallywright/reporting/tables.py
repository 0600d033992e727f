"""The page `docs/tables.md`: every small table of a model, from the declarations that the code itself uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tallywright.data.delta.table import Kind
from tallywright.data.etl.label_readings import LABEL_READINGS
from tallywright.data.etl.quarantine import UNREADABLE
from tallywright.data.inputs.versions import INPUTS
from tallywright.gates.record import GATES
from tallywright.lifecycle.seals import VERIFIED
from tallywright.monitoring.actions import ACTIONS
from tallywright.monitoring.decisions import DECISIONS
from tallywright.monitoring.drift import DRIFT
from tallywright.monitoring.performance import PERFORMANCE
from tallywright.monitoring.periods import PERIODS
from tallywright.registry.promotion_chain import HEADS
from tallywright.registry.promotion_log import PROMOTIONS
from tallywright.registry.versions_table import VERSIONS
from tallywright.scoring.commit.manifests import TALLIES
from tallywright.scoring.commit.profile_table import PROFILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.data.delta.table import Declaration

DECLARATIONS: Final[tuple[Declaration[Any], ...]] = (
    INPUTS, UNREADABLE, LABEL_READINGS, TALLIES, PROFILE, DRIFT, PERFORMANCE, PERIODS, DECISIONS, ACTIONS, GATES,
    PROMOTIONS, HEADS, VERSIONS, VERIFIED,
)  # fmt: skip

_HEAD: Final = """\
# The small tables

Written by `make docs` from the declarations in the code; a test fails when this page is not current.

Beside its large tables (`features`, `labels`, `quarantine`, `scores`, `shadow`, which have a partition a date and the
columns that the spec gives them) a model has the tables below. `tallies` of the model `flight_delays` is the Delta
table `flight_delays__tallies` in the lake. A table is made with its first row. Columns are added, never repurposed:
one that is younger than a row is null there. All instants are UTC.

Of an hourly model ([cadence](cadence.md)) each of them that has `score_date` has the instant `score_hour` after it,
and the key and the slice are of both; the large tables are partitioned by both.
"""


def document() -> str:
    """The page as Markdown."""
    return "\n".join([_HEAD, *(line for one in DECLARATIONS for line in _section(one))])


def _section(declaration: Declaration[Any]) -> Iterator[str]:
    yield f"## {declaration.what}\n"
    doc = declaration.doc
    yield f"{doc[0].upper()}{doc[1:]}.\n"
    yield f"- Key: {_names(declaration.key)}"
    slices = f" A slice: {_names(declaration.slice)}." if declaration.kind is Kind.SLICE else ""
    yield f"- Writing: {declaration.kind.value}.{slices}\n"
    yield "| column | type |"
    yield "|---|---|"
    for column in declaration.schema:
        yield f"| `{column.name}` | {column.type} |"
    yield ""


def _names(columns: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in columns)


if __name__ == "__main__":
    print(document(), end="")  # noqa: T201 - `make docs` redirects it
