import dataclasses

import pytest

from asr_headroom.analysis.causes import split_difference
from asr_headroom.analysis.regressions import (
    find_changes,
    regressions_by_category,
    regressions_by_cause,
    regressions_of_split,
)
from asr_headroom.errors import ResultsError, ShapeError
from asr_headroom.metrics.alignment import Block, align
from asr_headroom.results.readers import read_results
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


def by_operation(prediction):
    """Causes of a test: what the alignment does."""
    causes = {}
    for block in align(FR(prediction.reference).split(), FR(prediction.hypothesis).split()):
        if block.operation != "equal":
            causes[block.operation] = causes.get(block.operation, 0) + 1
    return causes


def test_causes_by_hand():
    # base: deletes 'chiens', substitutes 'x'; system: deletes two words, substitutes 'y', inserts 'la'.
    report = regressions_by_cause(BASE, SYSTEM, FR, by_operation)
    causes = {cause.cause: cause for cause in report.causes}
    assert [cause.cause for cause in report.causes] == ["delete", "insert", "substitute"]
    delete = causes["delete"]
    assert (delete.base_errors, delete.system_errors, delete.gained, delete.lost, delete.change) == (1, 2, 2, 1, 1)
    assert (delete.num_worse, delete.num_better, delete.worse) == (1, 1, ("u0000",))
    assert (causes["substitute"].gained, causes["substitute"].lost, causes["substitute"].change) == (0, 0, 0)
    assert report.share_of_gained(delete) == pytest.approx(2 / 3)
    assert report.points(delete.change) == 1 / 8


def test_causes_add_up_to_both_totals():
    report = regressions_by_cause(BASE, SYSTEM, FR, by_operation)
    for results, errors in ((BASE, "base_errors"), (SYSTEM, "system_errors")):
        assert sum(getattr(cause, errors) for cause in report.causes) == results.total(FR).errors
    for cause in report.causes:
        assert cause.base_errors + cause.gained - cause.lost == cause.system_errors


def test_what_one_sentence_gains_is_not_hidden_by_what_another_loses():
    pairs = [("un deux", "un"), ("un deux", "un deux"), ("trois quatre", "trois"), ("trois quatre", "trois quatre")]
    base, system = make_results(pairs), make_results([(r, h) for r, h in zip(
        [r for r, _ in pairs], [h for _, h in (pairs[1], pairs[0], pairs[3], pairs[2])], strict=True)])  # fmt: skip
    (delete,) = regressions_by_cause(base, system, FR, by_operation).causes
    assert (delete.change, delete.gained, delete.lost, delete.num_sentences_worse) == (0, 2, 2, 2)
    (twice,) = regressions_by_cause(
        make_results([("un deux", "un deux")] * 3), make_results([("un deux", "un")] * 3), FR, by_operation
    ).causes
    assert (twice.num_worse, twice.num_sentences_worse) == (3, 1)


def test_fractions_of_errors_are_welcome_and_a_wrong_sum_is_not():
    def thirds(prediction):
        return dict.fromkeys("abc", sum(by_operation(prediction).values()) / 3)

    report = regressions_by_cause(BASE, SYSTEM, FR, thirds)
    assert report.gained == pytest.approx(3), "two deletions and an insertion"
    assert [report.share_of_gained(cause) for cause in report.causes] == [pytest.approx(1 / 3)] * 3
    assert regressions_by_cause(BASE, BASE, FR, thirds).gained == 0
    with pytest.raises(ValueError, match="do not add up to its 1 errors"):
        regressions_by_cause(BASE, SYSTEM, FR, lambda prediction: {})


def test_causes_of_unequal_tests_are_refused():
    with pytest.raises(ResultsError, match="not tested on the same utterances"):
        regressions_by_cause(BASE, dataclasses.replace(SYSTEM, predictions=SYSTEM.predictions[1:]), FR, by_operation)


def test_formats_and_hearing_by_cause():
    """One utterance turns 'trente' into '30', another loses its capital and gains a wrong word."""
    base = make_results([("il a trente chats", "il a trente chats"), ("Un deux trois", "un deux trois")], language="fr")
    system = make_results([("il a trente chats", "il a 30 chats"), ("Un deux trois", "Un deux six")], language="fr")
    split = split_difference(base, system, get_normalizer("raw"))
    report = regressions_of_split(base, split)
    causes = {cause.cause: (cause.gained, cause.lost, cause.worse) for cause in report.causes}
    assert causes == {
        "numerals": (1, 0, ("u0000",)),
        "acoustic": (1, 0, ("u0001",)),
        "case": (0, 1, ()),
    }
    for cause in report.causes:
        assert report.points(cause.change) == pytest.approx(
            next(part.difference for part in split.parts if part.cause.id == cause.cause)
        )
    with pytest.raises(ShapeError, match="a split over 2 utterances for a run of 1"):
        regressions_of_split(dataclasses.replace(base, predictions=base.predictions[1:]), split)


def test_kinds_of_errors_by_cause():
    base = make_results([("il va à la mer", "il va à la maire"), ("deux chats", "deux chat")], language="fr")
    system = make_results([("il va à la mer", "il va a la mer"), ("deux chats", "deux chats")], language="fr")
    report = regressions_by_category(base, system, FR)
    causes = {cause.cause: (cause.gained, cause.lost) for cause in report.causes}
    assert causes == {"accent_homophone": (1, 0), "homophone": (0, 1), "agreement_or_plural": (0, 1)}


@pytest.mark.shared
@pytest.mark.parametrize(("pair", "profile"), [(("fr/baseline_small", "fr/lora_small"), "fr"),
                                               (("zh/baseline_small", "zh/lora_small"), "zh")])  # fmt: skip
def test_published_regressions_add_up(shared, pair, profile):
    folder = shared / "published" / "predictions"
    base, system = (read_results(folder / f"whisper_{name}.json") for name in pair)
    normalizer = get_normalizer(profile)
    split = split_difference(base, system, normalizer)
    for report in (regressions_by_category(base, system, normalizer), regressions_of_split(base, split)):
        difference = system.total(normalizer).error_rate - base.total(normalizer).error_rate
        assert report.points(sum(cause.change for cause in report.causes)) == pytest.approx(difference)
        assert sum(report.share_of_gained(cause) for cause in report.causes) == pytest.approx(1)
