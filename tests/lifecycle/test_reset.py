"""`tally reset` deletes what a model has made, and nothing else."""

from __future__ import annotations

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from synthetic import DAY, make_package, make_project

from tallywright.cli.maintenance_commands import reset
from tallywright.data.delta.lake import Lake
from tallywright.errors import UsageError
from tallywright.lifecycle.reset import plan_reset
from tallywright.mlflow_client import mlflow_client
from tallywright.registry import versions
from tallywright.registry.evidence import evidence_of
from tallywright.registry.removal import OwnInRegistry, remove_from_registry
from tallywright.registry.versions_table import record_version
from tallywright.training.tracking import training_run

pytest.importorskip("mlflow")
pytestmark = pytest.mark.slow
NOW = datetime(2026, 1, 1, tzinfo=UTC)
OTHERS = ("shop__b__scores", "shop2__scores", "shopping__scores")


class Used:
    """A project with tables, a version, runs and raw files, beside those of others in the same places."""

    def __init__(self, root: Path, empty_store: Path) -> None:
        self.root = root
        self.run_of: dict[str, str] = {}
        self.project = make_project(root)
        self.lake = Lake.of(self.project.environment)
        store = Path(self.project.environment.tracking.uri.removeprefix("sqlite:///"))
        store.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(empty_store, store)
        (self.project.folder / "raw.csv").write_text("order_id\n1\n")
        for table in ("shop__scores", "shop__gates", *OTHERS):
            self.lake.replace(table, pa.table({"id": [1], "score_date": [DAY]}), slice={"score_date": DAY})
        self.version = self.register(1, "run-1", record=True)
        self.foreign = self.register(2, "run-2", record=False)
        with mlflow_client(self.project.environment.tracking.uri) as client:
            client.set_tag(self.run_of["run-2"], "tallywright.lake", "another lake")
        with training_run(self.project, "run-3") as run:
            self.run_of["run-3"] = run.run_id
        for folder in ("runs", "data_docs"):
            (Path(self.project.environment.storage.work) / folder / "shop" / "x").mkdir(parents=True)
        (Path(self.project.environment.storage.work) / "runs" / "shopping").mkdir()

    def register(self, seed: int, key: str, *, record: bool) -> int:
        package = make_package(self.root / f"package-{seed}", seed=seed)
        with training_run(self.project, key) as run:
            self.run_of[key] = run.run_id
            ref = versions.register(
                self.project, package.folder, run_id=run.run_id, evidence=evidence_of("shop", package.digest, [])
            )
        if record:
            record_version(self.lake, self.project.spec, ref, evidence_of("shop", ref.digest, []), recorded_at=NOW)
        return ref.version

    def reset(self, *arguments: str, answer: str = "") -> str:
        done = CliRunner().invoke(reset, ["shop", "--root", str(self.root), *arguments], input=answer)
        assert done.exit_code == 0 or isinstance(done.exception, SystemExit), done.exception
        return done.output

    def files(self) -> dict[str, str]:
        """Every file but MLflow's database, with its digest."""
        return {
            str(file.relative_to(self.root)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in self.root.rglob("*")
            if file.is_file() and "mlflow.db" not in file.name
        }

    def left(self) -> tuple[list[int], set[str]]:
        """The versions and the names of the runs that MLflow still has."""
        with mlflow_client(self.project.environment.tracking.uri) as client:
            found = [int(item.version) for item in versions.versions_of(client, "shop")]
            alive = [client.get_run(run) for run in self.run_of.values()]
        return sorted(found), {run.info.run_name for run in alive if run.info.lifecycle_stage == "active"}


@pytest.fixture
def used(tmp_path: Path, empty_store: Path) -> Used:
    return Used(tmp_path, empty_store)


def test_it_says_what_it_would_delete_asks_and_deletes_only_that(used: Used, tmp_path: Path) -> None:
    before = used.files()
    told = used.reset("--dry-run")
    for word in ("shop__scores", "shop__gates", "shop__versions", used.run_of["run-1"], "Raw files"):
        assert word in told
    assert not any(table in told for table in OTHERS)
    assert "Delete all of this" in used.reset(answer="n\n")
    assert used.files() == before
    assert used.left() == ([1, 2], {"run-1", "run-2", "run-3"})

    used.reset(answer="y\n")
    after = used.files()
    gone = {file for file in before if file not in after}
    assert {file: before[file] for file in after} == after
    assert {file.split("/")[2] for file in gone if ".tally/lake" in file} == {
        "shop__scores",
        "shop__gates",
        "shop__versions",
    }
    assert all(file.startswith((".tally/lake/shop__", ".tally/work", ".tally/cache")) for file in gone)
    assert used.left() == ([2], {"run-2"})
    assert used.lake.tables() == sorted(OTHERS)
    assert (Path(used.project.environment.storage.work) / "runs" / "shopping").is_dir()
    assert "nothing that could be deleted" in used.reset("--yes")


def test_an_interrupted_reset_is_repeated(used: Used) -> None:
    plan = plan_reset(used.project, used.lake)
    remove_from_registry(used.project, OwnInRegistry(plan.versions, ()))
    # a table without a log is what a removal leaves that dies between the two
    table = Path(used.lake.root, "shop__scores")
    (table / "_delta_log").rename(table / "_removed_log")
    used.reset("--yes")
    assert used.left() == ([2], {"run-2"})
    assert used.lake.tables() == sorted(OTHERS)
    assert not table.exists()


def test_a_link_is_deleted_and_not_what_it_leads_to(used: Used, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "mine").write_text("mine")
    Path(used.lake.root, "shop__linked").symlink_to(outside)
    used.reset("--yes")
    assert (outside / "mine").read_text() == "mine"
    assert not Path(used.lake.root, "shop__linked").is_symlink()


@pytest.mark.parametrize(
    "path", ["../../.tally/lake/shop__scores/*.csv", "../../.tally/work/runs/shop", "../../.tally"]
)
def test_raw_files_are_never_deleted(used: Used, path: str, tmp_path: Path) -> None:
    project = make_project(tmp_path, data={"sources": {"raw": {"path": path}}})
    with pytest.raises(UsageError, match=r"data\.sources\.raw reads files there"):
        plan_reset(project, used.lake)


def test_a_script_has_to_say_yes(used: Used) -> None:
    done = CliRunner().invoke(reset, ["shop", "--root", str(used.root), "--json"])
    assert isinstance(done.exception, UsageError)
