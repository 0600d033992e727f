"""Searches the parameters of an estimator with Optuna, by trials that are judged on the validation days.

The same rows, spec and seed draw the same parameters, in one go or after a kill: each trial draws by a seed of its own
number, from what the trials before it have shown. So they are made one after the other.
"""

from __future__ import annotations

import hashlib
import importlib.util
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from tallywright.errors import InputError, SpecError
from tallywright.observability import log
from tallywright.records import digest_of
from tallywright.spec.tuning import OUTCOMES, with_values
from tallywright.tasks import metric_of
from tallywright.training.estimators.protocol import Pruned
from tallywright.training.tuning.fits import TrialFits
from tallywright.training.tuning.space import distributions_of, values_of
from tallywright.training.tuning.trials import TrialRun, TrialRuns, TuningTrial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import optuna
    import pyarrow as pa

    from tallywright.spec.estimators import EstimatorSpec
    from tallywright.spec.tuning import Tuning
    from tallywright.training.estimators.protocol import Doing
    from tallywright.training.recipe import Recipe
    from tallywright.training.tracking import LifecycleRun

_REPORTS: Final = 50
"""Losses of a trial that pruning compares, at most: as many as a tag of MLflow holds."""
_UNPRUNED: Final = 5
"""So many trials are completed before any is pruned."""
_WARMUP: Final = 10
"""No trial is pruned in this part, one in so many, of the rounds that it may have."""
_HOPELESS: Final = 3
"""So many failures, and nothing else, end the search."""
_LONGEST_PROBLEM: Final = 300


def require_optuna() -> None:
    """Refuses a search where Optuna is not installed.

    Raises:
        SpecError: Names the extra.
    """
    if importlib.util.find_spec("optuna") is None:
        raise SpecError(
            "training.tuning asks for a search, and optuna is not installed here",
            expected="the package optuna where models are trained",
            remedy="pip install 'tallywright[tuning]', or take training.tuning out",
        )


def tune(recipe: Recipe, tables: Mapping[str, pa.Table], run: LifecycleRun, doing: Doing) -> Recipe:
    """The recipe with the parameters that were best on validation; goes on with the trials that the run already has.

    Args:
        recipe: Of the estimator that the spec says to tune.
        tables: The rows of training and validation, and of nothing else.
        run: The run of the training, below which each trial becomes a run.
        doing: Is told what goes on.

    Raises:
        SpecError: No trial could be fitted.
        TrackingError: MLflow refuses or cannot be reached.
    """
    search = _ParameterSearch(recipe, tables, doing)
    runs = TrialRuns(run, search.digest)
    trials = runs.finished()
    if trials:
        log.info("the search goes on after %d finished trials", len(trials))
    for trial in trials:
        search.restore(trial)
    while search.goes_on(trials):
        trials.append(search.make_trial(len(trials), runs))
    return recipe.with_tuned(search.record(trials))


class _ParameterSearch:
    """A search: Optuna's study in memory, and the fits of its trials."""

    def __init__(self, recipe: Recipe, tables: Mapping[str, pa.Table], doing: Doing) -> None:
        spec = recipe.project.spec.training
        assert spec.tuned is not None  # noqa: S101 - the caller's condition
        assert spec.tuning is not None  # noqa: S101 - likewise
        self._tuning: Tuning = spec.tuning
        self._section: EstimatorSpec = spec.tuned
        self._recipe, self._doing = recipe, doing
        self._fits = TrialFits(recipe, self._section, tables)
        self._metric = self._fits.metric
        self._goodness = metric_of(self._metric).goodness
        """What the study maximizes."""
        self._distributions = distributions_of(self._tuning.space, self._section.kind)
        self._rounds = _most_rounds(self._section, self._tuning)
        self._study = self._new_study()

    @property
    def digest(self) -> str:
        """The digest of all that determines the trials."""
        recipe, spec = self._recipe, self._recipe.project.spec
        return digest_of(
            {
                "training": spec.training.as_json(),
                # By them, and by a threshold that is given, a trial's decisions cost more or less.
                "costs": None if spec.gates.costs is None else spec.gates.costs.as_json(),
                "threshold": spec.scoring.threshold,
                "metric": self._metric,
                "snapshot": recipe.snapshot.to_json(),
                "estimator": dict(recipe.estimator.identity),
                "code_version": recipe.code_version,
            }
        )

    def _new_study(self) -> optuna.Study:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if self._tuning.pruning:
            pruner = optuna.pruners.MedianPruner(_UNPRUNED, n_warmup_steps=self._rounds // _WARMUP)
        return optuna.create_study(direction="maximize", pruner=pruner)

    def goes_on(self, trials: Sequence[TuningTrial]) -> bool:
        """True while neither the trials nor the minutes are spent, and there is hope; one trial is always made."""
        minutes, spent = self._tuning.minutes, sum(trial.seconds for trial in trials)
        if len(trials) >= self._tuning.trials or (len(trials) >= _HOPELESS and not _complete(trials)):
            return False
        if trials and minutes is not None and spent >= minutes * 60:
            log.info("the search ends after %.1f minutes of trials", spent / 60)
            return False
        return True

    def restore(self, trial: TuningTrial) -> None:
        """Puts a trial of an earlier attempt into the study."""
        from optuna.trial import TrialState, create_trial

        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        self._study.add_trial(
            create_trial(
                state=states[trial.state],
                value=None if trial.value is None else self._goodness(trial.value),
                params=trial.drawn,
                distributions=self._distributions,
                intermediate_values={at: -loss for at, loss in trial.reported.items()},
            )
        )

    def make_trial(self, number: int, runs: TrialRuns) -> TuningTrial:
        """Draws parameters, fits and judges them, and keeps what came of it."""
        from optuna.trial import TrialState

        self._study.sampler = self._sampler(number)
        asked = self._study.ask(self._distributions)
        with runs.begun(number, values_of(self._tuning.space, asked.params)) as run:
            trial = run.trial = self._judged(asked, run)
        if trial.value is not None:
            self._study.tell(asked, self._goodness(trial.value))
        else:
            self._study.tell(asked, state=TrialState.PRUNED if trial.state == "pruned" else TrialState.FAIL)
        told = trial.state if trial.value is None else f"{self._metric} {trial.value:.4f} on validation"
        log.info(
            "trial %d of %d: %s, %d rounds, %.1f s", number + 1, self._tuning.trials, told, trial.rounds, trial.seconds
        )
        return trial

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        import optuna

        text = f"{self._recipe.project.spec.training.seed}/{number}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
        kind = optuna.samplers.TPESampler if self._tuning.sampler == "tpe" else optuna.samplers.RandomSampler
        return kind(seed=seed)

    def _judged(self, asked: optuna.Trial, run: TrialRun) -> TuningTrial:
        """What comes of the values that were drawn; what the estimator refuses is a failed trial."""
        begun, reported = time.monotonic(), dict[int, float]()
        every = -(-self._rounds // _REPORTS)

        def validated(at: int, loss: float) -> None:
            run.losses.append(loss)
            if at % every == 0:
                reported[at] = loss
                asked.report(-loss, at)
                if asked.should_prune():
                    raise Pruned

        what = f"trial {asked.number + 1} of {self._tuning.trials}"
        told: dict[str, Any] = {"state": "failed"}
        try:
            run.metrics, rounds = self._fits.fit(
                run.params, validated, lambda doing, limit: self._doing(f"{what}: {doing}", limit)
            )
            told = {"state": "complete", "value": run.metrics[self._metric], "rounds": rounds}
        except Pruned:
            told = {"state": "pruned", "rounds": len(run.losses)}
        except KeyError:
            told["problem"] = f"its scores have no {self._metric}"
        except (SpecError, InputError, ValidationError) as error:
            told["problem"] = str(error)[:_LONGEST_PROBLEM]
        seconds = round(time.monotonic() - begun, 3)
        return TuningTrial(number=asked.number, drawn=dict(asked.params), reported=reported, seconds=seconds, **told)

    def record(self, trials: Sequence[TuningTrial]) -> dict[str, Any]:
        """What the package keeps of the search: the parameters of the best trial, of equal ones the first.

        Raises:
            SpecError: No trial is complete.
        """
        complete = _complete(trials)
        if not complete:
            raise SpecError(
                f"none of {len(trials)} trials of training.tuning could be fitted; the first one: {trials[0].problem}",
                expected="parameters that the estimator takes",
                remedy="correct training.tuning.space, or training.estimator",
            )
        best = max(complete, key=lambda trial: (self._goodness(trial.value or 0.0), -trial.number))
        values, counts = values_of(self._tuning.space, best.drawn), Counter(trial.state for trial in trials)
        return {
            "parameters": values,
            "estimator": with_values(self._section, values).as_json(),
            "metric": self._metric,
            "value": best.value,
            "best": best.number,
            "trials": len(trials),
            **{state: counts[state] for state in OUTCOMES},
        }


def _complete(trials: Sequence[TuningTrial]) -> list[TuningTrial]:
    return [trial for trial in trials if trial.value is not None]


def _most_rounds(section: EstimatorSpec, tuning: Tuning) -> int:
    """How many rounds a trial may have at most; 1 of an estimator without rounds."""
    name = next((name for name in ("rounds", "epochs") if hasattr(section, name)), "")
    searched = tuning.space.get(name)
    most: int = max([getattr(section, name, 1)] if searched is None else [*searched.choices, searched.high or 0])
    return most
