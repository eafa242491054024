"""Searching with a library's ``generate``: the loop guard as a stopping criterion, token ids as hypotheses.

For families whose decoder transformers can drive. Drawing at random is in :mod:`asr_headroom.models.sampling`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from asr_headroom.models.decoding import Hypothesis, LoopGuard

__all__ = ["cut_at_end", "distinct_texts", "hypothesis_of", "loop_stopping"]


class _StopLoops(StoppingCriteria):
    """Ends a row as soon as the loop guard sees it repeat itself.

    Args:
        guard: when.
        prompt_length: tokens at the start of each row that are not looked at.
    """

    def __init__(self, guard: LoopGuard, prompt_length: int) -> None:
        self._guard = guard
        self._prompt_length = prompt_length
        self._reach = max(guard.max_period * guard.repeats, guard.min_tokens + guard.max_period)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        tails = input_ids[:, self._prompt_length :][:, -self._reach :].tolist()
        looping = [self._guard.period(tail) is not None for tail in tails]
        return torch.tensor(looping, device=input_ids.device)


def loop_stopping(guard: LoopGuard, prompt_length: int, beam_size: int) -> StoppingCriteriaList:
    """What ``generate`` stops for; a beam that loops is left to lose against the others."""
    return StoppingCriteriaList([_StopLoops(guard, prompt_length)] if guard.max_period and beam_size == 1 else [])


def cut_at_end(rows: Sequence[list[int]], end_id: int) -> list[list[int]]:
    """Each row up to and with its first end token; padding after it is gone."""
    return [row[: row.index(end_id) + 1] if end_id in row else row for row in rows]


def hypothesis_of(tokens: list[int], end_id: int, guard: LoopGuard, decode: Callable[[list[int]], str]) -> Hypothesis:
    """What was found, with the repetitions of a loop cut off.

    Args:
        tokens: after the prompt, with the end token last if there was one.
        end_id: of the end token.
        guard: the same that stopped the search.
        decode: token ids to text, special tokens removed.
    """
    ended = bool(tokens) and tokens[-1] == end_id
    tokens = tokens[:-1] if ended else tokens
    period = guard.period(tokens) if guard.max_period else None
    if period is not None:
        tokens = guard.cut(tokens, period)
    return Hypothesis(
        text=decode(tokens).strip(),
        token_ids=tuple(tokens),
        truncated=not ended and period is None,
        looped=period is not None,
    )


def distinct_texts(hypotheses: Iterable[Hypothesis]) -> list[Hypothesis]:
    """The first hypothesis of each text, in order; several token sequences can spell one text."""
    first: dict[str, Hypothesis] = {}
    for hypothesis in hypotheses:
        first.setdefault(hypothesis.text, hypothesis)
    return list(first.values())
