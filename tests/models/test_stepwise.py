"""Searches over a toy decoder whose every sequence can be enumerated."""

from __future__ import annotations

import itertools

import pytest
import torch

from asr_headroom.models.decoding import LoopGuard
from asr_headroom.models.stepwise import beam_tokens, greedy_tokens

END, ROWS, VOCAB, LIMIT = 3, 3, 4, 4
FREE = LoopGuard(max_period=0)


class Table:
    """A decoder whose next logits follow from its row and all of its tokens, drawn once for each."""

    def __init__(self, rows=ROWS, seed=0):
        generator = torch.Generator().manual_seed(seed)
        prefixes = [p for n in range(LIMIT) for p in itertools.product(range(VOCAB), repeat=n)]
        self._logits = [{p: 2 * torch.randn(VOCAB, generator=generator) for p in prefixes} for _ in range(rows)]
        self._rows = [(row, ()) for row in range(rows)]
        self.widths = []
        self.first = self._now()

    def _now(self):
        return torch.stack([self._logits[row][tokens] for row, tokens in self._rows])

    def step(self, ids):
        self.widths.append(len(ids))
        self._rows = [(row, (*t, token)) for (row, t), token in zip(self._rows, ids.tolist(), strict=True)]
        return self._now()

    def keep(self, rows):
        assert rows.tolist() == sorted(rows.tolist())
        self._rows = [self._rows[i] for i in rows.tolist()]

    def total(self, row, tokens):
        return sum(self._logits[row][tokens[:i]].log_softmax(-1)[token].item() for i, token in enumerate(tokens))

    def every(self, row):
        """All sequences that end, or that the limit cuts, by total log-probability."""
        ended = [(*p, END) for n in range(LIMIT) for p in itertools.product(range(VOCAB - 1), repeat=n)]
        cut = list(itertools.product(range(VOCAB - 1), repeat=LIMIT))
        return sorted(ended + cut, key=lambda tokens: -self.total(row, tokens))


@pytest.mark.parametrize("seed", range(6))
def test_greedy_takes_the_likeliest_next_token(seed):
    table, check = Table(seed=seed), Table(seed=seed)
    found = greedy_tokens(table.first, table, end_ids={END}, max_new_tokens=LIMIT, guard=FREE)
    for row, tokens in enumerate(found):
        expected = []
        while len(expected) < LIMIT and END not in expected:
            expected.append(int(check._logits[row][tuple(expected)].argmax()))
        assert tokens == expected


@pytest.mark.parametrize("seed", range(6))
def test_a_beam_that_holds_everything_finds_the_best(seed):
    table = Table(seed=seed)
    found = beam_tokens(table.first, table, end_ids={END}, max_new_tokens=LIMIT, beam_size=300, returned=8)
    for row, lists in enumerate(found):
        assert [tuple(tokens) for tokens in lists] == table.every(row)[:8]


@pytest.mark.parametrize("seed", range(6))
def test_one_wanted_is_the_best_in_total(seed):
    table = Table(seed=seed)
    found = beam_tokens(table.first, table, end_ids={END}, max_new_tokens=LIMIT, beam_size=300)
    assert [[tuple(tokens) for tokens in lists] for lists in found] == [table.every(row)[:1] for row in range(ROWS)]


@pytest.mark.parametrize("seed", range(6))
def test_the_best_by_mean(seed):
    table = Table(seed=seed)
    found = beam_tokens(table.first, table, end_ids={END}, max_new_tokens=LIMIT, beam_size=300, by_mean=True)
    for row, (tokens,) in enumerate(found):
        ended = [t for t in table.every(row) if t[-1] == END]
        assert tuple(tokens) == max(ended, key=lambda t: table.total(row, t) / len(t))


@pytest.mark.parametrize("seed", range(6))
def test_a_narrow_beam_is_never_worse_than_greedy(seed):
    table = Table(seed=seed)
    greedy = greedy_tokens(table.first, Table(seed=seed), end_ids={END}, max_new_tokens=LIMIT, guard=FREE)
    found = beam_tokens(table.first, table, end_ids={END}, max_new_tokens=LIMIT, beam_size=2, returned=2)
    for row, lists in enumerate(found):
        totals = [table.total(row, tuple(tokens)) for tokens in lists]
        assert totals == sorted(totals, reverse=True)
        assert totals[0] >= table.total(row, tuple(greedy[row])) - 1e-6
    assert max(table.widths) <= 2 * ROWS


def test_rows_that_stopped_are_dropped():
    class Counting(Table):
        def __init__(self):
            super().__init__(rows=4)
            for row in range(4):
                for tokens in self._logits[row]:
                    wanted = END if len(tokens) >= row + 1 or len(tokens) == LIMIT - 1 else 0
                    self._logits[row][tokens] = torch.nn.functional.one_hot(torch.tensor(wanted), VOCAB).float()
            self.first = self._now()

    table = Counting()
    found = greedy_tokens(table.first, table, end_ids={END}, max_new_tokens=LIMIT, guard=FREE)
    assert [len(tokens) for tokens in found] == [2, 3, 4, 4]
    assert table.widths == [4, 4, 2]


def test_each_end_token_ends_and_loops_are_stopped():
    class Echo:
        def step(self, ids):
            return torch.nn.functional.one_hot(ids, 8).float()

        def keep(self, rows):
            pass

    first = torch.nn.functional.one_hot(torch.tensor([5, 6, 1]), 8).float()
    guard = LoopGuard(max_period=2, repeats=3, min_tokens=5)
    found = greedy_tokens(first, Echo(), end_ids={5, 6}, max_new_tokens=50, guard=guard)
    assert found == [[5], [6], [1] * 5]
