"""Loads a project: base file, environment overlay, `--set` overrides, one validation that names every problem.

What an absent key means depends on the `spec_version` of a `model.yaml`. A spec without that key is of version 1, and
means what it meant to the first release: the defaults in the sections' classes, which therefore never change. A default
that turned out wrong gets a line in `DEFAULTS`, and holds for the specs that ask for its version; `tally init` writes
the newest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ValidationError

from tallywright.errors import SpecError, UsageError, did_you_mean
from tallywright.observability import log
from tallywright.redaction import HIDDEN, keep_secrets
from tallywright.spec.base import Section
from tallywright.spec.model import ModelSpec
from tallywright.spec.yaml_files import Environment, merged, read_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

_Section = TypeVar("_Section", bound=Section)
KEY: Final = "spec_version"
DEFAULTS: Final[Mapping[str, Mapping[int, Any]]] = {}
"""Path of a key, such as `gates.bootstrap`, to its default from a version on."""
ENVIRONMENT_VARIABLE = "TALLYWRIGHT_ENV"
ROOT_VARIABLE = "TALLYWRIGHT_ROOT"
SET: Final = "--set"
_KINDS: Final[Mapping[type, str]] = {
    str: "a text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    dict: "a mapping",
    list: "a list",
    type(None): "nothing",
}
"""What is said of a value in the overlay instead of it: it may be a secret, in its own place or in a wrong one."""


def validated(
    cls: type[_Section], values: dict[str, Any], file: Path, problems: list[str], sets: Sequence[str] = ()
) -> _Section | None:
    """The validated section; None when the values do not fit, and their problems are added to `problems`.

    Args:
        cls: What is expected.
        values: The merged layers.
        file: What a problem is blamed on, unless the value came from one of `sets`.
        problems: Gets a line for each problem.
        sets: The `--set` texts in the values.
    """
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        for detail in error.errors():
            origin = _origin(file, ".".join(str(part) for part in detail["loc"]), sets)
            problems.extend(f"{origin}: {text}" for text in _explain(cls, detail))
        return None


def _origin(file: Path, path: str, sets: Sequence[str]) -> str:
    """What a problem at a path is blamed on: the `--set` that gave the value, else the file.

    A problem of a section, of which a part was set, may come from either.
    """
    for text in reversed(sets):
        key = _key(text)
        if key == path or path.startswith(f"{key}."):
            return f"{SET} {text}"
    near = [text for text in sets if not path or text.startswith(f"{path}.")]
    return f"{file} with {', '.join(f'{SET} {text}' for text in near)}" if near else str(file)


def _key(text: str) -> str:
    """The key of a `--set` text."""
    return text.partition("=")[0].strip()


def _remedy(problems: Sequence[str], command: str) -> str:
    """What to correct: the file, the `--set` texts, or both."""
    typed = [SET in problem for problem in problems]
    what = SET if all(problem.startswith(f"{SET} ") for problem in problems) else "the file"
    return f"correct {what}{f' or {SET}' if any(typed) and what != SET else ''}, then {command}"


def refusal(problems: list[str], remedy: str) -> SpecError:
    """A SpecError that lists all problems."""
    return SpecError(
        f"{len(problems)} problem{'s' if len(problems) != 1 else ''} in the spec:\n"
        + "\n".join(f"  - {problem}" for problem in problems),
        remedy=remedy,
    )


def _explain(cls: type[Section], detail: ErrorDetails) -> list[str]:
    """A line for each mistake; a validator of a whole section gives one text with a line for each."""
    path = ".".join(str(part) for part in detail["loc"]) or "(whole file)"
    found = detail["input"]
    if detail["type"] == "extra_forbidden":
        allowed = _allowed_keys(cls, detail["loc"][:-1])
        hint = did_you_mean(str(detail["loc"][-1]), allowed)
        return [f"{path}: unknown key{hint}; allowed here: {', '.join(allowed)}"]
    if detail["type"] == "missing":
        return [f"{path}: missing; it has no default, please give it"]
    message = detail["msg"].removeprefix("Value error, ")
    if isinstance(found, dict) and len(str(found)) > 80:  # noqa: PLR2004 - a whole section says nothing
        return [f"{path}: {line}" for line in message.splitlines()]
    if cls is Environment and not _is_harmless(detail["loc"]):
        return [f"{path}: found {_KINDS.get(type(found), 'a value')}; {line}" for line in message.splitlines()]
    return [f"{path}: found {found!r}; {line}" for line in message.splitlines()]


def _is_harmless(loc: tuple[int | str, ...]) -> bool:
    """True for a place of the overlay in which nobody would write an address, a key or a password."""
    return loc[:1] == ("engine",) and not {"conf", "options"} & set(loc)


def _allowed_keys(cls: type[Section], loc: tuple[int | str, ...]) -> list[str]:
    """The keys of the section at `loc`; dictionary levels (such as `data.sources.<name>`) are walked through."""
    current: Any = cls
    for part in loc:
        field = getattr(current, "model_fields", {}).get(part) if isinstance(current, type) else None
        annotation = field.annotation if field is not None else current
        current = section_in(annotation)
        if current is None:
            return []
    return sorted(current.model_fields)


def section_in(annotation: Any) -> type[Section] | None:
    """The section in a field's annotation, through unions and containers; None when there is none."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = section_in(inner)
        if found is not None:
            return found
    return None


def with_defaults(values: dict[str, Any], defaults: Mapping[str, Mapping[int, Any]] = DEFAULTS) -> dict[str, Any]:
    """Fills absent keys with the defaults of the spec's version; they count as given from here on.

    Args:
        values: As they stand in the files, not validated.
        defaults: By path and version.
    """
    version = values.get(KEY, 1)
    if not isinstance(version, int):
        return values
    for path, by_version in defaults.items():
        reached = [since for since in by_version if since <= version]
        if reached:
            values = _filled(values, path.split("."), by_version[max(reached)], ModelSpec)
    return values


def corrected_defaults(spec: ModelSpec, values: Mapping[str, Any]) -> list[str]:
    """The defaults of the first release that are wrong for this spec: what holds instead, and the line to write."""
    gates = values.get("gates") or {}
    if spec.spec_version > 1 or spec.training.task == "binary" or "primary_metric" in gates:
        return []
    metric = spec.gates.primary_metric
    return [
        (
            f"gates.primary_metric is {metric}: the default was roc_auc, which is no metric of the task "
            f"{spec.training.task}; to say so yourself, write `gates: {{primary_metric: {metric}}}`"
        )
    ]


def sets_spec_version(layer: Mapping[str, Any], sets: Sequence[str] = ()) -> bool:
    """True when an overlay's layer or a `--set` text sets the spec version, which only the model's file may."""
    return KEY in layer or any(text.partition("=")[0].strip().split(".")[0] == KEY for text in sets)


def _filled(values: dict[str, Any], path: Sequence[str], default: Any, section: type[Section]) -> dict[str, Any]:
    head, *rest = path
    if not rest:
        return {head: default} | values
    field = section.model_fields[head]
    inner = values[head] if head in values else {} if isinstance(field.default, Section) else None
    below = section_in(field.annotation)
    if not isinstance(inner, dict) or below is None:
        # An optional section that is missing has no defaults; what is no section at all, validation refuses.
        return values
    return values | {head: _filled(inner, rest, default, below)}


@dataclass(frozen=True)
class Project:
    """A model project as loaded: its spec, its folder, the environment it runs in."""

    spec: ModelSpec
    folder: Path
    root: Path
    environment: Environment
    sets: tuple[str, ...] = ()
    """The `--set` texts in `spec`."""

    @cached_property
    def committed(self) -> ModelSpec:
        """The spec without `--set`: what the files say, `model.yaml` with the layer of its overlay.

        Approval, gates and the leak guard go by it: whoever promotes may say `--set`, and may change no file.
        """
        if not self.sets:
            return self.spec
        return load_project(self.folder.name, root=self.root, environment=self.environment.name).spec

    @property
    def expectations(self) -> Path:
        """The file of the day gate's expectation suite."""
        return self.root / "expectations" / self.spec.suite


def project_root(start: Path | None = None) -> Path:
    """The nearest folder, from `start` (or `$TALLYWRIGHT_ROOT`, or here) upwards, that has a `models` folder."""
    here = (start or Path(os.environ.get(ROOT_VARIABLE) or Path.cwd())).absolute()
    for folder in (here, *here.parents):
        if (folder / "models").is_dir():
            return folder
    raise UsageError(
        f"no `models` folder in {here} or above it",
        expected="a Tallywright project: models/, conf/, expectations/, dags/",
        remedy="change into the project, set TALLYWRIGHT_ROOT, or make a project with `tally init <folder>`",
    )


def model_names(root: Path | None = None) -> list[str]:
    """The names of all model projects under `root/models`, sorted."""
    return sorted(path.parent.name for path in (project_root(root) / "models").glob("*/model.yaml"))


def load_project(
    model: str,
    *,
    root: Path | None = None,
    environment: str | None = None,
    overrides: Sequence[str] = (),
) -> Project:
    """Loads one model project.

    Args:
        model: Folder name under `models/`.
        root: The project's root; found from the working directory when not given.
        environment: Name of the overlay in `conf/`; `$TALLYWRIGHT_ENV` or `local` when not given.
        overrides: `section.key=value` texts, applied last; a key under `environment.` goes to the overlay.

    Raises:
        UsageError: No such model or environment.
        SpecError: Anything wrong in the files, all problems in one message.
    """
    base = project_root(root)
    file = base / "models" / model / "model.yaml"
    if not file.is_file():
        raise _unknown("model", model, model_names(base), f"{base / 'models'}/*/model.yaml")
    spec_sets = [text for text in overrides if not text.startswith("environment.")]
    environment_sets = [text.removeprefix("environment.") for text in overrides if text.startswith("environment.")]
    overlay = read_overlay(base, environment)
    if sets_spec_version({}, spec_sets):
        raise SpecError(f"--set {KEY}=…", expected=f"{KEY} in {file} alone: it says what the keys of that file mean")
    values = merged(file, read_mapping(file), overlay.layer_of(model), spec_sets)
    return _guarded(assemble(file, values, overlay, overlay.environment(environment_sets), spec_sets))


def _guarded(project: Project) -> Project:
    """The project with the leak guard as its files have it: a `--set` does not turn it off."""
    if not project.spec.scoring.allow_leak or project.committed.scoring.allow_leak:
        return project
    log.warning("%s scoring.allow_leak=true has no effect: write it in %s", SET, project.folder / "model.yaml")
    scoring = project.spec.scoring.model_copy(update={"allow_leak": False})
    return replace(project, spec=project.spec.model_copy(update={"scoring": scoring}))


def load_environment(*, root: Path | None = None, environment: str | None = None) -> Environment:
    """The environment alone, for commands that are about no single model.

    Raises:
        UsageError: No such environment.
        SpecError: The overlay is not valid.
    """
    overlay = read_overlay(project_root(root), environment)
    found, problems = overlay.environment()
    if problems or found is None:
        raise refusal(problems, f"correct {overlay.file}")
    return found


@dataclass(frozen=True, slots=True)
class Overlay:
    """An environment's file: its own sections, and the layers that it lays over models."""

    root: Path
    file: Path
    values: dict[str, Any]
    models: object = None

    def layer_of(self, model: str) -> dict[str, Any]:
        """The keys that this environment changes in a model's spec."""
        layer = self.models.get(model) if isinstance(self.models, dict) else None
        return layer if isinstance(layer, dict) else {}

    def environment(self, sets: Sequence[str] = ()) -> tuple[Environment | None, list[str]]:
        """The environment with its paths made absolute (None when it is not valid), and all problems of the overlay."""
        problems = self._model_layer_problems()
        keep_secrets({_key(text): text.partition("=")[2] for text in sets})
        values = {"name": self.file.stem} | merged(self.file, self.values, {}, sets)
        shown = [text if _is_harmless(tuple(_key(text).split("."))) else f"{_key(text)}={HIDDEN}" for text in sets]
        found = validated(Environment, values, self.file, problems, shown)
        problems = [problem.replace(f"{SET} ", f"{SET} environment.") for problem in problems]
        return found and found.resolved(self.root), problems

    def _model_layer_problems(self) -> list[str]:
        """Problems of the section `models`: a layer for a model that does not exist would be ignored."""
        if self.models is None:
            return []
        if not isinstance(self.models, dict):
            found = f"{self.file}: models: found {_KINDS.get(type(self.models), 'a value')}"
            return [f"{found}; expected a mapping of model names to the keys they change"]
        known = model_names(self.root)
        return [
            f"{self.file}: models.{name}: no such model{did_you_mean(str(name), known)}; "
            f"there are: {', '.join(known) or 'none yet'}"
            for name in self.models
            if name not in known
        ]


def read_overlay(root: Path, environment: str | None = None) -> Overlay:
    """The overlay of that name; `$TALLYWRIGHT_ENV` or `local` when not given.

    Raises:
        UsageError: No such environment.
        SpecError: The file is no readable YAML mapping.
    """
    file = _overlay_file(root, environment)
    values = read_mapping(file)
    models = values.pop("models", None)
    keep_secrets(values)
    return Overlay(root, file, values, models)


def assemble(
    file: Path,
    values: dict[str, Any],
    overlay: Overlay,
    environment: tuple[Environment | None, list[str]],
    sets: Sequence[str] = (),
) -> Project:
    """A model project from the values of its layers.

    Args:
        file: Its `model.yaml`.
        values: All that was said about it, layers merged.
        overlay: Where it runs.
        environment: What `overlay` answers to that.
        sets: The `--set` texts in the values.

    Raises:
        SpecError: Anything wrong in spec or overlay, all problems in one message.
    """
    settings, elsewhere = environment
    problems, name = list(elsewhere), file.parent.name
    if sets_spec_version(overlay.layer_of(name)):
        problems.append(f"{overlay.file}: models.{name}.{KEY}: it stands in {file} alone, whose keys it is about")
    spec = validated(ModelSpec, with_defaults(values), file, problems, sets)
    if spec is not None:
        spec = _with_calendar(spec, file, problems)
    if spec is not None and spec.name != name:
        problems.append(f"{file}: name: found {spec.name!r}; expected {name!r}, the folder's name")
    if problems or spec is None or settings is None:
        raise refusal(problems, _remedy(problems, f"`tally validate {name}`"))
    for warning in corrected_defaults(spec, values):
        log.warning("%s: %s", file, warning)
    return Project(spec=spec, folder=file.parent, root=overlay.root, environment=settings, sets=tuple(sets))


def _with_calendar(spec: ModelSpec, file: Path, problems: list[str]) -> ModelSpec:
    """The spec with the closed dates of its calendar's file; what is wrong with that file is added to `problems`."""
    schedule = spec.schedule
    if schedule.closed.file is None:
        return spec
    try:
        closed = schedule.closed.read(file.parent)
    except SpecError as error:
        problems.append(f"{file}: {error.found}; expected {error.expected}")
        return spec
    return spec.model_copy(update={"schedule": schedule.model_copy(update={"closed": closed})})


def _overlay_file(base: Path, environment: str | None) -> Path:
    name = environment or os.environ.get(ENVIRONMENT_VARIABLE) or "local"
    file = base / "conf" / f"{name}.yaml"
    if not file.is_file():
        known = sorted(path.stem for path in (base / "conf").glob("*.yaml"))
        raise _unknown("environment", name, known, f"{base / 'conf'}/*.yaml")
    return file


def _unknown(what: str, name: str, known: list[str], where: str) -> UsageError:
    return UsageError(
        f"no {what} {name!r}{did_you_mean(name, known)}",
        expected=f"one of {', '.join(known) or 'none yet'}, from {where}",
    )
