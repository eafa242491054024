"""A tiny model on disk and a handful of tone utterances with a manifest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asr_headroom.data.manifest import write_manifest
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper

TEXTS = ("abc", "cab", "bad", "dab", "fad", "face", "bead", "deaf")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Folder of a tiny multilingual Whisper with a window of 3 s."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_whisper(layers=2).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tones(tmp_path_factory):
    """Manifest of eight utterances, two by each of four speakers."""
    folder = tmp_path_factory.mktemp("data") / "tones"
    speech = []
    (folder / "audio").mkdir(parents=True)
    for index, text in enumerate(TEXTS):
        utterance = tone_utterance(text, id=f"u{index}", speaker=f"s{index // 2}")
        path = folder / "audio" / f"{index}.wav"
        path.write_bytes(utterance.audio)
        speech.append(replace(utterance, audio=path))
    write_manifest(folder / "test.jsonl", speech)
    return folder / "test.jsonl"
