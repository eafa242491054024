"""Utterances without words: read back as made, transcribed and counted as insertions."""

from __future__ import annotations

import numpy as np
import pytest

from asr_headroom.audio.nonspeech import nonspeech_clips
from asr_headroom.data.nonspeech import nonspeech_utterances
from asr_headroom.evaluate.transcribe import count_utterances, transcribe_manifest
from asr_headroom.models.decoding import DecodingOptions, Hypothesis
from asr_headroom.results.schema import RunInfo
from asr_headroom.results.store import ResultsWriter, load_results
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.text.normalize import get_normalizer, normalizer_for_language


def test_samples_survive_the_file():
    utterances = nonspeech_utterances(language="fr", count=6)
    clips = nonspeech_clips(16_000, count=6)
    assert [u.id for u in utterances] == [f"nonspeech-{clip.name}" for clip in clips]
    for utterance, clip in zip(utterances, clips, strict=True):
        assert np.array_equal(utterance.samples(16_000), clip.samples)
        assert utterance.measured_duration() == pytest.approx(len(clip.samples) / 16_000)
        assert (utterance.text, utterance.language, utterance.speaker) == ("", "fr", None)


def test_what_a_model_writes_on_them_is_inserted(tmp_path):
    speech = nonspeech_utterances(language="en", count=6, max_duration=0.9)
    english, options = get_normalizer("en"), DecodingOptions(max_new_tokens=6)
    with ResultsWriter(tmp_path, RunInfo(name="x")) as writer:
        model = tiny_whisper(window_seconds=1)
        predictions = transcribe_manifest(model, speech, options, normalizer=english, batch_size=4, writer=writer)
    assert list(load_results(tmp_path).predictions) == predictions
    for prediction in predictions:
        assert prediction.counts.words.insertions == len(english(prediction.hypothesis).split())
        assert prediction.counts.words.reference_length == 0


class Chatterbox:
    """Hears three words in everything."""

    def __init__(self, model):
        self._model = model

    def __getattr__(self, name):
        return getattr(self._model, name)

    def transcribe(self, batch, options):
        return [Hypothesis(text="Thank you, everyone.") for _ in batch]


def test_every_word_where_nothing_is_said_is_counted():
    speech = nonspeech_utterances(language="en", count=3, max_duration=0.9)
    model, normalizer = Chatterbox(tiny_whisper(window_seconds=1)), normalizer_for_language("en")
    counts = count_utterances(model, speech, DecodingOptions(), normalizer=normalizer, batch_size=2)
    assert [(c.insertions, c.errors, c.reference_length) for c in counts] == [(3, 3, 0)] * 3
