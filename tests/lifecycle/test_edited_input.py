"""A training does not begin on rows that nobody ingested."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from damage import add_rows, change_rows, delete_rows, flip, put
from deltalake import DeltaTable
from synthetic import DAY, make_project

from tallywright.data.delta.lake import Lake
from tallywright.errors import InputError, IntegrityError
from tallywright.lifecycle.context import RunContext
from tallywright.lifecycle.run import run_step
from tallywright.spec import Project

DAYS = tuple(DAY + timedelta(days=number) for number in range(3))
AS_OF = DAYS[-1] + timedelta(days=1)


@pytest.fixture
def project(tmp_path: Path, empty_store: Path) -> Project:
    """A day each for training, validation and holdout, with their labels."""
    windows = {"target": "label", "window_days": 2, "validation_days": 1, "holdout_days": 1}
    made = make_project(tmp_path, data={"label_maturity_days": 1}, training=windows)
    store = Path(made.environment.tracking.uri.removeprefix("sqlite:///"))
    store.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(empty_store, store)
    for day in DAYS:
        put(Lake.of(made.environment), made, day)
    return made


def _flip(table: Path) -> None:
    flip(next(Path(uri) for uri in DeltaTable(table).file_uris() if f"score_date={DAY}" in uri), seed=3)


@pytest.mark.parametrize("damage", [change_rows, add_rows, _flip])
def test_edited_feature_rows_are_not_trained_on(project: Project, damage: Callable[[Path], None]) -> None:
    context = RunContext(project, AS_OF, "train-1")
    damage(Path(context.lake.uri("shop__features")))
    with pytest.raises(IntegrityError, match=r"shop__features.* of 2024-03-0[123]") as caught:
        run_step(context, "snapshot")
    assert caught.value.exit_code == 15
    assert caught.value.remedy.startswith("tally ingest shop --date 2024-03-0")


def test_deleted_feature_rows_are_not_trained_without(project: Project) -> None:
    context = RunContext(project, AS_OF, "train-1")
    delete_rows(Path(context.lake.uri("shop__features")))
    with pytest.raises((IntegrityError, InputError), match="2024-03-01"):
        run_step(context, "snapshot")


def test_rows_as_they_were_ingested_are_trained_on(project: Project) -> None:
    taken = run_step(RunContext(project, AS_OF, "train-1"), "snapshot")
    assert (taken["train_from"], taken["holdout_to"]) == (str(DAY), str(DAYS[-1]))
