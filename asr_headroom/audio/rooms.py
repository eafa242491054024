"""Reverberation: speech as a room hands it to the microphone, with measured responses or simulated ones.

A simulated room is a box. Its first echoes come from image sources (Allen and Berkley, 1979, JASA 65(4)), what comes
later is noise at the level that the images would have on average. We differ in that energy decays with the way that
sound has gone instead of with each wall it has met, which gives the wanted reverberation time whatever the box, and in
that echoes alternate in sign, so that they do not pile up at low frequencies.
"""

from __future__ import annotations

import math

import numpy as np

from asr_headroom.audio.filtering import convolve
from asr_headroom.audio.waveform import AudioSource, describe_source, read_waveform
from asr_headroom.errors import AudioError

__all__ = ["measured_response", "reverberate", "simulated_response"]

_METRES_PER_SECOND = 343.0
_SMALLEST_METRES = (3.0, 3.0, 2.4)
_LARGEST_METRES = (10.0, 8.0, 4.0)
_WALL_METRES = 0.5
"""Between any wall and speaker or microphone."""
_BETWEEN_METRES = (0.3, 3.0)
"""From speaker to microphone."""
_IMAGE_SECONDS = 0.05
"""Echoes up to here are image sources, later ones noise."""
_BEFORE_PEAK_SECONDS = 0.001
"""Of a measured response, kept before its direct sound."""


def simulated_response(draw: np.random.Generator, rt60: float, sampling_rate: int) -> np.ndarray:
    """How a drawn room answers an impulse, from the arrival of the direct sound on.

    Args:
        draw: of the room, of the places of speaker and microphone, and of the late echoes.
        rt60: seconds in which reverberation falls by 60 dB.
        sampling_rate: Hz.

    Returns:
        [taps] float32, direct sound at tap 0 with height 1, ``rt60`` seconds long.
    """
    room = draw.uniform(_SMALLEST_METRES, _LARGEST_METRES)
    speaker, microphone = (draw.uniform(_WALL_METRES, room - _WALL_METRES) for _ in range(2))
    apart = float(np.linalg.norm(microphone - speaker))
    direct = min(apart, float(draw.uniform(*_BETWEEN_METRES)))
    microphone = speaker + (microphone - speaker) * (direct / apart)
    distances, signs = _images(room, speaker, microphone)
    delays = (distances - direct) / _METRES_PER_SECOND
    num_taps = max(1, math.ceil(rt60 * sampling_rate))
    first_late = min(num_taps, round(_IMAGE_SECONDS * sampling_rate))
    response = np.zeros(num_taps)
    taps = np.round(delays * sampling_rate).astype(int)
    # The direct sound is an image too, at tap 0; it is added last, with no loss on its way.
    early = (taps > 0) & (taps < first_late)
    np.add.at(response, taps[early], signs[early] / distances[early])
    # Images within a metre of way: 4 pi d^2 / V, each of power 1 / d^2; so the power per second does not depend on d.
    late_power = 4 * math.pi * _METRES_PER_SECOND / float(np.prod(room)) / sampling_rate
    response[first_late:] = math.sqrt(late_power) * draw.standard_normal(num_taps - first_late)
    response *= 10 ** (-3 * np.arange(num_taps) / (rt60 * sampling_rate))
    response[0] += 1 / direct
    return (response * direct).astype(np.float32)


def measured_response(recording: AudioSource, sampling_rate: int) -> np.ndarray:
    """A measured response from its direct sound on, which is taken to be its highest peak.

    Returns:
        [taps] float32, the peak of height 1 a millisecond after the start.

    Raises:
        AudioError: it cannot be read, or is silence, which would silence the speech.
    """
    response = read_waveform(recording, sampling_rate)
    if not response.any():
        raise AudioError(f"{describe_source(recording)}: holds nothing but silence, no room's response; take it out")
    peak = int(np.argmax(np.abs(response)))
    response = response[max(0, peak - round(_BEFORE_PEAK_SECONDS * sampling_rate)) :]
    return response / np.abs(response).max()


def reverberate(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Speech in a room, as long and as loud (root mean square) as before; what rings on after its end is cut.

    Args:
        samples: [samples] float32.
        response: [taps] float32, direct sound first.

    Returns:
        [samples] float32, a new array.
    """
    wet = convolve(samples, response)
    before, after = (float(np.sqrt(np.mean(np.square(part, dtype=np.float64)))) for part in (samples, wet))
    return wet * np.float32(before / after) if after > 0 else wet


def _images(room: np.ndarray, speaker: np.ndarray, microphone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances [images] in metres of all images that can matter, and their signs [images]."""
    reach = _IMAGE_SECONDS * _METRES_PER_SECOND + float(np.linalg.norm(room))
    offsets, counts = [], []
    for length, source, ear in zip(room, speaker, microphone, strict=True):
        most = math.ceil(reach / (2 * length))
        box, mirrored = np.meshgrid(np.arange(-most, most + 1), [0, 1], indexing="ij")
        offsets.append(((1 - 2 * mirrored) * source + 2 * box * length - ear).ravel())
        counts.append((np.abs(box - mirrored) + np.abs(box)).ravel())
    x, y, z = np.meshgrid(*(offset**2 for offset in offsets), indexing="ij")
    walls = np.add.outer(np.add.outer(counts[0], counts[1]), counts[2])
    return np.sqrt(x + y + z).ravel(), np.where(walls % 2, -1.0, 1.0).ravel()
