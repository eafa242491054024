"""What is odd about an output, from its text alone: empty, looping, in another script or in another language.

Files of predictions carry no flags of a decoder, so these are rules on text. Each compares with the reference, so that
a French sentence about *The New York Times* is not English and "ha ha ha ha" is a loop only where nobody said it. More
than a few per cent of any of them is a fault of the harness until shown otherwise: a prompt, a language, a window.

Start with :func:`describe_output`.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from asr_headroom.models.decoding import LoopGuard
from asr_headroom.text.detect import foreign_language, has_content, script_counts, scripts_of_language
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.text.units import primary_subtag

__all__ = ["OutputFlags", "describe_output", "loop_spans"]

_WORD_LOOP = LoopGuard(min_tokens=8)
"""The guard's rule on words: four repetitions and eight words, which are about the guard's sixteen tokens."""
_CHARACTER_LOOP = LoopGuard()
"""The guard's rule on the characters of a stretch without spaces, for writing that has none, and for runs of marks."""
_LETTERS_PER_CHARACTER = 3
"""How many letters of an alphabet a Chinese character counts for, when shares of scripts are compared."""
_MAX_FOREIGN_SHARE = 0.5
"""Share of letters in scripts that the reference is not written in, above which an output is in the wrong script."""


class OutputFlags(NamedTuple):
    """What is odd about one output.

    Attributes:
        empty: something was said and the output holds no letter or digit.
        looped: a stretch is repeated that the reference does not repeat.
        wrong_script: most letters are in a script that the reference does not use.
        wrong_language: in a script that the language is not written in, or by its function words another language.
        script_variant: Chinese: holds traditional characters where the reference is simplified.
    """

    empty: bool
    looped: bool
    wrong_script: bool
    wrong_language: bool
    script_variant: bool = False


# Score, warnings and causes all ask about the same outputs; a page of ten systems would ask four times.
@functools.lru_cache(maxsize=1 << 14)
def describe_output(reference: str, hypothesis: str, language: str | None) -> OutputFlags:
    """What is odd about a raw output.

    Args:
        reference: raw transcript.
        hypothesis: raw output.
        language: BCP-47 tag of what was spoken; None judges by the reference alone.

    >>> describe_output("il fait beau", "it is the best of the days that we had", "fr").wrong_language
    True
    """
    if not has_content(hypothesis):
        return OutputFlags(has_content(reference), _loops(reference, hypothesis), False, False)
    wrong_script = _is_other_script(reference, hypothesis)
    return OutputFlags(
        empty=False,
        looped=_loops(reference, hypothesis),
        wrong_script=wrong_script,
        wrong_language=language is not None and _is_other_language(reference, hypothesis, language),
        script_variant=language is not None and _is_script_variant(reference, hypothesis, language),
    )


def loop_spans(text: str) -> list[tuple[int, int]]:
    """Where a text repeats itself: start and end of each stretch, all its repetitions included, in characters.

    Words: one pattern of up to twelve words, at least four times in a row, at least eight words in all. Stretches
    without a space: one pattern of up to twelve characters, at least four times, at least sixteen characters.

    >>> text = "il dit que non " + "et puis " * 6
    >>> [text[start:end] for start, end in loop_spans(text)]
    ['et puis et puis et puis et puis et puis et puis']
    """
    words, offsets = _words_with_offsets(text)
    spans = [(offsets[i], offsets[j - 1] + len(words[j - 1])) for i, j in _repeated(words, _WORD_LOOP)]
    for word, offset in zip(words, offsets, strict=True):
        if len(word) >= _CHARACTER_LOOP.min_tokens:
            spans += [(offset + i, offset + j) for i, j in _repeated(word, _CHARACTER_LOOP)]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _loops(reference: str, hypothesis: str) -> bool:
    spans = loop_spans(hypothesis)
    return bool(spans) and sum(j - i for i, j in spans) > sum(j - i for i, j in loop_spans(reference))


def _words_with_offsets(text: str) -> tuple[list[str], list[int]]:
    words, offsets, position = text.split(), [], 0
    for word in words:
        position = text.index(word, position)
        offsets.append(position)
        position += len(word)
    return words, offsets


def _repeated(units: Sequence[str], rule: LoopGuard) -> list[tuple[int, int]]:
    """Maximal stretches of ``units`` that are one pattern repeated, as start and end; shortest patterns first."""
    # A stretch of n units in r repetitions holds at most n / r different ones: most texts stop here.
    if len(units) - len(set(units)) < rule.min_tokens - max(1, rule.min_tokens // rule.repeats):
        return []
    spans: list[tuple[int, int]] = []
    for period in range(1, min(rule.max_period, len(units) // rule.repeats) + 1):
        needed = max(rule.repeats * period, rule.min_tokens)
        start = 0
        for position in range(period, len(units) + 1):
            if position < len(units) and units[position] == units[position - period]:
                continue
            if position - start >= needed and not any(i <= start and position <= j for i, j in spans):
                spans.append((start, position))
            start = position - period + 1
    return spans


def _weighted_scripts(text: str) -> Counter[str]:
    counts = script_counts(text)
    if "CJK" in counts:
        counts["CJK"] *= _LETTERS_PER_CHARACTER
    return counts


def _is_other_script(reference: str, hypothesis: str) -> bool:
    said, heard = _weighted_scripts(reference), _weighted_scripts(hypothesis)
    if not said or not heard:
        return False
    # Japanese is written in three scripts, which one sentence need not all use.
    used = {script for script in said if said[script] >= 0.1 * said.total()}
    if used & {"HIRAGANA", "KATAKANA"}:
        used |= {"HIRAGANA", "KATAKANA", "CJK"}
    return sum(number for script, number in heard.items() if script not in used) > _MAX_FOREIGN_SHARE * heard.total()


def _is_other_language(reference: str, hypothesis: str, language: str) -> bool:
    own = scripts_of_language(language)
    said, heard = _weighted_scripts(reference), _weighted_scripts(hypothesis)
    if not own or not heard:
        return False
    foreign = sum(number for script, number in heard.items() if script not in own)
    if foreign > _MAX_FOREIGN_SHARE * heard.total():
        # Not where the transcript itself is: an English title in a Chinese test set.
        return sum(said[script] for script in own) > _MAX_FOREIGN_SHARE * said.total()
    found = foreign_language(hypothesis, language)
    return found is not None and foreign_language(reference, language) != found


def _is_script_variant(reference: str, hypothesis: str, language: str) -> bool:
    if primary_subtag(language) != "zh" or hypothesis.isascii():
        return False
    simplify = _simplify()
    return simplify(hypothesis) != hypothesis and simplify(reference) == reference


@functools.cache
def _simplify() -> Any:
    """The zh normaliser's own conversion, so that the project has one."""
    return next(step.apply for step in get_normalizer("zh").steps if step.name == "traditional to simplified")
