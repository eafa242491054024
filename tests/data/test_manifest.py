from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from asr_headroom.data.manifest import Manifest, Utterance, write_manifest
from asr_headroom.data.readers import read_manifest
from asr_headroom.errors import AudioError, DataError


def test_what_is_written_is_read(corpus):
    utterances = [
        Utterance(id="one", audio=corpus / "a.wav", text="l'été « ici »", language="fr", speaker="s1", duration=1.0),
        Utterance(id="two", audio=corpus / "b.wav", text="", start=0.5, end=1.25, extras={"age": 7, "noise": None}),
        Utterance(id="three", audio=Path("/elsewhere/c.wav"), text="你好", language="zh-CN"),
    ]
    write_manifest(corpus / "out" / "m.jsonl", utterances[2:])
    write_manifest(corpus / "m.jsonl", utterances)
    back = read_manifest(corpus / "m.jsonl")
    assert [dataclasses.replace(utterance, origin="") for utterance in back] == utterances
    assert '"audio": "a.wav"' in (corpus / "m.jsonl").read_text(encoding="utf-8")
    assert read_manifest(corpus / "out" / "m.jsonl")[0].audio == Path("/elsewhere/c.wav")


def test_audio_in_memory_cannot_be_pointed_at(tmp_path):
    with pytest.raises(DataError, match="'x' has no audio file"):
        write_manifest(tmp_path / "m.jsonl", [Utterance(id="x", audio=b"...", text="")])


def test_samples_are_those_of_the_segment(corpus):
    utterance = Utterance(id="x", audio=corpus / "c.wav", text="", start=0.5, end=1.75)
    assert utterance.samples(8000).shape == (10_000,)


def test_duration_is_stated_or_measured(corpus):
    def duration(**values):
        return Utterance(id="x", text="", **{"audio": corpus / "c.wav", **values}).measured_duration()

    assert duration() == 3.0
    assert duration(start=1.0) == 2.0
    assert duration(start=1.0, end=1.5) == 0.5
    assert duration(duration=2.5) == 2.5
    with pytest.raises(AudioError):
        duration(audio=corpus / "none.wav")


def test_fingerprint_follows_ids_texts_and_times():
    def fingerprint(**values):
        return Manifest("m", [Utterance(**{"id": "a", "audio": b"", "text": "x", **values})]).fingerprint()

    same = fingerprint()
    assert same == fingerprint(speaker="s", audio=b"other", language="fr")
    assert len({same, fingerprint(id="b"), fingerprint(text="y"), fingerprint(start=1.0), fingerprint(end=1.0)}) == 5


def test_a_manifest_is_a_sequence():
    utterances = [Utterance(id=str(i), audio=b"", text="") for i in range(3)]
    manifest = Manifest("m", utterances)
    assert list(manifest) == utterances
    assert manifest[1:] == utterances[1:]
    assert manifest[-1].id == "2"
    assert len(manifest) == 3
