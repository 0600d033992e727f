"""A training ends in one registered version, also where what was judged cannot be fitted again."""

from __future__ import annotations

import pytest
import visits as visits_world

from tallywright.errors import GateRefusedError, PackageError, StorageError
from tallywright.lifecycle.context import RunContext
from tallywright.lifecycle.plan import Pipeline
from tallywright.lifecycle.run import run_pipeline
from tallywright.lifecycle.steps import train
from tallywright.registry.versions_table import recorded_versions

# MLflow takes seconds to import.
pytestmark = [pytest.mark.slow, pytest.mark.long]
STEPS = ("snapshot", "train", "quality_gate", "operations_gate", "refit", "register")


def test_a_refit_that_cannot_be_made_leaves_a_refused_version(tmp_path, empty_store, monkeypatch):
    linear = {"kind": "sklearn", "path": "sklearn.linear_model.LogisticRegression", "inputs": "normalised"}
    project, lake = visits_world.ingested(tmp_path, empty_store, baselines=False, refit=True, estimator=linear)
    context, fits, error = RunContext(project, visits_world.AS_OF, "training"), train._trained, [StorageError("away")]

    def trained(context, step, judged=None):
        if step == "refit":
            raise error[0]
        return fits(context, step, judged)

    monkeypatch.setattr(train, "_trained", trained)
    # What may be different at the next try says nothing about the recipe: the step is repeated.
    with pytest.raises(StorageError):
        run_pipeline(context, Pipeline.TRAIN, only=STEPS)
    assert recorded_versions(lake, project.spec) == {}

    error[0] = PackageError("the model scores otherwise than its library, in 3 of 2,000 rows")
    for _ in range(2):  # again, as by a task that is cleared: the same version
        with pytest.raises(GateRefusedError, match="version 1 of visits is refused"):
            run_pipeline(context, Pipeline.TRAIN, only=STEPS)
    (row,) = recorded_versions(lake, project.spec).values()
    assert (row.verdict, row.judged_digest) == ("refused", row.package_digest)
    assert "in 3 of 2,000 rows" in row.evidence_json
