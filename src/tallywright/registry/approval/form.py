"""What a person is shown who approves or rejects: the version, its checks beside the champion's, where to look.

Names and values come from data, and the page is rendered from Markdown: whatever could be read as markup is escaped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from tallywright.markdown import escaped
from tallywright.mlflow_client import mlflow_client
from tallywright.records import OPERATIONS, Verdict
from tallywright.redaction import visible, without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from tallywright.records import Check, GateReport, ModelRef, Promotion
    from tallywright.spec import Project

_LONGEST_CELL: Final = 240
_MOST_CHECKS: Final = 60
"""Rows of all tables; checks that passed are left out first, from the end."""

_DIGEST: Final = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
_HEAD: Final = ("| verdict | check | candidate | champion, interval | bound |", "|---|---|---|---|---|")


@dataclass(frozen=True, slots=True)
class Question:
    """The question whether a version is promoted.

    Attributes:
        ref: The version.
        reports: The newest report of each gate about it.
        champion: The entry of the champion that it would replace; None for the first one.
        effective_from: The first score date it would be champion of.
        author: Who started the training; empty where nobody knows.
        author_may_approve: Whether they may approve.
        run_id: MLflow's id of the run that trained it; empty where nobody knows.
        links: Address by name.
    """

    ref: ModelRef
    reports: Sequence[GateReport]
    champion: Promotion | None
    effective_from: date
    author: str = ""
    author_may_approve: bool = True
    run_id: str = ""
    links: Mapping[str, str] = field(default_factory=dict)

    def as_markdown(self) -> str:
        """The question, where to look, and a table of checks for each gate: what is said of the model comes first."""
        return "\n\n".join([*self._about(), *self._where(), *self._tables()])

    def _about(self) -> Iterator[str]:
        champion = "there is no champion yet"
        if self.champion is not None:
            champion = f"it would replace version {self.champion.model_version}"
        yield (
            f"**{_text(self.ref.name)} version {self.ref.version}** would be champion from {self.effective_from} on; "
            f"{champion}. Trained on data through {self.ref.trained_through or 'an unknown date'}"
            + (f", started by {_text(self.author)}" if self.author else "")
            + (", who may not approve it" if self.author and not self.author_may_approve else "")
            + f". Package `{self.ref.digest[:12]}`"
            + (f", MLflow run `{self.run_id}`." if self.run_id else ".")
        )

    def _tables(self) -> Iterator[str]:
        reports = sorted(self.reports, key=lambda report: (report.verdict is Verdict.PASS, report.gate == OPERATIONS))
        checks = [
            (report, check)
            for report in reports
            for check in sorted(report.checks, key=lambda check: check.goes_through)
        ]
        passed = [check for _, check in checks if check.goes_through]
        left_out = max(len(checks) - _MOST_CHECKS, 0)
        hidden = {id(check) for check in passed[len(passed) - min(left_out, len(passed)) :]}
        for report in reports:
            rows = [_row(check) for about, check in checks if about is report and id(check) not in hidden]
            more = len(report.checks) - len(rows)
            said = f"{_text(report.gate)}: **{report.verdict.value}**"
            yield f"{said} ({more} more checks passed)" if more else said
            if rows:
                yield "\n".join((*_HEAD, *rows))

    def _where(self) -> Iterator[str]:
        if self.links:
            yield " · ".join(f"[{name}]({address})" for name, address in self.links.items())


def version_links(project: Project, version: int, run_id: str) -> dict[str, str]:
    """Where a version can be looked at, by name: its page, the run that trained it, the run's report and plots.

    Empty where MLflow's store has no pages of its own, as a file of SQLite.

    Raises:
        TrackingError: MLflow is missing, away, or has no such run.
    """
    tracking = project.environment.tracking
    if not tracking.is_server:
        return {}
    address = without_credentials(tracking.uri).rstrip("/")
    links = {"version": f"{address}/#/models/{quote(project.spec.registered_name, safe='')}/versions/{version}"}
    if run_id:
        with mlflow_client(tracking.address) as client:
            experiment = client.get_run(run_id).info.experiment_id
        run = f"{address}/#/experiments/{experiment}/runs/{run_id}"
        links |= {"MLflow run": run, "report and plots": f"{run}/artifacts"}
    return links


def _row(check: Check) -> str:
    found = f"{check.observed:.5g}" if isinstance(check.observed, float) else check.observed or ""
    verdict = check.verdict.value if check.goes_through else f"**{check.verdict.value}**"
    cells = (check.name, found, check.evidence, check.bound)
    short = (_DIGEST.sub(r"\1…", str(cell)) for cell in cells)
    return f"| {verdict} | {' | '.join(_text(cell) for cell in short)} |"


def _text(text: str) -> str:
    """A text that a page shows as it is, in one line."""
    line = " ".join(visible(text).split())
    line = line if len(line) <= _LONGEST_CELL else f"{line[:_LONGEST_CELL]}…"
    return escaped(line)
