"""What has to hold for any texts: counts add, alignments are minimal, swapping two systems negates their difference."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_headroom.analysis.scoring import compare_results
from asr_headroom.metrics.alignment import align
from asr_headroom.metrics.error_rate import ErrorCounts, count_errors, count_pair
from asr_headroom.metrics.significance import choose_clusters, compare_systems
from asr_headroom.testing.results import make_results
from asr_headroom.text.normalize import get_normalizer

# Few words, so that alignments have many ties; signs that normalisers take out, so that texts become empty.
TEXT = st.lists(st.sampled_from(["un", "chat", "chats", "l'eau", "«»", "été", "30", "好", "貓", "-", "Un"]), max_size=9)
SENTENCE = TEXT.map(" ".join)
UNITS = st.lists(st.sampled_from(["a", "b", "aa", "é", "好"]), max_size=12)
PAIRS = st.lists(st.tuples(SENTENCE, SENTENCE), min_size=1, max_size=8)
PROFILES = ["study-fr", "study-zh", "fr", "zh", "basic", "basic-characters"]


def plain_edit_distance(reference, hypothesis):
    """Wagner & Fischer (1974), the whole table."""
    table = [[i + j if not i * j else 0 for j in range(len(hypothesis) + 1)] for i in range(len(reference) + 1)]
    for i, left in enumerate(reference, start=1):
        for j, right in enumerate(hypothesis, start=1):
            table[i][j] = min(
                table[i - 1][j] + 1,
                table[i][j - 1] + 1,
                table[i - 1][j - 1] + (left != right),
            )
    return table[-1][-1]


@settings(max_examples=300, deadline=None)
@given(reference=UNITS, hypothesis=UNITS)
def test_alignment_costs_what_a_plain_dynamic_programme_finds(reference, hypothesis):
    blocks = align(reference, hypothesis)
    cost = plain_edit_distance(reference, hypothesis)
    assert sum(block.operation != "equal" for block in blocks) == cost
    assert count_errors(reference, hypothesis).errors == cost
    assert [block.reference for block in blocks if block.reference is not None] == reference
    assert [block.hypothesis for block in blocks if block.hypothesis is not None] == hypothesis


@settings(max_examples=200, deadline=None)
@given(reference=UNITS, hypothesis=UNITS)
def test_counts_account_for_every_unit(reference, hypothesis):
    counts = count_errors(reference, hypothesis)
    assert counts.hits + counts.substitutions + counts.deletions == len(reference)
    assert counts.hits + counts.substitutions + counts.insertions == len(hypothesis)
    assert counts.errors == count_errors(hypothesis, reference).errors


@settings(max_examples=100, deadline=None)
@given(first=UNITS, second=UNITS, heard_first=UNITS, heard_second=UNITS)
def test_cutting_an_utterance_never_lowers_its_errors(first, second, heard_first, heard_second):
    apart = count_errors(first, heard_first) + count_errors(second, heard_second)
    assert count_errors(first + second, heard_first + heard_second).errors <= apart.errors


@pytest.mark.parametrize("profile", PROFILES)
@settings(max_examples=40, deadline=None)
@given(a=PAIRS, b=PAIRS)
def test_counts_of_a_plus_b_are_the_counts_of_a_and_b(profile, a, b):
    normalizer = get_normalizer(profile)
    totals = [make_results(pairs, normalizer_id=profile).total(normalizer) for pairs in (a, b, a + b, b + a)]
    assert totals[0] + totals[1] == totals[2] == totals[3]
    for unit in ("word", "character"):
        texts = [
            [text.split() if unit == "word" else list(text) for text in (normalizer(reference), normalizer(hypothesis))]
            for reference, hypothesis in a + b
        ]
        errors = sum(plain_edit_distance(*pair) for pair in texts)
        assert make_results(a + b, normalizer_id="basic").total(normalizer, unit).errors == errors


@pytest.mark.parametrize("profile", PROFILES)
@settings(max_examples=60, deadline=None)
@given(text=SENTENCE)
def test_a_text_has_no_errors_against_itself(profile, text):
    counts = count_pair(text, text, get_normalizer(profile))
    assert (counts.words.errors, counts.characters.errors) == (0, 0)


COUNTS = st.builds(ErrorCounts, st.integers(1, 9), *[st.integers(0, 9)] * 3)


@st.composite
def paired_counts(draw):
    base = draw(st.lists(COUNTS, min_size=2, max_size=30))
    hits = [draw(st.integers(0, count.reference_length)) for count in base]
    insertions = [draw(st.integers(0, 9)) for _ in base]
    system = [
        ErrorCounts(h, 0, count.reference_length - h, i) for count, h, i in zip(base, hits, insertions, strict=True)
    ]
    labels = draw(st.lists(st.sampled_from("abcdefghij"), min_size=len(base), max_size=len(base)))
    return base, system, choose_clusters([None] * len(base), labels, "sentence")


@settings(max_examples=100, deadline=None)
@given(drawn=paired_counts())
def test_swapping_the_systems_negates_the_difference(drawn):
    base, system, clusters = drawn
    there = compare_systems(base, system, clusters, resamples=400)
    back = compare_systems(system, base, clusters, resamples=400)
    assert back.difference == -there.difference
    assert (back.base, back.system) == (there.system, there.base)
    assert (back.interval.low, back.interval.high) == pytest.approx((-there.interval.high, -there.interval.low))
    assert back.p_value == pytest.approx(there.p_value)
    assert back.minimal_detectable_effect == pytest.approx(there.minimal_detectable_effect)
    opposite = {"better": "worse", "worse": "better", "cannot tell": "cannot tell"}
    assert back.verdict == opposite[there.verdict]


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(SENTENCE, SENTENCE, SENTENCE), min_size=2, max_size=6))
def test_swapping_two_files_negates_the_difference(rows):
    base = make_results([(f"mot {reference}", a) for reference, a, _ in rows], name="a")
    system = make_results([(f"mot {reference}", b) for reference, _, b in rows], name="b")
    there, back = compare_results(base, system).comparison, compare_results(system, base).comparison
    assert back.difference == -there.difference
    assert back.p_value == pytest.approx(there.p_value)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(SENTENCE, SENTENCE, SENTENCE), min_size=2, max_size=6), data=st.data())
def test_the_order_of_a_file_changes_nothing(rows, data):
    base = make_results([(f"mot {reference}", a) for reference, a, _ in rows], name="a")
    system = make_results([(f"mot {reference}", b) for reference, _, b in rows], name="b")
    shuffled = dataclasses.replace(system, predictions=data.draw(st.permutations(system.predictions)))
    assert compare_results(base, shuffled).comparison == compare_results(base, system).comparison
