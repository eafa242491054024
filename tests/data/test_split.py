from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_headroom.data.manifest import Manifest, Utterance
from asr_headroom.data.readers import read_manifest
from asr_headroom.data.split import connected_groups, split_manifest, subset_hours
from asr_headroom.errors import DataError, UsageError
from asr_headroom.text.normalize import normalizer_for_language


def manifest(rows: list[tuple[str | None, str]], language: str = "fr", duration: float = 36.0) -> Manifest:
    return Manifest(
        "m",
        [
            Utterance(id=str(i), audio=b"", text=text, speaker=speaker, language=language, duration=duration)
            for i, (speaker, text) in enumerate(rows)
        ],
    )


def speakers(num_speakers: int, num_each: int) -> Manifest:
    return manifest([(f"s{i % num_speakers}", f"phrase {i}") for i in range(num_speakers * num_each)])


def groups_by_search(rows: list[tuple[str | None, str]]) -> set[frozenset[int]]:
    """Connected components by repeated merging of sets."""
    groups = [{i} for i in range(len(rows))]
    merged = True
    while merged:
        merged = False
        for a, b in itertools.combinations(groups, 2):
            if any(
                (rows[i][0] and rows[i][0] == rows[j][0]) or (rows[i][1] and rows[i][1] == rows[j][1])
                for i in a
                for j in b
            ):
                a |= b
                groups.remove(b)
                merged = True
                break
    return {frozenset(group) for group in groups}


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([None, "a", "b", "c", "d"]), st.sampled_from(["", *"uvwxyz"])), max_size=12))
def test_groups_are_the_connected_components(rows):
    assert {frozenset(group) for group in connected_groups(manifest(rows))} == groups_by_search(rows)


def test_sentences_are_compared_normalised():
    rows = [("a", "L’été, c'est ici !"), ("b", "l'été c'est ici"), ("c", "autre chose")]
    assert connected_groups(manifest(rows)) == [[0, 1], [2]]


@settings(max_examples=40, deadline=None)
@given(num_speakers=st.integers(8, 20), seed=st.integers(0, 99))
def test_parts_share_neither_speaker_nor_sentence(num_speakers, seed):
    rows = [(f"s{i % num_speakers}", f"phrase {i // 2 if i < 4 else i}") for i in range(num_speakers * 5)]
    whole = manifest(rows)
    splits = split_manifest(whole, dev=0.2, test=0.2, seed=seed)
    assert sorted(u.id for part in splits for u in part) == sorted(u.id for u in whole)
    for one, other in itertools.combinations(splits, 2):
        assert not {u.speaker for u in one} & {u.speaker for u in other}
        assert not {u.text for u in one} & {u.text for u in other}
    for part in splits:
        assert [int(u.id) for u in part] == sorted(int(u.id) for u in part)


def test_sizes_are_fractions_or_numbers():
    whole = speakers(50, 4)
    by_fraction = split_manifest(whole, dev=0.1, test=0.2)
    by_number = split_manifest(whole, dev=20, test=40)
    assert [len(part) for part in by_fraction] == [140, 20, 40] == [len(part) for part in by_number]
    assert [part.name for part in by_fraction] == ["m/train", "m/dev", "m/test"]
    assert [len(part) for part in split_manifest(whole, dev=0, test=0.2)] == [160, 0, 40]


def test_the_seed_decides():
    whole = speakers(50, 4)
    first, again, other = (split_manifest(whole, dev=0.1, test=0.1, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.test != other.test


def test_unknown_speakers_are_kept_apart_by_sentence():
    whole = manifest([(None, f"phrase {i // 2}") for i in range(40)])
    train, dev, test = split_manifest(whole, dev=0.2, test=0.2)
    assert (len(train), len(dev), len(test)) == (24, 8, 8)
    assert not {u.text for u in train} & {u.text for u in test}


def test_a_giant_group_is_refused_with_the_numbers():
    rows = [(f"s{i % 10}", f"phrase {i // 10}") for i in range(100)]  # ten speakers read the same ten sentences
    with pytest.raises(DataError, match=r"1 groups .* the largest holds 100 of 100 utterances \(10 speakers\)"):
        split_manifest(manifest(rows), dev=0.1, test=0.1)


def test_a_group_larger_than_dev_is_refused():
    with pytest.raises(DataError, match=r"dev of about 5 utterances .* the smallest 50"):
        split_manifest(speakers(2, 50), dev=5, test=0)


@pytest.mark.parametrize(("dev", "test"), [(-0.1, 0.1), (0.5, 0.5), (100, 100), (1.5, 0.1), (float("nan"), 0.1)])
def test_impossible_sizes(dev, test):
    with pytest.raises(UsageError):
        split_manifest(speakers(20, 5), dev=dev, test=test)


def test_subsets_by_hours():
    whole = speakers(10, 10)  # 100 utterances of 36 s: one hour
    half = subset_hours(whole, 0.5, seed=3)
    assert len(half) == 50
    assert [int(u.id) for u in half] == sorted(int(u.id) for u in half)
    assert len(subset_hours(whole, 1.0)) == 100
    assert subset_hours(whole, 0.5, seed=4) != half
    with pytest.raises(DataError, match=r"holds 1\.00 h, fewer than the 2 h"):
        subset_hours(whole, 2)
    with pytest.raises(UsageError):
        subset_hours(whole, 0)


def test_smaller_subsets_are_part_of_larger_ones():
    whole = speakers(10, 10)
    ids = [{u.id for u in subset_hours(whole, hours, seed=5)} for hours in (0.1, 0.3, 0.8)]
    assert ids[0] < ids[1] < ids[2]


def test_a_subset_overshoots_by_one_utterance_at_most():
    assert len(subset_hours(speakers(10, 10), 0.101)) == 11  # 363.6 s: ten utterances are 360 s


@pytest.mark.shared
def test_real_speakers_and_sentences_are_kept_apart(shared):
    whole = read_manifest(shared / "speech" / "en_speechocean" / "train.jsonl")
    splits = split_manifest(whole, dev=0.1, test=0.1)
    assert sum(map(len, splits)) == len(whole)
    normalize = normalizer_for_language("en")
    for one, other in itertools.combinations(splits, 2):
        assert not {u.speaker for u in one} & {u.speaker for u in other}
        assert not {normalize(u.text) for u in one} & {normalize(u.text) for u in other}
    assert 200 <= len(splits.dev) <= 300
