"""What a hypothesis is worth: minus its errors, counted as the report counts them, plus and minus what else is asked.

One normaliser per language and the one edit distance of the project: a reward and a reported error rate agree on every
pair of texts, because both are :mod:`asr_headroom.metrics`. Nothing here cleans text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from asr_headroom.data.manifest import Utterance
from asr_headroom.metrics.error_rate import ErrorCounts, count_texts
from asr_headroom.metrics.keywords import Keywords, count_keywords
from asr_headroom.models.decoding import Hypothesis
from asr_headroom.models.outputs import describe_output
from asr_headroom.rl.config import KeywordRule, RewardConfig
from asr_headroom.text.detect import has_content
from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.units import Unit, split_units

__all__ = ["Judged", "Reward", "keywords_by_rule", "mean_reference_lengths"]

_SENTENCE_END = re.compile(r"[.!?…:;][\"'«»“”‘’)\]]*$")
_ENGLISH_I = re.compile(r"I['’]")
_DIGITS = 9
_MARKS = ".,;:!?…\"'«»“”‘’()[]¿¡-–—"


class Judged(NamedTuple):
    """One hypothesis against its reference.

    Attributes:
        reward: the larger the better.
        counts: its errors in the normaliser's unit, keywords counted like other words.
    """

    reward: float
    counts: ErrorCounts


class Reward:
    """Judges hypotheses.

    Args:
        config: weights.
        normalizer_of: the normaliser of a language.
        mean_lengths: reference units per utterance, by unit; needed where ``config.scale`` is ``corpus``.
        keywords: that matter, by id of the normaliser that they went through.
    """

    def __init__(
        self,
        config: RewardConfig,
        normalizer_of: Callable[[str | None], Normalizer],
        *,
        mean_lengths: Mapping[Unit, float] | None = None,
        keywords: Mapping[str, Keywords] | None = None,
    ) -> None:
        self._config = config
        self._normalizer_of = lru_cache(maxsize=256)(normalizer_of)
        self._mean_lengths = dict(mean_lengths or {})
        self._keywords = dict(keywords or {})

    def judge(self, utterance: Utterance, hypotheses: Sequence[Hypothesis]) -> list[Judged]:
        """Each hypothesis of an utterance, in order."""
        normalizer = self._normalizer_of(utterance.language)
        reference = normalizer(utterance.text)
        texts = [normalizer(hypothesis.text) for hypothesis in hypotheses]
        counts = count_texts([reference] * len(texts), texts, normalizer.unit)
        wrong = self._weighted_rates(utterance, normalizer, reference, texts, counts)
        # Equal sums of different parts differ in the last bits, and a z-score would make a whole advantage of that.
        return [
            Judged(round(self._extras(utterance, hypothesis, count) - self._config.errors * rate, _DIGITS), count)
            for hypothesis, count, rate in zip(hypotheses, counts, wrong, strict=True)
        ]

    def _weighted_rates(
        self,
        utterance: Utterance,
        normalizer: Normalizer,
        reference: str,
        texts: Sequence[str],
        counts: Sequence[ErrorCounts],
    ) -> list[float]:
        """Errors over what the config divides them by, keywords weighed."""
        unit = normalizer.unit
        keywords = self._keywords_of(utterance, normalizer)
        if keywords is None:
            errors = [float(count.errors) for count in counts]
            length = float(counts[0].reference_length) if counts else 0.0
        else:
            units = split_units(reference, unit)
            weight = self._config.keyword_weight
            found = [count_keywords(units, split_units(text, unit), keywords, weight) for text in texts]
            errors = [count.weighted_errors for count in found]
            length = found[0].weighted_length if found else 0.0
        if self._config.scale == "corpus":
            length = self._mean_lengths[unit]
        # An empty reference has no rate: its insertions count as they are.
        return [error / max(length, 1.0) for error in errors]

    def _keywords_of(self, utterance: Utterance, normalizer: Normalizer) -> Keywords | None:
        listed = self._keywords.get(normalizer.id)
        if not self._config.keyword_rules:
            return listed
        ruled = keywords_by_rule(utterance.text, normalizer, self._config.keyword_rules)
        if listed is None:
            return Keywords(ruled) if ruled else None
        return Keywords([*listed.phrases, *ruled]) if ruled else listed

    def _extras(self, utterance: Utterance, hypothesis: Hypothesis, counts: ErrorCounts) -> float:
        config, total = self._config, 0.0
        if config.format:
            is_formed = not hypothesis.truncated and (has_content(hypothesis.text) or not has_content(utterance.text))
            total += config.format * is_formed
        if config.loop or config.language_switch:
            flags = describe_output(utterance.text, hypothesis.text, utterance.language)
            total -= config.loop * flags.looped
            total -= config.language_switch * (flags.wrong_script or flags.wrong_language)
        if config.length:
            missing = counts.deletions - counts.insertions
            total -= config.length * abs(missing) / max(counts.reference_length, 1)
        return total


def keywords_by_rule(text: str, normalizer: Normalizer, rules: Iterable[KeywordRule]) -> list[list[str]]:
    """Words of a raw reference that matter: names and numbers, by how they are written.

    A name is a word of several letters with a capital that begins no sentence, or with capitals inside; where all is in
    capitals, nothing is a name. A number is a word that holds a digit. Neighbours make one keyword each.

    Args:
        text: as written.
        normalizer: that the words go through.
        rules: ``names``, ``numbers``.

    Returns:
        each keyword as its normalised units; those of which the normaliser leaves nothing are left out.

    >>> from asr_headroom.text.normalize import get_normalizer
    >>> keywords_by_rule("Il est né à Paris en 1998.", get_normalizer("basic"), ["names", "numbers"])
    [['paris'], ['1998']]
    """
    wanted = set(rules) - ({"names"} if text.isupper() else set())
    found = []
    begins = True
    for word in text.split():
        letters = word.strip(_MARKS)
        is_name = len(letters) > 1 and (
            (letters[0].isupper() and not begins and not _ENGLISH_I.match(letters))
            or any(letter.isupper() for letter in letters[1:])
        )
        is_number = any(letter.isdigit() for letter in word)
        if ("names" in wanted and is_name) or ("numbers" in wanted and is_number):
            found.append(split_units(normalizer(word), normalizer.unit))
        begins = bool(_SENTENCE_END.search(word)) or (begins and not letters)  # a mark alone changes nothing
    return [units for units in found if units]


def mean_reference_lengths(
    utterances: Iterable[Utterance], normalizer_of: Callable[[str | None], Normalizer]
) -> dict[Unit, float]:
    """Mean number of reference units per utterance, by unit; 1 where all references are empty."""
    total, count = Counter[Unit](), Counter[Unit]()
    for utterance in utterances:
        normalizer = normalizer_of(utterance.language)
        total[normalizer.unit] += len(split_units(normalizer(utterance.text), normalizer.unit))
        count[normalizer.unit] += 1
    return {unit: max(1.0, total[unit] / count[unit]) for unit in count}
