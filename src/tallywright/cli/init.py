"""`tally init`: writes a new project that runs at once, on sample data of its own."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import numpy as np

from tallywright.cli.options import NEW_FOLDER
from tallywright.errors import StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

FIRST_DAY: Final = date(2025, 1, 1)
DAYS: Final = 120
ORDERS_A_DAY: Final = 90
_NAME_PATTERN: Final = r"[a-z][a-z0-9_]{0,40}"


@click.command()
@click.argument("folder", type=NEW_FOLDER)
@click.option("--model", "name", default="late_orders", show_default=True, help="Name of the model project.")
def init(folder: Path, name: str) -> None:
    """Write a working project into FOLDER: spec, SQL, network, expectations, DAGs and four months of sample data."""
    from tallywright.spec.places import require_plain

    require_plain(folder.absolute())
    template = resources.files("tallywright.cli") / "project_template"
    _check(template, folder, name)
    try:
        written = _copy(template, folder, name)
        raw = folder / "models" / name / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        write_sample(raw)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}", remedy="choose another folder") from error
    click.echo(f"wrote {written} files and {DAYS} days of sample data to {folder}. Next:")
    for line in (
        f"cd {folder}",
        f"tally validate {name}",
        f"tally ingest {name} --from {FIRST_DAY} --to {FIRST_DAY + timedelta(days=DAYS - 1)}",
        f"tally train {name} --date 2025-04-01",
        f"tally backfill {name} --from 2025-04-01 --to 2025-04-07",
        f"tally days {name}",
    ):
        click.echo(f"  {line}")


def _check(template: Traversable, folder: Path, name: str) -> None:
    import re

    if not re.fullmatch(_NAME_PATTERN, name):
        raise UsageError(
            f"{name!r} cannot be a model's name", expected="lower case letters, digits and _, a letter first"
        )
    from tallywright.cli.main import COMMANDS

    if name in COMMANDS:
        raise UsageError(f"{name!r} is a command of tally", expected="a name that no command has")
    files = [path for _, path in _files(template, Path(), name) if (folder / path).exists()]
    folders = [Path(path) for path in ("models", "conf", "dags", "expectations") if (folder / path).exists()]
    taken = [str(path) for path in (*folders, *files) if not {*path.parents} & {*folders}]
    if taken:
        raise UsageError(
            f"{folder} has {', '.join(taken)} already; nothing was written",
            remedy="name a new folder, or copy a model's folder by hand to add a second model",
        )


def _files(source: Traversable, target: Path, name: str) -> Iterator[tuple[Traversable, Path]]:
    """The files of the template with their targets; `NAME` in a path becomes the model's name."""
    for item in source.iterdir():
        if item.name == "__pycache__":
            continue
        path = target / item.name.replace("NAME", name).removesuffix(".j2")
        if item.is_dir():
            yield from _files(item, path, name)
        else:
            yield item, path


def _copy(template: Traversable, folder: Path, name: str) -> int:
    """Renders the template; `{{ name }}` in a text becomes the model's name."""
    import jinja2

    files = list(_files(template, folder, name))
    for item, path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = item.read_text(encoding="utf-8")
        path.write_text(jinja2.Template(text, keep_trailing_newline=True).render(name=name), encoding="utf-8")
    return len(files)


def write_sample(folder: Path) -> None:
    """Writes `orders.csv` and `deliveries.csv`: always the same files, with a relation that a model can learn."""
    import pyarrow as pa
    from pyarrow import csv

    random = np.random.default_rng(2025)
    rows = DAYS * ORDERS_A_DAY
    start = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day)  # noqa: DTZ001 - the files hold naive UTC
    minutes = np.sort(random.integers(0, DAYS * 1440, rows))
    region, carrier = random.integers(0, 5, rows), random.integers(0, 3, rows)
    weight, distance = random.lognormal(0.5, 0.8, rows).round(2), random.gamma(2.0, 180.0, rows).round(1)
    weekend = (minutes // 1440 + FIRST_DAY.weekday()) % 7 >= 5  # noqa: PLR2004 - Saturday and Sunday
    logit = -2.2 + 0.002 * distance + 0.25 * weight + 0.9 * weekend + np.array([0, 0.8, -0.5])[carrier]
    late = random.random(rows) < 1 / (1 + np.exp(-(logit + np.array([0, 0.4, -0.3, 0.7, 0])[region])))
    delivered = minutes + 360 + random.integers(0, 720, rows) + 600 * late
    ids = pa.array([f"o{number:06d}" for number in range(rows)])
    orders = {
        "order_id": ids,
        "ordered_at": _instants(start, minutes),
        "region": pa.array(np.array(["north", "south", "east", "west", "islands"])[region]),
        "carrier": pa.array(np.array(["swift", "steady", "local"])[carrier]),
        "weight_kg": pa.array(weight),
        "distance_km": pa.array(distance),
    }
    deliveries = {"order_id": ids, "delivered_at": _instants(start, delivered), "late": pa.array(late.astype(np.int8))}
    # Some orders are cancelled: scored, never labelled.
    kept = pa.array(random.random(rows) >= 0.02)  # noqa: PLR2004
    csv.write_csv(pa.table(orders), folder / "orders.csv")
    csv.write_csv(pa.table(deliveries).filter(kept), folder / "deliveries.csv")


def _instants(start: datetime, minutes: np.ndarray) -> object:
    import pyarrow as pa

    return pa.array(np.datetime64(start, "s") + minutes.astype("timedelta64[m]"), pa.timestamp("s"))
