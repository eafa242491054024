import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_headroom.metrics.error_rate import count_pair
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.text.units import (
    isolate_unspaced,
    primary_subtag,
    rate_name,
    split_units,
    unit_name,
    unit_of_language,
)

UNSPACED = st.text(alphabet=st.sampled_from("漢字かなカナไทยภาษาที่ลาວພາສາខ្មែរမြန်မာབོད"), max_size=12)
SPACED = st.text(alphabet=st.sampled_from("abcdé हिन्दी  한국어 العربية кот"), max_size=16)


def test_words_and_characters():
    assert split_units("un  chat\tnoir", "word") == ["un", "chat", "noir"]
    assert split_units("un chat", "character") == ["u", "n", " ", "c", "h", "a", "t"]
    assert split_units("", "word") == split_units("", "character") == split_units("", "mixed") == []


def test_mixed_units():
    assert split_units("我用python写 code の テスト", "mixed") == [*"我用", "python", "写", "code", *"のテスト"]
    assert split_units("ราคา 50 บาท ok", "mixed") == [*"ราคา", "50", *"บาท", "ok"]
    assert isolate_unspaced("한국어 हिन्दी été") == "한국어 हिन्दी été"


@settings(max_examples=150, deadline=None)
@given(reference=UNSPACED, hypothesis=UNSPACED)
def test_mixed_rate_of_unspaced_text_is_its_cer(reference, hypothesis):
    mixed = count_pair(reference, hypothesis, get_normalizer("basic-mixed")).of("mixed")
    assert mixed == count_pair(reference, hypothesis, get_normalizer("basic-characters")).characters


@settings(max_examples=150, deadline=None)
@given(reference=SPACED, hypothesis=SPACED)
def test_mixed_rate_of_spaced_text_is_its_wer(reference, hypothesis):
    mixed = count_pair(reference, hypothesis, get_normalizer("basic-mixed")).of("mixed")
    assert mixed == count_pair(reference, hypothesis, get_normalizer("basic")).words


def test_a_code_switched_error_counts_in_its_own_unit():
    counts = count_pair("我 用 Python 写代码", "我用 Python3 写带码。", get_normalizer("basic-mixed")).of("mixed")
    assert (counts.reference_length, counts.substitutions, counts.errors) == (6, 2, 2)


@pytest.mark.parametrize(
    ("language", "unit"),
    [
        ("zh-Hant-TW", "character"),
        ("yue", "character"),
        ("cmn", "character"),
        ("tha", "character"),
        ("ja_JP", "character"),
        ("km", "character"),
        ("ko", "word"),
        ("vi", "word"),
        (None, "word"),
    ],
)
def test_unit_follows_the_script(language, unit):
    assert unit_of_language(language) == unit


def test_tags_and_names():
    assert primary_subtag("PT-br") == "pt"
    assert (rate_name("word"), rate_name("character"), rate_name("mixed")) == ("WER", "CER", "mixed-unit WER")
    assert unit_name("character") == "characters"
