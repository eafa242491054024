"""Rates that a file of predictions states, and whether they can be had from its own rows.

A stated rate recomputes when some profile gives it to the last digit printed: as a fraction or in per cent. Where no
profile does, two well-known slips are tried: the mean of the utterances' rates instead of the corpus rate, and a
placeholder such as ``<empty>`` scored in the place of empty texts.

Start with :func:`claims_of` and :func:`recompute`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from asr_headroom.analysis.causes import start_profile
from asr_headroom.metrics.error_rate import ErrorCounts, UtteranceCounts
from asr_headroom.text.normalize import (
    Normalizer,
    get_normalizer,
    mark_empty,
    normalizer_for_language,
    normalizer_ids,
)

__all__ = ["PLACEHOLDER", "Claim", "Origin", "candidate_profiles", "claims_of", "rate_of", "recompute"]

PLACEHOLDER = "<empty>"
"""What the published study scored in the place of an empty text."""

_NAMES = {
    "wer": "wer", "word_error_rate": "wer", "corpus_wer": "wer", "test_wer": "wer", "eval_wer": "wer",
    "cer": "cer", "character_error_rate": "cer", "char_error_rate": "cer", "corpus_cer": "cer", "test_cer": "cer",
    "eval_cer": "cer", "mer": "mer", "match_error_rate": "mer",
}  # fmt: skip
_MAX_DIGITS = 9
"""Beyond that many decimals the last ones are rounding noise."""

Counting = Callable[[Normalizer], list[UtteranceCounts]]


class Claim(NamedTuple):
    """A rate that a file states: its name, its value, and half of its last digit."""

    metric: Literal["wer", "cer", "mer"]
    value: float
    tolerance: float

    def matches(self, rate: float) -> bool:
        """Whether the value is this rate, as a fraction or in per cent."""
        return any(abs(self.value * scale - rate) <= self.tolerance * scale for scale in (1.0, 0.01))


class Origin(NamedTuple):
    """How a stated rate comes about.

    Attributes:
        claim: the stated rate.
        kind: ``corpus`` is right; ``mean of rates`` and ``placeholder`` are slips; ``unknown`` is none of them.
        normalizer: under which it is so; None where that is unknown.
    """

    claim: Claim
    kind: Literal["corpus", "placeholder", "mean of rates", "unknown"]
    normalizer: Normalizer | None


def claims_of(head: Mapping[str, Any]) -> tuple[Claim, ...]:
    """The rates in what a file states beside its rows.

    >>> claims_of({"WER": 13.86, "n": 500})[0][:2]
    ('wer', 13.86)
    """
    found: dict[str, Claim] = {}
    for key, value in head.items():
        metric = _NAMES.get(str(key).strip().lower().replace(" ", "_").replace("-", "_"))
        if metric and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            digits = min(_MAX_DIGITS, len(repr(float(value)).partition(".")[2])) if "e" not in repr(value) else 9
            tolerance = 0.5 * 10**-digits + 1e-9
            found.setdefault(metric, Claim(metric, float(value), tolerance))  # type: ignore[arg-type]
    return tuple(found.values())


def recompute(claims: Sequence[Claim], counts: Counting, language: str | None) -> tuple[Origin, ...]:
    """How each stated rate comes about: the likeliest profile that gives it, or the slip that does.

    Args:
        claims: of one file.
        counts: per utterance under a normaliser.
        language: of the file.
    """
    found: dict[Claim, Origin] = {}
    profiles = candidate_profiles(language) if claims else []
    kinds: tuple[Literal["corpus", "placeholder", "mean of rates"], ...] = ("corpus", "placeholder", "mean of rates")
    for kind in kinds:
        for profile in profiles:
            if len(found) == len(claims):
                break
            counted = counts(mark_empty(profile, PLACEHOLDER) if kind == "placeholder" else profile)
            for claim in claims:
                rate = rate_of(claim.metric, counted, profile, mean=kind == "mean of rates")
                if claim not in found and claim.matches(rate):
                    found[claim] = Origin(claim, kind, profile)
    return tuple(found.get(claim, Origin(claim, "unknown", None)) for claim in claims)


def candidate_profiles(language: str | None) -> list[Normalizer]:
    """The profiles that a file of this language may have been scored with, the likeliest first."""
    ids = [start_profile(language).id, normalizer_for_language(language).id]
    ids += ["raw", "raw-characters", "basic", "basic-characters", "basic-mixed"]
    primary = (language or "").split("-")[0]
    ids += [id_ for id_ in normalizer_ids() if primary and primary in id_.split("-")]
    return [get_normalizer(id_) for id_ in dict.fromkeys(ids)]


def rate_of(metric: str, counts: Sequence[UtteranceCounts], normalizer: Normalizer, *, mean: bool = False) -> float:
    """A rate by its name, of the corpus; or the mean of the utterances' rates, which is not the same."""
    unit = {"wer": "word", "cer": "character"}.get(metric, normalizer.unit)
    chosen: list[ErrorCounts] = [count.of(unit) for count in counts]  # type: ignore[arg-type]
    if not mean:
        return _rate(metric, ErrorCounts.total(chosen))
    rates = list(_finite(_rate(metric, count) for count in chosen))
    return sum(rates) / len(rates) if rates else 0.0


def _rate(metric: str, counts: ErrorCounts) -> float:
    return counts.match_error_rate if metric == "mer" else counts.error_rate


def _finite(rates: Iterator[float]) -> Iterator[float]:
    return (rate for rate in rates if math.isfinite(rate))
