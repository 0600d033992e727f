"""The environment overlay (`conf/<env>.yaml`): where tables, models and engines are on this machine or cluster."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import quote

from pydantic import Field, SecretStr, field_validator, model_validator

from tallywright.errors import UsageError
from tallywright.spec.base import Section
from tallywright.spec.places import plain_address, require_plain
from tallywright.spec.values import Filled, Whole

_SQLITE: Final = "sqlite:///"
_STORES: Final = ("s3", "s3a", "file")
_ONE_REGISTRY: Final = "with one registry, say `registries: {here: both}`"
_VARIABLE: Final = r"^([A-Za-z_][A-Za-z0-9_]*)?$"
_Pipeline = Literal["score", "backfill", "train", "promote", "rollback", "watch", "maintain"]
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
    username: str = ""
    """For a server that asks who is there; empty: MLFLOW_TRACKING_USERNAME and _PASSWORD, where they are set."""
    password: SecretStr = SecretStr("")
    """Take it from the environment with `${oc.env:NAME}`."""

    @field_validator("uri", "artifacts")
    @classmethod
    def _has_its_home(cls, value: str) -> str:
        _at_home(value.removeprefix(_SQLITE))
        return value

    @model_validator(mode="after")
    def _names_a_user_of_a_server(self) -> Self:
        if self.username and (not self.is_server or "@" in self.uri):
            raise ValueError("username: only for an address http://… or https://… without a user of its own")
        if self.password.get_secret_value() and not self.username:
            raise ValueError("password: there is no username beside it")
        return self

    @property
    def is_server(self) -> bool:
        """True for a server, False for a store that MLflow opens itself."""
        return self.uri.startswith(("http://", "https://"))

    @property
    def address(self) -> str:
        """The address with its credentials, for MLflow alone: of two servers, each is told its own."""
        if not self.username:
            return self.uri
        scheme, _, rest = self.uri.partition("://")
        user = f"{quote(self.username, safe='')}:{quote(self.password.get_secret_value(), safe='')}"
        return f"{scheme}://{user}@{rest}"


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
    queues: dict[_Pipeline, Filled] = Field(default_factory=dict)
    """Airflow's queue for the tasks of a pipeline, such as `promote`; others are in Airflow's default queue."""
    pools: dict[_Pipeline, Filled] = Field(default_factory=dict)
    """Airflow's pool for the tasks of a pipeline, which must exist; others are in `tallywright` if they are heavy."""
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


class LineageSettings(Section):
    """Where OpenLineage events about the runs of steps go; nowhere, unless a transport is named."""

    transport: Literal["none", "file", "http"] = "none"
    url: str = ""
    """Of the server that takes them, such as `http://marquez:5000`."""
    endpoint: Filled = "api/v1/lineage"
    api_key: SecretStr = SecretStr("")
    """For the server; take it from the environment with `${oc.env:NAME}`."""
    file: str = ""
    """The file to which `transport: file` appends them, one event a line."""
    namespace: Filled = "tallywright"
    """Of the jobs: what this installation is called where others send events too."""
    timeout_seconds: Whole = Field(default=5, ge=1, le=60)
    """How long a step waits for the server at most."""

    @model_validator(mode="after")
    def _names_its_target(self) -> Self:
        if self.transport == "http" and not re.match(r"https?://[^/\s]", self.url):
            raise ValueError(f"url: {self.url!r} is no address of a server; expected http:// or https://")
        if self.transport == "file":
            Storage._a_folder(self.file)  # noqa: SLF001 - a path of this machine, like those of the storage
        return self


class Here(StrEnum):
    """What is done with versions in an environment."""

    BOTH = "both"
    """They are trained and promoted in one registry."""
    TRAINING = "training"
    """They are trained here, and promoted elsewhere."""
    PRODUCTION = "production"
    """They arrive from where they were trained, and are promoted here."""


class Counterpart(Section):
    """The environment on the other side: where its lake and its registry are, which are only read from here."""

    name: Annotated[str, Field(pattern=r"^\w[\w.-]{0,99}$")]
    """What it is called, the name of its file in conf/; it stands in rows and in `tally promote --from`."""
    storage: Storage
    tracking: Tracking

    @model_validator(mode="after")
    def _has_credentials_of_its_own(self) -> Self:
        if self.tracking.is_server and not self.tracking.username and "@" not in self.tracking.uri:
            # MLflow would send it what MLFLOW_TRACKING_USERNAME and _PASSWORD say, which are this side's.
            raise ValueError(
                "tracking.username: a server of the other side needs credentials of its own, lest it is sent those of "
                "this one; where it asks for none, any name will do"
            )
        if self.storage.connection:
            raise ValueError("storage.connection: it is for this side's lake; give the other's keys in storage.options")
        return self


class Registries(Section):
    """One registry, or one for training and one for production, with a lake each."""

    here: Here = Here.BOTH
    production: Counterpart | None = None
    """Of a training environment: where champion, promotion log, features and labels are read."""
    training: Counterpart | None = None
    """Of production: where versions arrive from."""

    @model_validator(mode="after")
    def _names_the_other_side(self) -> Self:
        wanted = {Here.TRAINING: "production", Here.PRODUCTION: "training"}.get(self.here, "")
        for name in ("production", "training"):
            if (getattr(self, name) is not None) != (name == wanted):
                raise ValueError(
                    f"{name}: here: {self.here.value} " + ("needs it" if name == wanted else "has no such other side")
                )
        return self

    @property
    def other(self) -> Counterpart | None:
        """The other side; None where there is one registry."""
        return self.production or self.training


class Environment(Section):
    """One overlay: `local` on a laptop, `prod` on a cluster."""

    name: str
    storage: Storage = Storage()
    tracking: Tracking = Tracking()
    registries: Registries = Registries()
    engine: EngineSettings = EngineSettings()
    alerts: AlertSettings = AlertSettings()
    lineage: LineageSettings = LineageSettings()

    @model_validator(mode="after")
    def _has_two_registries_or_one(self) -> Self:
        other = self.registries.other
        if other is None:
            return self
        same = self.shared_with(other)
        if same:
            raise ValueError(f"registries: {same}; {_ONE_REGISTRY}")
        if other.name == self.name:
            raise ValueError(f"registries: the other side is called {other.name}, as this environment is")
        return self

    def shared_with(self, other: Counterpart) -> str:
        """That lake or registry of the other side is this one's, in words; empty where each has its own."""
        pairs = {
            "storage.lake": (self.storage.lake, other.storage.lake),
            "tracking.uri": (self.tracking.uri, other.tracking.uri),
        }
        same = [name for name, (one, two) in pairs.items() if plain_address(one) == plain_address(two)]
        return f"{' and '.join(same)} of {other.name} is this environment's own" if same else ""

    @property
    def trains(self) -> bool:
        """True where trainings run in this environment, or in Airflow's workers of the other one."""
        return self.registries.here is not Here.PRODUCTION or "train" in self.engine.queues

    @property
    def in_production(self) -> Environment:
        """Where champion, promotion log, features and labels are: this environment, unless it is one of training."""
        other = self.registries.production
        return self if other is None else self._at(other)

    @property
    def in_training(self) -> Environment:
        """Where versions are registered when they are trained: this environment, unless it is production."""
        other = self.registries.training
        return self if other is None else self._at(other)

    @property
    def is_other_side(self) -> bool:
        """True for what `in_production` and `in_training` give of another environment: it is only read."""
        other = self.registries.other
        return other is not None and self.storage.lake == other.storage.lake

    @property
    def trained_in(self) -> str:
        """The name of the environment whose version numbers those of training are; empty with one registry."""
        if self.registries.here is Here.TRAINING:
            return self.name
        return "" if self.registries.training is None else self.registries.training.name

    def _at(self, other: Counterpart) -> Environment:
        """This environment with the other side's lake and registry; folders of this machine stay."""
        place = {"lake": other.storage.lake, "options": other.storage.options, "connection": ""}
        return self.model_copy(update={"storage": self.storage.model_copy(update=place), "tracking": other.tracking})

    def resolved(self, root: Path) -> Environment:
        """The same environment with local relative paths made absolute under `root`.

        Raises:
            UsageError: A path with a character that storage libraries read as something else; or both sides are in the
                same place, which relative and absolute paths show only now.
        """
        file = _absolute(self.lineage.file, root) if self.lineage.file else ""
        sides = {
            name: side.model_copy(
                update={
                    "storage": _resolved_storage(side.storage, root),
                    "tracking": _resolved_tracking(side.tracking, root),
                }
            )
            for name in ("production", "training")
            if (side := getattr(self.registries, name)) is not None
        }
        found = self.model_copy(
            update={
                "storage": _resolved_storage(self.storage, root),
                "tracking": _resolved_tracking(self.tracking, root),
                "registries": self.registries.model_copy(update=sides),
                "lineage": self.lineage.model_copy(update={"file": file}),
            }
        )
        other = found.registries.other
        same = "" if other is None else found.shared_with(other)
        if same:
            raise UsageError(f"registries: {same}", expected="two places", remedy=_ONE_REGISTRY)
        return found


def _resolved_storage(storage: Storage, root: Path) -> Storage:
    return storage.model_copy(
        update={name: _absolute(getattr(storage, name), root) for name in ("lake", "work", "cache")}
        | {"raw": tuple(_absolute(place, root) for place in storage.raw)}
    )


def _resolved_tracking(tracking: Tracking, root: Path) -> Tracking:
    return tracking.model_copy(
        update={"uri": _absolute_sqlite(tracking.uri, root), "artifacts": _absolute(tracking.artifacts, root)}
    )


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
