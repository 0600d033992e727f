"""Makes a registered version once more, from recorded spec, code, data and seed, and says how far it is apart.

Nothing of it becomes visible: packages are made in a scratch folder, and MLflow is told nothing. Of a refit both
packages are made again: the judged one, whose figures are evidence, and the one that serves.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.snapshot import Snapshot
from tallywright.errors import UsageError
from tallywright.lifecycle.context import code_version, package_of
from tallywright.lifecycle.handover import ADOPTED_FILE
from tallywright.lifecycle.plan import find_step
from tallywright.lifecycle.reproduction.as_trained import project_as_trained, require_pinned, require_same_rows
from tallywright.lifecycle.reproduction.differences import Remade, compared
from tallywright.packaging.meta import ADOPTED, TUNED
from tallywright.packaging.package import PackageCache, load_package
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions import fetch_candidate
from tallywright.registry.versions_table import known_versions, no_such_version
from tallywright.training.adoption.adopted import Adopted
from tallywright.training.tracking import LifecycleRun, machine_tags, run_of

if TYPE_CHECKING:
    from tallywright.data.delta.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.records import ModelRef
    from tallywright.spec import Project

_JUDGED, _REFIT = "judged", "refit"
_MACHINE: Final = ("environment.", "hardware.processor")
"""Tags of a run, by which another machine or another library is known."""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A version, and what became of making it again.

    `environment` maps what is different here (library, processor, code) to its value as recorded and as it is now.
    """

    model: str
    version: int
    digest: str
    bound: float
    packages: tuple[Remade, ...]
    environment: dict[str, tuple[str, str]]

    @property
    def reproduced(self) -> bool:
        """True where each package is within the bound."""
        return all(one.within(self.bound) for one in self.packages)

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-able values."""
        return {
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
            "reproduced": self.reproduced,
            "same_bits": all(one.same_bits for one in self.packages),
            "within": self.bound,
            "packages": [one.as_dict() for one in self.packages],
            "environment": {name: list(pair) for name, pair in self.environment.items()},
        }


def reproduce(project: Project, lake: Lake, version: int, *, bound: float = 0.0) -> Reproduction:
    """Makes a version again.

    Args:
        project: As it is today.
        lake: The project's own.
        version: The registered version.
        bound: By how much weights, scores and figures may differ; 0 asks for the same bits.

    Raises:
        UsageError: No such version in this lake.
        InputError: Rows that it was trained on are gone.
        PackageError: The package does not say how it was trained.
        TrackingError: MLflow is needed, and away.
    """
    package = package_of(project, _recorded(project, lake, version))
    run = run_of(project, package.meta.run_id)
    with tempfile.TemporaryDirectory(prefix="tally-reproduce-") as root:
        scratch = Path(root)
        judged = package
        if package.meta.judged:
            judged = fetch_candidate(project, run.run_id, package.meta.judged, PackageCache(scratch / "recorded"))
        maker = _Maker(project, lake.in_production(project.environment), judged, run, scratch)
        found = [compared(_JUDGED, judged, maker.judged_again())]
        if package is not judged:
            found.append(compared(_REFIT, package, maker.refit_again(package)))
    return Reproduction(
        model=project.spec.name,
        version=version,
        digest=package.digest,
        bound=bound,
        packages=tuple(found),
        environment=_differences(project, package, run),
    )


class _Maker:
    """Makes packages in a scratch folder, by the process that trains.

    Args:
        project: As it is today.
        lake: Holds the tables.
        judged: The package that was judged.
        run: Its run, as MLflow has it.
        scratch: The folder.
    """

    def __init__(self, project: Project, lake: Lake, judged: Package, run: LifecycleRun, scratch: Path) -> None:
        self._judged, self._run, self._scratch = judged, run, scratch
        self._snapshot = Snapshot.from_json(judged.meta.snapshot_json)
        require_pinned(lake, self._snapshot)
        self._project = project_as_trained(project, lake, judged, scratch / "project")
        require_same_rows(self._project, lake, self._snapshot)

    def judged_again(self) -> Package:
        """The judged package."""
        return self._made(self._judged, adopted=self._adopted())

    def refit_again(self, refit: Package) -> Package:
        """The refit of the judged package as it is recorded."""
        return self._made(refit, judged=self._judged.folder)

    def _made(self, recorded: Package, *, judged: Path | None = None, adopted: Adopted | None = None) -> Package:
        from tallywright.training.apart.process import TrainingProcess
        from tallywright.training.apart.worker import Job

        meta = recorded.meta
        # With the run and the time of the recorded one, equal contents make an equal package.
        repeated = LifecycleRun(client=None, run_id=meta.run_id, started_at=meta.created_at, uri="")
        step = "train" if judged is None else "refit"
        with TrainingProcess.of(self._project, find_step(self._project.spec, step)[1].timeout) as process:
            job = Job(
                project=self._project,
                snapshot=self._snapshot,
                run_id=meta.run_id,
                work=self._scratch / "work",
                code_version=meta.code_version,
                judged=judged,
                # What was chosen is taken again: a search that is bounded by minutes may end elsewhere.
                tuned=meta.training_config.get(TUNED),
                adopted=adopted,
                repeated=repeated,
            )
            return load_package(Path(process.answer(job)["folder"]))

    def _adopted(self) -> Adopted | None:
        """The file of an adopted model, as it is kept with its run."""
        origin = self._judged.meta.training_config.get(ADOPTED)
        if origin is None:
            return None
        content = self._run.handed_over(ADOPTED_FILE)
        if content is None:
            raise UsageError(
                f"the run {self._run.run_id} does not keep the file that was adopted",
                expected=f"the file of {origin['source']}",
                remedy="repeat the same `tally adopt`, which hands it over",
            )
        path = self._scratch / "adopted"
        path.write_bytes(content)
        return Adopted.of(path, origin)


def _recorded(project: Project, lake: Lake, version: int) -> ModelRef:
    """The version by this lake's own record, on whose word its code is run.

    Raises:
        UsageError: There is none of that number.
    """
    known = known_versions(lake, project.spec, PromotionLog(lake, project.spec).entries())
    if version not in known:
        found = f"this lake has no version {version} of {project.spec.registered_name}"
        raise no_such_version(found, known, project.spec)
    return known[version].as_ref(project.spec)


def _differences(project: Project, package: Package, run: LifecycleRun) -> dict[str, tuple[str, str]]:
    """What is different here from where the version was trained."""
    now = machine_tags("cpu") | {"code": code_version(project.root)}
    then = {**run.tags, "code": package.meta.code_version}
    names = [name for name in now if name.startswith(_MACHINE) or name == "code"]
    return {name: (then[name], now[name]) for name in names if name in then and then[name] != now[name]}
