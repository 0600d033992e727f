"""HTML pages that run nothing and load nothing, whatever the values that they show.

Every value of a template is escaped, characters that would act instead of being seen are written out, and a policy for
the browser forbids scripts, requests and any style but the page's own, which it knows by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import os
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tallywright.redaction import visible

if TYPE_CHECKING:
    from pathlib import Path


def rendered(templates: Path, template: str, style: str, values: dict[str, Any]) -> str:
    """A page.

    Args:
        templates: The folder of the templates.
        template: The file of the page; it has `{{ policy }}` in its head and `<style>{{ style }}</style>`.
        style: The file of the style sheet: the only text that is not escaped.
        values: What the template shows.
    """
    css = (templates / style).read_text(encoding="utf-8")
    page = _environment(templates).get_template(template)
    return page.render(policy=_policy(css), style=Markup(css), **values)  # noqa: S704 - a file of ours


def replace_file(file: Path, text: str) -> None:
    """Writes a file as a whole or not at all: no reader or second writer sees half of it, and the one before stays."""
    draft = file.with_name(f".tally-page.{os.getpid()}")  # not of the file's own name, which may be as long as names go
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


@cache
def _environment(templates: Path) -> Environment:
    """The templates of a folder, compiled at their first use."""
    return Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_seen,
    )


def _seen(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy(css: str) -> Markup:
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    content = f"default-src 'none'; script-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return Markup(f'<meta http-equiv="Content-Security-Policy" content="{content}">')  # noqa: S704 - a hash, and words of ours
