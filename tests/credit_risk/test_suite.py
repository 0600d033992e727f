"""The expectation suite: quiet days of all seasons pass, and a day of each fault that a file can have does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from loan_world import REPAYMENTS, World, ask, loans

from tallywright.gates.suite import checked_suite, day_columns, read_suite
from tallywright.gates.validate import validate
from tallywright.records import Verdict
from tallywright.spec import load_project

pytestmark = pytest.mark.slow  # the library takes six seconds to import

DAY = date(2024, 3, 6)
Judge = Callable[[World, date], set[tuple[str, Verdict]]]


@pytest.fixture(scope="module")
def judge(repository: Path) -> Judge:
    """The checks of a day that did not pass, each with its verdict."""
    project = load_project("credit_risk", root=repository)
    dataset = project.spec.table("features")
    suite = checked_suite(read_suite(project.expectations, dataset), project.expectations, dataset,
                          day_columns(project.spec))  # fmt: skip

    def judged(world: World, day: date) -> set[tuple[str, Verdict]]:
        rows = ask(world.applications(day), REPAYMENTS.empty_table(), day).features
        checks = [found.check for found in validate(suite, rows, project.spec.data.key)]
        return {(check.name, check.verdict) for check in checks if check.verdict is not Verdict.PASS}

    return judged


@pytest.mark.parametrize("day", [date(2023, 1, 1), date(2023, 5, 22), date(2023, 10, 15), date(2024, 2, 29)], ids=str)
def test_a_quiet_day_does_not_even_warn(judge: Judge, day: date) -> None:
    assert judge(World(), day) == set()


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("nulls:share=0.3", "expect_column_values_to_not_be_null(income)"),
        ("nulls:column=utilisation,share=0.5", "expect_column_values_to_not_be_null(utilisation)"),
        ("scaled", "expect_column_median_to_be_between(income)"),
        ("scaled:column=utilisation", "expect_column_values_to_be_between(utilisation)"),
        ("stuck", "expect_column_stdev_to_be_between(utilisation)"),
        ("unseen", "expect_column_values_to_be_in_set(channel)"),
        ("unseen:column=customer,share=0.01", "expect_column_values_to_be_in_set(customer)"),
        ("shifted_dates", "expect_table_row_count_to_be_between()"),
    ],
)
def test_a_day_with_a_fault_in_its_file_is_not_scored(judge: Judge, fault: str, check: str) -> None:
    kind, _, options = fault.partition(":")
    world = World(faults=(loans.parse_fault(f"{kind}:{DAY}:{DAY}:{options}"),))
    assert (check, Verdict.FAIL) in judge(world, DAY)


def test_few_unseen_values_warn(judge: Judge) -> None:
    world = World(faults=(loans.parse_fault(f"unseen:{DAY}:{DAY}:share=0.03"),))
    assert [verdict for _, verdict in judge(world, DAY)] == [Verdict.WARN]


@pytest.mark.parametrize("kind", ["population", "duplicates"])
def test_a_changed_world_is_scored(judge: Judge, kind: str) -> None:
    """What changes in the world is for monitoring to see; a doubled row is set aside, and costs no day."""
    world = World(faults=(loans.parse_fault(f"{kind}:{DAY}:{DAY}"),))
    assert Verdict.FAIL not in {verdict for _, verdict in judge(world, DAY)}
