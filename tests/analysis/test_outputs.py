import pytest

from asr_headroom.analysis.outputs import describe_output, loop_spans
from asr_headroom.results.readers import read_results


@pytest.mark.parametrize(
    ("reference", "hypothesis", "language", "raised"),
    [
        ("le chat dort", "le chat dort", "fr", set()),
        ("le chat dort", "", "fr", {"empty"}),
        ("le chat dort", " … ", "fr", {"empty"}),
        ("", "", "fr", set()),
        ("", "merci", "fr", set()),
        ("le chat dort", "« »" + "«»" * 20, "fr", {"empty", "looped"}),
        ("le chat dort", "le chat " + "et puis " * 9, "fr", {"looped"}),
        ("ha ha ha ha ha ha ha ha ha", "ha ha ha ha ha ha ha ha ha", "fr", set()),
        ("non non non non", "non non non non", "fr", set()),
        ("le chat dort sur la table", "the cat is asleep and it is on the table", "fr", {"wrong_language"}),
        ("le film The Lord of the Rings", "le film The Lord of the Rings", "fr", set()),
        ("il lit The Lord of the Rings and The Hobbit", "The Lord of the Rings and The Hobbit", "fr", set()),
        ("le chat dort", "кот спит на столе", "fr", {"wrong_script", "wrong_language"}),
        ("le chat dort", "кот спит на столе", None, {"wrong_script"}),
        ("кот спит", "kot spit", "sr", {"wrong_script"}),
        ("简体中文", "簡體中文", "zh-CN", {"script_variant"}),
        ("簡體中文", "簡體中文", "zh-TW", set()),
        ("首府马图林", "show full ma tooling", "zh", {"wrong_script", "wrong_language"}),
        ("我用 iPhone 手机", "我用 iPhone 手机", "zh", set()),
        ("他是好人", "カレハイイヒト", "zh", {"wrong_script", "wrong_language"}),
        ("彼はいい人です", "彼はイイ人だ", "ja", set()),
        ("7 8 9", "sept huit", "fr", set()),
        ("le chat dort", "12 34", "fr", set()),
    ],
)
def test_flags_by_hand(reference, hypothesis, language, raised):
    flags = describe_output(reference, hypothesis, language)
    assert {name for name in flags._fields if getattr(flags, name)} == raised


@pytest.mark.parametrize(
    ("text", "stretches"),
    [
        ("un deux trois", []),
        ("oui " * 7, []),
        ("oui " * 8, [" ".join(["oui"] * 8)]),
        ("a b c " * 4 + "fin", ["a b c a b c a b c a b c"]),
        ("a b c " * 3 + "fin", []),
        ("好" * 15, []),
        ("我说" + "你好" * 8 + "吗", ["你好" * 8]),
        ("x " * 8 + "et " + "y " * 8, [" ".join("x" * 8), " ".join("y" * 8)]),
        ("le " + "d'as-" * 10, ["d'as-" * 10]),
    ],
)
def test_loops_by_hand(text, stretches):
    assert [text[start:end] for start, end in loop_spans(text)] == stretches


def test_a_stretch_is_one_span_and_maximal():
    # A pattern of two is also a pattern of four and of six.
    text = "z " + "a b " * 12 + "c"
    assert [text[i:j] for i, j in loop_spans(text)] == [("a b " * 12).strip()]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "flag", "low", "high"),
    [
        ("bench/canary_qwen_fr", "wrong_language", 0.75, 0.95),
        ("whisper_fr/baseline_small", "wrong_language", 0, 0),
        ("whisper_fr/scratch_small", "wrong_language", 0, 0),
        ("qwen3_asr/qwen3_0p6b_base_zh_dev100", "wrong_language", 0, 0),
        ("whisper_zh/baseline_medium", "script_variant", 0.38, 0.39),
        ("whisper_zh/baseline_tiny_zh", "script_variant", 0.60, 0.62),
        ("whisper_zh/lora_medium", "script_variant", 0, 0.01),
        ("granite/granite_speech_2b_base_fr_dev100", "empty", 0.62, 0.65),
        ("whisper_zh/lora_small", "looped", 0.004, 0.004),
        ("whisper_fr/baseline_small", "looped", 0, 0),
        ("whisper_fr/lora_small", "looped", 0.002, 0.002),
    ],
)
def test_on_published_outputs(shared, name, flag, low, high):
    results = read_results(shared / f"published/predictions/{name}.json")
    flags = [describe_output(p.reference, p.hypothesis, results.run.language) for p in results.predictions]
    assert low <= sum(getattr(f, flag) for f in flags) / len(flags) <= high
