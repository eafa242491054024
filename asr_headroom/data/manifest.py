"""The nouns of speech data: an :class:`Utterance` and a :class:`Manifest` of them, and JSON lines in and out.

A manifest knows where each row came from and which rows could not be used: bad rows are problems with file
and line, never silently missing. Audio stays where it is until samples are asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np

from asr_headroom.audio.augment import Alteration
from asr_headroom.audio.waveform import AudioSource, read_info, read_waveform
from asr_headroom.errors import DataError

__all__ = ["Manifest", "Problem", "Utterance", "write_manifest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A segment of a recording with its transcript.

    Attributes:
        id: unique in its manifest.
        audio: where the recording is.
        text: transcript as written, never normalised here.
        language: BCP-47 tag; None where unknown.
        speaker: id of the speaker; None where unknown.
        duration: seconds of the segment; None where the manifest does not state it.
        start: seconds into the recording where the segment begins.
        end: seconds into the recording where it ends; None is the recording's end.
        origin: ``file:line`` or data set row it was read from.
        extras: further columns of the manifest.
        alteration: what its samples go through once they are read; None leaves them as recorded. Training's alone.
    """

    id: str
    audio: AudioSource
    text: str
    language: str | None = None
    speaker: str | None = None
    duration: float | None = None
    start: float = 0.0
    end: float | None = None
    origin: str = ""
    extras: Mapping[str, Any] = field(default_factory=dict)
    alteration: Alteration | None = None

    def samples(self, sampling_rate: int) -> np.ndarray:
        """[samples] float32 mono in [-1, 1] at ``sampling_rate`` Hz, decoded now and not kept.

        Raises:
            AudioError: see :func:`asr_headroom.audio.waveform.read_waveform`.
        """
        samples = read_waveform(self.audio, sampling_rate, start=self.start, end=self.end)
        return samples if self.alteration is None else self.alteration(samples, sampling_rate)

    def measured_duration(self) -> float:
        """Seconds of the segment: the stated duration, or what the recording's header says.

        Raises:
            AudioError: no duration is stated and the header cannot be read.
        """
        if self.duration is not None:
            return self.duration
        if self.end is not None:
            return self.end - self.start
        return read_info(self.audio).duration - self.start


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with one row: what, where and how to fix it.

    ``fatal`` rows are left out; the others are kept and only pointed at. ``is_filtered`` marks the fatal rows
    that a profile leaves out on purpose: they are counted, but no reason to refuse the source.
    """

    where: str
    message: str
    fatal: bool = True
    is_filtered: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True)
class Manifest(Sequence[Utterance]):
    """Utterances in the order of their source, and the rows that could not be used.

    ``len(manifest) + number of fatal problems`` is the number of rows that were read.
    """

    name: str
    utterances: Sequence[Utterance]
    problems: Sequence[Problem] = ()

    @overload
    def __getitem__(self, index: int) -> Utterance: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Utterance]: ...
    def __getitem__(self, index: int | slice) -> Utterance | Sequence[Utterance]:
        return self.utterances[index]

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits over ids, references and segment times: equal for equal tests."""
        digest = hashlib.sha256()
        for utterance in self:
            row = (utterance.id, utterance.text, utterance.start, utterance.end)
            digest.update(json.dumps(row, ensure_ascii=True).encode())
        return digest.hexdigest()[:12]


def write_manifest(path: Path, utterances: Sequence[Utterance]) -> None:
    """Writes our JSON lines; audio paths below the manifest's folder are made relative to it.

    Raises:
        DataError: an utterance's audio is not a file.
        OSError: the disk refuses.
    """
    root = path.parent.resolve()
    lines = []
    for utterance in utterances:
        if not isinstance(utterance.audio, Path):
            raise DataError(f"utterance '{utterance.id}' has no audio file to point at; export its audio first")
        audio = utterance.audio.resolve()
        row: dict[str, Any] = {
            "id": utterance.id,
            "audio": str(audio.relative_to(root) if audio.is_relative_to(root) else audio),
            "text": utterance.text,
        }
        optional = {
            "language": utterance.language,
            "speaker": utterance.speaker,
            "duration": utterance.duration,
            "start": utterance.start or None,
            "end": utterance.end,
        }
        row.update({name: value for name, value in optional.items() if value is not None})
        row.update({name: value for name, value in utterance.extras.items() if name not in row})
        lines.append(json.dumps(row, ensure_ascii=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
