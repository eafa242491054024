"""Transcription: complete, resumable, independent of restarts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asr_headroom.errors import DataError
from asr_headroom.evaluate.transcribe import count_utterances, refuse_long_utterances, transcribe_manifest
from asr_headroom.metrics.error_rate import count_pair
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.results.schema import RunInfo
from asr_headroom.results.store import ResultsWriter, load_results
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.text.normalize import get_normalizer

SPEECH = [tone_utterance("abcdefgh"[:n] + "hgf"[: n // 3], id=f"u{n}") for n in range(1, 9)]
OPTIONS = DecodingOptions(max_new_tokens=6)
ENGLISH = get_normalizer("en")


def transcribe(model, writer=None, speech=SPEECH):
    return transcribe_manifest(model, speech, OPTIONS, normalizer=ENGLISH, batch_size=3, writer=writer)


def test_every_utterance_once_with_its_counts():
    predictions = transcribe(tiny_whisper(window="fit", seed=4))
    assert sorted(p.id for p in predictions) == sorted(u.id for u in SPEECH)
    texts = {u.id: u.text for u in SPEECH}
    for prediction in predictions:
        assert prediction.reference == texts[prediction.id]
        assert prediction.counts == count_pair(prediction.reference, prediction.hypothesis, ENGLISH)


class DyingModel:
    """Transcribes a number of batches, then is killed."""

    def __init__(self, model, batches):
        self._model, self._left = model, batches

    def __getattr__(self, name):
        return getattr(self._model, name)

    def transcribe(self, batch, options):
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        return self._model.transcribe(batch, options)


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_a_killed_run_goes_on_and_writes_the_same_file(tmp_path, batches):
    model = tiny_whisper(window="fit", seed=4)
    with ResultsWriter(tmp_path / "whole", RunInfo(name="x")) as writer:
        transcribe(model, writer)
    with pytest.raises(KeyboardInterrupt), ResultsWriter(tmp_path / "cut", RunInfo(name="x")) as writer:
        transcribe(DyingModel(model, batches), writer)
    with ResultsWriter(tmp_path / "cut", RunInfo(name="x")) as writer:
        transcribe(model, writer)
    assert (tmp_path / "whole/predictions.jsonl").read_bytes() == (tmp_path / "cut/predictions.jsonl").read_bytes()
    assert len(load_results(tmp_path / "cut").predictions) == len(SPEECH)


def test_long_utterances_are_refused_before_anything_is_decoded():
    model = tiny_whisper(window_seconds=1)
    with pytest.raises(DataError, match=r"5 of 8 utterances are longer than the 1 s .*--max-duration"):
        transcribe(DyingModel(model, 0))
    rounded = replace(SPEECH[0], duration=1.0004)
    refuse_long_utterances(model, [rounded])


def test_counts_are_in_order_and_in_the_unit_of_the_normalizer():
    model = tiny_whisper(window="fit", seed=4)
    counts = count_utterances(model, SPEECH, OPTIONS, normalizer=ENGLISH, batch_size=2)
    assert [c.reference_length for c in counts] == [len(ENGLISH(u.text).split()) for u in SPEECH]
    by_id = {p.id: p.counts.words for p in transcribe(model)}
    assert counts == [by_id[u.id] for u in SPEECH]
