"""How much louder speech is than what lies under it, estimated from one recording alone.

For cutting a test into quiet and noisy parts, not for acoustics: without the clean signal nobody knows the true ratio.
"""

from __future__ import annotations

import math

import numpy as np

from asr_headroom.errors import ShapeError

__all__ = ["SNR_RANGE_DB", "estimate_snr"]

SNR_RANGE_DB = (-10.0, 60.0)
"""Estimates are cut to this: below, there is no telling; above, it is the format's own noise."""

_FRAME_SECONDS = 0.02
_QUIET_SHARE = 0.1


def estimate_snr(samples: np.ndarray, sampling_rate: int) -> float | None:
    """Signal-to-noise ratio in dB: the quietest tenth of the frames is taken for the noise, which goes on throughout.

    The ratio is 10 log10((P - N) / N) with P the mean power of the recording and N that of its quietest frames, 20 ms
    each. White noise added to speech with pauses is found to about 1 dB between 0 and 30 dB. Noise that comes and goes
    is underestimated; speech without any pause counts partly as noise.

    Args:
        samples: [samples] in [-1, 1].
        sampling_rate: Hz.

    Returns:
        dB within :data:`SNR_RANGE_DB`; None for fewer than ten frames, and where there is no sound at all.

    Raises:
        ShapeError: ``samples`` is not a vector.
    """
    if samples.ndim != 1:
        raise ShapeError(f"samples have shape {samples.shape}; mix them to one channel, [samples]")
    size = max(1, round(_FRAME_SECONDS * sampling_rate))
    num_frames = len(samples) // size
    if num_frames < round(1 / _QUIET_SHARE):
        return None
    frames = samples[: num_frames * size].reshape(num_frames, size).astype(np.float64)
    power = np.sort(np.mean(frames**2, axis=1))
    mean = float(power.mean())
    if mean == 0:
        return None
    noise = float(power[: math.ceil(_QUIET_SHARE * num_frames)].mean())
    low, high = SNR_RANGE_DB
    if noise <= mean * 10 ** (-high / 10):
        return high
    return max(low, 10 * math.log10(max(mean - noise, mean * 1e-9) / noise))
