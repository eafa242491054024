"""Alarms that point at the harness and not at the model: outputs that no working system of that size gives.

More than a few per cent of empty, looping or foreign outputs, outputs that fit other recordings as well as their own,
an error rate beyond what a system of that size has on a language it knows: each is a fault of the prompt, the language,
the audio, the order of the references or the weights until shown otherwise. A system that was not made for the language
raises none: it is a mismatch baseline.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asr_headroom.analysis.caveats import SUSPICIOUS_SHARE
from asr_headroom.analysis.outputs import OutputCounts, describe_output
from asr_headroom.metrics.error_rate import ErrorCounts, count_texts
from asr_headroom.results.store import Results
from asr_headroom.text.normalize import Normalizer

__all__ = ["ALARMS", "count_foreign", "harness_alarms"]

_MIN_BROKEN = 3
"""Odd outputs below which no share alarms, however small the test."""
_MIN_UTTERANCES = 20
"""Below which a rate alarms nobody."""
_UNRELATED = 0.95
"""Errors against their own references, as a share of those against others', from which outputs are unrelated."""
_SHIFTS = (1, 2, 3)
"""How far references are moved for that."""
_HONEST_RATE = ((700e6, 0.45), (200e6, 0.55), (30e6, 0.9))
"""Parameters, and an error rate that a system of so many does not have on a language it knows: half as much again as
the worst base of the study at that size (Mandarin, raw: 59 % at 39 M, 34 % at 244 M, 29 % at 769 M)."""


ALARMS = {
    "empty": "more than a few per cent of the outputs are empty",
    "loops": "more than a few per cent of the outputs repeat themselves",
    "foreign": "more than a few per cent of the outputs are in another language or script",
    "unrelated": "the outputs fit the references of other utterances as well as their own, as with random weights or "
    "references out of order",
    "rate": "the error rate is above what a working system of that size has on a language it knows",
}
"""What each kind of alarm means."""


def count_foreign(results: Results) -> int:
    """Outputs in another language or another script than they should be."""
    language = results.run.language
    flags = (describe_output(p.reference, p.hypothesis, p.language or language) for p in results.predictions)
    return sum(flag.wrong_language or flag.wrong_script for flag in flags)


def harness_alarms(
    results: Results, normalizer: Normalizer, *, rate: float, outputs: OutputCounts, foreign: int
) -> tuple[str, ...]:
    """Why the harness is to be suspected before the model.

    Args:
        results: of one system.
        normalizer: of the rate.
        rate: error rate of the system.
        outputs: how many of its outputs are odd.
        foreign: see :func:`count_foreign`.

    Returns:
        keys of :data:`ALARMS`.
    """
    if results.run.model.get("language_mismatch"):
        return ()
    alarms = [*_broken(outputs, foreign)]
    if len(results.predictions) >= _MIN_UTTERANCES:
        alarms += [*_unrelated(results, normalizer), *_too_high(results, rate)]
    return tuple(alarms)


def _broken(outputs: OutputCounts, foreign: int) -> Iterator[str]:
    for kind, number in (("empty", outputs.empty), ("loops", outputs.looped), ("foreign", foreign)):
        if number >= _MIN_BROKEN and number > SUSPICIOUS_SHARE * outputs.total:
            yield kind


def _unrelated(results: Results, normalizer: Normalizer) -> Iterator[str]:
    ordered = sorted(results.predictions, key=lambda prediction: prediction.id)
    references = [normalizer(prediction.reference) for prediction in ordered]
    hypotheses = [normalizer(prediction.hypothesis) for prediction in ordered]
    own = _errors(references, hypotheses, normalizer)
    others = [_errors([*references[n:], *references[:n]], hypotheses, normalizer) for n in _SHIFTS]
    elsewhere = sum(others) / len(others)
    if elsewhere and own >= _UNRELATED * elsewhere and len(set(references)) > 1:
        yield "unrelated"


def _errors(references: Sequence[str], hypotheses: Sequence[str], normalizer: Normalizer) -> int:
    return ErrorCounts.total(count_texts(list(references), list(hypotheses), normalizer.unit)).errors


def _too_high(results: Results, rate: float) -> Iterator[str]:
    parameters = results.run.model.get("parameters")
    if not isinstance(parameters, int) or isinstance(parameters, bool):
        return
    limit = next((limit for size, limit in _HONEST_RATE if parameters >= size), None)
    if limit is not None and rate > limit:
        yield "rate"
