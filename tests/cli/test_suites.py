"""A suite by the command line: `validate` says what is wrong with it, the day gate what it found, in plain words."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DAY = "2025-01-03"
SUITE = "expectations/late_orders__features.yaml"
HOSTILE = "<img src=x onerror=alert(1)>"


def tally(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tallywright", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


class Shop:
    """A sample project with one ingested day; its suite is written anew by each test."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def tally(self, *arguments: str, code: int = 0) -> Any:
        """What a command prints as JSON; what it logs is in `said`."""
        done = tally(self.root, *arguments, "--json")
        assert "Traceback" not in done.stderr
        assert done.returncode == code, done.stderr
        self.said = done.stderr
        return json.loads(done.stdout.strip().splitlines()[-1])

    def write(self, *expectations: str) -> None:
        items = "".join(f"  - {text}\n" for text in expectations)
        (self.root / SUITE).write_text(f"dataset: late_orders__features\nexpectations:\n{items}")

    def gate(self, code: int = 0) -> Any:
        return self.tally("run", "late_orders", "day-gate", "--date", DAY, code=code)

    def checks(self) -> dict[str, dict[str, Any]]:
        """The checks of the newest report."""
        sql = "select * from late_orders__gates where sequence = (select max(sequence) from late_orders__gates)"
        return {row["check_name"]: row for row in self.tally("query", sql)}

    def page(self) -> str:
        return (self.root / f".tally/work/data_docs/late_orders/{DAY}.html").read_text()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("suites") / "shop"
    tally(root.parent, "init", str(root))
    orders = root / "models/late_orders/raw/orders.csv"
    lines = [
        line.replace('"north"', f'"{HOSTILE}"') if DAY in line else line for line in orders.read_text().splitlines()
    ]
    orders.write_text("\n".join(lines) + "\n")
    Shop(root).tally("ingest", "late_orders", "--date", DAY)
    return root


@pytest.fixture
def shop(made: Path, tmp_path: Path) -> Shop:
    return Shop(Path(shutil.copytree(made, tmp_path / "shop")))


def test_validate_names_every_problem_of_a_suite_with_its_line(shop: Shop) -> None:
    shop.write(
        "{expect: expect_column_values_to_match_like_pattern, column: region, like_pattern: 'x%', severity: info}",
        "{expect: expect_column_sum_to_be_between, column: region, max_value: 1}",
        f"{{expect: expect_column_values_to_be_between, column: weight_kg, min_value: 1{'0' * 400}}}",
        "{expect: expect_column_value_lengths_to_be_betwen, column: region, min_value: 1}",
        "{expect: expect_column_values_to_be_in_set, column: region, value_set: [DE, NO, SE]}",
        "{expect: expect_column_values_to_not_be_null, column: weight_kg, result_format: COMPLETE}",
        "{expect: expect_column_values_to_not_be_null, column: weight_kg, condition_parser: pandas, "
        "row_condition: \"@pd.io.common.os.system('touch pwned') == 0\"}",
    )
    (found,) = shop.tally("validate", code=3)
    said = [
        "cannot be judged here; use expect_column_values_to_match_regex, '^x'",
        "region is VARCHAR; a sum needs numbers",
        "a finite number is needed",
        "did you mean 'expect_column_value_lengths_to_be_between'?",
        "without quotes YAML reads yes, no, on, off and NO as truth values",
        "unknown argument 'result_format'",
        "cannot stand in a condition",
    ]
    assert len(found["problems"]) == len(said)
    for line, (problem, words) in enumerate(zip(found["problems"], said, strict=True), start=3):
        assert f"{SUITE}:{line}: " in problem
        assert words in problem
    refused = shop.gate(code=3)["error"]
    assert all(words in refused["found"] for words in said)
    assert not list(shop.root.rglob("pwned"))


@pytest.mark.long
def test_validate_refuses_what_no_suite_can_be(shop: Shop) -> None:
    shop.write(f"{{expect: expect_column_to_exist, column: {'[' * 2000}{']' * 2000}}}")
    (found,) = shop.tally("validate", code=3)
    assert "nested more than 20 deep" in found["problems"][0]
    shop.gate(code=3)


@pytest.mark.slow
def test_each_failed_check_says_what_was_observed_and_nothing_is_logged(shop: Shop) -> None:
    shop.write(
        "{expect: expect_column_distinct_values_to_be_in_set, column: region, value_set: [west], severity: info}",
        "{expect: expect_column_stdev_to_be_between, column: weight_kg, min_value: 1000, severity: info}",
        "{expect: expect_column_mean_to_be_between, column: weight_kg, min_value: 100, severity: info}",
        "{expect: expect_column_pair_values_to_be_equal, column_A: weight_kg, column_B: distance_km, severity: info}",
        "{expect: expect_column_distinct_values_to_contain_set, column: region, value_set: [x], severity: warning}",
        "{expect: expect_column_values_to_not_be_null, column: weight_kg, row_condition: 'region == \"west\"'}",
        "{expect: expect_column_values_to_be_between, column: score_moment, min_value: 2025-01-01, "
        "max_value: 2026-01-01}",
    )
    told = shop.gate()
    assert told["verdict"] == "warn"
    assert len(told["noted"]) == 4
    assert {line.split()[1] for line in shop.said.splitlines()} == {"INFO"}
    assert "great_expectations" not in shop.said
    checks, page = shop.checks(), shop.page()
    above = checks["expect_column_distinct_values_to_be_in_set(region)"]
    # What was found and what follows from it are two things.
    assert (above["found"], above["verdict"], above["gate_verdict"]) == ("fail", "note", "warn")
    assert set(above["observed_text"].split(", ")) == {"south", "east", "islands", HOSTILE}
    assert round(checks["expect_column_stdev_to_be_between(weight_kg)"]["observed_number"], 3) == 1.836
    assert "<bdi>1.836</bdi></td><td><bdi>at least 1000</bdi>" in page
    assert "at least 100</bdi>" in page
    pair = checks["expect_column_pair_values_to_be_equal(weight_kg, distance_km)"]["evidence"]
    assert "85 of 85 rows, such as weight_kg 1.94, distance_km 562.1 (order_id o000177)" in pair
    assert checks["expect_column_distinct_values_to_contain_set(region)"]["observed_text"] == "missing: x"
    assert "24 of 85 rows meet the condition" in checks["expect_column_values_to_not_be_null(weight_kg)"]["evidence"]
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img" not in page
    assert "<td></td>" not in page


@pytest.mark.slow
@pytest.mark.long
def test_what_cannot_be_evaluated_refuses_the_day_and_speaks_of_the_suite(shop: Shop) -> None:
    shop.write(
        "{expect: expect_column_values_to_match_json_schema, column: region, severity: info, "
        "json_schema: {type: object}}"
    )
    refused = shop.gate(code=8)["error"]
    assert "could not be evaluated" in refused["found"]
    assert refused["remedy"].startswith(f"correct {SUITE}: it asks what cannot be judged on these rows")
