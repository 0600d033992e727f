"""Bad input: a clear error, its exit code, a row that says so, and no other table changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SPEC = "models/late_orders/model.yaml"
FEATURES = "models/late_orders/sql/features.sql"
CONTRACT = "models/late_orders/sql/contract.sql"


def _state(root: Path) -> dict[str, bytes]:
    """Every commit of every table."""
    return {str(path): path.read_bytes() for path in (root / ".tally/lake").glob("*/_delta_log/*.json")}


def _data(root: Path) -> dict[str, bytes]:
    """Every commit of every table but those that say what became of the day, and the seal of these."""
    said = ("late_orders__periods", "late_orders__decisions", "late_orders__verified")
    return {name: data for name, data in _state(root).items() if name.split("/")[-3] not in said}


def _shorten_day(world, day: str, keep: int) -> None:
    file = world.root / "models/late_orders/raw/orders.csv"
    lines = file.read_text().splitlines(keepends=True)
    of_day = [line for line in lines if f"{day} " in line]
    file.write_text("".join(line for line in lines if line not in set(of_day[keep:])))


CASES: dict[str, tuple[Callable, list[str], int, str]] = {
    "unknown spec key": (
        lambda world: world.edit(SPEC, "  holdout_days: 14", "  holdout_day: 14"),
        ["score", "late_orders", "--date", "2025-04-08"], 3, "did you mean 'holdout_days'",
    ),
    "wrong type": (
        lambda world: world.edit(SPEC, "window_days: 60", "window_days: sixty"),
        ["score", "late_orders", "--date", "2025-04-08"], 3, "found 'sixty'",
    ),
    "missing column": (
        lambda world: world.edit(FEATURES, "    a.weight_kg,\n", ""),
        ["score", "late_orders", "--date", "2025-04-08"], 4, "weight_kg",
    ),
    "wrong column type": (
        lambda world: world.edit(FEATURES, "    a.weight_kg,\n", "    CAST(a.weight_kg AS VARCHAR) AS weight_kg,\n"),
        ["score", "late_orders", "--date", "2025-04-08"], 4, "weight_kg",
    ),
    "all-null column": (
        lambda world: world.edit(FEATURES, "    a.weight_kg,\n", "    CAST(NULL AS DOUBLE) AS weight_kg,\n"),
        ["score", "late_orders", "--date", "2025-04-08"], 4, "weight_kg",
    ),
    "duplicate keys": (
        lambda world: world.edit(FEATURES, "    a.order_id,\n", "    'same' AS order_id,\n"),
        ["score", "late_orders", "--date", "2025-04-08"], 4, "same",
    ),
    "empty day": (
        lambda world: _shorten_day(world, "2025-04-08", 0),
        ["score", "late_orders", "--date", "2025-04-08"], 4, "2025-04-08",
    ),
    "date out of range": (
        lambda world: None, ["score", "late_orders", "--date", "2024-12-31"], 2, "no score date 2024-12-31",
    ),
    "not a date": (
        lambda world: None, ["score", "late_orders", "--date", "2025-04-08'; drop table x"], 2, "is not a date",
    ),
    "no champion": (
        lambda world: None, ["run", "late_orders", "resolve", "--date", "2025-03-20"], 7, "no champion on 2025-03-20",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_refusal_is_clear_and_changes_nothing(copy, name: str) -> None:
    harm, command, code, message = CASES[name]
    world = copy()
    harm(world)
    before = _data(world.root)
    done = world.tally(*command, code=code)
    assert message in done.err
    assert _data(world.root) == before


def test_a_day_with_one_percent_of_the_rows_is_not_scored(copy) -> None:
    world = copy()
    _shorten_day(world, "2025-04-08", 1)
    before = _state(world.root)
    done = world.tally("score", world.model, "--date", "2025-04-08", code=8)
    assert "row_count" in done.err
    assert "observed 1" in done.err
    # The day is ingested, and the gate's report says why it goes no further.
    judged = (
        "features",
        "labels",
        "label_readings",
        "inputs",
        "quarantine",
        "gates",
        "periods",
        "decisions",
        "verified",
    )
    grown = {name.split("/")[-3] for name in _state(world.root).keys() - before.keys()}
    assert grown <= {f"late_orders__{table}" for table in judged}
    assert "late_orders__gates" in grown


def test_a_corrupted_or_swapped_model_file_is_not_loaded(copy) -> None:
    world = copy()
    (model,) = (world.root / ".tally/cache").rglob("model.onnx")
    other = model.with_name("model.safetensors").read_bytes()
    artifacts = (world.root / ".tally/mlartifacts").rglob("model.onnx")
    for file in (model, *artifacts):
        file.chmod(0o644)
        file.write_bytes(other)
    before = _state(world.root)
    world.tally("ingest", world.model, "--date", "2025-04-08")
    world.tally("run", world.model, "day-gate", "--date", "2025-04-08")
    done = world.tally("run", world.model, "score", "--date", "2025-04-08", code=6)
    assert "model.onnx" in done.err
    scores = {name: data for name, data in _state(world.root).items() if "__scores" in name}
    assert scores == {name: data for name, data in before.items() if "__scores" in name}


def test_a_damaged_cache_is_replaced_from_the_registry(copy) -> None:
    world = copy()
    (model,) = (world.root / ".tally/cache").rglob("model.onnx")
    good = model.read_bytes()
    model.chmod(0o644)
    model.write_bytes(good[:-1])
    before = world.rows("select * from late_orders__scores where score_date = date '2025-04-07' order by order_id")
    world.tally("run", world.model, "score", "--date", "2025-04-07", "--force")
    assert (
        world.rows("select * from late_orders__scores where score_date = date '2025-04-07' order by order_id") == before
    )
    assert model.read_bytes() == good


def test_without_the_cache_and_without_mlflow_scoring_says_so(copy) -> None:
    world = copy()
    shutil.rmtree(world.root / ".tally/cache")
    world.tally("ingest", world.model, "--date", "2025-04-08")
    world.tally("run", world.model, "day-gate", "--date", "2025-04-08")
    gone = "environment.tracking.uri=http://127.0.0.1:9"
    done = world.tally("run", world.model, "score", "--date", "2025-04-08", "--set", gone, code=12,
                       MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")  # fmt: skip
    assert "127.0.0.1:9" in done.err


def test_a_model_that_saw_the_day_is_refused(copy) -> None:
    world = copy()
    done = world.tally(
        "run", world.model, "resolve", "--date", "2025-03-20", "--set", "scoring.models=pinned:1", code=9
    )
    assert "2025-03-23" in done.err


def test_a_table_with_unsupported_features_is_refused(copy) -> None:
    import json

    world = copy()
    log = world.root / ".tally/lake/late_orders__scores/_delta_log"
    newest = max(int(path.stem) for path in log.glob("*.json"))
    protocol = {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"],
                             "writerFeatures": ["deletionVectors"]}}  # fmt: skip
    (log / f"{newest + 1:020d}.json").write_text(json.dumps(protocol) + "\n")
    before = _data(world.root)
    done = world.tally("run", world.model, "score", "--date", "2025-04-07", "--force", code=5)
    assert "deletionVectors" in done.err
    assert _data(world.root) == before
