"""split_folds: no speaker and no sentence on both sides, where that can be had."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asr_headroom.errors import DataError
from asr_headroom.stages.folds import split_folds
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.text.normalize import get_normalizer

BASIC = get_normalizer("basic")


def speech_of(count, speakers=8, sentences=None):
    return [
        tone_utterance("ab", id=str(i), speaker=f"s{i % speakers}")
        if sentences is None
        else replace(tone_utterance("ab", id=str(i), speaker=f"s{i % speakers}"), text=sentences[i])
        for i in range(count)
    ]


def test_no_fold_learns_from_its_own_speakers_or_sentences():
    sentences = [f"sentence {i % 35}" for i in range(40)]
    speech = speech_of(40, sentences=sentences)
    parts = split_folds(speech, BASIC, 3, seed=0)
    assert sorted(index for judged, _ in parts for index in judged) == list(range(40))
    for judged, learnt in parts:
        assert not {speech[i].speaker for i in judged} & {speech[i].speaker for i in learnt}
        assert not {sentences[i] for i in judged} & {sentences[i] for i in learnt}
        assert len(learnt) > 15
    assert parts == split_folds(speech, BASIC, 3, seed=0)


def test_where_everybody_reads_the_same_sentences_the_clip_alone_is_new():
    speech = speech_of(40, sentences=[f"sentence {i // 8}" for i in range(40)])
    for judged, learnt in split_folds(speech, BASIC, 2, seed=0):
        assert len(judged) + len(learnt) == 40


def test_unknown_speakers_are_cut_by_clip_and_few_clips_refused():
    speech = [replace(utterance, speaker=None) for utterance in speech_of(20, sentences=[str(i) for i in range(20)])]
    assert sorted(len(judged) for judged, _ in split_folds(speech, BASIC, 3, seed=0)) == [6, 7, 7]
    with pytest.raises(DataError, match="--no-fit"):
        split_folds(speech[:3], BASIC, 2, seed=0)
