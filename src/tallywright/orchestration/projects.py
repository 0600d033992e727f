"""The DAGs of all models of a project; a broken spec does not affect the other models.

Three kinds of process come here. The DAG processor looks at both DAG files every few seconds, each time in a new
process, and wants everything: a spec is parsed once per content. A task's process wants its own DAG: it reads its own
spec and no other. Tools want the specs alone.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tallywright.errors import SpecError
from tallywright.lifecycle.plan import Pipeline
from tallywright.memory import gc_paused
from tallywright.observability import log
from tallywright.spec import Project, load_project, model_names
from tallywright.spec.cache import SpecCache, cache_file
from tallywright.spec.load import assemble, model_file, project_root, read_overlay
from tallywright.spec.problems import problems_of, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow.sdk import DAG


@gc_paused()
def project_dags(root: Path) -> dict[str, DAG]:
    """The DAGs of all models under `root` that can be made; see `require_valid_specs` for the others.

    In a task's process only the DAG of the task.

    Raises:
        TallyError: In a task's process: the spec of its model cannot be read.
    """
    from airflow.sdk import get_parsing_context

    wanted = get_parsing_context().dag_id
    if wanted is not None:
        return _one_dag(root, wanted)
    found: dict[str, DAG] = {}
    with _specs(root) as specs:
        for project in specs.projects:
            found |= specs.made(project)
    for name, error in sorted(specs.failed.items()):
        log.error("%s has no DAGs: %s", name, _told(root, name, error))
    return found


@gc_paused()
def require_valid_specs(root: Path) -> None:
    """Raises, so that Airflow shows an import error, when a model under `root` has no DAGs.

    A task's process never asks for this.

    Raises:
        SpecError: All problems of all broken specs, and why DAGs could not be made of a valid one.
    """
    from airflow.sdk import get_parsing_context

    if get_parsing_context().dag_id is not None:
        return
    with _specs(root) as specs:
        for project in specs.projects:
            if not specs.is_made(project):
                specs.made(project)
    broken = {} if specs.shared is not None else {**specs.broken, **specs.failed}
    told = [f"{name} has no DAGs: {_told(root, name, error)}" for name, error in sorted(broken.items())]
    told += [f"no model has DAGs: {error}" for error in (specs.shared,) if error is not None]
    if told or specs.strangers:
        raise SpecError("\n".join([*specs.strangers, *told]), remedy="the DAGs of the other models are not affected")


def _told(root: Path, name: str, error: Exception) -> str:
    """An error of a model with its file, whatever class it is of."""
    return "\n".join(map(str, problems_of(error, project_root(root) / "models" / name / "model.yaml")))


def load_all(root: Path) -> tuple[list[Project], dict[str, Exception]]:
    """The models of a project that can be loaded, and the errors of those that cannot, by name."""
    with _specs(root) as specs:
        return specs.projects, specs.broken


@dataclass(slots=True)
class _Specs:
    """The loaded specs of a project, and whether their DAGs could be made."""

    cache: SpecCache | None = None
    projects: list[Project] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    """Of each model's content; empty where it cannot be remembered."""
    broken: dict[str, Exception] = field(default_factory=dict)
    shared: Exception | None = None
    """What is wrong with the overlay, so that no model can be loaded."""
    strangers: list[str] = field(default_factory=list)
    """The overlay's layers for models that do not exist, which are nobody's matter but the overlay's."""
    failed: dict[str, Exception] = field(default_factory=dict)
    """Models with a valid spec of which DAGs could not be made."""
    limits: dict[str, Any] = field(default_factory=dict)
    """What Airflow's configuration says of all DAGs; asked once."""

    def is_made(self, project: Project) -> bool:
        """True when DAGs were made from this very content before, with this Airflow and these engine settings."""
        return self.cache is not None and self.cache.is_done(self.digests[project.spec.name], _dag_inputs(project))

    def made(self, project: Project) -> dict[str, DAG]:
        """Makes the DAGs of a model; on any error there are none, and the error is in `failed`."""
        from tallywright.orchestration.dags import airflow_limits, model_dags

        name = project.spec.name
        found: dict[str, DAG] = {}
        try:
            self.limits = self.limits or airflow_limits()
            found = model_dags(project, self.limits)
        except Exception as error:  # noqa: BLE001 - a file that raises loses the DAGs of all models
            self.failed[name] = error
        if self.cache is not None:
            self.cache.set_done(self.digests[name], _dag_inputs(project) if found else "")
        return found


@contextmanager
def _specs(root: Path) -> Iterator[_Specs]:
    """Loads every spec; the cache is saved at the end of the block."""
    specs = _Specs()
    names = model_names(root)
    try:
        overlay = read_overlay(project_root(root))
        environment = overlay.environment()
        if environment[0] is None or environment[1]:
            raise refusal(environment[1], f"correct {overlay.file}")
        specs.strangers = list(map(str, overlay.strangers()))
    except Exception as error:  # noqa: BLE001 - said once, for all models
        specs.broken, specs.shared = dict.fromkeys(names, error), error
        yield specs
        return
    specs.cache = SpecCache(cache_file(environment[0].storage.cache, overlay.file))
    for name in names:
        try:
            file = model_file(overlay.root, name)
            values, digest = specs.cache.values(file, overlay.layer_of(name))
            specs.projects.append(assemble(file, values, overlay, environment))
            specs.digests[name] = digest
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a model is wrong with that one alone
            specs.broken[name] = error
    yield specs
    specs.cache.save()


def _one_dag(root: Path, dag_id: str) -> dict[str, DAG]:
    """Makes the DAG of that id; none when it belongs to another file."""
    from tallywright.orchestration.dags import model_dag

    name, _, pipeline = dag_id.rpartition("__")
    if pipeline not in set(Pipeline) or name not in model_names(root):
        return {}
    return {dag_id: model_dag(load_project(name, root=root), Pipeline(pipeline))}


def _dag_inputs(project: Project) -> str:
    """The inputs besides the spec that decide whether DAGs can be made, as a text."""
    from airflow import __version__ as airflow

    # The calendar may come from a file beside the spec.
    environment = project.environment
    settings = f"{environment.engine.digest()} {environment.registries.here.value} {environment.trained_in}"
    return f"dags {airflow} {settings} {project.spec.schedule.closed.digest()}"
