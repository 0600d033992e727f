"""The compose file against the specification's own parser, and against the rules that a stack of ours keeps."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
from compose_spec import PyCompose
from containers import Stage, interpolated, load_compose, read_env, variables

from tallywright.spec import load_project

ONE_SHOT = "service_completed_successfully"


@pytest.fixture
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(compose["services"])


def dependencies(service: dict[str, Any]) -> dict[str, str]:
    return {name: how["condition"] for name, how in service.get("depends_on", {}).items()}


def one_shots(services: dict[str, dict[str, Any]]) -> set[str]:
    return {name for service in services.values() for name, how in dependencies(service).items() if how == ONE_SHOT}


def test_it_is_valid(compose: dict[str, Any]) -> None:
    assert set(PyCompose.from_json(json.dumps(compose)).service_names()) == set(compose["services"])


def test_the_parser_refuses_what_compose_would(compose: dict[str, Any]) -> None:
    compose = json.loads(json.dumps(compose))
    compose["services"]["store"]["heathcheck"] = {}
    with pytest.raises(ValueError, match="heathcheck"):
        PyCompose.from_json(json.dumps(compose))


def test_every_image_is_pinned_or_built_here(
    services: dict[str, dict[str, Any]], stages: dict[str, Stage], folder: Path
) -> None:
    built = {service["image"] for service in services.values() if "build" in service}
    for service in services.values():
        name, _, tag = service["image"].rpartition(":")
        assert name
        assert re.search(r"\d+\.\d+", tag)
        assert name.startswith("tallywright/") == (service["image"] in built)
        if "build" in service:
            assert service["build"]["target"] in stages
            assert (folder / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_every_service_has_a_health_check_or_ends(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        if name in one_shots(services):
            assert service["restart"] == "no"
            assert "healthcheck" not in service
        else:
            assert service["restart"] == "unless-stopped"
            check = service["healthcheck"]
            assert check["test"][0] in ("CMD", "CMD-SHELL")
            assert {"interval", "timeout", "retries", "start_period"} <= set(check)


def test_dependencies_exist_and_are_waited_for(services: dict[str, dict[str, Any]]) -> None:
    ended = one_shots(services)
    for service in services.values():
        for name, condition in dependencies(service).items():
            assert name in services
            assert condition == (ONE_SHOT if name in ended else "service_healthy")


def test_nothing_is_privileged(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert not set(service) & {"privileged", "pid", "ipc", "userns_mode", "devices"}
        assert service.get("network_mode", "service:store") == "service:store"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not any("docker.sock" in volume for volume in service.get("volumes", ()))
    assert {name for name, service in services.items() if "cap_add" in service} == {"postgres"}


def test_ports_are_published_to_this_machine_alone(services: dict[str, dict[str, Any]]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert published
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)
    assert len({port.split(":")[1] for port in published}) == len(published)


def test_only_who_holds_the_stores_key_reaches_the_store(services: dict[str, dict[str, Any]]) -> None:
    """Its master, its volumes and its filer ask for no key: they stay on the loopback of its container."""
    inside = {name for name, service in services.items() if "lake" in service.get("networks", ())}
    holding = {name for name, service in services.items() if "AWS_SECRET_ACCESS_KEY" in service.get("environment", {})}
    assert inside == holding
    assert {name for name, service in services.items() if "network_mode" in service} == {"store-buckets"}
    assert services["store"]["networks"] == ["lake"]
    bound = [word for word in services["store"]["command"] if "ip.bind=" in word or word.startswith("-ip=")]
    assert bound == ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.ip.bind=0.0.0.0"]


def test_volumes_are_declared_and_mounted_files_exist(compose: dict[str, Any], folder: Path) -> None:
    used = set()
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source, target = volume.split(":")[:2]
            assert target.startswith("/")
            if source.startswith("."):
                assert (folder / source).exists(), source
                assert volume.endswith(":ro")
            else:
                used.add(source)
    assert used == set(compose["volumes"])


def test_every_service_has_limits(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert {"cpus", "memory"} == set(service["deploy"]["resources"]["limits"])


def test_every_variable_stands_in_the_example(folder: Path, example: str) -> None:
    asked = variables((folder / "compose.yaml").read_text(encoding="utf-8"))
    assert asked == set(re.findall(r"^#?([A-Z0-9_]+)=", example, flags=re.MULTILINE))


def test_no_secret_is_committed_and_none_has_a_default(folder: Path, example: str) -> None:
    secret = {name for name, value in read_env(example).items() if re.search("PASSWORD|KEY|SECRET", name)}
    assert secret == {name for name, value in read_env(example).items() if not value}
    for name in secret:
        without = {other: "x" for other in read_env(example) if other != name}
        with pytest.raises(KeyError, match=f"{name}: run python3 docker/make_env.py"):
            load_compose(folder / "compose.yaml", without)
    tracked = subprocess.run(
        ["git", "ls-files", "docker"], cwd=folder.parent, capture_output=True, text=True, check=False
    )
    assert "docker/.env" not in tracked.stdout.split()
    ignored = (folder.parent / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "docker/.env" in ignored


def test_secrets_reach_only_those_who_need_them(services: dict[str, dict[str, Any]], dotenv: dict[str, str]) -> None:
    """Airflow's API server and DAG processor cannot read the lake; nobody but Postgres knows its superuser."""

    def who(name: str) -> set[str]:
        return {service for service, values in services.items() if dotenv[name] in json.dumps(values)}

    assert who("POSTGRES_PASSWORD") == {"postgres"}
    assert who("STORE_SECRET_KEY") == {"store", "mlflow", "spark-worker", "airflow-scheduler"}
    assert who("AIRFLOW_ADMIN_PASSWORD") == {"airflow-api"}
    assert who("MLFLOW_DB_PASSWORD") == {"postgres", "mlflow"}
    for service in services.values():
        words = [*service.get("command", ()), *service.get("healthcheck", {}).get("test", ())]
        secret = {value for name, value in dotenv.items() if re.search("PASSWORD|KEY|SECRET", name)}
        assert not any(value in word for word in words for value in secret)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("${A}", "1"), ("${A:-2}", "1"), ("${B:-2}", "2"), ("${B:-}", ""), ("$$A", "$A"), ("${A:?no}", "1"), ("A", "A")],
)
def test_variables_are_replaced_as_compose_does(text: str, expected: str) -> None:
    assert interpolated(text, {"A": "1"}) == expected


def test_the_overlay_points_at_the_services(
    repository: Path, services: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = services["airflow-scheduler"]
    for name, value in scheduler["environment"].items():
        if not name.startswith("AIRFLOW"):
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("TALLYWRIGHT_ROOT")
    project = load_project("flight_delays", root=repository)
    environment = project.environment
    assert environment.name == "compose"
    options = {name: value.get_secret_value() for name, value in environment.storage.options.items()}
    assert options["AWS_ENDPOINT_URL"] == "http://store:8333"
    assert options["AWS_SECRET_ACCESS_KEY"] == scheduler["environment"]["AWS_SECRET_ACCESS_KEY"]
    assert environment.tracking.uri == "http://mlflow:5000"
    assert environment.storage.lake.split("/")[2] in services["store-buckets"]["command"]
    assert environment.engine.pool_slots == int(scheduler["environment"]["TALLYWRIGHT_POOL_SLOTS"])
    shared = "tallywright:/var/lib/tallywright"
    assert all(shared in services[name]["volumes"] for name in ("airflow-scheduler", "spark-worker"))
    assert environment.storage.work == "/var/lib/tallywright/work"
    for address in (options["AWS_ENDPOINT_URL"], environment.tracking.uri):
        host, port = address.removeprefix("http://").split(":")
        assert any(published.endswith(f":{port}") for published in services[host]["ports"])


def test_the_env_is_made_once_and_kept_private(folder: Path, tmp_path: Path, example: str) -> None:
    main = runpy.run_path(str(folder / "make_env.py"))["main"]
    (tmp_path / ".env.example").write_text(example, encoding="utf-8")
    assert main(tmp_path) is None
    made = tmp_path / ".env"
    assert made.stat().st_mode & 0o777 == 0o600
    values = read_env(made.read_text(encoding="utf-8"))
    assert all(values.values())
    assert set(values) == set(read_env(example))
    assert len(set(values.values())) == len(values)
    assert "is there already" in main(tmp_path)
    assert read_env(made.read_text(encoding="utf-8")) == values
