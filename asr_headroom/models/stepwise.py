"""Greedy and beam search over a :class:`~asr_headroom.models.sampling.Continuation`, for every autoregressive family.

For families whose prompt and audio stand in a cache that no library's ``generate`` knows. What is searched is the
plain distribution; drawing at random is in :mod:`asr_headroom.models.sampling`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch

from asr_headroom.models.decoding import LoopGuard
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
    """A sequence and its total log-probability; ``parent`` is the row of the continuation that it goes on from."""

    total: float
    tokens: tuple[int, ...]
    parent: int = 0


class _Search:
    """Beams of one utterance.

    Args:
        beam_size: sequences that go on, at most.
        by_mean: what has ended is ranked by log-probability per token instead of in total.
    """

    def __init__(self, beam_size: int, by_mean: bool) -> None:
        self._size = beam_size
        self._by_mean = by_mean
        self.live: list[_Beam] = [_Beam(0.0, ())]
        self.ended: list[_Beam] = []

    def extend(self, candidates: list[_Beam], end_ids: Collection[int]) -> None:
        """Takes the best continuations; no candidate can beat what it continues, so a search ends by itself."""
        candidates.sort(key=lambda beam: -beam.total)
        self.ended += [beam for beam in candidates[: self._size] if beam.tokens[-1] in end_ids]
        live = [beam for beam in candidates if beam.tokens[-1] not in end_ids][: self._size]
        if len(self.ended) >= self._size:
            worst = sorted(map(self._rank, self.ended), reverse=True)[self._size - 1]
            live = [beam for beam in live if self._rank(beam) > worst]
        self.live = sorted(live, key=lambda beam: beam.parent)  # caches are selected from in rising order

    def best(self, returned: int) -> list[list[int]]:
        """The best sequences; by mean, those that the limit cut only where none ended."""
        found = self.ended or self.live if self._by_mean else self.ended + self.live
        return [list(beam.tokens) for beam in sorted(found, key=self._rank, reverse=True)[:returned]]

    def _rank(self, beam: _Beam) -> float:
        return beam.total / len(beam.tokens) if self._by_mean else beam.total


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
) -> list[list[list[int]]]:
    """Beam search, ranked by total log-probability, or by its mean per token, which does not favour short sequences.

    Args:
        logits: [rows, vocab] of the first token.
        continuation: the decoder behind them; its ``keep`` is asked for rows several times.
        end_ids: each of them ends a sequence.
        max_new_tokens: the end token counted.
        beam_size: sequences per row that go on, at most.
        returned: sequences per row, at most.
        by_mean: rank by the mean, and a sequence that the limit cut only where none ended.

    Returns:
        [rows] lists of token ids, the best first, the end token last where there was one.
    """
    searches = [_Search(beam_size, by_mean) for _ in range(len(logits))]
    width = min(beam_size + len(end_ids), logits.shape[-1])
    for position in range(max_new_tokens):
        values, tokens = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=-1).topk(width)
        table = list(zip(values.tolist(), tokens.tolist(), strict=True))
        row = 0
        for search in searches:
            candidates = []
            for beam in search.live:
                nexts = zip(*table[row], strict=True)
                candidates += [_Beam(beam.total + value, (*beam.tokens, token), row) for value, token in nexts]
                row += 1
            if candidates:
                search.extend(candidates, end_ids)
        live = [beam for search in searches for beam in search.live]
        if not live or position + 1 == max_new_tokens:
            break
        continuation.keep(torch.tensor([beam.parent for beam in live], device=logits.device))
        logits = continuation.step(torch.tensor([beam.tokens[-1] for beam in live], device=logits.device))
    return [search.best(returned) for search in searches]
