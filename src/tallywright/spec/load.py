"""Reading a project: base file, environment overlay, `--set` overrides, one validation that names every problem."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from tallywright.errors import SpecError, UsageError, did_you_mean
from tallywright.spec.base import Section
from tallywright.spec.environment import Environment
from tallywright.spec.model import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

ENVIRONMENT_VARIABLE = "TALLYWRIGHT_ENV"
ROOT_VARIABLE = "TALLYWRIGHT_ROOT"

_Section = TypeVar("_Section", bound=Section)


@dataclass(frozen=True, slots=True)
class Project:
    """A model project as loaded: its spec, its folder, the environment it runs in."""

    spec: ModelSpec
    folder: Path
    root: Path
    environment: Environment

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
    return _assemble(base, file, _overlay_file(base, environment), overrides)


def load_environment(*, root: Path | None = None, environment: str | None = None) -> Environment:
    """The environment alone, for commands that are about no single model.

    Raises:
        UsageError: No such environment.
        SpecError: The overlay is not valid.
    """
    base = project_root(root)
    file = _overlay_file(base, environment)
    overlay = _read(file)
    problems = _strangers(base, file, overlay.pop("models", None))
    env = _validate(Environment, {"name": file.stem} | overlay, file, problems)
    if problems or env is None:
        raise _invalid(problems, f"correct {file}")
    return env.resolved(base)


def _overlay_file(base: Path, environment: str | None) -> Path:
    name = environment or os.environ.get(ENVIRONMENT_VARIABLE) or "local"
    file = base / "conf" / f"{name}.yaml"
    if not file.is_file():
        known = sorted(path.stem for path in (base / "conf").glob("*.yaml"))
        raise _unknown("environment", name, known, f"{base / 'conf'}/*.yaml")
    return file


def _assemble(base: Path, file: Path, overlay_file: Path, overrides: Sequence[str]) -> Project:
    overlay = _read(overlay_file)
    model_layer = overlay.pop("models", None)
    spec_sets = [text for text in overrides if not text.startswith("environment.")]
    environment_sets = [text.removeprefix("environment.") for text in overrides if text.startswith("environment.")]
    name = file.parent.name
    problems = _strangers(base, overlay_file, model_layer)
    spec = _validate(ModelSpec, _merged(file, _read(file), _layer_of(model_layer, name), spec_sets), file, problems)
    values = {"name": overlay_file.stem} | _merged(overlay_file, overlay, {}, environment_sets)
    env = _validate(Environment, values, overlay_file, problems)
    if spec is not None and spec.name != name:
        problems.append(f"{file}: name: found {spec.name!r}; expected {name!r}, the folder's name")
    if problems or spec is None or env is None:
        raise _invalid(problems, f"correct the file, then `tally validate {name}`")
    return Project(spec=spec, folder=file.parent, root=base, environment=env.resolved(base))


def _strangers(base: Path, file: Path, models: object) -> list[str]:
    """What is wrong with an overlay's section `models`: a layer for a model that is not there would be lost."""
    if models is None:
        return []
    if not isinstance(models, dict):
        return [f"{file}: models: found {models!r}; expected a mapping of model names to the keys they change"]
    known = model_names(base)
    return [
        f"{file}: models.{name}: no such model{did_you_mean(str(name), known)}; "
        f"there are: {', '.join(known) or 'none yet'}"
        for name in models
        if name not in known
    ]


def _layer_of(models: object, name: str) -> dict[str, Any]:
    layer = models.get(name) if isinstance(models, dict) else None
    return layer if isinstance(layer, dict) else {}


def _invalid(problems: list[str], remedy: str) -> SpecError:
    return SpecError(
        f"{len(problems)} problem{'s' if len(problems) != 1 else ''} in the spec:\n"
        + "\n".join(f"  - {problem}" for problem in problems),
        remedy=remedy,
    )


def _unknown(what: str, name: str, known: list[str], where: str) -> UsageError:
    return UsageError(
        f"no {what} {name!r}{did_you_mean(name, known)}",
        expected=f"one of {', '.join(known) or 'none yet'}, from {where}",
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        config = OmegaConf.load(file)
        if not isinstance(config, DictConfig):
            raise SpecError(f"{file}: found a {type(config).__name__}; expected a mapping of sections")
        values: dict[Any, Any] = OmegaConf.to_container(config, resolve=True) or {}  # type: ignore[assignment]
    except SpecError:
        raise
    except (OmegaConfBaseException, OSError, ValueError) as error:
        raise SpecError(f"{file}: {error}", expected="readable YAML") from error
    except Exception as error:
        if type(error).__module__.startswith("yaml"):
            raise SpecError(f"{file}: {error}", expected="valid YAML") from error
        raise
    return {str(key): value for key, value in values.items()}


def _merged(file: Path, base: dict[str, Any], layer: dict[str, Any], sets: Sequence[str]) -> dict[str, Any]:
    for text in sets:
        if "=" not in text or text.startswith("="):
            raise UsageError(f"--set {text!r} has no value", expected="--set section.key=value")
    try:
        merged = OmegaConf.merge(OmegaConf.create(base), OmegaConf.create(layer), OmegaConf.from_dotlist(list(sets)))
        values = OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        raise SpecError(f"{file}: {error}", expected="overrides that fit the file's structure") from error
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


def _validate(cls: type[_Section], values: dict[str, Any], file: Path, problems: list[str]) -> _Section | None:
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        problems.extend(f"{file}: {_explain(cls, detail)}" for detail in error.errors())
        return None


def _explain(cls: type[Section], detail: ErrorDetails) -> str:
    path = ".".join(str(part) for part in detail["loc"]) or "(whole file)"
    found = detail["input"]
    if detail["type"] == "extra_forbidden":
        allowed = _allowed_keys(cls, detail["loc"][:-1])
        hint = did_you_mean(str(detail["loc"][-1]), allowed)
        return f"{path}: unknown key{hint}; allowed here: {', '.join(allowed)}"
    if detail["type"] == "missing":
        return f"{path}: missing; it has no default, please give it"
    message = detail["msg"].removeprefix("Value error, ")
    secret = detail["loc"][:1] == ("storage",) and ("options" in detail["loc"] or isinstance(found, dict))
    if secret or (isinstance(found, dict) and len(str(found)) > 80):  # noqa: PLR2004 - a whole section says nothing
        return f"{path}: {message}"
    return f"{path}: found {found!r}; {message}"


def _allowed_keys(cls: type[Section], loc: tuple[int | str, ...]) -> list[str]:
    """The keys of the section at `loc`; dictionary levels (such as `data.sources.<name>`) are walked through."""
    current: Any = cls
    for part in loc:
        field = getattr(current, "model_fields", {}).get(part) if isinstance(current, type) else None
        annotation = field.annotation if field is not None else current
        current = _section_in(annotation)
        if current is None:
            return []
    return sorted(current.model_fields)


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section_in(inner)
        if found is not None:
            return found
    return None
