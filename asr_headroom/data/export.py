"""Utterances as other programs train on them: 16 kHz WAV files and a manifest in their dialect.

Every segment becomes a file of its own, mono, 16 bit. Reading the manifest back (:mod:`asr_headroom.data.readers`)
gives the same utterances; what a dialect has no place for is told by :class:`Exported`. Start with
:func:`export_manifest`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import soundfile

from asr_headroom.data.manifest import Utterance, write_manifest
from asr_headroom.errors import DataError, did_you_mean
from asr_headroom.text.languages import language_name

__all__ = ["EXPORT_FORMATS", "ExportFormat", "Exported", "export_manifest"]

ExportFormat = Literal["qwen3-asr", "nemo", "headroom"]
EXPORT_FORMATS: tuple[str, ...] = get_args(ExportFormat)

_SAMPLING_RATE = 16_000
_FULL_SCALE = 32_768
_MAX_NAME = 100


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: of the manifest.
        num_utterances: rows of it, and files beside it.
        seconds: of audio.
        clipped: recordings whose peak was beyond full scale and was cut there.
        renamed: utterances whose id is no file name; the dialect of Qwen3-ASR knows no other.
    """

    path: Path
    num_utterances: int
    seconds: float
    clipped: int
    renamed: int


def export_manifest(utterances: Iterable[Utterance], directory: str | Path, *, format: ExportFormat) -> Exported:
    """Writes ``audio/*.wav`` and ``manifest.jsonl`` into a folder; the manifest comes last, when all files are there.

    Args:
        utterances: to write; each is decoded once.
        directory: new, or without a manifest.
        format: ``qwen3-asr`` (``audio``, ``text`` with its ``language French<asr_text>`` before it), ``nemo``
            (``audio_filepath``, ``duration``, ``text``, ``lang``) or ``headroom``, ours.

    Raises:
        DataError: unknown format, the folder holds a manifest already, an utterance has a language without an English
            name, or the disk refuses.
        AudioError: a recording cannot be decoded.
    """
    if format not in EXPORT_FORMATS:
        raise DataError(
            f"unknown export format '{format}'{did_you_mean(format, EXPORT_FORMATS)} "
            f"(there are: {', '.join(EXPORT_FORMATS)})"
        )
    root = Path(directory)
    path = root / "manifest.jsonl"
    if path.exists():
        raise DataError(f"{path}: is there already; choose another --output or delete it")
    try:
        (root / "audio").mkdir(parents=True, exist_ok=True)
        written, clipped, renamed = _write_audio(utterances, root / "audio", format)
        if format == "headroom":
            write_manifest(path, written)
        else:
            _write_rows(path, map(_ROWS[format], written))
    except OSError as error:
        raise DataError(
            f"{root}: cannot be written ({error.strerror or error}); check --output and the disk"
        ) from error
    return Exported(path, len(written), sum(u.duration or 0.0 for u in written), clipped, renamed)


def _write_audio(utterances: Iterable[Utterance], folder: Path, format: str) -> tuple[list[Utterance], int, int]:
    written: list[Utterance] = []
    taken: set[str] = set()
    clipped = renamed = 0
    for utterance in utterances:
        if format == "qwen3-asr":
            _qwen_text(utterance)  # its language has a name, or nothing is written of it
        samples = utterance.samples(_SAMPLING_RATE)
        clipped += bool(len(samples) and np.abs(samples).max() > 1)
        name = _file_name(utterance.id, taken)
        taken.add(name.lower())  # some file systems do not tell cases apart
        renamed += name != utterance.id
        path = (folder / f"{name}.wav").resolve()
        soundfile.write(path, _as_integers(samples), _SAMPLING_RATE, subtype="PCM_16")
        duration = len(samples) / _SAMPLING_RATE
        written.append(replace(utterance, audio=path, start=0.0, end=None, duration=duration))
    if not written:
        raise DataError("there is no utterance to export; look at the source with `asr-headroom data show`")
    return written, clipped, renamed


def _as_integers(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)


def _file_name(utterance_id: str, taken: set[str]) -> str:
    """The id itself where it can be a file name of its own, else something like it."""
    name = re.sub(r"[^\w.-]+", "_", utterance_id).strip(".")[:_MAX_NAME] or "utterance"
    number = 2
    unique = name
    while unique.lower() in taken:
        unique = f"{name}_{number}"
        number += 1
    return unique


def _qwen_text(utterance: Utterance) -> str:
    """As its authors' fine-tuning script reads it; ``None`` is what they write for a language that is not known."""
    spoken = language_name(utterance.language) if utterance.language else "None"
    return f"language {spoken}<asr_text>{utterance.text}"


def _qwen_row(utterance: Utterance) -> dict[str, Any]:
    return {"audio": str(utterance.audio), "text": _qwen_text(utterance)}


def _nemo_row(utterance: Utterance) -> dict[str, Any]:
    row = {
        "audio_filepath": str(utterance.audio),
        "duration": utterance.duration,
        "text": utterance.text,
        "lang": utterance.language,
        "speaker": utterance.speaker,
        "id": utterance.id,
    }
    return {name: value for name, value in row.items() if value is not None}


_ROWS: dict[str, Callable[[Utterance], dict[str, Any]]] = {"qwen3-asr": _qwen_row, "nemo": _nemo_row}


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    unfinished = path.with_suffix(".part")
    unfinished.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    unfinished.replace(path)
