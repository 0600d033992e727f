"""Two environments of the project `shop`, dev and prod, with a lake and a registry each; versions are made in dev."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from forked_tally import run_tally
from synthetic import make_package, make_project

from tallywright.errors import GateRefusedError
from tallywright.lifecycle.context import RunContext, RunOptions
from tallywright.lifecycle.handover import REFIT, hand_over_package, hand_over_snapshot
from tallywright.lifecycle.run import run_step
from tallywright.lifecycle.steps.gates import recorded
from tallywright.mlflow_client import connect
from tallywright.records import (
    JUDGED_AGAINST,
    JUDGED_BY,
    JUDGED_PACKAGE,
    NO_CHAMPION,
    Check,
    GateReport,
    Promotion,
    Verdict,
)
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions_table import VersionRow, recorded_versions
from tallywright.spec import Project, load_project

DAY = date(2024, 2, 1)


@dataclass(frozen=True)
class Registry:
    """How an environment reaches a registry."""

    uri: str
    username: str = ""
    password: str = ""

    def section(self, **others: str) -> dict[str, str]:
        return {"uri": self.uri, "username": self.username, "password": self.password} | others


class TwoSides:
    """The project folder, and what is done in either environment.

    Args:
        root: A new folder.
        empty_store: An MLflow database without runs; each side has its own copy unless it has a server.
        dev: The registry of training, as training reaches it.
        prod: The registry of production, as production reaches it.
        read: The registry of production, as training reaches it.
    """

    def __init__(
        self,
        root: Path,
        empty_store: Path,
        *,
        dev: Registry | None = None,
        prod: Registry | None = None,
        read: Registry | None = None,
    ) -> None:
        self.root = root
        make_project(root)
        spec = root / "models/shop/model.yaml"
        values = yaml.safe_load(spec.read_text())
        values["training"]["refit"] = True
        spec.write_text(yaml.safe_dump(values))
        for name in ("dev", "prod"):
            (root / name).mkdir()
            shutil.copy(empty_store, root / name / "mlflow.db")
        dev = dev or Registry("sqlite:///dev/mlflow.db")
        prod = prod or Registry("sqlite:///prod/mlflow.db")
        self.write("dev", dev, "training", "production", "prod", read or prod)
        self.write("prod", prod, "production", "training", "dev", dev)

    def write(self, name: str, own: Registry, here: str, other: str, other_name: str, theirs: Registry) -> None:
        """Writes the overlay of an environment."""
        artifacts = "" if own.uri.startswith("http") else f"{name}/mlartifacts"
        side = {"name": other_name, "storage": {"lake": f"{other_name}/lake"}, "tracking": theirs.section()}
        overlay = {
            "storage": {place: f"{name}/{place}" for place in ("lake", "work", "cache")},
            "tracking": own.section(artifacts=artifacts),
            "registries": {"here": here, other: side},
        }
        (self.root / "conf" / f"{name}.yaml").write_text(yaml.safe_dump(overlay))

    def project(self, name: str) -> Project:
        return load_project("shop", root=self.root, environment=name)

    def context(self, name: str, run_id: str = "run", **options: Any) -> RunContext:
        return RunContext(project=self.project(name), day=DAY, run_id=run_id, options=RunOptions(**options))

    def trained(self, seed: int, *, champion: str = NO_CHAMPION, quality: Verdict = Verdict.PASS) -> VersionRow:
        """Registers a version in dev as the steps of a training do: a judged package and its refit, three reports."""
        context = self.context("dev", f"train {seed}", reason=f"number {seed}")
        hand_over_snapshot(context, "{}")
        through = date(2024, 1, 20)
        judged = make_package(self.root / f"judged{seed}", seed=seed, through=through)
        hand_over_package(context, judged)
        refit = make_package(self.root / f"refit{seed}", seed=seed + 100, judged=judged.digest)
        hand_over_package(context, refit, REFIT)
        by = context.spec.gates.identity().current
        for gate, subject, seen in (
            ("quality", judged, {JUDGED_AGAINST: champion, JUDGED_BY: by}),
            ("operations", judged, {}),
            ("operations", refit, {}),
            ("refit", refit, {JUDGED_PACKAGE: judged.digest}),
        ):
            checks = (
                Check(name="all", verdict=quality if gate == "quality" else Verdict.PASS),
                *(Check(name=name, verdict=Verdict.PASS, observed=found) for name, found in seen.items()),
            )
            recorded(context, GateReport(gate=gate, model="shop", subject=subject.digest, checks=checks))
        with suppress(GateRefusedError):  # it is registered, and goes no further
            run_step(context, "register")
        return next(row for row in self.rows("dev") if row.package_digest == refit.digest)

    def rows(self, name: str) -> list[VersionRow]:
        context = self.context(name)
        found = recorded_versions(context.lake, context.spec)
        return [found[number] for number in sorted(found)]

    def promotions(self) -> list[Promotion]:
        context = self.context("prod")
        return PromotionLog(context.lake, context.spec).entries()

    def registered(self, name: str) -> list[Any]:
        """The versions as MLflow has them."""
        address = self.project(name).environment.tracking.address
        return sorted(connect(address).search_model_versions("name='shop'"), key=lambda one: int(one.version))

    def arrive(self, version: int) -> dict[str, Any]:
        return run_step(self.context("prod", version=version, source="dev"), "arrive")

    def promote(self, version: int, day: date = DAY, **options: Any) -> dict[str, Any]:
        """Promotes a version of dev, as `tally promote --from dev` does."""
        asked = {"version": version, "source": "dev", "by": "Ann", "effective_from": day} | options
        context = self.context("prod", "promote", **asked)
        run_step(context, "arrive")
        return run_step(context, "promote")

    def tally(self, *arguments: str, env: str = "prod", **environment: str) -> Any:
        """How a `tally` command ends, in a process of its own."""
        return run_tally([*arguments, "--env", env], self.root, os.environ | environment)

    def promoted_by_command(self, version: int, **environment: str) -> Any:
        asked = ("--version", str(version), "--from", "dev", "--effective-from", f"{DAY}", "--by", "Ann")
        return self.tally("promote", "shop", *asked, **environment)
