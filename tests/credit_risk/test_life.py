"""The project as people run it: raw files of the generator, `tally`, and months later the labels."""

from __future__ import annotations

import json
import os
import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forked_tally import run_tally
from loan_world import FOLDER, World, days_of, loans, write_merged

from tallywright.metrics import roc_auc


class Project:
    """The model project in a folder of its own, with a lake of its own."""

    def __init__(self, root: Path, repository: Path) -> None:
        self.root = root
        self.raw = root / "models/credit_risk/raw"
        shutil.copytree(FOLDER, root / "models/credit_risk", ignore=shutil.ignore_patterns("raw", "__pycache__"))
        for file in ("conf/local.yaml", "expectations/credit_risk__features.yaml"):
            (root / file).parent.mkdir()
            shutil.copy(repository / file, root / file)

    def tally(self, *arguments: str, code: int = 0) -> Any:
        """What a command says with `--json`; it must end with this code."""
        done = run_tally([*arguments, "--json"], self.root, os.environ)
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return self.tally("query", sql, "--limit", "1000000")


@pytest.fixture
def project(tmp_path: Path, repository: Path) -> Project:
    return Project(tmp_path / "lender", repository)


@pytest.mark.long
@pytest.mark.slow
def test_a_short_life_from_training_to_labels_months_later(project: Project) -> None:
    """Windows are shorter, and of the estimators the quickest learns: every gate passes for the reasons of the spec."""
    trained, bad = days_of(date(2023, 1, 1), 41), date(2023, 8, 15)
    as_of = trained[-1] + timedelta(days=loans.LABEL_DAYS)
    scored = days_of(as_of, 4)
    months_later = days_of(as_of + timedelta(days=loans.LABEL_DAYS), 4)
    world = World(1, 700, (loans.parse_fault(f"scaled:{bad}:{bad}"),))
    assert bad in scored
    write_merged(world, [*trained, *scored, *months_later], project.raw)
    short = ["training.window_days=31", "training.validation_days=5", "training.holdout_days=10",
             "training.estimator={kind: torch, hidden: [64, 32], dropout: 0.2, weight_decay: 0.01}"]  # fmt: skip
    sets = [word for text in short for word in ("--set", text)]

    project.tally("ingest", "credit_risk", "--from", f"{trained[0]}", "--to", f"{trained[-1]}")
    project.tally("train", "credit_risk", "--date", f"{as_of}", "--by", "a test", *sets)
    (version,) = project.tally("versions", "credit_risk")
    assert version["version"] == 1
    project.tally("backfill", "credit_risk", "--from", f"{scored[0]}", "--to", f"{scored[-1]}", code=8)
    states = {row["score_date"]: row["state"] for row in project.tally("days", "credit_risk")}
    assert states == {f"{day}": "refused" if day == bad else "scored" for day in scored}

    best, reached = _auc(project, world, [day for day in scored if day != bad])
    assert best - 0.05 < reached < best

    assert all(row["realised"] is None for row in project.tally("days", "credit_risk"))
    project.tally("backfill", "credit_risk", "--from", f"{months_later[0]}", "--to", f"{months_later[-1]}")
    realised = project.rows(
        "select distinct score_date from credit_risk__performance where value is not null order by 1"
    )
    assert [row["score_date"] for row in realised] == [f"{day}" for day in scored if day != bad]


def _auc(project: Project, world: World, days: list[date]) -> tuple[float, float]:
    """The best possible one and that of the scores, over loans that were paid out."""
    listed = ", ".join(f"'{day}'" for day in days)
    rows = project.rows(f"select application_id, probability from credit_risk__scores where score_date in ({listed})")
    scores = {row["application_id"]: row["probability"] for row in rows}
    found = [world.outcomes(day) for day in days]
    names = np.concatenate([one.application_id for one in found])
    defaulted, truth = (np.concatenate([getattr(one, name) for one in found]) for name in ("defaulted", "probability"))
    assert scores.keys() == set(names.tolist())
    return roc_auc(defaulted, truth), roc_auc(defaulted, np.array([scores[name] for name in names]))
