"""Pages of judged days show every value as it is, and nothing on them runs; hostile texts are made by a generator."""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browsers import opened
from hostile import MARKUP, RUNS, texts
from hypothesis import given
from hypothesis import strategies as st

from tallywright.gates.data_docs import write_day, write_index
from tallywright.gates.expectations.results import CheckFinding
from tallywright.html_pages import visible
from tallywright.records import Check, GateReport, Verdict

DAY = date(2025, 1, 3)
OURS = {
    "html", "head", "meta", "title", "style", "body", "p", "a", "h1", "span", "div", "table", "thead", "tbody", "tr",
    "th", "td", "bdi",
}  # fmt: skip
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "href", "class", "scope"}


class Shown(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def pages_of(folder: Path, hostile: list[str], model: str = "toy") -> list[Path]:
    """The page of a day on which everything that data or a suite can name is hostile, and the index."""
    findings = [
        CheckFinding(
            Check(name=f"check({text})", verdict=Verdict.WARN, observed=text, bound=text, evidence=text),
            expected=text,
            examples=({text: text, "key": text},),
        )
        for text in hostile
    ]
    report = GateReport(gate="day", model=model, subject="x", checks=tuple(found.check for found in findings))
    return [write_day(folder, DAY, report, findings), write_index(folder, model)]


@given(st.lists(texts, min_size=1, max_size=4), texts)
def test_whatever_a_value_holds_it_is_a_text_of_the_page(hostile, model):
    with tempfile.TemporaryDirectory() as folder:
        for path in pages_of(Path(folder), hostile, model):
            page = path.read_text(encoding="utf-8")
            shown = Shown(page)
            assert shown.tags <= OURS
            assert shown.attributes <= ATTRIBUTES
            assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", page)
        lines = "".join(Shown((Path(folder) / f"{DAY}.html").read_bytes().decode()).texts)
        assert all(visible(text) in lines for text in hostile)


def test_every_hostile_text_is_shown_as_it_is(tmp_path):
    shown = Shown(pages_of(tmp_path, MARKUP)[0].read_text(encoding="utf-8"))
    for text in MARKUP:
        assert shown.texts.count(visible(text)) >= 4, text


def test_the_policy_forbids_scripts_and_knows_the_style_by_its_hash(tmp_path):
    for path in pages_of(tmp_path, ["x"]):
        page = path.read_text(encoding="utf-8")
        head = page.partition("</head>")[0]
        (policy,) = re.findall('Content-Security-Policy" content="([^"]*)"', head)
        (style,) = re.findall("<style>(.*?)</style>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert {"default-src 'none'", "script-src 'none'", f"style-src 'sha256-{digest}'"} <= set(policy.split("; "))
        assert "unsafe" not in policy
        assert "style=" not in page
        assert head.index("Content-Security-Policy") < head.index("<title>")


def test_an_entry_that_cannot_be_read_is_named_in_the_index(tmp_path):
    pages_of(tmp_path, ["x"])
    (tmp_path / "2025-01-04.json").write_text("{")
    (tmp_path / "2025-01-05.json").write_text('{"verdict": "<b>", "findings": [1]}')
    (tmp_path / "<b>.json").write_text("[]")
    page = write_index(tmp_path, "toy").read_text()
    assert page.count("its entry cannot be read") == 2
    assert Shown(page).tags <= OURS


@pytest.mark.long
def test_a_browser_shows_the_pages_and_runs_nothing(tmp_path):
    control = tmp_path / "control.html"
    control.write_text(f"<!doctype html><html><head><title>x</title></head><body>{MARKUP[0]}</body></html>")
    assert "data-ran" in opened(control, tmp_path / "profile").page, "this browser runs nothing at all"
    for path in pages_of(tmp_path / "docs", MARKUP):
        seen = opened(path, tmp_path / "profile")
        assert '<html lang="en">' in seen.page  # and without the mark
        assert Shown(seen.page).tags <= OURS
        assert "Content Security Policy" not in seen.said, "the page breaks its own policy"


@pytest.mark.long
def test_the_policy_alone_keeps_a_script_from_running(tmp_path):
    page = pages_of(tmp_path, ["x"])[0]
    text = page.read_text()
    page.write_text(text.replace("</h1>", f"</h1><img src=x onerror={RUNS}><script>{RUNS}</script>"))
    seen = opened(page, tmp_path / "profile")
    assert '<html lang="en">' in seen.page
    assert "Content Security Policy" in seen.said
