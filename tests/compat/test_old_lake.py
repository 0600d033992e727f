"""What is stored survives an upgrade: a lake, a store of MLflow and packages that an earlier version wrote.

`scripts/fixture_lake.py` made them; a test that fails here tells of a format that changed without a way from the old
one. What that version answered must be answered still: new fields and new columns may join the old ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from old_lake import ARCHIVE, EXPECTED, MODEL, OldLake, summary, unpack

pytestmark = pytest.mark.slow

SCORED = ("--from", "2025-01-22", "--to", "2025-01-28")
RESTATED, LAST, NEXT, AFTER_NEXT = "2025-01-24", "2025-01-28", "2025-01-29", "2025-01-30"
STANDING = ("actions", "decisions", "features", "labels", "profile", "promotions", "scores", "shadow", "tallies")
"""The tables that a repeat does not touch."""


@pytest.fixture
def old(tmp_path: Path) -> OldLake:
    return unpack(ARCHIVE, tmp_path / "project")


@pytest.fixture
def expected(old: OldLake) -> dict[str, Any]:
    return json.loads((old.root / EXPECTED).read_text(encoding="utf-8"))


def _require_the_old(told: Any, before: Any, where: str = "") -> None:
    """All that was told before is told now; a mapping may have more keys."""
    if isinstance(before, dict):
        assert before.keys() <= told.keys(), where
        for name, value in before.items():
            _require_the_old(told[name], value, f"{where}/{name}")
    elif isinstance(before, list):
        assert len(told) == len(before), where
        for number, value in enumerate(before):
            _require_the_old(told[number], value, f"{where}/{number}")
    else:
        assert told == before, where


def _standing(old: OldLake) -> dict[str, int]:
    versions = old.versions()
    return {table: versions[f"{MODEL}__{table}"] for table in STANDING}


def _scores_of_the_last(old: OldLake) -> dict[str, float]:
    rows = old.json("query", f"SELECT order_id, probability FROM {MODEL}__scores WHERE score_date = DATE '{LAST}'")
    return {row["order_id"]: row["probability"] for row in rows}


def _models(old: OldLake, first: str) -> list[tuple[int, int]]:
    """Version and generation of each scored day from the first on."""
    return [(day["model_version"], day["generation"]) for day in old.json("days", MODEL, "--from", first)]


def test_the_days_the_champions_and_the_traces_are_told_as_before(old: OldLake, expected: dict[str, Any]) -> None:
    days = old.json("days", MODEL)
    assert {day["generation"] for day in days} == {1, 2}
    assert {day["decision"] for day in days} == {"ok", "suspected", "confirmed"}
    _require_the_old(days, expected["days"])
    _require_the_old(old.json("history", MODEL), expected["history"])
    card = old.tally("card", MODEL, "1")
    assert "**champion**: Champion from 2025-01-22." in card
    assert "| roc\\_auc | 0.69168 | not recorded | \\>= 0.6 | pass |" in card
    for asked in expected["traces"]:
        _require_the_old(old.json("trace", MODEL, asked["key"], asked["day"]), asked["told"], asked["day"])


def test_each_table_has_the_rows_it_had(old: OldLake, expected: dict[str, Any]) -> None:
    before = expected["tables"]
    assert len(before) == len(old.versions()) == 15
    rows = old.rows({table: sorted(was["columns"]) for table, was in before.items()})
    assert {table: summary(found) for table, found in rows.items()} == before


def test_a_repeat_of_the_scored_days_changes_nothing(old: OldLake) -> None:
    """The first repeat compares the rows with the manifests, which name no files yet, and records their files."""
    before = _standing(old)
    done = old.json("score", MODEL, *SCORED)
    assert [day["action"] for day in done] == ["unchanged"] * 7
    recorded = _standing(old)
    assert recorded == before | {"tallies": recorded["tallies"]}
    old.json("score", MODEL, *SCORED)
    old.tally("run", MODEL, "decide", "--date", RESTATED)
    assert _standing(old) == recorded


def test_all_of_it_stands_and_a_promotion_chains_what_was_before(old: OldLake) -> None:
    assert "none is chained yet" in old.tally("verify", MODEL, "--deep")
    old.json("promote", MODEL, "--version", "2", "--effective-from", NEXT, "--by", "me")
    assert "chained from 2" in old.tally("verify", MODEL)


def test_a_package_of_then_gives_the_scores_of_then(old: OldLake) -> None:
    before = _scores_of_the_last(old)
    done = old.json("run", MODEL, "score", "--date", LAST, "--force")
    assert (done["action"], done["reason"]) == ("committed", "forced")
    assert _models(old, LAST) == [(1, 2)]
    # Another processor may round otherwise.
    assert _scores_of_the_last(old) == pytest.approx(before, abs=1e-5)


def test_the_version_that_waited_is_promoted_scores_and_is_rolled_back(old: OldLake) -> None:
    before = _standing(old)
    told = old.json("promote", MODEL, "--version", "2", "--effective-from", NEXT, "--by", "me")
    assert (told["model_version"], told["sequence"], told["approver"]) == (2, 2, "me")
    old.tally("rollback", MODEL, "--effective-from", AFTER_NEXT, "--by", "me", "--reason", "complaints")
    # The days that were scored before a version was promoted upon their champion are not scored again.
    would = old.json("backfill", MODEL, *SCORED, "--dry-run")
    assert [day["action"] for day in would] == ["no-op"] * 7
    done = old.json("score", MODEL, "--from", LAST, "--to", AFTER_NEXT)
    assert [day["action"] for day in done] == ["unchanged", "committed", "committed"]
    assert _models(old, LAST) == [(1, 1), (2, 1), (1, 1)]
    # The second version is its own day's champion, and the other new day's shadow.
    after = _standing(old)
    grown = {table: after[table] - before[table] for table in ("promotions", "scores", "shadow")}
    assert grown == {"promotions": 2, "scores": 2, "shadow": 1}


def test_the_project_is_valid_healthy_and_reported(old: OldLake, tmp_path: Path) -> None:
    old.tally("validate")
    verdicts = {row["check"]: row["verdict"] for row in old.json("doctor")}
    assert (verdicts["tracking"], verdicts["tables"]) == ("pass", "pass")
    maintenance = old.json("maintain", MODEL, "--dry-run")
    assert not any(table["lost"] for table in maintenance["tables"])
    old.tally("report", MODEL, "--out", str(tmp_path / "report.html"))
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.long
def test_scores_are_traced_back_to_their_version_and_what_was_not_recorded_is_said(old) -> None:
    days = old.json("days", MODEL)
    version = days[0]["model_version"]
    found = old.json("trace", MODEL, "--version", str(version))
    mine = [day for day in days if day["model_version"] == version]
    assert found["total"]["standing_days"] >= len(mine) > 0
    assert found["total"]["replaced_days"] == 0 or any(not one["stands"] for one in found["scores"])
    (content, *_) = old.json("trace", MODEL, "--data-version", str(_input_version(old)))["asked"]["contents"]
    assert (content["date"], content["raw_files"]) == (LAST, "not recorded")
    commit = old.json("query", f"SELECT code_version FROM {MODEL}__tallies WHERE score_date = DATE '{LAST}'")[0]
    by_code = old.json("trace", MODEL, "--commit", commit["code_version"])
    assert LAST in {day["score_date"] for day in by_code["days"]}


def _input_version(old: OldLake) -> int:
    query = f"SELECT input_version FROM {MODEL}__tallies WHERE score_date = DATE '{LAST}' ORDER BY generation DESC"
    return old.json("query", query)[0]["input_version"]
