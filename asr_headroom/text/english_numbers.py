"""English number words to digits, by Whisper's rules (MIT, see WHISPER_LICENSE), to the letter.

``twenty five dollars`` → ``$25``, ``one oh one`` → ``101``, ``nineteen sixties`` → ``1960s``, ``one`` alone stays
``one``. Start with :func:`write_numbers`. Part of the profiles ``en`` and ``whisper-en``; nothing else calls it.
"""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["write_numbers"]

_ZEROS = {"o", "oh", "zero"}
_ONE_NAMES = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TEN_NAMES = "twenty thirty forty fifty sixty seventy eighty ninety"
_LARGE_NAMES = "million billion trillion quadrillion quintillion sextillion septillion octillion nonillion decillion"
_ONES = {name: value for value, name in enumerate(_ONE_NAMES.split(), start=1)}
_TENS = {name: 10 * value for value, name in enumerate(_TEN_NAMES.split(), start=2)}
_MULTIPLIERS = {"hundred": 100, "thousand": 1000} | {
    name: 1000**power for power, name in enumerate(_LARGE_NAMES.split(), start=2)
}
_IRREGULAR_ORDINALS = {1: "first", 2: "second", 3: "third", 5: "fifth", 12: "twelfth"}
_ORDINAL_ENDINGS = {1: "st", 2: "nd", 3: "rd"}
_ONES_SUFFIXED = (
    {"zeroth": (0, "th")}
    | {("sixes" if name == "six" else name + "s"): (value, "s") for name, value in _ONES.items()}
    | {
        _IRREGULAR_ORDINALS.get(value, name + ("h" if name.endswith("t") else "th")): (
            value,
            _ORDINAL_ENDINGS.get(value, "th"),
        )
        for name, value in _ONES.items()
    }
)
_TENS_SUFFIXED = {name[:-1] + "ies": (value, "s") for name, value in _TENS.items()} | {
    name[:-1] + "ieth": (value, "th") for name, value in _TENS.items()
}
_MULTIPLIERS_SUFFIXED = {name + "s": (value, "s") for name, value in _MULTIPLIERS.items()} | {
    name + "th": (value, "th") for name, value in _MULTIPLIERS.items()
}
_SIGNS = {"minus": "-", "negative": "-", "plus": "+", "positive": "+"}
_CURRENCIES = {
    "pound": "£", "pounds": "£", "euro": "€", "euros": "€", "dollar": "$", "dollars": "$", "cent": "¢", "cents": "¢",
}  # fmt: skip
_SYMBOLS = {*_SIGNS.values(), *_CURRENCIES.values()}
_REPEATS = {"double": 2, "triple": 3}
_DECIMALS = {*_ONES, *_TENS, *_ZEROS}
_WORDS = {
    *_DECIMALS, *_ONES_SUFFIXED, *_TENS_SUFFIXED, *_MULTIPLIERS, *_MULTIPLIERS_SUFFIXED, *_SIGNS, *_CURRENCIES,
    "per", "percent", "and", "point", *_REPEATS,
}  # fmt: skip

# Without a digit and any of these nothing changes. "Half" is one because a leading "and a half" is dropped.
_STARTERS = (_WORDS - {"and", "per", "percent", *_CURRENCIES, *_REPEATS}) | {"half"}

_NUMBER = re.compile(r"\d+(\.\d+)?")
_HAS_DIGIT = re.compile(r"\d")
_AND_A_HALF = re.compile(r"\band\s+a\s+half\b")
# Python refuses to read or write integers of more than 4,300 digits; a looping recogniser can write them.
_MAX_DIGITS = 4000


def write_numbers(text: str) -> str:
    """The text with its English numbers in digits, words separated by single spaces.

    >>> write_numbers("two and a half million people paid twenty dollars on the twenty first")
    '2500000 people paid $20 on the 21st'
    """
    words = text.split()
    # Most sentences hold no number, and this step is the slowest one.
    if not _HAS_DIGIT.search(text) and _STARTERS.isdisjoint(words):
        return " ".join(words)
    return _finish(" ".join(_Reader(_prepare(text).split()).read()))


def _prepare(text: str) -> str:
    segments = _AND_A_HALF.split(text)
    parts = []
    for segment in segments[:-1]:
        if segment.strip():
            last = segment.split()[-1]
            parts += [segment, "point five" if last in _DECIMALS or last in _MULTIPLIERS else "and a half"]
    parts += [segments[-1]] if segments[-1].strip() else []
    text = " ".join(parts)
    text = re.sub(r"([a-z])([0-9])", r"\1 \2", text)
    text = re.sub(r"([0-9])([a-z])", r"\1 \2", text)
    return re.sub(r"([0-9])\s+(st|nd|rd|th|s)\b", r"\1\2", text)


def _finish(text: str) -> str:
    text = re.sub(r"([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})\b", lambda m: f"{m[1]}{m[2]}.{int(m[3]):02d}", text)
    text = re.sub(r"[€£$]0.([0-9]{1,2})\b", lambda m: f"¢{int(m[1])}", text)
    return re.sub(r"\b1(s?)\b", r"one\1", text)


class _Reader:
    """Reads words one by one and keeps the number that is being said.

    ``value`` is an integer while it may still grow by addition and a string of digits once it only grows at its end
    (``one oh one``, decimals).
    """

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.written: list[str] = []
        self.value: int | str | None = None
        self.prefix = ""

    def read(self) -> list[str]:
        position = 0
        while position < len(self.words):
            previous = self.words[position - 1] if position else None
            following = self.words[position + 1] if position + 1 < len(self.words) else None
            used_following = self._read_word(self.words[position], previous, following)
            position += 2 if used_following else 1
        self._write_value()
        return self.written

    def _read_word(self, word: str, previous: str | None, following: str | None) -> bool:
        """Takes one word in; true when the following one is used up with it."""
        digits = word[1:] if word[0] in _SYMBOLS else word
        if _NUMBER.fullmatch(digits) and len(digits) < _MAX_DIGITS:
            self._read_digits(word, digits)
        elif word in _ZEROS:
            self.value = str(self.value or "") + "0"
        elif word in _ONES:
            self.value = self._with_ones(_ONES[word], previous)
        elif word in _ONES_SUFFIXED:
            ones, suffix = _ONES_SUFFIXED[word]
            self._write(f"{self._with_ones(ones, previous)}{suffix}")
        elif word in _TENS:
            self.value = self._with_tens(_TENS[word])
        elif word in _TENS_SUFFIXED:
            tens, suffix = _TENS_SUFFIXED[word]
            self._write(f"{self._with_tens(tens)}{suffix}")
        elif word in _MULTIPLIERS:
            self.value = self._times(_MULTIPLIERS[word])
        elif word in _MULTIPLIERS_SUFFIXED:
            multiplier, suffix = _MULTIPLIERS_SUFFIXED[word]
            self._write(f"{self._times(multiplier)}{suffix}")
        elif word in _SIGNS:
            self._read_sign(word, following)
        elif word in _CURRENCIES and self.value is not None:
            self.prefix = _CURRENCIES[word]
            self._write_value()
        elif word in ("per", "percent") and self.value is not None:
            return self._read_percent(word, following)
        elif word in ("and", "point", *_REPEATS) and _can_be_number(following):
            return self._read_special(word, previous, following)
        else:
            self._write_value()
            self._write(word)
        return False

    def _write(self, text: str) -> None:
        self.written.append(self.prefix + text)
        self.value, self.prefix = None, ""

    def _write_value(self) -> None:
        if self.value is not None:
            self._write(str(self.value))

    def _read_digits(self, word: str, digits: str) -> None:
        if isinstance(self.value, str) and self.value.endswith("."):
            self.value += word
            return
        self._write_value()
        self.prefix = word[0] if word != digits else self.prefix
        number = Fraction(digits)
        self.value = number.numerator if number.denominator == 1 else digits

    def _with_ones(self, ones: int, previous: str | None) -> int | str:
        value = self.value
        if value is None:
            return ones
        if isinstance(value, str) or previous in _ONES:
            after_tens = isinstance(value, str) and previous in _TENS and ones < 10
            return (str(value)[:-1] if after_tens else str(value)) + str(ones)
        # "twenty" + "one" add up; "twenty" + "eleven" and "one" + "two" do not.
        return value + ones if value % (10 if ones < 10 else 100) == 0 else f"{value}{ones}"

    def _with_tens(self, tens: int) -> int | str:
        if self.value is None:
            return tens
        if isinstance(self.value, int) and self.value % 100 == 0:
            return self.value + tens
        return f"{self.value}{tens}"

    def _times(self, multiplier: int) -> int:
        if self.value is None:
            return multiplier
        if isinstance(self.value, int) and self.value != 0:
            return self.value // 1000 * 1000 + self.value % 1000 * multiplier
        product = _fraction(str(self.value)) * multiplier
        if product.denominator == 1:
            return product.numerator
        self._write_value()
        return multiplier

    def _read_sign(self, word: str, following: str | None) -> None:
        self._write_value()
        if _can_be_number(following):
            self.prefix = _SIGNS[word]
        else:
            self._write(word)

    def _read_percent(self, word: str, following: str | None) -> bool:
        if word == "percent" or following == "cent":
            self._write(f"{self.value}%")
            return word == "per"
        self._write_value()
        self._write(word)
        return False

    def _read_special(self, word: str, previous: str | None, following: str | None) -> bool:
        if word == "and":
            # "two hundred and five" goes on; "two and five" are two numbers.
            if previous not in _MULTIPLIERS:
                self._write_value()
                self._write(word)
        elif word == "point":
            if following in _DECIMALS or following not in _WORDS:
                self.value = f"{self.value or ''}."
        elif following in _ONES or following in _ZEROS:
            self.value = f"{self.value or ''}" + str(_ONES.get(following or "", 0)) * _REPEATS[word]
            return True
        else:
            self._write_value()
            self._write(word)
        return False


def _can_be_number(word: str | None) -> bool:
    return word is not None and (word in _WORDS or _NUMBER.fullmatch(word) is not None)


def _fraction(digits: str) -> Fraction:
    # A half makes the product below no integer, so that unreadable digits are written as they are.
    try:
        return Fraction(digits if len(digits) < _MAX_DIGITS else "x")
    except ValueError:
        return Fraction(1, 7)
