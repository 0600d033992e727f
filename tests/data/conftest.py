"""A tiny model project whose raw files, queries and spec a test may change before it ingests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from tallywright.data.delta.lake import Lake
from tallywright.spec import Environment, ModelSpec, Project
from tallywright.spec.environment import Storage

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "id,day,amount,kind,outcome,known_at"
CONTRACT = """
-- rows of :lookback_date .. :to_date
SELECT CAST(o.day AS DATE) AS score_date,
       CASE WHEN o.amount IS NULL THEN 'no amount' END AS reject_reason,
       o.id, o.kind, o.amount, o.outcome, o.known_at
FROM orders o WHERE CAST(o.day AS DATE) BETWEEN :lookback_date AND :to_date
"""
FEATURES = """
SELECT score_date, id, CAST(score_date AS TIMESTAMP) AS score_moment, kind, amount
FROM accepted WHERE score_date BETWEEN :from_date AND :to_date
"""
LABELS = """
SELECT id, score_date, CAST(outcome AS INTEGER) AS bad, CAST(known_at AS TIMESTAMP) AS label_time,
       CASE WHEN outcome IS NULL THEN 'never' ELSE 'known' END AS label_status
FROM accepted WHERE score_date BETWEEN :from_date AND :to_date;
"""


def order(number: int, day: str, **columns: Any) -> str:
    """One raw line; NA where a column is None."""
    row = {
        "id": f"o{number}", "day": day, "amount": number * 1.5, "kind": "ab"[number % 2],
        "outcome": number % 2, "known_at": f"{day} 18:00:00",
    }  # fmt: skip
    return ",".join("NA" if value is None else str(value) for value in (row | columns).values())


@dataclass
class Shop:
    """The project's parts; `project()` writes them down and loads them."""

    folder: Path
    lines: list[str] = field(default_factory=list)
    contract: str = CONTRACT
    features: str = FEATURES
    labels: str = LABELS
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    storage: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def order(number: int, day: str, **columns: Any) -> str:
        return order(number, day, **columns)

    def table(self, lines: list[str] | None = None, *, header: str = HEADER) -> pa.Table:
        """Raw lines, all of them where none are given, as columns of texts; the amount is a DOUBLE."""
        cells = zip(*(line.split(",") for line in (self.lines if lines is None else lines)), strict=True)
        table = pa.table({name: list(column) for name, column in zip(header.split(","), cells, strict=True)})
        return table.set_column(2, "amount", table["amount"].cast(pa.float64()))

    @property
    def lake(self) -> Lake:
        return Lake.of(self.project().environment)

    def project(self) -> Project:
        for name in ("contract", "features", "labels"):
            (self.folder / f"{name}.sql").write_text(getattr(self, name))
        (self.folder / "orders.csv").write_text("\n".join([HEADER, *self.lines]) + "\n")
        places = {name: str(self.folder / name) for name in ("lake", "work", "cache")}
        storage = Storage.model_validate(places | self.storage)
        environment = Environment(name="test", storage=storage)
        return Project(spec=self.spec(), folder=self.folder, root=self.folder, environment=environment)

    def spec(self) -> ModelSpec:
        columns = {"id": "VARCHAR", "score_moment": "TIMESTAMP", "kind": "VARCHAR", "amount": "DOUBLE"}
        data = {
            "sources": {"orders": {"path": "orders.csv", "types": {"amount": "DOUBLE"}}},
            "key": ["id"], "contract": "contract.sql", "features": "features.sql", "labels": "labels.sql",
            "columns": columns, "lookback_days": 2,
        }  # fmt: skip
        training = {
            "target": "bad", "numeric": ["amount"], "categorical": ["kind"],
            "window_days": 3, "validation_days": 1, "holdout_days": 1,
        }  # fmt: skip
        return ModelSpec.model_validate(
            {
                "name": "shop",
                "description": "Will an order go bad?",
                "owner": {"name": "Shop", "email": "shop@example.com"},
                "schedule": {"start_date": "2024-01-01", "end_date": "2024-01-31", "timezone": "America/New_York"},
                "data": data | self.data,
                "training": training | self.training,
            }
        )


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Five days with ten orders each, 2024-01-01 to 2024-01-05."""
    days = [f"2024-01-0{number}" for number in range(1, 6)]
    return Shop(tmp_path, [order(10 * place + number, day) for place, day in enumerate(days) for number in range(10)])
