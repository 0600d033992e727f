"""The environment overlay (`conf/<env>.yaml`): where tables, models and engines are on this machine or cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from tallywright.spec.base import Section
from tallywright.spec.places import require_plain
from tallywright.spec.values import Filled, Whole

_SQLITE: Final = "sqlite:///"
_STORES: Final = ("s3", "s3a", "file")
_VARIABLE: Final = r"^([A-Za-z_][A-Za-z0-9_]*)?$"
AUTO: Final = "auto"
"""`scoring.engine`: chosen for each day, among those of `engine.auto`."""
_CREDENTIALS: Final = frozenset({"access_key_id", "secret_access_key", "session_token", "token"})


class Storage(Section):
    """Where tables, staged work and caches live."""

    lake: str = ".tally/lake"
    """Root of the Delta tables: a local path (relative to the project) or an object store address."""
    work: str = ".tally/work"
    """Root of run folders that the steps of one run share."""
    cache: str = ".tally/cache"
    """Root of the digest-addressed package cache of this machine."""
    raw: tuple[str, ...] = ()
    """Folders outside of the project in which raw files of its models may lie, `~` and relative paths allowed."""
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

    @field_validator("lake")
    @classmethod
    def _a_store(cls, value: str) -> str:
        scheme, found, rest = _said_place(value).partition("://")
        if found and (scheme not in _STORES or not rest.strip("/")):
            stores = ", ".join(f"{name}://" for name in _STORES)
            problem = f"{scheme}:// names no place" if scheme in _STORES else f"no store speaks {scheme}://"
            raise ValueError(f"{problem}; expected a folder, or an address with {stores}")
        return value

    @field_validator("work", "cache")
    @classmethod
    def _a_folder(cls, value: str) -> str:
        if "://" in _said_place(value):
            raise ValueError("must be a folder of this machine, and this is an address")
        return value

    @field_validator("raw")
    @classmethod
    def _folders(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for place in value:
            cls._a_folder(place)
        return value

    @model_validator(mode="after")
    def _one_source_of_credentials(self) -> Self:
        given = sorted(name for name in self.options if name.lower().removeprefix("aws_") in _CREDENTIALS)
        if self.connection and given:
            raise ValueError(f"connection and options.{given[0]} both give credentials; keep one of them")
        return self


class Tracking(Section):
    """The MLflow server or store."""

    uri: Filled = "sqlite:///.tally/mlflow.db"
    artifacts: str = ".tally/mlartifacts"
    experiment_prefix: str = "tallywright/"

    @field_validator("uri", "artifacts")
    @classmethod
    def _has_its_home(cls, value: str) -> str:
        _at_home(value.removeprefix(_SQLITE))
        return value


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
    pool_slots: Whole = Field(default=2, ge=1, le=1_000_000)
    """How many heavy tasks may run at once."""
    auto: tuple[Literal["local", "spark", "beam"], ...] = Field(default=("local",), min_length=1)
    """The engines that `scoring.engine: auto` may choose among here."""
    spark: SparkSettings = SparkSettings()
    beam: BeamSettings = BeamSettings()

    def submitted(self, engine: str) -> SparkSettings | None:
        """The cluster that tasks of an engine are submitted to; None where a task starts the engine itself."""
        settings = getattr(self, engine, None)
        return settings if isinstance(settings, SparkSettings) and settings.connection else None


class AlertSettings(Section):
    """Where failures are posted to besides the log."""

    webhook_env: Annotated[str, Field(pattern=_VARIABLE)] = ""
    """Name of the environment variable that holds a webhook's address; the address itself stays out of every file."""
    webhook_env_of: dict[str, Annotated[str, Field(pattern=_VARIABLE)]] = Field(default_factory=dict)
    """By model, where some have a webhook of their own; an empty name posts nothing."""

    def variable_of(self, model: str) -> str:
        """The environment variable with the address for a model's alerts; empty for none."""
        return self.webhook_env_of.get(model, self.webhook_env)


class Environment(Section):
    """One overlay: `local` on a laptop, `prod` on a cluster."""

    name: str
    storage: Storage = Storage()
    tracking: Tracking = Tracking()
    engine: EngineSettings = EngineSettings()
    alerts: AlertSettings = AlertSettings()

    def resolved(self, root: Path) -> Environment:
        """The same environment with local relative paths made absolute under `root`.

        Raises:
            UsageError: A path with a character that storage libraries read as something else.
        """
        storage = self.storage.model_copy(
            update={name: _absolute(getattr(self.storage, name), root) for name in ("lake", "work", "cache")}
            | {"raw": tuple(_absolute(place, root) for place in self.storage.raw)}
        )
        tracking = self.tracking.model_copy(
            update={
                "uri": _absolute_sqlite(self.tracking.uri, root),
                "artifacts": _absolute(self.tracking.artifacts, root),
            }
        )
        return self.model_copy(update={"storage": storage, "tracking": tracking})


def _said_place(place: str) -> str:
    """The text of a folder or an address.

    Raises:
        ValueError: It is blank, which would be the project's own folder, or names a home that there is not.
    """
    if not place.strip():
        raise ValueError("empty: the project's own folder is no place for it; give a folder, such as .tally/lake")
    _at_home(place)
    return place


def _at_home(path: str) -> str:
    """The path with a leading `~` as a shell reads it."""
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise ValueError(f"{path}: there is no such home; write the folder out") from error


def _absolute(path: str, root: Path) -> str:
    if "://" in path:
        return path
    found = str((root / _at_home(path)).absolute())
    require_plain(found)
    return found


def _absolute_sqlite(uri: str, root: Path) -> str:
    if not uri.startswith(_SQLITE):
        return uri
    return _SQLITE + _absolute(uri.removeprefix(_SQLITE), root)
