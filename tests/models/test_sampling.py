"""The shared sampler: what is drawn is what is scored."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from asr_headroom.models.decoding import Hypothesis, SamplingOptions
from asr_headroom.models.sampling import (
    draw_tokens,
    each_token,
    hidden_log_probs,
    log_probs_of,
    restricted_log_probs,
    scatter_log_probs,
    scored_ids,
)

OPTIONS = [
    SamplingOptions(),
    SamplingOptions(temperature=0.7),
    SamplingOptions(top_k=3),
    SamplingOptions(top_p=0.6),
    SamplingOptions(temperature=1.3, top_k=5, top_p=0.8),
]
END = 0


class Bigram:
    """A decoder whose next logits depend on the last token alone: the truth is a table."""

    def __init__(self, table, rows):
        self.table, self.rows, self.kept = table, rows, []

    def step(self, ids):
        assert len(ids) == self.rows
        return self.table[ids]

    def keep(self, rows):
        self.kept.append(rows.tolist())
        self.rows = len(rows)


def bigrams(vocab=7, seed=0):
    return 2 * torch.randn(vocab, vocab, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [0.01, 1.0, 5.0])
def test_the_nucleus_of_a_large_vocabulary_is_that_of_a_whole_sort(scale):
    """Nearly flat, it takes more tokens than are looked at first."""
    logits = scale * torch.randn(3, 20_000)
    expected = TopPLogitsWarper(0.95)(None, logits).log_softmax(-1)
    ours = restricted_log_probs(logits, SamplingOptions(top_p=0.95))
    differ = (ours.isfinite() != expected.isfinite()).sum(-1)
    assert differ.max() <= 2  # sums of 20 000 float32 numbers differ in the last digits
    both = ours.isfinite() & expected.isfinite()
    torch.testing.assert_close(ours[both], expected[both], atol=1e-3, rtol=0)


def draw(table, rows, options, **more):
    return draw_tokens(table[END].expand(rows, -1), Bigram(table, rows), options, end_id=END, **more)


@pytest.mark.parametrize("options", OPTIONS)
def test_the_distribution_is_that_of_transformers_warpers(options):
    logits = 3 * torch.randn(20, 50)
    expected = TemperatureLogitsWarper(options.temperature)(None, logits)
    if options.top_k:
        expected = TopKLogitsWarper(options.top_k)(None, expected)
    if options.top_p < 1:
        expected = TopPLogitsWarper(options.top_p)(None, expected)
    torch.testing.assert_close(restricted_log_probs(logits, options), expected.log_softmax(-1))


@pytest.mark.parametrize("options", OPTIONS)
def test_stored_log_probs_are_those_of_the_drawn_tokens(options):
    table = bigrams()
    for row in draw(table, 50, options):
        ids = [*row.token_ids, *([END] if row.ended else [])]
        previous = [END, *ids[:-1]]
        scores = log_probs_of(table[previous], torch.tensor(ids), options)
        np.testing.assert_allclose(row.log_probs, scores, atol=1e-5)
        everything = restricted_log_probs(table[previous], options)
        np.testing.assert_allclose(row.log_probs, everything[range(len(ids)), ids], atol=1e-5)
        assert np.isfinite(row.log_probs).all()


@pytest.mark.parametrize("options", OPTIONS)
def test_draws_follow_the_restricted_softmax(options):
    """Chi-square of 20 000 first tokens; 0.1 % of its distribution lies beyond the bound."""
    table, count = bigrams(), 20_000
    probs = restricted_log_probs(table[END], options).exp().double().numpy()
    draws = draw(table, count, dataclasses.replace(options, max_new_tokens=1))
    first = [row.token_ids[0] if row.token_ids else END for row in draws]
    observed = np.bincount(first, minlength=len(probs))
    assert not observed[probs == 0].any()
    inside = probs > 0
    statistic = ((observed[inside] - count * probs[inside]) ** 2 / (count * probs[inside])).sum()
    freedom = inside.sum() - 1
    # Wilson and Hilferty's approximation of the chi-square quantile.
    assert statistic < freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3


def test_every_token_inside_the_support_occurs_and_none_outside():
    table = bigrams()
    options = SamplingOptions(top_k=4, top_p=0.9, max_new_tokens=1)
    inside = set(restricted_log_probs(table[END], options).isfinite().nonzero().flatten().tolist())
    drawn = {row.token_ids[0] if row.token_ids else END for row in draw(table, 3000, options)}
    assert drawn == inside
    assert 1 < len(inside) <= 4


def test_temperature_alone_samples():
    for temperature in (0.5, 1.0, 1.5):
        assert len({row.token_ids for row in draw(bigrams(), 30, SamplingOptions(temperature=temperature))}) > 5


def test_the_seed_decides_and_global_randomness_does_not():
    table = bigrams()
    torch.manual_seed(1)
    one = draw(table, 20, SamplingOptions(seed=3))
    torch.manual_seed(2)
    assert draw(table, 20, SamplingOptions(seed=3)) == one
    assert draw(table, 20, SamplingOptions(seed=4)) != one


def test_rows_that_ended_are_dropped_and_change_no_other_row():
    table = bigrams(seed=2)
    table[:, END] += 1
    continuation = Bigram(table, 40)
    options = SamplingOptions(max_new_tokens=30)
    rows = draw_tokens(table[END].expand(40, -1), continuation, options, end_id=END)
    assert continuation.kept

    class Keeper(Bigram):
        """Never drops a row, so each keeps its first place."""

        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.active = torch.arange(self.rows)
            self.ids = torch.zeros(self.rows, dtype=torch.long)

        def step(self, ids):
            self.ids[self.active] = ids
            return self.table[self.ids][self.active]

        def keep(self, rows):
            self.active = self.active[rows]

    assert draw_tokens(table[END].expand(40, -1), Keeper(table, 40), options, end_id=END) == rows


def test_the_limit_truncates_without_an_end_token():
    table = bigrams()
    table[:, END] = -torch.inf
    for row in draw(table, 5, SamplingOptions(max_new_tokens=4)):
        assert len(row.token_ids) == len(row.log_probs) == 4
        assert not row.ended
    assert all(len(row.token_ids) == 2 for row in draw(table, 5, SamplingOptions(max_new_tokens=4), limit=2))
    assert draw(table, 1, SamplingOptions(), limit=0)[0] == ((), (), False)


def test_an_ended_row_has_one_more_log_prob_and_a_certain_end_is_empty():
    table = bigrams()
    table[:, 1:] = -torch.inf
    assert draw(table, 2, SamplingOptions()) == [((), (0.0,), True)] * 2
    hypothesis = draw(table, 1, SamplingOptions())[0].hypothesis(str)
    assert hypothesis == Hypothesis(text="[]", token_log_probs=(0.0,))


def test_a_token_outside_the_support_is_scored_as_if_it_were_inside():
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    score = log_probs_of(logits, torch.tensor([0]), SamplingOptions(top_k=2))
    assert score.item() == pytest.approx(-math.log(1 + math.exp(2) + math.exp(3)))


def test_half_precision_is_scored_in_float32_and_double_stays_double():
    logits = torch.randn(4, 11)
    ids = torch.tensor([0, 3, 5, 10])
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        scores = log_probs_of(logits.to(dtype), ids, SamplingOptions())
        assert scores.dtype == restricted_log_probs(logits.to(dtype), SamplingOptions()).dtype == expected
        torch.testing.assert_close(scores, logits.to(dtype).to(expected).log_softmax(-1)[range(4), ids])


@pytest.mark.parametrize("options", OPTIONS)
def test_chunks_change_neither_values_nor_gradients(options):
    hidden = torch.randn(10, 6, dtype=torch.float64, requires_grad=True)
    head = torch.nn.Linear(6, 13).double()
    ids = torch.arange(10)
    scores, gradients = [], []
    for chunk_elements in (13 * 10, 13 * 3, 1):
        value = hidden_log_probs(hidden, head, ids, options, vocab_size=13, chunk_elements=chunk_elements)
        (value * torch.arange(10)).sum().backward()
        scores.append(value.detach())
        gradients.append(torch.cat([hidden.grad.flatten(), head.weight.grad.flatten()]))
        hidden.grad = head.weight.grad = None
    for score, gradient in zip(scores[1:], gradients[1:], strict=True):
        torch.testing.assert_close(score, scores[0])
        torch.testing.assert_close(gradient, gradients[0])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("chunk_elements", [13 * 10, 13 * 3])
def test_scores_behind_a_frozen_head_have_the_gradient_of_the_plain_way(options, chunk_elements):
    head = torch.nn.Linear(4, 13, dtype=torch.float64).requires_grad_(False)
    plain = torch.randn(10, 4, dtype=torch.float64, requires_grad=True)
    hidden = plain.detach().clone().requires_grad_()
    ids, weights = torch.arange(10), torch.linspace(-1, 2, 10, dtype=torch.float64)
    expected = log_probs_of(head(plain), ids, options)
    value = hidden_log_probs(hidden, head, ids, options, vocab_size=13, chunk_elements=chunk_elements)
    torch.testing.assert_close(value, expected)
    (value * weights).square().sum().backward()
    (expected * weights).square().sum().backward()
    torch.testing.assert_close(hidden.grad, plain.grad)


def test_the_head_is_run_once_where_it_is_frozen():
    head, rows = torch.nn.Linear(4, 13), []
    head.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    hidden = torch.randn(10, 4, requires_grad=True)
    for is_trained, expected in ((False, 10), (True, 20)):
        head.requires_grad_(is_trained)
        rows.clear()
        hidden_log_probs(hidden, head, torch.arange(10), OPTIONS[0], vocab_size=13, chunk_elements=13).sum().backward()
        assert sum(rows) == expected


def test_each_token_under_options_of_its_own():
    head = torch.nn.Linear(4, 13)
    hidden, ids = torch.randn(6, 4, requires_grad=True), torch.arange(6)
    each = each_token([OPTIONS[3], OPTIONS[0], OPTIONS[3]], [2, 3, 1])
    scores = hidden_log_probs(hidden, head, ids, each, vocab_size=13)
    for place, options in enumerate(each):
        one = hidden_log_probs(hidden[place : place + 1], head, ids[place : place + 1], options, vocab_size=13)
        torch.testing.assert_close(scores[place], one[0])
    assert each_token(OPTIONS[1], [2, 3]) is OPTIONS[1]


def test_chunks_bound_the_logits_that_exist_at_once():
    sizes = []

    def project(hidden):
        sizes.append(len(hidden))
        return hidden @ torch.ones(2, 5)

    hidden = torch.randn(7, 2, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.numel()) or tensor, lambda t: t):
        value = hidden_log_probs(
            hidden, project, torch.zeros(7, dtype=torch.long), SamplingOptions(), vocab_size=5, chunk_elements=10
        )
    assert max(sizes) == 2
    assert max(saved) <= hidden.numel()  # no logits are kept for the backward pass
    value.sum().backward()
    assert hidden.grad is not None


def test_gradients_of_restricted_scores_are_those_of_finite_differences():
    logits = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    options = SamplingOptions(temperature=0.8, top_k=4)
    ids = logits.argmax(-1)
    assert torch.autograd.gradcheck(lambda z: log_probs_of(z, ids, options), (logits,))


def test_ragged_rows():
    hypotheses = [Hypothesis(text="", token_ids=(5, 6)), Hypothesis(text="", token_ids=(7,), truncated=True)]
    assert scored_ids(hypotheses, END) == [[5, 6, END], [7]]
    padded = scatter_log_probs(torch.tensor([-1.0, -2.0, -3.0, -4.0]), [3, 1])
    assert padded.values.tolist() == [[-1, -2, -3], [-4, 0, 0]]
    assert padded.mask.tolist() == [[True, True, True], [True, False, False]]
