"""What every family shares when it decodes: options, hypotheses and the one loop guard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from asr_headroom.errors import ConfigError

__all__ = ["GREEDY", "DecodingOptions", "Hypothesis", "LoopGuard", "Segment"]


@dataclass(frozen=True, kw_only=True)
class LoopGuard:
    """Stops a decoder that repeats itself, the same way for every family.

    A row is looping when its last ``repeats`` × p tokens are one pattern of p tokens, for some p up to
    ``max_period``, and those tokens are at least ``min_tokens`` many. The repetitions after the first are cut off,
    and the hypothesis says so.
    """

    max_period: int = 12
    """Longest repeated pattern looked for, in tokens; 0 switches the guard off."""

    repeats: int = 4
    """Repetitions in a row that count as a loop."""

    min_tokens: int = 16
    """Tokens that the repetitions must cover, so that "ha ha ha ha" stays."""

    def __post_init__(self) -> None:
        if self.max_period < 0 or self.repeats < 2 or self.min_tokens < 1:
            raise ConfigError(f"{self}: needs max_period >= 0, repeats >= 2 and min_tokens >= 1")

    def period(self, tokens: Sequence[int]) -> int | None:
        """The period of the loop that ``tokens`` end in, or None.

        >>> LoopGuard(min_tokens=4).period([7, 1, 2, 1, 2, 1, 2, 1, 2])
        2
        """
        for period in range(1, min(self.max_period, len(tokens) // self.repeats) + 1):
            span = max(self.repeats * period, self.min_tokens)
            if span > len(tokens):
                continue
            tail = tokens[-span:]
            if tail[period:] == tail[:-period]:
                return period
        return None

    def cut(self, tokens: Sequence[int], period: int) -> list[int]:
        """``tokens`` with only the first of the repetitions at the end left."""
        end = len(tokens)
        while end > period and tokens[end - 1] == tokens[end - 1 - period]:
            end -= 1
        return list(tokens[:end])


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How hypotheses are searched for; part of every result's decoding hash."""

    language: str | None = None
    """BCP-47 tag forced for all utterances; None takes each utterance's own."""

    beam_size: int = 1
    """Hypotheses kept while searching; 1 is greedy."""

    max_new_tokens: int = 225
    """Tokens after the prompt at which decoding is cut; the hypothesis is then marked truncated."""

    loop_guard: LoopGuard = LoopGuard()
    """When a repetition is stopped."""

    def __post_init__(self) -> None:
        if self.beam_size < 1:
            raise ConfigError(f"beam_size is {self.beam_size}; it must be at least 1")
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1")


GREEDY = DecodingOptions()
"""The default of every protocol: greedy search, each utterance's own language, loop guard on."""


class Segment(NamedTuple):
    """A stretch of a hypothesis with its time, seconds into the utterance."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hypothesis:
    """What was recognised in one utterance.

    Attributes:
        text: decoded, special tokens removed, outer white space stripped.
        token_ids: as sampled, prompt and end token excluded.
        token_log_probs: natural log of each token's probability, where the search kept it.
        truncated: the token limit was reached before the end token.
        looped: the loop guard stopped a repetition; the repetitions are cut off.
        segments: timed stretches, for families that have them.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    token_log_probs: tuple[float, ...] = ()
    truncated: bool = False
    looped: bool = False
    segments: tuple[Segment, ...] = ()
