"""A rollback is rehearsed in a log of its own: the champion stands again, and nothing of the project is touched."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from tallywright.lifecycle.rehearsal import rehearse_rollback
from tallywright.records import ModelRef, Verdict
from tallywright.spec import load_project

SPEC = """
name: shop
description: Late orders.
owner: {name: Shop, email: shop@example.com}
schedule: {start_date: 2024-01-01}
data: {sources: {raw: {path: raw.csv}}, key: [id], columns: {id: VARCHAR, score_moment: TIMESTAMP, x: DOUBLE}}
training: {target: late, numeric: [x]}
registry: {approval: person, approvers: [ann]}
"""
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path):
    for name, text in (("models/shop/model.yaml", SPEC), ("conf/local.yaml", "{}\n")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return load_project("shop", root=tmp_path)


def rehearsed(project, *, trained_through=date(2024, 5, 31), champion_saw=date(2024, 4, 30)):
    candidate = SimpleNamespace(digest="c" * 64, meta=SimpleNamespace(trained_through=trained_through))
    champion = ModelRef(
        name="shop", version=7, digest="a" * 64, effective_from=date(2024, 5, 1), trained_through=champion_saw
    )
    return rehearse_rollback(project, candidate, champion, now=NOW)


def test_the_champion_stands_again(project, tmp_path) -> None:
    before = sorted(tmp_path.rglob("*"))
    check = rehearsed(project)
    assert (check.verdict, check.observed) == (Verdict.PASS, "version 7")
    assert check.evidence == "promote version 7 -> promote the candidate -> rollback version 7"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_candidate_trained_before_the_champion_was_promoted(project) -> None:
    assert rehearsed(project, trained_through=date(2024, 1, 31)).verdict is Verdict.PASS


def test_a_champion_that_has_seen_the_day_cannot_come_back(project) -> None:
    check = rehearsed(project, champion_saw=date(2030, 1, 1))
    assert check.verdict is Verdict.FAIL
    assert "has seen labels through 2030-01-01" in check.evidence
