import doctest

import pytest

from asr_headroom.analysis import formats
from asr_headroom.analysis.formats import cut_loops, match_spacing, rewrites_for, without_marks


def test_examples():
    assert doctest.testmod(formats).failed == 0


@pytest.mark.parametrize(
    ("reference", "hypothesis", "matched"),
    [
        ("un boda boda", "un bodaboda", "un boda boda"),
        ("c'est peut être", "c'est peut-être", "c'est peut être"),
        ("qu' une", "qu'une", "qu' une"),
        ("broadsides ici", "broad sides là", "broadsides là"),
        # Only part of the letters agree, and no boundary is shared there: nothing is moved.
        ("le paraguay", "l'eparaguai", "l'eparaguai"),
        ("un chat noir", "un chien noir", "un chien noir"),
        ("", "oui", "oui"),
        ("oui", "", ""),
        # Marks beside a word are punctuation, not spacing.
        ("le mot est", "le mot. est", "le mot. est"),
        ("peut être là", "« peut-être. là", "« peut être. là"),
        ("« oui » dit", "oui dit", "oui dit"),
        ("30 % des", "30% des", "30 % des"),
        # Vowel signs are letters: another vowel is another word.
        ("वह के साथ", "वह का साथ", "वह का साथ"),
    ],
)
def test_spacing_follows_the_reference_where_letters_agree(reference, hypothesis, matched):
    left, right = match_spacing(reference.split(), hypothesis.split(), "word")
    assert left == reference.split()
    assert right == matched.split()


def test_spacing_never_changes_letters():
    reference, hypothesis = ["a", "bc", "d", "ef", "g"], ["ab", "c", "x", "de", "f", "-", "g"]
    _, matched = match_spacing(reference, hypothesis, "word")
    letters = [c for c in "".join(matched) if c.isalnum()]
    assert letters == [c for c in "".join(hypothesis) if c.isalnum()]


def test_spacing_in_characters_is_no_space_at_all():
    assert match_spacing(list("a b"), list("ab c"), "character") == (list("ab"), list("abc"))


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("他" + "小" * 200, "他小"),
        ("与其同时的" * 40, "与其同时的"),
        ("en fait " * 3 + "oui", "en fait en fait en fait oui"),
        ("la la la la", "la la la la"),
        ("non, " * 20 + "merci", "non, merci"),
        ("a " * 9 + "fin b c " + "b c " * 8, "a fin b c"),
    ],
)
def test_loops_keep_one_round(text, cut):
    assert cut_loops(text).split() == cut.split()


def test_a_text_without_loop_is_untouched():
    text = "  deux  espaces, et rien d'autre. "
    assert cut_loops(text) == text


def test_marks():
    assert without_marks("« Non » — dit-il… l’été (3,5 %)") == "Non dit il l'été 3 5 %"
    assert without_marks("“你好”，世界。") == "你好 世界"


def test_scripts_by_language():
    assert rewrites_for("zh-TW")["script"]("後面") == "后面"
    assert rewrites_for("ja")["script"]("後面") == "後面"
    assert rewrites_for(None)["script"]("ＯＫ") == "OK"
    assert rewrites_for("fr")["script"]("œuf") == "oeuf"
    assert rewrites_for("ar-EG")["script"]("أهلاً, مدرسة") == "اهلا, مدرسه"


def test_english_numbers_leave_case_and_marks_alone():
    numerals = rewrites_for("en")["numerals"]
    assert numerals("Twenty five people, said Bob: no.") == "25 people, said Bob: no."
    assert numerals("No numbers Here, OK?") == "No numbers Here, OK?"


def test_french_numbers():
    numerals = rewrites_for("fr")["numerals"]
    assert numerals("Vingt-deux Peut-être, et trente pour cent.") == numerals("22 Peut-être, et 30 %.")
    assert "22 Peut-être, et 30" in numerals("vingt-deux Peut-être, et 30%.")


def test_chinese_numbers_stay_numerals():
    numerals = rewrites_for("zh")["numerals"]
    assert numerals("2024年") == numerals("二零二四年") == "二零二四年"
