"""What is exported is read back as the same utterances, in every dialect."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import soundfile

from asr_headroom.cli.main import main
from asr_headroom.data.export import EXPORT_FORMATS, export_manifest
from asr_headroom.data.manifest import Utterance
from asr_headroom.data.readers import read_manifest
from asr_headroom.errors import ConfigError, DataError


@pytest.fixture
def utterances(tmp_path, write_tone):
    long = write_tone(tmp_path / "source" / "long.wav", 3.0, rate=44_100)
    other = write_tone(tmp_path / "source" / "other.flac", 1.0, rate=8_000, hertz=300)
    return [
        Utterance(id="a-1", audio=long, text="Été, l'« été »", language="fr", speaker="s1", start=0.5, end=1.75),
        Utterance(id="a-2", audio=long, text="", language="fr", speaker="s1", start=1.75, end=3.0),
        Utterance(id="b.zh", audio=other, text="你好 <b>", language="zh"),
        Utterance(id="c", audio=other, text='say "no"\n twice', language=None),
    ]


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_a_round_trip_gives_the_same_utterances(tmp_path, utterances, format):
    exported = export_manifest(utterances, tmp_path / "out", format=format)
    assert (exported.num_utterances, exported.renamed, exported.clipped) == (4, 0, 0)
    back = read_manifest(exported.path)
    assert [u.id for u in back] == [u.id for u in utterances]
    assert [u.text for u in back] == [u.text for u in utterances]
    assert [u.language for u in back] == [u.language for u in utterances]
    if format != "qwen3-asr":  # which has no place for a speaker
        assert [u.speaker for u in back] == [u.speaker for u in utterances]
    for before, after in zip(utterances, back, strict=True):
        info = soundfile.info(after.audio)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert np.abs(before.samples(16_000) - after.samples(16_000)).max() <= 0.5 / 32_768
        assert after.measured_duration() == pytest.approx(before.measured_duration(), abs=1 / 16_000)


def test_qwens_dialect_is_its_authors(tmp_path, utterances):
    exported = export_manifest(utterances, tmp_path / "out", format="qwen3-asr")
    rows = [json.loads(line) for line in exported.path.read_text(encoding="utf-8").splitlines()]
    assert [set(row) for row in rows] == [{"audio", "text"}] * 4
    assert rows[0]["text"] == "language French<asr_text>Été, l'« été »"
    assert rows[2]["text"] == "language Chinese<asr_text>你好 <b>"
    assert rows[3]["text"] == 'language None<asr_text>say "no"\n twice'
    assert rows[0]["audio"] == str((tmp_path / "out" / "audio" / "a-1.wav").resolve())


def test_nemos_dialect_is_its_own(tmp_path, utterances):
    exported = export_manifest(utterances, tmp_path / "out", format="nemo")
    first = json.loads(exported.path.read_text(encoding="utf-8").splitlines()[0])
    assert first["duration"] == 1.25
    assert first["lang"] == "fr"
    assert {"audio_filepath", "text"} < set(first)


def test_ids_that_are_no_file_names_get_one_and_are_counted(tmp_path, utterances):
    odd = [
        dataclasses.replace(utterances[2], id="x/1"),
        dataclasses.replace(utterances[2], id="x:1"),
        dataclasses.replace(utterances[2], id="X_1"),
    ]
    exported = export_manifest(odd, tmp_path / "out", format="headroom")
    assert exported.renamed == 3
    assert sorted(path.name for path in (tmp_path / "out" / "audio").iterdir()) == ["X_1_3.wav", "x_1.wav", "x_1_2.wav"]
    assert [u.id for u in read_manifest(exported.path)] == ["x/1", "x:1", "X_1"]


def test_what_is_too_loud_is_clipped_and_counted(tmp_path):
    path = tmp_path / "loud.wav"
    soundfile.write(path, 1.5 * np.sin(np.arange(16_000) / 5), 16_000, subtype="FLOAT")
    exported = export_manifest([Utterance(id="loud", audio=path, text="a")], tmp_path / "out", format="headroom")
    assert exported.clipped == 1
    (back,) = read_manifest(exported.path)
    assert np.abs(back.samples(16_000)).max() == pytest.approx(1.0, abs=1e-4)


def test_nothing_is_overwritten(tmp_path, utterances):
    export_manifest(utterances, tmp_path / "out", format="nemo")
    with pytest.raises(DataError, match="is there already; choose another --output"):
        export_manifest(utterances, tmp_path / "out", format="nemo")


def test_a_failed_export_leaves_no_manifest(tmp_path, utterances):
    gone = dataclasses.replace(utterances[0], audio=tmp_path / "gone.wav")
    with pytest.raises(DataError, match="no such file"):
        export_manifest([utterances[1], gone], tmp_path / "out", format="nemo")
    assert not (tmp_path / "out" / "manifest.jsonl").exists()


def test_a_language_without_a_name_and_an_unknown_format_are_refused(tmp_path, utterances):
    with pytest.raises(ConfigError, match="no English name is known for the language 'qaa'"):
        export_manifest([dataclasses.replace(utterances[0], language="qaa")], tmp_path / "a", format="qwen3-asr")
    with pytest.raises(DataError, match="unknown export format 'nemoo'; did you mean 'nemo'"):
        export_manifest(utterances, tmp_path / "b", format="nemoo")
    with pytest.raises(DataError, match="no utterance to export"):
        export_manifest([], tmp_path / "c", format="nemo")


def test_from_the_command_line(tmp_path, utterances, capsys):
    first = export_manifest(utterances, tmp_path / "ours", format="headroom")
    command = ["data", "export", str(first.path), "--output", str(tmp_path / "qwen"), "--format", "qwen3-asr"]
    assert main([*command, "--limit", "2"]) == 0
    assert "2 rows, 0.00 h, format qwen3-asr" in capsys.readouterr().out
    assert len(read_manifest(tmp_path / "qwen" / "manifest.jsonl")) == 2
