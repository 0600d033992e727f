"""Names by the standard's rules, and ids that follow from the run."""

from __future__ import annotations

import uuid

import pytest

from tallywright.lifecycle.lineage.flows import FLOWS, GATES
from tallywright.lifecycle.lineage.naming import Name, file_name, model_name, run_id_of
from tallywright.lifecycle.plan import Actor, Pipeline, plan
from tallywright.spec.environment import Counterpart, Environment, Here, Registries, Storage, Tracking


@pytest.mark.parametrize(
    ("address", "namespace", "name"),
    [
        ("/srv/lake/shop__scores", "file", "/srv/lake/shop__scores"),
        ("file:///srv/lake/shop__scores", "file", "/srv/lake/shop__scores"),
        ("s3://bucket/lake/shop__scores", "s3://bucket", "lake/shop__scores"),
        ("s3a://bucket/lake/shop__scores/", "s3://bucket", "lake/shop__scores"),
        ("s3://bucket", "s3://bucket", "/"),
    ],
)
def test_tables_and_files(address: str, namespace: str, name: str) -> None:
    assert file_name(address) == Name(namespace, name)


@pytest.mark.parametrize(
    ("tracking", "namespace", "name"),
    [
        ("http://mlflow:5000", "mlflow://mlflow:5000", "models/shop"),
        ("https://me:secret@mlflow.example.com", "mlflow://mlflow.example.com:443", "models/shop"),
        ("https://example.com/tracking/", "mlflow://example.com:443", "tracking/models/shop"),
        ("postgresql+psycopg2://me:secret@db:5432/mlflow", "mlflow://db:5432", "mlflow/models/shop"),
        ("sqlite:////srv/mlflow.db", "file", "/srv/mlflow.db/models/shop"),
        ("/srv/mlruns", "file", "/srv/mlruns/models/shop"),
        ("sqlite:////srv/a #1?/mlflow.db", "file", "/srv/a #1?/mlflow.db/models/shop"),
    ],
)
def test_models_by_their_registry_and_never_with_a_user(tracking: str, namespace: str, name: str) -> None:
    assert model_name(tracking, "shop") == Name(namespace, name)


def test_an_id_follows_from_the_run_alone() -> None:
    assert run_id_of("a", "b") == run_id_of("a", "b")
    assert len({run_id_of("a", "b"), run_id_of("b", "a"), run_id_of("ab"), run_id_of("a", "b", "")}) == 4
    assert uuid.UUID(run_id_of("a")).version == 5


def test_every_step_of_the_plan_says_what_it_reads_and_writes(repository) -> None:
    from tallywright.spec import load_project

    other = Counterpart(name="dev", storage=Storage(lake="dev"), tracking=Tracking(uri="sqlite:///dev.db"))
    production = Environment(name="prod", registries=Registries(here=Here.PRODUCTION, training=other))
    sets = [(), ("registry.approval=person",), ("rollout={stages: [{stage: shadow, days: 7}]}",)]
    specs = [load_project("flight_delays", root=repository, overrides=given).spec for given in sets]
    steps = {
        one.name
        for spec in specs
        for pipeline in Pipeline
        for environment in (None, production)
        for step in plan(spec, pipeline, environment)
        for one in (step, *step.parts)
        if one.actor is Actor.COMMAND
    }
    assert FLOWS.keys() == steps
    assert GATES.keys() <= steps
