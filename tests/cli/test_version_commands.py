"""`tally versions | compare | diff | withdraw` as a person and a program see them."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from decided import decided
from synthetic import DAY, make_package, make_project
from world import World

from tallywright.cli.main import tally
from tallywright.data.delta.lake import Lake
from tallywright.errors import InputError, UsageError
from tallywright.packaging.package import PackageCache
from tallywright.records import ModelRef, Promotion
from tallywright.registry.evidence import evidence_of
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions_table import TrainedBy, record_version

NOW = datetime(2024, 4, 1, tzinfo=UTC)


@pytest.fixture
def run(tmp_path, empty_store):
    """A day scored by version 1, then by version 2 after an input that was restated; runs commands about it."""
    project = make_project(tmp_path)
    lake, spec = Lake.of(project.environment), project.spec
    database = Path(project.environment.tracking.uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(empty_store, database)
    for number in (1, 2):
        package = make_package(tmp_path / str(number), seed=number)
        PackageCache(tmp_path / project.environment.storage.cache).put(package.folder)
        ref = ModelRef(name="shop", version=number, digest=package.digest, trained_through=date(2024, 1, 31))
        why = TrainedBy("run", {"roc_auc": 0.7 + number / 100}, "more columns" if number > 1 else "")
        record_version(lake, spec, ref, evidence_of(spec.name, ref.digest, ()), recorded_at=NOW, trained_by=why)
        line = decided(Promotion(
            model="shop", sequence=0, action="promote", model_version=number, package_digest=package.digest,
            trained_through=date(2024, 1, 31), effective_from=DAY, recorded_at=NOW, approver="policy", reason="first",
        ))  # fmt: skip
        PromotionLog(lake, spec).append(lambda _, line=line: line)
        World(lake, spec, package).score(DAY, rows=100 + number)
    World(lake, spec, package).label(DAY)

    def invoke(command: str, *arguments: str) -> tuple[str, str]:
        done = CliRunner().invoke(tally, [command, "shop", *arguments, "--root", str(tmp_path)])
        if done.exception is not None:
            raise done.exception
        return done.stdout, done.stderr

    return invoke


def test_versions(run) -> None:
    first, second = json.loads(run("versions", "--json")[0])
    assert (first["version"], first["champion"], first["metrics"]) == (1, [], {"roc_auc": 0.71})
    assert (second["champion"], second["state"], second["reason"]) == ([f"from {DAY}"], "undecided", "more columns")
    table, _ = run("versions")
    assert "more columns" in table
    assert "roc auc" in table


def test_compare(run) -> None:
    found = json.loads(run("compare", "1", "2", "--from", str(DAY), "--json")[0])
    assert (found["first"], found["second"], found["source"]) == (1, 2, "scored days")
    assert {pair["metric"] for pair in found["metrics"]} >= {"roc_auc", "log_loss"}
    shown, _ = run("compare", "1", "2", "--from", str(DAY))
    assert "version 2" in shown
    share = found["scores_differ"]
    assert 0 < share <= 1
    assert (
        f"{round(share * found['rows'])} of {found['rows']} rows ({share:.1%})" in shown.partition("scores differ")[2]
    )
    with pytest.raises(UsageError, match="no version 9"):
        run("compare", "1", "9")
    with pytest.raises(UsageError, match="before --from"):
        run("compare", "1", "2", "--from", "2024-03-02", "--to", "2024-03-01")


def test_diff(run) -> None:
    found = json.loads(run("diff", str(DAY), "--rows", "--limit", "3", "--json")[0])
    assert found["why"].keys() == {"restated_input", "model"}
    assert len(found["listed"]) == 3
    assert "listed" not in json.loads(run("diff", str(DAY), "--generations", "2", "1", "--json")[0])
    shown, said = run("diff", str(DAY), "--rows", "--limit", "2")
    assert "only after" in shown
    assert "2 of" in said
    with pytest.raises(InputError, match="has no generation; its last two"):
        run("diff", "2024-02-01")


def test_withdraw(run, monkeypatch) -> None:
    done = json.loads(run("withdraw", "2", "--reason", "wrong labels", "--by", "a person", "--json")[0])
    assert (done["action"], done["withdrawn"], done["champion"], done["approver"]) == ("withdraw", True, 1, "a person")
    assert "note" not in done
    _, said = run("withdraw", "2", "--reason", "once more")
    assert "nothing changed: line 3 has withdrawn version 2 already" in said
    _, said = run("withdraw", "1", "--reason", "wrong as well", "--by", "a person")
    assert "no champion is left" in said
    assert json.loads(run("versions", "--json")[0])[1]["withdrawn"] == "line 3: wrong labels"

    def nobody() -> str:
        raise KeyError("uid")

    monkeypatch.setattr("getpass.getuser", nobody)
    with pytest.raises(UsageError, match="no user name"):
        run("withdraw", "1", "--reason", "again")
