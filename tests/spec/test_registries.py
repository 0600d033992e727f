"""What `registries` in an overlay may say: one registry, or two that differ, each with credentials of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tallywright.errors import UsageError
from tallywright.redaction import without_credentials
from tallywright.spec.environment import Environment, Here, Tracking
from tallywright.spec.load import Overlay
from tallywright.spec.places import plain_address

OTHER: dict[str, Any] = {
    "name": "prod",
    "storage": {"lake": "prod/lake"},
    "tracking": {"uri": "https://prod", "username": "reader"},
}


def environment(**registries: Any) -> Environment:
    own = {"storage": {"lake": "dev/lake"}, "tracking": {"uri": "https://dev", "username": "trainer"}}
    return Environment.model_validate({"name": "dev", "registries": registries, **own})


def test_without_a_word_there_is_one_registry() -> None:
    here = Environment(name="local")
    assert here.registries.here is Here.BOTH
    assert here.in_production is here
    assert here.in_training is here
    assert not here.trained_in
    assert not here.is_other_side


def test_a_side_knows_where_the_other_is(tmp_path: Path) -> None:
    here = environment(here="training", production=OTHER).resolved(tmp_path)
    assert here.trained_in == "dev"
    assert here.in_training is here
    there = here.in_production
    assert there.is_other_side
    assert (there.storage.lake, there.tracking.uri) == (f"{tmp_path}/prod/lake", "https://prod")
    assert there.storage.cache == here.storage.cache
    assert there.in_production.storage == there.storage


@pytest.mark.parametrize(
    ("registries", "found"),
    [
        ({"here": "training"}, "here: training needs it"),
        ({"here": "production", "production": OTHER}, "here: production has no such other side"),
        ({"here": "both", "training": OTHER}, "here: both has no such other side"),
        ({"production": OTHER}, "here: both has no such other side"),
        ({"here": "training", "production": OTHER | {"name": "dev"}}, "called dev, as this environment is"),
        ({"here": "training", "production": OTHER | {"name": "--key"}}, "pattern"),
        (
            {"here": "training", "production": OTHER | {"storage": {"lake": "./dev/lake/"}}},
            "storage.lake of prod is this environment's own; with one registry, say `registries: {here: both}`",
        ),
        (
            {"here": "training", "production": OTHER | {"tracking": {"uri": "https://someone:secret@dev/"}}},
            "tracking.uri of prod is this environment's own",
        ),
        (
            {"here": "training", "production": OTHER | {"tracking": {"uri": "https://prod"}}},
            "a server of the other side needs credentials of its own",
        ),
        (
            {"here": "training", "production": OTHER | {"storage": {"lake": "s3://prod/lake", "connection": "aws"}}},
            "it is for this side's lake",
        ),
    ],
)
def test_what_makes_no_two_sides_is_refused(registries: dict[str, Any], found: str) -> None:
    with pytest.raises(ValidationError) as caught:
        environment(**registries)
    assert found in str(caught.value)


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("dev/x/../lake", "dev//./lake/", True),
        ("/a/lake", "//a/./lake", True),
        ("/a/lake", "file:///a/lake", True),
        ("s3://dev/lake", "s3a://dev//x/../lake/", True),
        ("s3://dev/lake", "s3://prod/lake", False),
        ("https://dev", "https://Bob:secret@DEV:443/", True),
        ("http://dev/", "http://dev:80/./", True),
        ("http://dev", "http://dev:443", False),
        ("http://dev:8080", "http://dev:80", False),
        ("https://dev/a", "https://dev/A", False),
        ("sqlite:///dev/mlflow.db", "sqlite:///dev/./mlflow.db?timeout=9", True),
        ("sqlite:////dev/mlflow.db", "sqlite:///dev/mlflow.db", False),
        ("postgresql://a@db/mlflow", "postgresql+psycopg2://b@db:5432/mlflow", True),
        ("postgresql://db/mlflow", "postgresql://db/other", False),
    ],
)
def test_an_address_has_one_plain_form(one: str, two: str, *, same: bool) -> None:
    assert (plain_address(one) == plain_address(two)) is same


@pytest.mark.parametrize(
    ("name", "own", "other"),
    [
        ("storage.lake", {"storage": {"lake": "dev/lake"}}, {"storage": {"lake": "{root}/x/../dev/lake"}}),
        (
            "tracking.uri",
            {"tracking": {"uri": "sqlite:///dev/mlflow.db"}},
            {"tracking": {"uri": "sqlite:///{root}//dev/mlflow.db"}},
        ),
    ],
)
def test_a_relative_and_an_absolute_path_to_one_place_are_refused(
    tmp_path: Path, name: str, own: dict[str, Any], other: dict[str, Any]
) -> None:
    ((section, values),) = other.items()
    placed = {section: {key: text.replace("{root}", str(tmp_path)) for key, text in values.items()}}
    here = Environment.model_validate(
        {"name": "dev", "registries": {"here": "training", "production": OTHER | placed}, **own}
    )
    with pytest.raises(UsageError, match=f"{name} of prod is this environment's own"):
        here.resolved(tmp_path)


def test_credentials_are_part_of_the_address_for_mlflow_alone() -> None:
    tracking = Tracking.model_validate({"uri": "https://mlflow/base", "username": "a b@c", "password": "p/w:d@#"})
    assert tracking.address == "https://a%20b%40c:p%2Fw%3Ad%40%23@mlflow/base"
    assert tracking.uri == "https://mlflow/base"
    assert "p/w" not in repr(tracking)
    assert Tracking(uri="sqlite:///mlflow.db").address == "sqlite:///mlflow.db"


@pytest.mark.parametrize(
    "tracking",
    [
        {"uri": "sqlite:///mlflow.db", "username": "ann"},
        {"uri": "https://bob:secret@mlflow", "username": "ann"},
        {"uri": "https://mlflow", "password": "without a name"},
    ],
)
def test_a_user_is_of_a_server_and_named_once(tracking: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"username"):
        Tracking.model_validate(tracking)


def test_the_passwords_of_an_overlay_are_taken_out_of_every_text(tmp_path: Path) -> None:
    from tallywright.spec.load import read_overlay

    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/dev.yaml").write_text(
        "tracking: {uri: 'https://dev', username: trainer, password: 'hard to/guess'}\n"
        "registries:\n  here: training\n  production:\n    name: prod\n    storage: {lake: prod}\n"
        "    tracking: {uri: 'https://prod', username: reader, password: 'quite another'}\n"
    )
    overlay: Overlay = read_overlay(tmp_path, "dev")
    made, problems = overlay.environment()
    assert made is not None
    assert not problems
    said = f"{made.tracking.address} {made.in_production.tracking.address} hard to/guess quite another"
    shown = without_credentials(said)
    for secret in ("hard to/guess", "hard%20to%2Fguess", "quite another", "quite%20another"):
        assert secret not in shown
