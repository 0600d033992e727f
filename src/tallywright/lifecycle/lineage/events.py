"""Makes the events of openlineage-python: its classes are those of the published schema."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tallywright import __version__
from tallywright.errors import TallyError
from tallywright.redaction import without_credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.lifecycle.lineage.datasets import CheckResult, Dataset
    from tallywright.lifecycle.lineage.naming import Name

PRODUCER: Final = f"pkg:pypi/tallywright@{__version__}"
"""Who has made an event, as a package URL."""
_LONGEST: Final = 10_000


@dataclass(frozen=True, slots=True)
class StepRun:
    """One run of a step, as all of its events tell it.

    Attributes:
        job: `<model>__<pipeline>.<step>`, which is also the name of an Airflow task.
        run_id: A UUID.
        parent: The run of the pipeline (of the DAG), and its UUID.
        help: What the step does.
        owner: Who answers for the model: a name, and an address.
        tags: Of the model.
        nominal: When the score period begins and ends; None for runs about no period.
        code: The commit of the project's code, and the address of its repository, where there is one.
        folder: Of the model, below the root of the project.
    """

    job: Name
    run_id: str
    parent: tuple[Name, str]
    help: str
    owner: tuple[str, str]
    tags: tuple[str, ...]
    nominal: tuple[datetime, datetime] | None
    code: tuple[str, str]
    folder: str


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """The state of a run, with what it has read and written so far."""

    state: str
    inputs: Sequence[Dataset] = ()
    outputs: Sequence[Dataset] = ()
    error: BaseException | None = None


def event_of(run: StepRun, outcome: StepOutcome) -> Any:
    """The `RunEvent` of a run."""
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState

    return RunEvent(
        eventType=RunState[outcome.state],
        eventTime=datetime.now(UTC).isoformat(),
        run=Run(runId=run.run_id, facets=_run_facets(run, outcome)),
        job=Job(namespace=run.job.namespace, name=run.job.name, facets=_job_facets(run)),
        producer=PRODUCER,
        inputs=[_input(one, run) for one in outcome.inputs],
        outputs=[_output(one, run) for one in outcome.outputs],
    )


def _run_facets(run: StepRun, outcome: StepOutcome) -> dict[str, Any]:
    from openlineage.client.facet_v2 import error_message_run, nominal_time_run, parent_run, processing_engine_run

    parent, parent_id = run.parent
    facets: dict[str, Any] = {
        "parent": parent_run.ParentRunFacet(
            run=parent_run.Run(runId=parent_id),
            job=parent_run.Job(namespace=parent.namespace, name=parent.name),
            producer=PRODUCER,
        ),
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            version=__version__, name="tallywright", producer=PRODUCER
        ),
    }
    if run.nominal is not None:
        begin, end = (instant.astimezone(UTC).isoformat() for instant in run.nominal)
        facets["nominalTime"] = nominal_time_run.NominalTimeRunFacet(begin, end, producer=PRODUCER)
    if outcome.error is not None:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=without_credentials(str(outcome.error) or type(outcome.error).__name__)[:_LONGEST],
            programmingLanguage="python",
            stackTrace=_trace(outcome.error),
            producer=PRODUCER,
        )
    return facets


def _trace(error: BaseException) -> str | None:
    """Where an error that is none of ours was raised; ours say all that there is to say."""
    if isinstance(error, TallyError):
        return None
    return without_credentials("".join(traceback.format_exception(error)))[-_LONGEST:]


def _job_facets(run: StepRun) -> dict[str, Any]:
    from openlineage.client.facet_v2 import (
        documentation_job,
        job_type_job,
        ownership_job,
        source_code_location_job,
        tags_job,
    )

    commit, repository = run.code
    facets: dict[str, Any] = {
        "documentation": documentation_job.DocumentationJobFacet(description=run.help, producer=PRODUCER),
        "ownership": ownership_job.OwnershipJobFacet(
            owners=[ownership_job.Owner(name=name, type="OWNER") for name in run.owner], producer=PRODUCER
        ),
        "jobType": job_type_job.JobTypeJobFacet("BATCH", "TALLYWRIGHT", "TASK", producer=PRODUCER),
    }
    if repository:
        facets["sourceCodeLocation"] = source_code_location_job.SourceCodeLocationJobFacet(
            type="git", url=repository, repoUrl=repository, path=run.folder, version=commit, producer=PRODUCER
        )
    if run.tags:
        fields = [tags_job.TagsJobFacetFields(tag, "true", "tallywright") for tag in run.tags]
        facets["tags"] = tags_job.TagsJobFacet(fields, producer=PRODUCER)
    return facets


def _input(found: Dataset, run: StepRun) -> Any:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import data_quality_assertions_dataset, input_statistics_input_dataset

    own: dict[str, Any] = {}
    if found.rows is not None or found.size is not None:
        own["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            found.rows, found.size, found.files, producer=PRODUCER
        )
    if found.checks:
        assertions = [_assertion(check) for check in found.checks]
        own["dataQualityAssertions"] = data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
            assertions, producer=PRODUCER
        )
    return InputDataset(found.name.namespace, found.name.name, facets=_facets(found, run), inputFacets=own)


def _assertion(check: CheckResult) -> Any:
    from openlineage.client.facet_v2 import data_quality_assertions_dataset

    return data_quality_assertions_dataset.Assertion(
        assertion=check.name,
        success=check.met,
        column=check.column or None,
        severity="error" if check.blocks else "warn",
        expected=check.bound or None,
        actual=check.observed or None,
        description=check.evidence or None,
    )


def _output(found: Dataset, run: StepRun) -> Any:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset

    own: dict[str, Any] = {}
    if found.rows is not None or found.size is not None:
        own["outputStatistics"] = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            found.rows, found.size, found.files, producer=PRODUCER
        )
    return OutputDataset(found.name.namespace, found.name.name, facets=_facets(found, run), outputFacets=own)


def _facets(found: Dataset, run: StepRun) -> dict[str, Any]:
    """What holds of a dataset whoever reads or writes it."""
    from openlineage.client.facet_v2 import (
        dataset_version_dataset,
        documentation_dataset,
        ownership_dataset,
        schema_dataset,
        storage_dataset,
    )

    facets: dict[str, Any] = {}
    if found.version:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(found.version, producer=PRODUCER)
    if found.columns:
        fields = [
            schema_dataset.SchemaDatasetFacetFields(name, kind, ordinal_position=place)
            for place, (name, kind) in enumerate(found.columns, start=1)
        ]
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields, producer=PRODUCER)
    if found.description:
        facets["documentation"] = documentation_dataset.DocumentationDatasetFacet(
            description=found.description, producer=PRODUCER
        )
    if found.is_table:
        facets["storage"] = storage_dataset.StorageDatasetFacet("delta", "parquet", producer=PRODUCER)
        owners = [ownership_dataset.Owner(name, "OWNER") for name in run.owner]
        facets["ownership"] = ownership_dataset.OwnershipDatasetFacet(owners, producer=PRODUCER)
    return facets
