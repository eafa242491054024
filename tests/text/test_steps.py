import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opencc import OpenCC

from asr_headroom.text.steps import CharacterTable, to_simplified, until_stable

OPENCC = OpenCC("t2s")
# Entries of OpenCC's tables, alone and in phrases, among characters that phrases share with other words.
PIECES = "一目瞭然 以免藉口 乾坤 乾 乾隆 著 沈船 沈 反覆 藉 薴 苧 們 我 以 免 有序 彷徨 頭髮 後 皇后 里 裡 A 1"


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES.split()), max_size=6).map("".join) | st.text(max_size=12))
def test_the_short_way_equals_opencc(text):
    assert to_simplified(text) == OPENCC.convert(OPENCC.convert(text))


def test_characters_are_asked_about_once():
    asked = []
    table = CharacterTable(lambda character: asked.append(character) or character.upper())
    assert "abab".translate(table) == "ABAB"
    assert asked == ["a", "b"]


@pytest.mark.parametrize("text", ["", "aaa", "ab" * 20])
def test_until_stable_is_idempotent(text):
    shorten = until_stable(lambda text: text.replace("aa", "a", 1).replace("abab", "ab", 1))
    assert shorten(shorten(text)) == shorten(text)
    assert shorten(text) in ("", "a", "ab")
