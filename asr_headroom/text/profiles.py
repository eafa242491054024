"""The profiles: which rewrites, in which order, under which version. Changing what one does means a new version.

``study-fr`` and ``study-zh`` are the published study's, bit for bit, and frozen. See docs/normalizers.md for what
each profile is for. Loaded when the first normaliser is asked for; callers use :mod:`asr_headroom.text.normalize`.
"""

from __future__ import annotations

import unicodedata

from asr_headroom.text import chinese_numerals, french_numbers
from asr_headroom.text.english import WHISPER_STEPS
from asr_headroom.text.steps import (
    CharacterTable,
    Normalizer,
    Step,
    collapse_spaces,
    run_steps,
    substitute,
    to_simplified,
    until_stable,
)
from asr_headroom.text.units import isolate_unspaced

__all__ = ["PROFILES"]

_TYPOGRAPHIC_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"'})
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘‛ʼ´`′", "'") | dict.fromkeys("“”„‟″", '"'))
_LIGATURES = str.maketrans({"œ": "oe", "æ": "ae"})


def _is_text(character: str) -> bool:
    """Letters, digits, combining marks and white space: what is left when punctuation and symbols go."""
    return unicodedata.category(character)[0] in "LMNZ" or character.isspace()


def _word_character(character: str) -> str:
    """Text as it is, digits of every script as ASCII, marks as a space, invisible formatting as nothing.

    A soft hyphen or an Indic joiner stands inside a word, so a space in its place would split the word; a zero-width
    space is the one of them that separates.
    """
    if character in "'ʼ":
        return "'"
    if character == "\u200b":
        return " "
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Cf":
        return ""
    return character if _is_text(character) else " "


def _unspaced_character(character: str) -> str:
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.decimal(character))
    return character if _is_text(character) else ""


_WORD_CHARACTERS = CharacterTable(_word_character)
_UNSPACED_CHARACTERS = CharacterTable(_unspaced_character)
_ONLY_TEXT_CHARACTERS = CharacterTable(lambda character: character if _is_text(character) else "")

# SPEC §3, in its order. The class holds an en dash, a non-breaking hyphen and a hyphen-minus.
_STUDY_FR_MARKS = r"[.!?,:;\"«»()\[\]{}—…·–‐\-]+"
_STUDY_ZH_MARKS = r"[，。！？、；：「」『』（）《》〈〉—…·　,.!?:;\"'()\[\]{}\-]"

_ARABIC_MARKS = (
    r"[\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u08ca-\u08ff]+"
)
_ARABIC_LETTERS = str.maketrans({"أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا", "ى": "ي", "ة": "ه"})

_NFC = Step("NFC", lambda text: unicodedata.normalize("NFC", text))
_NFKC = Step("NFKC", lambda text: unicodedata.normalize("NFKC", text))
_STUDY_QUOTES = Step("straight quotes", lambda text: text.translate(_TYPOGRAPHIC_QUOTES))
_QUOTES = Step("straight quotes", lambda text: text.translate(_APOSTROPHES))
_LOWER = Step("lower case", str.lower)
_FOLD = Step("case folding", str.casefold)
_STUDY_APOSTROPHE = Step("loose apostrophes to space", substitute(r"(?:^|(?<=\s))'|'(?=\s|$)", " "))
# A run of them goes as one: taken singly, the second of two would only become loose in a second pass.
_LOOSE_APOSTROPHES = Step("loose apostrophes to space", substitute(r"(?:^|(?<=\s))'+|'+(?=\s|$)", " "))
_SPACES = Step("collapse spaces", collapse_spaces)
_NO_SPACES = Step("remove spaces", substitute(r"\s+", ""))
_WORDS_ONLY = Step("punctuation and symbols to space", lambda text: text.translate(_WORD_CHARACTERS))
_CHARACTERS_ONLY = Step("remove punctuation and symbols", lambda text: text.translate(_UNSPACED_CHARACTERS))
_ONLY_TEXT = Step("remove punctuation and symbols", lambda text: text.translate(_ONLY_TEXT_CHARACTERS))
_WITHOUT_LIGATURES = Step("ligatures", lambda text: text.translate(_LIGATURES))
_SIMPLIFIED = Step("traditional to simplified", to_simplified)
# What was taken out may have stood between a letter and its accent.
_COMPOSE = Step("NFKC again", _NFKC.apply)

_WORDS = (_WORDS_ONLY, _LOOSE_APOSTROPHES, _SPACES, _COMPOSE)
_FRENCH_START = (_QUOTES, _NFKC, _LOWER, _WITHOUT_LIGATURES)
_BASIC = (_QUOTES, _NFKC, _FOLD, *_WORDS)
# Simplified last, because OpenCC converts by phrase, and a mark inside a phrase would hide it.
_CHINESE_END = (_ONLY_TEXT, _NO_SPACES, _COMPOSE, _SIMPLIFIED)

_FRENCH_DIGITS = (
    *_FRENCH_START,
    Step("number symbols in words", french_numbers.spell_number_symbols),
    *_WORDS,
    Step("numbers in digits", french_numbers.write_numbers),
)
_CHINESE_DIGITS = (
    _NFKC,
    _LOWER,
    Step("number symbols in words", chinese_numerals.spell_number_symbols),
    *_CHINESE_END,
)
_ENGLISH = (_QUOTES, *WHISPER_STEPS)

_FRENCH_PROBES = (
    "na\u00adtion l´eau lʼété ３ ٣",
    "vingt-deux heures trente, 22 h 30, 22:00 ; 3,5 % et trois virgule cinq pour cent de 10 000 €",
    "quatre-vingt-dix-neuf mille deux cents, vingt et unième, XXe siècle, 1er, 3 millions, deux trois cents, un",
)
_CHINESE_PROBES = (
    "一些 十分 十分钟 万一 一千万 三三两两 四百五 第三 二零二四年三月十五日 百分之三点五 1,200 3.5%",
    "1亿5千万 几十个 十五六",
    "兩萬零三十個 三分之一 一点五亿 2024年 007 12个",
)
_ENGLISH_PROBES = (
    "Mr. Smith's colour won't cost twenty-five dollars and a half; uh, one oh one [noise] (aside) 1,000.5 %",
    "ten 1 they've, the nineteen sixties, twenty first o'clock don’t ¢7 $2 and ¢7 minus five percent naïve",
)
_BASIC_PROBES = ("क्\u200dष می\u200cخواهم a\u200bb м’ята мʼята ३ ๓ เก็บไว้ שָׁלוֹם 我用Python写コード", *_FRENCH_PROBES[:1])

PROFILES = {
    profile.id: profile
    for profile in (
        Normalizer("raw", 1, "word", (_NFC, _SPACES), "nothing but NFC and single spaces"),
        Normalizer("raw-characters", 1, "character", (_NFC, _SPACES), "the same, scored in characters"),
        Normalizer(
            "study-fr",
            1,
            "word",
            (
                _NFC,
                _STUDY_QUOTES,
                _LOWER,
                _STUDY_APOSTROPHE,
                Step("marks to space", substitute(_STUDY_FR_MARKS, " ")),
                _SPACES,
            ),
            "the published study's French, frozen",
        ),
        Normalizer(
            "study-zh",
            1,
            "character",
            (Step("remove marks", substitute(_STUDY_ZH_MARKS, "")), _NO_SPACES),
            "the published study's Chinese, frozen; does not see that scripts differ",
        ),
        Normalizer(
            "fr",
            2,
            "word",
            (*_FRENCH_START, *_WORDS),
            "French: lower case, no punctuation or ligatures",
            _FRENCH_PROBES,
        ),
        Normalizer(
            "fr-digits",
            1,
            "word",
            (*_FRENCH_DIGITS, Step("again until stable", until_stable(lambda text: run_steps(_FRENCH_DIGITS, text)))),
            "French with numbers, per cent and clock times in one form, in digits",
            _FRENCH_PROBES,
        ),
        Normalizer(
            "zh", 1, "character", (_NFKC, _LOWER, *_CHINESE_END), "Chinese: simplified, no punctuation or spaces"
        ),
        Normalizer(
            "zh-digits",
            1,
            "character",
            (*_CHINESE_DIGITS, Step("numbers in digits", until_stable(chinese_numerals.write_digits))),
            "Chinese with numbers in Arabic digits",
            _CHINESE_PROBES,
        ),
        Normalizer(
            "zh-numerals",
            1,
            "character",
            (*_CHINESE_DIGITS, Step("numbers in numerals", until_stable(chinese_numerals.write_numerals))),
            "Chinese with numbers in Chinese numerals",
            _CHINESE_PROBES,
        ),
        Normalizer(
            "whisper-en",
            1,
            "word",
            WHISPER_STEPS,
            "Whisper's English rules to the letter, for comparison with published rates",
            _ENGLISH_PROBES,
        ),
        Normalizer(
            "en",
            2,
            "word",
            (*_ENGLISH, Step("again until stable", until_stable(lambda text: run_steps(_ENGLISH, text)))),
            "English by Whisper's rules: contractions, numbers, spelling; typographic apostrophes too",
            _ENGLISH_PROBES,
        ),
        Normalizer(
            "ar",
            1,
            "word",
            (
                _QUOTES,
                _NFKC,
                _LOWER,
                Step("vowel marks and tatweel off", substitute(_ARABIC_MARKS, "")),
                Step("alef, ya and ta marbuta in one form", lambda text: text.translate(_ARABIC_LETTERS)),
                *_WORDS,
            ),
            "Arabic: no vowel marks or tatweel; one form of alef, ya and ta marbuta",
            ("أهلاً وسهلاً، إلى آخِر المدرسة ٱلكـــتاب ٣٫٥",),
        ),
        Normalizer("basic", 2, "word", _BASIC, "every spaced language: case folded, no punctuation", _BASIC_PROBES),
        Normalizer(
            "basic-characters",
            2,
            "character",
            (_NFKC, _FOLD, _CHARACTERS_ONLY, _NO_SPACES, _COMPOSE),
            "languages without spaces (Thai, Japanese, Khmer …): every code point is a unit",
            _BASIC_PROBES,
        ),
        Normalizer(
            "basic-mixed",
            1,
            "mixed",
            (
                *(_QUOTES, _NFKC, _FOLD, _WORDS_ONLY, _COMPOSE),
                # Before apostrophes, which become loose beside such a character.
                Step("spaces around unspaced characters", isolate_unspaced),
                *(_LOOSE_APOSTROPHES, _SPACES, _COMPOSE),
            ),
            "mixed scripts: a Han, Kana, Thai, Khmer … character is a unit, other text is words",
            _BASIC_PROBES,
        ),
    )
}
