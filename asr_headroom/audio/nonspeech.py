"""Generated silence and noise: recordings in which nobody says anything.

Whatever a recogniser writes on them it has made up, so what is measured is *hallucinated words (or characters) per
minute of audio*: there is no error rate where there is no reference. Whisper does write fluent sentences there, more
of them the longer nobody speaks (Koenecke et al., 2024, "Careless Whisper: Speech-to-Text Hallucination Harms",
arXiv:2402.08021; Barański et al., 2025, "Investigation of Whisper ASR Hallucinations Induced by Non-Speech Audio",
arXiv:2501.11378, who used recorded sounds). Fine-tuning on clips that all hold speech can make it worse, and no test
set of speech shows it.

Generated clips cost nothing, need no licence and are the same everywhere; they are no sample of anybody's recordings.
A rise on them is an alarm, a zero no promise. There is no babble and no music in them: both hold voices.

:func:`nonspeech_clips` makes the samples; ``asr_headroom.data.nonspeech`` makes utterances of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from asr_headroom.audio.noise import colored_noise
from asr_headroom.errors import UsageError

__all__ = ["LEVELS_DBFS", "NonspeechClip", "nonspeech_clips"]

LEVELS_DBFS = (-60.0, -50.0, -40.0, -30.0, -20.0)
"""Root mean square of the noises in dB, relative to an amplitude of 1."""

_MIN_SECONDS = 2.0
_HUM_HZ = (50.0, 60.0)
_HUM_HARMONICS = 12
_HUM_FLOOR = 0.01
"""White noise under the hum, in its root mean square: no recording holds sines alone."""
_STEP = 1 / 32768
"""One step of 16-bit samples."""


class NonspeechClip(NamedTuple):
    """``name`` is kind and number, for example ``pink-02``; ``samples`` are [samples] float32 in [-1, 1]."""

    name: str
    samples: np.ndarray


def nonspeech_clips(
    sampling_rate: int, *, count: int = 16, seed: int = 0, max_duration: float = 8.0
) -> list[NonspeechClip]:
    """Silence, white, pink and brown noise and mains hum in turn, at rising levels and of various lengths.

    Every clip is drawn from its own seed, so the first eight of sixteen are the eight. After 25 clips each noise has
    been heard at each of :data:`LEVELS_DBFS`; silence is always triangular dither of one 16-bit step, -96 dBFS. Samples
    lie on the 16-bit grid: written to a file and read again they are the same.

    Args:
        sampling_rate: Hz.
        count: clips.
        seed: of noise, phases and lengths.
        max_duration: seconds; lengths are drawn evenly from 2 s (or from half of this, if shorter) to this.

    Raises:
        UsageError: a number is not above 0.

    >>> [clip.name for clip in nonspeech_clips(16_000, count=6, max_duration=2.0)]
    ['silence-00', 'white-01', 'pink-02', 'brown-03', 'hum-04', 'silence-05']
    """
    if sampling_rate < 1 or count < 1 or not max_duration > 0:
        raise UsageError(
            f"{count} clips of at most {max_duration} s at {sampling_rate} Hz cannot be made; give numbers above 0"
        )
    return [_clip(index, np.random.default_rng([seed, index]), sampling_rate, max_duration) for index in range(count)]


def _clip(index: int, draw: np.random.Generator, sampling_rate: int, max_duration: float) -> NonspeechClip:
    kind = list(_KINDS)[index % len(_KINDS)]
    seconds = draw.uniform(min(_MIN_SECONDS, max_duration / 2), max_duration)
    samples = _KINDS[kind](draw, max(1, int(seconds * sampling_rate)), sampling_rate)
    if kind != "silence":
        # Index and round together: a kind meets every level once before it meets one again.
        level = LEVELS_DBFS[(index + index // len(_KINDS)) % len(LEVELS_DBFS)]
        samples = samples * (10 ** (level / 20) / max(np.sqrt(np.mean(samples**2)), 1e-12))
    on_grid = np.clip(np.round(samples / _STEP), -32768, 32767) * _STEP
    return NonspeechClip(f"{kind}-{index:02}", on_grid.astype(np.float32))


def _dither(draw: np.random.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    return (draw.random(num_samples) - draw.random(num_samples)) * _STEP


def _hum(draw: np.random.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Mains hum of 50 or 60 Hz with harmonics of random phase, the k-th at 1/k of the first."""
    mains = draw.choice(_HUM_HZ)
    harmonics = np.arange(1, _HUM_HARMONICS + 1)
    harmonics = harmonics[harmonics * mains < sampling_rate / 2]
    phases = draw.uniform(0, 2 * np.pi, len(harmonics))
    time = np.arange(num_samples) / sampling_rate
    tones = np.sin(2 * np.pi * mains * np.outer(harmonics, time) + phases[:, None]) / harmonics[:, None]
    return tones.sum(axis=0) + _HUM_FLOOR * draw.standard_normal(num_samples)


def _colored(exponent: float) -> Callable[[np.random.Generator, int, int], np.ndarray]:
    return lambda draw, num_samples, sampling_rate: colored_noise(draw, num_samples, sampling_rate, exponent)


_KINDS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "silence": _dither,
    "white": _colored(0),
    "pink": _colored(1),
    "brown": _colored(2),
    "hum": _hum,
}
