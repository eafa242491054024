"""Each dialect of file and folder gives the utterances that were written by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from asr_headroom.data.manifest import Utterance
from asr_headroom.data.readers import read_manifest, scan_manifest
from asr_headroom.data.readers_rows import language_tag
from asr_headroom.errors import DataError


def test_our_json_lines(corpus, write_rows):
    path = write_rows(
        corpus / "m.jsonl",
        {
            "id": "x",
            "audio": "a.wav",
            "text": "Un chat",
            "language": "fr",
            "speaker": "s1",
            "duration": 1,
            "age": 7,
        },
        {"id": "y", "audio": str(corpus / "b.wav"), "text": "deux", "start": 0.5, "end": 1.5},
    )
    first, second = read_manifest(path, language="de")
    assert first == Utterance(
        id="x",
        audio=corpus / "a.wav",
        text="Un chat",
        language="fr",
        speaker="s1",
        duration=1.0,
        origin=f"{path}:1",
        extras={"age": 7},
    )
    assert second == Utterance(
        id="y", audio=corpus / "b.wav", text="deux", language="de", start=0.5, end=1.5, origin=f"{path}:2"
    )


@pytest.mark.parametrize(
    ("text", "expected", "language"),
    [
        ("language French<asr_text>Bonjour à tous.", "Bonjour à tous.", "fr"),
        ("language Chinese<asr_text>你好", "你好", "zh"),
        ("language None<asr_text>", "", "xx"),
        ("language French<asr_text>deux\nlignes", "deux\nlignes", "fr"),
        ("language is a gift", "language is a gift", "xx"),
    ],
)
def test_qwen_prefix_is_taken_off(corpus, write_rows, text, expected, language):
    path = write_rows(corpus / "m.jsonl", {"audio": "a.wav", "text": text, "prompt": "names: Zoé"})
    (utterance,) = read_manifest(path, language="xx")
    assert (utterance.text, utterance.language) == (expected, language)
    assert utterance.extras == {"prompt": "names: Zoé"}
    assert utterance.id == "a"


def test_a_stated_language_wins_over_the_prefix(corpus, write_rows):
    path = write_rows(
        corpus / "m.jsonl", {"audio": "a.wav", "language": "fr-CA", "text": "language French<asr_text>oui"}
    )
    assert read_manifest(path)[0].language == "fr-CA"


def test_nemo(corpus, write_rows):
    path = write_rows(
        corpus / "m.json",  # NeMo calls its JSON lines .json
        {"audio_filepath": "c.wav", "duration": 1.5, "offset": 0.25, "text": "one", "lang": "en"},
        {"audio_filepath": "c.wav", "duration": 3.0, "text": "all of it"},
    )
    first, second = read_manifest(path)
    assert (first.start, first.end, first.duration, first.language) == (0.25, 1.75, 1.5, "en")
    assert (second.start, second.end, second.duration) == (0.0, None, 3.0)
    assert [first.id, second.id] == ["c-0000250-0001750", "c"]


def test_whisper_finetune(corpus, write_rows):
    path = write_rows(
        corpus / "m.jsonl",
        {
            "audio": {"path": "c.wav", "start_time": 0.5, "end_time": 2.0},
            "sentence": "近几年",
            "language": "Chinese",
            "duration": 1.5,
            "sentences": [{"start": 0, "end": 1.5, "text": "近几年"}],
        },
        {"audio": {"path": "a.wav"}, "sentence": "二", "duration": 1.0},
    )
    first, second = read_manifest(path)
    assert (first.audio, first.start, first.end, first.text) == (corpus / "c.wav", 0.5, 2.0, "近几年")
    assert (first.language, first.duration) == ("zh", 1.5)
    assert (second.start, second.end) == (0.0, None)


def test_a_json_array_keeps_line_numbers(corpus):
    path = corpus / "m.json"
    rows = [{"audio": "a.wav", "text": "un"}, {"audio": "b.wav", "text": "deux [et] demi"}]
    path.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    manifest = read_manifest(path)
    assert [u.text for u in manifest] == ["un", "deux [et] demi"]
    assert [u.origin for u in manifest] == [f"{path}:2", f"{path}:6"]


@pytest.mark.parametrize("clips", [True, False])
def test_common_voice(tmp_path, write_tone, clips):
    write_tone(tmp_path / ("clips" if clips else ".") / "common_voice_fr_1.mp3")
    path = tmp_path / "train.tsv"
    path.write_text(
        'client_id\tpath\tsentence_id\tsentence\tage\tlocale\nabc\tcommon_voice_fr_1.mp3\t9\t"Non", dit-il.\t\tfr\n',
        encoding="utf-8",
    )
    (utterance,) = read_manifest(path)
    assert utterance.text == '"Non", dit-il.'
    assert (utterance.id, utterance.speaker, utterance.language) == ("common_voice_fr_1", "abc", "fr")
    assert utterance.extras == {"sentence_id": "9"}
    assert utterance.samples(16_000).shape == (16_000,)


@pytest.mark.parametrize("audio", ["audio", "path", "file_name", "audio_filepath", "wav", "filename"])
@pytest.mark.parametrize("text", ["text", "sentence", "normalized_text", "transcript", "transcription"])
@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
def test_generic_tables(corpus, audio, text, suffix, separator):
    path = corpus / f"m.{suffix}"
    lines = [(audio, text, "duration"), ("a.wav", '"said ""yes"", twice"', "1.0"), ("b.wav", "deux", "")]
    path.write_text("\ufeff" + "\r\n".join(separator.join(line) for line in lines), encoding="utf-8")
    first, second = read_manifest(path)
    assert (first.audio, first.text, first.duration) == (corpus / "a.wav", 'said "yes", twice', 1.0)
    assert (second.text, second.duration, second.origin) == ("deux", None, f"{path}:3")


def test_text_columns_are_looked_for_in_order(corpus, write_rows):
    row = {"audio": "a.wav", "transcription": "5", "transcript": "4", "normalized_text": "3", "sentence": "2"}
    path = write_rows(corpus / "m.jsonl", row, {**row, "text": "1", "audio": "b.wav"})
    assert [u.text for u in read_manifest(path)] == ["2", "1"]


def test_fields_with_line_ends_count_physical_lines(corpus):
    path = corpus / "m.csv"
    path.write_text('audio,text\na.wav,"two\nlines"\nb.wav,one\n', encoding="utf-8")
    assert [u.origin for u in read_manifest(path)] == [f"{path}:2", f"{path}:4"]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_audio_folder_with_metadata(corpus, name):
    lines = {
        "metadata.csv": "file_name,transcription\na.wav,un\nb.wav,deux\n",
        "metadata.jsonl": '{"file_name": "a.wav", "text": "un"}\n{"file_name": "b.wav", "text": "deux"}\n',
    }
    (corpus / name).write_text(lines[name], encoding="utf-8")
    manifest = read_manifest(corpus)
    assert [(u.audio, u.text) for u in manifest] == [(corpus / "a.wav", "un"), (corpus / "b.wav", "deux")]
    assert manifest[0].origin.startswith(str(corpus / name))


def test_transcripts_beside_their_recordings(corpus, write_tone):
    write_tone(corpus / "deep" / "d.flac")
    for name, text in {"a": "un\n", "b": "deux", "c": "", "deep/d": "quatre"}.items():
        (corpus / f"{name}.txt").write_text(text, encoding="utf-8")
    manifest = read_manifest(corpus)
    assert [(u.id, u.text) for u in manifest] == [("a", "un"), ("b", "deux"), ("c", ""), ("deep/d", "quatre")]
    assert manifest[3].audio == corpus / "deep" / "d.flac"


def test_librispeech_layout(tmp_path, write_tone):
    chapter = tmp_path / "84" / "121123"
    write_tone(chapter / "84-121123-0000.flac")
    (chapter / "84-121123.trans.txt").write_text("84-121123-0000 GO DO YOU HEAR\n", encoding="utf-8")
    (utterance,) = read_manifest(tmp_path)
    assert (utterance.id, utterance.speaker, utterance.text) == ("84-121123-0000", "84", "GO DO YOU HEAR")


def kaldi(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def test_kaldi(corpus):
    kaldi(
        corpus,
        text="u1 un chat\nu2 deux\n",
        wav_scp=f"u1 a.wav\nu2 {corpus}/b.wav\n",
        utt2spk="u1 s1\nu2 s2\n",
    )
    first, second = read_manifest(corpus, language="fr")
    assert (first.id, first.text, first.speaker, first.audio) == ("u1", "un chat", "s1", corpus / "a.wav")
    assert (second.audio, second.language) == (corpus / "b.wav", "fr")
    assert first.origin == f"{corpus / 'text'}:1"


def test_kaldi_segments(corpus):
    kaldi(corpus, text="u1 un\nu2 deux\n", wav_scp="rec c.wav\n", segments="u1 rec 0.0 1.25\nu2 rec 1.25 -1\n")
    first, second = read_manifest(corpus)
    assert (first.start, first.end, second.start, second.end) == (0.0, 1.25, 1.25, None)
    assert first.samples(16_000).shape == (20_000,)


def test_ids_come_from_the_audio(corpus, write_rows):
    rows = [
        {"audio": "a.wav", "text": ""},
        {"audio": "x/a.wav", "text": ""},
        {"audio": "a.wav", "text": "", "end": 1},
    ]
    path = write_rows(corpus / "m.jsonl", *rows)
    ids = [u.id for u in read_manifest(path)]
    assert ids == ["a", "a-2", "a-0000000-0001000"]
    assert ids == [u.id for u in read_manifest(path)]


def test_numbers_are_ids_and_speakers_too(corpus, write_rows):
    (utterance,) = read_manifest(write_rows(corpus / "m.jsonl", {"id": 7, "audio": "a.wav", "text": "", "speaker": 3}))
    assert (utterance.id, utterance.speaker) == ("7", "3")


def test_limit_counts_rows_read(corpus, write_rows):
    rows = [{"id": str(i), "audio": "a.wav", "text": "x"} for i in range(5)]
    path = write_rows(corpus / "m.jsonl", rows[0], "broken", *rows[1:])
    manifest = read_manifest(path, skip_bad=True, limit=3)
    assert [u.id for u in manifest] == ["0", "1"]
    assert [p.where for p in manifest.problems] == [f"{path}:2"]
    with pytest.raises(DataError, match="limit is 0"):
        read_manifest(path, limit=0)


def test_bad_rows_are_refused_together_with_advice(corpus, write_rows):
    good = [{"id": f"g{i}", "audio": "a.wav", "text": "x"} for i in range(3)]
    path = write_rows(corpus / "m.jsonl", *good, *["broken"] * 12)
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: 12 of 15 rows cannot be used:"
    assert [line.split(": ")[0].strip() for line in lines[1:11]] == [f"{path}:{n}" for n in range(4, 14)]
    assert lines[11].strip() == "and 2 more"
    assert f"asr-headroom data validate {path}" in lines[12]
    assert "--skip-bad" in lines[12]
    manifest = read_manifest(path, skip_bad=True)
    assert len(manifest) == 3
    assert len(manifest.problems) == 12


def test_empty_text_is_data_and_is_noted(corpus, write_rows):
    path = write_rows(corpus / "m.jsonl", {"audio": "a.wav", "text": ""}, {"audio": "b.wav", "text": " "})
    manifest = read_manifest(path)
    assert [u.text for u in manifest] == ["", " "]
    assert [(p.where, p.fatal) for p in manifest.problems] == [(f"{path}:1", False), (f"{path}:2", False)]


def test_unknown_language_names_are_noted(corpus, write_rows):
    path = write_rows(corpus / "m.jsonl", {"audio": "a.wav", "text": "x", "language": "Old High Elvish"})
    manifest = read_manifest(path, language="fr")
    assert manifest[0].language == "fr"
    assert "'Old High Elvish' is not a BCP-47 tag" in manifest.problems[0].message


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("French", "fr"),
        ("fr", "fr"),
        ("zh_CN", "zh-CN"),
        ("Mandarin Chinese", "zh"),
        ("yue", "yue"),
        ("??", None),
    ],
)
def test_language_tags(name, tag):
    assert language_tag(name) == tag


def test_blank_lines_are_no_rows(corpus, write_rows):
    path = write_rows(corpus / "m.jsonl", {"audio": "a.wav", "text": "x"}, "", {"audio": "b.wav", "text": "y"})
    manifest = scan_manifest(path)
    assert len(manifest) == 2
    assert [(p.where, p.fatal) for p in manifest.problems] == [(f"{path}:2", False)]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["fr_librivox/dev", "en_speechocean/dev", "zh_aishell/all", "en_digits/test"])
def test_shared_manifests_are_read_without_a_problem(shared, name):
    path = shared / "speech" / f"{name}.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    manifest = read_manifest(path)
    assert [(u.id, u.text, u.speaker, u.duration) for u in manifest] == [
        (row["id"], row["text"], row["speaker"], row["duration"]) for row in rows
    ]
    assert not manifest.problems
    assert len(manifest[0].samples(16_000)) == pytest.approx(manifest[0].duration * 16_000, abs=160)


def test_a_folder_of_tables_names_the_paths_to_give(tmp_path):
    (tmp_path / "test.tsv").write_text("path\tsentence\n")
    with pytest.raises(DataError, match=re.escape(f"give one of: {tmp_path / 'test.tsv'}")):
        read_manifest(tmp_path)
