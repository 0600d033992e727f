"""The project's SQL: what becomes of a raw application, and when its label is known."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from loan_world import REPAYMENTS, World, ask, days_of, loans

from tallywright.spec import load_project

DAY = date(2024, 3, 6)
WORLD = World(1, 200)
NO_REPORTS = REPAYMENTS.empty_table()


def _changed(table: pa.Table, row: int, **values: object) -> pa.Table:
    rows = table.to_pylist()
    rows[row] |= values
    return pa.Table.from_pylist(rows, schema=table.schema)


def test_the_spec_waits_as_long_as_the_generator_says(repository) -> None:
    data = load_project("credit_risk", root=repository).spec.data
    assert data.label_maturity.length == data.label_wait.length == loans.LABEL_DAYS


def test_features_are_what_the_application_says() -> None:
    columns, found = WORLD.columns(DAY), ask(WORLD.applications(DAY), NO_REPORTS, DAY).features
    assert found["application_id"].to_pylist() == columns["application_id"].tolist()
    assert found["score_moment"].to_pylist() == columns["applied_at"].tolist()
    for name in ("income", "amount", "term_months", "utilisation", "delinquencies_24m", "history_months"):
        assert np.array_equal(found[name].to_numpy(), columns[name], equal_nan=True), name
    expected = (1.06 * columns["amount"] / columns["term_months"] + columns["obligations"]) / columns["income"]
    assert np.array_equal(found["burden"].to_numpy(), expected, equal_nan=True)


def test_no_report_changes_a_feature() -> None:
    """Nor does an application of another day: each speaks for itself."""
    after = pa.concat_tables([WORLD.repayments(day) for day in days_of(DAY + timedelta(days=150), 5)])
    around = pa.concat_tables([WORLD.applications(day) for day in days_of(DAY - timedelta(days=1), 3)])
    alone = ask(WORLD.applications(DAY), NO_REPORTS, DAY).features
    assert ask(around, after, DAY).features.equals(alone)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"application_id": None}, "application id missing"),
        ({"amount": None}, "amount missing or not positive"),
        ({"amount": -5.0}, "amount missing or not positive"),
        ({"term_months": 0}, "term missing or not positive"),
        ({"income": 0.0}, "income not positive"),
    ],
)
def test_a_row_that_cannot_be_scored_is_set_aside(values: dict[str, object], reason: str) -> None:
    found = ask(_changed(WORLD.applications(DAY), 3, **values), NO_REPORTS, DAY)
    assert [one for one in found.contract["reject_reason"].to_pylist() if one] == [reason]
    assert found.features.num_rows == found.contract.num_rows - 1 == found.labels.num_rows


def test_an_unproved_income_is_no_defect() -> None:
    found = ask(_changed(WORLD.applications(DAY), 3, income=None), NO_REPORTS, DAY)
    assert found.contract["reject_reason"].null_count == found.contract.num_rows
    assert found.features["burden"][3].as_py() is None


def test_of_doubled_rows_one_is_taken() -> None:
    world = World(1, 200, (loans.parse_fault(f"duplicates:{DAY}:{DAY}:share=0.1"),))
    found = ask(world.applications(DAY), NO_REPORTS, DAY)
    rows = WORLD.applications(DAY).num_rows
    assert pc.sum(pc.equal(found.contract["reject_reason"], "application id used twice")).as_py() == round(0.1 * rows)
    assert found.features.equals(ask(WORLD.applications(DAY), NO_REPORTS, DAY).features)


def test_labels_are_known_missing_or_never() -> None:
    applications, outcomes = WORLD.applications(DAY), WORLD.outcomes(DAY)
    reports = pa.concat_tables([WORLD.repayments(DAY + timedelta(days=age)) for age in range(90, 183)])
    early = reports.filter(pc.less(reports["reported_at"], pa.scalar(datetime.fromisoformat("2024-07-14"))))
    paid_out = ~np.isnat(outcomes.reported_at)

    young = ask(applications, early, DAY).labels
    assert set(young["label_status"].to_pylist()) == {"known", "missing"}
    assert set(young.filter(pc.equal(young["label_status"], "known"))["defaulted"].to_pylist()) == {1}

    old = ask(applications, reports, DAY, final=DAY).labels
    assert old["label_status"].to_pylist() == ["known" if one else "never" for one in paid_out]
    known = old.filter(pa.array(paid_out))
    assert known["defaulted"].to_pylist() == outcomes.defaulted[paid_out].astype(int).tolist()
    assert known["label_time"].to_pylist() == outcomes.reported_at[paid_out].tolist()


def test_of_two_reports_the_first_counts() -> None:
    applications = WORLD.applications(DAY).slice(0, 1)
    name = applications["application_id"][0].as_py()
    told = [(datetime.fromisoformat("2024-09-04"), "performing"), (datetime.fromisoformat("2024-06-04"), "defaulted")]
    rows = [{"application_id": name, "reported_at": when, "status": status, "missed": 0} for when, status in told]
    labels = ask(applications, pa.Table.from_pylist(rows, schema=REPAYMENTS), DAY).labels
    assert labels["defaulted"].to_pylist() == [1]
