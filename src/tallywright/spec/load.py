"""Loads a project: base file, environment overlay, `--set` overrides, one validation that names every problem."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from functools import cached_property, partial
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ValidationError

from tallywright.errors import SpecError, SpecProblem, UsageError, did_you_mean
from tallywright.observability import log
from tallywright.redaction import HIDDEN, keep_secrets
from tallywright.spec.base import Section
from tallywright.spec.checks import cross_checks, mismatches_in
from tallywright.spec.environment import Environment
from tallywright.spec.model import CHECKED_APART, ModelSpec
from tallywright.spec.places import leads_outside, real
from tallywright.spec.problems import SET, Layers, explained, key_of, refusal, remedy_of
from tallywright.spec.upgrade import KEY, corrected_defaults, moved_keys, with_defaults
from tallywright.spec.yaml_files import merged, read_mapping

if TYPE_CHECKING:
    from collections.abc import Sequence

_Section = TypeVar("_Section", bound=Section)
ENVIRONMENT_VARIABLE = "TALLYWRIGHT_ENV"
ROOT_VARIABLE = "TALLYWRIGHT_ROOT"
WEBHOOK: Final = ("alerts", "webhook_env")
"""A key of the first release, which stands in `conf/` now."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_OVERLAY: Final = re.compile(r"[^/\\\x00]{1,100}")
_LONGEST_SHOWN: Final = 60
_said: set[str] = set()


def validated(
    cls: type[_Section], values: dict[str, Any], source: Layers, problems: list[SpecProblem]
) -> _Section | None:
    """The validated section; None when the values do not fit, and their problems are added to `problems`.

    Args:
        cls: What is expected.
        values: The merged layers.
        source: What a problem is blamed on.
        problems: Gets one for each mistake.
    """
    try:
        return cls.model_validate(values, context=CHECKED_APART)
    except ValidationError as error:
        problems.extend(explained(cls, error.errors(include_url=False), source))
        return None


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

    def with_spec(self, spec: ModelSpec, folder: Path | None = None) -> Project:
        """The project with another spec, and a folder for what that names; `committed` stays what the files say."""
        made = replace(self, spec=spec, folder=folder or self.folder)
        made.__dict__["committed"] = self.committed  # as `cached_property` keeps it
        return made

    @property
    def expectations(self) -> Path:
        """The file of the day gate's expectation suite."""
        return self.root / "expectations" / self.spec.suite


def _here(start: Path | None) -> Path:
    try:
        # Not `absolute`, which keeps `..`: the parent of `shop/..` would be `shop`.
        return Path(os.path.abspath(start or os.environ.get(ROOT_VARIABLE) or Path.cwd()))  # noqa: PTH100 - as above
    except FileNotFoundError as error:
        raise UsageError(
            "the working folder does not exist any more",
            expected="a folder that is there, or the project's own",
            remedy=f"change into another folder, or give --root or {ROOT_VARIABLE} as an absolute path",
        ) from error


def project_root(start: Path | None = None) -> Path:
    """The nearest folder, from `start` (or `$TALLYWRIGHT_ROOT`, or here) upwards, that has a `models` folder."""
    here = _here(start)
    for folder in (here, *here.parents):
        if (folder / "models").is_dir():
            _require_working_folder(folder)
            return folder
    raise UsageError(
        f"no `models` folder in {here} or above it",
        expected="a Tallywright project: models/, conf/, expectations/, dags/",
        remedy="change into the project, set TALLYWRIGHT_ROOT, or make a project with `tally init <folder>`",
    )


def _require_working_folder(instead: Path) -> None:
    """Takes another working folder where ours is gone: some libraries ask for it, whatever paths they are given."""
    try:
        Path.cwd()
    except FileNotFoundError:
        os.chdir(instead)


def model_names(root: Path | None = None) -> list[str]:
    """The names of all model projects under `root/models`, sorted; a folder of another name is none."""
    return sorted(name for name in _folders(root) if _NAME.fullmatch(name))


def misnamed_folders(root: Path | None = None) -> list[str]:
    """The folders with a `model.yaml` whose names no model can have; hidden ones, which editors make, are left out."""
    return sorted(name for name in _folders(root) if not _NAME.fullmatch(name) and not name.startswith((".", "_")))


def _folders(root: Path | None) -> list[str]:
    """The folders of `root/models` with a `model.yaml`; a link that leads nowhere is a mistake, and no model less."""
    models = project_root(root) / "models"
    try:
        with os.scandir(models) as entries:
            return [entry.name for entry in entries if os.path.lexists(os.path.join(entry.path, "model.yaml"))]  # noqa: PTH118 - a name may be no text that a Path can join
    except OSError as error:
        raise UsageError(f"{models}: {error.strerror}", expected="a folder that can be read") from error


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
    file = model_file(base, model)
    overlay = read_overlay(base, environment)
    for_overlay, for_spec = split_sets(overrides)
    settings = overlay.environment(for_overlay)
    _warn_of_strangers(overlay)
    values = read_mapping(file, conf=False)
    return _guarded(assemble(file, values, overlay, settings, for_spec))


def _guarded(project: Project) -> Project:
    """The project with the leak guard as its files have it: a `--set` does not turn it off."""
    if not project.spec.scoring.allow_leak or project.committed.scoring.allow_leak:
        return project
    log.warning("%s scoring.allow_leak=true has no effect: write it in %s", SET, project.folder / "model.yaml")
    scoring = project.spec.scoring.model_copy(update={"allow_leak": False})
    return replace(project, spec=project.spec.model_copy(update={"scoring": scoring}))


def model_file(root: Path, model: str) -> Path:
    """The `model.yaml` of a model.

    Raises:
        UsageError: There is no such model.
    """
    file = root / "models" / model / "model.yaml"
    if not _NAME.fullmatch(model) or not os.path.lexists(file):
        raise _unknown("model", model, model_names(root), f"{root / 'models'}/*/model.yaml")
    return file


def split_sets(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The `--set` texts for the overlay, without `environment.`, and those for the spec."""
    prefix = "environment."
    for_overlay = [text.removeprefix(prefix) for text in overrides if text.startswith(prefix)]
    return for_overlay, [text for text in overrides if not text.startswith(prefix)]


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
    _warn_of_strangers(overlay)
    return found


def _warn_of_strangers(overlay: Overlay) -> None:
    """Says which layers of an overlay are about no model."""
    for stranger in map(str, overlay.strangers()):
        _warn_once(stranger)


def _warn_once(text: str) -> None:
    """Says something once a process."""
    if text not in _said:
        _said.add(text)
        log.warning("%s", text)


def _is_harmless(at: tuple[int | str, ...]) -> bool:
    """True for a place of the overlay in which nobody would write an address, a key or a password."""
    return at[:1] == ("engine",) and not {"conf", "options"} & set(at)


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

    def layer_problems(self, model: str) -> list[SpecProblem]:
        """What is wrong with the layer of a model as such: it is none."""
        layer = self.models.get(model) if isinstance(self.models, dict) else None
        if layer is None or isinstance(layer, dict):
            return []
        text = f"models.{model}: found {str(layer)[:_LONGEST_SHOWN]!r}; a mapping of sections is needed"
        return [Layers(self.file).problem(("models", model), text)]

    def environment(self, sets: Sequence[str] = ()) -> tuple[Environment | None, list[SpecProblem]]:
        """The environment with its paths made absolute (None when it is not valid), and all problems of the overlay."""
        keep_secrets({key_of(text): text.partition("=")[2] for text in sets})
        shown = [text if _is_harmless(tuple(key_of(text).split("."))) else f"{key_of(text)}={HIDDEN}" for text in sets]
        source = Layers(self.file, shown, shown="environment.")
        problems = []
        if self.models is not None and not isinstance(self.models, dict):
            text = "models: found no mapping; expected a mapping of model names to the keys they change"
            problems.append(source.problem(("models",), text))
        values = {"name": self.file.stem} | merged(self.values, {}, sets)
        found = validated(Environment, values, source, problems)
        return found and found.resolved(self.root), problems

    def strangers(self) -> list[SpecProblem]:
        """The layers for models that do not exist, which are ignored: a mistake of the overlay, and of no model."""
        if not isinstance(self.models, dict):
            return []
        known = model_names(self.root)
        return [
            Layers(self.file).problem(
                ("models", name),
                f"models.{name}: no such model{did_you_mean(str(name), known)}; "
                f"there are: {', '.join(known) or 'none yet'}",
            )
            for name in self.models
            if name not in known
        ]


def read_overlay(root: Path, environment: str | None = None) -> Overlay:
    """The overlay of that name; `$TALLYWRIGHT_ENV` or `local` when not given.

    Raises:
        UsageError: No such environment.
        SpecError: The file is no readable YAML mapping.
    """
    file = overlay_file(root, environment)
    values = read_mapping(file)
    models = values.pop("models", None)
    keep_secrets(values)
    return Overlay(root, file, values, models)


def assemble(
    file: Path,
    values: dict[str, Any],
    overlay: Overlay,
    environment: tuple[Environment | None, list[SpecProblem]],
    sets: Sequence[str] = (),
) -> Project:
    """A model project from the values of its layers.

    Args:
        file: Its `model.yaml`.
        values: What that file says.
        overlay: Where it runs, with a layer over the values.
        environment: What `overlay` answers to that.
        sets: The `--set` texts over both.

    Raises:
        SpecError: Anything wrong in spec or overlay, all problems in one message.
    """
    settings, elsewhere = environment
    name = file.parent.name
    spec, problems = checked(file, values, overlay, settings, sets)
    problems = [*elsewhere, *problems]
    if problems or spec is None or settings is None:
        raise refusal(problems, remedy_of(problems, f"`tally validate {name}`"))
    return Project(spec=spec, folder=file.parent, root=overlay.root, environment=settings, sets=tuple(sets))


def checked(
    file: Path, values: dict[str, Any], overlay: Overlay, settings: Environment | None, sets: Sequence[str] = ()
) -> tuple[ModelSpec | None, list[SpecProblem]]:
    """The spec of the values of its layers, as far as there is one, and every problem of it; those of the overlay not.

    Args:
        file: Its `model.yaml`.
        values: What that file says.
        overlay: Where it runs, with a layer over the values.
        settings: What the overlay says, where that is valid.
        sets: The `--set` texts over both.
    """
    name, layer = file.parent.name, overlay.layer_of(file.parent.name)
    whole = with_defaults(_without_webhook(merged(values, layer, sets)))
    source = Layers(file, sets, overlay.file, ("models", name), layer)
    problems = [*overlay.layer_problems(name), *_misplaced(file, values, overlay, sets)]
    spec = validated(ModelSpec, whole, source, problems)
    if spec is None:
        mismatches = mismatches_in(whole, partial(ModelSpec.model_validate, context=CHECKED_APART), name)
        problems.extend(source.of_mismatch(mismatch) for mismatch in mismatches)
        return None, problems
    problems.extend(source.of_mismatch(mismatch) for mismatch in cross_checks(spec))
    if spec.name != name:
        problems.append(source.problem(("name",), f"name: found {spec.name!r}; expected {name!r}, the folder's name"))
    problems.extend(_leaving_paths(spec, file, overlay.root, settings, source))
    spec = _with_calendar(spec, file, problems)
    if not problems:
        for warning in corrected_defaults(spec, whole):
            log.warning("%s: %s", file, warning)
        for warning in moved_keys(whole):
            _warn_once(f"{file}: {warning}")
    return spec, problems


def _misplaced(file: Path, values: dict[str, Any], overlay: Overlay, sets: Sequence[str]) -> list[SpecProblem]:
    """Keys that stand where they may not: the spec version outside of the file, the webhook outside of `conf/`."""
    name, problems = file.parent.name, []
    layer = overlay.layer_of(name)
    if KEY in layer:
        text = f"models.{name}.{KEY}: it stands in {file} alone, whose keys it is about"
        problems.append(Layers(overlay.file).problem(("models", name, KEY), text))
    if any(key_of(given).split(".")[0] == KEY for given in sets):
        problems.append(SpecProblem(f"{SET} {KEY}=…", None, KEY, f"{KEY} stands in {file} alone: it says what the "
                                    "keys of that file mean"))  # fmt: skip
    everywhere = merged(values, layer, sets)
    alerts = everywhere.get(WEBHOOK[0])
    if isinstance(alerts, dict) and WEBHOOK[1] in alerts and alerts[WEBHOOK[1]] != "":
        variable = str(alerts[WEBHOOK[1]])[:_LONGEST_SHOWN]
        source = Layers(file, sets, overlay.file, ("models", name), layer)
        problems.append(
            source.problem(
                WEBHOOK,
                f"alerts.webhook_env: a spec names no variable of the environment; write in {overlay.file}, for all "
                f"models, `alerts: {{webhook_env: {variable}}}`, or for this one `alerts: {{webhook_env_of: "
                f"{{{name}: {variable}}}}}`",
            )
        )
    return problems


def _without_webhook(values: dict[str, Any]) -> dict[str, Any]:
    """The values without a key that has a message of its own."""
    section, key = WEBHOOK
    alerts = values.get(section)
    if not isinstance(alerts, dict) or key not in alerts:
        return values
    return values | {section: {name: value for name, value in alerts.items() if name != key}}


def _leaving_paths(
    spec: ModelSpec, file: Path, root: Path, settings: Environment | None, source: Layers
) -> list[SpecProblem]:
    """The paths of a spec that lead out of the project, links followed."""
    folder, data = file.parent, spec.data
    inside, problems = real((root, folder)), []
    raw = (*inside, *real(settings.storage.raw if settings is not None else ()))
    own: dict[tuple[int | str, ...], tuple[Path, str]] = {
        ("data", "contract"): (folder, data.contract),
        ("data", "features"): (folder, data.features),
        ("data", "labels"): (folder, data.labels),
        ("data", "expectations"): (root / "expectations", spec.suite),
    }
    own |= _files_of_estimators(spec, folder)
    if spec.schedule.closed.file is not None:
        own["schedule", "closed", "file"] = (folder, spec.schedule.closed.file)
    for at, (base, path) in own.items():
        if leads_outside(base, path, inside):
            problems.append(source.problem(at, f"{'.'.join(map(str, at))}: {base / path} leads out of the project"))
    for name, section in data.sources.items():
        outside = section.package is None and settings is not None and leads_outside(folder, section.path, raw)
        if outside and settings is not None:
            text = (
                f"data.sources.{name}.path: {section.path!r} leads out of the project; where that is meant, write in "
                f"conf/{settings.name}.yaml `storage: {{raw: [{Path(realpath(folder / section.path)).parent}]}}`"
            )
            problems.append(source.problem(("data", "sources", name, "path"), text))
    return problems


def _files_of_estimators(spec: ModelSpec, folder: Path) -> dict[tuple[int | str, ...], tuple[Path, str]]:
    """The files that the estimators name, by the keys that name them."""
    training = spec.training
    found: dict[tuple[int | str, ...], tuple[Path, str]] = {}
    for number, one in enumerate(training.estimators):
        key = "module" if hasattr(one, "module") else "file"
        place: tuple[int | str, ...] = (
            ("estimator", number) if isinstance(training.estimator, tuple) else ("estimator",)
        )
        if training.estimator is None:
            place = ("network",)
        if hasattr(one, key):
            found["training", *place, key] = (folder, str(getattr(one, key)))
    return found


def _with_calendar(spec: ModelSpec, file: Path, problems: list[SpecProblem]) -> ModelSpec:
    """The spec with the closed dates of its calendar's file; what is wrong with that file is added to `problems`."""
    schedule = spec.schedule
    if schedule.closed.file is None:
        return spec
    try:
        closed = schedule.closed.read(file.parent)
    except SpecError as error:
        problems.append(
            Layers(file).problem(("schedule", "closed", "file"), f"{error.found}; expected {error.expected}")
        )
        return spec
    return spec.model_copy(update={"schedule": schedule.model_copy(update={"closed": closed})})


def overlay_file(base: Path, environment: str | None = None) -> Path:
    """The file of the overlay of that name; `$TALLYWRIGHT_ENV` or `local` when not given.

    Raises:
        UsageError: No such environment.
    """
    name = environment or os.environ.get(ENVIRONMENT_VARIABLE) or "local"
    file = base / "conf" / f"{name}.yaml"
    if not _OVERLAY.fullmatch(name) or not os.path.lexists(file):
        known = sorted(path.stem for path in (base / "conf").glob("*.yaml"))
        raise _unknown("environment", name, known, f"{base / 'conf'}/*.yaml")
    return file


def _unknown(what: str, name: str, known: list[str], where: str) -> UsageError:
    shown = name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}…"
    return UsageError(
        f"no {what} {shown!r}{did_you_mean(shown, known)}",
        expected=f"one of {', '.join(known) or 'none yet'}, from {where}",
    )
