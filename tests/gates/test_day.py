from __future__ import annotations

import re
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pytest

from tallywright.errors import SpecError
from tallywright.gates.day import MAX_ROWS, data_docs_folder, read_day
from tallywright.gates.record import day_subject
from tallywright.records import Verdict

from .conftest import DAY, judge_alone

# Importing the library alone takes six seconds.
slow = pytest.mark.slow

SUITE = """
dataset: toy__features
expectations:
  - {expect: expect_table_row_count_to_be_between, min_value: 50, max_value: 5000}
  - {expect: expect_column_values_to_not_be_null, column: x, mostly: 0.9}
  - {expect: expect_column_values_to_not_be_null, column: x, severity: warning, notes: should not happen}
  - {expect: expect_column_values_to_be_in_set, column: colour, value_set: [blue, red], severity: info}
  - {expect: expect_column_values_to_be_unique, column: id}
  - {expect: expect_column_mean_to_be_between, column: x, min_value: -1, max_value: 1}
  - {expect: expect_table_columns_to_match_set, column_set: [score_date, id, score_moment, x, colour]}
"""


@pytest.fixture
def judge(project, lake, ingested):
    def run(suite=SUITE, **day):
        project.expectations.write_text(suite)
        judged = ingested(**day)
        report = judge_alone(project, lake, judged)
        assert report.subject == day_subject(judged)
        return report, {check.name: check for check in report.checks}

    return run


def some_null(rows, share):
    values = np.random.default_rng(0).normal(size=rows)
    return pa.array(values, mask=np.arange(rows) < rows * share)


@slow
def test_a_good_day_passes(judge):
    report, _ = judge()
    assert report.verdict is Verdict.PASS
    assert [check.name for check in report.checks][:3] == [
        "rows_as_ingested",
        "columns_of_the_spec",
        "no_column_all_null",
    ]
    assert len(report.checks) == 10


@slow
def test_severity_decides(judge):
    report, checks = judge(x=some_null(200, 0.05))
    assert report.verdict is Verdict.WARN
    (warning,) = [check for check in report.checks if check.verdict is Verdict.WARN]
    assert warning.observed == "5% unexpected"
    assert "10 of 200 rows" in warning.evidence
    assert "should not happen" in warning.evidence

    report, _ = judge(x=some_null(200, 0.2))
    assert [check.bound for check in report.failed] == ["mostly=0.9"]

    report, checks = judge(colour=pa.array(["green"] * 200))
    assert report.verdict is Verdict.PASS
    told = checks["expect_column_values_to_be_in_set(colour)"]
    assert told.evidence.startswith("severity info; 200 of 200 rows, such as green")
    assert (told.found, told.verdict) == (Verdict.FAIL, Verdict.NOTE)
    assert report.with_verdict(Verdict.NOTE) == (told,)


@slow
def test_an_expectation_that_cannot_be_evaluated_fails_whatever_its_severity(judge):
    report, _checks = judge(
        SUITE + "  - {expect: expect_column_values_to_match_json_schema, column: colour, json_schema: {type: object},"
        " severity: info}\n"
    )
    assert [check.name for check in report.failed] == ["expect_column_values_to_match_json_schema(colour)"]
    assert "could not be evaluated" in report.failed[0].evidence


@slow
def test_what_needs_no_suite(judge):
    report, _ = judge(colour=pa.array([None] * 200, pa.string()))
    assert [check.name for check in report.failed] == ["no_column_all_null"]
    spoken = SUITE + "  - {expect: expect_column_values_to_not_be_null, column: colour, severity: info}\n"
    report, _ = judge(spoken, colour=pa.array([None] * 200, pa.string()))
    assert report.verdict is Verdict.PASS


@slow
def test_columns_that_only_older_days_had_are_not_judged(judge, lake, project, ingested):
    ingested()
    older = lake.read("toy__features").append_column("retired", pa.array(["x"] * 200))
    lake.replace("toy__features", older, slice={"score_date": DAY}, partition_by=["score_date"])
    report, checks = judge(seed=2)
    assert report.verdict is Verdict.PASS
    assert checks["expect_table_columns_to_match_set()"].observed == "all there"
    assert "retired" in lake.look("toy__features").schema().to_arrow().names


def test_an_empty_day_fails_without_looking_further(judge):
    report, _ = judge(rows=0)
    assert [check.name for check in report.failed] == ["rows_as_ingested"]


def test_rows_that_are_not_those_ingested_fail(project, lake, ingested):
    project.expectations.write_text(SUITE)
    judged = ingested(rows=0).model_copy(update={"rows": 10})
    assert judge_alone(project, lake, judged).failed[0].observed == 0


def test_a_column_of_the_spec_is_missing(judge):
    _report, checks = judge(rows=0, colour=None)
    assert checks["columns_of_the_spec"].observed == "missing: colour"


def test_a_mistyped_expectation_is_named_with_its_nearest_match(judge):
    text = """
dataset: toy__features
expectations:
  - {expect: expect_column_values_to_be_in_sett, column: colour, value_set: [x]}
  - {expect: expect_column_values_to_be_between, colum: x, min_value: 1}
"""
    with pytest.raises(SpecError) as refused:
        judge(text)
    said = str(refused.value)
    assert "did you mean 'expect_column_values_to_be_in_set'?" in said
    assert "unknown argument 'colum' (did you mean 'column'?)" in said
    assert "toy__features.yaml:5: expectations.1" in said


@slow
def test_data_docs_open_without_a_network(judge, project):
    judge(x=some_null(200, 0.05))
    folder = data_docs_folder(project)
    page, index = (folder / f"{DAY}.html").read_text(), (folder / "index.html").read_text()
    for text in (page, index):
        assert "<script" not in text
        assert not re.findall(r"""(?:src|srcset|href)=["'](?:https?:)?//""", text)
        assert "@import" not in text
        assert "default-src 'none'" in text.partition("</head>")[0]  # a value with markup in it runs nothing
    assert f'href="{DAY}.html"' in index
    assert "should not happen" in page
    assert "<td>id0</td>" in page.replace("<bdi>", "").replace("</bdi>", "")  # the key of an unexpected row


@slow
def test_a_large_day_is_sampled_by_key_and_counted_exactly(project, lake, ingested, monkeypatch):
    judged = ingested(rows=3000, x=some_null(3000, 0.3))
    first, again = (read_day(lake, project.spec, judged, max_rows=500) for _ in range(2))
    assert first.table.equals(again.table)
    assert first.sampled
    assert set(first.table["score_date"].to_pylist()) == {DAY}
    assert 400 < first.table.num_rows < 600
    assert (first.rows, first.missing["x"], first.missing["colour"]) == (3000, 900, 0)
    whole = read_day(lake, project.spec, judged)
    assert not whole.sampled
    assert whole.missing == first.missing
    assert set(first.table["id"].to_pylist()) < set(whole.table["id"].to_pylist())

    monkeypatch.setattr("tallywright.gates.day.read_day", lambda *a: read_day(*a, max_rows=500))
    text = SUITE.replace("max_value: 5000", "max_value: 1000, severity: warning")
    text += '  - {expect: expect_table_row_count_to_equal, value: 900, row_condition: "x is null"}\n'
    project.expectations.write_text(text)
    report = judge_alone(project, lake, judged)
    checks = {check.name: check for check in report.checks}
    some = checks["expect_table_row_count_to_equal()"]
    assert (some.verdict, some.observed, some.evidence) == (Verdict.PASS, 900, "counted exactly")
    count = checks["expect_table_row_count_to_be_between()"]
    assert (count.verdict, count.observed) == (Verdict.WARN, 3000)
    assert "on a sample of" in checks["expect_column_values_to_be_unique(id)"].evidence
    assert MAX_ROWS == 500_000


@slow
def test_the_gate_never_touches_the_network(project, lake, ingested):
    project.expectations.write_text(SUITE)
    judged = ingested()
    program = textwrap.dedent(
        """
        import socket, sys
        from pathlib import Path
        def refuse(event, arguments):
            if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
                raise SystemExit(f"NETWORK {event} {arguments}")
        sys.addaudithook(refuse)
        from tallywright.data.delta.lake import Lake
        from tallywright.gates.day import day_gate
        from tallywright.gates.validate import DayGates
        from tallywright.records import InputVersion
        from tallywright.spec import load_project
        project = load_project("toy", root=Path(sys.argv[1]), environment="local")
        judged = InputVersion.from_json(sys.argv[2])
        with DayGates() as gates:
            print(day_gate(project, Lake.of(project.environment), judged, gates=gates).verdict)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(project.root), judged.to_json()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "pass"), done.stderr
    assert done.stderr == ""
