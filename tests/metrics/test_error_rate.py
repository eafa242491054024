import math
import random

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_headroom.metrics.alignment import align
from asr_headroom.metrics.error_rate import ErrorCounts, count_errors, count_pair, count_texts
from asr_headroom.text.normalize import get_normalizer, normalizer_ids

COUNTS = st.builds(ErrorCounts, *[st.integers(0, 50)] * 4)


def random_sentences(seed, number):
    rng = random.Random(seed)
    words = ["le", "la", "chat", "chien", "noir", "dort", "eau", "été"]
    return [" ".join(rng.choices(words, k=rng.randint(1, 12))) for _ in range(number)]


@pytest.mark.parametrize("seed", range(5))
def test_rates_agree_with_jiwer(seed):
    references, hypotheses = random_sentences(seed, 40), random_sentences(seed + 100, 40)
    words = [count_errors(r.split(), h.split()) for r, h in zip(references, hypotheses, strict=True)]
    total = ErrorCounts.total(words)
    other = jiwer.process_words(references, hypotheses)
    assert total.error_rate == pytest.approx(other.wer, abs=1e-12)
    assert total.match_error_rate == pytest.approx(other.mer, abs=1e-12)
    assert total.errors == other.substitutions + other.deletions + other.insertions
    characters = ErrorCounts.total(count_errors(list(r), list(h)) for r, h in zip(references, hypotheses, strict=True))
    assert characters.error_rate == pytest.approx(jiwer.cer(references, hypotheses), abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(a=COUNTS, b=COUNTS)
def test_counts_add_and_rates_are_pooled(a, b):
    both = a + b
    assert both == ErrorCounts.total([a, b]) == b + a
    assert both.errors == a.errors + b.errors
    assert both.reference_length == a.reference_length + b.reference_length
    if a.reference_length and b.reference_length:
        assert min(a.error_rate, b.error_rate) - 1e-12 <= both.error_rate <= max(a.error_rate, b.error_rate) + 1e-12


@settings(max_examples=200, deadline=None)
@given(
    reference=st.lists(st.sampled_from("abcd"), max_size=8),
    hypothesis=st.lists(st.sampled_from("abcd"), max_size=8),
)
def test_counts_agree_with_the_alignment(reference, hypothesis):
    counts = count_errors(reference, hypothesis)
    operations = [block.operation for block in align(reference, hypothesis)]
    assert counts.errors == len(operations) - operations.count("equal")
    assert counts.reference_length == len(reference)
    assert counts.hits + counts.substitutions + counts.insertions == len(hypothesis)


def test_empty_texts_are_scored_as_what_they_are():
    assert ErrorCounts().error_rate == 0.0
    assert count_errors([], ["a"]).error_rate == math.inf
    assert count_errors([], ["a"]).match_error_rate == 1.0
    assert count_errors(["a", "b"], []) == ErrorCounts(deletions=2)


def test_rate_may_exceed_one_and_mer_may_not():
    counts = count_errors(["a"], ["b", "c", "d"])
    assert counts.error_rate == 3.0
    assert counts.match_error_rate == 1.0


def test_pair_is_counted_in_both_units_after_normalising():
    counts = count_pair("Le Chat, noir", "le chats noir !", get_normalizer("fr"))
    assert counts.words == ErrorCounts(hits=2, substitutions=1)
    assert counts.characters == ErrorCounts(hits=12, insertions=1)
    assert counts.of("word") is counts.words


def test_a_mean_of_rates_is_not_the_rate():
    short, long = count_errors(["a"], ["b"]), count_errors(["a"] * 9, ["a"] * 9)
    assert (short.error_rate + long.error_rate) / 2 == 0.5
    assert (short + long).error_rate == 0.1


TEXTS = st.lists(st.sampled_from(["a", "b", "ab", "ba", "aa", "été", "你好"]), max_size=9).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), max_size=4))
def test_texts_are_counted_like_their_units(pairs):
    references, hypotheses = [r for r, _ in pairs], [h for _, h in pairs]
    words = [count_errors(r.split(), h.split()) for r, h in pairs]
    assert count_texts(references, hypotheses, "word") == words
    assert count_texts(references, hypotheses, "mixed") == words
    assert count_texts(references, hypotheses, "character") == [count_errors(list(r), list(h)) for r, h in pairs]


@settings(max_examples=200, deadline=None)
@given(reference=TEXTS, hypothesis=TEXTS)
def test_the_split_of_the_errors_is_that_of_jiwer(reference, hypothesis):
    if not reference:
        return
    other = jiwer.process_words(reference, hypothesis)
    (counts,) = count_texts([reference], [hypothesis], "word")
    found = (counts.hits, counts.substitutions, counts.deletions, counts.insertions)
    assert found == (other.hits, other.substitutions, other.deletions, other.insertions)


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=40))
@pytest.mark.parametrize("normalizer_id", [id_ for id_ in normalizer_ids() if get_normalizer(id_).unit != "character"])
def test_normalisers_part_words_by_single_spaces(normalizer_id, text):
    # What count_texts relies on.
    normalized = get_normalizer(normalizer_id)(text)
    assert normalized == " ".join(normalized.split())


def test_the_total_of_nothing_is_nothing():
    assert ErrorCounts.total([]) == ErrorCounts()
    assert ErrorCounts.total([ErrorCounts(1, 2, 3, 4), ErrorCounts(5, 6, 7, 8)]) == ErrorCounts(6, 8, 10, 12)
