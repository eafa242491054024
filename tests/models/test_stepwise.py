"""Searches over a toy decoder whose every sequence can be enumerated."""

from __future__ import annotations

import itertools

import pytest
import torch

from asr_headroom.errors import ConfigError
from asr_headroom.models.decoding import BeamGroups, LoopGuard
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


def textbook_groups(table, row, beam_size, count, penalty):
    """Diverse beam search as its paper writes it: every token of every beam, the groups one after the other."""
    size = beam_size // count
    beams = [[(0.0, ())] for _ in range(count)]
    ended = [[] for _ in range(count)]
    for position in range(LIMIT):
        chosen = []  # tokens that beams of earlier groups went on with at this position
        for group in range(count):
            candidates = []
            for score, tokens in beams[group]:
                log_probs = table._logits[row][tokens].log_softmax(-1).tolist()
                candidates += [
                    (score + log_probs[token] - penalty * chosen.count(token), (*tokens, token))
                    for token in range(VOCAB)
                ]
            candidates.sort(reverse=True)
            ended[group] += [one for one in candidates[:size] if one[1][-1] == END]
            ended[group] = sorted(ended[group], reverse=True)[:size]
            going = [one for one in candidates if one[1][-1] != END][:size]
            if len(ended[group]) == size:  # what cannot enter the group's list any more stops
                going = [one for one in going if one[0] > ended[group][-1][0]]
            beams[group] = going
            chosen += [tokens[position] for _, tokens in going]
    found = {tokens for g in range(count) for _, tokens in sorted(ended[g] + beams[g], reverse=True)[:size]}
    return sorted(found, key=lambda tokens: -table.total(row, tokens))


@pytest.mark.parametrize(("beam_size", "count"), [(4, 2), (4, 4), (6, 3), (6, 2), (3, 1)])
@pytest.mark.parametrize("penalty", [0.3, 1.0, 5.0])
def test_groups_of_beams_are_the_papers(beam_size, count, penalty):
    differ = 0
    for seed in range(6):
        table = Table(seed=seed)
        groups = BeamGroups(count=count, penalty=penalty)
        found = beam_tokens(
            table.first, table, end_ids={END}, max_new_tokens=LIMIT, beam_size=beam_size, returned=beam_size,
            groups=groups,
        )  # fmt: skip
        fresh = Table(seed=seed)
        common = beam_tokens(
            fresh.first, fresh, end_ids={END}, max_new_tokens=LIMIT, beam_size=beam_size, returned=beam_size
        )
        for row, lists in enumerate(found):
            assert [tuple(tokens) for tokens in lists] == textbook_groups(table, row, beam_size, count, penalty)
        differ += found != common
    assert (differ > 0) == (count > 1)


def test_groups_that_avoid_each_other_at_any_price_begin_differently():
    """All but the end token, which stays free."""
    for seed in range(6):
        table = Table(seed=seed)
        groups = BeamGroups(count=3, penalty=1e6)
        found = beam_tokens(
            table.first, table, end_ids={END}, max_new_tokens=LIMIT, beam_size=3, returned=3, groups=groups
        )
        for lists in found:
            first = [tokens[0] for tokens in lists if tokens[0] != END]
            assert len(set(first)) == len(first)
        assert any(len(lists) > 1 for lists in found)


def test_groups_without_a_penalty_find_the_same():
    table, narrow = Table(), Table()
    options = {"end_ids": {END}, "max_new_tokens": LIMIT}
    found = beam_tokens(table.first, table, beam_size=6, returned=6, groups=BeamGroups(count=3), **options)
    assert found == beam_tokens(narrow.first, narrow, beam_size=2, returned=2, **options)


def test_banned_tokens_are_not_taken_and_leave_the_others_probabilities():
    table = Table(seed=1)
    found = beam_tokens(
        table.first, table, end_ids={END}, max_new_tokens=LIMIT, beam_size=300, returned=8, banned=[1], banned_first=[2]
    )
    for row, lists in enumerate(found):
        expected = [tokens for tokens in table.every(row) if 1 not in tokens and tokens[0] != 2]
        assert [tuple(tokens) for tokens in lists] == expected[:8]


def test_groups_must_be_equally_large():
    table = Table()
    with pytest.raises(ConfigError, match="5 beams do not make 2 equal groups"):
        beam_tokens(
            table.first, table, end_ids={END}, max_new_tokens=LIMIT, beam_size=5, groups=BeamGroups(count=2, penalty=1)
        )
    with pytest.raises(ConfigError, match="at least 1"):
        BeamGroups(count=0)
    with pytest.raises(ConfigError, match="at least 0"):
        BeamGroups(count=2, penalty=-1.0)


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
