"""Writes Data Docs that open without a network: a page per validated day, and an index of the days.

A page is the gate's own report; below it, for a day that did not meet every expectation or when it is asked for, stands
the page that Great Expectations renders, which costs more than judging the day. Its template loads a dozen scripts and
styles from the web; they are taken out and a small style is put in, so that opening a page neither needs the internet
nor tells it anything.
"""

from __future__ import annotations

import html
import json
import os
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from pathlib import Path

    from tallywright.records import GateReport

_FOREIGN: Final = re.compile(
    r"<script\b.*?</script>|<link\b[^>]*>|<footer\b.*?</footer>|<p>\s*Stay current on everything GX.*?</p>",
    re.DOTALL | re.IGNORECASE,
)
_ELSEWHERE: Final = re.compile(r"""(?:srcset|src|href)=["'](?:(?:https?:)?//|\.\./)[^"']*["']""", re.IGNORECASE)

# The library does not escape the values it shows: whatever a column holds, nothing on a page runs or is loaded.
_STYLE: Final = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body{font:15px/1.5 system-ui,sans-serif;color:#1f2933;background:#fff;max-width:72rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}
td,th{border-bottom:1px solid #d8dee4;padding:.4rem .6rem;text-align:left;vertical-align:top}
.collapse,.tab-pane{display:block!important}
.btn,.modal,.nav-tabs,.navbar,.sticky,[data-toggle=collapse]{display:none!important}
.fa-times::before{content:"\\2717"}.fa-check-circle::before{content:"\\2713"}.fa-exclamation-triangle::before{content:"!"}
.pass,.text-success{color:#1a7f37}.warn{color:#9a6700}.note{color:#57606a}.fail,.text-danger{color:#cf222e}
.badge{background:#eef1f4;border-radius:.3rem;padding:.1rem .4rem}
</style>"""


_BLANK: Final = '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"></head><body></body></html>'


def write_day(folder: Path, day: date, report: GateReport, result: Any) -> Path:
    """Writes `<folder>/<day>.html`, and `<day>.json` for the index; a day validated again replaces its page.

    Args:
        folder: The model's Data Docs.
        day: The day that was judged.
        report: The gate's verdict, shown on top.
        result: The library's validation result, to be rendered below; None leaves it at the report.

    Raises:
        StorageError: The folder cannot be written.
    """
    page = page_of(folder, day)
    with _storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _replace(page, _page(day, report, result))
        failed = [check.name for check in report.checks if check.verdict.value != "pass"]
        _replace(folder / f"{_name(day)}.json", json.dumps({"verdict": report.verdict.value, "findings": failed}))
    return page


def page_of(folder: Path, day: date) -> Path:
    """The address of a day's page, whether or not there is one."""
    return folder / f"{_name(day)}.html"


def _name(day: date) -> str:
    """The name of a period's files, without characters that mean something in addresses."""
    return str(day).replace(":", "")


def write_index(folder: Path, model: str) -> Path:
    """Writes `<folder>/index.html` of all days that have a page.

    Raises:
        StorageError: The folder cannot be written.
    """
    with _storage(folder):
        _replace(folder / "index.html", _index(folder, model))
    return folder / "index.html"


@contextmanager
def _storage(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"Data Docs cannot be written to {folder}: {error}",
            expected="a writable work folder with free space",
            remedy="see storage.work of the environment's overlay in conf/",
        ) from error


def _page(day: date, report: GateReport, result: Any) -> str:
    summary = _summary(day, report)
    if result is None:
        return _offline(_BLANK, summary)
    return _offline(_rendered(result), f"{summary}<h2>As Great Expectations shows it</h2>")


def _rendered(result: Any) -> str:
    """Renders the library's page; the result goes through JSON, because its renderer cannot show numpy numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's renderer uses deprecated parts of its own dependencies
        from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema
        from great_expectations.render.renderer import ValidationResultsPageRenderer
        from great_expectations.render.view import DefaultJinjaPageView

        plain = expectationSuiteValidationResultSchema.load(
            json.loads(json.dumps(result.to_json_dict(), default=_plain))
        )
        document = ValidationResultsPageRenderer(run_info_at_end=False).render(plain)
        return str(DefaultJinjaPageView().render(document))


def _plain(value: Any) -> Any:
    """Converts what JSON cannot hold: numpy numbers to Python's, anything else to text."""
    return value.item() if hasattr(value, "item") else str(value)


def _offline(page: str, summary: str) -> str:
    page = _ELSEWHERE.sub("", _FOREIGN.sub("", page))
    page = page.replace("</head>", f"{_STYLE}</head>", 1)
    return re.sub(r"(<body[^>]*>)", lambda match: match.group(1) + summary, page, count=1)


def _summary(day: date, report: GateReport) -> str:
    rows = "".join(
        f'<tr><td class="{check.found.value}">{check.found.value}</td>'
        f'<td class="{check.verdict.value}">{check.verdict.value}</td><td>{html.escape(check.name)}</td>'
        f"<td>{html.escape('' if check.observed is None else str(check.observed))}</td>"
        f"<td>{html.escape(check.bound)}</td><td>{html.escape(check.evidence)}</td></tr>"
        for check in report.checks
    )
    verdict = report.verdict.value
    return (
        f'<p><a href="index.html">all days</a></p><h1>{html.escape(report.model)}, {day}: '
        f'<span class="{verdict}">{verdict}</span></h1>'
        "<table><tr><th>found</th><th>verdict</th><th>check</th><th>observed</th><th>expected</th><th>evidence</th></tr>"
        f"{rows}</table>"
    )


def _index(folder: Path, model: str) -> str:
    rows = []
    for file in sorted(folder.glob("*.json"), reverse=True):
        entry = json.loads(file.read_text(encoding="utf-8"))
        rows.append(
            f'<tr><td><a href="{file.stem}.html">{file.stem}</a></td>'
            f'<td class="{entry["verdict"]}">{entry["verdict"]}</td>'
            f"<td>{html.escape(', '.join(entry['findings']))}</td></tr>"
        )
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(model)}: days</title>{_STYLE}'
        f"</head><body><h1>{html.escape(model)}: judged days</h1>"
        f"<table><tr><th>day</th><th>verdict</th><th>findings</th></tr>{''.join(rows)}</table></body></html>"
    )


def _replace(file: Path, text: str) -> None:
    """Writes a temporary file and renames it, so that no reader (or second writer) sees half a page."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)
