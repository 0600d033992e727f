"""Who may promote, edit MLflow's tags or write working files gets no further than that: by the commands themselves."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.compute as pc
import pytest
from decided import decided
from deltalake import DeltaTable, write_deltalake

from tallywright.data.delta.lake import Lake
from tallywright.records import Promotion
from tallywright.registry.promotion_chain import sealed
from tallywright.registry.promotion_log import PromotionLog
from tallywright.spec import load_project

from .conftest import World

pytestmark = pytest.mark.slow

PROMOTE = ("promote", "late_orders", "--version", "1", "--allow-later-lines")
BEFORE_ITS_DATA_END = "2025-02-01"
PERSON = "registry: {approval: person, approvers: [ann]}\n"


def tagged(world: World, name: str, value: str) -> None:
    """Somebody edits a tag of the version in MLflow."""
    with closing(sqlite3.connect(world.root / ".tally/mlflow.db")) as database, database:
        found = database.execute(
            "UPDATE model_version_tags SET value = ? WHERE key = ? AND version = 1", (value, f"tallywright.{name}")
        )
        assert found.rowcount == 1


def log_of(world: World) -> PromotionLog:
    project = load_project(world.model, root=world.root, environment="local")
    return PromotionLog(Lake.of(project.environment), project.spec)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("trained_through", "2025-01-01"),
        pytest.param("digest", "0" * 64, marks=pytest.mark.long),
        pytest.param("trained_through", "", marks=pytest.mark.long),
    ],
)
def test_the_leak_guard_believes_the_package(copy: Callable[..., World], tag: str, value: str) -> None:
    world = copy()
    tagged(world, tag, value)
    refused = world.tally(*PROMOTE, "--effective-from", BEFORE_ITS_DATA_END, "--by", "me", code=9)
    assert "has seen labels through 2025-03-" in refused.err
    assert f"the tag of version 1 says {tag}" in refused.err


@pytest.mark.long
def test_a_line_of_a_time_when_tags_were_believed_does_not_score(copy: Callable[..., World]) -> None:
    world = copy()
    log = log_of(world)
    last = log.entries()[-1]
    forged = decided(last.model_copy(update=_leaking(last) | {"sequence": 0}))
    log.append(lambda _: forged)
    refused = world.tally("score", world.model, "--date", "2025-02-02", code=9)
    assert "was trained on data through 2025-03-" in refused.err


def _leaking(last: Promotion) -> dict[str, object]:
    return {
        "effective_from": date.fromisoformat(BEFORE_ITS_DATA_END),
        "trained_through": date(2025, 1, 1),
        "recorded_at": datetime.now(UTC),
        "sequence": last.sequence + 1,
        "request": "",
        "reason": "forged",
    }


@pytest.mark.parametrize("knows_the_chain", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_line_without_a_decision_is_damage(copy: Callable[..., World], knows_the_chain: bool) -> None:  # noqa: FBT001
    """Whether or not whoever appends it has computed its digest."""
    world = copy()
    entries = log_of(world).entries()
    line = entries[-1].model_copy(update=_leaking(entries[-1]) | {"decision_json": "", "approver": "ann", "digest": ""})
    line = sealed(line, entries) if knows_the_chain else line
    table = DeltaTable(world.root / f".tally/lake/{world.model}__promotions")
    rows = table.to_pyarrow_table()
    newest = rows.filter(pc.equal(rows["sequence"], entries[-1].sequence)).slice(0, 1)
    for name in newest.column_names:
        value = getattr(line, name)
        newest = newest.set_column(newest.column_names.index(name), newest.field(name), [[value]])
    write_deltalake(table, newest, mode="append")
    for command in (
        ["score", world.model, "--date", "2025-04-08"],
        ["run", world.model, "resolve", "--date", "2025-04-08"],
    ):
        assert "the promotion log of late_orders was changed" in world.tally(*command, code=15).err


@pytest.mark.long
def test_planted_working_files_decide_nothing(copy: Callable[..., World]) -> None:
    world = copy()
    folder = world.root / ".tally/work/runs" / world.model / "planted"
    folder.mkdir(parents=True)
    other = '{"name": "late_orders", "version": 7, "digest": "%s", "trained_through": "2020-01-01"}\n' % ("0" * 64)
    for name in ("models-2025-04-08.jsonl", "models.jsonl", "registered.json", "promotion.json"):
        (folder / name).write_text(other)
    scored = world.tally(
        "run", world.model, "score", "--date", "2025-04-07", "--run-id", "planted", "--force", "--json"
    )
    assert scored.json["models"] == ["champion: version 1"]
    refused = world.tally("run", world.model, "promote", "--date", "2025-04-08", "--run-id", "planted", code=2)
    assert "registered no version" in refused.err


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for name in ("ann", "mallory"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(tmp_path / name)], check=True
        )
    return tmp_path


@pytest.fixture
def persons(copy: Callable[..., World], keys: Path) -> World:
    """A project in which ann approves, also of what her own session has trained."""
    world = copy()
    _ask_ann(world, keys, ", author_may_approve: true")
    return world


def _ask_ann(world: World, keys: Path, more: str = "") -> None:
    spec = world.root / "models/late_orders/model.yaml"
    public = (keys / "ann.pub").read_text().strip()
    section = PERSON.replace("}", f", approver_keys: {{ann: '{public}'}}{more}}}")
    spec.write_text(spec.read_text().partition("registry: {")[0] + section)


def refused(world: World, keys: Path, *tries: tuple[str, ...]) -> None:
    """Each of these is refused with exit code 8, and the log stays as it is."""
    for by, *more in tries:
        said = [word.replace("KEYS", str(keys)) for word in more]
        world.tally(*PROMOTE, "--effective-from", "2025-04-20", "--by", by, *said, code=8)
    assert len(log_of(world).entries()) == 1


def test_nobody_approves_for_a_person(persons: World, keys: Path) -> None:
    refused(persons, keys, ("ann",), ("me", "--set", "registry.approval=policy"), ("ann", "--key", "KEYS/mallory"))
    asked = (*PROMOTE, "--effective-from", "2025-04-20", "--by", "ann")
    assert persons.tally(*asked, "--key", str(keys / "ann"), "--json").json["model_version"] == 1


@pytest.mark.long
def test_answers_by_key_are_entries_and_tags_and_a_no_is_one_until_a_yes(
    copy: Callable[..., World], keys: Path
) -> None:
    world = copy()
    _ask_ann(world, keys)
    approve = ("approve", world.model, "1", "--reason", "slices as before")
    assert "nobody is known to answer" in world.tally(*approve, code=8).err
    assert "is its author" in world.tally(*approve, "--key", str(keys / "ann"), code=8).err
    assert len(log_of(world).entries()) == 1
    _ask_ann(world, keys, ", author_may_approve: true")
    world.tally("reject", world.model, "1", "--reason", "slices look odd", "--key", str(keys / "ann"))
    assert _answer_tags(world) == {"answer": "reject", "answer_comment": "slices look odd"}
    done = world.tally(*approve, "--key", str(keys / "ann"), "--json").json
    assert (done["sequence"], done["action"], done["approver"], done["written"]) == (3, "approve", "ann", True)
    assert _answer_tags(world) == {"answer": "approve", "answer_comment": "slices as before"}
    log = log_of(world)
    assert log.problems() == []
    champion = log.champion_on(date(2025, 4, 7))
    assert champion is not None
    assert champion.sequence == 1, "neither answer has changed who scores"


def _answer_tags(world: World) -> dict[str, str]:
    with closing(sqlite3.connect(world.root / ".tally/mlflow.db")) as database:
        rows = database.execute("SELECT key, value FROM model_version_tags WHERE version = 1").fetchall()
    tags = {name.removeprefix("tallywright."): value for name, value in rows if "answer" in name}
    assert tags.pop("answered_by").startswith("ann (key SHA256:")
    return tags


@pytest.mark.long
def test_nobody_approves_for_a_person_in_other_ways(persons: World, keys: Path) -> None:
    """By another name, by an override, by what Airflow would hand over."""
    refused(
        persons,
        keys,
        ("me",),
        ("me", "--set", "registry.approvers=[me]"),
        ("ann", "--set", "registry={approval: policy}"),
        ("mallory", "--key", "KEYS/mallory"),
    )
    run = ("run", persons.model, "promote", "--date", "2025-04-20", "--version", "1", "--run-id", "r", "--by", "ann")
    persons.tally(*run, code=8)
    persons.tally(*run, code=8, TALLYWRIGHT_ANSWER='{"by": "ann"}')


def test_a_name_that_was_typed_is_a_claim_of_the_system_user(copy: Callable[..., World]) -> None:
    world = copy()
    (line,) = world.tally("history", world.model, "--json").json
    user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    assert (line["approver"], line["authentication"], line["recorded_by"]) == ("a test", "", user)


def test_what_a_project_makes_is_for_its_user_alone(alive: World) -> None:
    assert stat.S_IMODE((alive.root / ".tally").stat().st_mode) == 0o700
