import dataclasses

import pytest

from asr_headroom.analysis.regressions import find_changes
from asr_headroom.errors import ResultsError
from asr_headroom.metrics.alignment import Block
from asr_headroom.testing.results import make_results
from asr_headroom.text.normalize import get_normalizer

REFERENCES = ["un chat noir", "deux chiens", "trois", "quatre", "Cinq !"]
BASE = make_results(list(zip(REFERENCES, ["un chat noir", "deux", "x", "quatre", "cinq"], strict=True)), name="base")
SYSTEM = make_results(list(zip(REFERENCES, ["un", "deux chiens", "y", "quatre la", "CINQ"], strict=True)), name="new")
FR = get_normalizer("fr")


def test_sorted_by_how_much_changed():
    changes = find_changes(BASE, SYSTEM, FR)
    assert [(c.id, c.change) for c in changes.worse] == [("u0000", 2), ("u0003", 1)]
    assert [(c.id, c.change) for c in changes.better] == [("u0001", -1)]
    assert changes.num_equal == 2
    assert changes.num_same_text == 1, "'x' and 'y' are as wrong as each other but not the same"


def test_blocks_are_aligned_with_the_normalised_reference():
    worst = find_changes(BASE, SYSTEM, FR).worse[0]
    assert (worst.base_errors, worst.system_errors) == (0, 2)
    assert [block.operation for block in worst.base_blocks] == ["equal"] * 3
    assert worst.system_blocks == (
        Block("equal", "un", "un"),
        Block("delete", "chat", None),
        Block("delete", "noir", None),
    )


def test_characters_where_the_normaliser_counts_them():
    base, system = (make_results([("你好吗", text)], normalizer_id="zh") for text in ("你好吗", "你号"))
    change = find_changes(base, system, get_normalizer("zh")).worse[0]
    assert (change.change, len(change.system_blocks)) == (2, 3)


def test_swapping_swaps_worse_and_better():
    there, back = find_changes(BASE, SYSTEM, FR), find_changes(SYSTEM, BASE, FR)
    assert [c.id for c in there.worse] == [c.id for c in back.better]
    assert [c.id for c in there.better] == [c.id for c in back.worse]


def test_changes_add_up_to_the_difference_of_the_totals():
    changes = find_changes(BASE, SYSTEM, FR)
    total = sum(c.change for c in (*changes.worse, *changes.better))
    assert total == SYSTEM.total(FR).errors - BASE.total(FR).errors


def test_unequal_tests_are_refused():
    with pytest.raises(ResultsError, match="not tested on the same utterances"):
        find_changes(BASE, dataclasses.replace(SYSTEM, predictions=SYSTEM.predictions[1:]), FR)
