"""`tally trace`: from a score back to all behind it, and from a version, data, code or raw file to the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from tallywright.cli.console import show_record, show_rows, to_json
from tallywright.cli.options import (
    PERIOD,
    VERSION,
    Line,
    json_option,
    period_of,
    period_range,
    project_options,
)
from tallywright.data.keys import value_text
from tallywright.errors import UsageError

if TYPE_CHECKING:
    from tallywright.reporting.backward.affected import Affected
    from tallywright.reporting.backward.origins import Asked
    from tallywright.spec import Project

_WAYS: Final = "KEY and DAY, or one of --version, --data-version, --commit, --raw-file"
_NAME: Final = Line(1000)


# A key may begin with a dash: -8 is a number.
@click.command(context_settings={"ignore_unknown_options": True})
@project_options
@click.argument("key", required=False)
@click.argument("day", type=PERIOD, required=False)
@click.option("--version", type=VERSION, help="The scores that a registered version made.")
@click.option(
    "--data-version", type=_NAME, metavar="N|FINGERPRINT", help="Those made from a version of the features, or content."
)
@click.option(
    "--commit", type=_NAME, metavar="SHA", help="Those scored, ingested or trained by a commit (or its start)."
)
@click.option("--raw-file", type=_NAME, metavar="NAME", help="Those that a raw file has reached.")
@click.option("--from", "first", type=PERIOD, help="The first scored date or period to look at.")
@click.option("--to", "last", type=PERIOD, help="The last one, inclusive.")
@json_option
def trace(project: Project, key: str | None, day: str | None, *, as_json: bool, **given: Any) -> None:
    """Where a score came from, and which scores came from something.

    With KEY and DAY: tally, input, model, training, code, gates, approver behind that score. Values of a KEY of several
    columns are joined by /, in the spec's order, with / inside a value as %2F and % as %25; or all of it is given as
    'column=value column=value'. Commands print keys in this way.

    With --version, --data-version, --commit or --raw-file: the days and rows of scores that were made from it, by which
    versions in which roles, whether they still stand, and the models that were trained on it.
    """
    first, last = given.pop("first"), given.pop("last")
    asked = _asked(given)
    if asked is None:
        if key is None or day is None or first is not None or last is not None:
            raise UsageError("it is not said what to trace", expected=f"{_WAYS}; --from and --to go with the latter")
        _forward(project, key, day, as_json=as_json)
        return
    if key is not None:
        raise UsageError(f"both the key {key!r} and {asked.kind} {asked.name!r} were given", expected=_WAYS)
    from tallywright.reporting.backward.affected import affected

    found = affected(project, asked, *period_range(project, first, last))
    if as_json:
        click.echo(to_json(found.as_dict()))
    else:
        _show(project, found)


def _asked(given: dict[str, Any]) -> Asked | None:
    """What was asked for by an option; None where it is a score.

    Raises:
        UsageError: By several options.
    """
    from tallywright.reporting.backward.origins import Asked, OriginKind

    kinds = {
        "version": OriginKind.VERSION,
        "data_version": OriginKind.DATA,
        "commit": OriginKind.COMMIT,
        "raw_file": OriginKind.RAW,
    }
    asked = [Asked(kind, str(given[name])) for name, kind in kinds.items() if given[name] is not None]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(one.kind for one in asked)} were given", expected=_WAYS)
    return asked[0] if asked else None


def _forward(project: Project, key: str, day: str, *, as_json: bool) -> None:
    from tallywright.reporting.trace import trace as trace_score

    found = trace_score(project, key, period_of(project, day))
    if not as_json:
        names = project.spec.data.key
        shown = {name: value_text(found["score"][name], joined=len(names) > 1) for name in names}
        found["score"] = found["score"] | shown
    show_record(found, as_json=as_json)


def _show(project: Project, found: Affected) -> None:
    """The tables for people."""
    show_record(found.asked, as_json=False)
    click.echo()
    total = found.total
    told = {
        "stands": _count(total, "standing"),
        "stands, perhaps reached": _count(total, "perhaps"),
        "replaced since": _count(total, "replaced"),
        "of shadows": _count(total, "shadow"),
    }
    show_record({name: text for name, text in told.items() if text} or {"scores": "none"}, as_json=False)
    if found.scores:
        click.echo()
    rows = [
        {
            "from": one.first,
            "to": one.last,
            "days": one.days,
            "rows": one.rows,
            "version": one.model_version,
            "role": one.role,
            "state": "stands" if one.stands else "replaced",
            "why": ", ".join(one.why),
        }
        for one in found.scores
    ]
    if rows:
        show_rows(rows, as_json=False)
    if found.models:
        click.echo()
        show_rows([_model(one) for one in found.models], as_json=False, title="models")
    if found.not_recorded:
        click.echo(f"\nnot recorded of the scored {project.spec.schedule.calendar.noun}s "
                   f"{', '.join(found.not_recorded)}: which raw files they were ingested from")  # fmt: skip
    for note in found.notes:
        click.echo(f"note: {note}", err=True)


def _count(total: dict[str, int], name: str) -> str:
    days, rows = total[f"{name}_days"], total[f"{name}_rows"]
    return f"{rows:,} rows of {days:,} day{'s' * (days != 1)}" if days else ""


def _model(one: dict[str, Any]) -> dict[str, Any]:
    """A row of the table for people."""
    dates = ", ".join(f"{count} of {split}" for split, count in one["dates"].items())
    return {
        "version": one["model_version"],
        "why": one["why"],
        "its dates": dates,
        "from": one["first"],
        "to": one["last"],
        "days that stand": one["standing_days"],
        "rows": one["standing_rows"],
    }
