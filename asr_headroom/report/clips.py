"""Recordings as data URIs, small enough to travel inside a page.

MP3 because every browser plays it, telephones included; 16 kHz mono at some 30 kbit/s is plain to judge by
ear.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import soundfile

from asr_headroom.audio.waveform import read_info, read_waveform
from asr_headroom.errors import AudioError
from asr_headroom.results.recordings import Recording, recording_of

__all__ = ["ClipShelf", "Recording", "choose_clips", "encode_clip", "recording_of"]

_SAMPLING_RATE = 16_000
_MAX_CLIP_SECONDS = 60.0
_COMPRESSION = 0.8


@dataclass
class ClipShelf:
    """The recordings of a page.

    Attributes:
        uris: data URI of each embedded recording.
        problems: why a recording cannot be played.
        num_left_out: playable recordings beyond the limit.
    """

    uris: dict[Recording, str] = field(default_factory=dict)
    problems: dict[Recording, str] = field(default_factory=dict)
    num_left_out: int = 0


def choose_clips(lists: Sequence[Sequence[Recording]], max_clips: int) -> ClipShelf:
    """Encodes recordings up to a limit, taking from all lists in turn, the first of each list first.

    A recording that cannot be read does not use up the limit; the shelf says why.
    """
    shelf = ClipShelf()
    for recording in dict.fromkeys(_in_turn(lists)):
        if not recording.path.is_file():
            shelf.problems[recording] = f"no such file: {recording.path}"
        elif len(shelf.uris) >= max_clips:
            shelf.num_left_out += 1
        else:
            try:
                shelf.uris[recording] = encode_clip(recording)
            except AudioError as error:
                shelf.problems[recording] = str(error)
    return shelf


def encode_clip(recording: Recording) -> str:
    """One recording as a data URI.

    Raises:
        AudioError: it cannot be read, or is too long for a page.
    """
    end = recording.end if recording.end is not None else read_info(recording.path).duration
    if end - recording.start > _MAX_CLIP_SECONDS:
        raise AudioError(
            f"{recording.path}: {end - recording.start:.0f} s is too long for a page, which takes "
            f"{_MAX_CLIP_SECONDS:.0f} s"
        )
    samples = read_waveform(recording.path, _SAMPLING_RATE, start=recording.start, end=recording.end)
    buffer = io.BytesIO()
    soundfile.write(
        buffer,
        samples,
        _SAMPLING_RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=_COMPRESSION,
        bitrate_mode="VARIABLE",
    )
    return "data:audio/mpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _in_turn(lists: Sequence[Sequence[Recording]]) -> Iterable[Recording]:
    for layer in zip_longest(*lists):
        yield from (recording for recording in layer if recording is not None)
