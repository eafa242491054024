"""Reading of recordings: [samples] float32 mono in [-1, 1] at the rate that is asked for.

Decoded by libsndfile (wav, flac, mp3, ogg, opus …), resampled by soxr; from a path, from bytes, or from
anything that can give its bytes. No ffmpeg, no torchaudio, no torchcodec.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import soundfile
import soxr

from asr_headroom.errors import AudioError

__all__ = [
    "AudioInfo",
    "AudioSource",
    "StoredAudio",
    "describe_source",
    "read_audio_bytes",
    "read_info",
    "read_waveform",
]


@runtime_checkable
class StoredAudio(Protocol):
    """Encoded audio that is fetched when needed, for example a row of a memory-mapped data set."""

    name: str

    def read_bytes(self) -> bytes:
        """The encoded file."""
        ...


_BLOCK_FRAMES = 1 << 20
_UNKNOWN_FRAMES = 1 << 62
_IGNORED_WAV_SECONDS = 0.01

AudioSource: TypeAlias = Path | bytes | StoredAudio
"""A file, an encoded file in memory, or something that can fetch one."""


class AudioInfo(NamedTuple):
    """What the header of a recording says: seconds, Hz, channels."""

    duration: float
    sampling_rate: int
    channels: int


def describe_source(source: AudioSource) -> str:
    """The path or name of a source, for messages."""
    if isinstance(source, bytes):
        return f"<{len(source)} bytes of audio>"
    return str(source) if isinstance(source, Path) else source.name


def read_audio_bytes(source: AudioSource) -> bytes:
    """The encoded file, whatever the source.

    Raises:
        AudioError: the file is not there or not readable.
    """
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except OSError as error:
        raise AudioError(f"{describe_source(source)}: cannot be read ({error.strerror or error})") from error


def read_info(source: AudioSource) -> AudioInfo:
    """Duration, sampling rate and channels, from the header alone.

    Raises:
        AudioError: the file is missing, empty, not audio, or a wav file that ends before its samples do.
    """
    with _open(source) as sound:
        return AudioInfo(sound.frames / sound.samplerate, sound.samplerate, sound.channels)


def read_waveform(
    source: AudioSource, sampling_rate: int, *, start: float = 0.0, end: float | None = None
) -> np.ndarray:
    """Decodes, cuts, mixes to mono and resamples.

    Args:
        source: where the audio is.
        sampling_rate: Hz of the result.
        start: seconds into the recording.
        end: seconds into the recording; None is its end.

    Returns:
        [samples] float32, mean of the channels, at ``sampling_rate``.

    Raises:
        AudioError: the file is missing, empty, truncated, not audio, holds NaN or infinite samples, or ends
            before ``start``.
    """
    if start < 0:
        raise AudioError(f"{describe_source(source)}: a segment cannot start at {start:.2f} s")
    with _open(source) as sound:
        rate = sound.samplerate
        first, total = round(start * rate), sound.frames
        expected = (total if end is None else min(round(end * rate), total)) - first
        if expected <= 0:
            raise AudioError(
                f"{describe_source(source)}: nothing between {start:.2f} s and "
                f"{'its end' if end is None else f'{end:.2f} s'}; it lasts {total / rate:.2f} s"
            )
        try:
            sound.seek(first)
            samples = _read_blocks(sound, expected)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{describe_source(source)}: decoding fails ({error.error_string})") from error
    if len(samples) < expected:
        raise AudioError(
            f"{describe_source(source)}: truncated, {len(samples) / rate:.2f} of {expected / rate:.2f} s can be decoded"
        )
    mono = samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if not np.isfinite(mono).all():
        raise AudioError(f"{describe_source(source)}: holds NaN or infinite samples; export it again")
    if rate != sampling_rate:
        mono = soxr.resample(mono, rate, sampling_rate).astype(np.float32, copy=False)
        if not len(mono):
            raise AudioError(f"{describe_source(source)}: too short to resample ({expected} samples at {rate} Hz)")
    return np.ascontiguousarray(mono)


def _read_blocks(sound: soundfile.SoundFile, expected: int) -> np.ndarray:
    """[samples, channels] float32, at most ``expected`` samples.

    In blocks, because a damaged header can announce more samples than the memory holds.
    """
    blocks: list[np.ndarray] = []
    while expected > 0:
        wanted = min(expected, _BLOCK_FRAMES)
        blocks.append(sound.read(wanted, dtype="float32", always_2d=True))
        expected -= len(blocks[-1])
        if len(blocks[-1]) < wanted:
            break
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _open(source: AudioSource) -> soundfile.SoundFile:
    if isinstance(source, Path):
        _refuse_missing(source)
        if source.suffix.lower() == ".raw":
            raise AudioError(f"{source}: raw samples without a header; convert it to wav or flac")
    stream = str(source) if isinstance(source, Path) else io.BytesIO(read_audio_bytes(source))
    try:
        sound = soundfile.SoundFile(stream)
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{describe_source(source)}: not audio that can be decoded ({error.error_string}); "
            "use wav, flac, mp3, ogg or opus"
        ) from error
    try:
        _refuse_unusable(sound, stream, source)
    except AudioError:
        sound.close()
        raise
    return sound


def _refuse_missing(path: Path) -> None:
    try:
        is_file = path.is_file()
    except OSError as error:  # a name too long, a folder that may not be entered
        raise AudioError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not is_file:
        raise AudioError(f"{path}: no such file")


def _refuse_unusable(sound: soundfile.SoundFile, stream: str | io.BytesIO, source: AudioSource) -> None:
    # libsndfile shortens a cut wav file to what is there without a word, so its promise is read here.
    if sound.format in ("WAV", "WAVEX"):
        if isinstance(stream, str):
            with Path(stream).open("rb") as file:
                missing = _missing_wav_bytes(file)
        else:
            missing = _missing_wav_bytes(io.BytesIO(stream.getvalue()))
        if missing:
            raise AudioError(
                f"{describe_source(source)}: truncated, {missing} bytes that its header announces are missing"
            )
    if sound.frames >= _UNKNOWN_FRAMES:
        # A FLAC file written to a pipe; libsndfile cannot seek in it, and soundfile seeks after each read.
        raise AudioError(f"{describe_source(source)}: its header states no length; save it again to a file")
    if sound.frames <= 0:
        raise AudioError(f"{describe_source(source)}: holds no audio")


def _missing_wav_bytes(file: BinaryIO) -> int:
    """Bytes of samples that the header announces beyond the end of the file; 0 where it announces no size.

    A few bytes too many are a common slip of programs, not a cut.
    """
    size = file.seek(0, io.SEEK_END)
    position, bytes_per_second = 12, 0
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"fmt " and position + 20 <= size:
            (bytes_per_second,) = struct.unpack("<8xI", file.read(12))
        if name == b"data":
            missing = position + 8 + length - size
            # Programs that write to a pipe leave the size at its largest value.
            is_open = length >= 0x7FFFF000
            return 0 if is_open or missing <= _IGNORED_WAV_SECONDS * bytes_per_second else missing
        position += 8 + length + length % 2
    return 0
