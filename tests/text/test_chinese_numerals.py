import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_headroom.text.chinese_numerals import write_digits, write_numerals
from asr_headroom.text.normalize import get_normalizer

NUMBERS = [*range(12000), *(random.Random(6).randrange(10 ** (4 + i % 9)) for i in range(3000))]


def say(number):
    """The textbook's way, by groups of four digits; written apart from the module's."""
    groups, said, pending_zero = [], "", False
    while number:
        number, group = divmod(number, 10000)
        groups.append(group)
    for power in reversed(range(len(groups))):
        digits = f"{groups[power]:04d}"
        for place, digit in enumerate(digits):
            if digit == "0":
                pending_zero = bool(said)
                continue
            said += ("零" if pending_zero else "") + "零一二三四五六七八九"[int(digit)] + ["千", "百", "十", ""][place]
            pending_zero = False
        said += ["", "万", "亿"][power] if groups[power] else ""
    said = said or "零"
    return said.removeprefix("一") if said.startswith("一十") else said


def test_reads_what_the_textbook_says():
    for number in NUMBERS:
        assert write_digits(f"第{say(number)}") == f"第{number}", say(number)


def test_says_what_the_textbook_says():
    for number in NUMBERS:
        assert write_numerals(f"第{number}") == f"第{say(number)}"


@pytest.mark.parametrize(
    "text",
    ["一些", "十分高兴", "万一", "千万别去", "三三两两", "四川", "三四百", "十五六岁", "几十个", "数十万", "一五一十",
     "一起", "一样", "不一定", "统一", "一点点", "百姓", "成千上万", "第几", "两岸", "零食"],
)  # fmt: skip
def test_idioms_and_approximations_stay(text):
    assert write_digits(text) == text
    assert write_numerals(text) == text


@pytest.mark.parametrize(
    ("one", "other", "digits", "numerals"),
    [
        ("二零二四年三月十五日", "2024年3月15日", "2024年3月15日", "二零二四年三月十五日"),
        ("百分之三点五", "3.5%", "百分之3点5", "百分之三点五"),
        ("百分之百", "100%", "百分之100", "百分之一百"),
        ("三分之一", "3分之1", "3分之1", "三分之一"),
        ("一千两百三十四个人", "1,234个人", "1234个人", "一千二百三十四个人"),
        ("一亿五千万", "1.5亿", "150000000", "一亿五千万"),
        ("三万五千人", "3万5千人", "35000人", "三万五千人"),
        ("两百五", "250", "250", "二百五十"),
        ("一萬零二", "10002", "10002", "一万零二"),
        ("十分钟", "10分钟", "10分钟", "十分钟"),
        ("三点十五分", "3点15分", "3点15分", "三点十五分"),
        ("第一個", "第1个", "第1个", "第一个"),
        ("兩個", "2个", "2个", "二个"),
        ("零零七", "007", "007", "零零七"),
    ],
)
def test_two_ways_to_write_one_number(one, other, digits, numerals):
    assert get_normalizer("zh-digits")(one) == get_normalizer("zh-digits")(other) == digits
    assert get_normalizer("zh-numerals")(one) == get_normalizer("zh-numerals")(other) == numerals


@pytest.mark.parametrize("normalizer_id", ["zh-digits", "zh-numerals"])
@settings(max_examples=500, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("零〇一二三九两幺十百千万亿点年个分之第几%.,0125兩萬钟 "), max_size=10))
def test_idempotent_on_numbers(normalizer_id, text):
    normalizer = get_normalizer(normalizer_id)
    once = normalizer(text)
    assert normalizer(once) == once


def test_endless_runs_do_not_break_it():
    for text in ("一" * 6000, "5" * 6000, "3点" + "1" * 6000 + "亿", "十" * 3000, "2." * 3000, "一个" * 2000):
        assert get_normalizer("zh-digits")(text)
        assert get_normalizer("zh-numerals")(text)
