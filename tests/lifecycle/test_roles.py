"""The score pipeline with models in roles: from the registry's tables to what `days`, `trace` and the report say."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from click.testing import CliRunner
from day_gate import report_day
from decided import decided
from shared import shared
from synthetic import DAY, commit_day, make_features, make_package, make_project, read_scores

from tallywright.cli.spec_commands import validate
from tallywright.data.delta.lake import Lake
from tallywright.errors import SpecError, TrackingError
from tallywright.lifecycle.context import RunContext, packages_of
from tallywright.lifecycle.project_checks import champion_problems
from tallywright.lifecycle.steps import day, monitor
from tallywright.monitoring.performance import realised
from tallywright.packaging.package import PackageCache
from tallywright.records import Check, GateReport, ModelRef, Promotion, Verdict
from tallywright.registry.evidence import evidence_of
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.resolve import resolve
from tallywright.registry.versions_table import record_version
from tallywright.reporting.overview import overview
from tallywright.reporting.preview import preview
from tallywright.reporting.report import render
from tallywright.reporting.trace import trace
from tallywright.scoring.commit.manifests import latest_manifest

NOW = datetime(2024, 3, 2, tzinfo=UTC)
ROLES = {
    "canary": {"model": "challenger", "share": 0.3, "limits": {"max_mean_difference": 1.0}},
    "shadow": ["challenger"],
    "fallback": {"model": "constant", "constant": 0.25, "covers": ["package", "output"], "max_share": 1.0},
}


class Life:
    """A project whose champion is version 1, and whose challenger is version 2."""

    def __init__(self, root: Path, **scoring) -> None:
        self.project = make_project(root, scoring=scoring)
        self.lake = Lake.of(self.project.environment)
        self.cache = PackageCache(Path(self.project.environment.storage.cache))

    @property
    def spec(self):
        return self.project.spec

    def register(self, version: int, package, *, champion: bool = False) -> None:
        package = self.cache.put(package.folder)
        ref = ModelRef(
            name="shop", version=version, digest=package.digest, trained_through=package.meta.trained_through
        )
        check = (Check(name="all", verdict=Verdict.PASS),)
        reports = [GateReport(gate=gate, model="shop", subject=ref.digest, checks=check)
                   for gate in ("quality", "operations")]  # fmt: skip
        record_version(self.lake, self.spec, ref, evidence_of("shop", ref.digest, reports), recorded_at=NOW)
        if champion:
            line = decided(Promotion(
                model="shop", sequence=0, action="promote", model_version=version, package_digest=ref.digest,
                trained_through=date(2024, 1, 31), effective_from=DAY, recorded_at=NOW, approver="policy",
                reason="first",
            ))  # fmt: skip
            PromotionLog(self.lake, self.spec).append(lambda _: line)

    def put(self, rows: int = 600) -> None:
        commit_day(self.lake, self.spec, make_features(rows))
        report_day(self.lake, self.spec, DAY, at=NOW)

    def run(self, run_id: str = "one"):
        context = RunContext(self.project, DAY, run_id)
        day.resolve(context)
        return context, day.score(context)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    made = {
        1: make_package(folder / "1", seed=1),
        2: make_package(folder / "2", seed=2),
        "output": make_package(folder / "output", seed=7, fault="output"),
    }
    shared(folder)
    return made


@pytest.fixture
def life(tmp_path, packages):
    """Version 1 fails on some rows, 2 is the challenger."""
    made = Life(tmp_path, **ROLES)
    made.register(1, packages["output"], champion=True)
    made.register(2, packages[2])
    made.put()
    return made


def without_cover(project):
    fallback = project.spec.scoring.fallback.model_copy(update={"covers": ("output",)})
    scoring = project.spec.scoring.model_copy(update={"fallback": fallback})
    return replace(project, spec=project.spec.model_copy(update={"scoring": scoring}))


def keys(life, role):
    rows = read_scores(life.lake, life.spec)
    return rows.filter(pc.equal(rows["role"], role))["order_id"].to_pylist()


def test_a_day_with_every_role_is_scored_and_told(life) -> None:
    context, told = life.run()
    assert set(told["rows_by_role"]) == {"champion", "canary", "fallback"}
    assert told["left_out"] == []
    assert told["models"] == ["champion: version 1", "canary: version 2", "fallback: version 0", "shadow: version 2"]
    assert day.drift(context)["signals"] > 0
    (shown,) = overview(life.project)
    assert shown.model_version == 1
    assert shown.roles == ", ".join(f"{role} {rows}" for role, rows in told["rows_by_role"].items())
    page = render(life.project, life.lake)
    assert "rows: champion" in page
    assert "shadow 2" in page


def test_trace_names_the_model_of_the_very_row(life) -> None:
    life.run()
    found = {role: trace(life.project, keys(life, role)[0], DAY) for role in ("champion", "canary")}
    assert {role: (one["model"]["version"], one["model"]["role"]) for role, one in found.items()} == {
        "champion": (1, "champion"), "canary": (2, "canary")
    }  # fmt: skip
    assert "differs from the champion's by" in found["champion"]["tally"]["canary judged by"]
    constant = trace(life.project, keys(life, "fallback")[0], DAY)
    assert (constant["model"]["version"], constant["score"]["probability"]) == (0, 0.25)
    assert "constant" in constant["model"]["note"]


def test_performance_is_realised_for_each_model_and_bounds_hold_for_the_champion(life) -> None:
    life.run()
    scores = read_scores(life.lake, life.spec)
    labels = pa.table(
        {
            "order_id": scores["order_id"],
            "score_date": scores["score_date"],
            "label": pa.array(np.random.default_rng(3).integers(0, 2, scores.num_rows)),
            "label_time": pa.array([NOW] * scores.num_rows, pa.timestamp("us", "UTC")),
            "label_status": ["known"] * scores.num_rows,
        }
    )
    life.lake.replace("shop__labels", labels, slice={"score_date": DAY}, partition_by=("score_date",))
    told = realised(life.lake, life.spec, DAY, DAY + timedelta(days=2))
    rows = life.lake.read("shop__performance").to_pylist()
    served = latest_manifest(life.lake, life.spec, DAY).rows_by_role
    assert {(row["role"], row["model_version"]): row["rows"] for row in rows} == {
        ("champion", 1): served["champion"], ("canary", 2): served["canary"], ("fallback", 0): served["fallback"],
        ("shadow", 2): scores.num_rows,
    }  # fmt: skip
    assert told.rows == served["champion"]
    mine = {row["metric"]: row["value"] for row in rows if row["role"] == "champion"}
    assert overview(life.project)[0].realised_auc == mine["roc_auc"] == told.metrics["roc_auc"]


def test_explain_names_who_would_score(life) -> None:
    (row,) = preview(life.project, DAY, DAY)
    assert row.model == (
        "shop version 1 (champion), shop version 2 (canary), shop a constant (fallback), shop version 2 (shadow)"
    )
    assert (row.action, row.why) == ("score", "first")
    life.run()
    assert preview(life.project, DAY, DAY)[0].action == "no-op"
    forced = preview(life.project, DAY, DAY, force=True)[0]
    assert (forced.action, forced.why) == ("score", "forced")


def test_explain_leaves_out_who_has_seen_the_day(life, tmp_path) -> None:
    life.register(3, make_package(tmp_path / "late", seed=5, through=DAY))
    assert preview(life.project, DAY, DAY)[0].model == "shop version 1 (champion), shop a constant (fallback)"
    _, told = life.run()
    assert set(told["rows_by_role"]) == {"champion", "fallback"}
    assert [text.split(":")[0] for text in told["left_out"]] == ["canary 3", "shadow 3"]


def test_a_version_that_nobody_registered_refuses_the_day_before_it_is_scored(life) -> None:
    spec = life.spec.model_copy(update={"scoring": life.spec.scoring.model_copy(update={"shadow": (9,)})})
    project = replace(life.project, spec=spec)
    with pytest.raises(SpecError, match="version 9 of shop"):
        day.resolve(RunContext(project, DAY, "nine"))
    assert preview(project, DAY, DAY)[0].action == "refuse"


@pytest.mark.slow
def test_a_day_that_the_fallback_answers_for_is_said_everywhere_and_not_compared(life) -> None:
    digest = PromotionLog(life.lake, life.spec).entries()[0].package_digest
    shutil.rmtree(life.cache.root / digest)
    # Not in the cache, and the registry has never heard of it: that must be covered.
    with pytest.raises(TrackingError):
        packages_of(without_cover(life.project), resolve(life.lake, life.spec, DAY))
    context, told = life.run()
    assert told["rows_by_role"] == {"fallback": 600}
    assert {text.split(":")[0] for text in told["left_out"]} == {"champion 1", "canary 2"}
    assert day.profile(context)["rows"] == 600
    assert day.drift(context)["note"] == "the fallback answered for the day"
    assert not life.lake.exists("shop__drift")
    (shown,) = overview(life.project)
    assert (shown.model_version, shown.mean_score) == (0, 0.25)
    assert "champion 1 left out" in shown.roles
    assert "champion 1 left out" in render(life.project, life.lake)
    decision = monitor.decide(context)
    assert not decision["retrain"]


def test_validate_compares_the_threshold_with_the_champions(tmp_path) -> None:
    """Where the registry or the lake cannot be asked, nothing is said; the day itself is refused then."""
    made = Life(tmp_path, threshold=0.3)
    assert champion_problems(made.project) == []
    made.register(1, make_package(tmp_path / "a", threshold=0.4), champion=True)
    (problem,) = champion_problems(made.project)
    assert problem.startswith("scoring.threshold is 0.3, and the champion was trained with 0.4 (version 1); train")
    done = CliRunner().invoke(validate, ["shop", "--root", str(tmp_path), "--env", "local"])
    assert done.exit_code == 3
    assert "trained with 0.4" in done.output
