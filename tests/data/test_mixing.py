"""Mixtures: shares held in every batch, passes without replacement, a pure function of the step."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_headroom.data.mixing import MixedOrder, Mixture
from asr_headroom.errors import ConfigError


def order_of(mixture, size=8, seed=3):
    durations = np.random.default_rng(0).uniform(1, 20, sum(mixture.sizes)).tolist()
    return MixedOrder(durations, mixture, size, seed), durations


def source_of(mixture, index):
    return int(np.searchsorted(np.cumsum(mixture.sizes), index, side="right"))


def test_an_epoch_takes_as_many_as_there_are_in_the_shares_wanted():
    assert Mixture.of([30, 10]).quotas == (30, 10)
    assert Mixture.of([30, 10], weights=[1, 1]).quotas == (20, 20)
    assert Mixture.of([30, 10], weights=[1, 1]).repetitions == pytest.approx([2 / 3, 2])
    assert Mixture.of([80], replay=1000, share=0.2) == Mixture((80, 1000), (80, 20))
    assert Mixture.of([80], replay=1000, share=0.0) == Mixture((80,), (80,))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4).flatmap(
        lambda sizes: st.tuples(st.just(sizes), st.lists(st.floats(0.1, 5), min_size=len(sizes), max_size=len(sizes)))
    ),
    st.integers(1, 9),
    st.integers(0, 60),
    st.floats(0, 0.6),
)
def test_shares_and_passes_hold_for_any_mixture(sources, size, replay, share):
    sizes, weights = sources
    mixture = Mixture.of(sizes, weights=weights, replay=replay, share=share)
    order, _ = order_of(mixture, size)
    epochs = 3
    counts, seen = [Counter() for _ in mixture.sizes], {}
    for step in range(epochs * order.batches_per_epoch):
        batch, passes = order.batch(step), order.passes(step)
        assert len(batch) == len(passes) <= size
        drawn = Counter(source_of(mixture, index) for index in batch)
        for source, quota in enumerate(mixture.quotas):
            assert abs(drawn[source] - len(batch) * quota / sum(mixture.quotas)) <= len(mixture.quotas)
        for index, number in zip(batch, passes, strict=True):
            counts[source_of(mixture, index)][index] += 1
            seen.setdefault(index, []).append(number)
    for source, quota in enumerate(mixture.quotas):
        assert counts[source].total() == epochs * quota
        often = [counts[source][i + sum(mixture.sizes[:source])] for i in range(mixture.sizes[source])]
        assert max(often) - min(often) <= 1
    assert all(sorted(numbers) == list(range(len(numbers))) for numbers in seen.values())


def test_without_weights_each_training_utterance_comes_once_per_epoch_beside_replay():
    mixture = Mixture.of([50, 33], replay=7, share=0.25)
    order, _ = order_of(mixture)
    for epoch in range(3):
        first = epoch * order.batches_per_epoch
        epoch_of = [i for s in range(first, first + order.batches_per_epoch) for i in order.batch(s)]
        assert sorted(i for i in epoch_of if i < 83) == list(range(83))
        assert len(epoch_of) == 83 + round(83 / 3)


def test_every_batch_holds_its_share_of_replay():
    mixture = Mixture.of([800], replay=5000, share=0.25)
    order, _ = order_of(mixture)
    shares = [sum(i >= 800 for i in order.batch(step)) for step in range(order.batches_per_epoch - 1)]
    assert set(shares) <= {1, 2, 3}
    assert sum(shares) / len(shares) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("most", "within"), [(2, 1.0), (6, 2.0)])
def test_every_batch_holds_its_share_of_each_source(most, within):
    draw = np.random.default_rng(0)
    for _ in range(60):
        sizes = draw.integers(3, 200, draw.integers(2, most + 1)).tolist()
        batch_size = int(draw.integers(2, 20))
        order, _ = order_of(Mixture.of(sizes), batch_size)
        shares = np.array(sizes) / sum(sizes)
        for step in range(order.batches_per_epoch):
            sources = [source_of(order._mixture, index) for index in order.batch(step)]
            held = np.bincount(sources, minlength=len(sizes))
            assert np.abs(held - len(sources) * shares).max() <= within + 1e-9


def test_a_small_source_does_not_repeat_an_utterance_within_a_batch():
    order, _ = order_of(Mixture.of([400, 20], weights=[1, 1]), size=16)
    batches = [order.batch(step) for step in range(order.batches_per_epoch)]
    repeated = sum(len(batch) - len(set(batch)) for batch in batches)
    assert repeated <= 0.02 * sum(map(len, batches))  # where one pass ends and the next begins, nothing can help


def test_the_order_is_a_function_of_seed_and_step_alone():
    mixture = Mixture.of([50, 20], weights=[2, 1])
    (a, _), (b, _), (other, _) = order_of(mixture), order_of(mixture), order_of(mixture, seed=4)
    b.batch(40)  # another history
    assert [a.batch(s) for s in range(20)] == [b.batch(s) for s in range(20)]
    assert [a.batch(s) for s in range(9)] != [other.batch(s) for s in range(9)]


def test_batches_pad_little():
    mixture = Mixture.of([3000, 1000], weights=[1, 1])
    order, durations = order_of(mixture, 16)
    batches = [order.batch(step) for step in range(order.batches_per_epoch)]
    padded = sum(len(batch) * max(durations[i] for i in batch) for batch in batches)
    assert padded < 1.1 * sum(durations[i] for batch in batches for i in batch)
    assert sum(order.batch_seconds()) == pytest.approx(sum(durations[i] for batch in batches for i in batch))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": [1.0]}, "2 training sources and 1 weights"),
        ({"weights": [1.0, 0.0]}, "each must be above 0"),
        ({"replay": 5, "share": 1.0}, r"share of replay is 1\.0"),
    ],
)
def test_what_cannot_be_mixed_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Mixture.of([3, 4], **changes)
