"""Words or characters: what an error is counted in.

A *unit* is chosen by the normaliser of a language: French is scored in words, Chinese in characters. Both
error rates are always available; the unit says which one is the headline.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["UNSPACED_LANGUAGES", "Unit", "primary_subtag", "rate_name", "split_units", "unit_of_language"]

Unit = Literal["word", "character"]

UNSPACED_LANGUAGES = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km", "bo"})
"""Languages written without spaces between words: scored in characters, decoded without a leading space."""


def primary_subtag(language: str) -> str:
    """The language of a BCP-47 tag without region or script, in lower case.

    >>> primary_subtag("zh-CN"), primary_subtag("fr_FR")
    ('zh', 'fr')
    """
    return language.replace("_", "-").split("-", 1)[0].lower()


def unit_of_language(language: str | None) -> Unit:
    """The unit in which a language is usually scored.

    >>> unit_of_language("fr"), unit_of_language("zh-CN")
    ('word', 'character')
    """
    return "character" if language and primary_subtag(language) in UNSPACED_LANGUAGES else "word"


def split_units(text: str, unit: Unit) -> list[str]:
    """A normalised text as a list of words, or of characters (white space counts as the normaliser left it).

    >>> split_units("un chat", "word"), split_units("你好", "character")
    (['un', 'chat'], ['你', '好'])
    """
    return text.split() if unit == "word" else list(text)


def rate_name(unit: Unit) -> str:
    """``WER`` or ``CER``."""
    return "WER" if unit == "word" else "CER"
