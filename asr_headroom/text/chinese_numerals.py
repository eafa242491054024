"""Chinese numbers in one form: all in digits, or all in numerals. The text is simplified and has no spaces or marks.

What is a number is decided by a closed rule, so that 一些, 十分, 万一, 千万, 三三两两 and 四川 stay as they are:

* a well-formed numeral with units (十五, 三千零二十, 两百五, 1亿5千万) is one; 几十 and 数十万 are not, nor 百 or 万
  without a digit before them, nor two digits side by side (三四百, 十五六);
* digits read one by one are one when there are three or more (二零二四), or with a 零 or an Arabic digit among them;
  never with 两;
* a single numeral is one after 第 or 分之, before 分之, beside 点 with a numeral on its other side (三点五), and before
  a measure word from the list below; 一点 and 十分 stay (but 十分钟 is ten minutes).

Symbols become what is said: ``3.5%`` → 百分之3点5. Part of ``zh-digits`` and ``zh-numerals``; nothing else calls it.
"""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["spell_number_symbols", "write_digits", "write_numerals"]

_DIGIT_VALUES = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "幺": 1}
_TO_ASCII = str.maketrans({digit: str(value) for digit, value in _DIGIT_VALUES.items()})
_NUMERAL = "[0-9零〇一二三四五六七八九两幺十百千万亿]"
_DIGIT = "[0-9零〇一二三四五六七八九两幺]"
_RUN = re.compile(f"(?<![几数])({_NUMERAL}+)(?:点({_NUMERAL}+))?|({_NUMERAL}+)")
_SECTION = re.compile("(?:([1-9一二三四五六七八九两])千)?(零?)(?:([1-9一二三四五六七八九两])百)?(零?)"
                      "(?:([1-9一二三四五六七八九两]?)(十))?(零?)([1-9一二三四五六七八九两]?)")  # fmt: skip
_DECIMAL_UNIT = re.compile(f"({_DIGIT}+)(百万|千万|百亿|千亿|万亿|万|亿)")
_SCALES = {"百万": 10**6, "千万": 10**7, "百亿": 10**10, "千亿": 10**11, "万亿": 10**12, "万": 10**4, "亿": 10**8}

_MEASURE_WORDS = re.compile(
    "[个位名人只条张件匹辆艘架座栋幢间家所层级届次场集部首支块片颗粒棵朵套组批队页章节段句篇种类项年月日号天周岁点分秒"
    "代元米里斤克吨升倍台瓶杯碗]|小时|公里|公斤|公顷|平方|立方|毫米|厘米|英里|英尺|世纪|美元|欧元|星期|楼"
)
_BEFORE_A_NUMBER = ("第", "分之")

_SYMBOLS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", ""),
        (r"([0-9]+(?:\.[0-9]+)?)\s*%", r"百分之\1"),
        (r"(?<=[0-9])\.(?=[0-9])", "点"),
    )
]
_HUNDRED_PERCENT = re.compile(f"百分之百(?!{_NUMERAL})")


def spell_number_symbols(text: str) -> str:
    """Writes out percent signs and decimal points and closes up thousands, before marks are removed.

    >>> spell_number_symbols("1,200和3.5%")
    '1200和百分之3点5'
    """
    for pattern, replacement in _SYMBOLS:
        text = pattern.sub(replacement, text)
    return text


def write_digits(text: str) -> str:
    """The text with its Chinese numbers in Arabic digits.

    >>> write_digits("二零二四年三月十五日有一百二十三个人,十分高兴")
    '2024年3月15日有123个人,十分高兴'
    """
    return _RUN.sub(_run_in_digits, _HUNDRED_PERCENT.sub("百分之100", text))


def _run_in_digits(match: re.Match[str]) -> str:
    whole, fraction = match[1] or match[3], match[2]
    if match[3]:
        # 几十, 数百万: about as many, no number.
        return whole
    if fraction is not None:
        return _decimal(whole, fraction) or match[0]
    if len(whole) == 1 and not whole.isascii():
        return _single(whole, match)
    return _value(whole) or whole


def _decimal(whole: str, fraction: str) -> str | None:
    left = _value(whole) or _one(whole)
    if left is None:
        return None
    scaled = _DECIMAL_UNIT.fullmatch(fraction)
    if scaled and len(left) + len(fraction) < 30:
        digits = scaled[1].translate(_TO_ASCII)
        value = (int(left) + Fraction(int(digits), 10 ** len(digits))) * _SCALES[scaled[2]]
        return str(value.numerator) if value.denominator == 1 else f"{left}点{digits}{scaled[2]}"
    if all(character in _DIGIT_VALUES or character.isascii() for character in fraction):
        return f"{left}点{fraction.translate(_TO_ASCII)}"
    right = _value(fraction) or _one(fraction)
    return f"{left}点{right}" if right else None


def _one(character: str) -> str | None:
    if character == "十":
        return "10"
    return str(_DIGIT_VALUES[character]) if character in _DIGIT_VALUES else None


def _single(numeral: str, match: re.Match[str]) -> str:
    digit = _one(numeral)
    if digit is None:
        return numeral

    def is_followed_by(*words: str) -> bool:
        return match.string.startswith(words, match.end())

    if match.string.endswith(_BEFORE_A_NUMBER, 0, match.start()) or is_followed_by("分之"):
        return digit
    # 一点 is "a little" and 十分 is "very".
    if numeral == "一" and is_followed_by("点") and not is_followed_by("点钟", "点半"):
        return numeral
    if numeral == "十" and is_followed_by("分") and not is_followed_by("分钟"):
        return numeral
    return digit if _MEASURE_WORDS.match(match.string, match.end()) else numeral


def _value(run: str) -> str | None:
    """A run of numerals in digits; None when it is no well-formed number, or a single numeral."""
    if run.isascii():
        return run
    if all(character in _DIGIT_VALUES or character.isascii() for character in run):
        is_read_out = len(run) >= 3 or any(c in "零〇" or c.isascii() for c in run)
        return run.translate(_TO_ASCII) if len(run) > 1 and is_read_out and "两" not in run else None
    if run == "十":
        return None
    value = _scaled(run, "亿", 10**8)
    return None if value is None else str(value)


def _scaled(run: str, scale: str, factor: int) -> int | None:
    """The value of ``head 亿 tail`` or, one level down, ``head 万 tail``."""
    below = (lambda text: _scaled(text, "万", 10**4)) if scale == "亿" else _section
    if scale not in run:
        return below(run)
    head, _, tail = run.rpartition(scale)
    count = below(head)
    if count is None:
        return None
    if tail in _DIGIT_VALUES and tail not in "零〇":
        # 一万二 is 12,000.
        return count * factor + _DIGIT_VALUES[tail] * factor // 10
    rest = 0 if tail == "" else below(tail.removeprefix("零"))
    return None if rest is None or rest >= factor else count * factor + rest


def _section(text: str) -> int | None:
    """A number below 10,000, or any in Arabic digits."""
    if text.isascii() and text.isdecimal():
        return int(text) if len(text) <= 15 else None
    match = _SECTION.fullmatch(text)
    if match is None or text == "":
        return None
    thousands, _, hundreds, gap, tens, ten, last_gap, ones = match.groups()
    value = 1000 * _digit(thousands) + 100 * _digit(hundreds) + (10 * (_digit(tens) or 1) if ten else 0)
    if not value and not ones:
        return None
    if ones and not ten and not gap and not last_gap and (hundreds or (thousands and text[-2] == "千")):
        # 两百五 is 250, 三千五 is 3,500.
        return value + _digit(ones) * (10 if hundreds else 100)
    return value + _digit(ones)


def _digit(character: str | None) -> int:
    if not character:
        return 0
    return int(character) if character.isascii() else _DIGIT_VALUES[character]


_ASCII_RUN = re.compile(r"(点)?([0-9]+)(年)?")
_NUMERALS = "零一二三四五六七八九"


def write_numerals(text: str) -> str:
    """The text with all its numbers in Chinese numerals: years and long or zero-led runs digit by digit.

    Numbers that are already in numerals are first read, so that 两百 and 二百 end the same.

    >>> write_numerals("2024年3月有205个")
    '二零二四年三月有二百零五个'
    """
    return _ASCII_RUN.sub(_run_in_numerals, write_digits(text))


def _run_in_numerals(match: re.Match[str]) -> str:
    point, digits, year = match[1] or "", match[2], match[3] or ""
    is_year = bool(year) and len(digits) == 4 and digits[0] in "12" and digits != "1000"
    read_out = is_year or len(digits) > 12 or (len(digits) > 1 and digits[0] == "0") or (point and len(digits) > 2)
    said = "".join(_NUMERALS[int(digit)] for digit in digits) if read_out else _spell(int(digits))
    return f"{point}{said}{year}"


def _spell(number: int) -> str:
    if number < 10:
        return _NUMERALS[number]
    if number < 20:
        return "十" + (_NUMERALS[number - 10] if number > 10 else "")
    for scale, name in ((10**8, "亿"), (10**4, "万"), (1000, "千"), (100, "百"), (10, "十")):
        if number >= scale:
            head, rest = divmod(number, scale)
            gap = "零" if 0 < rest < scale // 10 else ""
            said = "一" + _spell(rest) if 10 <= rest < 20 else _spell(rest) if rest else ""
            return _spell(head) + name + gap + said
    raise AssertionError("unreachable: numbers of ten and more have a scale")
