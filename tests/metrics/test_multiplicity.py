import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_headroom.errors import UsageError
from asr_headroom.metrics.multiplicity import benjamini_hochberg_adjusted, holm_adjusted

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def rejected_by_holm(p_values, level):
    """Holm's procedure as he wrote it: step down until one fails."""
    rejected = set()
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > level / (len(p_values) - rank):
            break
        rejected.add(index)
    return rejected


def rejected_by_benjamini_hochberg(p_values, level):
    """The procedure as they wrote it: the largest rank under the line, and all before it."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    under = [k for k, i in enumerate(order, start=1) if p_values[i] <= k * level / len(p_values)]
    return set(order[: max(under, default=0)])


@pytest.mark.parametrize(
    ("adjust", "procedure"),
    [(holm_adjusted, rejected_by_holm), (benjamini_hochberg_adjusted, rejected_by_benjamini_hochberg)],
)
def test_adjusted_values_reject_what_the_procedure_rejects(adjust, procedure):
    draw = np.random.default_rng(0)
    for _ in range(200):
        p_values = (draw.uniform(size=draw.integers(1, 12)) ** 3).tolist()
        for level in (0.01, 0.05, 0.2):
            assert {i for i, p in enumerate(adjust(p_values)) if p <= level} == procedure(p_values, level)


@given(PROBABILITIES)
def test_adjusting_never_helps_and_holm_costs_most(p_values):
    holm, rate = holm_adjusted(p_values), benjamini_hochberg_adjusted(p_values)
    assert all(p <= b + 1e-12 and b <= h + 1e-12 for p, b, h in zip(p_values, rate, holm, strict=True))


def test_benjamini_and_hochbergs_own_example():
    # Their table of 15 p-values (1995, §3.2): four are rejected at 5 %, Bonferroni's procedure rejects three.
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p_values += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]
    assert sum(p <= 0.05 for p in benjamini_hochberg_adjusted(p_values)) == 4
    assert sum(p <= 0.05 for p in holm_adjusted(p_values)) == 3


def test_nothing_to_adjust_and_what_is_no_probability():
    assert holm_adjusted([]) == benjamini_hochberg_adjusted([]) == []
    for wrong in ([1.2], [-0.1], [float("nan")]):
        with pytest.raises(UsageError, match=r"must lie in 0 … 1"):
            holm_adjusted(wrong)
        with pytest.raises(UsageError, match=r"must lie in 0 … 1"):
            benjamini_hochberg_adjusted(wrong)
