"""`tally doctor`: checks what a run needs, with a remedy for what is missing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tallywright.cli.console import show_rows
from tallywright.cli.options import FOLDER, NAME, json_option
from tallywright.errors import TallyError
from tallywright.interruption import raise_if_stopped
from tallywright.records import Check, Verdict
from tallywright.redaction import without_credentials
from tallywright.spec import Environment, load_project, model_names
from tallywright.spec.load import load_environment, project_root, read_overlay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import Project

JAVA_AT_LEAST: Final = 17
FREE_BYTES_AT_LEAST: Final = 2_000_000_000
# Extra -> a package whose presence shows that the extra is installed.
EXTRAS: Final = {
    "airflow": "airflow",
    "train": "mlflow",
    "gx": "great_expectations",
    "spark": "pyspark",
    "beam": "apache_beam",
}


@click.command()
@click.option("--env", "environment", type=NAME, help="Overlay in conf/.")
@click.option("--root", type=FOLDER, help="The project's folder.")
@json_option
def doctor(environment: str | None, root: Path | None, *, as_json: bool) -> None:
    """Check Python, Java, packages, storage, tracking, connections and table features; exit 1 if something fails."""
    settings = load_environment(root=root, environment=environment)
    overlay = read_overlay(project_root(root), environment)
    tracking = list(_tracking(settings))
    reachable = all(check.verdict is Verdict.PASS for check in tracking)
    checks = [
        *_machine(),
        *_storage(settings),
        *tracking,
        *_other_side(settings),
        *(_experiments(root, environment) if reachable else ()),
        *_connections(settings),
        *_tables(settings),
        *(
            _check(f"overlay {overlay.file.name}", str(one), Verdict.WARN, "take the layer out, or correct its name")
            for one in overlay.strangers()
        ),
        *_specs(root, environment),
        *_clocks(root, environment),
        *_integrity(root, environment, reachable=reachable),
    ]
    rows = [{"check": check.name, "verdict": check.verdict.value, "found": check.observed, "to_do": check.evidence}
            for check in checks]  # fmt: skip
    show_rows(rows, as_json=as_json)
    if any(check.verdict is Verdict.FAIL for check in checks):
        sys.exit(TallyError.exit_code)


def _machine() -> Iterator[Check]:
    version = sys.version_info
    verdict = Verdict.PASS if (3, 11) <= version[:2] < (3, 13) else Verdict.FAIL
    yield _check("python", ".".join(map(str, version[:3])), verdict, "use Python 3.11 or 3.12")
    for extra, package in EXTRAS.items():
        there = util.find_spec(package) is not None
        name = package.replace("airflow", "apache-airflow").replace("_", "-")
        found = f"{name} {metadata.version(name)}" if there else "not installed"
        yield _check(f"extra {extra}", found, Verdict.PASS if there else Verdict.WARN,
                     f"`pip install '.[{extra}]'` in a checkout (docs/tutorial.md)")  # fmt: skip
    java = _java()
    good = java is not None and java >= JAVA_AT_LEAST
    yield _check("java", str(java) if java else "none", Verdict.PASS if good else Verdict.WARN,
                 f"only Spark needs it: install Java {JAVA_AT_LEAST} or newer")  # fmt: skip
    if util.find_spec(EXTRAS["spark"]) is not None:
        yield _jars()


def _jars() -> Check:
    from tallywright.spark_session.jars import delta_jars

    try:
        return _check("delta jars", str(delta_jars()[0].parent), Verdict.PASS, "")
    except TallyError as error:
        return _check("delta jars", error.found, Verdict.WARN, f"only `io: engine` and SQL on Spark: {error.remedy}")


def _java() -> int | None:
    command = shutil.which("java")
    if command is None:
        return None
    try:
        done = subprocess.run([command, "-version"], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', done.stderr)
    return int(found.group(1)) if found else None


def _storage(settings: Environment) -> Iterator[Check]:
    from tallywright.data.storage.filesystem import is_disk

    for name in ("lake", "work", "cache"):
        place = getattr(settings.storage, name)
        if not is_disk(place):
            yield _object_store(settings, name)
            continue
        problem = _problem_with(Path(place))
        remedy = f"set storage.{name} in conf/{settings.name}.yaml to a writable folder with free space"
        yield _check(f"storage {name}", problem or place, Verdict.FAIL if problem else Verdict.PASS, remedy)


def _object_store(settings: Environment, name: str) -> Check:
    from tallywright.data.delta.lake import Lake
    from tallywright.data.upkeep.probe import probe_store

    place = getattr(settings.storage, name)
    if name != "lake":
        found = f"{place} is an object store"
        return _check(f"storage {name}", found, Verdict.FAIL, f"set storage.{name} to a folder of this machine")
    try:
        probe_store(Lake.of(settings))
    except TallyError as error:
        return _check(f"storage {name}", error.found, Verdict.FAIL, error.remedy)
    return _check(f"storage {name}", f"{place}, commits by conditional put", Verdict.PASS, "")


def _problem_with(place: Path) -> str:
    """The reason why files cannot be written below a folder (or its nearest existing parent); empty if they can."""
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    if not existing.is_dir():
        return f"{existing} is not a folder"
    try:
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        return f"{existing}: {error.strerror}"
    return "" if free >= FREE_BYTES_AT_LEAST else f"{existing}: only {free / 1e9:.1f} GB free"


def _tracking(settings: Environment, name: str = "tracking") -> Iterator[Check]:
    uri = settings.tracking.uri
    if util.find_spec("mlflow") is None:
        yield _check(name, "no mlflow", Verdict.WARN, "training needs pip install 'tallywright[train]'")
        return
    from tallywright.registry.versions import ping

    try:
        ping(settings)
    except TallyError as error:
        yield _check(name, error.found, Verdict.FAIL, error.remedy)
        return
    yield _check(name, uri, Verdict.PASS, "")


def _other_side(settings: Environment) -> Iterator[Check]:
    """Whether the lake and the registry of the other one of two environments can be read from here."""
    other = settings.registries.other
    if other is None:
        return
    from tallywright.data.delta.lake import Lake

    there = settings.in_training if settings.registries.production is None else settings.in_production
    try:
        found = f"{other.storage.lake}, {len(Lake.of(there).tables())} tables, only read from here"
    except TallyError as error:
        yield _check(f"lake of {other.name}", error.found, Verdict.FAIL, error.remedy)
    else:
        yield _check(f"lake of {other.name}", found, Verdict.PASS, "")
    yield from _tracking(there, f"tracking of {other.name}")


def _experiments(root: Path | None, environment: str | None) -> Iterator[Check]:
    """Names the models whose experiment in MLflow was deleted, or keeps its files in another project."""
    from tallywright.training.tracking import experiment_problem

    for name in model_names(root):
        try:
            problem = experiment_problem(load_project(name, root=root, environment=environment))
        except TallyError:
            continue  # said by the checks of tracking and specs
        if problem is not None:
            yield _check(f"experiment {name}", problem.found, Verdict.FAIL, problem.remedy)


def _connections(settings: Environment) -> Iterator[Check]:
    """Checks the Airflow connections that the overlay names, where environment variables define them."""
    if settings.engine.spark.connection:
        yield _connection(settings.engine.spark.connection, wanted="host")
    if settings.storage.connection:
        yield _connection(settings.storage.connection, wanted="login")


def _connection(connection: str, *, wanted: str) -> Check:
    variable, check = f"AIRFLOW_CONN_{connection.upper()}", f"connection {connection}"
    text = os.environ.get(variable, "")
    if not text:
        remedy = f"export {variable}, unless the connection stands in the Airflow UI"
        return _check(check, "not in the environment", Verdict.WARN, remedy)
    try:
        found = json.loads(text).get(wanted, "") if text.startswith("{") else text
    except (ValueError, AttributeError):
        return _check(check, "not readable", Verdict.FAIL, f'give JSON: {{"conn_type": …, "{wanted}": …}}')
    verdict = Verdict.PASS if found else Verdict.FAIL
    return _check(check, "set" if found else f"has no {wanted}", verdict, f"give it its {wanted}")


def _tables(settings: Environment) -> Iterator[Check]:
    from tallywright.data.delta.lake import Lake

    lake = Lake.of(settings)
    broken: list[tuple[str, Exception]] = []
    try:
        names = lake.tables()
    except TallyError as error:
        yield _check("tables", error.found, Verdict.FAIL, error.remedy)
        return
    for name in names:
        try:
            lake.open(name)
        except Exception as error:  # noqa: BLE001 - nor a table
            raise_if_stopped()
            broken.append((name, error))
    for name, problem in broken:
        remedy = problem.remedy if isinstance(problem, TallyError) else "tally -v doctor"
        yield _check(f"table {name}", _found(problem), Verdict.FAIL, remedy)
    if not broken:
        yield _check("tables", f"{len(names)}, all within the table contract", Verdict.PASS, "")


def _specs(root: Path | None, environment: str | None) -> Iterator[Check]:
    for name in model_names(root):
        try:
            load_project(name, root=root, environment=environment)
        except Exception as error:  # noqa: BLE001 - a model takes no line of another
            raise_if_stopped()
            yield _check(f"spec {name}", _found(error), Verdict.FAIL, f"tally validate {name}")
        else:
            yield _check(f"spec {name}", "valid", Verdict.PASS, "")


def _clocks(root: Path | None, environment: str | None) -> Iterator[Check]:
    """Names the lines of promotion logs that were written by a clock that was wrong; it changed no order."""
    from datetime import UTC, datetime

    from tallywright.data.delta.lake import Lake
    from tallywright.registry.promotion_log import PromotionLog, clock_jumps

    for name in model_names(root):
        try:
            project = load_project(name, root=root, environment=environment)
            entries = PromotionLog(Lake.of(project.environment), project.spec).entries()
            jumps = clock_jumps(entries, datetime.now(UTC))
        except Exception:  # noqa: BLE001 - said by the checks of tables and specs
            raise_if_stopped()
            continue
        if jumps:
            to_do = "set the clock by NTP; order comes from the sequence, so nothing else has changed"
            yield _check(f"clock {name}", "; ".join(jumps), Verdict.WARN, to_do)


def _aliases(project: Project, lake: Lake) -> Iterator[Check]:
    """Checks whether the registry's aliases name the versions that the promotion log says; or there are no versions."""
    from tallywright.registry.numbers import log_for_aliases
    from tallywright.registry.versions import stale_aliases

    name = f"registry {project.spec.name}"
    try:
        stale = stale_aliases(project, log_for_aliases(project, lake))
    except Exception as error:  # noqa: BLE001 - as above
        raise_if_stopped()
        yield _check(name, _found(error), Verdict.FAIL, error.remedy if isinstance(error, TallyError) else "")
        return
    told = "; ".join(map(str, stale))
    yield _check(name, told or "its aliases follow the promotion log", Verdict.FAIL if stale else Verdict.PASS,
                 f"tally verify {project.spec.name} --repair")  # fmt: skip


def _integrity(root: Path | None, environment: str | None, *, reachable: bool) -> Iterator[Check]:
    """The promotion log of each model, the registry's aliases, and the verdict of the last verification."""
    from tallywright.data.delta.lake import Lake
    from tallywright.lifecycle.seals import verdict_in, verified_rows
    from tallywright.registry.promotion_log import PromotionLog

    for name in model_names(root):
        try:
            project = load_project(name, root=root, environment=environment)
        except Exception:  # noqa: BLE001 - its spec has a line of its own
            raise_if_stopped()
            continue
        lake = Lake.of(project.environment)
        try:
            problems, rows = PromotionLog(lake, project.spec).problems(), verified_rows(lake, project.spec)
        except Exception as error:  # noqa: BLE001 - as above
            raise_if_stopped()
            remedy = error.remedy if isinstance(error, TallyError) else ""
            yield _check(f"verify {name}", _found(error), Verdict.FAIL, remedy or f"tally verify {name}")
            continue
        if problems:
            yield _check(f"promotions {name}", str(problems[0]), Verdict.FAIL, f"tally verify {name} --repair")
        elif reachable:
            yield from _aliases(project, lake)
        verdict = verdict_in(rows)
        runs = sum(row.run_id is not None for row in rows)
        since = f"; {runs} runs have sealed what they wrote since, not verified yet" if runs else ""
        if verdict is None:
            yield _check(f"verify {name}", f"never verified{since}", Verdict.WARN, f"tally verify {name}")
            continue
        at = f"{verdict.verified_at:%Y-%m-%d %H:%M}"
        found = f"{verdict.findings} findings at {at}" if verdict.findings else f"all stood at {at}"
        yield _check(
            f"verify {name}",
            f"{found}{since}",
            Verdict.FAIL if verdict.findings else Verdict.PASS,
            f"tally verify {name}",
        )


def _found(error: Exception) -> str:
    """What an error found, of whatever class."""
    return error.found if isinstance(error, TallyError) else f"unexpected {type(error).__name__}: {str(error)[:300]}"


def _check(name: str, found: str, verdict: Verdict, to_do: str) -> Check:
    to_do = "" if verdict is Verdict.PASS else without_credentials(to_do)
    return Check(name=name, verdict=verdict, observed=without_credentials(found), evidence=to_do)
