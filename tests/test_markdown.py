"""What a reader of Markdown sees of an escaped text is the text, wherever it stands."""

from __future__ import annotations

import pytest
from hostile import texts
from hypothesis import example, given
from markdown_it import MarkdownIt

from tallywright.markdown import escaped
from tallywright.redaction import visible

READER = MarkdownIt("gfm-like", {"html": True, "linkify": False}).enable(["table", "strikethrough"])


def seen(markdown: str) -> list[str]:
    """The texts of a document's blocks; anything but text in them is named."""
    found = []
    for token in READER.parse(markdown):
        if token.type == "inline":
            found.append("".join(child.content if child.type in {"text", "text_special"} else f"<{child.type}>"
                                 for child in token.children or []))  # fmt: skip
        elif token.type not in {"paragraph_open", "paragraph_close"} and not token.type.startswith(("table", "thead",
                                "tbody", "tr", "th", "td", "bullet_list", "list_item")):  # fmt: skip
            found.append(f"<{token.type}>")
    return found


@given(texts)
@example("# no heading")
@example("1. no list")
@example("- no list")
@example("=====")
@example("    no code")
@example("{{ no.template }} [no](link) www.no.link http://no.link")
@example("| no | cell |")
@example("~~no~~ __no__ **no** `no` &lt; \\*")
def test_a_text_is_read_as_it_is(text: str) -> None:
    expected = " ".join(visible(text).split())
    for place in ("{}", "x\n\n{}", "- a: {}", "| a | b |\n|---|---|\n| {} | 2 |"):
        found = seen(place.format(escaped(text)))
        if place == "{}":
            assert found == ([expected] if expected else [])
        elif place.startswith("x"):
            assert found == ["x", expected] if expected else ["x"]
        elif place.startswith("-"):
            assert found == [f"a: {expected}".strip()]
        else:
            assert found == ["a", "b", expected, "2"]


@pytest.mark.parametrize(
    ("text", "shown"), [("12:30, 0.75", "12:30, 0.75"), ("roc_auc", r"roc\_auc"), ("a\n b", "a b")]
)
def test_plain_texts_stay_readable(text: str, shown: str) -> None:
    assert escaped(text) == shown
