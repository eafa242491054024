"""Wrong transcripts made on purpose: each differs in the way that its kind says, and is the same when made again."""

from __future__ import annotations

from rapidfuzz.distance import Levenshtein

from asr_headroom.analysis.label_doctor_planting import KINDS, Planter

TEXTS = ["The cat sat on the mat.", "A dog ran home today.", "Birds sing in the morning.", "We went by train."]


def spoiled(text, seed, texts=TEXTS, unit="word"):
    return Planter(texts, unit, seed).spoil("id", text)


def test_each_kind_is_what_it_says():
    for seed in range(50):
        wrong = spoiled(TEXTS[0], seed)
        assert set(wrong) == set(KINDS)
        words = TEXTS[0].rstrip(".").split()
        assert wrong["swapped"] in TEXTS[1:]
        kept = wrong["truncated"].rstrip(".").split()
        assert kept == words[: len(kept)]
        assert 3 <= len(kept) <= 5
        longer = wrong["extended"].rstrip(".").split()
        assert longer[: len(words)] == words
        assert 1 <= len(longer) - len(words) <= 3
        changed = wrong["changed"].split()
        assert Levenshtein.distance(changed, TEXTS[0].split()) == 1
        assert len(changed) == 6


def test_the_final_mark_does_not_give_a_cut_away():
    assert all(spoiled(TEXTS[0], seed)["truncated"].endswith(".") for seed in range(20))
    assert not any(spoiled("no mark here at all", seed)["truncated"].endswith(".") for seed in range(20))


def test_the_same_is_made_again_and_another_seed_makes_another():
    assert spoiled(TEXTS[0], 3) == spoiled(TEXTS[0], 3)
    assert len({tuple(spoiled(TEXTS[0], seed).items()) for seed in range(10)}) > 5


def test_what_cannot_be_made_is_missing():
    assert set(spoiled("Yes.", 0, texts=["Yes.", "Yes."])) == set()
    assert set(spoiled("", 0)) == {"swapped"}
    assert "truncated" not in spoiled("Yes.", 0)


def test_characters_are_units_of_their_own():
    wrong = spoiled("今天天气很好。", 1, texts=["今天天气很好。", "我喜欢喝茶。"], unit="character")
    assert "今天天气很好".startswith(wrong["truncated"].rstrip("。"))
    assert " " not in "".join(wrong.values())
