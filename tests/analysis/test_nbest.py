from __future__ import annotations

import dataclasses

import pytest

from asr_headroom.analysis.nbest import list_size, oracle_counts
from asr_headroom.analysis.scoring import score_results
from asr_headroom.report.tables import build_tables, to_markdown
from asr_headroom.testing.results import make_results
from asr_headroom.text.normalize import get_normalizer

FRENCH = get_normalizer("fr")


def with_lists(results, lists):
    predictions = [dataclasses.replace(p, nbest=tuple(n)) for p, n in zip(results.predictions, lists, strict=True)]
    return dataclasses.replace(results, predictions=predictions)


@pytest.fixture
def results():
    texts = [("un deux trois", "un deux"), ("quatre cinq", "quatre cinq"), ("six", "dix sept")]
    return make_results(texts, language="fr")


def test_the_best_of_each_list_by_hand(results):
    # One error of three words is mended, nothing is made worse, one substitution is left of two errors.
    listed = with_lists(results, [["un", "un deux trois"], ["quatre"], ["dix", "dix sept huit"]])
    counts = oracle_counts(listed, FRENCH)
    assert (counts.errors, counts.reference_length) == (1, 6)
    assert list_size(listed) == 2
    assert counts.error_rate <= score_results(listed).estimate.rate


def test_without_lists_there_is_no_oracle(results):
    assert oracle_counts(results, FRENCH) is None
    assert "best of" not in to_markdown(build_tables([results]))


def test_characters_where_the_language_counts_them():
    listed = with_lists(make_results([("你好吗", "你号")], normalizer_id="zh", language="zh"), [["你好"]])
    assert oracle_counts(listed, get_normalizer("zh")).errors == 1


def test_the_table_has_a_column_for_it(results):
    listed = with_lists(results, [["un", "un deux trois"], ["quatre"], ["dix", "dix sept huit"]])
    text = to_markdown(build_tables([listed]))
    assert "| best of 2 |" in text
    assert "| 16.67 % |" in text
