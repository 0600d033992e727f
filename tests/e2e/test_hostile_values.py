"""Values of the data never become a name of another system as they are: the whole life with hostile values."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from pyarrow import csv

from tallywright.data.keys import key_text
from tallywright.mlflow_names import decode, encode

from .conftest import World

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1500)]

REGIONS = {
    "north": "../../north\\..\\🙂\u202egnp\n.exe",
    "south": "<b id='r' onclick=\"x\">&%s *?[a]</b></script>",
    "east": "é" * 1000,
    "west": "x/y",
    "islands": "x=y",
}
CARRIERS = {"swift": "   ", "steady": "CON: Food & Drink'); DROP TABLE x; --", "local": ""}
"""An empty text is a null to the reader of CSV, so the features say it."""
IDS = {3: "/../{}", 4: "{}\n", 5: "%2F{}", 6: " {} ", 7: "-{}", 8: "שלום {}"}
"""What becomes of an order's id, by its last digit."""
SAFE = re.compile(r"[A-Za-z0-9_.=:%@+-]+")
NAME = re.compile(r"[A-Za-z0-9_.:/ -]{1,250}")
DAYS = ("2025-04-01", "2025-04-02")


def spoil(world: World) -> None:
    """Gives the sample data hostile values, and makes a slice and a key of them."""
    raw = world.root / "models/late_orders/raw"
    orders, deliveries = csv.read_csv(raw / "orders.csv"), csv.read_csv(raw / "deliveries.csv")
    for name, values in (("region", REGIONS), ("carrier", CARRIERS | {"local": "local"})):
        spoilt = pa.array([values[value] for value in orders[name].to_pylist()])
        orders = orders.set_column(orders.column_names.index(name), name, spoilt)
    for table, file in ((orders, "orders.csv"), (deliveries, "deliveries.csv")):
        ids = [IDS.get(int(text[-1]), "{}").format(text) for text in table["order_id"].to_pylist()]
        csv.write_csv(table.set_column(table.column_names.index("order_id"), "order_id", pa.array(ids)), raw / file)
    spec, sql = "models/late_orders/model.yaml", "models/late_orders/sql"
    world.edit(spec, "key: [order_id]", "key: [region, order_id]")
    world.edit(spec, "slices: [region]", "slices: [region, carrier]")
    carrier = "    CASE WHEN a.carrier = 'local' THEN '' ELSE a.carrier END AS carrier,"
    world.edit(f"{sql}/features.sql", "    a.carrier,", carrier)
    world.edit(f"{sql}/labels.sql", "    a.order_id,", "    a.region,\n    a.order_id,")


class Names(HTMLParser):
    """The attributes of a page that name something, and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [(name, value or "") for name, value in attrs if name in {"id", "class", "for", "name", "href"}]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("hostile") / "sample"
    world = World(root)
    World(root.parent).tally("init", str(root), "--model", world.model)
    spoil(world)
    world.tally("ingest", world.model, "--from", "2025-01-01", "--to", "2025-04-05")
    world.tally("train", world.model, "--date", "2025-04-01", "--by", "a test")
    world.tally("backfill", world.model, "--from", DAYS[0], "--to", "2025-04-04")
    world.tally("run", world.model, "day-gate", "--date", DAYS[0], "--page")
    world.tally("report", world.model)
    return world


def test_no_file_and_no_table_is_made_of_them(lived: World) -> None:
    made = [path.relative_to(lived.root) for path in lived.root.rglob("*")]
    assert [str(path) for path in made if not all(SAFE.fullmatch(part) for part in path.parts)] == []
    assert {path.name for path in lived.root.parent.iterdir()} == {"sample"}


def names_in_mlflow(lived: World) -> Iterator[str]:
    with sqlite3.connect(lived.root / ".tally/mlflow.db") as database:
        for table in ("metrics", "latest_metrics", "params", "tags", "model_version_tags", "registered_model_tags"):
            yield from (row[0] for row in database.execute(f"select key from {table}"))


def test_every_slice_has_metrics_of_its_own_from_whose_names_it_can_be_told(lived: World) -> None:
    names = set(names_in_mlflow(lived))
    assert [name for name in names if not NAME.fullmatch(name)] == []
    parts = [name.split("/") for name in names if name.startswith("slice/") and name.endswith("/rows")]
    assert {len(part) for part in parts} == {4}
    wanted = {("region", value) for value in REGIONS.values()} | {("carrier", value) for value in CARRIERS.values()}
    assert {(part[1], part[2]) for part in parts} == {(column, encode(value)) for column, value in wanted}
    (told,) = (lived.root / ".tally/mlartifacts").rglob("metric_names.json")
    slices = {name: one["slice"] for name, one in json.loads(told.read_text(encoding="utf-8")).items()}
    assert {slices["/".join(part)] for part in parts} == {f"{column}={value}" for column, value in wanted}
    assert decode(encode("x=y")) == "x=y"


def test_the_rows_hold_the_values_as_they_are(lived: World) -> None:
    # The name of a slice of the gate has a backslash before one of its own, and before a comma.
    for table, marked in (("gates", "\\\\"), ("performance", "\\")):
        text = str(lived.rows(f"select * from late_orders__{table}"))
        wanted = [value.replace("\\", marked) for value in REGIONS.values() if "'" not in value]
        assert all(repr(value)[1:-1] in text for value in wanted)
    found = lived.rows("select distinct slice_value from late_orders__performance where slice_key = 'region'")
    assert {row["slice_value"] for row in found} == set(REGIONS.values())


def test_pages_show_them_and_name_nothing_after_them(lived: World) -> None:
    pages = [lived.root / "late_orders-report.html", *(lived.root / ".tally/work/data_docs").rglob("*.html")]
    assert len(pages) > 3
    for page in pages:
        seen = Names(page.read_text(encoding="utf-8"))
        assert [one for one in seen.found if any(value.strip() and value in one[1] for value in _all_values())] == []
        assert "script" not in seen.tags or page.parent.name != "sample"
        assert ("id", "r") not in seen.found, page
    assert "x=y" in pages[0].read_text(encoding="utf-8")


def _all_values() -> list[str]:
    return [*REGIONS.values(), *CARRIERS.values(), "onclick", "DROP TABLE", "gnp"]


def test_every_kind_of_key_is_traced_as_it_is_printed(lived: World) -> None:
    rows = lived.rows(f"select region, order_id from late_orders__scores where score_date = date '{DAYS[0]}'")
    by_kind = {(row["region"], re.sub(r"\d", "", row["order_id"])): row for row in rows}
    assert len(by_kind) > 20
    for row in list(by_kind.values())[::3]:
        told = lived.tally("trace", lived.model, key_text([row["region"], row["order_id"]]), DAYS[0], "--json").json
        assert (told["score"]["region"], told["score"]["order_id"]) == (row["region"], row["order_id"])


def test_it_can_be_maintained_and_started_over(lived: World) -> None:
    lived.tally("maintain", lived.model)
    raw = lived.root / "models/late_orders/raw/orders.csv"
    before = raw.read_bytes()
    lived.tally("reset", lived.model, "--dry-run")
    assert raw.read_bytes() == before
