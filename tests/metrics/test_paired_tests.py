import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_headroom.errors import ShapeError, UsageError
from asr_headroom.metrics import paired_tests
from asr_headroom.metrics.alignment import align
from asr_headroom.metrics.clustering import cross_clusters, label_clusters
from asr_headroom.metrics.paired_tests import Segment, error_segments, mapsswe, mcnemar_test, sign_flip_test

# Darwin's maize, in eighths of an inch; Fisher (1935, §21) counted the patterns at least as extreme: 863 of 32,768 on
# one side.
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def singles(number):
    return label_clusters(range(number), "utterance")


def brute_force(values):
    total = abs(sum(values))
    patterns = itertools.product((1, -1), repeat=len(values))
    extreme = [abs(sum(s * v for s, v in zip(p, values, strict=True))) >= total - 1e-9 for p in patterns]
    return sum(extreme) / len(extreme)


def test_fishers_count_of_darwins_maize():
    found = sign_flip_test(DARWIN, singles(15))
    assert found.p_value == pytest.approx(2 * 863 / 32_768, abs=1e-12)
    assert (found.method, found.num_clusters, found.num_differing, found.difference) == ("exact", 15, 15, 314)


def test_enumerated_and_drawn_agree_with_counted():
    enumerated = sign_flip_test(np.array(DARWIN) / 10, singles(15))
    assert enumerated.method == "exact"
    assert enumerated.p_value == pytest.approx(2 * 863 / 32_768, abs=1e-12)
    spread = np.array(DARWIN) / 10
    padded = np.concatenate([spread, np.full(9, 1e-7)])
    drawn = sign_flip_test(padded, singles(24), resamples=40_000)
    assert drawn.method == "Monte Carlo"
    assert drawn.p_value == pytest.approx(2 * 863 / 32_768, abs=0.005)
    assert drawn == sign_flip_test(padded, singles(24), resamples=40_000)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=10))
@settings(max_examples=60, deadline=None)
def test_counting_is_enumeration(values):
    assert sign_flip_test(values, singles(len(values))).p_value == pytest.approx(brute_force(values), abs=1e-12)


def test_counted_in_pieces_and_drawn_for_large_sets(monkeypatch):
    values = np.random.default_rng(0).integers(-3, 4, 3000)
    counted = sign_flip_test(values, singles(3000))
    monkeypatch.setattr(paired_tests, "_EXACT_STEPS", 1)
    drawn = sign_flip_test(values, singles(3000), resamples=20_000)
    assert (counted.method, drawn.method) == ("exact", "Monte Carlo")
    assert drawn.p_value == pytest.approx(counted.p_value, abs=0.012)


def test_clusters_flip_as_a_whole():
    together = sign_flip_test([1, 1, 1, 1, 1, 1], label_clusters("aabbcc", "sentence"))
    assert together.p_value == brute_force([2, 2, 2])
    assert sign_flip_test([1] * 6, singles(6)).p_value == 2 / 64


def test_equal_systems_have_p_one():
    found = sign_flip_test([0, 0, 2, -2], label_clusters("aabb", "sentence"))
    assert (found.p_value, found.num_differing) == (1.0, 0)


def test_sign_flips_refuse():
    with pytest.raises(ShapeError, match="one number per utterance"):
        sign_flip_test([], singles(0))
    with pytest.raises(UsageError, match="finite"):
        sign_flip_test([1.0, float("inf")], singles(2))
    with pytest.raises(ShapeError, match="3 utterances but 2 cluster labels"):
        sign_flip_test([1, 2, 3], singles(2))
    with pytest.raises(UsageError, match=r"by row\+column at once"):
        sign_flip_test([1, 2], cross_clusters(label_clusters("ab", "row"), label_clusters("ab", "column")))


def discordant(only_base, only_system):
    base = [0] * only_base + [1] * only_system + [0, 1]
    system = [1] * only_base + [0] * only_system + [0, 1]
    return mcnemar_test(base, system)


@pytest.mark.parametrize(
    ("only_base", "only_system", "exact", "mid"),
    [
        (1, 7, 18 / 256, 10 / 256),  # Fagerland et al. (2013), airway data: p = .070 and mid-p = .039
        (5, 1, 14 / 64, 8 / 64),
        (3, 3, 1.0, 1 - 10 / 64),  # half of the observed table, P(3 of 6) = 20/64, is taken off
        (0, 6, 2 / 64, 1 / 64),
        (0, 0, 1.0, 0.5),
    ],
)
def test_mcnemar_by_hand(only_base, only_system, exact, mid):
    found = discordant(only_base, only_system)
    assert (found.only_base, found.only_system) == (only_base, only_system)
    assert found.p_value == pytest.approx(exact, abs=1e-9)
    assert found.mid_p_value == pytest.approx(mid, abs=1e-9)


def test_mcnemar_counts_sentences_not_errors():
    assert mcnemar_test([7, 0, 2], [1, 3, 0]).only_system == 1
    with pytest.raises(ShapeError, match="one value of each per utterance"):
        mcnemar_test([1, 0], [1])


def alignments(reference, base, system):
    return tuple(align(reference.split(), text.split()) for text in (base, system))


@pytest.mark.parametrize(
    ("reference", "base", "system", "expected"),
    [
        ("a b c d e f g h", "a x c d e f y h", "a b c d e f g h", [(1, 0), (1, 0)]),
        ("a b c d e", "x b y d e", "a b c d e", [(2, 0)]),  # one agreed word does not part two errors
        ("a b c d e", "x b c y e", "a b c d e", [(1, 0), (1, 0)]),  # two do
        ("a b c d e", "x b c d e", "a b c y e", [(1, 0), (0, 1)]),
        ("a b c d", "a b c d", "a b q c d", [(0, 1)]),
        ("a b c d", "x b c d", "a b q c d", [(1, 1)]),  # the insertion breaks the run "b c"
        ("a b c d", "x b c d", "a b c q d", [(1, 0), (0, 1)]),
        ("a b", "a b q", "r a b", [(0, 1), (1, 0)]),  # insertions at the edges
        ("a b c", "a b c", "a b c", []),
        ("", "x y", "", [(2, 0)]),
    ],
)
def test_segments_by_hand(reference, base, system, expected):
    assert error_segments(*alignments(reference, base, system)) == [Segment(*pair) for pair in expected]


def test_mapsswe_by_hand():
    sentences = [
        ("a b c d e f g h", "a x c d e f y h", "a b c d e f g h"),  # -1, -1
        ("a b c d e", "x b y d e", "a b c d e"),  # -2
        ("a b c d", "a b c d", "a b q c d"),  # +1
        ("a b c d", "a b c d", "a b c d"),  # no segment
    ]
    base, system = zip(*(alignments(*sentence) for sentence in sentences), strict=True)
    found = mapsswe(base, system)
    # Mean -3/4; variance (0.25² + 0.25² + 1.25² + 1.75²) / 3 = 19/12; z = -0.75 / sqrt(19/12 / 4) = -1.1920791.
    assert (found.num_segments, found.mean) == (4, -0.75)
    assert found.z == pytest.approx(-1.1920791, abs=1e-6)
    # Normal table: 2 * (1 - 0.8833849) for z = 1.1920791.
    assert found.p_value == pytest.approx(0.2332302, abs=1e-6)


def test_mapsswe_without_anything_to_test():
    same = alignments("a b", "a b", "a b")
    assert mapsswe([same[0]], [same[1]]).p_value == 1.0
    one = alignments("a b", "a x", "a b")
    assert mapsswe([one[0]], [one[1]]).z == 0.0


def test_mapsswe_refuses_other_references():
    first, second = alignments("a b c", "a b c", "a b c"), alignments("a b d", "a b d", "a b d")
    with pytest.raises(UsageError, match="utterance 1: the two alignments have different references"):
        mapsswe([first[0], first[0]], [first[1], second[1]])
    with pytest.raises(ShapeError, match="1 base alignments but 2"):
        mapsswe([first[0]], first)


def test_sign_flips_are_uniform_when_nothing_differs():
    """The share of p-values up to any level is that level, within what 400 repetitions show."""
    draw = np.random.default_rng(3)
    clusters = label_clusters([i // 2 for i in range(160)], "sentence")
    p_values = []
    for _ in range(400):
        hard = np.repeat(draw.gamma(1.0, 1.5, 80), 2)
        base, system = draw.poisson(hard), draw.poisson(hard)
        p_values.append(sign_flip_test(system - base, clusters).p_value)
    ranks = np.arange(1, 401) / 400
    assert np.abs(np.sort(p_values) - ranks).max() < 0.0814  # Kolmogorov-Smirnov at p = .01
