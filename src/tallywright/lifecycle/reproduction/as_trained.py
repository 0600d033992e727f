"""The project as it was when a version was trained: by the package, with today's spec for what it does not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tallywright.data.fingerprint import RowDigest, digest
from tallywright.data.snapshot import SPLITS, Snapshot, read_split
from tallywright.data.storage.filesystem import filesystem_of
from tallywright.errors import InputError, PackageError, TallyError, listed
from tallywright.lifecycle.adoption.adopt import nothing_to_fit
from tallywright.packaging.meta import ADOPTED, ESTIMATOR, THRESHOLD
from tallywright.score_period import date_of
from tallywright.spec.estimators import named
from tallywright.spec.sections import Scoring, Training
from tallywright.training.user_code.recorded import FEATURES, file_of

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.data.delta.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.records import TableVersion
    from tallywright.spec import ModelSpec, Project


def project_as_trained(project: Project, lake: Lake, package: Package, folder: Path) -> Project:
    """The project with the recorded section `training`, and the recorded files in a folder of its own.

    Args:
        project: As it is today.
        lake: Where the pinned tables are: columns of the spec that came later are left out.
        package: Of the version, or the package that was judged for it.
        folder: Gets the files.

    Raises:
        PackageError: The package does not say how it was trained, or by other rules than those of this Tallywright.
    """
    spec, training = project.spec, _training(package)
    snapshot = Snapshot.from_json(package.meta.snapshot_json)
    there = {field.name for field in lake.look(snapshot.features.table, snapshot.features.version).schema().fields}
    columns = {name: kind for name, kind in spec.data.columns.items() if name in there}
    data = spec.data.model_copy(update={"columns": columns})
    changed = {"training": training, "data": data, **_decisions(package, spec)}
    _write_files(package, training, folder)
    return project.with_spec(spec.model_copy(update=changed), folder)


def _decisions(package: Package, spec: ModelSpec) -> dict[str, Any]:
    """The sections by which costs and the decision threshold are what they were: chosen by costs again, or given."""
    changed: dict[str, Any] = {}
    if package.demands is not None:
        changed["gates"] = spec.gates.model_copy(update={"costs": package.demands.gates.costs})
    if THRESHOLD in package.meta.training_config:
        given = spec.scoring.model_dump(exclude_unset=True, exclude={"threshold"})
        changed["scoring"] = Scoring.model_validate(given)
    elif package.meta.threshold is not None:
        changed["scoring"] = spec.scoring.model_copy(update={"threshold": package.meta.threshold})
    return changed


def _training(package: Package) -> Training:
    """The section as it was; of several estimators the one that was chosen."""
    config = package.meta.training_config
    try:
        recorded = dict(config["training"])
        if ADOPTED in config:
            recorded.pop("estimator")
            return nothing_to_fit(Training.model_validate(recorded))
        training = Training.model_validate(recorded)
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise PackageError(
            f"the package {package.digest[:12]} does not say how it was trained: {type(error).__name__}",
            expected="a package with its training configuration, in a form that this Tallywright reads",
            remedy="use the Tallywright that wrote it: " + package.meta.requirements.get("tallywright", "unknown"),
        ) from error
    chosen = [one for one in training.estimators if named(one) == config.get(ESTIMATOR)]
    several = isinstance(training.estimator, tuple) and len(training.estimator) > 1
    if not (several and chosen):
        return training
    # What was searched for another estimator is no part of this one.
    searched = training.tuning if training.tuned in chosen else None
    return training.model_copy(update={"estimator": chosen[0], "tuning": searched})


def _write_files(package: Package, training: Training, folder: Path) -> None:
    """Writes the recorded texts, and the graph of a ready file."""
    wanted = package.meta.training_config.get("network_sha256")
    for name in package.manifest.files:
        if not name.startswith(FEATURES):
            continue
        text = package.read(name)
        file = file_of(text, wanted)
        _write(folder, name.removeprefix(FEATURES), text if file is None else file)
    for one in training.estimators:
        if one.kind == "onnx" and one.name != ADOPTED:
            _write(folder, one.file, package.read("model.onnx"))


def _write(folder: Path, name: str, content: bytes) -> None:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise PackageError(f"the package names a file {name}, which leads out of it")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def require_same_rows(project: Project, lake: Lake, snapshot: Snapshot) -> None:
    """Reads the pinned rows, and compares their digest with that of the snapshot.

    Raises:
        InputError: They cannot be read, or are others than were trained on.
    """
    content = RowDigest()
    for split in SPLITS:
        try:
            part = read_split(project, lake, snapshot, split)
        except TallyError as error:
            raise InputError(
                f"the {split} rows of {_told(snapshot.features)} and {_told(snapshot.labels)} cannot be read: "
                f"{error.found}",
                expected="the rows that the version was trained on",
                remedy=error.remedy,
            ) from error
        content += digest(part, part.column_names)
    if content.hex != snapshot.fingerprint:
        raise InputError(
            f"the rows of {_told(snapshot.features)} and {_told(snapshot.labels)} have the digest {content.hex[:16]}…",
            expected=f"{snapshot.fingerprint[:16]}…, that of the rows that were trained on",
            remedy="where data.columns or data.key have changed since, check out the code of the version and run it "
            "there; else `tally verify` looks for damage",
        )


def require_pinned(lake: Lake, snapshot: Snapshot) -> None:
    """Looks for the files of the pinned tables.

    Raises:
        InputError: Some are gone; names the table, its version and the days.
    """
    for pinned in (snapshot.features, snapshot.labels):
        _require_files(lake, pinned, snapshot)


def _require_files(lake: Lake, pinned: TableVersion, snapshot: Snapshot) -> None:
    try:
        files = lake.files(pinned.table, version=pinned.version)
    except TallyError as error:
        raise _unreadable(pinned, f"cannot be read: {error.found}") from error
    first, last = snapshot.train_from, snapshot.holdout_to
    lost = []
    for file in files:
        if file.day is not None and first <= date_of(file.day) <= last:
            filesystem, path = filesystem_of(file.path, lake.options)
            if not filesystem.get_file_info(path).is_file:
                lost.append(file.day)
    if lost:
        days = sorted({str(date_of(day)) for day in lost})
        raise _unreadable(pinned, f"is gone: {len(lost)} files of {listed(days)}")


def _unreadable(pinned: TableVersion, what: str) -> InputError:
    return InputError(
        f"{_told(pinned)}, which the version was trained on, {what}",
        expected="the versions of the tables that a registered version was trained on, which `tally maintain` keeps",
        remedy="restore these files from a backup of the lake; without them the version cannot be made again",
    )


def _told(pinned: TableVersion) -> str:
    return f"{pinned.table} version {pinned.version}"
