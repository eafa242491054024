import doctest
import subprocess
import sys

from asr_headroom.analysis import chinese
from asr_headroom.analysis.chinese import are_variants, readings, share_reading, share_syllable


def test_examples():
    assert doctest.testmod(chinese).failed == 0


def test_tone_tells_a_reading_from_a_syllable():
    assert share_reading("石", "十")
    assert not share_reading("石", "事")
    assert share_syllable("石", "事")
    assert not share_syllable("石", "西")


def test_any_of_several_readings_will_do():
    # 行 is xíng or háng.
    assert share_reading("行", "形")
    assert share_reading("行", "航")


def test_what_is_not_chinese_has_no_reading():
    for other in ("a", "7", "", "。", "你好", "あ", "é"):
        assert readings(other) == frozenset()
    assert not share_reading("a", "b")
    assert not share_syllable("", "")


def test_variants():
    assert are_variants("國", "国")
    assert are_variants("後", "后")
    assert not are_variants("国", "国")
    assert not are_variants("国", "家")


def test_pypinyin_is_not_loaded_before_it_is_needed():
    code = "import sys, asr_headroom.analysis.chinese; sys.exit('pypinyin' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
