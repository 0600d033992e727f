"""`tally validate --data`: what it prints, its exit codes, and that it leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tallywright.cli import data_report
from tallywright.cli.init import init
from tallywright.cli.main import tally

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "models/late_orders"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shop"
    assert CliRunner().invoke(init, [str(folder)]).exit_code == 0
    return folder


@pytest.fixture
def shop(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(data_report, "SECONDS", 1e6)
    folder = tmp_path / "shop"
    shutil.copytree(made, folder)
    return folder


def validate(shop: Path, *arguments: str, code: int = 0) -> Any:
    done = CliRunner().invoke(tally, ["validate", "--data", "--root", str(shop), *arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    assert not (shop / ".tally").exists()
    return json.loads(done.stdout) if "--json" in arguments else done


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_what_was_looked_at_is_printed(shop: Path) -> None:
    replace(shop / MODEL / "raw/orders.csv", ",2.11,", ",,")
    replace(shop / MODEL / "raw/orders.csv", ",0.33,", ",n/a,")
    out = validate(shop).stdout
    assert "late_orders: valid" in out
    assert "1 of 1" in out
    assert "10,800" in out
    assert "weight_kg 1" in out
    assert (
        "1 of 10,800 rows would be quarantined, such as raw/orders.csv line 3: weight_kg: 'n/a' is not a DOUBLE" in out
    )
    assert "not looked at: the expectations" in out


def test_the_same_parts_for_programs(shop: Path) -> None:
    [row] = validate(shop, "--json")
    assert (row["valid"], row["exit_code"], row["problems"]) == (True, 0, [])
    orders, deliveries = row["data"]["sources"]
    assert (orders["source"], orders["files"], orders["rows"], orders["whole"]) == ("orders", 1, 10_800, True)
    assert deliveries["null_cells"] == {}
    assert row["data"]["period"]["rows"] > 50
    assert row["data"]["period"]["labels"]["known"] > 50


def test_only_the_data_are_at_fault(shop: Path) -> None:
    (shop / MODEL / "raw/orders.csv").write_text("")
    done = validate(shop, code=4)
    assert "raw/orders.csv is empty (0 bytes)" in done.stderr
    assert "late_orders: not valid" in done.stdout
    assert "deliveries" in done.stdout


def test_the_spec_is_at_fault_too(shop: Path) -> None:
    (shop / MODEL / "raw/orders.csv").write_text("")
    (shop / "expectations/late_orders__features.yaml").unlink()
    done = validate(shop, code=3)
    assert "no such file" in done.stderr
    assert "raw/orders.csv is empty (0 bytes)" in done.stderr


def test_a_column_that_no_file_has_is_found_by_the_files_alone(shop: Path) -> None:
    replace(shop / MODEL / "sql/contract.sql", "order_id, ordered_at, region,", "order_id, ordered_at, colour, region,")
    plainly = CliRunner().invoke(tally, ["validate", "--root", str(shop)], catch_exceptions=False)
    assert plainly.exit_code == 0
    assert "no column colour" in validate(shop, code=3).stderr


def test_a_spec_that_cannot_be_used(shop: Path) -> None:
    replace(shop / MODEL / "model.yaml", "cron:", "crn:")
    [row] = validate(shop, "--json", code=3)
    assert row["data"]["not_looked_at"][0] == "the data: the spec has to be valid first"


def test_one_model_harms_no_other(shop: Path) -> None:
    shutil.copytree(shop / MODEL, shop / "models/other")
    replace(shop / "models/other/model.yaml", "name: late_orders", "name: other")
    shutil.copy(shop / "expectations/late_orders__features.yaml", shop / "expectations/other__features.yaml")
    replace(shop / "expectations/other__features.yaml", "late_orders__features", "other__features")
    (shop / MODEL / "raw/orders.csv").write_bytes(b"\0" * 100)
    rows = {row["model"]: row for row in validate(shop, "--json", code=4)}
    assert not rows["late_orders"]["valid"]
    assert rows["other"]["data"]["period"]["rows"] > 50


def test_time_that_is_up_is_said_and_no_fault(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_report, "SECONDS", 0.0)
    out = validate(shop).stdout
    assert "not looked at: data.sources.orders: there was no time for it" in out
