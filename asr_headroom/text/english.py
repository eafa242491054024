"""Whisper's rules for English text (MIT, see WHISPER_LICENSE): contractions, titles, fillers, numbers, spelling.

A port instead of a dependency: the packages that carry these rules bring torch's neighbourhood or four further
packages with them, and the core must load in a moment. Tests compare every step's result with the transformers
library's copy. :data:`WHISPER_STEPS` are the rules in order; ``en`` repeats them until nothing changes, because they
are not idempotent (``ten 1`` → ``10 one`` → ``11``).
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from pathlib import Path

from asr_headroom.text.english_numbers import write_numbers
from asr_headroom.text.steps import CharacterTable, Step

__all__ = ["WHISPER_STEPS"]

_BRACKETS = re.compile(r"[<\[][^>\]]*[>\]]")
_PARENTHESES = re.compile(r"\(([^)]+?)\)")
_FILLERS = re.compile(r"\b(hmm|mm|mhm|mmm|uh|um)\b")

_CONTRACTIONS = {
    "won't": "will not", "can't": "can not", "let's": "let us", "ain't": "aint", "y'all": "you all",
    "wanna": "want to", "gotta": "got to", "gonna": "going to", "i'ma": "i am going to", "imma": "i am going to",
    "woulda": "would have", "coulda": "could have", "shoulda": "should have", "ma'am": "madam",
}  # fmt: skip
_TITLES = {
    "mr": "mister ", "mrs": "missus ", "st": "saint ", "dr": "doctor ", "prof": "professor ", "capt": "captain ",
    "gov": "governor ", "ald": "alderman ", "gen": "general ", "sen": "senator ", "rep": "representative ",
    "pres": "president ", "rev": "reverend ", "hon": "honorable ", "asst": "assistant ", "assoc": "associate ",
    "lt": "lieutenant ", "col": "colonel ", "jr": "junior ", "sr": "senior ", "esq": "esquire ",
}  # fmt: skip
_WHOLE_WORDS = _CONTRACTIONS | _TITLES
_WHOLE_WORD = re.compile(rf"\b({'|'.join(_WHOLE_WORDS)})\b")
# In this order: "'d been" before "'d", "n't" before "'t".
_ENDINGS = [
    (re.compile(rf"{ending}\b"), replacement)
    for ending, replacement in {
        "'d been": " had been", "'s been": " has been", "'d gone": " had gone", "'s gone": " has gone",
        "'d done": " had done", "'s got": " has got", "n't": " not", "'re": " are", "'s": " is", "'d": " would",
        "'ll": " will", "'t": " not", "'ve": " have", "'m": " am",
    }.items()
]  # fmt: skip

_KEPT_SYMBOLS = ".%$¢€£"
_LETTERS_WITHOUT_DECOMPOSITION = {
    "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "AE", "ß": "ss", "ẞ": "SS", "đ": "d", "Đ": "D",
    "ð": "d", "Ð": "D", "þ": "th", "Þ": "th", "ł": "l", "Ł": "L",
}  # fmt: skip


def _drop_asides(text: str) -> str:
    return _PARENTHESES.sub("", _BRACKETS.sub("", text))


def _drop_fillers(text: str) -> str:
    return re.sub(r"\s+'", "'", _FILLERS.sub("", text))


def _expand(text: str) -> str:
    text = _WHOLE_WORD.sub(lambda match: _WHOLE_WORDS[match[1]], text)
    if "'" in text:
        for pattern, replacement in _ENDINGS:
            text = pattern.sub(replacement, text)
    return text


def _plain_character(character: str) -> str:
    if character in _KEPT_SYMBOLS:
        return character
    if character in _LETTERS_WITHOUT_DECOMPOSITION:
        return _LETTERS_WITHOUT_DECOMPOSITION[character]
    category = unicodedata.category(character)
    return "" if category == "Mn" else " " if category[0] in "MSP" else character


_PLAIN = CharacterTable(_plain_character)


def _strip_symbols_and_accents(text: str) -> str:
    text = re.sub(r"(\d),(\d)", r"\1\2", text)
    text = re.sub(r"\.([^0-9]|$)", r" \1", text)
    return unicodedata.normalize("NFKD", text).translate(_PLAIN)


@functools.cache
def _american_spelling() -> dict[str, str]:
    return json.loads(Path(__file__).with_name("english_spelling.json").read_text(encoding="utf-8"))


def _spell(text: str) -> str:
    spelling = _american_spelling()
    return " ".join([spelling.get(word, word) for word in text.split()])


def _drop_loose_symbols(text: str) -> str:
    text = re.sub(r"[.$¢€£]([^0-9])", r" \1", text)
    return " ".join(re.sub(r"([^0-9])%", r"\1 ", text).split())


WHISPER_STEPS = (
    Step("lower case", str.lower),
    Step("drop brackets and parentheses", _drop_asides),
    Step("drop fillers", _drop_fillers),
    Step("expand contractions and titles", _expand),
    Step("symbols to space, accents off", _strip_symbols_and_accents),
    Step("numbers in digits", write_numbers),
    Step("American spelling", _spell),
    Step("loose symbols to space", _drop_loose_symbols),
)
"""Whisper's ``EnglishTextNormalizer``, except that white space at both ends is taken off."""
