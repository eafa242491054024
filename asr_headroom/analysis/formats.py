"""Ways in which two texts can differ without anybody having heard anything else: the rewrites that remove them.

Each rewrite is applied to reference and hypothesis alike, before the profile in which errors are counted.
:mod:`asr_headroom.analysis.causes` asks what each of them explains of an error rate.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Callable, Sequence

from rapidfuzz.distance import Levenshtein

from asr_headroom.analysis.outputs import loop_spans
from asr_headroom.text import chinese_numerals, english_numbers, french_numbers
from asr_headroom.text.languages import macro_language
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.text.steps import to_simplified
from asr_headroom.text.units import Unit

__all__ = ["Rewrite", "cut_loops", "in_digits", "is_letter", "match_spacing", "rewrites_for", "without_marks"]

Rewrite = Callable[[str], str]


def rewrites_for(language: str | None) -> dict[str, Rewrite]:
    """The rewrites of a language by cause, in the order in which they are applied together.

    Numerals stand before punctuation, which would take the comma out of 3,5. Spacing is not among them: it is a
    matter of two texts (:func:`match_spacing`).

    >>> rewrites_for("zh")["script"]("後面ＡＢ")
    '后面AB'
    """
    own = macro_language(language) if language else ""
    return {
        "script": functools.lru_cache(maxsize=65536)(functools.partial(_one_script, language=own)),
        "case": str.lower,
        "numerals": functools.lru_cache(maxsize=65536)(_numerals_of(own)),
        "punctuation": functools.lru_cache(maxsize=65536)(without_marks),
        "loops": functools.lru_cache(maxsize=65536)(cut_loops),
    }


def without_marks(text: str) -> str:
    """The text with punctuation replaced by spaces; apostrophes inside a word and number signs such as % stay.

    >>> without_marks("« L’été », c'est peut-être 30% !")
    "L'été c'est peut être 30%"
    """
    text = text.replace("’", "'").replace("‘", "'")
    last = len(text) - 1
    kept = []
    for index, character in enumerate(text):
        if character == "'":
            inside = 0 < index < last and text[index - 1].isalnum() and text[index + 1].isalnum()
            kept.append("'" if inside else " ")
        elif unicodedata.category(character)[0] in "PC" and character not in "%‰":
            kept.append(" ")
        else:
            kept.append(character)
    return " ".join("".join(kept).split())


def match_spacing(reference: Sequence[str], hypothesis: Sequence[str], unit: Unit) -> tuple[list[str], list[str]]:
    """Both sides with the same word boundaries wherever their letters are the same.

    Words: a stretch of the hypothesis with the letters of a stretch of the reference takes the reference's words, so
    that "peut être" equals "peut-être" and "qu' une" "qu'une". Characters: both sides without white space.

    >>> match_spacing(["la", "wild", "card"], ["la", "wildcard"], "word")[1]
    ['la', 'wild', 'card']
    """
    if unit == "character":
        return [c for c in reference if not c.isspace()], [c for c in hypothesis if not c.isspace()]
    left, left_starts = _letters(reference)
    right, right_starts = _letters(hypothesis)
    matched: list[str] = []
    done = 0
    for block in Levenshtein.opcodes(left, right):
        if block.tag != "equal":
            continue
        # Letters agree here. From the first to the last boundary that both sides have, the reference's words stand.
        shift = block.dest_start - block.src_start
        common = [
            at for at in range(block.src_start, block.src_end + 1) if at in left_starts and at + shift in right_starts
        ]
        for begin, end in itertools.pairwise(common):
            first, last = right_starts[begin + shift], right_starts[end + shift]
            if first < done:
                continue
            matched += hypothesis[done:first]
            matched += _in_words_of(reference[left_starts[begin] : left_starts[end]], hypothesis[first:last])
            done = last
    matched += hypothesis[done:]
    return list(reference), matched


def _in_words_of(reference: Sequence[str], hypothesis: Sequence[str]) -> list[str]:
    """The reference's words for a stretch of the same letters, with the hypothesis' own marks around it.

    A full stop or a quotation mark beside a word is punctuation, which is another cause.
    """
    before, heard, after = _without_outer_marks(hypothesis)
    _, words, _ = _without_outer_marks(reference)
    if not words or not heard:
        return list(hypothesis)
    words[0] = _edge(heard[0], 1) + words[0][len(_edge(words[0], 1)) :]
    words[-1] = words[-1][: len(words[-1]) - len(_edge(words[-1], -1))] + _edge(heard[-1], -1)
    return [*before, *words, *after]


def _without_outer_marks(words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Marks that stand alone before the words, the words, and such marks after them; hyphens are no marks here."""
    spoken = [i for i, word in enumerate(words) if any(map(is_letter, word)) or set(word) <= set(_JOINTS)]
    first, last = (spoken[0], spoken[-1] + 1) if spoken else (len(words), len(words))
    return list(words[:first]), list(words[first:last]), list(words[last:])


def _edge(word: str, direction: int) -> str:
    """The marks at the beginning (1) or the end (-1) of a word; none of a word that is all marks."""
    marks = "".join(itertools.takewhile(lambda character: not is_letter(character), word[::direction]))
    return "" if len(marks) == len(word) else marks[::direction]


def cut_loops(text: str) -> str:
    """The text with each repetition loop cut down to its first round.

    >>> cut_loops("il dit " + "et puis " * 6 + "non")
    'il dit et puis non'
    """
    spans = loop_spans(text)
    if not spans:
        return text
    text = " ".join(text.split())
    kept, done = [], 0
    for start, end in loop_spans(text):
        kept += [text[done:start], _first_round(text[start:end])]
        done = end
    return "".join([*kept, text[done:]])


def _first_round(looped: str) -> str:
    """One round of a text that begins with at least four; what follows the loop is looked at anew."""
    spaced = looped + " "
    for period in range(1, len(spaced) // _ROUNDS + 1):
        if spaced.startswith(spaced[:period] * _ROUNDS):
            end = next((i for i in range(period, len(spaced)) if spaced[i] != spaced[i - period]), len(spaced))
            rest = looped[end:]
            return looped[:period].rstrip() + (cut_loops(rest) if rest.strip() else "")
    return looped


_JOINTS = "-‐‑–'’"
"""What may join two words, or stand between them."""
_ROUNDS = 4
"""Repetitions that make a loop, as in :func:`asr_headroom.analysis.outputs.loop_spans`."""


def _letters(words: Sequence[str]) -> tuple[str, dict[int, int]]:
    """All letters and digits of the words as one text, and where in it which word starts (the end included)."""
    text: list[str] = []
    starts: dict[int, int] = {}
    for index, word in enumerate(words):
        # The first of words without letters keeps the place.
        starts.setdefault(len(text), index)
        text += filter(is_letter, word)
    starts.setdefault(len(text), len(words))
    return "".join(text), starts


def is_letter(character: str) -> bool:
    """Letters and digits; vowel signs, which in many scripts tell words apart; and signs that are read aloud.

    >>> is_letter("é"), is_letter("%"), is_letter(".")
    (True, True, False)
    """
    return character.isalnum() or character in "%‰" or unicodedata.category(character)[0] in "MS"


def _one_script(text: str, language: str) -> str:
    """Compatibility forms as plain ones, ligatures apart, and traditional characters as simplified ones."""
    text = unicodedata.normalize("NFKC", text).translate(_LIGATURES)
    if language == "ar":
        return _plain_arabic(text)
    return to_simplified(text) if language == "zh" else text


def _plain_arabic(text: str) -> str:
    """Without vowel marks, with one form of alef, ya and ta marbuta, as the Arabic profile has it."""
    for step in get_normalizer("ar").steps:
        if step.name in ("vowel marks and tatweel off", "alef, ya and ta marbuta in one form"):
            text = step.apply(text)
    return text


_LIGATURES = str.maketrans({"œ": "oe", "æ": "ae", "Œ": "OE", "Æ": "AE"})


def in_digits(text: str, language: str) -> str:
    """The text with the numbers of a language in Arabic digits; unchanged where its number words are not known.

    >>> in_digits("trente pour cent", "fr"), in_digits("三十个", "zh")
    ('30 pour cent', '30个')
    """
    if language == "zh":
        return chinese_numerals.write_digits(chinese_numerals.spell_number_symbols(text))
    write = _NUMBERS.get(language)
    return _write_numbers(text, write) if write else text


def _numerals_of(language: str) -> Rewrite:
    if language == "zh":
        # Numerals, which is how Chinese transcripts are written: a number keeps about as many characters as it had.
        return lambda text: chinese_numerals.write_numerals(chinese_numerals.spell_number_symbols(text))
    return functools.partial(in_digits, language=language)


_NUMBERS: dict[str, Rewrite] = {
    "en": english_numbers.write_numbers,
    "fr": lambda text: french_numbers.write_numbers(french_numbers.spell_number_symbols(text)),
}
"""For each language what writes its spoken numbers in digits; it expects lower case."""
_BETWEEN_NUMBERS = re.compile(r"([;!?()\[\]{}«»\"“”…\n]+|:(?!\d)|[.,](?!\d))")


def _write_numbers(text: str, write: Rewrite) -> str:
    """Numbers in digits, everything else as it was: case and punctuation are other causes."""
    parts = _BETWEEN_NUMBERS.split(text)
    parts[::2] = [_write_in(part, write) for part in parts[::2]]
    return "".join(parts)


def _write_in(part: str, write: Rewrite) -> str:
    words = [piece for word in part.split() for piece in _number_words(word, write)]
    lowered = [word.lower() for word in words]
    written = write(" ".join(lowered)).split()
    if written == lowered:
        return part
    for index, word in enumerate(written):
        if word in lowered:
            at = lowered.index(word)
            written[index] = words[at]
            del words[: at + 1], lowered[: at + 1]
    before, after = (" " if edge.isspace() else "" for edge in (part[:1], part[-1:]))
    return before + " ".join(written) + after


def _number_words(word: str, write: Rewrite) -> list[str]:
    """A hyphenated number as its words; any other word as it is."""
    pieces = word.split("-")
    spoken = len(pieces) > 1 and write(" ".join(pieces).lower())
    return pieces if spoken and spoken[0].isdigit() and all(pieces) else [word]
