"""How far two packages are apart, and what a command makes of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from synthetic import make_package, make_project

from tallywright.cli.main import tally
from tallywright.lifecycle.reproduction.differences import Remade, compared, weight_difference
from tallywright.lifecycle.reproduction.reproduce import Reproduction

SAME = Remade("judged", "a" * 64, "b" * 64, ("demands.json",), weights=0.0, scores=0.0, figures=3)
APART = {"model/auc": (0.7, 0.6999)}
NEAR = replace(SAME, which="refit", differing=("model.onnx",), weights=1e-5, scores=2e-5, metrics=APART)


def test_weights_are_compared_by_the_largest_of_their_tensor():
    one = {"w": np.array([1.0, -200.0], np.float32), "b": np.zeros(2, np.float32)}
    assert weight_difference(one, {"w": np.array([1.0, -200.0], np.float32), "b": np.zeros(2, np.float32)}) == 0
    assert weight_difference(one, one | {"w": np.array([2.0, -200.0], np.float32)}) == pytest.approx(0.005)
    assert weight_difference(one, one | {"b": np.ones(2, np.float32)}) == 1
    assert weight_difference(one, {"w": one["w"]}) == float("inf")
    assert weight_difference(one, one | {"b": np.zeros(3, np.float32)}) == float("inf")
    assert weight_difference(one, one | {"b": np.full(2, np.nan, np.float32)}) == float("inf")


def test_packages_of_other_weights_are_apart_and_one_is_not_from_itself(tmp_path):
    package = make_package(tmp_path / "one", seed=1)
    itself = compared("judged", package, package)
    assert (itself.same_bits, itself.differing, itself.largest) == (True, (), 0)
    other = compared("judged", package, make_package(tmp_path / "two", seed=2))
    assert not other.same_bits
    assert "model.onnx" in other.differing
    assert other.weights > 0
    assert other.scores > 0


def test_the_same_bits_are_asked_for_unless_a_bound_is_given():
    assert SAME.same_bits
    assert SAME.within(0)
    assert not NEAR.same_bits
    assert NEAR.largest == pytest.approx(1e-4)
    assert [NEAR.within(bound) for bound in (0, 1e-5, 2e-4)] == [False, False, True]
    assert not replace(NEAR, weights=float("inf")).within(1e9)


@pytest.mark.parametrize(
    ("bound", "code", "said"), [(0.0, 1, "is NOT reproduced"), (0.001, 0, "reproduced: within 0.001")]
)
def test_the_command_shows_what_differs_and_its_exit_code_says_it(tmp_path, monkeypatch, bound, code, said):
    make_project(tmp_path)
    found = Reproduction("shop", 3, "a" * 64, bound, (SAME, NEAR), {"environment.numpy": ("1.0", "2.0")})
    monkeypatch.setattr("tallywright.lifecycle.reproduction.reproduce.reproduce", lambda *_given, **_more: found)
    command = ["reproduce", "shop", "3", "--within", str(bound), "--root", str(tmp_path)]
    done = CliRunner().invoke(tally, command)
    assert done.exit_code == code
    assert said in done.stderr
    for text in ("demands.json differ", "model.onnx differ", "model/auc", "environment.numpy"):
        assert text in done.stdout
    told = json.loads(CliRunner().invoke(tally, [*command, "--json"]).stdout)
    assert told["reproduced"] is (code == 0)
    assert told["packages"][1]["metric_differences"] == {"model/auc": [0.7, 0.6999]}


@pytest.mark.parametrize("bound", ["nan", "inf"])
def test_a_bound_is_a_finite_number(tmp_path, bound):
    make_project(tmp_path)
    done = CliRunner().invoke(tally, ["reproduce", "shop", "3", "--within", bound, "--root", str(tmp_path)])
    assert done.exit_code == 2
    assert f"{bound} is no finite number" in done.stderr
