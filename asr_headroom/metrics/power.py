"""What a test set can show: the smallest difference it would detect, and how much more it would take.

By the t approximation to the error of the difference: with degrees of freedom f, a true difference of
(t_{f, 1 - level/2} + t_{f, power}) standard errors is detected with the given power (Bloom, 1995, "Minimum detectable
effects"). A null result is only worth as much as this number is small.
"""

from __future__ import annotations

import math

from asr_headroom.errors import UsageError
from asr_headroom.metrics.distributions import student_quantile

__all__ = ["detectable_effect", "further_units_needed", "units_needed"]

_LEVEL = 0.05
_POWER = 0.8


def detectable_effect(
    standard_error: float, degrees_of_freedom: int, *, level: float = _LEVEL, power: float = _POWER
) -> float:
    """The smallest true difference that is detected with the given power, in the unit of the standard error.

    Args:
        standard_error: of the difference.
        degrees_of_freedom: clusters - 1; with none there is no standard error either, and the effect is 0.
        level: two-sided error of the first kind.
        power: chance of detecting it, above one half.

    Raises:
        UsageError: level or power is no such share.

    >>> round(detectable_effect(0.38, 295), 2)
    1.07
    """
    if not (0 < level < 1 and 0.5 <= power < 1):
        raise UsageError(f"level {level} and power {power}; give a level in 0 … 1 and a power from 0.5 to below 1")
    if degrees_of_freedom < 1:
        return 0.0
    quantiles = student_quantile(1 - level / 2, degrees_of_freedom) + student_quantile(power, degrees_of_freedom)
    return quantiles * standard_error


def units_needed(
    effect: float,
    standard_error: float,
    degrees_of_freedom: int,
    units: int,
    *,
    level: float = _LEVEL,
    power: float = _POWER,
) -> int | None:
    """Units in all (utterances, or clusters) with which an effect would be detected; None for an effect of zero.

    The standard error shrinks with the square root of the units, if further ones are of the same kind: as many to
    a cluster, as long, as hard.

    Args:
        effect: true difference to detect.
        standard_error: of the difference, measured on ``units``.
        degrees_of_freedom: of the standard error.
        units: utterances or clusters measured.
        level: two-sided error of the first kind.
        power: chance of detecting it.

    >>> units_needed(0.005, 0.0038, 295, 500)
    2282
    """
    if effect == 0:
        return None
    ratio = detectable_effect(standard_error, degrees_of_freedom, level=level, power=power) / effect
    return math.ceil(units * ratio**2)


def further_units_needed(effect: float, standard_error: float, degrees_of_freedom: int, units: int) -> int | None:
    """Units beyond those measured with which an effect would be detected; 0 when it would be already."""
    needed = units_needed(effect, standard_error, degrees_of_freedom, units)
    return None if needed is None else max(0, needed - units)
