"""One versioned normaliser per language: the only text clean-up in the project.

A :class:`Normalizer` is a named list of steps. Its ``hash`` is taken from its behaviour on fixed probe texts,
so it changes exactly when results could change, and it stands in every result. ``study-fr`` and ``study-zh``
reproduce the published study bit for bit and are frozen; ``fr``, ``zh``, ``en`` and ``basic`` are our
defaults.

Start with :func:`get_normalizer` and :func:`normalizer_for_language`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asr_headroom.errors import ConfigError, did_you_mean
from asr_headroom.text.units import Unit, primary_subtag, unit_of_language

__all__ = ["Normalizer", "Step", "get_normalizer", "normalizer_for_language", "normalizer_ids"]


@dataclass(frozen=True)
class Step:
    """One named rewrite of a text."""

    name: str
    apply: Callable[[str], str]


@dataclass(frozen=True)
class Normalizer:
    """A named, versioned list of rewrites, and the unit in which its texts are scored.

    Calling it normalises a text; :meth:`trace` shows every step.
    """

    id: str
    version: int
    unit: Unit
    steps: tuple[Step, ...]

    def __call__(self, text: str) -> str:
        """The text after all steps."""
        for step in self.steps:
            text = step.apply(text)
        return text

    def trace(self, text: str) -> list[tuple[str, str]]:
        """The text after each step that changed it, as ``(step name, text)``, the raw text first."""
        trace = [("raw", text)]
        for step in self.steps:
            changed = step.apply(trace[-1][1])
            if changed != trace[-1][1]:
                trace.append((step.name, changed))
        return trace

    @functools.cached_property
    def hash(self) -> str:
        """Eight hexadecimal digits of the SHA-256 of id, version, unit and behaviour on the probe texts."""
        behaviour = [self.id, self.version, self.unit, [self(probe) for probe in _PROBES]]
        return hashlib.sha256(json.dumps(behaviour, ensure_ascii=True).encode()).hexdigest()[:8]


def get_normalizer(normalizer_id: str) -> Normalizer:
    """The normaliser with this id.

    Raises:
        ConfigError: there is none; the message lists what there is.
    """
    if normalizer_id not in _REGISTRY:
        raise ConfigError(
            f"unknown normalizer '{normalizer_id}'{did_you_mean(normalizer_id, _REGISTRY)} "
            f"(there are: {', '.join(sorted(_REGISTRY))})"
        )
    return _REGISTRY[normalizer_id]


def normalizer_for_language(language: str | None) -> Normalizer:
    """Our default for a language: its own profile where there is one, else the basic profile in its unit."""
    own = _REGISTRY.get(primary_subtag(language)) if language else None
    if own is not None:
        return own
    return get_normalizer("basic" if unit_of_language(language) == "word" else "basic-characters")


def normalizer_ids() -> list[str]:
    """The ids of all normalisers, sorted."""
    return sorted(_REGISTRY)


_TYPOGRAPHIC_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"'})
_LIGATURES = str.maketrans({"œ": "oe", "æ": "ae"})


def _collapse(text: str) -> str:
    return " ".join(text.split())


def _substitute(pattern: str, replacement: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)
    return lambda text: compiled.sub(replacement, text)


def _strip_marks(text: str, replacement: str, keep: str = "") -> str:
    """Replaces punctuation, symbols and control characters; letters, digits and combining marks stay."""
    return "".join(
        character
        if character in keep or unicodedata.category(character)[0] in "LMNZ" or character.isspace()
        else replacement
        for character in text
    )


def _to_simplified(text: str) -> str:
    # Some variants have a simplified form that is simplified again (薴, 苧, 苎); two rounds reach them all.
    for _ in range(3):
        before, text = text, _opencc().convert(text)
        if text == before:
            break
    return text


@functools.cache
def _opencc() -> Any:
    # Loading OpenCC's tables takes ~0.1 s, so only those who score Chinese pay for it.
    from opencc import OpenCC

    return OpenCC("t2s")


# SPEC §3, in its order. The class holds an en dash, a non-breaking hyphen and a hyphen-minus.
_STUDY_FR_MARKS = r"[.!?,:;\"«»()\[\]{}—…·–‐\-]+"
_STUDY_ZH_MARKS = r"[，。！？、；：「」『』（）《》〈〉—…·　,.!?:;\"'()\[\]{}\-]"

_NFC = Step("NFC", lambda text: unicodedata.normalize("NFC", text))
_NFKC = Step("NFKC", lambda text: unicodedata.normalize("NFKC", text))
_QUOTES = Step("straight quotes", lambda text: text.translate(_TYPOGRAPHIC_QUOTES))
_LOWER = Step("lower case", str.lower)
_FOLD = Step("case folding", str.casefold)
_LOOSE_APOSTROPHE = Step("loose apostrophes to space", _substitute(r"(?:^|(?<=\s))'|'(?=\s|$)", " "))
# A run of them goes as one: taken singly, the second of two would only become loose in a second pass.
_LOOSE_APOSTROPHES = Step("loose apostrophes to space", _substitute(r"(?:^|(?<=\s))'+|'+(?=\s|$)", " "))
_SPACES = Step("collapse spaces", _collapse)
_NO_SPACES = Step("remove spaces", _substitute(r"\s+", ""))
_NO_MARKS = Step("punctuation and symbols to space", lambda text: _strip_marks(text, " ", keep="'"))
_ONLY_TEXT = Step("remove punctuation and symbols", lambda text: _strip_marks(text, ""))
# What was taken out may have stood between a letter and its accent.
_COMPOSE = Step("NFKC again", _NFKC.apply)

_REGISTRY = {
    normalizer.id: normalizer
    for normalizer in (
        Normalizer(
            "study-fr",
            1,
            "word",
            (
                _NFC,
                _QUOTES,
                _LOWER,
                _LOOSE_APOSTROPHE,
                Step("marks to space", _substitute(_STUDY_FR_MARKS, " ")),
                _SPACES,
            ),
        ),
        Normalizer("study-zh", 1, "character", (Step("remove marks", _substitute(_STUDY_ZH_MARKS, "")), _NO_SPACES)),
        Normalizer(
            "fr",
            1,
            "word",
            (
                _NFKC,
                _QUOTES,
                _LOWER,
                Step("ligatures", lambda text: text.translate(_LIGATURES)),
                _NO_MARKS,
                _LOOSE_APOSTROPHES,
                _SPACES,
                _COMPOSE,
            ),
        ),
        Normalizer(
            "zh",
            1,
            "character",
            (
                _NFKC,
                _LOWER,
                _ONLY_TEXT,
                _NO_SPACES,
                _COMPOSE,
                # Last, because OpenCC converts by phrase, and a mark inside a phrase would hide it.
                Step("traditional to simplified", _to_simplified),
            ),
        ),
        Normalizer("en", 1, "word", (_NFKC, _QUOTES, _LOWER, _NO_MARKS, _LOOSE_APOSTROPHES, _SPACES, _COMPOSE)),
        Normalizer("basic", 1, "word", (_NFKC, _QUOTES, _FOLD, _NO_MARKS, _LOOSE_APOSTROPHES, _SPACES, _COMPOSE)),
        Normalizer(
            "basic-characters",
            1,
            "character",
            (_NFKC, _FOLD, _ONLY_TEXT, _NO_SPACES, _COMPOSE),
        ),
    )
}

_PROBES = (
    "",
    "  L’été, « c’est » — l'hiver… à 7 h 30 ; 12 % ‘ok’ d' eau aujourd'hui peut-être cœur ÆON Straße İ",
    "“Non” ! (oui) [ça] {là} · a–b a‐b a-b a—b a:b «»  e\u0301te\u0301 \u00a0\u202f.",
    "《簡體》和「繁體」：我們１２３，ABC　def！？、；…—·（好）'x' [y] {z} 3.5% ~",
    "हिन्दी किताब، العَرَبِيَّة ภาษาไทยที่ ２０２６ ½ ℃ 한국어 ー・",
)
