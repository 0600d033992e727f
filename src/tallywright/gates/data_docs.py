"""Writes Data Docs: a page per judged day, and an index of the days; they open without a network and run nothing.

A page is the gate's report with examples of the rows that are unexpected, in plain numbers and texts. The pages that
Great Expectations renders show what a column holds as markup; they are not used.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import StorageError
from tallywright.html_pages import rendered, replace_file
from tallywright.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from tallywright.gates.expectations.results import CheckFinding
    from tallywright.records import Check, GateReport

_TEMPLATES: Final = Path(__file__).parent / "templates"
_STYLE: Final = "data_docs.css"
_VERDICTS: Final = frozenset(verdict.value for verdict in Verdict)


def write_day(folder: Path, day: date, report: GateReport, findings: Sequence[CheckFinding]) -> Path:
    """Writes `<folder>/<day>.html`, and `<day>.json` for the index; a day judged again replaces its page.

    Args:
        folder: The model's Data Docs.
        day: The day that was judged.
        report: The gate's verdict.
        findings: Its checks, each with what was expected in words and examples.

    Raises:
        StorageError: The folder cannot be written.
    """
    page = page_of(folder, day)
    values = {"day": str(day), "report": report, "findings": findings, "observed": _observed, "counts": _counts(report)}
    with _storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(page, rendered(_TEMPLATES, "day.html.j2", _STYLE, values))
        failed = [check.name for check in report.checks if check.verdict is not Verdict.PASS]
        replace_file(folder / f"{_name(day)}.json", json.dumps({"verdict": report.verdict.value, "findings": failed}))
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
        rows = [_entry(file) for file in sorted(folder.glob("*.json"), reverse=True)]
        replace_file(
            folder / "index.html", rendered(_TEMPLATES, "index.html.j2", _STYLE, {"model": model, "rows": rows})
        )
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


def _entry(file: Path) -> dict[str, Any]:
    """A day in the index; a file that is none of ours, or was cut short, is named and nothing more."""
    try:
        entry = json.loads(file.read_text(encoding="utf-8"))
        verdict, findings = entry["verdict"], [str(name) for name in entry["findings"]]
    except (ValueError, KeyError, TypeError):
        return {"page": file.stem, "verdict": "–", "findings": ["its entry cannot be read"]}
    return {"page": file.stem, "verdict": verdict if verdict in _VERDICTS else "–", "findings": findings}


def _observed(check: Check) -> str:
    """What was observed: a number in four digits, a text as it is."""
    observed = check.observed
    if observed is None:
        return "–"
    if isinstance(observed, str):
        return observed
    return f"{observed:,.0f}" if observed.is_integer() and abs(observed) < 1e15 else f"{observed:.4g}"  # noqa: PLR2004 - where a float holds whole numbers


def _counts(report: GateReport) -> str:
    counts = Counter(check.verdict for check in report.checks)
    return ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict])
