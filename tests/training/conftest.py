from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import visits as visits_world

from tallywright.data.snapshot import take_snapshot
from tallywright.spec.sections import Training

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def flights_folder():
    return REPOSITORY / "models" / "flight_delays"


@pytest.fixture
def small_spec():
    """A spec section for synthetic arrays; keyword arguments go to the network section."""

    def make(task="binary", **network):
        settings = {"hidden": (16, 8), "epochs": 5, "batch_size": 64, "dropout": 0.1} | network
        return Training.model_validate(
            {
                "task": task,
                "target": "y",
                "numeric": ["a", "b", "c"],
                "categorical": ["k"],
                "window_days": 10,
                "validation_days": 2,
                "device": "cpu",
                "network": settings,
            }
        )

    return make


@pytest.fixture
def rows():
    """Synthetic rows whose target depends on the columns; column `b` has nulls that matter."""

    def make(task="binary", count=700, seed=1):
        from tallywright.training.matrices import Rows

        random = np.random.default_rng(seed)
        numeric = random.normal(size=(count, 3)).astype(np.float32) * [1, 10, 100] + [0, 5, -50]
        numeric = numeric.astype(np.float32)
        missing = random.random(count) < 0.2
        categorical = random.integers(0, 5, size=(count, 1))
        signal = numeric[:, 0] + missing + 0.5 * (categorical[:, 0] - 2) + random.normal(size=count)
        numeric[missing, 1] = np.nan
        if task == "binary":
            target = (signal > 1).astype(np.int64)
        elif task == "multiclass":
            target = np.digitize(signal, [-0.5, 1]).astype(np.int64)
        else:
            target = 100 + 20 * signal
        return Rows(numeric, categorical, target)

    return make


@pytest.fixture
def request_of(small_spec, flights_folder):
    """A `FitRequest` for synthetic rows, with the flights' network."""

    def make(train, validation, task="binary", spec=None, **changes):
        from tallywright.training.networks.loop import FitRequest
        from tallywright.training.networks.module import NetworkDims, ScoringModule
        from tallywright.training.objective import learn_objective
        from tallywright.training.scaling import learn_scaling
        from tallywright.training.user_code.source import find_network

        spec = spec or small_spec(task)
        objective = learn_objective(task, train.target, spec.network.class_weight)
        scaling = learn_scaling(train.numeric, spec.numeric)
        dims = NetworkDims(scaling.width, (5,), spec.network.hidden, spec.network.dropout, objective.outputs)
        source = find_network(flights_folder, spec.network.module)
        encoded = [replace(part, target=objective.encode(part.target)) for part in (train, validation)]
        values = {
            "module": lambda: ScoringModule(source.build(dims), scaling, objective),
            "train": encoded[0],
            "validation": encoded[1],
            "spec": spec,
            "settings": spec.network,
            "configuration": "one",
        }
        return FitRequest(**(values | changes))

    return make


@pytest.fixture
def visits(tmp_path, empty_store):
    """A small model project of each task, ingested: project, lake, snapshot."""

    def make(task="binary", **training):
        project, lake = visits_world.ingested(tmp_path, empty_store, task, **training)
        return project, lake, take_snapshot(project, lake, visits_world.AS_OF)

    return make
