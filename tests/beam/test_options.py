"""What the environment says about Beam: checked for its form, and passed on untouched."""

from __future__ import annotations

import pytest
from beam_world import on
from pydantic import ValidationError

from tallywright.errors import UsageError
from tallywright.scoring.engines.beam.backends import backend_for, check_settings
from tallywright.scoring.engines.beam.outcomes import OutcomeFolder
from tallywright.scoring.engines.beam.runners import day_pipeline, in_process_options
from tallywright.spec.environment import BeamSettings

pytestmark = [pytest.mark.beam, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("option", ["parallelism=3", "-p=3", "--", "--=3", "--parallelism 3", "", "--1=2", "a --b=c"])
def test_an_option_of_another_form_is_refused(option) -> None:
    with pytest.raises(ValidationError, match="options"):
        BeamSettings(options=(option,))


@pytest.mark.parametrize("option", ["--parallelism=3", "--flink-master=host:8081", "--streaming", "--labels=a=b"])
def test_an_option_of_the_form_is_kept_as_it_is(option) -> None:
    assert BeamSettings(options=(option,)).options == (option,)


@pytest.mark.parametrize("runner", ["DirectRunner", "directrunner", "direct", "BundleBasedDirectRunner"])
def test_a_runner_that_is_another_each_time_is_refused(runner) -> None:
    with pytest.raises(UsageError, match="whatever runner") as caught:
        backend_for(on(runner).beam)
    assert "FnApiRunner" in caught.value.expected


@pytest.mark.parametrize("option", ["--runner=FlinkRunner", "--save_main_session"])
def test_what_is_set_elsewhere_is_refused(option) -> None:
    with pytest.raises(UsageError, match=option):
        check_settings(on("FnApiRunner", option).beam)


def pipeline_with(day, runner_options, environments=1):
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    outcome_folder = OutcomeFolder.below(day.job().table, {})
    splits = [day.splits()[0].model_copy(update={"index": index}) for index in range(5)]
    return day_pipeline(FnApiRunner(), runner_options, day.job(), splits, outcome_folder, environments=environments)


def test_options_of_flink_and_dataflow_reach_their_runners(day) -> None:
    from apache_beam.options import pipeline_options as known

    given = ["--flink_master=host:8081", "--parallelism=6", "--environment_type=DOCKER", "--project=p", "--region=r"]
    given += ["--temp_location=gs://bucket/tmp", "--max_num_workers=7", "--sdk_container_image=image:1"]
    options = pipeline_with(day, given).options
    assert options.view_as(known.FlinkRunnerOptions).flink_master == "host:8081"
    assert options.view_as(known.PortableOptions).environment_type == "DOCKER"
    cloud = options.view_as(known.GoogleCloudOptions)
    assert (cloud.project, cloud.region, cloud.temp_location) == ("p", "r", "gs://bucket/tmp")
    workers = options.view_as(known.WorkerOptions)
    assert (workers.max_num_workers, workers.sdk_container_image) == (7, "image:1")
    assert options.get_all_options(retain_unknown_options=True)["parallelism"] in ("6", 6)


def test_options_of_the_environment_win(day) -> None:
    from apache_beam.options.pipeline_options import DirectOptions

    options = [*in_process_options(2), "--direct_num_workers=3", "--direct_running_mode=multi_threading"]
    direct = pipeline_with(day, options).options.view_as(DirectOptions)
    assert (direct.direct_num_workers, direct.direct_running_mode) == (3, "multi_threading")


@pytest.mark.parametrize("environments", [1, 2, 4, 9])
def test_a_day_is_scored_in_as_many_environments_as_there_are_workers_and_splits(day, environments) -> None:
    pipeline = pipeline_with(day, [], environments).to_runner_api()
    steps = [step for step in pipeline.components.transforms.values() if step.unique_name.startswith("score ")]
    used = {step.environment_id for step in steps if not step.subtransforms}
    assert len(used) == min(environments, 5)
