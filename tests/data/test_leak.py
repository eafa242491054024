from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Indel

from asr_headroom.data.leak import find_leaks
from asr_headroom.data.manifest import Manifest, Utterance
from asr_headroom.data.readers import read_manifest
from asr_headroom.errors import UsageError
from asr_headroom.text.normalize import normalizer_for_language


def manifest(name: str, *texts: str, language: str = "fr", **values) -> Manifest:
    rows = [
        Utterance(
            **{
                "id": f"{name}{i}",
                "audio": f"{name}{i}".encode(),
                "text": text,
                "language": language,
                **values,
            }
        )
        for i, text in enumerate(texts)
    ]
    return Manifest(name, rows)


def test_nothing_in_common():
    report = find_leaks(manifest("a", "le chat dort"), manifest("b", "il pleut sur la ville"))
    assert report.is_clean
    assert (report.leaked_ids, report.num_train, report.num_test) == ((), 1, 1)


def test_shared_sentences_after_normalisation():
    train = manifest("a", "L’été, c'est ici !", "autre", "l'été c'est ici")
    report = find_leaks(train, manifest("b", "l'été : c'est ici", "", "une phrase neuve"))
    (item,) = report.sentences
    assert (item.value, item.train_ids, item.test_ids) == ("l'été c'est ici", ("a0", "a2"), ("b0",))
    assert report.leaked_ids == ("b0",)
    assert not report.is_clean


def test_scripts_of_chinese_are_one():
    report = find_leaks(manifest("a", "我們", language="zh"), manifest("b", "我们", language="zh-CN"))
    assert [item.value for item in report.sentences] == ["我们"]
    other = find_leaks(manifest("a", "我們"), manifest("b", "我们"), language="zh")
    assert len(other.sentences) == 1


def test_empty_texts_are_not_shared():
    assert find_leaks(manifest("a", "", "!"), manifest("b", "", "?")).is_clean


def test_near_duplicates():
    train = manifest("a", "le petit chat dort sur le canapé", "tout autre chose", "le petit chien dort sur le canapé")
    test = manifest("b", "le petit chat dort sur le canape", "rien de tout cela")
    (near,) = find_leaks(train, test).near_duplicates
    assert near.train_sentence == "le petit chat dort sur le canapé"
    assert near.test_ids == ("b0",)
    assert near.similarity == pytest.approx(200 * 31 / 64)
    assert not find_leaks(train, test, min_similarity=99).near_duplicates


@settings(max_examples=60, deadline=None)
@given(
    train=st.lists(st.text("abc ", max_size=14), max_size=12),
    test=st.lists(st.text("abc ", max_size=14), max_size=12),
    threshold=st.sampled_from([60.0, 75.0, 90.0, 100.0]),
)
def test_length_blocks_lose_no_pair(train, test, threshold):
    report = find_leaks(manifest("a", *train), manifest("b", *test), min_similarity=threshold)
    sentences = [{" ".join(text.split()) for text in texts} - {""} for texts in (train, test)]
    assert {item.value for item in report.sentences} == sentences[0] & sentences[1]
    expected = {}
    for one in sentences[1] - sentences[0]:
        best = max((100 * Indel.normalized_similarity(one, other) for other in sentences[0]), default=0.0)
        if best >= threshold:
            expected[one] = best
    found = {near.test_sentence: near.similarity for near in report.near_duplicates}
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("value", [0, -1, 101, float("nan")])
def test_thresholds_out_of_range(value):
    with pytest.raises(UsageError):
        find_leaks(manifest("a", "x"), manifest("b", "x"), min_similarity=value)


def test_shared_speakers_are_named_but_leak_no_sentence():
    report = find_leaks(manifest("a", "un", speaker="s1"), manifest("b", "deux", speaker="s1"))
    assert [item.value for item in report.speakers] == ["s1"]
    assert report.leaked_ids == ()
    assert not report.is_clean


def test_the_same_bytes_under_another_name(corpus):
    (corpus / "copy.wav").write_bytes((corpus / "a.wav").read_bytes())
    train = Manifest("a", [Utterance(id="t", audio=corpus / "a.wav", text="un")])
    test = Manifest(
        "b",
        [
            Utterance(id="same", audio=corpus / "copy.wav", text="deux mots"),
            Utterance(id="memory", audio=(corpus / "a.wav").read_bytes(), text="trois"),
            Utterance(id="other", audio=corpus / "b.wav", text="quatre"),
        ],
    )
    report = find_leaks(train, test)
    assert [(item.train_ids, item.test_ids) for item in report.recordings] == [(("t",), ("same", "memory"))]
    assert report.leaked_ids == ("same", "memory")


def test_equal_size_is_not_equal_audio(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"1234")
    (tmp_path / "b.wav").write_bytes(b"5678")
    train, test = (Manifest(n, [Utterance(id=n, audio=tmp_path / f"{n}.wav", text=n)]) for n in "ab")
    assert find_leaks(train, test).is_clean


@pytest.mark.parametrize(("start", "end", "leaks"), [(0.0, 1.0, False), (0.5, 1.5, True), (2.0, None, True)])
def test_segments_of_one_recording_leak_where_they_overlap(corpus, start, end, leaks):
    train = Manifest("a", [Utterance(id="t", audio=corpus / "c.wav", text="un", start=1.0, end=2.5)])
    test = Manifest("b", [Utterance(id="x", audio=corpus / "c.wav", text="deux", start=start, end=end)])
    assert bool(find_leaks(train, test).recordings) == leaks


def test_recordings_that_cannot_be_read_are_said(tmp_path):
    train = Manifest("a", [Utterance(id="t", audio=tmp_path / "none.wav", text="un")])
    report = find_leaks(train, manifest("b", "deux"))
    assert report.unreadable == (str(tmp_path / "none.wav"),)
    assert not report.is_clean


@pytest.mark.shared
@pytest.mark.parametrize("part", ["dev", "test"])
def test_shared_sentences_of_a_real_corpus(shared, part):
    folder = shared / "speech" / "en_speechocean"

    def texts(name: str) -> list[str]:
        lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["text"] for line in lines]

    # Upper case without punctuation, so a plain intersection of the raw texts is the truth.
    both = set(texts("train")) & set(texts(part))
    report = find_leaks(read_manifest(folder / "train.jsonl"), read_manifest(folder / f"{part}.jsonl"))
    assert both
    # What is shown is normalised: "it's" is "it is", and "first" is "1st".
    normalizer = normalizer_for_language("en")
    assert {item.value for item in report.sentences} == {normalizer(text) for text in both}
    assert sum(len(item.test_ids) for item in report.sentences) == sum(text in both for text in texts(part))
    assert not report.speakers
    assert not report.recordings
