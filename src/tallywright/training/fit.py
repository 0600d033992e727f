"""Trains on a pinned snapshot, and refits on all of its rows what was judged: packages, and an MLflow run.

The judged package shows what a recipe is worth on rows that it has not seen; the refit is the same recipe on all rows,
for as many rounds as the judged fit has chosen, and is what serves. Of several estimators the best on validation is the
one that is judged.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import PackageError
from tallywright.mlflow_names import SLICE
from tallywright.observability import log
from tallywright.packaging.meta import ADOPTED, ESTIMATOR, ROUNDS, TUNED
from tallywright.packaging.package import load_package
from tallywright.records import Record
from tallywright.spec.estimators import named
from tallywright.tasks import metric_of
from tallywright.training.adoption.adopted import AdoptedModel
from tallywright.training.baselines import baseline_scores
from tallywright.training.candidate import feature_texts, make_candidate, make_refit
from tallywright.training.estimators.registry import estimators_of
from tallywright.training.evaluate import better_baselines, compared_by, measure_validation
from tallywright.training.recipe import Recipe, read_tables
from tallywright.training.run_log import record_refit, record_training, record_tuning
from tallywright.training.tracking import training_run
from tallywright.training.tuning.fits import SEARCHED
from tallywright.training.tuning.search import require_optuna, tune

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tallywright.data.delta.lake import Lake
    from tallywright.data.snapshot import Snapshot
    from tallywright.packaging.package import Package
    from tallywright.spec import Project
    from tallywright.training.adoption.adopted import Adopted
    from tallywright.training.candidate import Learnt
    from tallywright.training.estimators.protocol import Doing
    from tallywright.training.tracking import LifecycleRun

__all__ = ["TrainedModel", "refit", "train"]

CHECKPOINT: Final = "checkpoint.safetensors"
REFIT_FOLDER: Final = "refit"


class TrainedModel(Record):
    """A trained, evaluated and packaged model.

    `run_id` is MLflow's. `metrics` maps `model`, other estimators and each baseline to their metrics on the holdout;
    those of a refit are of the judged package, whose recipe it repeats. `tuned` is the record of the search, if one was
    made; it may be about an estimator that is not the model.
    """

    folder: str
    digest: str
    run_id: str
    metrics: dict[str, dict[str, float]]
    tuned: dict[str, Any] | None = None


def train(  # noqa: PLR0913 - what, from where and under which name are all the caller's to say
    project: Project,
    lake: Lake,
    snapshot: Snapshot,
    *,
    run_id: str,
    work: Path,
    code_version: str,
    tuned: Mapping[str, Any] | None = None,
    doing: Doing = lambda _what, _limit: None,
    adopted: Adopted | None = None,
    repeated: LifecycleRun | None = None,
) -> TrainedModel:
    """Trains, evaluates, packages and records one candidate; after a kill it goes on from the last checkpoint.

    Args:
        project: The model project.
        lake: Holds the tables the snapshot pins.
        snapshot: Versions and windows.
        run_id: The lifecycle run's own id; repeated, it means the same MLflow run and the same package.
        work: The run folder: gets `package/` and the checkpoint.
        code_version: The commit of the code, for the record.
        tuned: What a package records of its search (`training_config.tuned`): its parameters are taken again, and
            nothing is searched.
        doing: Told what is about to be done, and how many seconds it may take (None: no limit of its own).
        adopted: A model from elsewhere, which is taken in place of what the spec's estimators would learn.
        repeated: The run as it was, where it is done again: MLflow is told nothing.

    Raises:
        TrackingError: MLflow cannot be used; said before anything is trained.
        InputError: Data that cannot be learnt from.
        SpecError: The network file is not usable.
    """
    searched = adopted is None and project.spec.training.tuning is not None
    if searched and tuned is None:
        require_optuna()
    if adopted is not None:
        doing(f"reading {adopted.source}", None)
    recipes = _recipes(project, snapshot, code_version, adopted)
    with _run(project, run_id, repeated) as run:
        doing("reading the training data", None)
        tables = read_tables(project, lake, snapshot)
        recipe = _to_tune(project, recipes) if searched else None
        if recipe is not None:
            rows = {name: tables[name] for name in SEARCHED}
            recipe = recipe.with_tuned(tuned) if tuned is not None else tune(recipe, rows, run, doing)
            recipes[recipe.name] = recipe
        trained = [
            recipe.fit(recipe.splits(tables), work / _checkpoint(recipe, recipes), doing) for recipe in recipes.values()
        ]
        learnt = _best(project, trained)
        # Parity on the holdout is asked of the chosen one alone. That the others' graphs would score so, too, rests on
        # the trial of each of kind sklearn, torch and onnx, and on the parameters that boosted trees may have.
        rivals = {one.name: one.fitted.predict(one.splits.holdout.rows) for one in trained if one is not learnt}
        if project.spec.training.baselines:
            rivals |= baseline_scores(project, learnt.splits, doing)
        doing("evaluating and packaging the model", None)
        origin = recipes[learnt.name].origin(run, learnt.splits)
        candidate = make_candidate(origin, learnt, rivals, work)
        if repeated is None:
            doing("recording the training in MLflow", None)
            record_training(run, origin, learnt, candidate)
            if recipe is not None and recipe.tuned is not None:
                record_tuning(run, recipe.name, recipe.tuned)
    results = _results(candidate.evaluation)
    for sentence in better_baselines(results, compared_by(project.spec, results["model"])):
        log.warning("%s", sentence)
    return _trained(candidate.package, run.run_id, results, None if recipe is None else recipe.tuned)


def refit(  # noqa: PLR0913 - as `train`
    project: Project,
    lake: Lake,
    snapshot: Snapshot,
    *,
    judged: Path,
    run_id: str,
    work: Path,
    code_version: str,
    doing: Doing = lambda _what, _limit: None,
    repeated: LifecycleRun | None = None,
) -> TrainedModel:
    """Fits the recipe of a judged package on all rows of its snapshot, packages and records that.

    Preprocessing and scale are learnt anew; the seed is the same; it learns for as many rounds as the judged fit has
    chosen, as no row is left to stop on. After a kill it goes on from its own checkpoint.

    Args:
        project: The model project, as at the training.
        lake: Holds the tables the snapshot pins.
        snapshot: Versions and windows, those of the judged package.
        judged: The folder of the judged package.
        run_id: The lifecycle run's own id, that of the training.
        work: The run folder: gets `refit/package/` and the checkpoint.
        code_version: The commit of the code, for the record.
        doing: As of `train`.
        repeated: As of `train`.

    Raises:
        PackageError: The judged package does not say how many rounds it was fitted, or is of another snapshot.
        TrackingError: MLflow cannot be used.
        InputError: Data that cannot be learnt from.
        SpecError: The network file is not usable.
    """
    package, folder = load_package(judged), work / REFIT_FOLDER
    rounds = _rounds(package, snapshot)
    recipe = _recipe_of(package, _recipes(project, snapshot, code_version))
    with _run(project, run_id, repeated) as run:
        doing("reading all rows for the refit", None)
        splits = recipe.all_rows(read_tables(project, lake, snapshot), package)
        learnt = recipe.fit(splits, folder / CHECKPOINT, doing, rounds)
        doing("packaging the refit", None)
        made, parity = make_refit(recipe.origin(run, splits, package), learnt, package, folder)
        if repeated is None:
            doing("recording the refit in MLflow", None)
            record_refit(run, learnt, made, parity)
    return _trained(made, run.run_id, _results(package.meta.evaluation))


def _run(project: Project, run_id: str, repeated: LifecycleRun | None) -> AbstractContextManager[LifecycleRun]:
    """The run to tell; one that is repeated is told nothing, and ends as it did."""
    return training_run(project, run_id) if repeated is None else nullcontext(repeated)


def _recipes(
    project: Project, snapshot: Snapshot, code_version: str, adopted: Adopted | None = None
) -> dict[str, Recipe]:
    if adopted is not None:
        model = AdoptedModel(project, adopted)
        texts = feature_texts(project, model)
        return {
            ADOPTED: Recipe(
                project, snapshot, ADOPTED, model, code_version, texts, fitted_through=adopted.trained_through
            )
        }
    return {
        name: Recipe(project, snapshot, name, estimator, code_version, feature_texts(project, estimator))
        for name, estimator in estimators_of(project).items()
    }


def _recipe_of(judged: Package, recipes: Mapping[str, Recipe]) -> Recipe:
    name = str(judged.meta.training_config.get(ESTIMATOR))
    if name not in recipes:
        raise PackageError(
            f"the package {judged.folder} is of an estimator {name!r}",
            expected=f"one of the spec's: {', '.join(recipes)}",
            remedy="run the train pipeline again, with another run id",
        )
    recorded = judged.meta.training_config.get(TUNED)
    return recipes[name] if recorded is None else recipes[name].with_tuned(recorded)


def _to_tune(project: Project, recipes: Mapping[str, Recipe]) -> Recipe | None:
    """The recipe whose parameters the spec wants searched."""
    section = project.spec.training.tuned
    return None if section is None else recipes[named(section)]


def _checkpoint(recipe: Recipe, recipes: Mapping[str, Recipe]) -> str:
    return CHECKPOINT if len(recipes) == 1 else f"{recipe.name}.{CHECKPOINT}"


def _best(project: Project, trained: Sequence[Learnt]) -> Learnt:
    """The best on validation, by the gate's metric; of equal ones the first."""
    if len(trained) == 1:
        return trained[0]
    figures: dict[str, dict[str, float]] = {}
    for one in trained:
        assert one.splits.validation is not None  # noqa: S101 - only a refit has none
        rows = one.splits.validation.rows
        figures[one.name] = measure_validation(project.spec, one.objective, rows.target, one.fitted.predict(rows))
    metric = compared_by(project.spec, figures[trained[0].name])
    goodness = metric_of(metric).goodness
    told = ", ".join(f"{name} {values[metric]:.4f}" for name, values in figures.items() if metric in values)
    best = max(
        trained,
        key=lambda one: goodness(figures[one.name][metric]) if metric in figures[one.name] else -float("inf"),
    )
    log.info("on validation %s: %s; the candidate is %s", metric, told, best.name)
    return best


def _trained(
    package: Package, run_id: str, results: dict[str, dict[str, float]], tuned: Mapping[str, Any] | None = None
) -> TrainedModel:
    return TrainedModel(
        folder=str(package.folder),
        digest=package.digest,
        run_id=run_id,
        metrics=results,
        tuned=None if tuned is None else dict(tuned),
    )


def _results(evaluation: Mapping[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The figures of whole models on the holdout."""
    return {name: values for name, values in evaluation.items() if name != "validation" and not name.startswith(SLICE)}


def _rounds(judged: Package, snapshot: Snapshot) -> int:
    rounds = judged.meta.training_config.get(ROUNDS)
    if not isinstance(rounds, int) or judged.meta.snapshot_json != snapshot.to_json():
        what = "is of another snapshot" if isinstance(rounds, int) else "does not say for how many rounds it was fitted"
        raise PackageError(
            f"the package {judged.folder} {what}",
            expected="the judged package of this very run, as `train` has made it",
            remedy="run the train pipeline again, with another run id",
        )
    return rounds
