"""Makes tests/fixtures/lake-f58f321.tar.xz: a small project as the commit PINNED leaves it, which must open for ever.

The commands of that commit's own source tree, in this environment, make a project and let it live: training, a
promotion, scored days with a restated input and a shadow, decisions, maintenance, and a second version that waits for
its promotion. What can be made again (work folder, caches, plots) is left out. The file `expected.json` holds what that
commit answered about it. No path of this machine remains; `tests/support/old_lake.py` unpacks it anywhere. The fixture
is evidence: do not build it again to make a test pass. A later format gets a fixture of its own, beside this one.
"""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

REPOSITORY: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests" / "support"))

from old_lake import ARCHIVE, EXPECTED, MODEL, PLACE, OldLake, readdress, summary  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

PINNED: Final = "f58f321ebb6c0a5a490b9467fb75a684f9a19e82"
MOST_BYTES: Final = 300_000
CREATED: Final = 1_735_689_600
"""The time of every packed file: 1 January 2025, UTC."""

RAW_BEFORE: Final = "2025-01-31"
FIRST, RESTATED, LAST_OF_ONE, LAST = "2025-01-22", "2025-01-24", "2025-01-26", "2025-01-28"
SMALL: Final = {
    "  window_days: 60": "  window_days: 14",
    "  validation_days: 10": "  validation_days: 4",
    "  holdout_days: 14": "  holdout_days: 7\n  baselines: false",
    "    hidden: [32, 16]": "    hidden: [4]\n    learning_rate: 0.02",
    "    batch_size: 256": "    batch_size: 64",
    "    epochs: 30": "    epochs: 6",
    "  min_labels: 50": "  min_labels: 50\n  performance_floor:\n    roc_auc: {min: 0.6}",
}
"""What makes the sample project quick and its lake small; the floor lets some days violate."""
# The champion sees few columns, so that the second version can prove to be better.
FEW_COLUMNS: Final = ("--set", "training.numeric=[weight_kg]", "--set", "training.categorical=[day_of_week,region]")


def main() -> None:
    """Builds, checks and packs."""
    with tempfile.TemporaryDirectory(prefix="tallywright-") as folder:
        source, root = Path(folder) / "source", Path(folder) / "project"
        _check_out(source)
        project = OldLake(root, (("PYTHONPATH", str(source / "src")), ("TALLYWRIGHT_CODE_VERSION", PINNED)))
        _begin(project)
        _live(project)
        expected = json.dumps(_answers(project), indent=1)
        (root / EXPECTED).write_text(expected + "\n", encoding="utf-8")
        _tidy(root)
        _forget_the_place(root)
        _require_no_trace_of(root, (folder, str(REPOSITORY), sys.prefix, str(Path.home()), platform.release()))
        _pack(root)
    size = ARCHIVE.stat().st_size
    print(f"{ARCHIVE.relative_to(REPOSITORY)}: {size:,} bytes")
    if size > MOST_BYTES:
        raise SystemExit(f"more than {MOST_BYTES:,} bytes")


def _check_out(source: Path) -> None:
    """The tree of the pinned commit, without a word in this repository."""
    command = ["git", "-C", str(REPOSITORY), "archive", PINNED, "src"]
    packed = subprocess.run(command, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(source, filter="data")


def _begin(project: OldLake) -> None:
    """The sample project, smaller, with one row that the contract rejects."""
    project.root.mkdir()
    project.tally("init", ".", "--model", MODEL)
    raw = project.root / "models" / MODEL / "raw"
    kept = _edit(raw / "orders.csv", lambda row: row if row[1] < RAW_BEFORE else None)
    _edit(raw / "deliveries.csv", lambda row: row if row[0] in kept else None)
    _reweigh(project, f"{RESTATED} 09", "0.0")
    spec = project.root / "models" / MODEL / "model.yaml"
    text = spec.read_text(encoding="utf-8")
    for old, new in SMALL.items():
        if old not in text:
            raise SystemExit(f"{spec.name} of {PINNED[:7]} has no {old.strip()!r}")
        text = text.replace(old, new)
    spec.write_text(text, encoding="utf-8")


def _reweigh(project: OldLake, placed: str, weight: str) -> None:
    """Gives the first order placed then another weight."""
    orders, done = project.root / "models" / MODEL / "raw" / "orders.csv", set[str]()

    def change(row: list[str]) -> list[str]:
        if not done and row[1].startswith(placed):
            done.add(row[0])
            return [*row[:4], weight, row[5]]
        return row

    _edit(orders, change)
    if not done:
        raise SystemExit(f"no order was placed at {placed}")


def _edit(file: Path, change: Callable[[list[str]], list[str] | None]) -> set[str]:
    """Changes or drops the rows below the header, and tells the first column of those that stay."""
    header, *lines = file.read_text(encoding="utf-8").splitlines()
    rows = [row for row in (change(line.split(",")) for line in lines) if row is not None]
    file.write_text("\n".join([header, *map(",".join, rows)]) + "\n", encoding="utf-8")
    return {row[0] for row in rows}


def _live(project: OldLake) -> None:
    """The life: each line is a command that a user gives."""
    project.tally("ingest", MODEL, "--from", "2025-01-01", "--to", LAST_OF_ONE)
    project.tally("train", MODEL, "--date", FIRST, "--by", "a person", "--reason", "the first", *FEW_COLUMNS)
    project.tally("score", MODEL, "--from", FIRST, "--to", RESTATED)
    _reweigh(project, f"{RESTATED} 12", "9.99")
    project.tally("score", MODEL, "--from", RESTATED, "--to", LAST_OF_ONE)
    project.tally("train", MODEL, "--date", "2025-01-27", "--set", "registry.approval=person")
    with (project.root / "models" / MODEL / "model.yaml").open("a", encoding="utf-8") as spec:
        spec.write("\nscoring:\n  shadow: [2]\n")
    project.tally("score", MODEL, "--from", "2025-01-27", "--to", LAST)
    project.tally("run", MODEL, "decide", "--date", LAST, "--act")
    project.tally("maintain", MODEL)
    again = project.json("score", MODEL, "--from", FIRST, "--to", LAST)
    if {day["action"] for day in again} != {"unchanged"}:
        raise SystemExit(f"{PINNED[:7]} itself does not leave these days unchanged: {again}")


def _answers(project: OldLake) -> dict[str, Any]:
    """What the pinned commit says about its own lake."""
    rows = project.rows(dict.fromkeys(project.versions(), ()))
    empty = [table for table, found in rows.items() if not found]
    if empty or str(project.root) in json.dumps(rows):
        raise SystemExit(f"a row names the place of the project, or tables are empty: {empty}")
    keys = {row["score_date"]: row["order_id"] for row in sorted(rows[f"{MODEL}__scores"], key=str)}
    return {
        "commit": PINNED,
        "days": project.json("days", MODEL),
        "history": project.json("history", MODEL),
        "traces": [
            {"key": keys[day], "day": day, "told": project.json("trace", MODEL, keys[day], day)}
            for day in (RESTATED, LAST)
        ],
        "tables": {table: summary(found) for table, found in rows.items()},
    }


def _tidy(root: Path) -> None:
    """Takes away what is made again when it is missing, and pictures."""
    for folder in (root / ".tally/work", root / ".tally/cache", *root.glob(".tally/mlartifacts/*/*/artifacts/plots")):
        shutil.rmtree(folder)
    for folder in [*root.rglob("__pycache__"), *root.glob("mlruns")]:
        shutil.rmtree(folder)


def _forget_the_place(root: Path) -> None:
    """MLflow's addresses, its word for this machine's kernel, and the note in a table's first commit."""
    readdress(root / ".tally/mlflow.db", str(root), PLACE)
    readdress(root / ".tally/mlflow.db", platform.release(), "some-kernel")
    for commit in root.glob(".tally/lake/*/_delta_log/*.json"):
        commit.write_bytes(commit.read_bytes().replace(str(root).encode(), PLACE.encode()))


def _require_no_trace_of(root: Path, places: tuple[str, ...]) -> None:
    found = [
        f"{file.relative_to(root)}: {place}"
        for file in root.rglob("*")
        if file.is_file()
        for place in places
        if place.encode() in file.read_bytes()
    ]
    if found:
        raise SystemExit("\n".join(["a word about this machine is left in", *found]))


def _pack(root: Path) -> None:
    """The same files make the same archive: sorted, of one time, of nobody."""
    ARCHIVE.parent.mkdir(exist_ok=True)
    with tarfile.open(ARCHIVE, "w:xz", preset=9, format=tarfile.USTAR_FORMAT) as packed:
        for file in sorted(path for path in root.rglob("*") if path.is_file()):
            info = tarfile.TarInfo(file.relative_to(root).as_posix())
            info.size, info.mtime, info.mode = file.stat().st_size, CREATED, 0o644
            with file.open("rb") as content:
                packed.addfile(info, content)


if __name__ == "__main__":
    os.environ.pop("TALLYWRIGHT_ENV", None)
    os.environ.pop("TALLYWRIGHT_HOME", None)
    main()
