from __future__ import annotations

import base64
import hashlib
import re
import resource
import shutil
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from browsers import opened
from decided import decided
from hostile import MARKUP
from markupsafe import escape
from synthetic import make_package, make_spec
from world import World, warmer

from tallywright.data.delta.lake import Lake
from tallywright.errors import StorageError
from tallywright.gates.record import record_report
from tallywright.html_pages import visible
from tallywright.monitoring.decisions import decide
from tallywright.monitoring.performance import realised
from tallywright.monitoring.periods import Period, PeriodState, record_periods
from tallywright.records import Check, GateReport, Promotion, Verdict
from tallywright.registry.promotion_log import PromotionLog
from tallywright.reporting.plot import SYMBOLS
from tallywright.reporting.report import write_report
from tallywright.spec.environment import Environment
from tallywright.spec.load import Project

if TYPE_CHECKING:
    from pathlib import Path

FIRST = date(2024, 3, 1)
DAYS = [FIRST + timedelta(days=offset) for offset in range(6)]
SECTIONS = ("scores", "drift", "performance", "decisions", "champions", "gates", "tallies")
VOID = {"meta", "br"}


class Page(HTMLParser):
    """Checks that tags nest, and collects tags, attributes and text by section."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = dict.fromkeys(SECTIONS, "")
        self.section = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self.section = dict(attrs)["id"] or ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "section":
            self.section = ""

    def handle_data(self, data: str) -> None:
        if self.section:
            self.text[self.section] += data

    def count(self, tag: str, style: str = "") -> int:
        return sum(name == tag and style in [*(attrs.get("class") or "").split(" "), ""] for name, attrs in self.tags)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Six days: the third and fourth shifted, the fifth badly gated, the first restated; labels a day later."""
    root = tmp_path_factory.mktemp("report")
    spec = make_spec(
        training={"slices": ["c0"]},
        monitoring={"min_rows": 200, "min_labels": 100, "performance_floor": {"roc_auc": {"min": 0.55}}},
        retraining={"num_evaluation_windows": 3, "num_violation_windows": 2, "cooldown_days": 3},
    )
    world = World(Lake(str(root / "lake")), spec, make_package(root / "package"))
    _promote(world)
    for number, day in enumerate(DAYS):
        verdict = Verdict.FAIL if number == 4 else Verdict.PASS
        world.watch(day, 300 + number, change=warmer if number in {2, 3} else None, verdict=verdict)
        world.label(day, never=3)
        if number:
            realised(world.lake, spec, DAYS[number - 1], as_of=day)
        decide(world.lake, spec, day)
    world.watch(DAYS[2], 302)
    decide(world.lake, spec, DAYS[2])
    return world


def _promote(world: World) -> None:
    log = PromotionLog(world.lake, world.spec)
    for version, effective in ((1, FIRST), (2, DAYS[3])):
        line = decided(
            Promotion(
                model="shop",
                sequence=0,
                action="promote",
                model_version=version,
                package_digest=world.package.digest,
                trained_through=date(2024, 2, 20),
                effective_from=effective,
                recorded_at=datetime(2024, 3, 1, 5, tzinfo=UTC),
                approver="<script>alert('policy')</script>",
                reason="better & approved",
            )
        )
        log.append(lambda _, line=line: line)


def write(world: World, lake: Lake, out: Path, **days: date) -> str:
    project = Project(spec=world.spec, folder=out.parent, root=out.parent, environment=Environment(name="local"))
    return write_report(project, lake, out, **days).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(world: World, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(world, world.lake, tmp_path_factory.mktemp("out") / "deep" / "report.html")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_page_asks_nothing_of_the_network_and_runs_no_script(text: str, page: Page) -> None:
    assert not re.search(r"https?://|//[a-z]|@import|url\(|javascript:", text)
    assert {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags} == set()
    links = {attrs["href"] for tag, attrs in page.tags if tag == "a"}
    assert links == {f"#{section}" for section in SECTIONS}


def test_what_came_from_data_is_escaped(text: str) -> None:
    assert "&lt;script&gt;alert(&#39;policy&#39;)&lt;/script&gt;" in text
    assert "better &amp; approved" in text


def test_the_policy_knows_the_style_by_its_hash_and_no_style_stands_elsewhere(text: str, page: Page) -> None:
    (policy,) = re.findall('Content-Security-Policy" content="([^"]*)"', text.partition("</head>")[0])
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert {"default-src 'none'", "script-src 'none'", f"style-src 'sha256-{digest}'"} <= set(policy.split("; "))
    assert "unsafe" not in policy
    assert not [attrs for _, attrs in page.tags if "style" in attrs or any(name.startswith("on") for name in attrs)]


@pytest.mark.long
def test_a_browser_shows_hostile_texts_and_runs_nothing(world: World, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    shutil.copytree(world.lake.root, lake.root)
    checks = tuple(
        Check(name=text, verdict=Verdict.FAIL, observed=text, bound=text, evidence=f"so {text}") for text in MARKUP
    )
    report = GateReport(gate="day", model="shop", subject="2024-03-06@x", checks=checks)
    record_report(lake, world.spec, report, run_id="hostile", recorded_at=datetime(2024, 3, 9, tzinfo=UTC))
    spec = world.spec.model_copy(update={"description": "".join(MARKUP), "tags": tuple(MARKUP)})
    text = write(World(lake, spec, world.package), lake, tmp_path / "hostile.html")
    assert all(str(escape(visible(one))) in text for one in MARKUP)
    assert {"script", "img", "iframe", "base", "link"} & {tag for tag, _ in Page(text).tags} == set()
    seen = opened(tmp_path / "hostile.html", tmp_path / "profile")
    assert '<html lang="en">' in seen.page  # without the mark that a script would leave
    assert "Content Security Policy" not in seen.said, "the page breaks its own policy"


def test_each_day_is_drawn_and_every_picture_has_words(page: Page) -> None:
    assert page.count("rect", "bar") == len(DAYS)
    assert page.count("circle", "dot") >= 2 * len(DAYS)
    pictures = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in pictures)
    assert page.count("title") > 6 * len(DAYS)
    assert "2024-03-01: rows 300" in page.text["scores"]


def test_the_heat_map_has_a_cell_a_column_and_day_and_marks_violations(page: Page) -> None:
    assert page.count("rect", "cell") == 6 * len(DAYS)
    assert page.count("rect", "out") == 1  # the fourth day; the third was restated
    assert page.count("circle", "") - page.count("circle", "dot") == 1
    assert "x0 on 2024-03-04: " in page.text["drift"]
    assert "Nothing violates on the last compared day" in page.text["drift"]


def test_performance_shows_intervals_floor_and_slices(page: Page) -> None:
    assert "Area under the ROC curve" in page.text["performance"]
    assert "least 0.55" in page.text["performance"]
    assert "c0 = grün" in page.text["performance"]
    assert page.count("line", "whisker") >= len(DAYS) - 1


def test_decisions_tell_reasons_broken_days_and_what_was_superseded(page: Page) -> None:
    told = page.text["decisions"]
    assert "drift: 1 columns: x0" in told
    assert "broken_day: the day gate failed" in told
    assert "Superseded decisions: " in told
    assert page.count("ul", "strip") == 1


def test_champions_gates_and_tallies_are_named(page: Page) -> None:
    champions = " ".join(page.text["champions"].split())
    assert "2024-03-01 to 2024-03-03: version 1" in champions
    assert "2024-03-04 to 2024-03-06: version 2" in champions
    assert "rows_as_ingested" in page.text["gates"]
    assert "restated_input" in page.text["tallies"]


def test_a_range_shows_its_days_and_says_how_many_there_are(world: World, tmp_path: Path, page: Page) -> None:
    assert "2024-03-01 to 2024-03-06: 6 of 6 days." in " ".join(page.text["scores"].split())
    part = Page(write(world, world.lake, tmp_path / "part.html", first=DAYS[1], last=DAYS[3]))
    told = " ".join(part.text["scores"].split())
    assert "2024-03-02 to 2024-03-04: 3 of 6 days, which go from 2024-03-01 to 2024-03-06; tally report shop" in told
    assert part.count("rect", "bar") == 3
    assert part.count("rect", "cell") == 6 * 3
    assert "Violations on 2024-03-04" in part.text["drift"]
    assert part.text["decisions"].count("Mar") == 3
    assert "2024-03-05" not in part.text["tallies"]
    none = Page(write(world, world.lake, tmp_path / "none.html", first=DAYS[-1] + timedelta(days=9)))
    assert "None of the 6 days from 2024-03-01 to 2024-03-06 lies in the range" in none.text["scores"]


def test_days_without_scores_have_marks_of_their_own(world: World, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    shutil.copytree(world.lake.root, lake.root)
    after = [DAYS[-1] + timedelta(days=number) for number in (1, 2, 3)]
    record_periods(
        lake,
        world.spec,
        [
            Period(after[0], PeriodState.REFUSED, "gate_refused", detail="rows", exit_code=8),
            Period.closed(after[1], "friday"),
            Period(after[2], PeriodState.MISSED, "not_run"),
        ],
        run_id="a test",
    )
    page = Page(write(world, lake, tmp_path / "report.html"))
    for state, symbol in SYMBOLS.items():
        assert page.count("text", state) == 2, state  # below the bars, and below the heat map
        assert f"{symbol} {state}" in page.text["scores"]
    assert f"{after[0]}: refused, gate_refused" in page.text["drift"]
    assert "Days without scores: 3" in page.text["scores"]


def test_an_empty_lake_gives_a_page_of_clear_sentences(world: World, tmp_path: Path) -> None:
    page = Page(write(world, Lake(str(tmp_path / "empty")), tmp_path / "report.html"))
    sentences = {
        "scores": "No day was scored yet",
        "drift": "None of these was compared",
        "performance": "No labels of these are mature yet",
        "decisions": "Nothing was decided yet",
        "champions": "No model was promoted yet",
        "gates": "No gate has judged",
        "tallies": "There is no tally yet",
    }
    for section, sentence in sentences.items():
        assert sentence in page.text[section]
    assert page.count("svg") == 0


def test_a_place_that_cannot_be_written_is_an_error(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        write(world, Lake(str(tmp_path / "empty")), tmp_path / "file" / "report.html")


def test_a_page_that_cannot_be_written_leaves_the_one_before(world: World, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("the one before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StorageError, match="cannot be written: File too large"):
            write(world, Lake(str(tmp_path / "empty")), out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_text() for path in tmp_path.glob("*") if path.is_file()} == {
        out.name: "the one before"
    }
