import itertools
import random

import numpy as np
import pytest

from asr_headroom.errors import ShapeError
from asr_headroom.metrics import resampling
from asr_headroom.metrics.resampling import (
    cluster_sums,
    jackknife_rates,
    resampled_rates,
    residual_variance,
    subset_rates,
)

QUANTILES = [0.025, 0.1, 0.5, 0.9, 0.975]


def random_clusters(seed, number, kinds=None):
    draw = np.random.default_rng(seed)
    events, exposure = draw.integers(-6, 7, number).astype(float), draw.integers(5, 40, number).astype(float)
    if kinds:
        pick = draw.integers(0, kinds, number)
        events, exposure = events[pick], exposure[pick]
    return events, exposure


def slow_rates(events, exposure, resamples):
    """One resample at a time, with the standard library."""
    rng = random.Random(0)
    pairs = list(zip(events, exposure, strict=True))
    drawn = (rng.choices(pairs, k=len(pairs)) for _ in range(resamples))
    return [sum(e for e, _ in pick) / sum(x for _, x in pick) for pick in drawn]


@pytest.mark.parametrize(("number", "kinds"), [(25, None), (300, None), (300, 10)])
def test_replicates_are_those_of_a_slow_bootstrap(number, kinds):
    events, exposure = random_clusters(1, number, kinds)
    fast, slow = resampled_rates(events, exposure, 20_000, 0), slow_rates(events, exposure, 5000)
    spread = np.std(slow)
    assert np.quantile(fast, QUANTILES) == pytest.approx(np.quantile(slow, QUANTILES), abs=0.15 * spread)
    assert fast.std() == pytest.approx(spread, rel=0.04)


def test_all_resamples_of_three_clusters_by_brute_force():
    events, exposure = np.array([1.0, -2.0, 4.0]), np.array([3.0, 5.0, 7.0])
    drawn = [list(draw) for draw in itertools.product(range(3), repeat=3)]
    expected = np.array([events[d].sum() / exposure[d].sum() for d in drawn])
    replicates = resampled_rates(events, exposure, 60_000, 0)
    for value in np.unique(expected.round(12)):
        share = np.mean(np.isclose(replicates, value))
        assert share == pytest.approx(np.mean(np.isclose(expected, value)), abs=0.01)


@pytest.mark.parametrize("kinds", [None, 5])
def test_negated_events_give_negated_rates(kinds):
    events, exposure = random_clusters(2, 100, kinds)
    there, back = (resampled_rates(sign * events, exposure, 200, seed=4) for sign in (1, -1))
    assert np.array_equal(there, -back)


@pytest.mark.parametrize("kinds", [None, 5])
def test_memory_bound_changes_no_quantile(monkeypatch, kinds):
    events, exposure = random_clusters(3, 80, kinds)
    whole = resampled_rates(events, exposure, 8000, 0)
    monkeypatch.setattr(resampling, "_BLOCK", 7)
    pieces = resampled_rates(events, exposure, 8000, 0)
    assert np.quantile(pieces, QUANTILES) == pytest.approx(np.quantile(whole, QUANTILES), abs=0.15 * whole.std())


def test_a_resample_without_exposure_counts_as_no_error():
    assert set(resampled_rates(np.array([0.0, 3.0]), np.array([0.0, 6.0]), 200, 0)) == {0.0, 0.5}


def test_sums_of_clusters():
    columns = np.array([[1.0, 10], [2, 20], [4, 40]])
    assert cluster_sums(columns, np.array([1, 0, 1])).tolist() == [[2, 20], [5, 50]]
    with pytest.raises(ShapeError, match="3 utterances but 2 cluster labels"):
        cluster_sums(columns, np.array([0, 1]))


def test_left_out_by_hand():
    assert jackknife_rates(np.array([1.0, 2, 3]), np.array([10.0, 10, 20])).tolist() == [5 / 30, 4 / 30, 3 / 20]


def test_linearised_variance_of_equal_exposure_is_that_of_a_mean():
    events = np.array([1.0, 5, 2, 0, 7])
    variance = residual_variance(events, np.full(5, 2.0))
    assert variance == pytest.approx((events / 2).var(ddof=1) / 5)
    assert residual_variance(np.array([3.0]), np.array([4.0])) == 0.0


def test_subsets_by_brute_force():
    events, exposure = random_clusters(4, 7)
    subsets = [list(s) for k in range(1, 8) for s in itertools.combinations(range(7), k)]
    expected = sorted(events[s].sum() / exposure[s].sum() for s in subsets)
    lowest, highest = subset_rates(events, exposure)
    assert lowest == pytest.approx(expected)
    assert highest == pytest.approx(expected)


def test_subsets_without_exposure_help_neither_end():
    lowest, highest = subset_rates(np.array([2.0, 0.0, 3.0]), np.array([0.0, 0.0, 3.0]))
    # {0}: infinite, {1}: unknown, {2} and {1, 2}: 1, {0, 2} and all: 5/3, {0, 1}: infinite
    assert lowest.tolist() == pytest.approx([-np.inf, 1, 1, 5 / 3, 5 / 3, np.inf, np.inf])
    assert highest.tolist() == pytest.approx([1, 1, 5 / 3, 5 / 3, np.inf, np.inf, np.inf])
