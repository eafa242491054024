"""Normal, Student and binomial probabilities in plain Python, to about ten digits.

They are all that this package needs of a statistics library, and the core stays small without one.
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist

__all__ = ["beta_cdf", "binomial_cdf", "normal_cdf", "normal_quantile", "student_cdf", "student_quantile"]

_NORMAL = NormalDist()
_TINY = 1e-300
_PRECISION = 1e-15
_MAX_TERMS = 10_000
_MAX_STEPS = 200
_NORMAL_FROM = 1e7
"""Degrees of freedom from which Student's distribution is the normal one to eight digits."""


def normal_cdf(z: float) -> float:
    """P(Z <= z) of a standard normal variable, accurate in both tails.

    >>> round(normal_cdf(-1.96), 6)
    0.024998
    """
    return 0.5 * math.erfc(-z / math.sqrt(2))


def normal_quantile(probability: float) -> float:
    """The z with P(Z <= z) = ``probability``; infinite at 0 and 1.

    >>> round(normal_quantile(0.975), 6)
    1.959964
    """
    if probability <= 0 or probability >= 1:
        return -math.inf if probability <= 0 else math.inf
    return _NORMAL.inv_cdf(probability)


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a, b > 0.

    By its continued fraction with Lentz's method (Press et al., 2007, "Numerical Recipes", §6.4).
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )  # fmt: skip
    return min(1.0, front * _continued_fraction(x, a, b) / a)


def _continued_fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MAX_TERMS):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away_from_zero(1 + numerator * d)
            c = _away_from_zero(1 + numerator / c)
            step = c * d
            value *= step
        if abs(step - 1) < _PRECISION:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def student_cdf(t: float, degrees_of_freedom: float) -> float:
    """P(T <= t) of Student's distribution; the degrees of freedom need not be whole.

    >>> round(student_cdf(2.0, 10), 6)
    0.963306
    """
    if math.isinf(t):
        return float(t > 0)
    if degrees_of_freedom > _NORMAL_FROM:
        return normal_cdf(t)
    tail = 0.5 * beta_cdf(degrees_of_freedom / (degrees_of_freedom + t * t), degrees_of_freedom / 2, 0.5)
    return 1 - tail if t > 0 else tail


@functools.cache
def student_quantile(probability: float, degrees_of_freedom: float) -> float:
    """The t with P(T <= t) = ``probability``; infinite at 0 and 1.

    >>> round(student_quantile(0.975, 10), 6)
    2.228139
    """
    if probability <= 0 or probability >= 1:
        return -math.inf if probability <= 0 else math.inf
    if probability > 0.5:
        return -student_quantile(1 - probability, degrees_of_freedom)
    low, high = -1.0, 0.0
    while student_cdf(low, degrees_of_freedom) > probability:
        low *= 2
    # Newton's steps, kept between bounds that close in: far out in heavy tails a step may leave them.
    t = max(low, normal_quantile(probability))
    for _ in range(_MAX_STEPS):
        excess = student_cdf(t, degrees_of_freedom) - probability
        low, high = (low, t) if excess > 0 else (t, high)
        step = t - excess / _student_density(t, degrees_of_freedom)
        nearer = step if low < step < high else (low + high) / 2
        if abs(nearer - t) <= _PRECISION * abs(t):
            break
        t = nearer
    return t


def _student_density(t: float, degrees_of_freedom: float) -> float:
    f = degrees_of_freedom
    log = math.lgamma((f + 1) / 2) - math.lgamma(f / 2) - 0.5 * math.log(f * math.pi)
    return math.exp(log - (f + 1) / 2 * math.log1p(t * t / f))


def binomial_cdf(successes: int, trials: int, probability: float = 0.5) -> float:
    """P(X <= successes) of a binomial variable.

    >>> round(binomial_cdf(1, 5), 6)
    0.1875
    """
    if successes < 0 or successes >= trials:
        return float(successes >= trials)
    return beta_cdf(1 - probability, trials - successes, successes + 1)
