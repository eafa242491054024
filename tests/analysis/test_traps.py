"""The measurement mistakes of the published study (TRAPS A.1 to A.12), each made small: what the product says instead.

Every example is one where the mistaken way of measuring gives another answer, and says so.
"""

import dataclasses
import difflib
import math
import random
import statistics

import pytest

from asr_headroom.analysis.categories import count_categories
from asr_headroom.analysis.causes import split_difference, split_errors
from asr_headroom.analysis.confusions import count_confusions
from asr_headroom.analysis.distribution import distribution
from asr_headroom.analysis.outputs import describe_output
from asr_headroom.analysis.scoring import compare_results, score_results
from asr_headroom.errors import ResultsError
from asr_headroom.metrics.alignment import align
from asr_headroom.metrics.multiplicity import holm_adjusted
from asr_headroom.testing.results import make_results
from asr_headroom.text.normalize import get_normalizer

STUDY_FR, STUDY_ZH = get_normalizer("study-fr"), get_normalizer("study-zh")
WORDS = ["le", "chat", "noir", "dort", "dans", "la", "maison", "du", "vieux", "moulin", "près", "de", "rivière"]


def sentences(number, seed=0, length=12):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=length)) for _ in range(number)]


def with_errors(references, errors):
    """The references with so many words replaced, each by something nobody says."""
    return [
        (text, " ".join(["xx"] * wrong + text.split()[wrong:])) for text, wrong in zip(references, errors, strict=True)
    ]


def two_proportion_p(errors_a, errors_b, words):
    """The p-value of those who take every word for an independent trial."""
    pooled = (errors_a + errors_b) / (2 * words)
    z = abs(errors_a - errors_b) / words / math.sqrt(2 * pooled * (1 - pooled) / words)
    return math.erfc(z / math.sqrt(2))


def test_a1_a_gain_that_is_script_is_named_script():
    simplified = ["这个问题很难说明白", "学习语言需要时间", "我们昨天去看电影", "他说这里没有图书馆"] * 5
    references = [f"{text}{number}" for number, text in enumerate(simplified)]
    traditional = str.maketrans("这个问题难说学习语时间们电图书馆没", "這個問題難說學習語時間們電圖書館沒")
    base = make_results([(r, r.translate(traditional)) for r in references], normalizer_id="study-zh", language="zh")
    # The tuned system hears one character less in each: it is worse, and the raw score says it is much better.
    tuned = make_results([(r, r[1:]) for r in references], normalizer_id="study-zh", language="zh")
    pair = compare_results(base, tuned, normalizer=STUDY_ZH)
    assert (pair.comparison.verdict, pair.other_comparison.verdict) == ("better", "worse")
    assert any("the verdict depends on the normalizer" in warning for warning in pair.warnings)
    split = split_difference(base, tuned, STUDY_ZH)
    assert split.ranked[0].cause.id == "script"
    assert split.ranked[0].difference < split.difference < 0 < split.group_difference("hearing")


def test_a2_a_loop_that_carries_the_total_is_seen():
    references = sentences(40)
    texts = with_errors(references, [1] * 40)
    texts[7] = (references[7], references[7] + " et puis" * 200)
    run = make_results(texts, language="fr")
    score = score_results(run)
    assert score.counts.error_rate > 0.9
    assert score.capped_rate < 0.12
    spread = distribution([counts.words for counts in run.counts(get_normalizer("fr"))])
    assert (spread.utterances_with_half, spread.errors_of_worst) == (1, 400)
    split = split_errors(run, STUDY_FR)
    assert split.share("loops").share > 0.9
    assert split.share("acoustic").errors == pytest.approx(39, abs=2)
    assert describe_output(*texts[7], "fr").looped


def test_a3_readings_of_one_sentence_are_one_cluster():
    distinct = sentences(20)
    references = [text for text in distinct for _ in range(5)]
    # A sentence is hard for all its readers or for none.
    errors = [wrong for wrong in random.Random(3).choices([0, 0, 1, 6], k=20) for _ in range(5)]
    run = make_results(with_errors(references, errors), language="fr")
    default, naive = score_results(run), score_results(run, cluster="utterance")
    assert (default.estimate.cluster_by, default.estimate.num_clusters) == ("sentence", 20)
    widths = [score.estimate.interval.high - score.estimate.interval.low for score in (default, naive)]
    assert widths[0] > 1.8 * widths[1], "five readings are not five times the evidence (the square root of 5 is 2.2)"


def test_a4_words_are_not_independent():
    errors = random.Random(4).choices([0, 0, 0, 0, 10], k=300)
    estimate = score_results(make_results(with_errors(sentences(300), errors), language="fr")).estimate
    words = 300 * 12
    z, p = 1.96, estimate.rate
    wilson = 2 * z / (1 + z * z / words) * math.sqrt(p * (1 - p) / words + z * z / (4 * words * words))
    assert estimate.interval.high - estimate.interval.low > 1.9 * wilson


def test_a5_what_words_call_significant_is_not_once_paired_and_clustered():
    rng = random.Random(5)
    distinct = sentences(30, seed=5)
    before = [wrong for wrong in rng.choices(range(4), k=30) for _ in range(4)]
    # Three sentences of thirty fall apart, with all their readers; the rest stays as it was.
    after = [9 if i // 4 in (3, 11, 20) else wrong for i, wrong in enumerate(before)]
    references = [text for text in distinct for _ in range(4)]
    base, system = (make_results(with_errors(references, errors), language="fr") for errors in (before, after))
    comparison = compare_results(base, system).comparison
    assert two_proportion_p(sum(before), sum(after), 12 * 120) < 0.001
    assert comparison.cluster_by == "sentence"
    assert comparison.num_clusters == 30
    assert comparison.verdict == "cannot tell"
    assert comparison.minimal_detectable_effect > 0.04, "every comparison says what it could have seen"


def test_a5_of_many_rows_some_are_significant_by_luck():
    p_values = [0.03, 0.04, 0.045, 0.2, 0.3, 0.6, 0.9]
    assert sum(p < 0.05 for p in p_values) == 3
    assert not [p for p in holm_adjusted(p_values) if p < 0.05]


def test_a6_three_errors_of_two_thousand_words_fix_nothing():
    references = sentences(190, seed=6)
    before = [1] * 144 + [0] * 46
    after = [1] * 110 + [0] * 49 + [1] * 31
    base, system = (make_results(with_errors(references, errors), language="fr") for errors in (before, after))
    pair = compare_results(base, system)
    assert (sum(before), sum(after)) == (144, 141)
    assert pair.comparison.verdict == "cannot tell"
    assert pair.comparison.utterances_needed > 10_000


def test_a6_both_systems_are_scored_by_one_normaliser():
    references = ["Le prix est de 5 euros ?", "L’été « c’est » fini !"] * 10
    base = make_results([(r, r.lower()) for r in references], normalizer_id="basic", language="fr")
    stored = make_results([(r, r.lower()) for r in references], normalizer_id="study-fr", language="fr")
    pair = compare_results(base, stored)
    assert pair.normalizer.id == "basic"
    assert pair.comparison.difference == 0, "each under its own would differ by format"


def test_a7_noise_of_batching_is_no_difference_and_other_decoding_is_said():
    rng = random.Random(7)
    references = sentences(500, seed=7)
    before = rng.choices([0, 0, 1, 2], k=500)
    after = [wrong + rng.choice([-1, 1]) if wrong and i % 11 == 0 else wrong for i, wrong in enumerate(before)]
    runs = [
        make_results(with_errors(references, errors), language="fr", decoding={"batch": size}, decoding_hash=f"h{size}")
        for errors, size in ((before, 4), (after, 8))
    ]
    pair = compare_results(*runs)
    assert 0 < abs(pair.comparison.difference) < 0.0025
    assert pair.comparison.verdict == "cannot tell"
    assert any("decoded differently" in warning and "batch 4 and 8" in warning for warning in pair.warnings)


def test_a8_other_clips_are_refused_or_left_out_aloud():
    base = make_results(with_errors(sentences(100, seed=8), [1] * 100))
    others = [dataclasses.replace(p, id=f"other-{p.id}") for p in base.predictions[91:]]
    system = dataclasses.replace(base, predictions=[*base.predictions[:91], *others])
    with pytest.raises(ResultsError, match="91 shared, 9 only in the first, 9 only in the second"):
        compare_results(base, system)
    pair = compare_results(base, system, intersect=True)
    assert (pair.comparison.num_utterances, pair.left_out) == (91, 18)
    assert any(warning.startswith("18 utterances that only one of the two has") for warning in pair.warnings)


def test_a9_digits_are_format():
    references = ["il a perdu trente pour cent de son poids", "elle arrive demain", "le train part à vingt-deux heures"]
    texts = [references[0].replace("trente pour cent", "30 %"), "elle arrive deux mains"]
    texts.append(references[2].replace("vingt-deux heures", "22 heures"))
    split = split_errors(make_results(list(zip(references, texts, strict=True)), language="fr"), STUDY_FR)
    assert split.share("numerals").errors == pytest.approx(5), "trente pour cent → 30 %: 3; vingt-deux → 22: 2"
    assert split.share("acoustic").errors == pytest.approx(2)


def test_a10_a_run_of_quotes_is_an_empty_output():
    reference, output = "il a dit que le temps passe", "« » «» «» «» «» «»\u00a0«»"
    run = make_results([(reference, output), *with_errors(sentences(20), [0] * 20)], language="fr")
    split = split_errors(run, STUDY_FR)
    assert split.share("empty").errors == 7
    assert split.share("acoustic").errors == 0, "nothing was hallucinated"
    assert describe_output(reference, output, "fr").empty


def test_a11_blocks_come_from_a_minimal_alignment():
    """difflib looks for long common stretches and finds more edits than there are."""
    rng = random.Random(11)
    worse = 0
    for _ in range(200):
        reference, hypothesis = (rng.choices("abc", k=8) for _ in range(2))
        cost = sum(block.operation != "equal" for block in align(reference, hypothesis))
        codes = difflib.SequenceMatcher(None, reference, hypothesis, autojunk=False).get_opcodes()
        of_difflib = sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in codes if tag != "equal")
        assert cost <= of_difflib
        worse += cost < of_difflib
    assert worse > 20


def test_a11_homophones_by_accent_and_distinct_sentences_are_counted():
    reference, output = "il va à la mer ou à la ville", "il va a la mer où à la ville"
    texts = [(reference, output)] * 5 + [("elle est là", "elle est la"), ("le chat dort", "le chien dort")]
    report = count_categories(make_results(texts, language="fr"), get_normalizer("fr"))
    count = report.of("accent_homophone")
    assert (count.errors, count.utterances, count.sentences) == (11, 6, 2)
    confusions = {(c.reference, c.hypothesis): c for c in count_confusions(make_results(texts), get_normalizer("fr"))}
    read_often = confusions["à", "a"]
    assert (read_often.occurrences, read_often.sentences) == (5, 1)


def test_a12_rates_do_not_average():
    run = make_results([("oui", "non"), *with_errors(sentences(9), [0] * 9)], language="fr")
    rates = [counts.words.error_rate for counts in run.counts(get_normalizer("fr"))]
    assert statistics.fmean(rates) == pytest.approx(0.1)
    assert score_results(run).counts.error_rate == pytest.approx(1 / (1 + 9 * 12))
    halves = [make_results(texts) for texts in ([("oui", "non")], with_errors(sentences(9), [0] * 9))]
    totals = [half.total(get_normalizer("fr")) for half in halves]
    assert (totals[0] + totals[1]).error_rate == score_results(run).counts.error_rate
