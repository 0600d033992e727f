"""The pipeline of a day: create -> reshuffle -> score -> group (the barrier) -> gather."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apache_beam as beam

from tallywright.scoring.beam.steps import Gather, ScorePortions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.scoring.beam.outcomes import Mailbox
    from tallywright.scoring.fragments import Portion
    from tallywright.scoring.score_job import ScoreJob


def add_day(
    pipeline: beam.Pipeline, job: ScoreJob, portions: Sequence[Portion], mailbox: Mailbox, *, environments: int = 1
) -> None:
    """Adds the steps of a day to a pipeline.

    Args:
        pipeline: An empty one.
        job: What the whole day has in common.
        portions: The elements.
        mailbox: Where the outcomes go.
        environments: In how many branches portions are scored, each in an environment of its own. Prism starts one
            worker an environment and gives it all that is waiting as one bundle; other runners share out a branch.
    """
    branches = [portions[start::environments] for start in range(min(environments, len(portions)))]
    named = [_scored(pipeline, job, branch, mailbox, index) for index, branch in enumerate(branches)]
    names = named[0] if len(named) == 1 else tuple(named) | "all branches" >> beam.Flatten()
    names | "every portion" >> beam.GroupByKey() | "gather" >> beam.ParDo(Gather(mailbox))


def _scored(
    pipeline: beam.Pipeline, job: ScoreJob, portions: Sequence[Portion], mailbox: Mailbox, index: int
) -> beam.PCollection:
    score = beam.ParDo(ScorePortions(job, mailbox))
    if index:
        # Environments that differ are not merged, and a megabyte is asked for by nobody else.
        score = score.with_resource_hints(min_ram=f"{index}MB")
    elements = pipeline | f"portions {index}" >> beam.Create(
        [portion.to_json() for portion in portions], reshuffle=False
    )
    if len(portions) > 1:
        elements = elements | f"share out {index}" >> beam.Reshuffle()
    return elements | f"score {index}" >> score
