from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from tallywright.errors import SpecError, UsageError
from tallywright.metrics import evaluate
from tallywright.spec import load_project, model_names
from tallywright.spec.load import load_environment
from tallywright.spec.model import json_schema
from tallywright.tasks import TASKS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, repository: Path) -> Path:
    """A copy of the reference spec that a test may break."""
    (tmp_path / "models" / "flight_delays").mkdir(parents=True)
    (tmp_path / "conf").mkdir()
    text = (repository / "models/flight_delays/model.yaml").read_text()
    (tmp_path / "models/flight_delays/model.yaml").write_text(text)
    (tmp_path / "conf/local.yaml").write_text("storage: {lake: lake}\n")
    return tmp_path


def _edit(root: Path, change) -> None:
    file = root / "models/flight_delays/model.yaml"
    values = yaml.safe_load(file.read_text())
    change(values)
    file.write_text(yaml.safe_dump(values))


def test_the_reference_project_is_valid_in_every_environment(repository: Path) -> None:
    for overlay in (repository / "conf").glob("*.yaml"):
        assert load_project("flight_delays", root=repository, environment=overlay.stem).spec.name == "flight_delays"


def test_overlay_and_set_win_over_the_base_file(project: Path) -> None:
    (project / "conf/local.yaml").write_text("models: {flight_delays: {training: {seed: 8, window_days: 50}}}\n")
    loaded = load_project("flight_delays", root=project, overrides=["training.seed=9"])
    assert loaded.spec.training.seed == 9
    assert loaded.spec.training.window_days == 50


@pytest.mark.parametrize(
    "text", ["training.estimator={kind: lightgbm, rounds: 40}", "training.estimator.kind=lightgbm"]
)
def test_a_layer_of_another_kind_replaces_and_one_of_the_same_kind_is_merged(project: Path, text: str) -> None:
    torch = load_project("flight_delays", root=project, overrides=["training.estimator={kind: torch, epochs: 3}"])
    assert (torch.spec.training.estimator.epochs, torch.spec.training.estimator.hidden) == (3, (128, 64))
    found = load_project("flight_delays", root=project, overrides=["training.estimator.hidden=[8]", text])
    assert found.spec.training.estimator.kind == "lightgbm"
    layers = "models: {flight_delays: {training: {estimator: {kind: lightgbm}}}}\n"
    (project / "conf/local.yaml").write_text(layers)
    assert load_project("flight_delays", root=project).spec.training.estimator.kind == "lightgbm"


def test_days_of_a_rollout_that_begins_with_a_shadow_are_planned_evidence(project: Path) -> None:
    def planned(**sections: object) -> int:
        _edit(project, lambda values: values.update(sections))
        return load_project("flight_delays", root=project).spec.planned_shadow_days

    shadow, canary = {"stage": "shadow", "days": 9}, {"stage": "canary", "share": 0.1, "days": 7}
    assert planned() == 0
    assert planned(rollout={"stages": [shadow, canary]}) == 9
    assert planned(rollout={"stages": [canary]}) == 0
    assert planned(rollout={"mode": "direct"}) == 0
    _edit(project, lambda values: values["gates"].update(shadow_days=4))
    assert planned(rollout={"stages": [shadow, canary]}) == 4


def test_an_overlay_of_a_model_that_is_not_there_is_said_and_harms_no_model(
    project: Path, heard: pytest.LogCaptureFixture
) -> None:
    (project / "conf/local.yaml").write_text("models: {flight_delay: {training: {seed: 8}}}\n")
    assert load_project("flight_delays", root=project).spec.training.seed == 7
    assert load_environment(root=project).name == "local"
    (said,) = [text for text in heard.messages if "did you mean 'flight_delays'" in text]
    assert "conf/local.yaml:1: models.flight_delay: no such model" in said


def test_an_overlay_whose_models_are_no_mapping_is_refused(project: Path) -> None:
    (project / "conf/local.yaml").write_text("models: [flight_delays]\n")
    for load in (lambda: load_project("flight_delays", root=project), lambda: load_environment(root=project)):
        with pytest.raises(SpecError, match="expected a mapping of model names"):
            load()


@pytest.mark.parametrize("cron", ["*/15 4 * * *", "0 4 * * 1-5", "0 4 1,15 JAN-MAR MON", "59 23 31 12 7"])
def test_every_cron_of_airflow_is_taken_for_maintenance_and_a_daily_one_for_scoring(project: Path, cron: str) -> None:
    _edit(project, lambda values: values.setdefault("maintenance", {}).update(cron=cron))
    assert load_project("flight_delays", root=project).spec.maintenance.cron == cron
    _edit(project, lambda values: values["schedule"].update(cron=cron))
    with pytest.raises(SpecError, match=r"schedule\.cron .*must come once a period .*, such as '0 4 "):
        load_project("flight_delays", root=project)


def test_the_metrics_of_a_task_are_those_that_are_computed() -> None:
    answers = {"binary": ([0, 1], [0.2, 0.8]), "multiclass": ([0, 1], [[0.9, 0.1], [0.2, 0.8]]),
               "regression": ([1.0, 2.0], [1.5, 2.0])}  # fmt: skip
    assert {task: set(evaluate(*given, task=task)) for task, given in answers.items()} == {
        name: task.metrics for name, task in TASKS.items()
    }


def test_relative_storage_is_below_the_project(project: Path) -> None:
    assert load_project("flight_delays", root=project).environment.storage.lake == str(project / "lake")


def test_all_problems_come_at_once_with_file_path_and_nearest_match(project: Path) -> None:
    def break_it(values) -> None:
        values["training"]["netwrk"] = {}
        values["schedule"]["timezone"] = "America/New_Yrok"
        values["data"]["sources"]["flights"]["pth"] = "x"
        del values["owner"]["email"]

    _edit(project, break_it)
    with pytest.raises(SpecError) as caught:
        load_project("flight_delays", root=project)
    text = str(caught.value)
    assert "4 problems" in text
    assert "did you mean 'network'?" in text
    assert "did you mean 'path'?" in text
    assert "no such timezone: 'America/New_Yrok'" in text
    assert "owner.email: missing" in text
    assert str(project / "models/flight_delays/model.yaml") in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["schedule"].update(cron="daily"), "five fields"),
        (lambda v: v["schedule"].update(end_date="2012-01-01"), "before start_date"),
        (lambda v: v["schedule"].update(cron="0 25 * * *"), "hours of a cron lie between 0 and 23; found '25'"),
        (lambda v: v["gates"].update(floors={"roc_auk": {"min": 0.5}}), "gates.floors names 'roc_auk'"),
        (lambda v: v["gates"].update(primary_metric="rmse"), "'rmse', which is no metric of the task binary"),
        (lambda v: v["monitoring"].update(performance_floor={"auc": {"min": 0.5}}), "performance_floor names 'auc'"),
        (lambda v: v["training"].update(numeric=["altitude"]), "'altitude', which is not in data.columns"),
        (lambda v: v["training"].update(seed="seven"), "found 'seven'"),
        (lambda v: v["data"].update(contract="../../etc/passwd"), "below the model's folder"),
        (lambda v: v["scoring"].update(models="latest"), "found 'latest'"),
        (lambda v: v["retraining"].update(num_violation_windows=9), "never be reached"),
        (lambda v: v["data"]["columns"].update(role="VARCHAR"), "reserved names ['role']"),
        (lambda v: v["data"]["columns"].update(Score_Date="DATE"), "reserved names ['Score_Date']"),
        (
            lambda v: v["data"]["columns"].update(Carrier="VARCHAR"),
            "data.columns.Carrier and data.columns.carrier differ only in",
        ),
        (lambda v: v["gates"].update(floors={"roc_auc": {"max": float("inf")}}), "gates.floors.roc_auc.max: found inf"),
        (lambda v: v["monitoring"].update(performance_floor={"roc_auc": {"min": float("nan")}}), "min: found nan"),
        (lambda v: v.update(name="other"), "the folder's name"),
    ],
)
def test_what_is_wrong_is_said(project: Path, change, message: str) -> None:
    _edit(project, change)
    with pytest.raises(SpecError, match=r"(?s).*") as caught:
        load_project("flight_delays", root=project)
    assert message in str(caught.value)


def test_every_mistake_has_a_line(project: Path) -> None:
    _edit(project, lambda v: v["training"].update(numeric=["altitude"], categorical=["mood"]))
    with pytest.raises(SpecError, match=r"(?s)2 problems.*\n  - [^\n]*'altitude'[^\n]*\n  - [^\n]*'mood'[^\n]*\n"):
        load_project("flight_delays", root=project)


@pytest.mark.parametrize(
    ("text", "found", "remedy"),
    [
        ("training.epoch=3", "  - --set training.epoch=3: training.epoch: unknown key", "correct --set, then"),
        ("gates.foo=1", "  - --set gates.foo=1: gates.foo: unknown key", "correct --set, then"),
        ("training.seed=x", "  - --set training.seed=x: training.seed: found 'x'", "correct --set, then"),
        (
            "environment.storage.foo=1",
            "  - --set environment.storage.foo=***: storage.foo: unknown",
            "correct --set, then",
        ),
        ("retraining.num_violation_windows=9", "model.yaml with --set retraining.num_v", "correct the file or --set"),
    ],
)
def test_a_wrong_set_is_not_blamed_on_the_file(project: Path, text: str, found: str, remedy: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_project("flight_delays", root=project, overrides=[text])
    assert found in str(caught.value)
    assert remedy in caught.value.remedy


def test_broken_yaml_is_a_spec_error(project: Path) -> None:
    (project / "models/flight_delays/model.yaml").write_text("name: [\n")
    with pytest.raises(SpecError, match="valid YAML"):
        load_project("flight_delays", root=project)


def test_a_spec_that_is_a_list_is_a_spec_error(project: Path) -> None:
    (project / "models/flight_delays/model.yaml").write_text("- a\n- b\n")
    with pytest.raises(SpecError, match="mapping of sections"):
        load_project("flight_delays", root=project)


def test_unknown_model_and_environment_name_the_nearest(project: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'flight_delays'"):
        load_project("flight_delay", root=project)
    with pytest.raises(UsageError, match="did you mean 'local'"):
        load_project("flight_delays", root=project, environment="locl")


@pytest.mark.parametrize("text", ["training.seed", "=3"])
def test_a_set_without_a_value_is_refused(project: Path, text: str) -> None:
    with pytest.raises(UsageError, match="has no value"):
        load_project("flight_delays", root=project, overrides=[text])


def test_without_a_project_the_way_to_one_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tally init"):
        model_names(tmp_path)


def test_only_what_changes_a_score_is_in_the_scoring_identity(project: Path) -> None:
    def identity(*overrides: str) -> str:
        return load_project("flight_delays", root=project, overrides=overrides).spec.scoring.identity()

    assert identity("scoring.engine=spark", "scoring.batch_rows=512", "scoring.models=current") == identity()
    assert identity("scoring.threshold=0.4") != identity()


def test_the_schema_describes_every_section() -> None:
    schema = json_schema()
    assert json.dumps(schema)
    assert {"owner", "schedule", "data", "training", "gates", "scoring"} <= set(schema["properties"])
    assert schema["$defs"]["Schedule"]["properties"]["cron"]["description"]


def test_the_exported_schema_is_the_specs(repository: Path) -> None:
    assert json.loads((repository / "docs/model.schema.json").read_text()) == json_schema(), "run `make docs`"


def test_storage_options_are_texts_and_stay_secret(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_SECRET", "do-not-show-me")
    (project / "conf/local.yaml").write_text(
        "storage: {lake: 's3://bucket/lake', options: {AWS_SECRET_ACCESS_KEY: '${oc.env:LAKE_SECRET}',"
        " AWS_ALLOW_HTTP: true, max_retries: 2}}\n"
    )
    storage = load_project("flight_delays", root=project).environment.storage
    revealed = {name: value.get_secret_value() for name, value in storage.options.items()}
    assert revealed == {"AWS_SECRET_ACCESS_KEY": "do-not-show-me", "AWS_ALLOW_HTTP": "true", "max_retries": "2"}
    assert storage.lake == "s3://bucket/lake"
    for text in (repr(storage), str(storage), storage.model_dump_json(), repr(storage.model_dump())):
        assert "do-not-show-me" not in text


@pytest.mark.parametrize(
    "broken",
    [
        "{options: {AWS_SECRET_ACCESS_KEY: [do-not-show-me]}}",
        "{options: [do-not-show-me]}",
        "{options: do-not-show-me}",
        "{connection: a, options: {AWS_SECRET_ACCESS_KEY: do-not-show-me}}",
        "{connection: a, options: {session_token: do-not-show-me}}",
    ],
)
def test_an_error_about_storage_options_does_not_show_them(project: Path, broken: str) -> None:
    (project / "conf/local.yaml").write_text(f"storage: {broken}\n")
    with pytest.raises(SpecError, match="storage") as caught:
        load_project("flight_delays", root=project)
    assert "do-not-show-me" not in str(caught.value)
