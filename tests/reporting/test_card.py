"""The model card: both forms say the same, whatever the texts are, and what is not known is said to be missing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from decided import decided
from hostile import MARKUP
from markdown_it import MarkdownIt
from synthetic import make_package, make_project
from world import World

from tallywright.cli.main import tally
from tallywright.data.delta.lake import Lake
from tallywright.data.delta.table import Table
from tallywright.errors import StorageError, UsageError
from tallywright.gates.quality.reliability import Tenth
from tallywright.gates.record import record_report
from tallywright.monitoring.performance import realised
from tallywright.packaging.package import PackageCache
from tallywright.records import JUDGED_AGAINST, NO_CHAMPION, Check, GateReport, ModelRef, Promotion, Verdict
from tallywright.redaction import visible
from tallywright.registry.evidence import evidence_of
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions_table import VERSIONS, TrainedBy, VersionRow, record_version
from tallywright.reporting.card.as_html import ReliabilityPlot, as_html
from tallywright.reporting.card.as_markdown import as_markdown
from tallywright.reporting.card.card import model_card
from tallywright.reporting.card.content import NOT_RECORDED
from tallywright.reporting.card.files import card_files, write_card
from tallywright.spec.demands import demands_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.reporting.card.content import ModelCard

FIRST = date(2024, 3, 1)
NOW = datetime(2024, 4, 1, tzinfo=UTC)
SNAPSHOT = {
    "model": "shop", "as_of": "2024-03-01", "train_from": "2024-01-01", "train_to": "2024-02-01",
    "validation_from": "2024-02-02", "validation_to": "2024-02-08", "holdout_from": "2024-02-09",
    "holdout_to": "2024-02-22", "rows": {"train": 3000, "validation": 700, "holdout": 1400},
    "coverage": {"train": 0.99, "validation": 1.0, "holdout": 0.5}, "fingerprint": "f" * 64,
    "features": {"table": "shop__features", "version": 4}, "labels": {"table": "shop__labels", "version": 3},
}  # fmt: skip
WORDS = {"purpose": "To pack early.\n\nNot to blame.", "intended_use": "Packers.", "limits": "Weak in winter."}
TENTHS = "; ".join(f"0.{n}5 -> 0.{n}6 [0.{n}4, 0.{n}8] of 140 rows" for n in range(10))


class Shop:
    """A project whose versions are recorded on request."""

    def __init__(self, root: Path, **sections: Any) -> None:
        self.project = make_project(root, training={"slices": ["c0"]}, **sections)
        self.lake = Lake.of(self.project.environment)
        self.root = root

    def version(self, number: int, *reports: GateReport, cached: bool = True, **told: Any) -> ModelRef:
        package = make_package(self.root / f"package{number}", seed=number, **told)
        if cached:
            PackageCache(self.root / self.project.environment.storage.cache).put(package.folder)
        about = [report.model_copy(update={"subject": package.digest}) for report in reports]
        for place, report in enumerate(about):
            record_report(self.lake, self.project.spec, report, run_id=f"r{place}", recorded_at=NOW)
        ref = ModelRef(name="shop", version=number, digest=package.digest, trained_through=date(2024, 2, 22))
        trained = TrainedBy("run-1", {"roc_auc": 0.71}, "spring", "ann", "airflow", "c0de", json.dumps(SNAPSHOT))
        evidence = evidence_of("shop", ref.digest, about)
        record_version(self.lake, self.project.spec, ref, evidence, recorded_at=NOW, trained_by=trained)
        return ref

    def line(self, ref: ModelRef, action: str = "promote", **changes: Any) -> None:
        values = {
            "model": "shop", "sequence": 0, "action": action, "model_version": ref.version,
            "package_digest": ref.digest, "trained_through": date(2024, 2, 22), "effective_from": FIRST,
            "recorded_at": NOW, "approver": "bob", "reason": "better",
        }  # fmt: skip
        entry = decided(Promotion(**values | changes))
        PromotionLog(self.lake, self.project.spec).append(lambda _: entry)

    def card(self, number: int = 1) -> ModelCard:
        return model_card(self.project, self.lake, number)


def check(name: str, verdict: Verdict = Verdict.PASS, observed: float | str | None = None, **told: str) -> Check:
    return Check(name=name, verdict=verdict, observed=observed, **told)


def quality(*more: Check, against: str = NO_CHAMPION) -> GateReport:
    checks = (
        check(JUDGED_AGAINST, observed=against),
        check(
            "floor_roc_auc", observed=0.71, bound=">= 0.6", evidence="[0.69, 0.73] at 95 % on each side, from 14 days"
        ),
        check("calibration_error", Verdict.WARN, 0.04, bound="<= 0.1", evidence="[0.01, 0.11]"),
        check("metric_log_loss", observed=0.51, bound="reported", evidence="[0.49, 0.53]"),
        check("reliability", observed=10.0, bound="reported: mean score -> share of positives", evidence=TENTHS),
        check("slice_c0=blue", observed=0.7, bound="roc_auc, reported", evidence="300 rows"),
        check("slice_c0=red", Verdict.WARN, 0.6, bound="roc_auc", evidence="210 rows; about 900 rows would show it"),
        *more,
    )
    return GateReport(gate="quality", model="shop", subject="", checks=checks)


def operations(*more: Check) -> GateReport:
    checks = (check("owner_named", observed="Tests"), check("peak_memory_mb", observed=99.0, bound="<= 2048"), *more)
    return GateReport(gate="operations", model="shop", subject="", checks=checks)


def texts_of(card: ModelCard) -> list[str]:
    """All that a card says, in its order."""

    def of_sections() -> Iterator[str]:
        for section in card.sections:
            yield section.title
            yield from [section.nothing] * section.is_empty
            yield from section.paragraphs
            for pair in section.facts:
                yield from pair
            for table in section.tables:
                yield from (table.caption, *table.columns)
                for row in table.rows:
                    yield from row

    return [_line(text) for text in (card.title, card.state, card.headline, *of_sections(), card.known)]


def _line(text: str) -> str:
    return " ".join(visible(text).split())


class Page(HTMLParser):
    """The texts of a page's body in their order, without those of the drawing and the links to the sections."""

    KEPT = frozenset({"h1", "h2", "p", "dt", "dd", "caption", "th", "td", "span", "footer"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in {"meta", "line", "polyline", "circle"}:
            return
        self.inside.append(tag)
        if tag in self.KEPT and not {"nav", "figure", "head"} & {*self.inside}:
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"line", "polyline", "circle"}:
            assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.inside and self.inside[-1] in self.KEPT and not {"nav", "figure"} & {*self.inside}:
            self.texts[-1] += data

    @property
    def said(self) -> list[str]:
        return [_line(text) for text in self.texts]


def said_in_html(card: ModelCard) -> list[str]:
    found = Page(as_html(card)).said
    # The paragraph around state and headline has no text of its own.
    return [text for place, text in enumerate(found) if place != 1]


def said_in_markdown(card: ModelCard) -> list[str]:
    """As a reader of Markdown shows it; a fact is one line, and state and headline are one."""
    found = []
    reader = MarkdownIt("gfm-like", {"html": True, "linkify": False})
    for token in reader.parse(as_markdown(card)):
        assert token.type not in {"html_block", "fence", "code_block", "hr", "blockquote_open"}
        if token.type == "inline":
            kinds = {child.type for child in token.children or []}
            assert kinds <= {"text", "text_special", "strong_open", "strong_close", "em_open", "em_close"}
            found.append("".join(child.content for child in token.children or []))
    return found


def joined(card: ModelCard) -> list[str]:
    """The texts of a card as Markdown joins them."""
    texts = [_line(card.title), f"{_line(card.state)}: {_line(card.headline)}"]
    for section in card.sections:
        texts += [section.title, *[section.nothing] * section.is_empty, *section.paragraphs]
        texts += [f"{_line(name)}: {_line(value)}" for name, value in section.facts]
        for table in section.tables:
            texts += [table.caption, *table.columns, *(cell for row in table.rows for cell in row)]
    return [_line(text) for text in [*texts, card.known]]


def section(card: ModelCard, anchor: str) -> Any:
    return next(one for one in card.sections if one.anchor == anchor)


def cells(card: ModelCard, anchor: str) -> list[tuple[str, ...]]:
    return [row for table in section(card, anchor).tables for row in table.rows]


@pytest.fixture
def registry(shop: Shop, empty_store: Path) -> None:
    """A registry that has no version: what a package that this machine does not hold is asked of."""
    database = Path(shop.project.environment.tracking.uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True)
    shutil.copy(empty_store, database)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path, card=WORDS)


def test_a_whole_card_says_all_of_it_in_both_forms(shop: Shop) -> None:
    ref = shop.version(1, quality(), operations(), owner="Old owners <old@example.com>")
    shop.line(ref, "approve", authentication="key SHA256:abc")
    shop.line(ref)
    world = World(shop.lake, shop.project.spec, make_package(shop.root / "package1"))
    for offset in range(7):
        day = FIRST + timedelta(days=offset)
        world.score(day)
        world.label(day)
        realised(shop.lake, shop.project.spec, day, as_of=day + timedelta(days=1))
    card = shop.card()
    assert (card.title, card.state, card.headline) == ("shop, version 1", "champion", "Champion from 2024-03-01.")
    assert section(card, "purpose").paragraphs == ("To pack early.", "Not to blame.")
    facts = {name: value for one in card.sections for name, value in one.facts}
    assert facts["owner when it was trained"] == "Old owners <old@example.com>"
    assert facts["out of scope"] == "nobody has said so: card.out_of_scope in model.yaml"
    assert ("holdout", "2024-02-09", "2024-02-22", "1,400", "50.00%") in cells(card, "data")
    assert cells(card, "metrics")[0] == (
        "roc_auc", "0.71", "[0.69, 0.73] at 95 % on each side, from 14 days", ">= 0.6", "pass",
    )  # fmt: skip
    assert [row[0] for row in cells(card, "slices")] == ["c0=red", "c0=blue"]
    assert cells(card, "calibration")[1] == ("0.05", "0.06", "0.04 to 0.08", "140")
    assert {"x0", "c1", "the score"} <= {row[0] for row in cells(card, "reference")}
    whole = next(row for row in cells(card, "realised") if row[0] == "roc_auc")
    assert whole[1:4] == ("7", "2024-03-01", "2024-03-07")
    low, high = map(float, whole[5].split(" to "))
    assert low < float(whole[4]) < high
    assert [row[0] for row in cells(card, "limits")] == ["quality: calibration_error", "quality: slice_c0=red"]
    assert ("peak_memory_mb", "99", "<= 2048", "pass", "–") in cells(card, "checklist")
    assert [(row[1], row[2], row[3]) for row in cells(card, "approvals")] == [
        ("approve", "bob", "key SHA256:abc"), ("promote", "bob", "a name that was typed"),
    ]  # fmt: skip
    assert [row[1] for row in cells(card, "history")] == ["registered", "approve", "promote"]
    assert said_in_html(card) == texts_of(card)
    assert said_in_markdown(card) == joined(card)
    assert as_html(card).count("<circle") == 10
    assert card_files(shop.project, shop.lake, 1) == card_files(shop.project, shop.lake, 1)


def test_hostile_texts_are_shown_and_do_nothing(shop: Shop) -> None:
    evil = [check(f"slice_c0={text}", Verdict.FAIL, text, bound=text, evidence=text) for text in MARKUP]
    told = [check(text, Verdict.UNDECIDED, text, evidence=text) for text in MARKUP]
    everything = "\n\n".join(MARKUP)
    shop.version(1, quality(*evil), operations(*told), owner=everything)
    spec = shop.project.spec
    words = spec.card.model_copy(update=dict.fromkeys(type(spec.card).model_fields, everything))
    owner = spec.owner.model_copy(update={"name": everything})
    changed = {"card": words, "description": everything, "owner": owner, "tags": tuple(MARKUP)}
    card = model_card(replace(shop.project, spec=spec.model_copy(update=changed)), shop.lake, 1)
    assert len(section(card, "purpose").paragraphs) >= len(MARKUP)
    assert said_in_html(card) == texts_of(card)
    assert said_in_markdown(card) == joined(card)
    page = Page(as_html(card))
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "iframe", "base", "link", "input", "math"})
    assert {attrs["href"] for tag, attrs in page.tags if tag == "a"} == {f"#{one.anchor}" for one in card.sections}
    assert not [attrs for _, attrs in page.tags if "style" in attrs or any(name.startswith("on") for name in attrs)]


def test_a_version_that_may_not_serve_says_so_at_the_top(shop: Shop) -> None:
    first = shop.version(1, quality(check("not_worse_brier", Verdict.FAIL)), operations())
    assert (shop.card().state, shop.card().headline[:36]) == ("refused", "Refused by quality: not_worse_brier.")
    shop.version(2, quality(check("superiority_roc_auc", Verdict.UNDECIDED), against=first.digest), operations())
    assert shop.card(2).headline.startswith("Undecided by quality: superiority_roc_auc.")
    assert ("champion then", "version 1") in section(shop.card(2), "comparison").facts
    third = shop.version(3, quality(), operations())
    assert (shop.card(3).state, shop.card(3).headline) == ("passed", "Every gate passed; it is champion of no date.")
    shop.line(third, "reject", reason="too young")
    assert shop.card(3).headline == "Rejected by bob in line 1 of the promotion log: too young"
    shop.line(third, "approve")
    shop.line(third)
    assert shop.card(3).state == "champion"
    fourth = shop.version(4, quality(), operations())
    shop.line(fourth, effective_from=FIRST + timedelta(days=9))
    assert (shop.card(3).state, shop.card(3).headline) == ("former champion", "Champion 2024-03-01 to 2024-03-09.")
    shop.line(third, "withdraw", reason="wrong labels")
    assert shop.card(3).headline == "Withdrawn by line 5 of the promotion log: wrong labels"
    with pytest.raises(UsageError, match="no registered version 9") as caught:
        shop.card(9)
    assert caught.value.expected == "one of 1, 2, 3, 4"


@pytest.mark.slow
@pytest.mark.usefixtures("registry")
def test_what_a_version_of_before_does_not_tell_is_not_recorded(shop: Shop) -> None:
    row = VersionRow(
        model="shop",
        model_version=1,
        package_digest="0" * 64,
        trained_through=None,
        gates_passed=True,
        recorded_at=NOW,
    )
    Table(VERSIONS, shop.lake, shop.project.spec).replace([row])
    card = shop.card()
    assert card.state == "passed"
    for anchor in ("data", "metrics", "comparison", "slices", "calibration", "checklist"):
        assert section(card, anchor).nothing == NOT_RECORDED
        assert section(card, anchor).is_empty
    assert section(card, "reference").nothing.startswith(f"{NOT_RECORDED}: ")
    facts = {name: value for one in card.sections for name, value in one.facts}
    asked = ("estimator", "code", "data seen through", "evidence at registration")
    assert {facts[name] for name in asked} == {NOT_RECORDED}
    assert said_in_html(card) == texts_of(card)
    assert said_in_markdown(card) == joined(card)


@pytest.mark.slow
@pytest.mark.usefixtures("registry")
def test_a_version_that_only_the_log_knows_and_evidence_that_is_damaged(shop: Shop) -> None:
    shop.line(ModelRef(name="shop", version=4, digest="4" * 64))
    assert shop.card(4).state == "champion"
    ref = shop.version(1, quality(), cached=False)
    (row,) = Table(VERSIONS, shop.lake, shop.project.spec).read({"model_version": 1})
    broken = row.model_copy(update={"evidence_json": "{", "snapshot_json": '{"model": 1}'})
    Table(VERSIONS, shop.lake, shop.project.spec).replace([broken])
    card = shop.card()
    assert section(card, "data").is_empty
    assert ("package", ref.digest) in section(card, "origin").facts
    assert ("evidence at registration", NOT_RECORDED) in section(card, "origin").facts
    assert section(card, "metrics").tables


def test_words_change_no_digest(tmp_path: Path) -> None:
    with_words, without = (
        make_project(tmp_path / name, **sections) for name, sections in (("a", {"card": WORDS}), ("b", {}))
    )
    assert with_words.spec.card.limits == "Weak in winter."
    assert demands_of(with_words) == demands_of(without)
    assert with_words.spec.scoring.identity() == without.spec.scoring.identity()
    assert with_words.spec.gates.identity() == without.spec.gates.identity()


def test_a_card_is_written_as_a_whole_or_not_at_all(shop: Shop, tmp_path: Path) -> None:
    shop.version(1)
    card = shop.card()
    for form, name in (("html", "card.html"), ("markdown", "card.md")):
        file = write_card(card, form, tmp_path / name)
        assert file.read_text(encoding="utf-8") == {"html": as_html, "markdown": as_markdown}[form](card)
    with pytest.raises(StorageError, match="cannot be written"):
        write_card(card, "html", tmp_path / "none" / "card.html")
    assert not list(tmp_path.glob(".tally-page*"))


def test_the_command_prints_writes_and_tells_programs(shop: Shop, tmp_path: Path) -> None:
    shop.version(1, quality())

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(tally, ["card", "shop", *arguments, "--root", str(tmp_path)])
        if done.exception is not None:
            raise done.exception
        return done.stdout

    card = shop.card()
    assert run("1") == as_markdown(card)
    assert run("1", "--format", "html") == as_html(card)
    file = tmp_path / "card.htm"
    assert json.loads(run("1", "--output", str(file), "--json")) == {"card": str(file), "state": "undecided"}
    assert file.read_text(encoding="utf-8") == as_html(card)
    run("1", "--output", str(file), "--format", "markdown")
    assert file.read_text(encoding="utf-8") == as_markdown(card)
    told = {one["section"]: one for one in json.loads(run("1", "--json"))["sections"]}
    assert told["data"]["tables"][0]["rows"][0]["labelled rows"] == "3,000"
    assert len(told["calibration"]["reliability"]) == 10
    with pytest.raises(UsageError, match="no registered version 7"):
        run("7")


@pytest.mark.parametrize("name", ["card.txt", "card", "card.html.gz"])
def test_an_ending_that_says_no_form_is_refused_and_a_form_is_taken(shop: Shop, tmp_path: Path, name: str) -> None:
    shop.version(1)
    file, card = tmp_path / name, shop.card()
    command = ["card", "shop", "1", "--root", str(tmp_path), "--output", str(file)]
    refused = CliRunner().invoke(tally, command).exception
    assert isinstance(refused, UsageError)
    assert refused.expected == "one of .html, .htm, .md, .markdown"
    assert "--format html" in refused.remedy
    assert not file.exists()
    assert CliRunner().invoke(tally, [*command, "--format", "html"]).exit_code == 0
    assert file.read_text(encoding="utf-8") == as_html(card)


def test_the_card_of_an_adopted_version_says_where_it_is_from_and_that_nothing_was_fitted(shop: Shop) -> None:
    origin = {
        "source": "models:/delays/3", "library": "lightgbm", "sha256": "5" * 64, "by": "ann",
        "trained_through": "2024-01-31",
    }  # fmt: skip
    config = {"training": {"seed": 7}, "adopted": origin, "estimator": "adopted", "rounds": 1}
    shop.version(1, training_config=config)
    card = shop.card()
    facts = dict(section(card, "training").facts)
    assert facts["estimator"] == "adopted: nothing was fitted here"
    assert (facts["source"], facts["library"], facts["sha256 of the file"]) == (
        "models:/delays/3",
        "lightgbm",
        "5" * 64,
    )
    assert facts["has seen rows through"] == "2024-01-31, by the word of ann"
    assert facts.keys().isdisjoint({"rounds", "seed"})
    assert section(card, "data").paragraphs[0].startswith("Nothing was fitted on these rows")
    assert section(card, "reference").paragraphs[0].endswith("those that it was profiled on.")
    assert said_in_markdown(card) == joined(card)


def test_costs_the_choice_of_the_threshold_and_a_search_are_facts(shop: Shop) -> None:
    costs = {"false_positive": 2.0, "false_negative": 35.0, "currency": "CHF"}
    demands = demands_of(make_project(shop.root / "costs", gates={"costs": costs}))
    tuned = {
        "estimator": {"kind": "lightgbm"}, "parameters": {"learning_rate": 0.03125, "num_leaves": 23},
        "metric": "log_loss", "value": 0.41234, "best": 16, "trials": 25, "complete": 12, "pruned": 12, "failed": 1,
    }  # fmt: skip
    chosen = {"value": 0.05, "source": "expected cost on 700 validation rows", "expected_cost": 1.234}
    shop.version(1, training_config={"tuned": tuned, "threshold": chosen}, threshold=0.05, demands=demands)
    facts = dict(section(shop.card(), "training").facts)
    assert (facts["cost of a false positive"], facts["cost of a false negative"]) == ("2 CHF", "35 CHF")
    assert facts["threshold chosen by"] == "expected cost on 700 validation rows: 1.234 CHF a row"
    assert facts["tuned"] == "25 trials (12 complete, 12 pruned, 1 failed)"
    assert facts["tuned parameters"] == "learning_rate: 0.03125, num_leaves: 23"
    assert facts["best on validation"] == "trial 17, log_loss 0.41234"
    shop.version(2, threshold=0.7, demands=demands)
    assert dict(section(shop.card(2), "training").facts)["threshold chosen by"] == "scoring.threshold of the spec"
    shop.version(3)
    plain = dict(section(shop.card(3), "training").facts)
    assert not [name for name in plain if name.startswith(("cost", "threshold chosen", "tuned"))]


def test_a_score_at_its_word_lies_on_the_diagonal_of_a_square() -> None:
    plot = ReliabilityPlot([Tenth(0.1, 0.2, 5, 0.1, 0.3), Tenth(0.9, 0.8, 5, 0.6, 1.0)])
    first, last = plot.ticks[0], plot.ticks[-1]
    assert (first, last) == (0.0, 1.0)
    assert plot.x(last) - plot.x(first) == plot.y(first) - plot.y(last)
    for value in (0.0, 0.3, 1.0):
        assert plot.x(value) - plot.x(first) == pytest.approx(plot.y(first) - plot.y(value))
    assert 0 < plot.x(first) < plot.x(last) < plot.side
    assert 0 < plot.y(last) < plot.y(first) < plot.side
    assert len(ReliabilityPlot([Tenth(5.0, 5.0, 1)]).line.split(",")) == 2
