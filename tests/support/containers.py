"""Reading docker/: the compose file as Compose reads it, the Dockerfile stage by stage, the example of the .env."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<text>[^}]*))?\})")


def read_env(text: str) -> dict[str, str]:
    """The variables of a .env file, comments left out."""
    lines = (line.strip() for line in text.splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def variables(text: str) -> set[str]:
    """The names of all variables that a compose file asks for."""
    return {found["name"] for found in VARIABLE.finditer(text) if found["name"]}


def interpolated(text: str, values: dict[str, str]) -> str:
    """`${NAME}`, `${NAME:-default}`, `${NAME:?error}` and `$$` as Compose replaces them; an unknown name raises."""

    def value(found: re.Match[str]) -> str:
        if not found["name"]:
            return "$"
        given = values.get(found["name"], "")
        if given or (found["kind"] is None and found["name"] in values):
            return given
        if found["kind"] == ":-":
            return str(found["text"])
        raise KeyError(f"{found['name']}: {found['text'] or 'not set'}")

    return VARIABLE.sub(value, text)


def load_compose(file: Path, values: dict[str, str]) -> dict[str, Any]:
    """The compose file with merge keys and variables resolved; like Compose, in its strings and not in its text."""

    def resolved(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: resolved(value) for name, value in node.items()}
        if isinstance(node, list):
            return [resolved(value) for value in node]
        return interpolated(node, values) if isinstance(node, str) else node

    return dict(resolved(yaml.safe_load(file.read_text(encoding="utf-8"))))


@dataclass
class Stage:
    """One stage of a Dockerfile: its name, what it starts from, and its instructions in order."""

    name: str
    parent: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [text for name, text in self.instructions if name == word]


def read_stages(file: Path) -> dict[str, Stage]:
    """The stages of a Dockerfile by name; the ARGs before the first one stand in the stage `""`."""
    text = re.sub(r"^\s*#.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    stages = {"": Stage("", "")}
    current = stages[""]
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if not line.strip():
            continue
        word, rest = line.strip().split(None, 1)
        if word.upper() == "FROM":
            parent, _, name = rest.partition(" AS ")
            current = stages[name] = Stage(name, parent)
        else:
            current.instructions.append((word.upper(), " ".join(rest.split())))
    return stages


def lineage(stages: dict[str, Stage], name: str) -> list[Stage]:
    """A stage and what it is built from, itself last."""
    found = [stages[name]]
    while found[0].parent in stages:
        found.insert(0, stages[found[0].parent])
    return found


@dataclass(frozen=True)
class Copied:
    """One COPY: from where (another stage, or "" for the build context), what, to where."""

    stage: str
    sources: tuple[str, ...]
    target: str


def copies(stage: Stage) -> list[Copied]:
    """The COPY instructions of a stage."""
    found = []
    for text in stage.all("COPY"):
        words = shlex.split(text)
        origin = next((word.partition("=")[2] for word in words if word.startswith("--from=")), "")
        *sources, target = [word for word in words if not word.startswith("--")]
        found.append(Copied(origin, tuple(sources), target))
    return found
