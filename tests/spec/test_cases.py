"""Values that cannot be used later are refused where they are written: one by one, with what is said of each."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tallywright.cli.init import init
from tallywright.cli.main import tally
from tallywright.data.types import _TYPES  # the Arrow side of the one table of types
from tallywright.errors import SpecError, UsageError
from tallywright.metrics import evaluate
from tallywright.spec import load_project, model_names
from tallywright.spec.checks import RELATIONS
from tallywright.spec.load import load_environment
from tallywright.spec.values import SQL_TYPES
from tallywright.tasks import metric_of

Change = Callable[..., Path]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template") / "shop"
    assert CliRunner().invoke(init, [str(root)], catch_exceptions=False).exit_code == 0
    return root


@pytest.fixture
def shop(template: Path, tmp_path: Path) -> Path:
    """A new project; its raw files are linked nowhere, and small ones stand in for them."""
    root = tmp_path / "shop"
    shutil.copytree(template, root, ignore=shutil.ignore_patterns("*.csv"))
    (root / "models/late_orders/raw").mkdir(exist_ok=True)
    for name in ("orders", "deliveries"):
        (root / f"models/late_orders/raw/{name}.csv").write_text("order_id\no1\n")
    return root


@pytest.fixture
def change(shop: Path) -> Change:
    """Puts one text of the spec in the place of another; `add` is appended."""

    def put(*pairs: tuple[str, str], add: str = "") -> Path:
        file = shop / "models/late_orders/model.yaml"
        text = file.read_text()
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new, 1)
        file.write_text(text + add)
        return shop

    return put


def validated(root: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    done = CliRunner().invoke(tally, ["validate", "--root", str(root), "--json", *arguments], catch_exceptions=False)
    return done.exit_code, json.loads(done.stdout)


def test_all_mistakes_come_at_once_with_line_path_and_nearest_match(change: Change) -> None:
    root = change(
        ("  cron:", "  crn:"),
        ("window_days: 60", "window_days: sixty"),
        ("numeric: [weight_kg,", "numeric: [weight_kgs,"),
        ("slices: [region]", "slices: [regoin]"),
        ("roc_auc: {min: 0.6}", "auc: {min: 0.6}"),
    )
    code, (row,) = validated(root)
    assert code == 3
    lines = (root / "models/late_orders/model.yaml").read_text().splitlines()
    told = {problem["path"]: problem for problem in row["details"]}
    nearest = {path: problem["nearest"] for path, problem in told.items()}
    assert nearest == {
        "schedule.crn": "cron",
        "training.window_days": "",
        "training.numeric.0": "weight_kg",
        "training.slices.0": "region",
        "gates.floors.auc": "roc_auc",
    }
    for path, problem in told.items():
        assert problem["where"] == str(root / "models/late_orders/model.yaml")
        assert path.split(".")[1 if "auc" not in path else 2] in lines[problem["line"] - 1]
    assert len(row["problems"]) == 5
    assert all(f"model.yaml:{told[path]['line']}: " in text for path, text in zip(told, row["problems"], strict=True))
    assert "sixty" in told["training.window_days"]["found"]


def test_types_are_known_without_data(change: Change) -> None:
    root = change(
        ("    weight_kg: DOUBLE\n", "    weight_kg: DOUBEL\n"),
        ("numeric: [", "numeric: [carrier, "),
        ("categorical: [region, carrier,", "categorical: [region,"),
        ("score_moment: TIMESTAMP", "score_moment: VARCHAR"),
        ("{delivered_at: TIMESTAMP", "{delivered_at: TIME"),
    )
    code, (row,) = validated(root)
    text = "\n".join(row["problems"])
    assert code == 3
    assert len(row["problems"]) == 4, text
    assert "data.columns.weight_kg: unknown SQL type 'DOUBEL' (did you mean 'DOUBLE'?)" in text
    assert "training.numeric names carrier, which is VARCHAR" in text
    assert "data.score_moment must be a TIMESTAMP" in text
    assert "data.sources.deliveries.types.delivered_at: unknown SQL type 'TIME'" in text


def test_one_table_of_types_and_one_of_ranges() -> None:
    assert _TYPES.keys() == SQL_TYPES.keys()
    answers = {"binary": ([0, 1, 1, 0], [0.9, 0.2, 0.7, 0.1]), "multiclass": ([0, 1], [[0.1, 0.9], [0.2, 0.8]]),
               "regression": ([1.0, 9.0], [40.0, 2.0])}  # fmt: skip
    for task, given in answers.items():
        for metric, value in evaluate(*given, task=task).items():
            assert metric_of(metric).least <= value <= metric_of(metric).greatest


REFUSED = {
    "lookback": ([("lookback_days: 14", "lookback_days: 10000000")], "", "found 10000000; must be at most 300000"),
    "window": ([("window_days: 60", "window_days: 10000000")], "", "training.window_days: found 10000000"),
    "maturity": ([("maturity_days: 2", "maturity_days: 1000000000")], "", "must be at most 300000"),
    "seed": ([("  window_days", f"  seed: {10**30}\n  window_days")], "", "at most 9223372036854775807"),
    "negative seed": ([("  window_days", "  seed: -1\n  window_days")], "", "seed: found -1; must be at least 0"),
    "batch": ([], "scoring: {batch_rows: 1000000000000000}\n", "must be at most 16777216"),
    "nan floor": ([("{min: 0.6}", "{min: .nan}")], "", "gates.floors.roc_auc.min: found nan; must be a finite number"),
    "nan performance": ([("  min_rows:", "  performance_floor: {roc_auc: {min: .nan}}\n  min_rows:")], "", "a finite"),
    "inf": ([("  min_rows:", "  psi_threshold: .inf\n  min_rows:")], "", "monitoring.psi_threshold: found inf"),
    "min above max": ([("{min: 0.6}", "{min: 0.9, max: 0.1}")], "", "min 0.9 is above max 0.1"),
    "out of range": ([("{min: 0.6}", "{min: 5}")], "", "roc_auc lies between 0 and 1"),
    "number for a time": ([('"06:00"', "840")], "", "deadline: found 840; write a time in quotes, hours"),
    "number for a date": ([("start_date: 2025-01-01", "start_date: 0")], "", "found 0; a date is written YYYY-MM-DD"),
    "first year": ([("start_date: 2025-01-01", "start_date: 0001-01-01")], "", "between 1900-01-01 and 2199-12-31"),
    "last year": ([("end_date: 2025-04-30", "end_date: 9999-12-31"), ("timezone: UTC", "timezone: America/New_York")],
                  "", "between 1900-01-01 and 2199-12-31"),
    "own zone": ([("timezone: UTC", "timezone: localtime")], "", "another zone on another machine"),
    "leap seconds": ([("timezone: UTC", "timezone: right/UTC")], "", "counts leap seconds"),
    "no cron": ([], "maintenance: {cron: 'a b c d e'}\n", "'a' is no field of minutes: 0 to 59"),
    "no month": ([], "maintenance: {cron: '0 0 1 FOO *'}\n", "'FOO' is no field of months"),
    "never": ([], "maintenance: {cron: '0 0 31 2 *'}\n", "never comes: the next 10 years have no such minute"),
    "key twice": ([("key: [order_id]", "key: [order_id, order_id]")], "", "data.key: names order_id twice"),
    "numeric twice": ([("numeric: [", "numeric: [weight_kg, ")], "", "training.numeric: names weight_kg twice"),
    "reserved": ([("    weight_kg: DOUBLE\n", "    weight_kg: DOUBLE\n    Probability: DOUBLE\n")], "", "Probability"),
    "twins": ([("    weight_kg: DOUBLE\n", "    weight_kg: REAL\n    Weight_KG: DOUBLE\n")], "", "only in case"),
    "taken": ([("    orders:", "    accepted:")], "", "data.sources.accepted: the name is taken"),
    "deep": ([], f"x: {'[' * 1000}{']' * 1000}\n", "model.yaml:65: nested deeper than 50"),
    "missing owner": ([("name: Your team", "name: ???")], "", "owner.name: missing"),
    "empty owner": ([("name: Your team", "name: ''")], "", "owner.name: empty"),
    "blank tag": ([("tags: [sample]", "tags: [' ']")], "", "tags.0: empty"),
    "blank approver": ([], "registry: {approvers: ['']}\n", "registry.approvers.0: empty"),
    "long tag": ([("tags: [sample]", f"tags: [{'t' * 101}]")], "", "at most 100 characters"),
    "timeout": ([], "registry: {approval: person, approval_timeout_hours: 1000000000000}\n", "must be at most 87600"),
    "secret": ([("Will an order arrive late?", "${oc.env:MY_SECRET}")], "", "${oc.env:MY_SECRET} is resolved in conf/"),
    "webhook": ([], "alerts: {webhook_env: HOOK}\n", "conf/local.yaml, for all models, `alerts: {webhook_env: HOOK}`"),
    "absolute": ([("raw/orders.csv", "/etc/passwd")], "", "conf/local.yaml `storage: {raw: [/etc]}`"),
    "above": ([("raw/orders.csv", "../../../outside/orders.csv")], "", "leads out of the project"),
    "above a pattern": ([("raw/orders.csv", "raw/*/../../../../../x.csv")], "", "leads out of the project"),
    "suite": ([("  key:", "  expectations: ../../../../etc/passwd\n  key:")], "", "data.expectations: found"),
    "package": ([("path: raw/orders.csv", "package: 'duckdb./etc'\n      path: passwd")], "", "sources.orders.package"),
    "out of a package": ([("path: raw/orders.csv", "package: duckdb\n      path: ../x")], "", "out of the package"),
    "truth value": ([("window_days: 60", "window_days: yes")], "", "a number is needed, and this is a truth value"),
    "spans together": ([("window_days: 60", "window_days: 300000"), ("lookback_days: 14", "lookback_days: 300000")], "",
                       "found 300000; with the other spans it leads 600"),
    "reserved scheme": ([("  timezone", "  after: airflow://x\n  timezone")], "", "no URI that an Airflow asset"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_only_fail_later_is_refused(case: str, change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2pw")
    pairs, add, message = REFUSED[case]
    root = change(*pairs, add=add)
    code, (row,) = validated(root)
    assert code == 3
    text = "\n".join(row["problems"])
    assert message in text
    assert "model.yaml:" in text
    assert "hunter2pw" not in text
    with pytest.raises(SpecError):
        load_project("late_orders", root=root)


def test_what_is_not_checked_is_said(change: Change) -> None:
    root = change(("  key: [order_id]", "  engine: spark\n  key: [order_id]"))
    code, (row,) = validated(root)
    assert (code, row["valid"], len(row["hints"])) == (0, True, 1)
    done = CliRunner().invoke(tally, ["validate", "--root", str(root)], catch_exceptions=False)
    assert done.stdout == "late_orders: valid\n"
    assert done.stderr.startswith("hint: late_orders: data.engine is spark, so its queries are not planned")


def test_evidence_that_is_weaker_than_it_looks_is_said(change: Change) -> None:
    root = change(("  holdout_days: 14", "  holdout_days: 5"), add="\nscoring: {shadow: [challenger]}\n")
    code, (row,) = validated(root)
    assert (code, row["valid"], len(row["hints"])) == (0, True, 2)
    again, interval = row["hints"]
    assert "is never judged again: gates.shadow_days is 0" in again
    assert "a holdout of 5 has no interval" in interval


def test_a_time_without_quotes_is_that_time(change: Change) -> None:
    deadline = load_project("late_orders", root=change(('"06:00"', "14:00"))).spec.schedule.deadline
    assert (deadline.hour, deadline.minute) == (14, 0)


def test_a_number_with_a_leading_zero_is_decimal(change: Change) -> None:
    assert (
        load_project("late_orders", root=change(("window_days: 60", "window_days: 060"))).spec.training.window_days
        == 60
    )


def test_a_reference_that_stands_for_itself_and_one_of_conf(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    root = change(("description: Will", "description: costs \\${5} Will"))
    assert load_project("late_orders", root=root).spec.description.startswith("costs ${5} Will")
    for secret in ("pa${ss", "${oc.env:MY_SECRET}"):
        monkeypatch.setenv("D", secret)
        monkeypatch.setenv("MY_SECRET", "hunter2pw")
        (root / "conf/local.yaml").write_text("models: {late_orders: {description: '${oc.env:D}'}}\n")
        for sets in ([], ["training.seed=3"]):
            assert load_project("late_orders", root=root, overrides=sets).spec.description == secret


def test_a_reference_that_leads_nowhere_has_its_line(change: Change) -> None:
    root = change(("name: Your team", "name: ${owner.nobody}"))
    (problem,) = validated(root)[1][0]["details"]
    assert (problem["line"], problem["path"]) == (8, "owner.name")


def test_any_number_of_mistakes_is_told_in_time(change: Change) -> None:
    began = time.process_time()
    code, (row,) = validated(change(add="".join(f"k{number}: 1\n" for number in range(20_000))))
    assert code == 3
    assert "k0: unknown key" in row["problems"][0]
    assert "19800 more problems of these kinds" in row["problems"][-1]
    assert time.process_time() - began < 30  # hours, where each mistake looks at all others


def test_five_thousand_columns_can_be_declared(change: Change) -> None:
    more = "".join(f"    c{number}: DOUBLE\n" for number in range(5000))
    root = change(("    region_late_rate_7d: DOUBLE\n", f"    region_late_rate_7d: DOUBLE\n{more}"))
    assert len(load_project("late_orders", root=root).spec.data.columns) == 5008
    many = "".join(f"    d{number}: DOUBLE\n" for number in range(5000))
    change(("    region_late_rate_7d: DOUBLE\n", f"    region_late_rate_7d: DOUBLE\n{many}"))
    with pytest.raises(SpecError, match="at most 10000 items"):
        load_project("late_orders", root=root)


@pytest.mark.parametrize("target", ["model.yaml", "nowhere"])
def test_a_link_that_leads_nowhere_is_a_mistake_and_no_model_less(shop: Path, target: str) -> None:
    file = shop / "models/late_orders/model.yaml"
    file.unlink()
    file.symlink_to(target)
    assert model_names(shop) == ["late_orders"]
    code, (row,) = validated(shop)
    assert code == 3
    assert row["problems"] == [f"{file}: a link that leads to no file, or no regular file; expected a YAML file"]


def test_an_overlay_that_leads_nowhere_is_said_to(shop: Path) -> None:
    (shop / "conf/local.yaml").unlink()
    (shop / "conf/local.yaml").symlink_to("local.yaml")
    code, rows = validated(shop)
    assert code == 3
    assert "conf/local.yaml: a link that leads to no file" in rows[0]["problems"][0]


def test_a_text_of_any_length_is_told_in_brief(shop: Path) -> None:
    for given in (f"description={'x' * 100_000}", f"{'x' * 100_000}=1"):
        code, (row,) = validated(shop, "--set", given)
        assert code == 3
        assert len(json.dumps(row)) < 60_000


def test_a_file_that_is_a_folder_is_said_to_be_one(shop: Path) -> None:
    (shop / "models/late_orders/model.yaml").unlink()
    (shop / "models/late_orders/model.yaml").mkdir()
    code, (row,) = validated(shop)
    assert code == 3
    assert "is a folder" in row["problems"][0]
    with pytest.raises(UsageError) as caught:
        load_project("late_order", root=shop)
    assert "did you mean 'late_orders'" in caught.value.found


@pytest.mark.parametrize("name", ["x" * 5000, "..", ".", "", "a/b", "late_orders/", "a\nb", "é"])
def test_a_name_is_matched_before_it_becomes_a_path(shop: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no model") as caught:
        load_project(name, root=shop)
    assert len(caught.value.found) < 150


@pytest.mark.parametrize(
    ("given", "found"),
    [("data.key=[a", "--set 'data.key=[a'"), ("data.key[0]=x", "--set 'data.key[0]=x'"), ("a={", "--set 'a={'")],
)
def test_a_half_written_set_is_one_line(shop: Path, given: str, found: str) -> None:
    done = CliRunner().invoke(tally, ["validate", "late_orders", "--root", str(shop), "--set", given])
    assert isinstance(done.exception, SpecError)
    assert found in done.exception.found
    assert "\n" not in done.exception.found
    assert "--set section.key=value, such as --set training.seed=8" in done.exception.expected


@pytest.mark.parametrize(
    "link", ["sql/contract.sql", "sql/features.sql", "sql/labels.sql", "network.py", "raw/orders.csv"]
)
def test_links_that_leave_the_project_are_refused_and_their_content_is_not_told(
    shop: Path, tmp_path: Path, link: str
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("hunter2pw")
    file = shop / "models/late_orders" / link
    file.unlink()
    file.symlink_to(outside)
    code, (row,) = validated(shop)
    assert code == 3
    assert any("leads out of the project" in problem for problem in row["problems"])
    assert "hunter2pw" not in str(row)


def test_a_raw_file_that_a_pattern_finds_behind_a_link_is_refused(shop: Path, tmp_path: Path) -> None:
    from tallywright.data.etl.sources import stamps_of

    spec = shop / "models/late_orders/model.yaml"
    spec.write_text(spec.read_text().replace("raw/orders.csv", "raw/o*.csv"))
    assert len(stamps_of(load_project("late_orders", root=shop))) == 2
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/o.csv").write_text("order_id\nhunter2pw\n")
    (shop / "models/late_orders/raw/orders2.csv").symlink_to(tmp_path / "outside/o.csv")
    project = load_project("late_orders", root=shop)
    with pytest.raises(SpecError, match=r"storage: \{raw: ") as caught:
        stamps_of(project)
    assert "hunter2pw" not in str(caught.value)
    (shop / "conf/local.yaml").write_text(f"storage: {{raw: ['{tmp_path / 'outside'}']}}\n")
    assert len(stamps_of(load_project("late_orders", root=shop))) == 3


def test_folders_that_the_overlay_names_may_hold_raw_files(change: Change, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given/orders.csv").write_text("order_id\no1\n")
    root = change(("raw/orders.csv", str(tmp_path / "given/orders.csv")))
    for place in ("../given", str(tmp_path / "given")):
        (root / "conf/local.yaml").write_text(f"storage: {{raw: ['{place}']}}\n")
        assert load_project("late_orders", root=root).environment.storage.raw


ADDRESSES = {
    "lake: ftp://h/x": "storage.lake: no store speaks ftp://; expected a folder, or an address with s3://, s3a://",
    "lake: 's3://'": "storage.lake: s3:// names no place",
    "lake: ''": "storage.lake: empty",
    "lake: ' '": "storage.lake: empty",
    "work: s3://bucket/work": "storage.work: must be a folder of this machine",
    "cache: s3://bucket/cache": "storage.cache: must be a folder of this machine",
    "work: ''": "storage.work: empty",
    "lake: ~nobody-of-this-name/lake": "there is no such home",
    "raw: ['']": "storage.raw: empty",
    "}\ntracking: {artifacts: '~nobody-of-this-name/x'": "tracking.artifacts: ~nobody-of-this-name/x: there is no",
    "}\ntracking: {uri: 'sqlite:///~nobody-of-this-name/x'": "there is no such home",
    "}\ntracking: {uri: ' '": "tracking.uri: empty",
}


@pytest.mark.parametrize("said", ADDRESSES)
def test_places_that_cannot_be_are_the_overlays_mistake_and_no_models(shop: Path, said: str) -> None:
    (shop / "conf/local.yaml").write_text(f"storage: {{{said}}}\n")
    code, (overlay, model) = validated(shop)
    assert code == 3
    assert (overlay["model"], overlay["overlay"], overlay["valid"]) == (None, "conf/local.yaml", False)
    assert ADDRESSES[said] in overlay["problems"][0]
    assert model["valid"]
    for load in (lambda: load_environment(root=shop), lambda: load_project("late_orders", root=shop)):
        with pytest.raises(SpecError, match=r"conf/local\.yaml:[12]"):
            load()
    for command in (["days", "late_orders"], ["query", "select 1"]):
        done = CliRunner().invoke(tally, [*command, "--root", str(shop)])
        assert isinstance(done.exception, SpecError)
    assert not {"s3:", "~", "ftp:"} & {path.name for path in (*shop.iterdir(), *Path.cwd().iterdir())}


def test_home_is_the_users(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    (shop / "conf/local.yaml").write_text(
        "storage: {lake: ~/lake, work: '~/a b', raw: [~/raw]}\ntracking: {uri: 'sqlite:///~/m.db'}\n"
    )
    environment = load_environment(root=shop)
    storage = environment.storage
    assert (storage.lake, storage.work, storage.raw) == ("/home/ann/lake", "/home/ann/a b", ("/home/ann/raw",))
    assert environment.tracking.uri == "sqlite:////home/ann/m.db"


def test_a_secret_of_the_overlay_is_not_told(shop: Path) -> None:
    for text in (
        "tracking: postgresql://u:hunter2pw@h/db",
        "tracking: {uri: ['postgresql://u:hunter2pw@h/db']}",
        "engine: {spark: {conf: {a: [hunter2pw]}}}",
        "engine: {spark: {conf: {a: {b: hunter2pw}}}}",
        "alerts: hunter2pw",
        "storage: hunter2pw",
    ):
        (shop / "conf/local.yaml").write_text(f"{text}\n")
        code, rows = validated(shop)
        assert code == 3
        assert "hunter2pw" not in str(rows)


def test_a_layer_is_a_mapping(shop: Path) -> None:
    (shop / "conf/local.yaml").write_text("models: {late_orders: hello}\n")
    code, (row,) = validated(shop)
    assert code == 3
    assert "conf/local.yaml:1: models.late_orders: found 'hello'; a mapping of sections is needed" in row["problems"][0]


def test_the_names_that_are_taken_are_those_of_the_relations(repository: Path) -> None:
    text = (repository / "src/tallywright/data/etl/transform.py").read_text()
    assert all(f'"{name}"' in text for name in RELATIONS)
    assert model_names(repository) == sorted(model_names(repository))
