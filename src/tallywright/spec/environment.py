"""The environment overlay (`conf/<env>.yaml`): where things are, never what a model means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from tallywright.spec.base import Section

if TYPE_CHECKING:
    from pathlib import Path

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
        """The same environment with local relative paths made absolute under `root`."""
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
    return path if "://" in path else str((root / path).absolute())


def _absolute_sqlite(uri: str, root: Path) -> str:
    prefix = "sqlite:///"
    if not uri.startswith(prefix):
        return uri
    return prefix + _absolute(uri.removeprefix(prefix), root)
