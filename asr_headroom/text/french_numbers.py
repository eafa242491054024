"""French numbers in one form: digits for what is counted, words for the symbols around them.

``trente pour cent`` and ``30 %`` → ``30 pour cent``; ``22 h 00`` and ``vingt-deux heures`` → ``22 heures``;
``3,5`` and ``trois virgule cinq`` → ``3 virgule 5``; ``10 000`` and ``dix mille`` → ``10000``; ``XXe siècle`` and
``vingtième siècle`` → ``20e siècle``. *Un* and *une* are articles as often as numbers and stay; ``1`` becomes ``un``.
Whole millions stay words (``3 millions``). Part of the profile ``fr-digits``; nothing else calls it.

The grammar is ours: the libraries that parse French numbers leave small ones in words, which is right for reading and
wrong for comparing. Tests check it against num2words over the whole range.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["spell_number_symbols", "write_numbers"]

_ONE_NAMES = "un deux trois quatre cinq six sept huit neuf"
_TEEN_NAMES = "dix onze douze treize quatorze quinze seize"
_ONES = {name: value for value, name in enumerate(_ONE_NAMES.split(), start=1)} | {"une": 1}
_TEENS = {name: value for value, name in enumerate(_TEEN_NAMES.split(), start=10)}
_TENS = {
    "vingt": 20, "trente": 30, "quarante": 40, "cinquante": 50, "soixante": 60, "septante": 70, "huitante": 80,
    "octante": 80, "nonante": 90,
}  # fmt: skip
_SCALES = {
    "mille": 10**3, "million": 10**6, "millions": 10**6, "milliard": 10**9, "milliards": 10**9,
}  # fmt: skip
_ZERO = {"zéro": 0}
_IRREGULAR_ORDINALS = {"quatrième": "quatre", "cinquième": "cinq", "neuvième": "neuf", "unième": "un"}
_ORDINALS = {
    name.removesuffix("e") + "ième": name
    for name in (*_ONES, *_TEENS, *_TENS, "cent", "mille")
    if name not in ("un", "une", "quatre", "cinq", "neuf")
} | _IRREGULAR_ORDINALS
_ORDINALS |= {f"{ordinal}s": cardinal for ordinal, cardinal in _ORDINALS.items()}
_NUMBER_WORDS = {*_ZERO, *_ONES, *_TEENS, *_TENS, *_SCALES, "cent", "cents", *_ORDINALS} - {"un", "une"}

_HAS_DIGIT = re.compile(r"\d")
_GROUPS = re.compile(r"(?<![\d.,])(?<!\d )[1-9]\d{0,2}(?:[ .]\d{3})+(?!\d|[.,]\d{3})")
_CLOCK = re.compile(r"\b(\d{1,2}) ?(?:h|heures?)(?: ?(\d{2})(?: ?min(?:utes)?)?)?\b")
_COLON_CLOCK = re.compile(r"(?<![\d:.,])(\d{1,2}):([0-5]\d)(?!\d|[:.,]\d)")
_ROMAN_CENTURY = re.compile(r"\b([ivx]+)(?:e|ème|è)(?=(?: et (?:le |au )?[ivx]+(?:e|ème|è))? siècles?\b)")
_SYMBOLS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<=\d)[,.](?=\d)", " virgule "),
        (r"(?<=\d) ?%", " pour cent "),
        (r"(?<=\d) ?€", " euros "),
        (r"(?<=\d) ?\$", " dollars "),
        (r"\bpourcents?\b", "pour cent"),
        (r"\b1ers?\b", "premier"),
        (r"\b1(?:re|ère|ere)s?\b", "première"),
        (r"\b(\d+)(?:ième|ème|eme|è|e|nde?)s?\b", r"\1e"),
    )
]


def spell_number_symbols(text: str) -> str:
    """Writes out what stands for words in and around digits; the text is lower case and still has its marks.

    >>> spell_number_symbols("à 22h00, 3,5 % de 10 000 €")
    'à 22 heures, 3 virgule 5 pour cent  de 10000 euros '
    """
    text = _ROMAN_CENTURY.sub(_arabic_century, text)
    if _HAS_DIGIT.search(text):
        text = _GROUPS.sub(lambda match: re.sub(r"\D", "", match[0]), text)
        text = _COLON_CLOCK.sub(_clock, _CLOCK.sub(_clock, text))
    for pattern, replacement in _SYMBOLS:
        text = pattern.sub(replacement, text)
    return text


def _clock(match: re.Match[str]) -> str:
    hours, minutes = int(match[1]), match[2]
    spoken = "une heure" if hours == 1 else f"{hours} heures"
    return spoken if minutes in (None, "00") else f"{spoken} {int(minutes)}"


def _arabic_century(match: re.Match[str]) -> str:
    values = [{"i": 1, "v": 5, "x": 10}[letter] for letter in match[1]]
    signed = [-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True)]
    return f"{sum(signed)}e"


def write_numbers(text: str) -> str:
    """The text with its French number words in digits; lower case, without marks, words separated by spaces.

    >>> write_numbers("deux mille vingt quatre est la vingt et unième de quatre vingts")
    '2024 est la 21e de 80'
    """
    words = text.split()
    if not _HAS_DIGIT.search(text) and _NUMBER_WORDS.isdisjoint(words):
        return text
    written: list[str] = []
    position = 0
    while position < len(words):
        number = _read_number(words, position)
        if number is None or _is_percent(words, position, written):
            written.append(words[position])
            position += 1
            continue
        form = _form(number, words[position])
        following = words[number.end] if number.end < len(words) else ""
        spoken = words[position : number.end]
        written += spoken if _would_join(written, form, following) else form.split()
        position = number.end
    return " ".join(written)


class _Number(NamedTuple):
    value: int
    end: int
    """Position after its last word."""
    is_ordinal: bool = False


def _form(number: _Number, first_word: str) -> str:
    if number.is_ordinal:
        return f"{number.value}e"
    if number.value == 1:
        return first_word if first_word in _ONES else "un"
    for scale, name in ((10**9, "milliards"), (10**6, "millions")):
        if number.value and number.value % scale == 0:
            return f"{number.value // scale} {name}"
    return str(number.value)


def _would_join(written: list[str], form: str, following: str) -> bool:
    # "deux, trois cents" must not become "2 300", which is how French writes 2300.
    before = written[-1] if written else ""
    return (_is_group(form) and _is_head(before)) or (_is_head(form) and _is_group(following))


def _is_head(word: str) -> bool:
    return len(word) <= 3 and word.isdecimal()


def _is_group(word: str) -> bool:
    return len(word) == 3 and word.isdecimal()


def _is_percent(words: list[str], position: int, written: list[str]) -> bool:
    """True for the *cent* of *pour cent* after a number."""
    return (
        words[position] == "cent"
        and len(written) > 1
        and written[-1] == "pour"
        and (written[-2].isdecimal() or written[-2] in _ONES)
    )


def _read_number(words: list[str], start: int) -> _Number | None:
    """The longest number that starts at this word, or None."""
    word = words[start]
    if word not in _NUMBER_WORDS and word not in _ONES and not word.isdecimal():
        return None
    # A number ends with its first ordinal word.
    last = next((i for i in range(start, min(start + 16, len(words))) if words[i] in _ORDINALS), None)
    if last is not None:
        words = [*words[:last], _ORDINALS[words[last]]]
    number = _scaled(words, start)
    if number is not None and last is not None and number.end == last + 1:
        return number._replace(is_ordinal=True)
    return number


def _scaled(words: list[str], start: int) -> _Number | None:
    if words[start] in _ZERO:
        return _Number(0, start + 1)
    total, position, limit = 0, start, 10**12
    while position < len(words):
        is_bare_thousand = words[position] == "mille" and limit > 1000
        section = _Number(1, position) if is_bare_thousand else _section(words, position)
        if section is None:
            break
        scale = _SCALES.get(words[section.end], 0) if section.end < len(words) else 0
        # "Un mille" is no number: nobody counts one thousand so, and a mille-feuille is a cake.
        is_article = scale == 1000 and section.value == 1 and not is_bare_thousand
        if scale == 0:
            return _Number(total + section.value, section.end)
        if scale >= limit or is_article:
            # Another number begins: "trois millions, deux millions".
            return _Number(total, position) if position > start else section
        total, position, limit = total + section.value * scale, section.end + 1, scale
    return _Number(total, position) if position > start else _digits(words, start)


def _digits(words: list[str], start: int) -> _Number | None:
    word = words[start]
    is_plain = word.isascii() and word.isdecimal() and len(word) <= 15 and not word.startswith("0")
    return _Number(int(word), start + 1) if is_plain else None


def _section(words: list[str], start: int) -> _Number | None:
    """A number below 1000; in digits only where a scale follows (``200 mille``)."""
    word = words[start]
    if word.isdecimal():
        number = _digits(words, start)
        scaled = start + 1 < len(words) and words[start + 1] in _SCALES
        return number if number and number.value < 1000 and scaled else None
    hundreds = _Number(1, start) if word == "cent" else _below_hundred(words, start)
    if hundreds is None or hundreds.end == len(words):
        return hundreds
    counted = hundreds.end == start or 2 <= hundreds.value <= 9 or 11 <= hundreds.value <= 19
    if not counted or words[hundreds.end] not in ("cent", "cents"):
        return hundreds
    rest = _below_hundred(words, hundreds.end + 1)
    if rest is None:
        return _Number(100 * hundreds.value, hundreds.end + 1)
    return _Number(100 * hundreds.value + rest.value, rest.end)


def _below_hundred(words: list[str], start: int) -> _Number | None:
    word = words[start] if start < len(words) else ""
    following = words[start + 1] if start + 1 < len(words) else ""
    if word == "quatre" and following in ("vingt", "vingts"):
        return _with_rest(words, start + 2, 80, up_to=19)
    if word in _TENS:
        return _with_rest(words, start + 1, _TENS[word], up_to=19 if word == "soixante" else 9)
    return _below_twenty(words, start)


def _with_rest(words: list[str], start: int, tens: int, up_to: int) -> _Number:
    has_and = start < len(words) and words[start] == "et"
    rest = _below_twenty(words, start + has_and)
    fits = rest is not None and rest.value <= up_to and (not has_and or rest.value in (1, 11))
    return _Number(tens + rest.value, rest.end) if rest is not None and fits else _Number(tens, start)


def _below_twenty(words: list[str], start: int) -> _Number | None:
    word = words[start] if start < len(words) else ""
    if word == "dix" and start + 1 < len(words) and _ONES.get(words[start + 1], 0) >= 7:
        return _Number(10 + _ONES[words[start + 1]], start + 2)
    value = _ONES.get(word) or _TEENS.get(word)
    return _Number(value, start + 1) if value else None
