"""Chinese: are two characters one in two scripts, or do they sound alike.

Readings come from pypinyin, which is imported when the first one is asked for. Characters with several readings sound
alike when any two readings agree: a transcript says nothing about which one was spoken.
"""

from __future__ import annotations

import functools
import unicodedata

from asr_headroom.text.normalize import get_normalizer

__all__ = ["are_variants", "is_han", "readings", "share_reading", "share_syllable"]


def is_han(character: str) -> bool:
    """Whether a character is a Chinese one.

    >>> is_han("好"), is_han("a"), is_han("")
    (True, False, False)
    """
    return len(character) == 1 and unicodedata.name(character, "").startswith("CJK")


def are_variants(left: str, right: str) -> bool:
    """Whether two different texts are the same in simplified characters of normal width.

    >>> are_variants("後面", "后面"), are_variants("后", "后")
    (True, False)
    """
    return left != right and bool(left) and _simplified(left) == _simplified(right)


@functools.lru_cache(maxsize=65536)
def readings(character: str) -> frozenset[str]:
    """All readings of one Chinese character in pinyin with tone numbers; empty for anything else.

    >>> sorted(readings("长"))
    ['chang2', 'zhang3']
    """
    if not is_han(character):
        return frozenset()
    from pypinyin import Style, pinyin

    return frozenset(pinyin(character, style=Style.TONE3, heteronym=True, neutral_tone_with_five=True)[0])


def share_reading(left: str, right: str) -> bool:
    """Whether two different characters can be the same syllable in the same tone.

    >>> share_reading("她", "他"), share_reading("妈", "马"), share_reading("他", "他")
    (True, False, False)
    """
    return left != right and not readings(left).isdisjoint(readings(right))


def share_syllable(left: str, right: str) -> bool:
    """Whether two different characters can be the same syllable, whatever the tone.

    >>> share_syllable("妈", "马"), share_syllable("妈", "爸")
    (True, False)
    """
    return left != right and not _syllables(left).isdisjoint(_syllables(right))


@functools.lru_cache(maxsize=65536)
def _syllables(character: str) -> frozenset[str]:
    return frozenset(reading.rstrip("12345") for reading in readings(character))


@functools.lru_cache(maxsize=65536)
def _simplified(text: str) -> str:
    return get_normalizer("zh")(text)
