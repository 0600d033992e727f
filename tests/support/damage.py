"""A small lake with a row in each table, and the ways in which its files and rows can be damaged."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from day_gate import report_day
from deltalake import DeltaTable, write_deltalake
from synthetic import DAY, commit_day, make_features, make_package, make_project

from tallywright.data.delta.lake import Lake
from tallywright.data.etl.labels import label_writer
from tallywright.data.etl.reading import Reading
from tallywright.gates.record import record_report
from tallywright.lifecycle.context import RunContext
from tallywright.lifecycle.run import run_step
from tallywright.packaging.package import Package, PackageCache
from tallywright.records import Check, Decision, GateReport, ModelRef, Promotion, Verdict
from tallywright.registry.evidence import evidence_of
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions_table import record_version
from tallywright.spec import Project

NOW = datetime(2024, 3, 2, tzinfo=UTC)
DAYS = tuple(DAY + timedelta(days=number) for number in range(3))
ROWS = 120
Damage = Callable[[Path], None]


def _reports(digest: str) -> tuple[GateReport, ...]:
    check = (Check(name="all", verdict=Verdict.PASS),)
    return tuple(
        GateReport(gate=gate, model="shop", subject=digest, checks=check) for gate in ("operations", "quality")
    )


def _register(project: Project, lake: Lake, version: int, package: Package, *, champion: bool) -> None:
    package = PackageCache(Path(project.environment.storage.cache)).put(package.folder)
    ref = ModelRef(name="shop", version=version, digest=package.digest, trained_through=package.meta.trained_through)
    reports = _reports(ref.digest)
    for report in reports:
        record_report(lake, project.spec, report, run_id=f"train-{version}", recorded_at=NOW)
    record_version(lake, project.spec, ref, evidence_of(project.spec.name, ref.digest, reports), recorded_at=NOW)
    if not champion:
        return
    decision = Decision(
        model="shop", candidate_version=version, candidate_digest=ref.digest, reports=reports, approver="policy",
        reason="first",
    )  # fmt: skip
    line = Promotion(
        model="shop", sequence=0, action="promote", model_version=version, package_digest=ref.digest,
        trained_through=date(2024, 1, 31), effective_from=DAY, recorded_at=NOW, approver="policy", reason="first",
        decision_json=decision.to_json(),
    )  # fmt: skip
    PromotionLog(lake, project.spec).append(lambda _: line)


def pass_gate(lake: Lake, project: Project, day: date) -> None:
    """Lets a day pass its gate."""
    report_day(lake, project.spec, day, run_id=f"gate-{day}", at=NOW)


def put(lake: Lake, project: Project, day: date) -> None:
    """Ingests a day (its features and labels), and lets it pass its gate."""
    features = make_features(ROWS, seed=day.toordinal())
    commit_day(lake, project.spec, features, day=day)
    labels = pa.table(
        {
            "order_id": features["order_id"],
            "score_date": pa.array([day] * ROWS, pa.date32()),
            "label": pa.array([number % 2 for number in range(ROWS)], pa.int64()),
            "label_time": pa.array([datetime(day.year, day.month, day.day, 18, tzinfo=UTC)] * ROWS),
            "label_status": ["known"] * ROWS,
        }
    )
    with label_writer(lake, project.spec, day) as writer:
        writer.write(day, labels, Reading.before(lake, project.spec, [day]))
    pass_gate(lake, project, day)


def make_lake(root: Path) -> Project:
    """A champion and a shadow, three days scored, compared, realised and decided."""
    project = make_project(root, scoring={"shadow": [2]}, data={"label_maturity_days": 1}, training={"target": "label"})
    lake = Lake.of(project.environment)
    for version in (1, 2):
        package = make_package(root / "packages" / str(version), seed=version)
        _register(project, lake, version, package, champion=version == 1)
    for day in DAYS:
        put(lake, project, day)
        score(project, day)
    return project


def score(project: Project, day: date) -> None:
    """Scores a day as its run does."""
    for step in ("score", "monitor"):
        run_step(RunContext(project, day, f"run-{day}"), step)


def data_files(table: Path) -> list[Path]:
    """The live data files of a table, in order."""
    return sorted(Path(uri) for uri in DeltaTable(table).file_uris())


def flip(file: Path, seed: int = 0) -> None:
    """Flips one bit, not in Parquet's last bytes."""
    content = bytearray(file.read_bytes())
    place = random.Random(f"{seed}{file.name[-8:]}").randrange(len(content) * 8 - 64)
    content[place // 8] ^= 1 << place % 8
    file.write_bytes(content)


def truncate(file: Path) -> None:
    """Takes the second half away."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def remove(file: Path) -> None:
    """Takes the file away."""
    file.unlink()


def add_rows(table: Path) -> None:
    """Another writer appends rows that are there already."""
    rows = DeltaTable(table).to_pyarrow_table().slice(0, 5)
    write_deltalake(table, rows, mode="append")


def change_rows(table: Path) -> None:
    """Another writer changes a number or a text in all rows."""
    handle = DeltaTable(table)
    partitions = handle.metadata().partition_columns
    kinds = {"long": "{} + 1", "double": "1.5", "string": "concat({}, 'x')"}
    for field in handle.schema().fields:
        kind = kinds.get(getattr(field.type, "type", ""))
        if kind and field.name not in partitions:
            handle.update(updates={field.name: kind.format(f'"{field.name}"')})
            return
    raise AssertionError(f"{table} has no column to change")


def delete_rows(table: Path) -> None:
    """Another writer deletes all rows."""
    DeltaTable(table).delete()


def go_back(table: Path) -> None:
    """Another writer restores the version before."""
    handle = DeltaTable(table)
    handle.restore(handle.version() - 1)


def cut_log(table: Path) -> None:
    """The newest commit's file is gone."""
    newest_commit(table).unlink()


def flip_log(table: Path) -> None:
    """A bit of the newest commit's file is another one."""
    flip(newest_commit(table), seed=1)


def put_back(project: Project, kept: Path) -> None:
    """The lake becomes the copy of it that was kept."""
    shutil.rmtree(project.environment.storage.lake)
    shutil.copytree(kept, project.environment.storage.lake)


def newest_commit(table: Path) -> Path:
    """The file of a table's newest commit."""
    return max((table / "_delta_log").glob("*.json"))


def damages(table: Path) -> Iterator[tuple[str, Damage]]:
    """Every way to damage a table, by name; each is given the table's folder."""
    for number, file in enumerate(data_files(table)):
        for way in (flip, truncate, remove):
            yield f"{way.__name__}-{number}", lambda folder, way=way, name=file.name: way(next(folder.rglob(name)))
        yield f"old_copy-{number}", lambda folder, name=file.name: _old_copy(folder, name)
    for way in (add_rows, change_rows, delete_rows, go_back, cut_log, flip_log):
        yield way.__name__, way


def _old_copy(table: Path, name: str) -> None:
    """The file becomes a copy of another one of the table, or of an empty file of its kind."""
    file = next(table.rglob(name))
    other = next(
        (one for one in sorted(table.rglob("*.parquet")) if one.name != name and "_delta_log" not in str(one)), None
    )
    if other is not None and other.read_bytes() != file.read_bytes():
        shutil.copy(other, file)
    else:
        import pyarrow.parquet as pq

        pq.write_table(pq.read_table(file, partitioning=None).slice(0, 0), file)
