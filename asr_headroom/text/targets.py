"""The written form a model is trained to produce. Explicit, because a model learns whatever the transcripts hold.

This is not scoring: scores are taken under a normaliser. It is for corpora whose transcripts are written in a way
nobody wants back: all upper case without punctuation, or with marks that are there for layout and not for reading.
:func:`stray_marks` finds such marks, the form ``clean`` takes them away.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from asr_headroom.text.steps import CharacterTable, Step, collapse_spaces, run_steps, substitute

__all__ = ["CLEAN_STEPS", "StrayMarks", "TargetForm", "stray_marks", "write_target"]

TargetForm = Literal["as-is", "clean", "lower", "sentence"]

_CLOSING = "\"'”’»›)]」』"
"""What may stand after a full stop."""
_FULL_STOPS = tuple(".!?…。！？．｡؟۔।॥።")
"""Those of Chinese, Arabic, Hindi and Amharic too."""
_JOINERS = "\u200c\u200d"
"""They decide how letters are written in Persian and in Indic scripts, so they are text."""
_TAG = r"</?[A-Za-z][A-Za-z0-9_|/-]*>|<\|[^<>|]*\|>|\[(?:noise|laughter|unk|unintelligible|inaudible|music)\]"


def _visible(character: str) -> str:
    """Odd spaces as a plain one, invisible characters as nothing."""
    category = unicodedata.category(character)
    if category == "Zs" or character in "\t\n\r\u200b\u2028\u2029":
        return " "
    if category in ("Cc", "Cf") and character not in _JOINERS:
        return ""
    return character


_visible_table = CharacterTable(_visible)

_ENTITY = r"&(?:#\d{1,7}|#x[0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,8});"
"""With its semicolon: HTML reads ``R&notes`` as an entity too, and nobody means that."""

CLEAN_STEPS = (
    Step("html entities", lambda text: re.sub(_ENTITY, lambda match: html.unescape(match[0]), text)),
    Step("tags", substitute(rf"(?i:{_TAG})", " ")),
    Step("invisible characters", lambda text: text.translate(_visible_table)),
    # What stood in quotation marks stays. German and Danish point them inwards, Swedish to the right, without a space
    # inside, so that the space beside them parts words.
    Step("guillemets pointing inwards", substitute(r"(?<!\S)[»›]+(?=\w)|(?<=[\w.,!?…])[«‹]+(?!\w)", "")),
    # Of all others the space that French puts inside goes with them, unless it is all that parts two words.
    Step("guillemets between letters", substitute(r"(?<=\w)(?:[«‹]+\s*|\s*[»›]+)(?=\w)", " ")),
    Step("guillemets", substitute(r"[«‹]\s*|\s*[»›]", "")),
    Step("spaces", collapse_spaces),
)
"""What ``clean`` does, in order."""


def write_target(text: str, form: TargetForm, language: str | None = None) -> str:
    """A transcript in the form wanted.

    ``as-is`` changes nothing; ``clean`` takes away guillemets, markup and invisible characters and writes plain spaces;
    ``lower`` writes lower case; ``sentence`` writes lower case with a capital first letter, a full stop where the text
    ends in none, and in English, which a text of unknown language is taken for, "I".

    >>> write_target("WHAT CAN I DO", "sentence")
    'What can I do.'
    >>> write_target("«\u202fQuoi\u202f», dit-il &amp; rit <unk>", "clean")
    'Quoi, dit-il & rit'
    """
    if form == "as-is":
        return text
    if form == "clean":
        return run_steps(CLEAN_STEPS, text)
    text = text.strip().lower()
    if form == "lower" or not text:
        return text
    if language is None or re.match(r"en\b", language, re.IGNORECASE):
        text = re.sub(r"\bi\b", "I", text)
    text = text[0].upper() + text[1:]
    return text if text.rstrip(_CLOSING)[-1:] in _FULL_STOPS else text + "."


@dataclass
class StrayMarks:
    """Transcripts that hold one kind of mark.

    Attributes:
        count: of the transcripts.
        example: the first of them.
        cleaned: the form ``clean`` takes the marks away.
    """

    count: int = 0
    example: str = ""
    cleaned: bool = True


def stray_marks(texts: Iterable[str]) -> dict[str, StrayMarks]:
    """What transcripts hold that a model had better not learn to write, by kind; kinds that do not occur are left out.

    >>> {kind: marks.count for kind, marks in stray_marks(["« Oui »", "non", "à&nbsp;22h"]).items()}
    {'guillemets': 1, 'html entities': 1, 'digits in a word': 1}
    """
    found: dict[str, StrayMarks] = {}
    for text in texts:
        for kind, holds in _KINDS.items():
            if holds(text):
                marks = found.setdefault(kind, StrayMarks(example=text, cleaned=kind != _DIGITS))
                marks.count += 1
    return found


_DIGITS = "digits in a word"
"""No mark but a choice: ``22h`` and ``3ème`` in some transcripts, ``vingt-deux heures`` in others."""

_LETTER = "[^\\W\\d_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
"""Of scripts that set words apart; in the others, and in Korean with its counters, digits touch letters anyway."""

_KINDS: dict[str, Callable[[str], object]] = {
    "guillemets": re.compile("[«»‹›]").search,
    "odd spaces": re.compile("[\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f]").search,
    "invisible characters": re.compile(
        "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\ufeff]"
    ).search,
    "html entities": re.compile(_ENTITY).search,
    "tags": re.compile(_TAG, re.IGNORECASE).search,
    _DIGITS: re.compile(rf"\d{_LETTER}|{_LETTER}\d").search,
}
