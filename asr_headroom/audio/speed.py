"""Speed perturbation: the recording played faster or slower, pitch and all."""

from __future__ import annotations

import numpy as np
import soxr

__all__ = ["change_speed"]


def change_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """The recording at ``factor`` times its speed; a factor above 1 is faster, shorter and higher.

    Args:
        samples: [samples] float32.
        factor: above 0.

    Returns:
        [round(samples / factor)] float32, never empty.

    Reference:
        Ko et al. (2015), "Audio augmentation for speech recognition", Interspeech; theirs are 0.9, 1.0 and 1.1.
    """
    if factor == 1:
        return samples
    wanted = max(1, round(len(samples) / factor))
    changed = soxr.resample(samples, factor, 1.0).astype(np.float32, copy=False)
    if len(changed) >= wanted:
        return changed[:wanted]
    return np.pad(changed, (0, wanted - len(changed)))
