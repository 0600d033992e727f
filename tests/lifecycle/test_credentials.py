"""Two MLflow servers with accounts of their own: who lacks those of production cannot promote; training may read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from auth_server import AuthServer, auth_server
from two_sides import DAY, Registry, TwoSides

from tallywright.errors import TrackingError
from tallywright.lifecycle.steps.gates import champion_of
from tallywright.mlflow_client import TrackingRefusedError, mlflow_client

pytestmark = [pytest.mark.slow, pytest.mark.long]

DAY_AFTER = DAY + timedelta(days=1)
IN_DEV, IN_PROD, READER = "dev's @pass/word:1", "prod's ?pass&word#2", "reader's-password"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AuthServer, AuthServer]]:
    folder = tmp_path_factory.mktemp("servers")
    with auth_server(folder / "dev", IN_DEV) as dev, auth_server(folder / "prod", IN_PROD) as prod:
        prod.add_user("reader", READER)
        yield dev, prod


@pytest.fixture(scope="module")
def sides(
    servers: tuple[AuthServer, AuthServer], tmp_path_factory: pytest.TempPathFactory, empty_store: Path
) -> TwoSides:
    dev, prod = servers
    return TwoSides(
        tmp_path_factory.mktemp("sides") / "two",
        empty_store,
        dev=Registry(dev.uri, "admin", IN_DEV),
        prod=Registry(prod.uri, "admin", IN_PROD),
        read=Registry(prod.uri, "reader", READER),
    )


def test_who_lacks_the_credentials_of_production_cannot_promote(
    sides: TwoSides, servers: tuple[AuthServer, AuthServer]
) -> None:
    dev, prod = servers
    own = Registry(dev.uri, "admin", IN_DEV)
    right = Registry(prod.uri, "admin", IN_PROD)
    first = sides.trained(1)

    def refused(version: int, given: Registry, status: str) -> None:
        sides.write("prod", given, "production", "training", "dev", own)
        lake = {path for path in (sides.root / "prod/lake").rglob("*") if "verified" not in str(path)}
        runs = _runs(prod)
        done = sides.promoted_by_command(version)
        assert done.returncode == TrackingError.exit_code, done.stderr
        assert f"MLflow at {prod.uri}" in done.stderr.replace("***@", "")
        assert "refuses to" in done.stderr
        assert status in done.stderr
        for secret in (IN_DEV, IN_PROD, READER, "not it at all"):
            assert secret not in done.stdout + done.stderr
        assert {path for path in (sides.root / "prod/lake").rglob("*") if "verified" not in str(path)} == lake
        assert _runs(prod) == runs
        doctor = sides.tally("doctor", "--json")
        (check,) = [one for one in json.loads(doctor.stdout) if one["check"] == "tracking"]
        assert (check["verdict"] == "fail") == (status == "401")

    # Whom the server does not know: a wrong password, and the account of dev.
    refused(1, Registry(prod.uri, "admin", "not it at all"), "401")
    refused(1, Registry(prod.uri, "admin", IN_DEV), "401")

    sides.write("prod", right, "production", "training", "dev", own)
    # Credentials of the address win over those of the process.
    process = dict.fromkeys(("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"), "nobody")
    done = sides.promoted_by_command(1, **process)
    assert done.returncode == 0, done.stderr
    assert [row.package_digest for row in sides.rows("prod")] == [first.package_digest]

    # Whom it knows, and lets read: the account by which training reads the champion.
    second = sides.trained(2, champion=first.package_digest)
    champion = champion_of(sides.context("dev"))
    assert champion is not None
    assert champion.digest == first.package_digest
    refused(2, Registry(prod.uri, "reader", READER), "403")
    assert len(sides.promotions()) == 1

    sides.write("prod", right, "production", "training", "dev", own)
    assert sides.tally("doctor", "--json").returncode == 0
    doctor = json.loads(sides.tally("doctor", "--json", env="dev").stdout)
    assert {one["check"]: one["verdict"] for one in doctor if one["check"].endswith("of prod")} == {
        "lake of prod": "pass",
        "tracking of prod": "pass",
    }
    assert sides.promote(2, DAY_AFTER)["package_digest"] == second.package_digest


def test_what_a_server_refuses_is_not_tried_again(servers: tuple[AuthServer, AuthServer]) -> None:
    with pytest.raises(TrackingRefusedError) as caught, mlflow_client(servers[1].uri) as client:
        client.search_registered_models(max_results=1)
    assert not caught.value.retryable
    assert "tracking.username" in caught.value.remedy


def _runs(prod: AuthServer) -> int:
    """How many runs the registry of production has."""
    from urllib.parse import quote

    address = prod.uri.replace("://", f"://admin:{quote(prod.password, safe='')}@")
    with mlflow_client(address) as client:
        found = client.search_experiments()
        return len(client.search_runs([one.experiment_id for one in found]))
