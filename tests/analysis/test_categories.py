import doctest
import json
import os
import random
from pathlib import Path

import pytest

from asr_headroom.analysis import categories_rules
from asr_headroom.analysis.categories import CATEGORIES, categorize, count_categories, is_cased
from asr_headroom.analysis.confusions import count_confusions, count_new_confusions
from asr_headroom.errors import ResultsError
from asr_headroom.metrics.error_rate import ErrorCounts, UtteranceCounts, count_pair
from asr_headroom.results.schema import Prediction, RunInfo
from asr_headroom.results.store import Results
from asr_headroom.text.normalize import get_normalizer

ZH, FR, EN = get_normalizer("study-zh"), get_normalizer("study-fr"), get_normalizer("basic")
UNCOUNTED = UtteranceCounts(ErrorCounts(), ErrorCounts())


def run(pairs, language, name="system"):
    predictions = [
        Prediction(id=f"{i:04d}", reference=reference, hypothesis=hypothesis, counts=UNCOUNTED)
        for i, (reference, hypothesis) in enumerate(pairs)
    ]
    return Results(RunInfo(name=name, language=language, status="complete"), predictions)


def named(pieces):
    return [(piece.category, " ".join(piece.reference), " ".join(piece.hypothesis)) for piece in pieces]


def test_examples():
    assert doctest.testmod(categories_rules).failed == 0


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("il est à paris", "il est a paris", [("accent_homophone", "à", "a")]),
        ("ou est il", "où est il", [("accent_homophone", "ou", "où")]),
        ("un marché ici", "un marche ici", [("accent_only", "marché", "marche")]),
        ("les amis ici", "les ami là", [("agreement_or_plural", "amis", "ami"), ("word_substitution", "ici", "là")]),
        ("il pouvait dire", "il pouvaient dire", [("agreement_or_plural", "pouvait", "pouvaient")]),
        ("il va manger là", "il va mangé là", [("homophone", "manger", "mangé")]),
        ("ses yeux", "ces yeux", [("homophone", "ses", "ces")]),
        ("une boda boda ici", "une bodaboda ici", [("compound", "boda boda", "bodaboda")]),
        ("le del potro", "le delpotro", [("compound", "del potro", "delpotro")]),
        ("qu' une fois", "qu'une fois", [("elision", "qu une", "qu'une")]),
        ("l'honneur est là", "honneur est là", [("elision", "l'honneur", "honneur")]),
        ("trente pour cent ici", "30% ici", [("number_format", "trente pour cent", "30%")]),
        ("à 22 h 00 pile", "à 22h pile", [("number_format", "22 h 00", "22h")]),
        ("il y a 30 ans", "il y a 40 ans", [("number_value", "30", "40")]),
        ("le chat noir", "le chien noir", [("word_substitution", "chat", "chien")]),
        ("le chat noir dort", "le chat dort", [("deletion", "noir", "")]),
        ("le chat dort", "le chat noir dort", [("insertion", "", "noir")]),
        ("il pleut", "«»", [("empty", "il pleut", "")]),
        ("un deux trois quatre cinq rien", "un deux", [("truncation", "trois quatre cinq rien", "")]),
        ("merci", "merci à tous et à lui", [("hallucination_long", "", "à tous et à lui")]),
        ("le mot", "le слово", [("language_switch", "mot", "слово")]),
        ("le chat", "le chat", []),
    ],
)  # fmt: skip
def test_french(reference, hypothesis, expected):
    assert named(categorize(reference, hypothesis, FR, "fr")) == expected


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("她来了", "他来了", [("homophone", "她", "他")]),
        ("石头", "事头", [("homophone_other_tone", "石", "事")]),
        ("国家", "國家", [("script_variant", "国", "國")]),
        ("去体育场看", "去TV看", [("latin_insertion", "体 育 场", "T V")]),
        ("好的人", "好吧人", [("character_substitution", "的", "吧")]),
        ("他走了", "他走", [("deletion", "了", "")]),
    ],
)
def test_chinese(reference, hypothesis, expected):
    assert named(categorize(reference, hypothesis, ZH, "zh")) == expected


def test_a_loop_is_only_what_is_too_much():
    pieces = categorize("他来了吗", "他来了" + "小" * 50, ZH, "zh")
    assert [(piece.category, piece.errors) for piece in pieces] == [("character_substitution", 1), ("loop", 49)]


def test_a_block_is_taken_apart_only_where_no_rule_explains_it():
    pieces = categorize("de la différence culturelle ici", "de la différences culturelles ici", FR, "fr")
    assert [piece.category for piece in pieces] == ["agreement_or_plural"] * 2
    counted = count_categories(run([("différence culturelle", "différences culturelles")], "fr"), FR)
    assert [(c.category, c.errors, c.blocks) for c in counted.counts] == [("agreement_or_plural", 2, 1)]


def test_pairs_are_alike():
    pieces = categorize("de rongeurs d'asunción ici", "de d'assomption ici", FR, "fr")
    assert named(pieces) == [("deletion", "rongeurs", ""), ("word_substitution", "d'asunción", "d'assomption")]


def test_names_need_cased_references():
    cased = run([("He met John there.", "he met jon there")] * 2, "en")
    lower = run([("he met john there", "he met jon there")] * 2, "en")
    assert is_cased(cased)
    assert not is_cased(lower)
    assert [c.category for c in count_categories(cased, EN).counts] == ["name_like"]
    counted = count_categories(lower, EN)
    assert [c.category for c in counted.counts] == ["word_substitution"]
    assert not counted.cased


def test_another_language_is_one_category():
    counted = count_categories(run([("le chat dort", "this is the cat of the house that was")], "fr"), FR)
    assert [(c.category, c.errors) for c in counted.counts] == [("language_switch", 9)]


def test_sentences_count_once():
    pairs = [("ses yeux", "ces yeux")] * 5 + [("ses amis", "ces amis"), ("un chat", "un rat")]
    results = run(pairs, "fr")
    homophone = count_categories(results, FR).of("homophone")
    assert (homophone.errors, homophone.utterances, homophone.sentences) == (6, 6, 2)
    assert homophone.examples == (("ses", "ces", 2),)
    first, second = count_confusions(results, FR)
    assert (first.reference, first.hypothesis, first.sentences, first.occurrences) == ("ses", "ces", 2, 6)
    assert (second.reference, second.sentences) == ("chat", 1)
    assert count_confusions(results, FR, top=1) == [first]


def test_new_confusions_are_those_the_base_makes_less():
    base = run([("ses yeux", "ces yeux"), ("un chat", "un chat")], "fr")
    system = run([("ses yeux", "ces yeux"), ("un chat", "un rat")], "fr")
    grown = count_new_confusions(base, system, FR)
    assert [(c.reference, c.hypothesis, c.sentences, before) for c, before in grown] == [("chat", "rat", 1, 0)]
    assert count_new_confusions(base, base, FR) == []


@pytest.mark.parametrize(("normalizer", "language"), [(FR, "fr"), (ZH, "zh"), (EN, None), (FR, "de")])
def test_errors_of_all_pieces_are_the_error_count(normalizer, language):
    rng = random.Random(7)
    words = ["le", "les", "à", "a", "22", "h", "00", "国", "國", "他", "她", "OK", "l'eau", "eau", "«", "trois", "3"]
    known = {category.id for category in CATEGORIES}
    for _ in range(300):
        reference, hypothesis = (" ".join(rng.choices(words, k=rng.randint(0, 12))) for _ in range(2))
        if rng.random() < 0.1:
            hypothesis += " non" * 12
        pieces = categorize(reference, hypothesis, normalizer, language)
        counts = count_pair(reference, hypothesis, normalizer).of(normalizer.unit)
        assert sum(piece.errors for piece in pieces) == counts.errors, (reference, hypothesis)
        assert {piece.category for piece in pieces} <= known


def test_refusal():
    with pytest.raises(ResultsError, match="no predictions"):
        count_categories(run([], "fr"), FR)


SHARED = Path(os.environ.get("ASR_HEADROOM_SHARED", Path(__file__).parents[2].parent / "shared"))


def published(name, language):
    path = SHARED / "published" / "predictions" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no published predictions in {SHARED}")
    rows = json.loads(path.read_text(encoding="utf-8"))["predictions"]
    return run([(row["ref"], row["hyp"]) for row in rows], language, name)


@pytest.mark.shared
def test_trap_9_an_eighth_of_turbos_errors_is_number_format():
    counted = count_categories(published("whisper_fr/baseline_turbo", "fr"), FR)
    assert counted.errors == 725
    assert counted.of("number_format").share == pytest.approx(0.12, abs=0.02)
    assert not counted.cased


@pytest.mark.shared
def test_trap_11_accent_pairs_are_reached_and_sentences_counted():
    counted = count_categories(published("whisper_fr/baseline_small", "fr"), FR)
    accents = counted.of("accent_homophone")
    assert {("a", "à"), ("à", "a")} <= {example[:2] for example in accents.examples}
    for count in counted.counts:
        assert count.sentences <= count.utterances <= count.blocks <= count.errors


@pytest.mark.shared
def test_most_chinese_errors_sound_right():
    """The study's own rule found 2 homophones among the worst hundred of this file."""
    counted = count_categories(published("whisper_zh/lora_medium", "zh"), ZH)
    alike = sum(counted.of(category).share for category in ("homophone", "homophone_other_tone"))
    assert alike > 0.55


def test_german_nouns_the_english_i_and_capitals_throughout_are_no_names():
    german = run([("wir sahen das Haus und den Zug", "wir sahen das haus und den Zuck")] * 2, "de")
    assert not is_cased(german)
    assert not is_cased(run([("and then I said I'm here", "and then he said I'm here")] * 2, "en"))
    assert not is_cased(run([("HE MET THE MAN THERE", "he met the men there")] * 2, "en"))


@pytest.mark.parametrize(
    ("language", "normalizer", "reference", "hypothesis", "category"),
    [
        # Katakana in a sentence that happens to hold none is still Japanese.
        ("ja", "raw-characters", "今日は本を読む", "今日はテレビを読む", "language_switch"),
        ("ja", "raw-characters", "学校に行きます", "学校に行ぎます", "accent_only"),
        # के and का differ by a vowel sign alone: another word, not the same letters.
        ("hi", "raw", "वह के साथ था", "वह का साथ था", "compound"),
        ("hi", "raw", "वह के साथ था", "वह का साथ था", "accent_only"),
    ],
)
def test_what_other_scripts_do_not_make(language, normalizer, reference, hypothesis, category):
    pieces = categorize(reference, hypothesis, get_normalizer(normalizer), language)
    assert pieces
    assert category not in {piece.category for piece in pieces}
