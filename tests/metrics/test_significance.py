import itertools
import random

import numpy as np
import pytest

from asr_headroom.errors import ShapeError, UsageError
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.metrics.significance import (
    choose_clusters,
    compare_rates,
    compare_systems,
    estimate_rate,
)


def random_counts(seed, number, rate=0.2, lengths=None):
    rng = random.Random(seed)
    counts = []
    for i in range(number):
        length = lengths[i] if lengths else rng.randint(3, 20)
        errors = sum(rng.random() < rate for _ in range(length))
        counts.append(ErrorCounts(hits=length - errors, substitutions=errors))
    return counts


def lengths_of(counts):
    return [count.reference_length for count in counts]


def by_utterance(number):
    return choose_clusters([None] * number, [f"sentence {i}" for i in range(number)])


def slow_bootstrap(base, system, labels, resamples, seed):
    """The differences of resampled clusters, one resample at a time, with the standard library."""
    rng = random.Random(seed)
    members = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(index)
    clusters = list(members.values())
    differences = []
    for _ in range(resamples):
        rows = [i for cluster in rng.choices(clusters, k=len(clusters)) for i in cluster]
        length = sum(base[i].reference_length for i in rows)
        differences.append(sum(system[i].errors - base[i].errors for i in rows) / length)
    return differences


def test_interval_agrees_with_a_direct_slow_bootstrap():
    base = random_counts(1, 60)
    system = random_counts(2, 60, 0.15, lengths_of(base))
    sentences = [f"s{i % 25}" for i in range(60)]
    clustering = choose_clusters([None] * 60, sentences)
    fast = compare_systems(base, system, clustering, resamples=20_000)
    slow = np.array(slow_bootstrap(base, system, sentences, 6_000, seed=3))
    # 25 clusters: read further out, by sqrt(25 / 24) * t_24(97.5 %) = 2.1065 instead of 1.96 normal deviations.
    low, high = np.quantile(slow, [0.017582, 1 - 0.017582])
    assert clustering.num_clusters == 25
    assert fast.interval.low == pytest.approx(low, abs=0.003)
    assert fast.interval.high == pytest.approx(high, abs=0.003)
    assert fast.standard_error == pytest.approx(np.std(slow, ddof=1) * (25 / 24) ** 0.5, rel=0.05)
    plain = 2 * min(np.mean(slow >= 0), np.mean(slow <= 0))
    assert plain <= fast.p_value < plain + 0.02


def test_with_many_clusters_it_is_the_percentile_interval():
    base = random_counts(18, 500)
    system = random_counts(19, 500, 0.21, lengths_of(base))
    sentences = [f"s{i % 296}" for i in range(500)]
    fast = compare_systems(base, system, choose_clusters([None] * 500, sentences))
    slow = np.array(slow_bootstrap(base, system, sentences, 3_000, seed=3))
    assert (fast.method, fast.num_clusters) == ("widest of percentile and t", 296)
    assert (fast.interval.low, fast.interval.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), abs=0.002)
    assert fast.p_value == pytest.approx(2 * min(np.mean(slow >= 0), np.mean(slow <= 0)), abs=0.02)


def test_swapping_systems_negates_the_difference():
    base = random_counts(4, 50)
    system = random_counts(5, 50, 0.3, lengths_of(base))
    there, back = (compare_systems(*pair, by_utterance(50)) for pair in ((base, system), (system, base)))
    assert there.difference == -back.difference
    assert there.interval.low == pytest.approx(-back.interval.high)
    assert there.interval.high == pytest.approx(-back.interval.low)
    assert there.p_value == back.p_value
    assert {there.verdict, back.verdict} == {"better", "worse"}


def test_a_system_against_itself_shows_nothing():
    counts = random_counts(6, 30)
    comparison = compare_systems(counts, counts, by_utterance(30))
    assert (comparison.difference, comparison.p_value) == (0.0, 1.0)
    assert comparison.verdict == "cannot tell"
    assert comparison.utterances_needed is None


def test_same_seed_same_interval_and_other_seed_almost():
    base = random_counts(7, 80)
    system = random_counts(8, 80, 0.25, lengths_of(base))
    first, again, other = (compare_systems(base, system, by_utterance(80), seed=s) for s in (0, 0, 1))
    assert first == again
    assert other.interval != first.interval
    assert other.interval.low == pytest.approx(first.interval.low, abs=0.005)


def test_copies_of_utterances_in_one_cluster_add_no_certainty():
    base = random_counts(9, 40)
    system = random_counts(10, 40, 0.3, lengths_of(base))
    once = compare_systems(base, system, by_utterance(40))
    sentences = [f"s{i % 40}" for i in range(120)]
    clustered = compare_systems(base * 3, system * 3, choose_clusters([None] * 120, sentences))
    naive = compare_systems(base * 3, system * 3, choose_clusters([None] * 120, sentences, "utterance"))
    assert clustered.standard_error == pytest.approx(once.standard_error, rel=0.05)
    assert naive.standard_error < 0.7 * once.standard_error


def test_detectable_effect_shrinks_with_the_square_root_of_the_test():
    base = random_counts(11, 400)
    system = random_counts(12, 400, 0.21, lengths_of(base))
    whole = compare_systems(base, system, by_utterance(400))
    quarter = compare_systems(base[:100], system[:100], by_utterance(100))
    assert quarter.minimal_detectable_effect == pytest.approx(2 * whole.minimal_detectable_effect, rel=0.25)


def test_utterances_needed_would_make_the_difference_detectable():
    base = random_counts(13, 100)
    system = random_counts(14, 100, 0.22, lengths_of(base))
    comparison = compare_systems(base, system, by_utterance(100))
    assert comparison.utterances_needed is not None
    total = 100 + comparison.utterances_needed
    detectable_then = comparison.minimal_detectable_effect * (100 / total) ** 0.5
    assert detectable_then == pytest.approx(abs(comparison.difference), rel=0.05)


@pytest.mark.parametrize("number", [1, 2, 5])
def test_too_few_clusters_never_give_a_verdict(number):
    base = [ErrorCounts(hits=0, substitutions=10)] * number
    system = [ErrorCounts(hits=10)] * number
    assert compare_systems(base, system, by_utterance(number)).verdict == "cannot tell"
    assert compare_systems(base * 6, system * 6, by_utterance(number * 6)).verdict == "better"


def test_rate_and_its_interval():
    counts = random_counts(15, 200)
    estimate = estimate_rate(counts, by_utterance(200))
    assert estimate.rate == ErrorCounts.total(counts).error_rate
    assert estimate.rate in estimate.interval
    rates = [
        sum(counts[i].errors for i in rows) / sum(counts[i].reference_length for i in rows)
        for rows in (random.Random(s).choices(range(200), k=200) for s in range(3000))
    ]
    low, high = np.quantile(rates, [0.025, 0.975])
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx((low, high), abs=0.003)


def test_refusals():
    counts = random_counts(17, 4)
    four = by_utterance(4)
    with pytest.raises(ShapeError, match="4 base utterances but 3 system"):
        compare_systems(counts, counts[:3], four)
    with pytest.raises(ShapeError, match="3 utterances but 4 cluster labels"):
        estimate_rate(counts[:3], four)
    with pytest.raises(ShapeError, match="no utterances"):
        compare_systems([], [], by_utterance(0))
    longer = [*counts[:3], ErrorCounts(hits=counts[3].reference_length + 1)]
    with pytest.raises(UsageError, match=r"utterance 3 has \d+ reference units"):
        compare_systems(counts, longer, four)
    with pytest.raises(UsageError, match="all references are empty"):
        estimate_rate([ErrorCounts(insertions=2)] * 4, four)


def test_the_detectable_effect_is_detected_four_times_in_five():
    generator = np.random.default_rng(0)

    def counts(rate):
        errors = generator.binomial(10, rate, size=150)
        return [ErrorCounts(hits=10 - int(e), substitutions=int(e)) for e in errors]

    clustering = by_utterance(150)
    effect = np.mean([
        compare_systems(counts(0.3), counts(0.3), clustering, resamples=500).minimal_detectable_effect
        for _ in range(20)
    ])  # fmt: skip
    verdicts = [
        compare_systems(counts(0.3), counts(0.3 - effect), clustering, resamples=500).verdict for _ in range(300)
    ]
    assert verdicts.count("better") / 300 == pytest.approx(0.8, abs=0.08)
    assert verdicts.count("worse") == 0


def test_no_difference_is_called_one_about_once_in_twenty():
    generator = np.random.default_rng(1)
    clustering = by_utterance(100)
    false = 0
    for _ in range(300):
        base, system = (
            [ErrorCounts(hits=9 - int(e), substitutions=int(e)) for e in generator.binomial(9, 0.2, 100)] for _ in "ab"
        )
        false += compare_systems(base, system, clustering, resamples=500).verdict != "cannot tell"
    assert false / 300 == pytest.approx(0.05, abs=0.035)


def test_rates_of_errors_are_the_comparison_of_systems():
    draw = np.random.default_rng(5)
    errors = draw.integers(0, 4, size=(2, 40))
    lengths = draw.integers(4, 9, size=40)
    base, system = ([ErrorCounts(int(n - e), int(e)) for e, n in zip(row, lengths, strict=True)] for row in errors)
    clusters = choose_clusters([f"s{i % 20}" for i in range(40)], [str(i) for i in range(40)])
    assert compare_rates(errors[0], errors[1], lengths, clusters) == compare_systems(base, system, clusters)


def test_words_per_minute_of_silence():
    clusters = choose_clusters([None] * 4, list("abcd"))
    words, minutes = [0, 0, 3, 0], [0.05, 0.1, 0.05, 0.05]
    compared = compare_rates(words, [0] * 4, minutes, clusters)
    assert compared.base == pytest.approx(12.0)
    assert compared.difference == pytest.approx(-12.0)
    # All 4^4 resamples by brute force: the share without the one clip that made something up, larger for four clips.
    none_drawn = sum(2 not in draw for draw in itertools.product(range(4), repeat=4)) / 4**4
    assert 2 * none_drawn <= compared.p_value <= 2 * none_drawn + 0.1


def test_two_systems_silent_in_silence_do_not_differ():
    compared = compare_rates([0] * 8, [0] * 8, [0.1] * 8, choose_clusters([None] * 8, list("abcdefgh")))
    assert (compared.base, compared.difference, compared.p_value, compared.verdict) == (0.0, 0.0, 1.0, "cannot tell")


@pytest.mark.parametrize(
    ("base", "system", "exposure", "error", "message"),
    [
        ([1, 2], [1], [1, 1], ShapeError, "one number of each per utterance"),
        ([], [], [], ShapeError, "at least one utterance"),
        ([[1], [1]], [[1], [1]], [[1], [1]], ShapeError, "one number of each per utterance"),
        ([1, -1], [1, 1], [1, 1], UsageError, "at least 0"),
        ([1, 1], [1, float("nan")], [1, 1], UsageError, "finite"),
        ([1, 1], [1, 1], [0, 0], UsageError, "no exposure"),
        ([1, 1, 1], [1, 1, 1], [1, 1, 1], ShapeError, "3 utterances but 2 cluster labels"),
    ],
)
def test_rates_that_are_none_are_refused(base, system, exposure, error, message):
    with pytest.raises(error, match=message):
        compare_rates(base, system, exposure, choose_clusters([None] * 2, ["a", "b"]))


def test_bca_level_and_method_reach_the_comparison():
    base = random_counts(20, 240)
    system = random_counts(21, 240, 0.3, lengths_of(base))
    clusters = by_utterance(240)
    percentile, bca, narrow = (
        compare_systems(base, system, clusters, **options) for options in ({}, {"method": "bca"}, {"level": 0.5})
    )
    assert (percentile.method, bca.method) == ("widest of percentile and t", "BCa")
    assert bca.interval.low != percentile.interval.low
    assert bca.interval.low == pytest.approx(percentile.interval.low, abs=0.01)
    assert percentile.interval.low < narrow.interval.low < narrow.interval.high < percentile.interval.high
    assert narrow.interval.level == 0.5
    with pytest.raises(UsageError, match="level of an interval is 95"):
        compare_systems(base, system, clusters, level=95)


def test_a_loop_that_carries_the_total_is_seen():
    base = [ErrorCounts(hits=9, substitutions=1)] * 60
    system = [*base[:-1], ErrorCounts(hits=10, insertions=200)]
    assert compare_systems(base, system, by_utterance(60)).largest_share > 0.95
    assert compare_systems(base, random_counts(1, 60, lengths=[10] * 60), by_utterance(60)).largest_share < 0.2


def test_the_interval_of_a_rate_is_not_below_zero():
    counts = [ErrorCounts(hits=10)] * 9 + [ErrorCounts(hits=9, substitutions=1)]
    estimate = estimate_rate(counts, choose_clusters([None] * 10, [str(i) for i in range(10)]))
    assert estimate.interval.low == 0.0 < estimate.rate < estimate.interval.high
