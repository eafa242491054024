"""The rules that name one stretch of wrong units: what kind of difference is it.

A rule looks at a stretch of the reference and one of the hypothesis, both as units of the profile; either may be empty,
but not both. The first rule that fits gives the name (:func:`explain`). Without a rule, it is a substitution, a
deletion or an insertion. :mod:`asr_headroom.analysis.categories` cuts an alignment into such stretches.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from asr_headroom.analysis import chinese, french
from asr_headroom.analysis.formats import in_digits, is_letter, without_marks
from asr_headroom.text.detect import script_counts
from asr_headroom.text.languages import macro_language
from asr_headroom.text.units import Unit

__all__ = ["Stretch", "explain", "joined", "language_of", "unlikeness"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """What stands in the reference, and in its place in the hypothesis; one of the two may be empty.

    Attributes:
        reference: units of the profile.
        hypothesis: likewise.
        unit: of the profile.
        language: two-letter; empty where unknown.
        scripts: that the whole reference is written in.
        names: folded words that the raw reference writes with a capital inside a sentence.
    """

    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]
    unit: Unit
    language: str
    scripts: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    @property
    def left(self) -> str:
        """The reference's side as a text."""
        return joined(self.reference, self.unit)

    @property
    def right(self) -> str:
        """The hypothesis' side as a text."""
        return joined(self.hypothesis, self.unit)

    @property
    def one_to_one(self) -> bool:
        """Whether it is a single unit for a single unit."""
        return len(self.reference) == len(self.hypothesis) == 1


Rule = Callable[[Stretch], bool]


def joined(units: Sequence[str], unit: Unit) -> str:
    """Units as a text.

    >>> joined(["un", "chat"], "word"), joined(["你", "好"], "character")
    ('un chat', '你好')
    """
    return ("" if unit == "character" else " ").join(units)


def language_of(language: str | None) -> str:
    """The language whose rules apply; empty where it is unknown."""
    return macro_language(language) if language else ""


def explain(stretch: Stretch) -> str | None:
    """The name of the first rule that fits the stretch as a whole; None for none."""
    return next((name for name, rule in _rules_of(stretch.language) if rule(stretch)), None)


def unlikeness(left: str, right: str, language: str) -> float:
    """How little two units have in common, in [0, 1]: decides which of them an alignment pairs.

    >>> unlikeness("chat", "chats", "fr") < unlikeness("chat", "chien", "fr")
    True
    """
    if language == "zh":
        if chinese.are_variants(left, right):
            return 0.0
        if chinese.share_syllable(left, right):
            return 0.1
        return 1.0
    if set(_in_figures(left, language)[1]) & set(_in_figures(right, language)[1]):
        return 0.1
    return Levenshtein.normalized_distance(left.lower(), right.lower())


@functools.cache
def _rules_of(language: str) -> tuple[tuple[str, Rule], ...]:
    """The rules of a language by name, in the order in which they are tried."""
    always: tuple[tuple[str, Rule], ...] = (
        ("case", lambda s: s.left.casefold() == s.right.casefold()),
        ("punctuation", lambda s: _folded(s.left) == _folded(s.right)),
    )
    numbers: tuple[tuple[str, Rule], ...] = (("number_format", _same_numbers), ("number_value", _other_numbers))
    names: tuple[tuple[str, Rule], ...] = (("name_like", _holds_name),)
    if language == "zh":
        return (
            *always,
            ("script_variant", lambda s: chinese.are_variants(s.left, s.right)),
            *numbers,
            ("latin_insertion", _latin_inserted),
            ("language_switch", _other_script),
            ("homophone", lambda s: _all_pairs(s, chinese.share_reading)),
            ("homophone_other_tone", lambda s: _all_pairs(s, chinese.share_syllable)),
        )
    if language == "fr":
        return (
            *always,
            *numbers,
            ("language_switch", _other_script),
            ("elision", lambda s: french.differ_by_elision(s.left, s.right)),
            ("compound", _same_letters),
            ("accent_homophone", lambda s: _accent_only(s) and french.are_homophones(s.reference, s.hypothesis)),
            ("accent_only", _accent_only),
            *names,
            ("agreement_or_plural", lambda s: s.one_to_one and french.are_inflections(s.left, s.right)),
            ("homophone", lambda s: french.are_homophones(s.reference, s.hypothesis)),
        )
    return (
        *always,
        *numbers,
        ("latin_insertion", _latin_inserted),
        ("language_switch", _other_script),
        ("compound", _same_letters),
        ("accent_only", _accent_only),
        *names,
    )


def _folded(text: str) -> str:
    return without_marks(text).casefold()


def _holds_name(stretch: Stretch) -> bool:
    return any(_folded(word) in stretch.names for word in stretch.reference)


def _same_letters(stretch: Stretch) -> bool:
    left, right = ("".join(filter(is_letter, text.casefold())) for text in (stretch.left, stretch.right))
    return left == right != ""


_ACCENTED = {"LATIN", "GREEK", "CYRILLIC", "ARABIC", "HEBREW"}
"""Scripts whose marks are accents or vowel points; elsewhere a mark makes another sound, as in か and が."""


def _accent_only(stretch: Stretch) -> bool:
    if not script_counts(stretch.left).keys() <= _ACCENTED:
        return False
    left, right = (french.strip_accents(_folded(text)) for text in (stretch.left, stretch.right))
    return left == right != ""


def _all_pairs(stretch: Stretch, alike: Callable[[str, str], bool]) -> bool:
    if len(stretch.reference) != len(stretch.hypothesis):
        return False
    pairs = zip(stretch.reference, stretch.hypothesis, strict=True)
    return all(alike(left, right) for left, right in pairs if left != right)


def _latin_inserted(stretch: Stretch) -> bool:
    scripts = script_counts(stretch.right)
    return "LATIN" not in stretch.scripts and bool(stretch.scripts) and bool(scripts["LATIN"])


def _other_script(stretch: Stretch) -> bool:
    scripts = script_counts(stretch.right)
    return bool(scripts) and bool(stretch.scripts) and stretch.scripts.isdisjoint(scripts)


_DIGITS = re.compile(r"\d+")
_WORDS = re.compile(r"[^\W\d_]+")
_AROUND_NUMBERS = frozenset(
    (
        *("h", "heure", "heures", "min", "m", "km", "kmh", "kmheure", "p", "page", "pages", "e", "è", "ème", "er"),
        *("ère", "n", "numéro", "pourcent", "percent", "o", "clock", "am", "pm", "st", "nd", "rd", "th"),
        *("第", "点", "点钟", "个"),
    )
)
"""What may stand beside a number on one side only, and it is still the same number."""


def _same_numbers(stretch: Stretch) -> bool:
    """The same amounts in another spelling: "30%" for "trente pour cent", "22h" for "22 h 00"."""
    left, right = (_in_figures(text, stretch.language) for text in (stretch.left, stretch.right))
    if not (left[1] and right[1]):
        return False
    if left[0] == right[0]:
        return True
    around = {word for text in (left[0], right[0]) for word in _WORDS.findall(text)}
    return left[1] == right[1] and around <= _AROUND_NUMBERS


def _other_numbers(stretch: Stretch) -> bool:
    """A number on both sides, but not the same one."""
    amounts = [_in_figures(text, stretch.language)[1] for text in (stretch.left, stretch.right)]
    return stretch.one_to_one and all(amounts) and amounts[0] != amounts[1]


@functools.lru_cache(maxsize=65536)
def _in_figures(text: str, language: str) -> tuple[str, tuple[int, ...]]:
    """The text with its numbers in digits, without spaces, and the numbers that are not zero."""
    text = in_digits(text, language)
    return "".join(text.split()).casefold(), tuple(n for n in map(int, _DIGITS.findall(text)) if n)
