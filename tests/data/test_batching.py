"""Batches: everything once, like with like, the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_headroom.data.batching import TrainingOrder, plan_batches, split_batch

DURATIONS = np.random.default_rng(0).uniform(1, 20, 1003).tolist()


@given(st.lists(st.tuples(st.floats(0.1, 30), st.sampled_from("ab")), max_size=60), st.integers(1, 7))
def test_every_index_once_in_batches_of_one_key(rows, size):
    durations, keys = [d for d, _ in rows], [k for _, k in rows]
    batches = plan_batches(durations, keys, size)
    assert sorted(i for batch in batches for i in batch) == list(range(len(rows)))
    assert all(len({keys[i] for i in batch}) == 1 and len(batch) <= size for batch in batches)
    longest = [durations[batch[0]] for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_split_batch_keeps_the_rows_and_the_limit():
    parts = split_batch([10, 20, 30, 5], {10: 2.0, 20: 1.0, 30: 1.5, 5: 3.0}, {10: "x", 20: "x", 30: "y", 5: "x"}, 2)
    assert parts == [[5, 10], [30], [20]]


@pytest.mark.parametrize("epoch", [0, 3])
def test_an_epoch_holds_every_utterance_once(epoch):
    order = TrainingOrder(DURATIONS, 16, seed=1)
    steps = range(epoch * order.batches_per_epoch, (epoch + 1) * order.batches_per_epoch)
    assert sorted(i for step in steps for i in order.batch(step)) == list(range(len(DURATIONS)))


def test_the_order_is_a_function_of_seed_and_step_alone():
    a, b = TrainingOrder(DURATIONS, 16, seed=1), TrainingOrder(DURATIONS, 16, seed=1)
    b.batch(200)  # another history
    assert [a.batch(s) for s in range(150)] == [b.batch(s) for s in range(150)]
    assert a.batch(0) != TrainingOrder(DURATIONS, 16, seed=2).batch(0)
    assert [a.batch(s) for s in range(63)] != [a.batch(s + 63) for s in range(63)]


def test_batches_pad_little():
    order = TrainingOrder(DURATIONS, 16, seed=1)
    batches = [order.batch(step) for step in range(order.batches_per_epoch)]
    padded = sum(len(batch) * max(DURATIONS[i] for i in batch) for batch in batches)
    shuffled = np.random.default_rng(0).permutation(DURATIONS)[:992].reshape(-1, 16)
    waste = padded / sum(DURATIONS) - 1
    assert waste < 0.05 < shuffled.max(axis=1).sum() * 16 / shuffled.sum() - 1
