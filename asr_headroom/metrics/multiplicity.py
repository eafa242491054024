"""Many comparisons at once: p-values adjusted so that a table is not searched for luck.

Holm for claims ("B is better"): the chance of even one false claim in the table stays below the level.
Benjamini-Hochberg for screening ("which of these fifty deserve a look"): of the claims made, the expected share
of false ones does. Both say for each row the level at which it would still stand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asr_headroom.errors import UsageError

__all__ = ["benjamini_hochberg_adjusted", "holm_adjusted"]


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for how many there are, in their own order; holds however the tests depend.

    Controls the probability of one or more false claims (Holm, 1979, "A simple sequentially rejective multiple
    test procedure").

    Raises:
        UsageError: a value is no probability.

    >>> holm_adjusted([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p, order = _ranked(p_values)
    steps = np.maximum.accumulate(np.minimum(1.0, p[order] * np.arange(len(p), 0, -1)))
    return _in_order(steps, order)


def benjamini_hochberg_adjusted(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted to the false discovery rate, in their own order.

    Controls the expected share of false claims among the claims, for tests that are independent or positively
    dependent, as comparisons with one common base are (Benjamini & Hochberg, 1995; Benjamini & Yekutieli, 2001).

    Raises:
        UsageError: a value is no probability.

    >>> [round(p, 6) for p in benjamini_hochberg_adjusted([0.01, 0.04, 0.03])]
    [0.03, 0.04, 0.04]
    """
    p, order = _ranked(p_values)
    scaled = np.minimum(1.0, p[order] * len(p) / np.arange(1, len(p) + 1))
    return _in_order(np.minimum.accumulate(scaled[::-1])[::-1], order)


def _ranked(p_values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise UsageError(f"p-values must lie in 0 … 1; one of {list(p_values)} does not")
    return p, np.argsort(p, kind="stable")


def _in_order(adjusted: np.ndarray, order: np.ndarray) -> list[float]:
    back = np.empty_like(adjusted)
    back[order] = adjusted
    return back.tolist()
