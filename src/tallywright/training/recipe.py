"""A recipe: one estimator of a spec on the rows of one snapshot, from the tables as read to the fitted model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from tallywright.data.snapshot import SPLITS, read_split
from tallywright.errors import PackageError
from tallywright.labels import class_names
from tallywright.observability import log
from tallywright.packaging.meta import ESTIMATOR, ROUNDS, TUNED
from tallywright.records import digest_of
from tallywright.spec.estimators import KINDS
from tallywright.training.candidate import Learnt, Origin
from tallywright.training.estimators.protocol import FitTask
from tallywright.training.estimators.registry import make
from tallywright.training.matrices import Splits, make_split, require_rows
from tallywright.training.objective import learn_objective
from tallywright.training.targets import require_targets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path

    from tallywright.data.delta.lake import Lake
    from tallywright.data.snapshot import Snapshot
    from tallywright.packaging.package import Package
    from tallywright.spec import Project
    from tallywright.spec.estimators import EstimatorSpec
    from tallywright.spec.sections import Training
    from tallywright.training.estimators.protocol import Doing, Estimator
    from tallywright.training.tracking import LifecycleRun


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is learnt.

    Args:
        project: The model project.
        snapshot: Versions and windows.
        name: The estimator's name in the report.
        estimator: It.
        code_version: The commit of the code.
        texts: The texts that define the features and the model, by file name.
        tuned: What a search has chosen, as a package records it; None where none was made.
        fitted_through: The last date whose rows a model from elsewhere has seen; None for one that is fitted here.
    """

    project: Project
    snapshot: Snapshot
    name: str
    estimator: Estimator
    code_version: str
    texts: Mapping[str, str]
    tuned: Mapping[str, Any] | None = None
    fitted_through: date | None = None

    def with_tuned(self, record: Mapping[str, Any]) -> Recipe:
        """The recipe with the parameters that a search has chosen.

        Args:
            record: What a package records of the search.

        Raises:
            PackageError: It holds no parameters of an estimator.
        """
        try:
            section = KINDS[record["estimator"]["kind"]].model_validate(record["estimator"])
        except (KeyError, TypeError, ValidationError) as error:
            raise PackageError(
                f"the record of the tuning of {self.name} cannot be read: {type(error).__name__}",
                expected="the parameters that the search has chosen",
                remedy="run the train pipeline again, with another run id",
            ) from error
        return replace(self, estimator=make(self.project, cast("EstimatorSpec", section)), tuned=record)

    def splits(self, tables: Mapping[str, pa.Table]) -> Splits:
        """The three splits, with the preprocessing learnt from the first."""
        spec, preprocess = self.project.spec.training, self.estimator.preprocess(tables["train"])
        made = {name: make_split(spec, preprocess, table) for name, table in tables.items()}
        return Splits(preprocess, made["train"], made["validation"], made["holdout"])

    def all_rows(self, tables: Mapping[str, pa.Table], judged: Package) -> Splits:
        """All rows as one split, with the preprocessing learnt from them."""
        spec = self.project.spec.training
        table = of_known_classes(pa.concat_tables(tables.values()), spec, judged)
        preprocess = self.estimator.preprocess(table)
        split = make_split(spec, preprocess, table)
        return Splits(preprocess, train=split, validation=None, holdout=split)

    def configuration(self, splits: Splits) -> dict[str, Any]:
        """Everything that determines the weights: equal digests, equal bits (on one kind of machine)."""
        return {
            "training": self.project.spec.training.as_json(),
            "data": {"fingerprint": self.snapshot.fingerprint, "rows": splits.rows},
            "preprocess": digest_of(splits.preprocess.model_dump(mode="json")),
            **({} if self.tuned is None else {TUNED: dict(self.tuned)}),
            **self.estimator.identity,
            "code_version": self.code_version,
        }

    def fit(self, splits: Splits, checkpoint: Path, doing: Doing, rounds: int | None = None) -> Learnt:
        """Fits the estimator; with `rounds`, for so many, as a refit does."""
        spec, target = self.project.spec.training, splits.train.rows.target
        objective = learn_objective(spec.task, target, self.estimator.class_weight, positive=spec.positive)
        determined = {**self.configuration(splits), ESTIMATOR: self.name, ROUNDS: rounds}
        task = FitTask(
            objective=objective,
            train=splits.train.rows,
            validation=None if splits.validation is None else splits.validation.rows,
            codes=splits.codes,
            rounds=rounds,
            configuration=digest_of(determined),
            checkpoint=checkpoint,
            doing=doing,
        )
        return Learnt(self.name, splits, objective, self.estimator.fit(task))

    def origin(self, run: LifecycleRun, splits: Splits, judged: Package | None = None) -> Origin:
        """The origin of a package of this recipe."""
        return Origin(
            project=self.project,
            snapshot=self.snapshot,
            run_id=run.run_id,
            code_version=self.code_version,
            created_at=run.started_at,
            configuration=self.configuration(splits),
            texts=self.texts,
            judged=judged,
            fitted_through=self.fitted_through,
        )


def read_tables(project: Project, lake: Lake, snapshot: Snapshot) -> dict[str, pa.Table]:
    """The rows of each split by its name, in the order of their dates.

    Raises:
        InputError: A split without rows, or values that are no label of the task.
    """
    tables: dict[str, pa.Table] = {name: read_split(project, lake, snapshot, name) for name in SPLITS}
    require_rows(tables)
    require_targets(project.spec, list(tables.values()))
    return tables


def of_known_classes(table: pa.Table, spec: Training, judged: Package) -> pa.Table:
    """The rows whose classes the judged package has: a class of the holdout alone was never judged."""
    if not spec.kind.per_class:
        return table
    known = pc.is_in(class_names(table.column(spec.target)), value_set=pa.array(judged.meta.classes, pa.string()))
    unknown = table.num_rows - pc.sum(known.cast(pa.int64())).as_py()
    if unknown:
        log.warning(
            "the refit leaves out %s rows whose classes are none of the training window's; they are learnt from when "
            "the window has moved on",
            f"{unknown:,}",
        )
    return table.filter(known)
