"""One versioned normaliser per language: the only text clean-up in the project.

A :class:`Normalizer` is a named list of steps. Its ``hash`` is taken from its behaviour on fixed probe texts,
so it changes exactly when results could change, and it stands in every result. ``study-fr`` and ``study-zh``
reproduce the published study bit for bit and are frozen; the others are ours (docs/normalizers.md).

Start with :func:`get_normalizer` and :func:`normalizer_for_language`.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Iterable, Mapping

from asr_headroom.errors import ConfigError, did_you_mean
from asr_headroom.text.languages import language_tag, macro_language
from asr_headroom.text.steps import Normalizer, Step
from asr_headroom.text.units import split_units, unit_name, unit_of_language

__all__ = [
    "Normalizer",
    "Step",
    "count_alarm",
    "get_normalizer",
    "mark_empty",
    "normalizer_for_language",
    "normalizer_ids",
    "word_count_change",
]

_OWN_PROFILES = frozenset({"ar", "en", "fr", "zh"})
_ALARM_CHANGE = 0.05


def get_normalizer(normalizer_id: str) -> Normalizer:
    """The normaliser with this id.

    Raises:
        ConfigError: there is none; the message lists what there is.
    """
    profiles = _profiles()
    if normalizer_id not in profiles:
        raise ConfigError(
            f"unknown normalizer '{normalizer_id}'{did_you_mean(normalizer_id, profiles)} "
            f"(there are: {', '.join(sorted(profiles))})"
        )
    return profiles[normalizer_id]


def normalizer_for_language(language: str | None) -> Normalizer:
    """Our default for a language: its own profile where there is one, else the basic profile in its unit.

    >>> [normalizer_for_language(tag).id for tag in ("fr-CA", "zh-TW", "yue", "ar-EG", "ja", "pt-BR", None)]
    ['fr', 'zh', 'zh', 'ar', 'basic-characters', 'basic', 'basic']

    Raises:
        ConfigError: this is no language.
    """
    if not language:
        return get_normalizer("basic")
    macro = macro_language(language_tag(language))
    if macro in _OWN_PROFILES:
        return get_normalizer(macro)
    return get_normalizer("basic" if unit_of_language(macro) == "word" else "basic-characters")


def normalizer_ids() -> list[str]:
    """The ids of all normalisers, sorted."""
    return sorted(_profiles())


def mark_empty(normalizer: Normalizer, placeholder: str) -> Normalizer:
    """The same normaliser, except that a text of which nothing is left becomes the placeholder.

    The study scored ``<empty>`` in place of empty texts, which adds seven characters to a CER's total; only to
    reproduce such rates is this here. Id and hash differ from the normaliser's own.

    >>> mark_empty(get_normalizer("study-fr"), "<empty>")(" … ")
    '<empty>'

    Raises:
        ConfigError: the placeholder is empty or white space.
    """
    if not placeholder.strip():
        raise ConfigError("the placeholder for empty texts is itself empty; give one such as '<empty>'")
    step = Step(f"empty as {placeholder}", lambda text: text or placeholder)
    return dataclasses.replace(
        normalizer, id=f"{normalizer.id}+empty-as-{placeholder}", steps=(*normalizer.steps, step)
    )


def word_count_change(references: Iterable[str], normalizer: Normalizer) -> float:
    """How much normalising changes the number of reference units, relative to the raw texts; 0 for no units.

    Raw words are counted that hold a letter or a digit, and raw characters that are one (with combining marks), so
    that taking punctuation off changes nothing. What is left are real changes of what rates are divided by: numbers
    written out, contractions expanded, fillers dropped, hyphens opened.
    """
    raw, normalized = _unit_counts(references, normalizer)
    return normalized / raw - 1 if raw else 0.0


def count_alarm(references: Iterable[str], normalizer: Normalizer) -> str | None:
    """A warning when normalising changes the number of reference units by more than 5 %, else None.

    The number of units is what error rates are divided by: beyond this change a rate speaks of another text.
    """
    raw, normalized = _unit_counts(references, normalizer)
    if not raw or abs(normalized - raw) <= _ALARM_CHANGE * raw:
        return None
    return (
        f"normalizer '{normalizer.id}' changes the number of reference {unit_name(normalizer.unit)} by "
        f"{100 * (normalized / raw - 1):+.1f} % ({raw:,} to {normalized:,}), so its rates do not compare with those of "
        f"the raw text; `asr-headroom normalize --normalizer {normalizer.id} TEXT` shows why"
    )


def _unit_counts(references: Iterable[str], normalizer: Normalizer) -> tuple[int, int]:
    raw = normalized = 0
    for reference in references:
        composed = unicodedata.normalize("NFKC", reference)
        if normalizer.unit == "character":
            raw += sum(unicodedata.category(character)[0] in "LMN" for character in composed)
            # A profile may keep spaces, and then scores them; they are no part of this question.
            normalized += sum(not character.isspace() for character in normalizer(reference))
        else:
            units = split_units(composed, normalizer.unit)
            raw += sum(any(character.isalnum() for character in unit) for unit in units)
            normalized += len(split_units(normalizer(reference), normalizer.unit))
    return raw, normalized


def _profiles() -> Mapping[str, Normalizer]:
    from asr_headroom.text.profiles import PROFILES

    return PROFILES
