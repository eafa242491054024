import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_headroom.errors import UsageError
from asr_headroom.metrics.error_rate import count_errors
from asr_headroom.metrics.keywords import KeywordCounts, Keywords, count_keywords

NEW_YORK = Keywords([["new", "york"], ["paris"]])
UNITS = st.lists(st.sampled_from("abc"), max_size=8)
PHRASES = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3), min_size=1, max_size=3)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "said", "recalled", "heard", "right", "errors", "length"),
    [
        ("he saw new york", "he saw new york", 1, 1, 1, 1, 0, 2 + 10),
        ("he saw new york", "he saw york", 1, 0, 0, 0, 5, 12),
        ("he saw new york", "he saw new big york", 1, 0, 0, 0, 1, 12),
        ("he saw new big york", "he saw new york", 0, 0, 1, 0, 1, 5),
        ("he was in london", "he was in paris", 0, 0, 1, 0, 1, 4),
        ("he was", "he was in paris", 0, 0, 1, 0, 1 + 5, 2),
        ("paris paris", "paris", 2, 1, 1, 1, 5, 10),
        ("", "paris", 0, 0, 1, 0, 5, 0),
        ("", "", 0, 0, 0, 0, 0, 0),
    ],
)
def test_by_hand(reference, hypothesis, said, recalled, heard, right, errors, length):
    counts = count_keywords(reference.split(), hypothesis.split(), NEW_YORK, weight=5)
    assert counts == KeywordCounts(said, recalled, heard, right, errors, length)


def test_rates():
    counts = KeywordCounts(4, 3, 6, 3, 10, 40)
    assert (counts.recall, counts.precision, counts.weighted_error_rate) == (0.75, 0.5, 0.25)
    assert (KeywordCounts().recall, KeywordCounts().precision, KeywordCounts().weighted_error_rate) == (None, None, 0)
    assert KeywordCounts(weighted_errors=1).weighted_error_rate == float("inf")
    assert counts + KeywordCounts(1, 1, 1, 1, 2, 3) == KeywordCounts(5, 4, 7, 4, 12, 43)


def test_the_longest_keyword_counts():
    both = Keywords([["york"], ["new", "york"], ["new", "york"]])
    assert both.num_keywords == 2
    assert both.find(["new", "new", "york", "york"]) == [(1, 3), (3, 4)]


@settings(max_examples=200, deadline=None)
@given(reference=UNITS, hypothesis=UNITS, phrases=PHRASES)
def test_with_weight_one_it_is_the_error_rate(reference, hypothesis, phrases):
    counts = count_keywords(reference, hypothesis, Keywords(phrases), weight=1)
    plain = count_errors(reference, hypothesis)
    assert counts.weighted_errors == plain.errors
    assert counts.weighted_length == plain.reference_length
    assert counts.recalled <= counts.said
    assert counts.right <= counts.heard


@settings(max_examples=100, deadline=None)
@given(reference=UNITS, phrases=PHRASES)
def test_a_perfect_output_recalls_all(reference, phrases):
    counts = count_keywords(reference, reference, Keywords(phrases))
    assert (counts.recalled, counts.right, counts.weighted_errors) == (counts.said, counts.said, 0)


@pytest.mark.parametrize("phrases", [[], [[]], [["a"], []]])
def test_empty_keywords_are_refused(phrases):
    with pytest.raises(UsageError, match="a keyword is empty"):
        Keywords(phrases)


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_a_weight_must_be_a_number(weight):
    with pytest.raises(UsageError, match="the weight of a keyword"):
        count_keywords(["a"], ["a"], Keywords([["a"]]), weight)
