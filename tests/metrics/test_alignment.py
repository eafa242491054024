import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_headroom.metrics.alignment import Block, align


def brute_force_cost(reference, hypothesis):
    """Fewest edits, by trying everything."""

    @functools.cache
    def cost(i, j):
        if i == len(reference) or j == len(hypothesis):
            return len(reference) - i + len(hypothesis) - j
        return min(cost(i + 1, j + 1) + (reference[i] != hypothesis[j]), cost(i + 1, j) + 1, cost(i, j + 1) + 1)

    return cost(0, 0)


UNITS = st.lists(st.sampled_from(["a", "b", "c", "le", "la", ""]), max_size=7)


@settings(max_examples=300, deadline=None)
@given(reference=UNITS, hypothesis=UNITS)
def test_alignment_is_minimal_and_spells_both_texts(reference, hypothesis):
    blocks = align(reference, hypothesis)
    assert [b.reference for b in blocks if b.reference is not None] == reference
    assert [b.hypothesis for b in blocks if b.hypothesis is not None] == hypothesis
    assert sum(b.operation != "equal" for b in blocks) == brute_force_cost(tuple(reference), tuple(hypothesis))
    for operation, left, right in blocks:
        assert (left is None) == (operation == "insert")
        assert (right is None) == (operation == "delete")
        assert (left == right) == (operation == "equal")


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("", "", []),
        ("a", "", [Block("delete", "a", None)]),
        ("", "a", [Block("insert", None, "a")]),
        ("a b", "a c", [Block("equal", "a", "a"), Block("substitute", "b", "c")]),
        ("a b", "b", [Block("delete", "a", None), Block("equal", "b", "b")]),
        ("b", "a b", [Block("insert", None, "a"), Block("equal", "b", "b")]),
    ],
)
def test_worked_by_hand(reference, hypothesis, expected):
    assert align(reference.split(), hypothesis.split()) == expected
