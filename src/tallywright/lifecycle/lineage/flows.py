"""What each step of the plan reads and writes: tables by their short names, raw files and models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RAW: Final = "(raw files)"
MODEL: Final = "(model)"
CANDIDATE: Final = "(candidate)"
"""The package of a training, before it is a version."""


@dataclass(frozen=True, slots=True)
class Flow:
    """The inputs and outputs of a step."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


_SCORED: Final = ("scores", "shadow", "profile", "drift", "tallies")
_INGESTED: Final = ("features", "labels", "quarantine", "inputs")
_REALISED: Final = ("performance", "periods", "decisions", "actions")
FLOWS: Final = {
    "ingest": Flow((RAW,), _INGESTED),
    "day_gate": Flow(("features",), ("gates",)),
    "resolve": Flow(("promotions", "versions")),
    "score": Flow(("features", "promotions", MODEL), _SCORED),
    "profile": Flow(("scores", "features"), ("profile",)),
    "drift": Flow(("profile", MODEL), ("drift",)),
    "monitor": Flow((RAW, "scores", "tallies", "drift"), ("labels", "label_readings", *_REALISED)),
    "labels": Flow((RAW,), ("labels", "label_readings")),
    "performance": Flow(("scores", "labels"), ("performance",)),
    "decide": Flow(("drift", "performance", "tallies"), ("decisions", "actions")),
    "advance": Flow(("scores", "shadow", "labels", "tallies", "versions"), ("promotions",)),
    "backfill": Flow((RAW, "promotions", MODEL), (*_INGESTED, "gates", *_SCORED, *_REALISED)),
    "snapshot": Flow(("features", "labels")),
    "train": Flow(("features", "labels"), (CANDIDATE,)),
    "quality_gate": Flow(("features", "labels", CANDIDATE), ("gates",)),
    "operations_gate": Flow((CANDIDATE,), ("gates",)),
    "refit": Flow(("features", "labels", CANDIDATE), (CANDIDATE, "gates")),
    "register": Flow((CANDIDATE, "gates"), (MODEL, "versions")),
    "arrive": Flow((), (MODEL, "versions", "gates")),
    "judge": Flow(("features", "labels", "tallies", MODEL), ("gates", "versions")),
    "approval_form": Flow((MODEL, "gates", "promotions")),
    "reject": Flow((MODEL, "gates"), ("promotions",)),
    "promote": Flow((MODEL, "gates"), ("promotions",)),
    "rollback": Flow(("promotions",), ("promotions",)),
    "watch": Flow(("scores", "tallies"), ("periods", "decisions")),
    "maintain": Flow(),
}
"""By step. Upkeep changes no content, so it has none."""
GATES: Final = {"day_gate": "features", "quality_gate": CANDIDATE, "operations_gate": CANDIDATE}
"""By step, what its checks are about."""
DOCUMENTATION: Final = {
    "features": "The features of each score period, as ingested.",
    "labels": "The outcomes, each with the instant at which it was known.",
    "quarantine": "The raw rows that the contract refuses, with the reason.",
    "scores": "The scored rows, each with model, version, role and input version.",
    "shadow": "What shadows scored; it is never served.",
    "promotions": "The promotion log: which version is champion from which date on, by whom and why.",
    "gates": "The reports of gates about days and models, a row a check.",
}
"""By table, for those that are no bookkeeping."""
BY_PERIOD: Final = frozenset({"features", "labels", "quarantine", "scores", "shadow"})
"""The tables that have a partition a score period."""
