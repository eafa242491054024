"""``bench``: what was interrupted is finished, what is complete is read, and nothing stale passes for it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from asr_headroom.data.manifest import write_manifest
from asr_headroom.errors import ResultsError
from asr_headroom.stages.bench import BenchConfig, bench
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper

TEXTS = ("abc", "cab", "bad", "dada", "face", "ab")


@pytest.fixture
def config(tmp_path) -> BenchConfig:
    """One tiny model on six utterances in batches of two."""
    tiny_whisper().save_pretrained(tmp_path / "tiny")
    return dataclasses.replace(settings(tmp_path), data=(str(write_speech(tmp_path)),))


def settings(folder: Path) -> BenchConfig:
    return BenchConfig(
        models=(str(folder / "tiny"),), data=("?",), output=str(folder / "out"), batch_size=2, max_new_tokens=6
    )


def write_speech(folder: Path, **changes: object) -> Path:
    utterances = []
    for text in TEXTS:
        utterance = tone_utterance(text)
        path = folder / f"{text}.wav"
        path.write_bytes(utterance.audio)
        utterances.append(dataclasses.replace(utterance, audio=path, **changes))
    write_manifest(folder / "speech.jsonl", utterances)
    return folder / "speech.jsonl"


def mark_running(directory: Path) -> None:
    plain = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps(plain | {"status": "running"}))


@pytest.mark.parametrize("kept", [-30, 500, 10, 0], ids=["cut line", "cut batch", "cut first", "nothing"])
def test_a_run_killed_while_it_wrote_is_finished(config, kept):
    (whole,) = bench(config)
    path = whole.path / "predictions.jsonl"
    before = path.read_bytes()
    mark_running(whole.path)
    path.write_bytes(before[:kept])
    bench(config)
    assert path.read_bytes() == before


def test_a_run_killed_before_its_first_prediction_is_finished(config):
    (whole,) = bench(config)
    path = whole.path / "predictions.jsonl"
    before = path.read_bytes()
    mark_running(whole.path)
    path.unlink()
    bench(config)
    assert path.read_bytes() == before


def test_a_complete_run_is_read_and_not_repeated(config):
    (first,) = bench(config)
    written = (first.path / "run.json").stat().st_mtime_ns
    (second,) = bench(config)
    assert (first.path / "run.json").stat().st_mtime_ns == written
    assert first.predictions == second.predictions


def test_another_language_is_another_run(config, tmp_path):
    write_speech(tmp_path, language=None)
    bench(dataclasses.replace(config, language="en"))
    with pytest.raises(ResultsError, match="holds another run"):
        bench(dataclasses.replace(config, language="fr"))


def test_other_weights_in_the_same_folder_are_another_run(config, tmp_path):
    bench(config)
    tiny_whisper(seed=1).save_pretrained(tmp_path / "tiny")
    with pytest.raises(ResultsError, match="holds another run"):
        bench(config)
