"""Reads YAML files as plain values and merges layers; the sections of the environment overlay (`conf/<env>.yaml`).

A file is read by libyaml alone, by OmegaConf's rules of what a text means: a spec in a millisecond, and no import of
OmegaConf, which costs a step more than its work. Plain `${oc.env:NAME}` and `${oc.env:NAME,default}` are put in here.
Whatever needs more (other `${…}`, merge keys, many aliases), and whatever is wrong, goes to OmegaConf, whose answer
counts.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

import yaml
from pydantic import Field, SecretStr, field_validator, model_validator

from tallywright.errors import SpecError, UsageError
from tallywright.observability import log
from tallywright.spec.base import Section
from tallywright.spec.places import require_plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

AUTO: Final = "auto"
"""`scoring.engine`: chosen for each day, among those of `engine.auto`."""
_CREDENTIALS: Final = frozenset({"access_key_id", "secret_access_key", "session_token", "token"})
INTERPOLATION: Final = "${"
_FROM_ENVIRONMENT: Final = re.compile(r"\$\{oc\.env:([A-Za-z_][A-Za-z0-9_]*)(?:,([./A-Za-z][A-Za-z0-9_./:-]*))?\}")
"""What is put in without OmegaConf: a name, and a default that its grammar takes for a text as it stands."""
_NO_TEXT: Final = frozenset({"null", "true", "false", "nan", "inf"})
"""Defaults that OmegaConf takes for something else."""
_MANDATORY: Final = "???"
"""OmegaConf's mark of a value that a later layer must give; it never hides one that is there."""
_MOST_NODES: Final = 5_000
"""Aliases can make a short text very large; OmegaConf, which refuses such a text in words, looks at the others."""
_FLOAT: Final = re.compile(
    r"""^(?:
     [-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)
    |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Storage(Section):
    """Where tables, staged work and caches live."""

    lake: str = ".tally/lake"
    """Root of the Delta tables: a local path (relative to the project) or an object store address."""
    work: str = ".tally/work"
    """Root of run folders that the steps of one run share."""
    cache: str = ".tally/cache"
    """Root of the digest-addressed package cache of this machine."""
    options: dict[str, SecretStr] = Field(default_factory=dict)
    """Object store options by delta-rs' names; take secrets from the environment with `${oc.env:NAME}`."""
    connection: str = ""
    """Airflow connection (type aws) whose credentials each step gets; outside Airflow, AWS_* in the environment."""

    @field_validator("options", mode="before")
    @classmethod
    def _as_texts(cls, options: Any) -> Any:
        """YAML's `true` and numbers are texts to an object store."""
        if not isinstance(options, dict):
            return options
        return {
            name: str(value).lower() if isinstance(value, bool | int | float) else value
            for name, value in options.items()
        }

    @model_validator(mode="after")
    def _one_source_of_credentials(self) -> Self:
        given = sorted(name for name in self.options if name.lower().removeprefix("aws_") in _CREDENTIALS)
        if self.connection and given:
            raise ValueError(f"connection and options.{given[0]} both give credentials; keep one of them")
        return self


class Tracking(Section):
    """The MLflow server or store."""

    uri: str = "sqlite:///.tally/mlflow.db"
    artifacts: str = ".tally/mlartifacts"
    experiment_prefix: str = "tallywright/"


class SparkSettings(Section):
    """Where Spark runs; the spec itself only says `spark`."""

    connection: str = "spark_default"
    """The Airflow connection that names the master; it must exist. Empty: the task starts a session itself."""
    master: str = ""
    """The master of a session that a command starts itself; empty: what spark-submit gave, else all cores here."""
    io: Literal["direct", "engine"] = "direct"
    """What `scoring.io: auto` means: `engine` where executors cannot reach the lake's files by themselves."""
    conf: dict[str, str] = Field(default_factory=dict)
    """More Spark properties."""


class BeamSettings(Section):
    """Which runner carries Beam pipelines, and its options."""

    runner: str = "FnApiRunner"
    """`FnApiRunner`, `PrismRunner`, or another of Beam's runners by its name."""
    options: tuple[Annotated[str, Field(pattern=r"^--[A-Za-z][A-Za-z0-9_-]*(=.*)?$")], ...] = ()
    """Options of the runner as on a command line, `--name=value` each; they are passed on untouched."""


class EngineSettings(Section):
    """How the commands that Airflow starts are run on this machine, and where the engines run."""

    interpreter: str = ""
    """The Python with Tallywright for `tally run`; empty means the one that Airflow runs in."""
    environment: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...] = ()
    """Variables of Airflow's workers that steps get besides those they need, such as one that a network reads."""
    pool_slots: int = Field(default=2, ge=1)
    """How many heavy tasks may run at once."""
    auto: tuple[str, ...] = ("local",)
    """The engines that `scoring.engine: auto` may choose among here."""
    spark: SparkSettings = SparkSettings()
    beam: BeamSettings = BeamSettings()

    def submitted(self, engine: str) -> SparkSettings | None:
        """The cluster that tasks of an engine are submitted to; None where a task starts the engine itself."""
        settings = getattr(self, engine, None)
        return settings if isinstance(settings, SparkSettings) and settings.connection else None


class Environment(Section):
    """One overlay: `local` on a laptop, `prod` on a cluster."""

    name: str
    storage: Storage = Storage()
    tracking: Tracking = Tracking()
    engine: EngineSettings = EngineSettings()

    def resolved(self, root: Path) -> Environment:
        """The same environment with local relative paths made absolute under `root`.

        Raises:
            UsageError: A path with a character that storage libraries read as something else.
        """
        storage = self.storage.model_copy(
            update={name: _absolute(getattr(self.storage, name), root) for name in ("lake", "work", "cache")}
        )
        tracking = self.tracking.model_copy(
            update={
                "uri": _absolute_sqlite(self.tracking.uri, root),
                "artifacts": _absolute(self.tracking.artifacts, root),
            }
        )
        return self.model_copy(update={"storage": storage, "tracking": tracking})


def _absolute(path: str, root: Path) -> str:
    if "://" in path:
        return path
    found = str((root / path).absolute())
    require_plain(found)
    return found


def _absolute_sqlite(uri: str, root: Path) -> str:
    prefix = "sqlite:///"
    if not uri.startswith(prefix):
        return uri
    return prefix + _absolute(uri.removeprefix(prefix), root)


class _Loader(_Base):  # type: ignore[misc]  # the base is libyaml's where PyYAML was built with it
    """A YAML loader with OmegaConf's scalars: `1e-3` is a number, a date stays a text."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Called for each mapping before it is built; of a key that stands twice YAML would keep the last."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) != len(names):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        super().flatten_mapping(node)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def read_mapping(file: Path) -> dict[str, Any]:
    """The values of a YAML file, interpolations resolved.

    Raises:
        SpecError: The file cannot be read, is not YAML, or is no mapping.
    """
    try:
        text = file.read_bytes().decode()
    except (OSError, ValueError):
        return _by_omegaconf(file)
    return parse_mapping(file, text)


def parse_mapping(file: Path, text: str) -> dict[str, Any]:
    """The values of a file's text; each call is one parse, and the log counts them.

    Raises:
        SpecError: The text is not YAML, or is no mapping.
    """
    log.debug("parsing %s", file)
    values = _plain(text)
    return _by_omegaconf(file) if values is None else values


def merged(file: Path, base: dict[str, Any], layer: dict[str, Any], sets: Sequence[str]) -> dict[str, Any]:
    """The base values with a layer over them, and `key=value` texts over both.

    Raises:
        UsageError: A text without a value.
        SpecError: Layers that do not fit together.
    """
    for text in sets:
        if "=" not in text or text.startswith("="):
            raise UsageError(f"--set {text!r} has no value", expected="--set section.key=value")
    if not sets and _is_plain(base) and _is_plain(layer):
        return _over(base, layer)
    return _merged_by_omegaconf(file, base, layer, sets)


def _plain(text: str) -> dict[str, Any] | None:
    """The values of a text that needs nothing of OmegaConf; None for any other."""
    if "<<" in text:
        return None
    try:
        values = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
        if INTERPOLATION in text:
            values = _with_environment(values)
    except (yaml.YAMLError, ValueError, RecursionError, KeyError):
        return None
    return values if isinstance(values, dict) and _is_plain(values) else None


def _with_environment(values: Any) -> Any:
    """Resolves `oc.env` interpolations in the values.

    Raises:
        KeyError: A variable that is not set, without a default that is a text.
    """
    if isinstance(values, dict):
        return {key: _with_environment(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_with_environment(value) for value in values]
    if isinstance(values, str) and "\\" not in values:
        return _FROM_ENVIRONMENT.sub(_from_environment, values)
    return values


def _from_environment(asked: re.Match[str]) -> str:
    name, default = asked.groups()
    if default is None or default.lower() in _NO_TEXT:
        return os.environ[name]
    return os.environ.get(name, default)


def _is_plain(values: object) -> bool:
    """True for mappings and lists of scalars, not too many, with text keys and nothing for OmegaConf to resolve."""
    waiting, seen = [values], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                return False
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif not _is_plain_scalar(value):
            return False
        if seen > _MOST_NODES:
            return False
    return True


def _is_plain_scalar(value: object) -> bool:
    if isinstance(value, str):
        return INTERPOLATION not in value and value != _MANDATORY
    return value is None or isinstance(value, bool | int | float)


def _over(base: dict[str, Any], layer: dict[str, Any]) -> dict[str, Any]:
    """Merges a layer over values: mappings key by key; anything else is replaced."""
    found = dict(base)
    for key, value in layer.items():
        below = found.get(key)
        found[key] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return found


def _by_omegaconf(file: Path) -> dict[str, Any]:
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

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


def _merged_by_omegaconf(
    file: Path, base: dict[str, Any], layer: dict[str, Any], sets: Sequence[str]
) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        layers = OmegaConf.merge(OmegaConf.create(base), OmegaConf.create(layer), OmegaConf.from_dotlist(list(sets)))
        values = OmegaConf.to_container(layers, resolve=True)
    except OmegaConfBaseException as error:
        raise SpecError(f"{file}: {error}", expected="overrides that fit the file's structure") from error
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}
