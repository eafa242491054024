import numpy as np
import pytest

from asr_headroom.metrics.alignment import align
from asr_headroom.metrics.clustering import choose_clusters, cross_clusters, label_clusters
from asr_headroom.metrics.margins import judge_margin
from asr_headroom.metrics.paired_tests import mapsswe, mcnemar_test, sign_flip_test
from asr_headroom.metrics.seeds import compare_seeds
from asr_headroom.metrics.sequential import Race
from asr_headroom.metrics.significance import compare_rates, difference_of_rates
from asr_headroom.report.statistics_text import (
    explain_comparison,
    explain_dominance,
    explain_mapsswe,
    explain_margin,
    explain_mcnemar,
    explain_method,
    explain_multiplicity,
    explain_seeds,
    explain_sign_flips,
    explain_standing,
)


def sentences(number):
    return choose_clusters([None] * number, [f"s{i}" for i in range(number)], "sentence")


def compared(number, gain=0.0, clusters=None):
    draw = np.random.default_rng(number)
    base = draw.poisson(2.0, number)
    system = draw.poisson(2.0 * (1 - gain), number)
    return compare_rates(base, system, [12] * number, clusters or sentences(number))


def test_zero_within_says_what_could_have_been_seen():
    comparison = compared(296)
    points = f"{100 * comparison.minimal_detectable_effect:.1f}"
    assert explain_comparison(comparison) == (
        f"the interval includes zero; with 296 sentences you could have seen {points} points"
    )
    assert explain_method(comparison) == "95 % interval, the widest of percentile and t, over 296 sentences"
    assert explain_dominance(comparison) is None


def test_zero_outside_says_for_whom():
    assert explain_comparison(compared(296, gain=0.5)) == (
        "the interval excludes zero: a difference, for new sentences by the same mix of speakers"
    )


def test_few_clusters_are_told():
    assert explain_comparison(compared(5)) == "5 sentences are too few for any verdict"
    assert explain_comparison(compared(1)) == "1 sentence is too few for any verdict"
    assert explain_method(compared(9)) == (
        "only 9 sentences: the interval is the widest of percentile, t and sign flips, "
        "and covers new sentences by the same mix of speakers"
    )
    same = compare_rates([2] * 9, [3] * 9, [10] * 9, sentences(9))
    assert explain_comparison(same) == "the difference is the same in all 9 sentences, so there is no interval"


def test_crossed_clusters_have_both_names():
    crossed = cross_clusters(
        label_clusters([i % 25 for i in range(100)], "sentence"),
        label_clusters([i % 16 for i in range(100)], "speaker"),
    )
    assert "with 16 clusters by sentence and speaker you could" in explain_comparison(compared(100, clusters=crossed))


def test_a_loop_is_warned_of():
    base, system = [1] * 60, [1] * 60
    system[5], system[6] = 90, 2
    text = explain_dominance(compare_rates(base, system, [12] * 60, sentences(60)))
    assert text.startswith("one sentence holds ")
    assert "the interval is too narrow; look at the capped rate" in text


def test_margins():
    draw = np.random.default_rng(0)
    hard = 1 + draw.poisson(2.0, 200)
    difference = difference_of_rates(hard, hard + draw.integers(-1, 2, 200), [20] * 200, sentences(200))
    assert explain_margin(judge_margin(difference, 0.02)).startswith("the system is worse by less than 2 points (90 %")
    assert explain_margin(judge_margin(difference, 0.02, claim="equivalent")).startswith(
        "the system is within 2 points"
    )
    assert explain_margin(judge_margin(difference, 1e-4)).startswith("not shown to be worse by less than 0.01 points")


def test_tests_without_interval():
    flips = sign_flip_test([1, 1, 1, 1, 1, -1], sentences(6))
    # 2 * (1 + 6) / 64 patterns differ by four or more.
    assert explain_sign_flips(flips) == (
        "were the two systems alike, 21.9 % of swaps would differ as much (exact, p = 0.22)"
    )
    assert "fewer than one in 1,000 of swaps" in explain_sign_flips(sign_flip_test([1] * 12, sentences(12)))
    assert explain_sign_flips(sign_flip_test([0, 0], sentences(2))) == "both make as many errors in every cluster"
    assert explain_mcnemar(mcnemar_test([1] * 5 + [0], [0] * 5 + [1])) == (
        "5 sentences right only in the system, 1 only in the base (p = 0.22, McNemar)"
    )
    pairs = [("a b c d e f", "a x c d e f"), ("a b c", "a b c"), ("a b c", "a b d")]
    base, system = [align(r.split(), h.split()) for r, h in pairs], [align(r.split(), r.split()) for r, _ in pairs]
    system[2] = align(["a", "b", "c"], ["a"])
    assert explain_mapsswe(mapsswe(base, system)) == (
        "2 segments with an error, +0.00 errors each, z = 0.00 (p = 1.00, MAPSSWE)"
    )


@pytest.mark.parametrize(
    ("number", "method", "text"),
    [
        (1, "Holm", "a single comparison needs no correction"),
        (7, "Holm", "p-values are corrected for 7 comparisons (Holm): even one false claim stays at the level"),
        (
            7,
            "Benjamini-Hochberg",
            "p-values are corrected for 7 comparisons (Benjamini-Hochberg): "
            "the share of false claims stays at the level",
        ),
    ],
)
def test_multiplicity(number, method, text):
    assert explain_multiplicity(number, method=method) == text


def test_seeds():
    lengths = np.full(40, 10)
    few = compare_seeds(lengths * 0.2, np.outer([0.1, 0.12], lengths), lengths, sentences(40))
    text = explain_seeds(few)
    assert text.startswith("−9.00 points on average over 2 seeds (")
    assert "2 seeds say little about further ones; trainings differ by 1.41 points" in text
    many = compare_seeds(lengths * 0.2, np.outer([0.1, 0.12] * 3, lengths), lengths, sentences(40))
    assert "the interval excludes zero; trainings differ" in explain_seeds(many)


def test_race():
    race = Race(["a", "b"])
    race.update({"a": [0, 1] * 50, "b": [2, 1] * 50})
    assert [explain_standing(s) for s in race.standings()] == [
        "a: 0.50 errors per utterance after 100 utterances",
        "b: dropped, certainly behind a (1.50 errors per utterance after 100 utterances)",
    ]
