"""Which rows of a batch fail: exactly those on which the graph raises an error, found with few errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import DAY, make_features, make_package

from tallywright.errors import GateRefusedError, PackageError
from tallywright.packaging.predictor import MICRO_BATCH, Predictor
from tallywright.packaging.refusals import Lookup
from tallywright.scoring.job import FallbackLimit
from tallywright.scoring.roles.failing_rows import Allowance, HopelessError, score_sound_rows
from tallywright.scoring.roles.role_model import predict_all, predict_checked

if TYPE_CHECKING:
    from tallywright.packaging.package import Package

ROWS = 65_536
"""A whole batch: 32 runs of the graph where all rows are sound."""
RUNS = ROWS // MICRO_BATCH
FAULTS = ("prediction", "unread")


class Counting:
    """A session of ONNX Runtime that counts its runs, and those that raise an error."""

    def __init__(self, session: Any) -> None:
        self.session, self.runs, self.errors, self.rows = session, 0, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def run(self, names: list[str], feed: dict[str, Any]) -> Any:
        self.runs += 1
        self.rows += len(next(iter(feed.values())))
        try:
            return self.session.run(names, feed)
        except Exception:
            self.errors += 1
            raise


@pytest.fixture(scope="module", params=FAULTS)
def package(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Package:
    """Fails on rows whose `c0` is no category of the training: for a reason that can be read from it, or cannot."""
    return make_package(tmp_path_factory.mktemp("package") / "a", fault=request.param, seed=7)


only_read = pytest.mark.parametrize("package", ["prediction"], indirect=True)
only_unread = pytest.mark.parametrize("package", ["unread"], indirect=True)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """The same weights, without the fault."""
    return Predictor(make_package(tmp_path_factory.mktemp("package") / "twin", seed=7))


def counted(package: Package) -> tuple[Predictor, Counting]:
    predictor = Predictor(package)
    counting = Counting(predictor._session)
    predictor._session = counting
    return predictor, counting


def batch_with(failing: np.ndarray) -> pa.RecordBatch:
    """Rows of which exactly these fail."""
    features = make_features(len(failing), seed=1)
    values = np.where(failing, "ünseen", "red").astype(object)
    features = features.set_column(features.column_names.index("c0"), "c0", pa.array(values, pa.string()))
    return features.combine_chunks().to_batches()[0]


@settings(max_examples=15, deadline=None)
@given(
    rows=st.sampled_from([1, 7, 300, MICRO_BATCH, MICRO_BATCH + 1]),
    share=st.sampled_from([0.0, 0.0005, 0.01, 0.2, 0.9]),
    seed=st.integers(0, 5),
)
def test_the_rows_that_fail_are_those_on_which_the_graph_raises(package, twin, rows, share, seed) -> None:  # type: ignore[no-untyped-def]
    failing = np.random.default_rng(seed).random(rows) < share
    batch = batch_with(failing)
    found = predict_checked(Predictor(package), batch)
    assert np.array_equal(found.failed, failing)
    scores = np.asarray(found.outputs["probability"])
    assert np.array_equal(scores[~failing], np.asarray(twin(batch)["probability"])[~failing])
    assert np.isnan(scores[failing]).all()
    assert np.array_equal(found.broken, failing)


def test_an_error_that_is_not_covered_ends_the_batch_at_once(package: Package) -> None:
    predictor, counting = counted(package)
    with pytest.raises(PackageError, match="fails on some rows"):
        predict_all(predictor, batch_with(np.arange(ROWS) % 5 == 0))
    assert (counting.runs, counting.errors) == (1, 1)


@only_read
@pytest.mark.parametrize("failing", [1, 66, 655, 3276])
def test_failing_rows_cost_one_error_and_the_rows_around_it(package: Package, failing: int) -> None:
    """However many they are: the first error, one row alone that confirms why, the sound rows of that piece again."""
    predictor, counting = counted(package)
    mask = np.zeros(ROWS, bool)
    mask[np.random.default_rng(failing).permutation(ROWS)[:failing]] = True
    limit = FallbackLimit.of(0.05, ROWS, DAY)
    found = predict_checked(predictor, batch_with(mask), Allowance(limit.rows, np.ones(ROWS, bool)))
    assert np.array_equal(found.failed, mask)
    assert counting.errors == 2
    assert counting.runs <= RUNS + 2
    assert counting.rows <= ROWS + MICRO_BATCH + 1
    # The look at the indices is a session of its own: one pass over what is not scored yet, of a few nodes.
    looks = predictor._refusals
    assert looks is not None
    assert [lookup.size for lookup in looks.lookups] == [6, 6, 1]
    assert [node.name for node in looks._session.get_inputs()] == ["numeric", "categorical"]


@only_read
def test_sound_batches_are_not_looked_at(package: Package) -> None:
    predictor, counting = counted(package)
    predict_checked(predictor, batch_with(np.zeros(ROWS, bool)))
    assert (counting.runs, counting.errors, predictor._refusals) == (RUNS, 0, None)


@only_read
def test_a_refusal_that_the_graph_does_not_confirm_counts_for_nothing(package: Package) -> None:
    predictor, counting = counted(package)
    failing = np.arange(900) % 300 == 7
    inputs = package.preprocess.transform(batch_with(failing))
    assert np.array_equal(predictor.refused(inputs), failing)
    assert predictor._refusals is not None
    wrong = Lookup("categorical", 0)
    predictor._refusals.lookups += (wrong,)
    assert np.array_equal(predictor.refused(inputs), failing)
    assert predictor._confirmed == {Lookup("moved", 1): True, wrong: False}
    assert (counting.runs, counting.errors) == (2, 1)


@only_read
@pytest.mark.parametrize("failing", [3277, ROWS // 5])
def test_more_known_refusals_than_may_fall_back_end_it_before_another_row_is_scored(package, failing) -> None:  # type: ignore[no-untyped-def]
    predictor, counting = counted(package)
    mask = np.zeros(ROWS, bool)
    mask[np.random.default_rng(failing).permutation(ROWS)[:failing]] = True
    limit = FallbackLimit.of(0.05, ROWS, DAY)
    with pytest.raises(HopelessError) as caught:
        predict_checked(predictor, batch_with(mask), Allowance(limit.rows, np.ones(ROWS, bool)))
    assert (caught.value.failing, caught.value.tried) == (failing, ROWS)
    assert (counting.runs, counting.errors) == (2, 2)


@pytest.mark.parametrize("every", [2, 5, 8])
def test_a_share_that_cannot_be_kept_is_found_out_by_a_few_rows(package: Package, every: int) -> None:
    """An error costs about as much as two thousand rows; a sound batch is 65,536 of them."""
    predictor, counting = counted(package)
    limit = FallbackLimit.of(0.05, ROWS, DAY)
    with pytest.raises(HopelessError) as caught:
        predict_checked(predictor, batch_with(np.arange(ROWS) % every == 0), Allowance(limit.rows, np.ones(ROWS, bool)))
    assert caught.value.failing / caught.value.tried > 0.05
    assert counting.errors < 64
    assert counting.rows < ROWS / 16


@only_unread
def test_a_few_failing_rows_cost_less_than_a_second_pass(package: Package) -> None:
    predictor, counting = counted(package)
    failing = np.zeros(ROWS, bool)
    failing[[5, 40_000]] = True
    assert predict_checked(predictor, batch_with(failing)).failed.sum() == 2
    assert counting.errors < 32
    assert counting.rows < 1.4 * ROWS


@pytest.mark.parametrize("share", [0.0, 0.01, 0.04])
def test_a_share_that_is_kept_is_never_refused(package: Package, share: float) -> None:
    rows = 3000
    for seed in range(3):
        failing = np.zeros(rows, bool)
        failing[np.random.default_rng(seed).permutation(rows)[: int(share * rows)]] = True
        limit = FallbackLimit.of(share, rows, DAY)
        allowance = Allowance(limit.rows, np.ones(rows, bool))
        inputs = package.preprocess.transform(batch_with(failing))
        assert np.array_equal(score_sound_rows(Predictor(package), inputs, allowance)[1], failing)
        if share:
            with pytest.raises(HopelessError):
                score_sound_rows(Predictor(package), inputs, Allowance(limit.rows - 1, np.ones(rows, bool)))


def test_rows_that_do_not_count_may_all_fail(package: Package) -> None:
    failing = np.arange(400) % 2 == 0
    inputs = package.preprocess.transform(batch_with(failing))
    found = score_sound_rows(Predictor(package), inputs, Allowance(0, ~failing))[1]
    assert np.array_equal(found, failing)


@given(share=st.floats(0, 1), total=st.integers(1, 10**7))
def test_the_limit_is_the_greatest_number_that_keeps_the_share(share: float, total: int) -> None:
    rows = FallbackLimit.of(share, total, DAY).rows
    assert rows / total <= share or rows == 0
    assert (rows + 1) / total > share
    assert isinstance(FallbackLimit.of(share, total, DAY).exceeded(3, 4), GateRefusedError)
