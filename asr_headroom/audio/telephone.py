"""The telephone: 8 kHz, 300 to 3400 Hz, and a codec."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import Literal

import numpy as np
import soundfile
import soxr

from asr_headroom.audio.filtering import filter_band

__all__ = ["TELEPHONE_RATE", "Codec", "telephone"]

Codec = Literal["none", "mu-law", "a-law", "gsm", "opus"]

TELEPHONE_RATE = 8000
"""Hz."""

_LOW_HZ, _HIGH_HZ = 300.0, 3400.0
_LOW_EDGE_HZ, _HIGH_EDGE_HZ = 100.0, 200.0


def telephone(samples: np.ndarray, sampling_rate: int, codec: Codec) -> np.ndarray:
    """A recording as heard over a telephone line: 8 kHz, band-limited before and after the codec.

    Below 200 Hz and above 3600 Hz nothing is left but what resampling adds, more than 80 dB down.

    Args:
        samples: [samples] float32 in [-1, 1].
        sampling_rate: Hz, at least 8000.
        codec: mu-law and a-law are G.711 (64 kbit/s), gsm is GSM 06.10 (13 kbit/s), opus is libsndfile's default.

    Returns:
        [samples] float32, as long as before and not delayed.
    """
    narrow = soxr.resample(samples, sampling_rate, TELEPHONE_RATE).astype(np.float32, copy=False)
    if not len(narrow):
        return samples.copy()
    narrow = _CODECS[codec](_in_band(narrow))
    wide = soxr.resample(_in_band(narrow), TELEPHONE_RATE, sampling_rate).astype(np.float32, copy=False)
    return np.pad(wide, (0, max(0, len(samples) - len(wide))))[: len(samples)]


def _in_band(narrow: np.ndarray) -> np.ndarray:
    return filter_band(narrow, TELEPHONE_RATE, _LOW_HZ, _HIGH_HZ, low_edge=_LOW_EDGE_HZ, high_edge=_HIGH_EDGE_HZ)


def _companded(law: Literal["mu-law", "a-law"]) -> Callable[[np.ndarray], np.ndarray]:
    def through(narrow: np.ndarray) -> np.ndarray:
        steps = np.clip(np.round(narrow * 32768), -32768, 32767).astype(np.int64)
        return _companding_table(law)[steps + 32768]

    return through


@functools.cache
def _companding_table(law: Literal["mu-law", "a-law"]) -> np.ndarray:
    """[65536] float32: what each 16-bit sample is after G.711, the lowest first.

    Both laws cut magnitudes into segments of sixteen equal steps, each segment twice as wide as the one below, and give
    back the middle of a step; mu-law in units of four 16-bit steps with an offset of 33, A-law in units of eight.
    """
    segments, steps = np.divmod(np.arange(128), 16)
    if law == "mu-law":
        lower, middle, unit = ((steps + 16) << (segments + 1)) - 33, ((2 * steps + 33) << segments) - 33, 4
    else:
        above = segments > 0
        lower = np.where(above, (steps + 16) << segments, 2 * steps)
        middle = np.where(above, (2 * steps + 33) << np.maximum(segments - 1, 0), 2 * steps + 1)
        unit = 8
    samples = np.arange(-32768, 32768)
    # Whole units towards zero, as the standard's integer arithmetic has them.
    magnitudes = np.minimum(np.abs(samples) // unit, int(lower[-1]) * 2)
    decoded = middle[np.clip(np.searchsorted(lower, magnitudes, side="right") - 1, 0, 127)] * unit
    return (np.where(samples < 0, -decoded, decoded) / 32768).astype(np.float32)


def _through_libsndfile(container: str, subtype: str) -> Callable[[np.ndarray], np.ndarray]:
    def through(narrow: np.ndarray) -> np.ndarray:
        buffer = io.BytesIO()
        soundfile.write(buffer, np.clip(narrow, -1, 1), TELEPHONE_RATE, format=container, subtype=subtype)
        buffer.seek(0)
        decoded, _ = soundfile.read(buffer, dtype="float32")
        return np.pad(decoded, (0, max(0, len(narrow) - len(decoded))))[: len(narrow)]

    return through


_CODECS: dict[Codec, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda narrow: narrow,
    "mu-law": _companded("mu-law"),
    "a-law": _companded("a-law"),
    "gsm": _through_libsndfile("WAV", "GSM610"),
    "opus": _through_libsndfile("OGG", "OPUS"),
}
