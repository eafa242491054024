import numpy as np
import pytest

from asr_headroom.errors import UsageError
from asr_headroom.metrics.clustering import label_clusters
from asr_headroom.metrics.distributions import student_cdf
from asr_headroom.metrics.intervals import RateDistribution, Student
from asr_headroom.metrics.margins import judge_margin
from asr_headroom.metrics.significance import difference_of_rates


def student(estimate, standard_error, df=20):
    return RateDistribution(
        estimate=estimate,
        standard_error=standard_error,
        degrees_of_freedom=df,
        largest_share=0.1,
        distribution=Student(estimate, standard_error, df),
    )


def test_schuirmanns_two_tests_by_hand():
    found = judge_margin(student(0.002, 0.002), 0.005, claim="equivalent")
    # t = (0.005 - 0.002) / 0.002 = 1.5 against the upper margin, (0.005 + 0.002) / 0.002 = 3.5 against the lower.
    assert found.p_value == pytest.approx(1 - student_cdf(1.5, 20))
    assert not found.holds
    assert judge_margin(student(0.0, 0.002), 0.005, claim="equivalent").p_value == pytest.approx(
        student_cdf(-2.5, 20)
    )  # fmt: skip


def test_non_inferiority_looks_at_one_side():
    better = student(-0.02, 0.002)
    assert judge_margin(better, 0.005).holds
    assert not judge_margin(better, 0.005, claim="equivalent").holds
    worse = student(0.02, 0.002)
    assert not judge_margin(worse, 0.005).holds
    assert judge_margin(worse, 0.005).p_value > 0.999


@pytest.mark.parametrize("claim", ["non-inferior", "equivalent"])
def test_claim_holds_exactly_when_the_ninety_per_cent_interval_lies_within(claim):
    draw = np.random.default_rng(1)
    clusters = label_clusters(range(80), "utterance")
    judged = []
    for _ in range(40):
        lengths = draw.integers(5, 20, 80)
        hard = draw.gamma(2.0, 0.4, 80)
        difference = difference_of_rates(draw.poisson(hard), draw.poisson(hard), lengths, clusters, resamples=2000)
        found = judge_margin(difference, 0.02, claim=claim)
        low, high = found.interval.low, found.interval.high
        assert found.interval.level == pytest.approx(0.9)
        within = high < 0.02 and (claim == "non-inferior" or low > -0.02)
        # A replicate exactly at the margin may count to either side.
        assert found.holds == within or min(abs(high - 0.02), abs(low + 0.02)) < 2e-4
        judged.append(found.holds)
    assert 0 < sum(judged) < 40


def test_a_difference_of_the_margin_is_seldom_called_within():
    """The error of the first kind: at a true difference of the margin, at most one claim in twenty."""
    draw = np.random.default_rng(2)
    clusters = label_clusters(range(40), "speaker")
    claims = 0
    for _ in range(300):
        lengths = draw.integers(50, 150, 40)
        base, system = draw.poisson(lengths * 0.10), draw.poisson(lengths * 0.12)
        difference = difference_of_rates(base, system, lengths, clusters, resamples=500)
        claims += judge_margin(difference, 0.02).holds
    assert claims / 300 < 0.05 + 0.03


def test_too_few_clusters_bear_no_claim():
    assert not judge_margin(student(0.0, 1e-6, df=4), 0.005).holds
    assert judge_margin(student(0.0, 1e-6, df=5), 0.005).holds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0}, "the margin is 0"),
        ({"margin": -0.01}, "the margin is -0.01"),
        ({"margin": float("inf")}, "the margin is inf"),
        ({"margin": 0.01, "claim": "same"}, "cannot judge the claim 'same'"),
        ({"margin": 0.01, "level": 0.5}, r"the level is 0.5"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(UsageError, match=message):
        judge_margin(student(0.0, 0.01), **options)
