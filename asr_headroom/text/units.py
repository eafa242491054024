"""Words or characters: what an error is counted in.

A *unit* is chosen by the normaliser of a language: French is scored in words, Chinese in characters, a mixture in
mixed units. Error rates in words and in characters are always available; the unit says which one is the headline.

A *character* is a Unicode code point of the normalised (NFKC) text, not a grapheme cluster: a wrong Thai tone mark or
Hindi vowel sign is one error, and the right letter under it stays right. This is what published CERs count.
"""

from __future__ import annotations

import re
from typing import Literal

from asr_headroom.text.languages import macro_language, primary_subtag

__all__ = [
    "UNSPACED_LANGUAGES",
    "Unit",
    "isolate_unspaced",
    "primary_subtag",
    "rate_name",
    "split_units",
    "unit_name",
    "unit_of_language",
]

Unit = Literal["word", "character", "mixed"]

UNSPACED_LANGUAGES = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km", "bo"})
"""Languages written without spaces between words: scored in characters, decoded without a leading space."""

# Han with its iteration mark and numerals, Kana, Bopomofo, Thai, Lao, Tibetan, Burmese, Khmer.
_UNSPACED_SCRIPTS = re.compile(
    "([\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\u3005-\u3007\u3021-\u3029\u3031-\u3035"
    "\u303b\u3041-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9fe\uaa60-\uaa7f\uf900-\ufaff"
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff])"
)


def unit_of_language(language: str | None) -> Unit:
    """The unit in which a language is usually scored.

    >>> unit_of_language("fr"), unit_of_language("zh-CN")
    ('word', 'character')
    """
    return "character" if language and macro_language(language) in UNSPACED_LANGUAGES else "word"


def isolate_unspaced(text: str) -> str:
    """Puts spaces around every character of a script that is written without spaces; these are *mixed* units.

    >>> isolate_unspaced("我用 python写code")
    '我 用 python 写 code'
    """
    return " ".join(_UNSPACED_SCRIPTS.sub(r" \1 ", text).split())


def split_units(text: str, unit: Unit) -> list[str]:
    """A normalised text as a list of words, or of characters (white space counts as the normaliser left it).

    Mixed units are those of :func:`isolate_unspaced`, which the mixed profile has already applied.

    >>> split_units("un chat", "word"), split_units("你好", "character"), split_units("ok 你好", "mixed")
    (['un', 'chat'], ['你', '好'], ['ok', '你', '好'])
    """
    if unit == "character":
        return list(text)
    return text.split() if unit == "word" else isolate_unspaced(text).split()


def rate_name(unit: Unit) -> str:
    """``WER``, ``CER``, or ``mixed-unit WER`` (MER is taken: it is the match error rate)."""
    return {"word": "WER", "character": "CER", "mixed": "mixed-unit WER"}[unit]


def unit_name(unit: Unit, *, plural: bool = True) -> str:
    """What a sentence calls the unit.

    >>> unit_name("word"), unit_name("mixed", plural=False)
    ('words', 'mixed unit')
    """
    return ("mixed unit" if unit == "mixed" else unit) + ("s" if plural else "")
