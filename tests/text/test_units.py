import pytest

from asr_headroom.text.units import primary_subtag, rate_name, split_units, unit_of_language


def test_words_and_characters():
    assert split_units("un  chat\tnoir", "word") == ["un", "chat", "noir"]
    assert split_units("un chat", "character") == ["u", "n", " ", "c", "h", "a", "t"]
    assert split_units("", "word") == split_units("", "character") == []


@pytest.mark.parametrize(
    ("language", "unit"),
    [
        ("zh-Hant-TW", "character"),
        ("yue", "character"),
        ("ja_JP", "character"),
        ("ko", "word"),
        (None, "word"),
    ],
)
def test_unit_follows_the_script(language, unit):
    assert unit_of_language(language) == unit


def test_tags_and_names():
    assert primary_subtag("PT-br") == "pt"
    assert (rate_name("word"), rate_name("character")) == ("WER", "CER")
