"""What every family shares when it decodes: options, hypotheses and the one loop guard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from asr_headroom.errors import ConfigError

__all__ = [
    "GREEDY",
    "ONE_GROUP",
    "BeamGroups",
    "DecodingOptions",
    "Hypothesis",
    "LoopGuard",
    "SamplingOptions",
    "Segment",
]


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


@dataclass(frozen=True, kw_only=True)
class BeamGroups:
    """Diverse beam search (Vijayakumar et al., 2016, arXiv:1610.02424): groups that avoid each other's tokens."""

    count: int = 1
    """Groups of equally many beams; 1 is a common beam search."""

    penalty: float = 0.0
    """Nats that a token costs for each beam of an earlier group that takes it at the same position."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"{self.count} groups of beams; there must be at least 1")
        if not 0 <= self.penalty < math.inf:
            raise ConfigError(
                f"the penalty between groups of beams is {self.penalty}; it must be at least 0 and finite"
            )

    def beams_of_each(self, beam_size: int) -> int:
        """Beams of one group.

        Raises:
            ConfigError: the groups cannot be equally large.
        """
        if beam_size % self.count:
            raise ConfigError(f"{beam_size} beams do not make {self.count} equal groups; give a multiple")
        return beam_size // self.count


ONE_GROUP = BeamGroups()
"""All beams in one group: a common beam search."""


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How hypotheses are drawn and under which distribution they are scored; no library's default has a say."""

    num_samples: int = 4
    """Hypotheses drawn for each utterance."""

    temperature: float = 1.0
    """Logits are divided by it."""

    top_k: int = 0
    """Only the k likeliest tokens can be drawn; 0 allows all."""

    top_p: float = 1.0
    """Only the likeliest tokens that together reach this probability can be drawn; 1 allows all."""

    max_new_tokens: int = 225
    """Tokens after the prompt at which a draw is cut; the hypothesis is then marked truncated and gets no end token."""

    seed: int = 0
    """Of the draws; the same seed on the same machine draws the same."""

    def __post_init__(self) -> None:
        problems = []
        if self.num_samples < 1:
            problems.append(f"num_samples is {self.num_samples}; it must be at least 1")
        if not 0 < self.temperature < math.inf:
            problems.append(f"temperature is {self.temperature}; it must be above 0 and finite")
        if self.top_k < 0:
            problems.append(f"top_k is {self.top_k}; it must be at least 0 (0 allows all tokens)")
        if not 0 < self.top_p <= 1:
            problems.append(f"top_p is {self.top_p}; it must be in (0, 1]")
        if self.max_new_tokens < 1:
            problems.append(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1")
        if problems:
            raise ConfigError("\n".join(problems))


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
