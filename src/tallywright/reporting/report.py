"""The report: one self-contained HTML page about one model, without scripts and requests, light and dark."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import StorageError
from tallywright.html_pages import rendered, replace_file
from tallywright.monitoring.policy import BROKEN_DAY, CLOSED_DAY, PART_OF_A_DAY
from tallywright.reporting import sections
from tallywright.reporting.classes import class_figures, class_shares
from tallywright.reporting.plot import SYMBOLS, format_value, short_label

if TYPE_CHECKING:
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import Project

TEMPLATES: Final = Path(__file__).parent / "templates"
LETTERS: Final = {
    "ok": "o", "not judged": "n", "suspected": "s", "confirmed": "C", "retraining": "R", "cooldown": "c",
    BROKEN_DAY: "×", CLOSED_DAY: "–", PART_OF_A_DAY: "·",
}  # fmt: skip


def write_report(
    project: Project, lake: Lake, out: Path, *, first: date | None = None, last: date | None = None
) -> Path:
    """Writes the page, and returns its path.

    Args:
        project: The model's project.
        lake: Its lake.
        out: Where to write it.
        first: The first score period to show; without both ends the latest ones are shown.
        last: The last one.

    Raises:
        StorageError: A table cannot be read, or the page cannot be written.
    """
    page = render(project, lake, first=first, last=last)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _write(page, out)
    except OSError as error:
        raise StorageError(
            f"the report {out} cannot be written: {error.strerror}", remedy="choose another place with --out"
        ) from error
    return out.absolute()


def _write(page: str, out: Path) -> None:
    """Writes a file as a whole or not at all, so that the page before stays; to a device or a pipe, as it takes it."""
    if out.exists() and not out.is_file():
        out.write_text(page, encoding="utf-8")
        return
    replace_file(out.resolve(), page)


def render(project: Project, lake: Lake, *, first: date | None = None, last: date | None = None) -> str:
    """The page as text."""
    sources = sections.Sources.of(lake, project.spec, first, last)
    values = {
        "spec": project.spec,
        "lake": lake.root,
        "written_at": datetime.now(UTC),
        "letters": LETTERS,
        "moment": _moment,
        "label": short_label,
        "symbols": SYMBOLS,
        "observed": _observed,
        **_content(sources),
    }
    return rendered(TEMPLATES, "report.html.j2", "report.css", values)


def _content(sources: sections.Sources) -> dict[str, Any]:
    days = sources.days
    performance, log = sections.performance_plots(sources), sections.promotions(sources)
    content = {
        "days": days,
        "all_days": sources.all_days,
        "period": sources.period,
        "unscored": sections.unscored(sources),
        "scores": [*sections.score_plots(sources), *class_shares(sources)] if sources.tallies else [],
        "heat": sections.heat_map(sources),
        "violations": sections.violations(sources),
        "performance": performance,
        "slices": sections.slices(sources),
        "classes": class_figures(sources),
        "decisions": sections.decisions(sources),
        "superseded": sections.superseded(sources),
        "promotions": log,
        "stages": sections.stages(log),
        "champion_periods": sections.champion_periods(sources, log),
        "gates": sections.gates(sources),
        "tallies": list(reversed(sources.tallies)),
    }
    return content | {"tiles": _tiles(sources, content)}


def _tiles(sources: sections.Sources, content: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures at the top of the page."""
    decisions, champion_periods, performance = content["decisions"], content["champion_periods"], content["performance"]
    period = sources.period
    tiles = [(f"{period}s scored", format_value(len(sources.tallies), "count"))]
    tiles.append(("rows scored", format_value(sum(tally.rows for tally in sources.tallies), "count")))
    tiles.append(
        (
            f"champion on the last {period}",
            f"version {champion_periods[-1].promotion.model_version}" if champion_periods else "–",
        )
    )
    if performance:
        first = performance[0]
        values = [value for value in first.series[0].values if value is not None]
        tiles.append((f"{first.series[0].name}, last realised {period}", first.format_value(values[-1])))
    if content["heat"]:
        columns = {row["column_name"] for row in content["violations"]}
        tiles.append((f"columns drifted, last compared {period}", str(len(columns))))
    tiles.append(("last decision", decisions[-1]["state"] if decisions else "–"))
    return tiles


def _moment(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M}"


def _observed(check: dict[str, Any]) -> str:
    if check["observed_text"] is not None:
        return str(check["observed_text"])
    number = check["observed_number"]
    return "" if number is None else f"{number:.6g}"
