"""Batches in parts when memory runs out, and lists of hypotheses; of models that really decode."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from asr_headroom.errors import ModelError
from asr_headroom.evaluate.decode import BatchDecoder, why_no_nbest
from asr_headroom.evaluate.transcribe import transcribe_manifest
from asr_headroom.models.decoding import DecodingOptions, SamplingOptions
from asr_headroom.results.schema import RunInfo
from asr_headroom.results.store import ResultsWriter, load_results, load_run
from asr_headroom.testing import tiny
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.text.normalize import get_normalizer

SPEECH = [tone_utterance("abcdefgh"[:n] + "hgf"[: n // 3], id=f"u{n}") for n in range(1, 9)]
OPTIONS = DecodingOptions(max_new_tokens=6)


class SmallMemory:
    """A model that runs out of memory with more than some rows, the way the device does."""

    def __init__(self, model, rows, error):
        self._model, self._rows, self._error = model, rows, error
        self.batches = []

    def __getattr__(self, name):
        return getattr(self._model, name)

    def transcribe(self, batch, options):
        self.batches.append(len(batch))
        if len(batch) > self._rows:
            raise self._error
        return self._model.transcribe(batch, options)


GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
CPU = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")


def transcribe(model, directory, batch_size=4, **options):
    with ResultsWriter(directory, RunInfo(name="x")) as writer:
        return transcribe_manifest(
            model, SPEECH, OPTIONS, normalizer=get_normalizer("en"), batch_size=batch_size, writer=writer, **options
        )


@pytest.mark.parametrize("error", [GPU, CPU, MemoryError()], ids=["device", "allocator", "python"])
def test_smaller_batches_give_the_same_file_and_stand_in_the_record(tmp_path, caplog, error):
    model = tiny_whisper(seed=4)
    transcribe(model, tmp_path / "whole", batch_size=8)
    small = SmallMemory(model, 3, error)
    transcribe(small, tmp_path / "small", batch_size=8)
    assert (tmp_path / "whole/predictions.jsonl").read_bytes() == (tmp_path / "small/predictions.jsonl").read_bytes()
    measured = load_run(tmp_path / "small").measured
    assert measured["batch"] == {"asked": 8, "fits": 2}
    assert measured["speed"]["batch_size"] == 2
    assert "out of memory with 8 utterances together; from here on 4" in caplog.text
    assert "batch" not in load_run(tmp_path / "whole").measured


def test_a_resumed_run_begins_with_the_size_that_fits(tmp_path):
    model = tiny_whisper(seed=4)

    class Dying(SmallMemory):
        def transcribe(self, batch, options):
            if len(self.batches) == 3:
                raise KeyboardInterrupt
            return super().transcribe(batch, options)

    with pytest.raises(KeyboardInterrupt):
        transcribe(Dying(model, 2, GPU), tmp_path)
    resumed = SmallMemory(model, 2, GPU)
    transcribe(resumed, tmp_path)
    assert max(resumed.batches) == 2
    assert len(load_results(tmp_path).predictions) == len(SPEECH)


def test_one_utterance_that_does_not_fit_alone_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"'u8' \([\d.]+ s\) does not fit in memory even alone .*--max-duration"):
        transcribe(SmallMemory(tiny_whisper(), 0, GPU), tmp_path)


def test_another_failure_is_not_taken_for_it(tmp_path):
    broken = SmallMemory(tiny_whisper(), 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        transcribe(broken, tmp_path)
    assert broken.batches == [4]


def test_memory_and_speed_are_measured(tmp_path):
    transcribe(tiny_whisper(), tmp_path)
    measured = load_run(tmp_path).measured
    assert measured["speed"]["utterances"] == 4  # of eight, four in the batch that warmed up
    assert 0 < measured["speed"]["seconds"] < 60
    assert measured["memory"]["peak_bytes"] >= measured["memory"]["before_bytes"] > 0


def test_a_single_batch_is_timed_once_more(tmp_path):
    model = SmallMemory(tiny_whisper(), 8, GPU)
    predictions = transcribe(model, tmp_path, batch_size=8)
    assert model.batches == [8, 8]
    assert len(predictions) == len(load_results(tmp_path).predictions) == 8
    assert load_run(tmp_path).measured["speed"]["batches"] == 1


@pytest.mark.parametrize("name", ["whisper", "wav2vec2_ctc", "qwen3_asr"])
def test_lists_are_those_of_the_model_and_change_no_hypothesis(tmp_path, name):
    model = getattr(tiny, f"tiny_{name}")()
    plain = transcribe(model, tmp_path / "plain")
    listed = transcribe(model, tmp_path / "listed", nbest=3)
    assert [p.hypothesis for p in plain] == [p.hypothesis for p in listed]
    by_id = {p.id: p.nbest for p in listed}
    for utterance in SPEECH:
        with torch.no_grad():
            encoded = model.encode(model.collate([utterance]))
            (alone,) = model.nbest(encoded, 3, SamplingOptions(max_new_tokens=OPTIONS.max_new_tokens))
        assert by_id[utterance.id] == tuple(hypothesis.text for hypothesis in alone)
    assert {p.id: p.nbest for p in load_results(tmp_path / "listed").predictions} == by_id
    assert "nbest" not in json.loads((tmp_path / "plain/predictions.jsonl").read_text().splitlines()[0])


def test_transcripts_play_no_part_in_the_lists():
    model = tiny.tiny_wav2vec2_ctc()
    known = tone_utterance("abc")
    strange = replace(known, text="漢字 ÿ")
    (one,), (other,) = (BatchDecoder(model, OPTIONS, rows=1, nbest=2).decode([u]) for u in (known, strange))
    assert one.nbest == other.nbest != ()


def test_families_without_lists_say_so():
    assert why_no_nbest(tiny_whisper()) is None
    assert "'parakeet-tdt' searches for one hypothesis only" in why_no_nbest(tiny.tiny_parakeet_tdt())
