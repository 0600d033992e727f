"""A whole `model.yaml`: its sections, in lifecycle order, and its JSON schema for editors."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field, SerializerFunctionWrapHandler, ValidationInfo, model_serializer, model_validator

from tallywright.score_period import HOUR_COLUMN, partition_columns
from tallywright.spec.base import Section
from tallywright.spec.checks import cross_checks
from tallywright.spec.rollout import SHADOW, Rollout
from tallywright.spec.schedule import Schedule
from tallywright.spec.sections import (
    Alerts,
    Card,
    Data,
    Gates,
    Maintenance,
    Monitoring,
    Owner,
    Registry,
    Retraining,
    Scoring,
    Training,
)
from tallywright.spec.values import LONGEST_DESCRIPTION, Name, Tag
from tallywright.tasks import TASKS, TaskName, metric_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKED_APART: Final = {"cross_checks": "apart"}
"""A validation context: the caller asks `cross_checks` itself."""
PROVENANCE_COLUMNS: Final = frozenset({"score_date", "model_name", "model_version", "role", "input_version"})
OUTPUT_COLUMNS: Final = frozenset({"prediction", "probability", "probabilities", "confidence"})


def named_task(values: Any) -> TaskName | None:
    """The task in the values of a spec that are not validated yet; None where they name none that there is."""
    training = values.get("training") if isinstance(values, dict) else None
    task = training.get("task", "binary") if isinstance(training, dict) else None
    return task if isinstance(task, str) and task in TASKS else None


class ModelSpec(Section):
    """One model, whole."""

    spec_version: int = Field(default=1, ge=1, le=2, strict=True)
    """What an absent key means: 1 (also when this key is absent) is what it meant to the first release. It stands in
    `model.yaml` alone."""
    name: Name
    description: str = Field(max_length=LONGEST_DESCRIPTION)
    tags: tuple[Tag, ...] = ()
    owner: Owner
    card: Card = Card()
    schedule: Schedule
    data: Data
    training: Training
    gates: Gates = Gates()
    registry: Registry = Registry()
    rollout: Rollout | None = None
    """By which stages a version that has passed its gates becomes champion; without it, at once."""
    scoring: Scoring = Scoring()
    monitoring: Monitoring = Monitoring()
    retraining: Retraining = Retraining()
    maintenance: Maintenance = Maintenance()
    alerts: Alerts = Alerts()

    @model_validator(mode="before")
    @classmethod
    def _primary_metric_of_the_task(cls, values: Any) -> Any:
        """Gives the gates the task's own metric where they name none; a binary model keeps the class's default."""
        task = named_task(values)
        gates = values.get("gates", {}) if task is not None else None
        if task is None or task == "binary" or not isinstance(gates, dict) or "primary_metric" in gates:
            return values
        return values | {"gates": {"primary_metric": TASKS[task].primary_metric} | gates}

    @model_serializer(mode="wrap")
    def _without_absent_sections(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A section that is not given leaves no trace, so that specs of before keep their digests."""
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if name != "rollout" or value is not None}

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> ModelSpec:
        """Refuses keys that contradict one another, unless the caller checks that apart, to say more of it."""
        found = [] if info.context == CHECKED_APART else [mismatch.text for mismatch in cross_checks(self)]
        if found:
            raise ValueError("\n".join(found))
        return self

    @property
    def staged_rollout(self) -> Rollout | None:
        """The rollout, where it goes by stages; None where a version is promoted at once."""
        return self.rollout if self.rollout is not None and self.rollout.in_stages else None

    @property
    def planned_shadow_days(self) -> int:
        """The days in shadow that share the level of a candidate's try with its holdout; 0 spends it on the holdout.

        Those of `gates.shadow_days`; without it those of a rollout whose first stage is a shadow.
        """
        rollout = self.staged_rollout
        if self.gates.shadow_days or rollout is None or rollout.stages[0].stage != SHADOW:
            return self.gates.shadow_days
        return rollout.stages[0].days

    @property
    def reserved(self) -> frozenset[str]:
        """The names of columns that the product writes itself."""
        hour = {HOUR_COLUMN} if self.is_hourly else frozenset()
        return PROVENANCE_COLUMNS | OUTPUT_COLUMNS | hour

    @property
    def is_hourly(self) -> bool:
        """True when score periods are hours."""
        return self.schedule.cadence == "hour"

    @property
    def partition(self) -> tuple[str, ...]:
        """The columns of the score period, by which tables of rows are partitioned."""
        return partition_columns(hourly=self.is_hourly)

    @property
    def registered_name(self) -> str:
        """The name in the model registry."""
        return self.registry.name or self.name

    @property
    def suite(self) -> str:
        """The file name of the day gate's expectation suite."""
        return self.data.expectations or f"{self.name}__features.yaml"

    def unit_of(self, metric: str) -> str:
        """The unit of a metric's values, in words; empty where they have none."""
        unit = metric_of(metric).unit
        if unit == "money" and self.gates.costs is not None:
            return f"{self.gates.costs.currency} a row"
        return self.training.unit if unit == "target" else ""

    def table(self, what: str) -> str:
        """The short name of one of this model's tables, such as `flight_delays__scores`."""
        return f"{self.name}__{what}"

    def has_table(self, name: str) -> bool:
        """True for the name of one of this model's tables; a table of a model `shop__b` is none of a model `shop`."""
        prefix = self.table("")
        return name.startswith(prefix) and "__" not in name.removeprefix(prefix)


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a whole `model.yaml`, descriptions included.

    The descriptions of fields are the docstrings under them. They are read here and not by pydantic
    (`use_attribute_docstrings`), which would read the source of every section whenever a command starts.
    """
    schema = ModelSpec.model_json_schema()
    for section in _sections(Section):
        described = schema if section is ModelSpec else schema["$defs"].get(section.__name__)
        fields = {} if described is None else described["properties"]
        for name, text in _field_docstrings(section):
            fields.get(name, {}).setdefault("description", text)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _sections(base: type[Section]) -> Iterator[type[Section]]:
    for section in base.__subclasses__():
        yield section
        yield from _sections(section)


def _field_docstrings(section: type[Section]) -> Iterator[tuple[str, str]]:
    """The fields of a section that have a docstring, those of its bases too."""
    import ast
    import inspect
    import textwrap

    for base in section.__mro__:
        if issubclass(base, Section) and base is not Section:
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            assert isinstance(definition, ast.ClassDef)  # noqa: S101 - the source of a class
            for field, text in pairwise(definition.body):
                match field, text:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(docstring))):
                        yield name, inspect.cleandoc(docstring)
