"""No spec, overlay or `--set` ends in an exception that is not ours; and one that is valid can be used for everything.

Seeded, so that a failure can be repeated: the message has the seed and the number of the mutation.
"""

from __future__ import annotations

import copy
import random
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from spec_mutations import HOSTILE, at, mistyped, mutated, places, set_text, written

from tallywright.data.etl.transform import label_parameters, period_parameters
from tallywright.data.types import feature_schema
from tallywright.errors import SpecError, TallyError, UsageError
from tallywright.lifecycle.plan import Pipeline, longest_run, plan
from tallywright.lifecycle.retention import retention_problems
from tallywright.spec import load_project
from tallywright.spec.load import read_overlay
from tallywright.spec.model import ModelSpec
from tallywright.spec.values import LAST_DATE
from tallywright.spec.yaml_files import merged

EVERYTHING: dict[str, Any] = {
    "tags": ["a"],
    "schedule": {"cadence": "day", "after": "weather__features", "catch_up": 3, "deadline": "06:00",
                 "closed": {"weekdays": ["sunday"], "dates": ["2013-12-25"], "hours": [1], "file": "closed.csv"}},
    "data": {"label_wait_days": 3, "lookback_periods": 3, "usual_rows_periods": 4, "label_maturity_periods": 1,
             "label_wait_periods": 2, "expectations": "a.yaml", "min_rows_share": 0.5, "usual_rows_days": 3},
    "training": {"window_periods": 9, "validation_periods": 2, "holdout_periods": 3, "positive": "yes", "unit": "h",
                 "min_category_rows": 3, "device": "cpu", "baselines": False, "network": {"class_weight": "balanced"}},
    "gates": {"confidence": 0.9, "bootstrap": 200, "min_holdout_rows": 5, "max_latency_ms_per_1000": 1.0},
    "registry": {"name": "other", "approval": "person", "approvers": ["ann"], "approval_timeout_hours": 2},
    "scoring": {"batch_rows": 512, "workers": 2, "shadow": [3], "io": "direct", "allow_leak": True,
                "canary": {"model": 3, "share": 0.1, "limits": {"max_problem_share": 0.1, "max_mean_difference": 0.1}},
                "fallback": {"model": "constant", "constant": 0.5, "covers": ["output"], "max_share": 0.1}},
    "monitoring": {"cells": 10, "psi_threshold": 0.3, "null_share_threshold": 0.1, "unseen_share_threshold": 0.1,
                   "reference_quantile": 0.9, "min_rows": 5, "min_labels": 5, "judge_drift": False},
    "retraining": {"cooldown_periods": 3, "trigger": False},
    "maintenance": {"cron": "0 2 * * 0", "min_files": 3, "retention_days": 20, "reference_days": 300, "orphan_days": 9},
    "alerts": {"log": False, "webhook_env": "HOOK"},
    "spec_version": 1,
}  # fmt: skip
"""The keys that the reference project leaves to their defaults."""
OVERLAY: dict[str, Any] = {
    "storage": {"lake": "lake", "work": "work", "cache": "cache", "raw": ["/srv/raw"], "options": {"AWS_REGION": "x"},
                "connection": ""},
    "tracking": {"uri": "sqlite:///x.db", "artifacts": "artifacts", "experiment_prefix": "t/"},
    "engine": {"interpreter": "", "pool_slots": 2, "auto": ["local", "spark"],
               "spark": {"connection": "", "master": "", "io": "direct", "conf": {"spark.x": "1"}},
               "beam": {"runner": "FnApiRunner", "options": ["--a=b"]}},
    "alerts": {"webhook_env": "HOOK", "webhook_env_of": {"shop": "OTHER"}},
    "models": {"flight_delays": {"training": {"seed": 3}, "tags": ["x"]}},
}  # fmt: skip


class Fuzzed:
    """A project whose files are rewritten for each try."""

    def __init__(self, root: Path, repository: Path) -> None:
        self.root = root
        self.spec: dict[str, Any] = yaml.safe_load((repository / "models/flight_delays/model.yaml").read_text())
        self.file = root / "models/flight_delays/model.yaml"
        self.file.parent.mkdir(parents=True)
        (root / "conf").mkdir()
        self.overlay = root / "conf/local.yaml"
        self.valid = 0

    def spec_of(self, chance: random.Random) -> str:
        values = mutated(self.spec, chance, others=(EVERYTHING, EVERYTHING, self.spec))
        return mistyped(written(values), chance) if chance.random() < 0.25 else written(values)

    def overlay_of(self, chance: random.Random) -> str:
        values = mutated(OVERLAY, chance, others=({"models": {"flight_delays": EVERYTHING}}, {"models": {"shop": {}}}))
        return mistyped(written(values), chance) if chance.random() < 0.25 else written(values)

    def try_one(self, chance: random.Random) -> None:
        """Writes one mutation and loads the project; a valid one is used."""
        kind = chance.randrange(4)
        self.file.write_text(self.spec_of(chance) if kind <= 1 else written(self.spec), "utf-8", newline="")
        self.overlay.write_text(self.overlay_of(chance) if kind == 2 else written(OVERLAY), "utf-8", newline="")
        sets = (
            [set_text(chance.choice([self.spec, EVERYTHING, OVERLAY]), chance) for _ in range(2)] if kind == 3 else []
        )
        self.load(sets)

    def load(self, sets: list[str]) -> None:
        """Loads the project as its files are, and uses it if it is valid."""
        try:
            project = load_project("flight_delays", root=self.root, overrides=sets)
        except TallyError as error:
            if error.exit_code not in (SpecError.exit_code, UsageError.exit_code):
                raise
            str(error).encode()
            return
        self.valid += 1
        use(project.spec)


def use(spec: ModelSpec) -> None:
    """What later commands make of a spec's values, without data: nothing of it may fail."""
    for pipeline in Pipeline:
        longest_run(plan(spec, pipeline))
    retention_problems(spec)
    feature_schema(spec)
    calendar = spec.schedule.calendar
    last = calendar.last_on(spec.schedule.end_date or LAST_DATE)
    for period in (spec.schedule.first_period, last):
        period_parameters(spec, period, period)
        label_parameters(spec, period)
        spec.schedule.due(period)
        for span in (spec.data.label_wait, spec.data.label_maturity, spec.retraining.cooldown, spec.data.usual_rows):
            assert isinstance(calendar.after(period, span), date)
            assert isinstance(calendar.before(period, span), date)
        for span in (spec.training.window, spec.training.holdout, spec.training.validation):
            (calendar.of_days if calendar.is_hourly else calendar).before(period, span)
    assert spec.schedule.deadline_cron
    assert spec.schedule.longest_wait
    assert spec.digest()
    assert spec.scoring.identity()


def fuzz(root: Path, repository: Path, tries: int, seed: int) -> int:
    fuzzed = Fuzzed(root, repository)
    for number in range(tries):
        chance = random.Random(f"{seed}/{number}")
        try:
            fuzzed.try_one(chance)
        except Exception as error:
            error.add_note(f"seed {seed}, mutation {number}")
            raise
    return fuzzed.valid


def test_mutated_specs_overlays_and_sets_end_in_no_exception_that_is_not_ours(tmp_path: Path, repository: Path) -> None:
    assert fuzz(tmp_path, repository, 600, seed=20) > 48


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(5))
def test_so_do_many_more(tmp_path: Path, repository: Path, seed: int) -> None:
    assert fuzz(tmp_path, repository, 6_000, seed=seed) > 600


def fuzz_overlays(root: Path, repository: Path, tries: int, seed: int) -> int:
    """Reads mutated overlays without a model; gives the number of valid ones."""
    fuzzed, valid = Fuzzed(root, repository), 0
    for number in range(tries):
        text = fuzzed.overlay_of(random.Random(f"{seed}/{number}"))
        fuzzed.overlay.write_text(text, "utf-8", newline="")
        try:
            overlay = read_overlay(root)
            overlay.strangers()
            valid += not overlay.environment()[1]
        except (SpecError, UsageError):
            continue
        except Exception as error:
            error.add_note(f"seed {seed}, overlay {number}: {text}")
            raise
    return valid


def fuzz_sets(root: Path, repository: Path, tries: int, seed: int) -> int:
    """Lays `--set` texts over the spec's values; gives the number of those that can be laid."""
    values, taken = Fuzzed(root, repository).spec, 0
    for number in range(tries):
        chance = random.Random(f"{seed}/{number}")
        text = set_text(chance.choice([values, EVERYTHING, OVERLAY]), chance)
        try:
            merged(values, {}, [text])
            taken += 1
        except (SpecError, UsageError):
            continue
        except Exception as error:
            error.add_note(f"seed {seed}, --set {number}: {text!r}")
            raise
    return taken


def test_mutated_overlays_and_set_texts_alone(tmp_path: Path, repository: Path) -> None:
    assert fuzz_overlays(tmp_path / "overlays", repository, 100, seed=30) > 10
    assert fuzz_sets(tmp_path / "sets", repository, 500, seed=31) > 100


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_more_overlays_and_set_texts_alone(tmp_path: Path, repository: Path) -> None:
    assert fuzz_overlays(tmp_path / "overlays", repository, 10_000, seed=32) > 1_000
    assert fuzz_sets(tmp_path / "sets", repository, 30_000, seed=33) > 6_000


def every_value_in_every_place(fuzzed: Fuzzed, share: float) -> int:
    """Puts each hostile value in the place of each key of spec and overlay; a share of them, chosen by a seed."""
    whole = fuzzed.spec | {
        name: fuzzed.spec.get(name, {}) | section if isinstance(section, dict) else section
        for name, section in EVERYTHING.items()
    }
    chance, tried = random.Random(5), 0
    for values, file, rest in ((whole, fuzzed.file, fuzzed.overlay), (OVERLAY, fuzzed.overlay, fuzzed.file)):
        rest.write_text(written(OVERLAY if rest is fuzzed.overlay else fuzzed.spec))
        for path in places(values):
            for value in HOSTILE:
                if chance.random() < share:
                    tree = copy.deepcopy(values)
                    at(tree, path[:-1])[path[-1]] = value
                    file.write_text(written(tree), "utf-8", newline="")
                    tried += 1
                    try:
                        fuzzed.load([])
                    except Exception as error:
                        error.add_note(f"{path}: {value!r}")
                        raise
    return tried


def test_hostile_values_in_the_places_of_all_keys(tmp_path: Path, repository: Path) -> None:
    assert every_value_in_every_place(Fuzzed(tmp_path, repository), 0.01) > 250


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_hostile_value_in_the_place_of_every_key(tmp_path: Path, repository: Path) -> None:
    assert every_value_in_every_place(Fuzzed(tmp_path, repository), 1.0) > 20_000
