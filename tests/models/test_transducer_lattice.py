"""Sums over alignments, against every path written out, another library and finite differences."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import pytest
import torch
from transformers.loss.loss_tdt import tdt_loss

from asr_headroom.models.decoding import SamplingOptions
from asr_headroom.models.sampling import restricted_log_probs
from asr_headroom.models.transducer_lattice import Steps, joint_arcs, sequence_log_probs

VOCAB, BLANK = 7, 6
DURATIONS = (0, 1, 2, 3)
RNNT = Steps(blank=(1,), label=(0,))
TDT = Steps(blank=(1, 2, 3), label=DURATIONS)
PLAIN = SamplingOptions()


def log_add(values):
    values = list(values)
    top = max(values, default=-math.inf)
    return top if top == -math.inf else top + math.log(sum(math.exp(value - top) for value in values))


def enumerated(tokens, durations, labels, frames, truncated=False):
    """Every path one by one: nodes and arcs by recursion, nothing shared with the code under test."""
    steps = [(1, 0.0, None)] if durations is None else [(d, None, i) for i, d in enumerate(DURATIONS)]

    def step_score(t, u, index):
        return 0.0 if index is None else durations[t, u, index].item()

    @lru_cache(None)
    def from_node(t, u):
        if truncated and u == len(labels):
            return 0.0
        total = []
        for step, _, index in steps:
            if step > 0 and t + step <= frames:
                rest = (0.0 if u == len(labels) else -math.inf) if t + step == frames else from_node(t + step, u)
                total.append(tokens[t, u, BLANK].item() + step_score(t, u, index) + rest)
        if u < len(labels):
            for step, index in [(0, None)] if durations is None else [(d, i) for i, d in enumerate(DURATIONS)]:
                if t + step < frames:
                    total.append(tokens[t, u, labels[u]].item() + step_score(t, u, index) + from_node(t + step, u + 1))
        return log_add(total)

    return from_node(0, 0)


def random_case(seed, rows=3, frames=5, labels=3, durations=()):
    generator = torch.Generator().manual_seed(seed)
    width = VOCAB + len(durations)
    logits = torch.randn(rows, frames, labels + 1, width, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, BLANK, (rows, labels), generator=generator)
    return logits, targets


def arcs_of(logits, targets, durations=(), options=PLAIN, **settings):
    """The joint network replaced by a table of logits: frame t and prediction u look up logits[t, u]."""
    rows, frames, nodes = logits.shape[:3]

    def joint(address):
        index = address.long()[..., 0]
        flat = logits.reshape(rows * frames * nodes, -1)
        return flat[index]

    grid = torch.arange(rows * frames * nodes, dtype=torch.float64).reshape(rows, frames, nodes)
    first = grid[:, :, :1]
    across = (grid[:, :1] - grid[:, :1, :1]).transpose(1, 2)
    return joint_arcs(
        joint, first, across, targets, options, vocab_size=VOCAB, blank_id=BLANK, durations=durations, **settings
    )


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_rnnt_equals_every_path_written_out(seed, truncated):
    logits, targets = random_case(seed)
    lengths, counts = torch.tensor([5, 4, 1]), torch.tensor([3, 0, 2])
    found = sequence_log_probs(arcs_of(logits, targets), RNNT, lengths, counts, torch.full((3,), truncated))
    tokens = logits.log_softmax(-1)
    expected = [
        enumerated(tokens[row], None, tuple(targets[row, : counts[row]].tolist()), int(lengths[row]), truncated)
        for row in range(3)
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_tdt_equals_every_path_written_out(seed, truncated):
    logits, targets = random_case(seed, durations=DURATIONS)
    lengths, counts = torch.tensor([5, 4, 2]), torch.tensor([3, 0, 2])
    found = sequence_log_probs(arcs_of(logits, targets, DURATIONS), TDT, lengths, counts, torch.full((3,), truncated))
    tokens, steps = logits[..., :VOCAB].log_softmax(-1), logits[..., VOCAB:].log_softmax(-1)
    expected = [
        enumerated(tokens[row], steps[row], tuple(targets[row, : counts[row]].tolist()), int(lengths[row]), truncated)
        for row in range(3)
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


def test_tdt_equals_the_librarys_loss_and_gradient():
    logits, targets = random_case(11, rows=2, frames=9, labels=6, durations=DURATIONS)
    lengths, counts = torch.tensor([9, 6]), torch.tensor([6, 4])
    ours, theirs = (logits.float().requires_grad_() for _ in range(2))
    found = -sequence_log_probs(arcs_of(ours, targets, DURATIONS), TDT, lengths, counts, torch.zeros(2, dtype=bool))
    expected = tdt_loss(
        theirs[..., :VOCAB], theirs[..., VOCAB:], targets.int(), lengths, counts, BLANK, list(DURATIONS),
        reduction="none",
    )  # fmt: skip
    torch.testing.assert_close(found.float(), expected, atol=1e-5, rtol=1e-5)
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)


def test_rnnt_probabilities_of_all_sequences_sum_to_one():
    """With one frame and tokens that become impossible after the second, every sequence can be listed."""
    logits, _ = random_case(5, rows=1, frames=3, labels=2)
    logits[:, :, 2, :BLANK] = -1e6
    total = []
    for count in range(3):
        for labels in itertools.product(range(BLANK), repeat=count):
            targets = torch.tensor([[*labels, *[0] * (2 - count)]])
            arcs = arcs_of(logits, targets)
            total.append(
                sequence_log_probs(arcs, RNNT, torch.tensor([3]), torch.tensor([count]), torch.tensor([False])).item()
            )
    assert log_add(total) == pytest.approx(0.0, abs=1e-9)


def test_gradients_are_those_of_finite_differences():
    logits, targets = random_case(3, rows=1, frames=3, labels=2, durations=DURATIONS)
    logits.requires_grad_()

    def total(logits):
        arcs = arcs_of(logits, targets, DURATIONS)
        return sequence_log_probs(arcs, TDT, torch.tensor([3]), torch.tensor([2]), torch.tensor([False]))

    assert torch.autograd.gradcheck(total, (logits,), atol=1e-5)


def test_padding_of_frames_and_labels_changes_nothing():
    logits, targets = random_case(7, rows=1, frames=4, labels=2)
    wide = torch.randn(1, 9, 6, VOCAB, dtype=torch.float64)
    wide[:, :4, :3] = logits
    padded = torch.tensor([[*targets[0].tolist(), 0, 0, 0]])
    one = (torch.tensor([4]), torch.tensor([2]), torch.tensor([False]))
    exact = sequence_log_probs(arcs_of(logits, targets), RNNT, *one)
    assert sequence_log_probs(arcs_of(wide, padded), RNNT, *one).item() == pytest.approx(exact.item(), abs=1e-12)


def test_chunks_change_neither_value_nor_gradient():
    logits, targets = random_case(9, frames=7)
    rest = (RNNT, torch.tensor([7, 6, 3]), torch.tensor([3, 1, 2]), torch.zeros(3, dtype=bool))
    results = []
    for elements in (2**24, 1):
        leaf = logits.clone().requires_grad_()
        value = sequence_log_probs(arcs_of(leaf, targets, chunk_elements=elements), *rest)
        value.sum().backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1])


def test_long_lattices_keep_their_digits():
    """The cumulative sum over 200 improbable tokens against a plain loop."""
    generator = torch.Generator().manual_seed(1)
    blank = torch.randn(1, 40, 201, 1, generator=generator, dtype=torch.float64) - 8
    label = torch.randn(1, 40, 200, 1, generator=generator, dtype=torch.float64) - 8
    alpha = [[-math.inf] * 201 for _ in range(40)]
    for t, u in itertools.product(range(40), range(201)):
        ways = [0.0] if t == u == 0 else []
        if t:
            ways.append(alpha[t - 1][u] + blank[0, t - 1, u, 0].item())
        if u:
            ways.append(alpha[t][u - 1] + label[0, t, u - 1, 0].item())
        alpha[t][u] = log_add(ways)
    expected = alpha[39][200] + blank[0, 39, 200, 0].item()
    from asr_headroom.models.transducer_lattice import Arcs

    found = sequence_log_probs(Arcs(blank, label), RNNT, torch.tensor([40]), torch.tensor([200]), torch.tensor([False]))
    assert found.item() == pytest.approx(expected, abs=1e-8)


def test_what_top_k_leaves_out_counts_for_nothing():
    logits, targets = random_case(13, rows=1, frames=4, labels=2)
    options = SamplingOptions(temperature=0.8, top_k=3)
    tokens = restricted_log_probs(logits, options)
    expected = enumerated(tokens[0], None, tuple(targets[0].tolist()), 4)
    found = sequence_log_probs(
        arcs_of(logits, targets, options=options), RNNT, torch.tensor([4]), torch.tensor([2]), torch.tensor([False])
    ).item()
    assert found == pytest.approx(expected, abs=1e-6) if expected > -1e3 else -1e6 < found < -1e3
