"""The pipeline of a day: create -> reshuffle -> score -> group (the barrier) -> gather."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apache_beam as beam

from tallywright.scoring.engines.beam.steps import Gather, ScoreSplits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.scoring.engines.beam.outcomes import OutcomeFolder
    from tallywright.scoring.job import ScoreJob
    from tallywright.scoring.worker.fragments import InputSplit


def add_day(
    pipeline: beam.Pipeline,
    job: ScoreJob,
    splits: Sequence[InputSplit],
    outcome_folder: OutcomeFolder,
    *,
    environments: int = 1,
) -> None:
    """Adds the steps of a day to a pipeline.

    Args:
        pipeline: An empty one.
        job: What the whole day has in common.
        splits: The elements.
        outcome_folder: Where the outcomes go.
        environments: In how many branches splits are scored, each in an environment of its own. Prism starts one
            worker an environment and gives it all that is waiting as one bundle; other runners share out a branch.
    """
    branches = [splits[start::environments] for start in range(min(environments, len(splits)))]
    named = [_scored(pipeline, job, branch, outcome_folder, index) for index, branch in enumerate(branches)]
    names = named[0] if len(named) == 1 else tuple(named) | "all branches" >> beam.Flatten()
    names | "every split" >> beam.GroupByKey() | "gather" >> beam.ParDo(Gather(job.run, outcome_folder))


def _scored(
    pipeline: beam.Pipeline, job: ScoreJob, splits: Sequence[InputSplit], outcome_folder: OutcomeFolder, index: int
) -> beam.PCollection:
    score = beam.ParDo(ScoreSplits(job, outcome_folder))
    if index:
        # Environments that differ are not merged, and a megabyte is asked for by nobody else.
        score = score.with_resource_hints(min_ram=f"{index}MB")
    elements = pipeline | f"splits {index}" >> beam.Create([split.to_json() for split in splits], reshuffle=False)
    if len(splits) > 1:
        elements = elements | f"share out {index}" >> beam.Reshuffle()
    return elements | f"score {index}" >> score
