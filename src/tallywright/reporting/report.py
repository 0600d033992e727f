"""The report: one self-contained HTML page about one model, without scripts and requests, light and dark."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tallywright.errors import StorageError
from tallywright.reporting import sections
from tallywright.reporting.plot import format_value

if TYPE_CHECKING:
    from tallywright.data.delta.lake import Lake
    from tallywright.spec import Project

TEMPLATES: Final = Path(__file__).parent / "templates"
LETTERS: Final = {"ok": "o", "not judged": "n", "suspected": "s", "confirmed": "C", "retraining": "R", "cooldown": "c"}


def write_report(project: Project, lake: Lake, out: Path) -> Path:
    """Writes the page, and returns its path.

    Raises:
        StorageError: A table cannot be read, or the page cannot be written.
    """
    page = render(project, lake)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"the report {out} cannot be written: {error.strerror}", remedy="choose another place with --out"
        ) from error
    return out.absolute()


def render(project: Project, lake: Lake) -> str:
    """The page as text."""
    sources = sections.Sources.of(lake, project.spec)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    # The style sheet is a file of ours: the only text that is not escaped.
    css = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))  # noqa: S704
    return environment.get_template("report.html.j2").render(
        spec=project.spec,
        css=css,
        lake=lake.root,
        written_at=datetime.now(UTC),
        letters=LETTERS,
        moment=_moment,
        observed=_observed,
        **_content(sources),
    )


def _content(sources: sections.Sources) -> dict[str, Any]:
    days = sources.days
    performance = sections.performance_plots(sources)
    content = {
        "days": days,
        "hidden": len(sources.all_days) - len(days),
        "unscored": sections.unscored(sources),
        "scores": sections.score_plots(sources) if sources.tallies else [],
        "heat": sections.heat_map(sources),
        "violations": sections.violations(sources),
        "performance": performance,
        "slices": sections.slices(sources),
        "decisions": sections.decisions(sources),
        "superseded": sections.superseded(sources),
        "promotions": sections.promotions(sources),
        "champion_periods": sections.champion_periods(sources),
        "gates": sections.gates(sources),
        "tallies": list(reversed(sources.tallies))[: sections.MOST_DAYS],
    }
    return content | {"tiles": _tiles(sources, content)}


def _tiles(sources: sections.Sources, content: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures at the top of the page."""
    decisions, champion_periods, performance = content["decisions"], content["champion_periods"], content["performance"]
    tiles = [("days scored", format_value(len(sources.tallies), "count"))]
    tiles.append(("rows scored", format_value(sum(tally.rows for tally in sources.tallies), "count")))
    tiles.append(
        (
            "champion on the last scored day",
            f"version {champion_periods[-1].promotion.model_version}" if champion_periods else "–",
        )
    )
    if performance:
        first = performance[0]
        values = [value for value in first.series[0].values if value is not None]
        tiles.append((f"{first.series[0].name}, last realised day", first.format_value(values[-1])))
    if content["heat"]:
        columns = {row["column_name"] for row in content["violations"]}
        tiles.append(("columns drifted, last compared day", str(len(columns))))
    tiles.append(("last decision", decisions[-1]["state"] if decisions else "–"))
    return tiles


def _moment(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M}"


def _observed(check: dict[str, Any]) -> str:
    if check["observed_text"] is not None:
        return str(check["observed_text"])
    number = check["observed_number"]
    return "" if number is None else f"{number:.6g}"
