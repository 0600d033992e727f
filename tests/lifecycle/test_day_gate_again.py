"""A day that passed its gate is judged again only when what the verdict depends on has changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from day_gate import report_day
from synthetic import DAY, commit_day, make_features, make_project

from tallywright.data.delta.lake import Lake
from tallywright.data.inputs.versions import input_version
from tallywright.errors import GateRefusedError
from tallywright.gates.record import GATES, day_subject, reports
from tallywright.lifecycle.context import RunContext, RunOptions
from tallywright.lifecycle.run import run_step
from tallywright.spec import Project

pytestmark = pytest.mark.slow  # Great Expectations takes a second to import

SUITE = """
dataset: shop__features
expectations:
  - {{expect: expect_table_row_count_to_be_between, min_value: {least}, max_value: 5000}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path)
    project.expectations.write_text(SUITE.format(least=10))
    put(project)
    return project


def put(project: Project, seed: int = 1) -> None:
    commit_day(Lake.of(project.environment), project.spec, make_features(300, seed=seed))


def gate(project: Project, run_id: str, **options: bool) -> str:
    return run_step(RunContext(project, DAY, run_id, RunOptions(**options)), "day_gate")["action"]


def recorded(project: Project) -> int:
    lake = Lake.of(project.environment)
    return len(reports(lake, project.spec, subject=day_subject(input_version(lake, project.spec, DAY))))


def test_a_day_that_passed_is_not_judged_again(project: Project) -> None:
    assert gate(project, "one") == "judged"
    before = Lake.of(project.environment).open(project.spec.table(GATES.what)).version()
    assert gate(project, "two") == "unchanged"
    assert Lake.of(project.environment).open(project.spec.table(GATES.what)).version() == before
    assert recorded(project) == 1


def test_what_a_verdict_depends_on_makes_a_new_one(project: Project) -> None:
    assert gate(project, "one") == "judged"
    project.expectations.write_text(SUITE.format(least=20))
    assert gate(project, "suite") == "judged"
    assert gate(project, "suite again") == "unchanged"
    sparse = project.spec.data.model_copy(update={"sparse_columns": ("x0",)})
    other = replace(project, spec=project.spec.model_copy(update={"data": sparse}))
    assert gate(other, "spec") == "judged"
    put(project, seed=2)
    assert gate(project, "content") == "judged"


def test_a_page_that_is_asked_for_or_missing_is_made(project: Project) -> None:
    assert gate(project, "one") == "judged"
    assert gate(project, "two", page=True) == "judged"
    pages = Path(project.environment.storage.work) / "data_docs/shop"
    (pages / f"{DAY}.html").unlink()
    assert gate(project, "three") == "judged"
    assert (pages / f"{DAY}.html").exists()
    assert gate(project, "four") == "unchanged"


def test_a_day_that_failed_is_judged_each_time(project: Project) -> None:
    project.expectations.write_text(SUITE.format(least=1000))
    for run in ("one", "two"):
        with pytest.raises(GateRefusedError, match="row_count"):
            gate(project, run)
    assert recorded(project) == 2


def test_a_report_that_does_not_say_who_judged_is_not_taken(project: Project) -> None:
    """As an earlier version wrote them."""
    lake = Lake.of(project.environment)
    report_day(lake, project.spec, DAY, run_id="old", at=RunContext(project, DAY, "old").now)
    assert gate(project, "new") == "judged"
