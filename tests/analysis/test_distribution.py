import json
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_headroom.analysis.distribution import BELOW, distribution
from asr_headroom.errors import ResultsError
from asr_headroom.metrics.error_rate import ErrorCounts, count_pair
from asr_headroom.text.normalize import get_normalizer

COUNTS = st.builds(ErrorCounts, *[st.integers(0, 30)] * 4)


def test_counts_are_cumulative_and_strict():
    rates = [0, 4, 5, 9, 10, 24, 25, 100]
    spread = distribution([ErrorCounts(hits=100 - errors, substitutions=errors) for errors in rates])
    assert spread.perfect == 1
    assert spread.below == (2, 4, 6), "5 % is not below 5 %"
    assert (spread.median, spread.worst, spread.worst_index) == (0.095, 1.0, 7)


def test_an_empty_reference_has_no_rate_and_is_said_so():
    spread = distribution([ErrorCounts(), ErrorCounts(insertions=3), ErrorCounts(hits=1, insertions=2)])
    assert (spread.num_utterances, spread.num_without_reference) == (1, 2)
    assert (spread.perfect, spread.worst, spread.worst_index, spread.errors) == (0, 2.0, 2, 2)


@pytest.mark.parametrize("counts", [[], [ErrorCounts(insertions=2)]])
def test_without_references_there_is_no_distribution(counts):
    with pytest.raises(ResultsError, match="has a reference after normalising"):
        distribution(counts)


def test_a_loop_holds_half_of_all_errors():
    counts = [ErrorCounts(hits=9, substitutions=1)] * 20 + [ErrorCounts(hits=10, insertions=200)]
    spread = distribution(counts)
    assert (spread.utterances_with_half, spread.errors_of_worst, spread.errors) == (1, 200, 220)
    even = distribution([ErrorCounts(hits=9, substitutions=1)] * 20)
    assert even.utterances_with_half == 10
    assert distribution([ErrorCounts(hits=1)]).utterances_with_half == 0


@settings(max_examples=100, deadline=None)
@given(counts=st.lists(COUNTS, min_size=1, max_size=30))
def test_agrees_with_a_plain_count(counts):
    rates = [(c.substitutions + c.deletions + c.insertions) / c.reference_length for c in counts if c.reference_length]
    if not rates:
        return
    spread = distribution(counts)
    assert spread.perfect == rates.count(0)
    assert spread.below == tuple(len([rate for rate in rates if rate < limit]) for limit in BELOW)
    assert (spread.median, spread.worst) == (statistics.median(rates), max(rates))
    assert counts[spread.worst_index].error_rate == spread.worst


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "published"),
    [
        ("baseline_small", (80, 126, 217, 405, 0.118, 0.700)),
        ("lora_small", (60, 102, 191, 383, 0.133, 1.000)),
        ("full_small", (63, 110, 204, 402, 0.125, 0.783)),
    ],
)
def test_the_published_table(shared, file, published):
    path = shared / "published" / "predictions" / "whisper_fr" / f"{file}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["predictions"]
    study = get_normalizer("study-fr")
    spread = distribution([count_pair(row["ref"], row["hyp"], study).words for row in rows])
    assert (spread.perfect, *spread.below) == published[:4]
    assert (round(spread.median, 3), round(spread.worst, 3)) == published[4:]
