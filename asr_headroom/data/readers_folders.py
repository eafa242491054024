"""Rows of corpora that are a folder: Kaldi data, audio with metadata, transcripts beside their recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asr_headroom.data.manifest import Problem
from asr_headroom.data.readers_rows import Row
from asr_headroom.errors import DataError

__all__ = ["find_metadata", "has_transcripts", "is_kaldi_folder", "kaldi_rows", "transcript_rows"]

_AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")
_METADATA_NAMES = ("metadata.jsonl", "metadata.csv", "metadata.tsv")


def find_metadata(folder: Path) -> Path | None:
    """The metadata file of an audio folder."""
    return next((folder / name for name in _METADATA_NAMES if (folder / name).is_file()), None)


def is_kaldi_folder(folder: Path) -> bool:
    """Whether it holds Kaldi's ``wav.scp``."""
    return (folder / "wav.scp").is_file()


def kaldi_rows(folder: Path) -> Iterator[Row | Problem]:
    """Rows of Kaldi's ``text``, joined with ``segments``, ``wav.scp`` and ``utt2spk``.

    Raises:
        DataError: ``text`` is missing or a file is not readable.
    """
    if not (folder / "text").is_file():
        raise DataError(f"{folder}: has wav.scp but no file named text with the transcripts")
    recordings, wav_problems = _kaldi_table(folder / "wav.scp")
    speakers, speaker_problems = _kaldi_table(folder / "utt2spk")
    segments, segment_problems = _kaldi_table(folder / "segments")
    transcripts, text_problems = _kaldi_table(folder / "text")
    # A doubled or unreadable line of text is a row; one of the other files shows as rows that lack something.
    yield from text_problems
    yield from (
        Problem(problem.where, problem.message, fatal=False)
        for problem in (*wav_problems, *speaker_problems, *segment_problems)
    )
    is_segmented = (folder / "segments").is_file()
    number = 0
    for id_, (where, text) in transcripts.items():
        number += 1
        values: dict[str, str] = {"id": id_, "text": text}
        recording = id_
        if is_segmented:
            fields = segments[id_][1].split() if id_ in segments else []
            if len(fields) != 3:
                yield Problem(where, f"utterance '{id_}' has no line 'id recording start end' in segments")
                continue
            recording, values["start"], values["end"] = fields
            if values["end"] == "-1":  # Kaldi: up to the end of the recording
                del values["end"]
        if recording not in recordings:
            yield Problem(where, f"recording '{recording}' of utterance '{id_}' is not in wav.scp")
            continue
        values["audio"] = recordings[recording][1]
        if id_ in speakers:
            values["speaker"] = speakers[id_][1]
        yield Row(where, number, values, is_typed=False)
    for id_, (where, _) in (segments if is_segmented else recordings).items():
        if id_ not in transcripts:
            yield Problem(where, f"utterance '{id_}' has no transcript in text")


def _kaldi_table(path: Path) -> tuple[dict[str, tuple[str, str]], list[Problem]]:
    """``id -> (where, rest of its line)`` of a Kaldi file; nothing where the file is not there."""
    table: dict[str, tuple[str, str]] = {}
    problems: list[Problem] = []
    if not path.is_file():
        return table, problems
    with path.open("rb") as file:
        for line_number, line in enumerate(file, start=1):
            where = f"{path}:{line_number}"
            try:
                id_, rest = [*line.decode("utf-8").split(maxsplit=1), "", ""][:2]
            except UnicodeDecodeError as error:
                problems.append(Problem(where, f"is not UTF-8 at byte {error.start + 1}; save the file as UTF-8"))
                continue
            if not id_:
                problems.append(Problem(where, "the line is blank; it is not counted as a row", fatal=False))
            elif id_ in table:
                problems.append(Problem(where, f"id '{id_}' stands already in {table[id_][0]}; give each its own"))
            else:
                table[id_] = (where, rest.strip())
    return table, problems


def has_transcripts(folder: Path) -> bool:
    """Whether a recording has its ``.txt`` beside it, or there are LibriSpeech's ``.trans.txt`` files."""
    return any(path.name.endswith(".trans.txt") or _recording_of(path) is not None for path in folder.rglob("*.txt"))


def transcript_rows(folder: Path) -> Iterator[Row | Problem]:
    """One row per recording below the folder, with the transcript that lies beside it."""
    spoken = _librispeech_transcripts(folder)
    recordings = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _AUDIO_SUFFIXES)
    for number, recording in enumerate(recordings, start=1):
        name = recording.relative_to(folder)
        beside = recording.with_suffix(".txt")
        where, text = spoken.get(recording.stem, (f"{beside}:1", ""))
        if recording.stem not in spoken:
            try:
                text = beside.read_text(encoding="utf-8-sig").strip()
            except FileNotFoundError:
                yield Problem(str(recording), f"no transcript beside it; write {beside.name}")
                continue
            except (OSError, UnicodeDecodeError) as error:
                yield Problem(where, f"cannot be read as UTF-8 text ({error})")
                continue
        values = {"id": str(name.with_suffix("")), "audio": str(name), "text": text}
        if recording.stem in spoken:
            values.update(id=recording.stem, speaker=recording.stem.split("-")[0])
        yield Row(where, number, values, is_typed=False)


def _librispeech_transcripts(folder: Path) -> dict[str, tuple[str, str]]:
    transcripts: dict[str, tuple[str, str]] = {}
    for path in sorted(folder.rglob("*.trans.txt")):
        table, _ = _kaldi_table(path)
        transcripts.update(table)
    return transcripts


def _recording_of(transcript: Path) -> Path | None:
    return next((path for s in _AUDIO_SUFFIXES if (path := transcript.with_suffix(s)).is_file()), None)
