import math
from fractions import Fraction

import pytest

from asr_headroom.metrics.distributions import (
    beta_cdf,
    binomial_cdf,
    normal_cdf,
    normal_quantile,
    student_cdf,
    student_quantile,
)


@pytest.mark.parametrize("trials", [1, 7, 40, 301])
def test_binomial_against_whole_numbers(trials):
    ways = 0
    for successes in range(trials + 1):
        ways += math.comb(trials, successes)
        assert binomial_cdf(successes, trials) == pytest.approx(float(Fraction(ways, 2**trials)), rel=1e-10)


def test_binomial_with_another_probability():
    expected = sum(math.comb(9, k) * 0.3**k * 0.7 ** (9 - k) for k in range(4))
    assert binomial_cdf(3, 9, 0.3) == pytest.approx(expected, rel=1e-12)


def density(t, df):
    log = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - (df + 1) / 2 * math.log1p(t * t / df)
    return math.exp(log) / math.sqrt(df * math.pi)


@pytest.mark.parametrize("df", [1, 2, 5.5, 29, 1999])
def test_student_is_the_integral_of_its_density(df):
    steps = 4000
    for t in (0.3, 1.7, 4.0):
        width = t / steps
        # Simpson's rule from 0 to t.
        inner = sum((4 if k % 2 else 2) * density(k * width, df) for k in range(1, steps))
        area = width / 3 * (density(0, df) + inner + density(t, df))
        assert student_cdf(t, df) == pytest.approx(0.5 + area, abs=1e-10)
        assert student_cdf(-t, df) == pytest.approx(0.5 - area, abs=1e-10)


def test_student_by_its_closed_forms():
    for t in (-30.0, -1.0, 0.2, 5.0):
        assert student_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, rel=1e-10)
        assert student_cdf(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), rel=1e-9)


@pytest.mark.parametrize("probability", [1e-6, 0.0125, 0.3, 0.5, 0.8, 0.975, 0.9999])
@pytest.mark.parametrize("df", [1, 4, 29.5, 1e9])
def test_quantiles_invert(probability, df):
    assert student_cdf(student_quantile(probability, df), df) == pytest.approx(probability, rel=1e-9)
    assert normal_cdf(normal_quantile(probability)) == pytest.approx(probability, rel=1e-9)


def test_ends():
    assert (normal_quantile(0), normal_quantile(1)) == (-math.inf, math.inf)
    assert (student_quantile(0, 3), student_quantile(1, 3)) == (-math.inf, math.inf)
    assert (student_cdf(math.inf, 3), student_cdf(-math.inf, 3)) == (1.0, 0.0)
    assert (beta_cdf(0, 2, 3), beta_cdf(1, 2, 3)) == (0.0, 1.0)
    assert (binomial_cdf(-1, 3), binomial_cdf(3, 3)) == (0.0, 1.0)
