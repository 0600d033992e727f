"""What an approver is shown: all checks, the failed ones first, and no markup that comes from data."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tallywright.records import Check, GateReport, Verdict
from tallywright.registry.approval.form import Question, version_links

from .conftest import DAY, reference


def question(*checks: Check) -> Question:
    report = GateReport(gate="quality", model="toy", subject="d", checks=checks)
    return Question(reference(3), [report], None, DAY, author="ann", run_id="abc", links={"run": "http://mlflow/#/r"})


def rows(asked: Question) -> list[str]:
    heads = ("| verdict", "|---")
    lines = asked.as_markdown().splitlines()
    return [line for line in lines if line.startswith("|") and not line.startswith(heads)]


def test_the_table_has_candidate_champion_bound_and_verdict() -> None:
    evidence = "candidate 0.7100, champion 0.7000, gain [0.0020, 0.0180]"
    asked = question(
        Check(name="superiority", verdict=Verdict.PASS, observed=0.002, bound="lower bound > 0", evidence=evidence),
        Check(name="slice north", verdict=Verdict.FAIL, observed="none", bound="not worse"),
    )
    first, second = (row.replace("\\", "") for row in rows(asked))
    assert first == "| **fail** | slice north | none |  | not worse |"
    assert second == f"| pass | superiority | 0.002 | {evidence} | lower bound > 0 |"
    text = asked.as_markdown()
    assert "there is no champion yet" in text
    assert "[run](http://mlflow/#/r)" in text
    assert "MLflow run `abc`" in text


def test_a_digest_does_not_take_the_width_of_the_page() -> None:
    (row,) = rows(question(Check(name="judged_by", verdict=Verdict.PASS, observed="1:" + "0af" * 20 + "beef")))
    assert "0af0af0af0af…" in row
    assert "beef" not in row


def test_a_long_report_keeps_all_that_did_not_pass() -> None:
    passed = [Check(name=f"p{number}", verdict=Verdict.PASS) for number in range(90)]
    failed = [Check(name=f"f{number}", verdict=Verdict.FAIL) for number in range(5)]
    shown = rows(question(*passed, *failed))
    assert sum("**fail**" in row for row in shown) == 5
    assert len(shown) == 60
    assert "quality: **fail** (35 more checks passed)" in question(*passed, *failed).as_markdown()


def test_what_did_not_pass_comes_first_and_the_package_last() -> None:
    def headings(**verdicts: Verdict) -> list[str]:
        reports = [
            GateReport(gate=gate, model="toy", subject="d", checks=(Check(name="c", verdict=verdict),))
            for gate, verdict in verdicts.items()
        ]
        text = replace(question(), reports=reports).as_markdown()
        return [line.partition(":")[0] for line in text.splitlines() if ": **" in line]

    passed, failed = Verdict.PASS, Verdict.FAIL
    assert headings(operations=passed, quality=passed, refit=passed) == ["quality", "refit", "operations"]
    assert headings(operations=passed, quality=passed, refit=failed) == ["refit", "quality", "operations"]
    assert headings(operations=failed, quality=passed, refit=passed) == ["operations", "quality", "refit"]


@given(st.text(max_size=300), st.sampled_from(["name", "bound", "evidence", "observed"]))
def test_no_text_of_data_leaves_its_cell(text: str, where: str) -> None:
    check = Check(name="c", verdict=Verdict.PASS).model_copy(update={where: text})
    (row,) = rows(question(check))
    bare = row.replace("\\\\", "").replace("\\|", "")
    assert bare.count("|") == 6
    for mark in ("<", "[", "`", "*", "{", "://"):
        assert row.count(mark) == row.count(f"\\{mark}")


def test_a_store_without_pages_has_no_links_and_a_server_has(project) -> None:
    assert version_links(project, 3, "") == {}
    tracking = project.environment.tracking.model_copy(update={"uri": "https://me:secret@mlflow.example.com/"})
    served = replace(project, environment=project.environment.model_copy(update={"tracking": tracking}))
    (link,) = version_links(served, 3, "").values()
    assert link.endswith("mlflow.example.com/#/models/toy/versions/3")
    assert "secret" not in link
