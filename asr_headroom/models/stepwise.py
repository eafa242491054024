"""Greedy and beam search over a :class:`~asr_headroom.models.sampling.Continuation`, for every autoregressive family.

For families whose prompt and audio stand in a cache that no library's ``generate`` knows, and for lists of hypotheses.
What is searched is the plain distribution; drawing at random is in :mod:`asr_headroom.models.sampling`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch

from asr_headroom.models.decoding import ONE_GROUP, BeamGroups, LoopGuard
from asr_headroom.models.sampling import Continuation

__all__ = ["beam_tokens", "greedy_tokens"]


@torch.no_grad()
def greedy_tokens(
    logits: torch.Tensor,
    continuation: Continuation,
    *,
    end_ids: Collection[int],
    max_new_tokens: int,
    guard: LoopGuard,
) -> list[list[int]]:
    """The likeliest next token, again and again, until the end, the limit or a loop.

    Args:
        logits: [rows, vocab] of the first token.
        continuation: the decoder behind them.
        end_ids: each of them ends a row.
        max_new_tokens: the end token counted.
        guard: stops rows that repeat themselves; with ``max_period`` 0 none.

    Returns:
        [rows] token ids, the end token last where there was one.
    """
    found: list[list[int]] = [[] for _ in range(len(logits))]
    active = list(range(len(found)))  # the rows that the continuation holds; some may have stopped
    going = set(active)
    for position in range(max_new_tokens):
        tokens = logits.argmax(dim=-1)
        for row, token in zip(active, tokens.tolist(), strict=True):
            if row in going:
                found[row].append(token)
                if token in end_ids or (guard.max_period and guard.period(found[row]) is not None):
                    going.discard(row)
        if not going or position + 1 == max_new_tokens:
            break
        if 2 * len(going) <= len(active):  # copying a cache costs something too, so not for every row that stops
            kept = torch.tensor([i for i, row in enumerate(active) if row in going], device=logits.device)
            continuation.keep(kept)
            active, tokens = [row for row in active if row in going], tokens[kept]
        logits = continuation.step(tokens)
    return found


class _Beam(NamedTuple):
    """A sequence.

    Attributes:
        score: what it is searched by: its log-probability, less what other groups took off.
        total: its log-probability.
        tokens: the end token last where there was one.
        row: of the continuation that it stands in.
    """

    score: float
    total: float
    tokens: tuple[int, ...]
    row: int


class _Search:
    """Beams of one utterance, or of one of its groups.

    Args:
        row: of the continuation that all of them begin in.
        beam_size: sequences that go on, at most.
        by_mean: what has ended is ranked by score per token instead of in total.
    """

    def __init__(self, row: int, beam_size: int, by_mean: bool) -> None:
        self._size = beam_size
        self._by_mean = by_mean
        self.live: list[_Beam] = [_Beam(0.0, 0.0, (), row)]
        self.ended: list[_Beam] = []

    def extend(self, candidates: list[_Beam], end_ids: Collection[int]) -> None:
        """Takes the best continuations; no candidate can beat what it continues, so a search ends by itself."""
        candidates.sort(key=lambda beam: -beam.score)
        self.ended += [beam for beam in candidates[: self._size] if beam.tokens[-1] in end_ids]
        live = [beam for beam in candidates if beam.tokens[-1] not in end_ids][: self._size]
        if len(self.ended) >= self._size:
            worst = sorted(map(self._rank, self.ended), reverse=True)[self._size - 1]
            live = [beam for beam in live if self._rank(beam) > worst]
        self.live = sorted(live, key=lambda beam: beam.row)  # caches are selected from in rising order

    def best(self) -> list[_Beam]:
        """The best sequences; by mean, those that the limit cut only where none ended."""
        found = self.ended or self.live if self._by_mean else self.ended + self.live
        return sorted(found, key=self._rank, reverse=True)[: self._size]

    def _rank(self, beam: _Beam) -> float:
        return beam.score / len(beam.tokens) if self._by_mean else beam.score


@torch.no_grad()
def beam_tokens(
    logits: torch.Tensor,
    continuation: Continuation,
    *,
    end_ids: Collection[int],
    max_new_tokens: int,
    beam_size: int,
    returned: int = 1,
    by_mean: bool = False,
    groups: BeamGroups = ONE_GROUP,
    banned: Sequence[int] = (),
    banned_first: Sequence[int] = (),
) -> list[list[list[int]]]:
    """Beam search, ranked by total log-probability, or by its mean per token, which does not favour short sequences.

    With several groups it is diverse beam search (Vijayakumar et al., 2016, arXiv:1610.02424) with their Hamming
    diversity: the groups take each step one after the other, and a token costs ``groups.penalty`` for each beam of an
    earlier group that went on with it in this step. Penalties add up along a sequence, as its log-probability does. The
    end token is free, so that no group is driven on behind the end of the speech. Each group hands over as many
    sequences as it has beams; what they are ranked by in the end is their log-probability alone.

    Args:
        logits: [rows, vocab] of the first token.
        continuation: the decoder behind them; its ``keep`` is asked for rows several times.
        end_ids: each of them ends a sequence.
        max_new_tokens: the end token counted.
        beam_size: sequences per row that go on, at most; over all groups.
        returned: sequences per row, at most.
        by_mean: rank by the mean, and a sequence that the limit cut only where none ended.
        groups: how many, and how strongly they avoid each other; their number divides ``beam_size``.
        banned: tokens that no sequence takes; the others' probabilities stay as they are.
        banned_first: tokens that no sequence begins with.

    Returns:
        [rows] lists of token ids, all different, the best first, the end token last where there was one.

    Raises:
        ConfigError: the groups cannot be equally large.
    """
    size = groups.beams_of_each(beam_size)
    searches = [[_Search(row, size, by_mean) for _ in range(groups.count)] for row in range(len(logits))]
    # Of the likeliest, as many can be taken off as beams of other groups avoid, and as many end.
    width = min(beam_size + len(end_ids), logits.shape[-1])
    for position in range(max_new_tokens):
        scores = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=-1)
        scores[:, torch.tensor([*banned, *(banned_first if position == 0 else ())], dtype=torch.long)] = -torch.inf
        values, tokens = scores.topk(width)
        table = [list(zip(*row, strict=True)) for row in zip(values.tolist(), tokens.tolist(), strict=True)]
        for row_searches in searches:
            _step(row_searches, table, end_ids, groups.penalty)
        live = [beam for row_searches in searches for search in row_searches for beam in search.live]
        if not live or position + 1 == max_new_tokens:
            break
        continuation.keep(torch.tensor([beam.row for beam in live], device=logits.device))
        logits = continuation.step(torch.tensor([beam.tokens[-1] for beam in live], device=logits.device))
        row = 0
        for search in (search for row_searches in searches for search in row_searches):
            search.live = [beam._replace(row=row + i) for i, beam in enumerate(search.live)]
            row += len(search.live)
    return [_pooled(row_searches, by_mean)[:returned] for row_searches in searches]


def _step(
    searches: Sequence[_Search], table: Sequence[list[tuple[float, int]]], end_ids: Collection[int], penalty: float
) -> None:
    """One more token for the groups of an utterance, the later ones avoiding what the earlier ones take."""
    taken = Counter[int]()
    for search in searches:
        candidates = [
            _Beam(beam.score + value - penalty * taken[token], beam.total + value, (*beam.tokens, token), beam.row)
            for beam in search.live
            for value, token in table[beam.row]
            if value > -math.inf
        ]
        search.extend(candidates, end_ids)
        taken.update(beam.tokens[-1] for beam in search.live)


def _pooled(searches: Sequence[_Search], by_mean: bool) -> list[list[int]]:
    """What the groups found, each sequence once, by their own measure without penalties."""
    found = {
        beam.tokens: beam.total / len(beam.tokens) if by_mean else beam.total for s in searches for beam in s.best()
    }
    return [list(tokens) for tokens in sorted(found, key=lambda tokens: -found[tokens])]
