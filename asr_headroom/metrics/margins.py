"""Is B at least as good as A, up to a margin? Non-inferiority and equivalence.

"Not significant" is no evidence of equality. These tests turn the burden round: the claim is that the difference lies
within a margin stated beforehand, and noise counts against it.

Start with :func:`judge_margin`, on what :func:`asr_headroom.metrics.significance.difference_of_rates` returns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from asr_headroom.errors import UsageError
from asr_headroom.metrics.clustering import MIN_CLUSTERS_TO_JUDGE
from asr_headroom.metrics.intervals import Interval, RateDistribution

__all__ = ["MarginClaim", "MarginJudgement", "judge_margin"]

MarginClaim = Literal["non-inferior", "equivalent"]

_LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class MarginJudgement:
    """Whether a difference lies within a margin.

    Attributes:
        claim: ``non-inferior``: the system is worse by less than the margin; ``equivalent``: neither is better by the
            margin or more.
        margin: in the unit of the difference.
        difference: system - base.
        interval: two-sided, at 1 - 2 * level (90 %): its upper end is what the non-inferiority test looks at, both
            ends what the equivalence test does.
        p_value: of the margin being exceeded.
        holds: the claim is shown at the level.
    """

    claim: MarginClaim
    margin: float
    difference: float
    interval: Interval
    p_value: float
    holds: bool


def judge_margin(
    difference: RateDistribution, margin: float, *, claim: MarginClaim = "non-inferior", level: float = _LEVEL
) -> MarginJudgement:
    """Tests that a difference (system - base, lower is better) lies within a margin.

    Two one-sided tests at the level, of which non-inferiority needs one: no correction is due, as both must reject.
    The margin has to be chosen before looking, as the loss that users would not mind.

    Args:
        difference: with its sampling distribution.
        margin: positive and finite, in the unit of the difference (a fraction for error rates).
        claim: which claim.
        level: of each one-sided test.

    Raises:
        UsageError: the margin is not positive, the claim unknown or the level no share.

    Reference:
        Schuirmann (1987), "A comparison of the two one-sided tests procedure and the power approach". Assumes what
        the distribution assumes.
    """
    if claim not in ("non-inferior", "equivalent"):
        raise UsageError(f"cannot judge the claim '{claim}'; choose from non-inferior, equivalent")
    if not (margin > 0 and math.isfinite(margin)):
        raise UsageError(f"the margin is {margin}; give the loss that would not matter, such as 0.005 for 0.5 points")
    if not 0 < level < 0.5:
        raise UsageError(f"the level is {level}; give a share between 0 and 0.5, such as 0.05")
    p_value = difference.distribution.tails(margin).less
    if claim == "equivalent":
        p_value = max(p_value, difference.distribution.tails(-margin).greater)
    # So few clusters bear no claim, as in a comparison.
    judged = difference.degrees_of_freedom + 1 >= MIN_CLUSTERS_TO_JUDGE
    return MarginJudgement(
        claim=claim,
        margin=margin,
        difference=difference.estimate,
        interval=difference.distribution.interval(1 - 2 * level),
        p_value=p_value,
        holds=judged and p_value < level,
    )
