"""Texts inside Markdown: whatever a name or a value is, it is read and not obeyed."""

from __future__ import annotations

import re
from typing import Final

from tallywright.redaction import visible

_MARKUP: Final = re.compile(r"[\\`*_\[\]{}<>|~&$]|:(?=//)|(?<=www)\.", re.IGNORECASE)
"""Emphasis, code, links, tags, entities, formulas, templates, cells of tables; addresses, which become links."""
_AT_THE_START: Final = re.compile(r"^(?:[#=]|[+-](?=[\s+-]|$)|[0-9]{1,9}(?=[.)](?:\s|$)))")
"""Of a line: headings, lists, rules."""


def escaped(text: str) -> str:
    """A text that Markdown shows as it is, in one line."""
    line = _MARKUP.sub(r"\\\g<0>", " ".join(visible(text).split()))
    start = _AT_THE_START.match(line)
    if start is None:
        return line
    # A digit cannot be escaped: what follows it can.
    place = 0 if not start[0].isdigit() else start.end()
    return f"{line[:place]}\\{line[place:]}"
