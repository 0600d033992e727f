"""Raw files of the generator become features, labels and quarantine, every row accounted for."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
from loan_world import World, days_of, loans, project_over

from tallywright.data.delta.lake import Lake
from tallywright.data.etl.ingest import ingest


def test_every_application_becomes_a_row_a_label_or_a_reason(repository: Path, tmp_path: Path) -> None:
    first, second = days = days_of(date(2024, 3, 6), 2)
    world = World(1, 60, (loans.parse_fault(f"duplicates:{second}:{second}:share=0.1"),))
    project = project_over(world, days, repository, tmp_path)
    lake = Lake.of(project.environment)
    told = ingest(project, lake, first, second)

    outcomes = [world.outcomes(day) for day in days]
    doubled = round(0.1 * len(outcomes[1].defaulted))
    assert [(day.rows, day.quarantined) for day in told] == [
        (len(one.defaulted), doubles) for one, doubles in zip(outcomes, (0, doubled), strict=True)
    ]
    reasons = lake.read("credit_risk__quarantine")["reason"].to_pylist()
    assert reasons == ["application id used twice"] * doubled

    labels = lake.read("credit_risk__labels").sort_by("application_id")
    paid_out = np.concatenate([~np.isnat(one.reported_at) for one in outcomes])
    defaulted = np.concatenate([one.defaulted for one in outcomes])
    assert [status == "known" for status in labels["label_status"].to_pylist()] == paid_out.tolist()
    found = [one for one in labels["defaulted"].to_pylist() if one is not None]
    assert found == defaulted[paid_out].tolist()
