"""Augmentation of ten-second recordings against audiomentations, transform by transform.

Each gets the same samples, noise file and impulse response, and one thread. What each added is measured too, or the
comparison would be of different things. Medians over alternating repetitions; microseconds of processor time per
recording, so that other work on the machine matters little.

    pip install audiomentations
    python benchmarks/augment.py
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import audiomentations
import numpy as np
import soundfile

from asr_headroom.audio.augment import Augmentation, AugmentConfig, NoiseConfig, RoomConfig, TelephoneConfig
from asr_headroom.audio.spans import SpecConfig

RATE = 16_000
SECONDS = 10
RECORDINGS = 12
SNR = 10.0

Transform = Callable[[np.ndarray, int], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=9)
    arguments = parser.parse_args()
    draw = np.random.default_rng(0)
    speech = [(0.1 * draw.standard_normal(SECONDS * RATE)).astype(np.float32) for _ in range(RECORDINGS)]
    with tempfile.TemporaryDirectory() as folder:
        noise, room = make_recordings(Path(folder), draw)
        for name, (ours, theirs) in transforms(noise, room).items():
            seconds = measure([part for part in (ours, theirs) if part], speech, arguments.repetitions)
            line = f"{name:28} {1e6 * seconds[0]:9.0f} us"
            if theirs:
                line += f"{1e6 * seconds[1]:9.0f} us  ratio {seconds[1] / seconds[0]:5.2f}  "
                line += compared(ours, theirs, speech[0])
            print(line)


def make_recordings(folder: Path, draw: np.random.Generator) -> tuple[Path, Path]:
    """Half a minute of noise and a decaying response of 0.4 s."""
    noise, room = folder / "noise.wav", folder / "room.wav"
    soundfile.write(noise, 0.1 * draw.standard_normal(30 * RATE), RATE, subtype="FLOAT")
    taps = np.arange(round(0.4 * RATE))
    response = 0.3 * draw.standard_normal(len(taps)) * 10 ** (-3 * taps / len(taps))
    response[0] = 1
    soundfile.write(room, response, RATE, subtype="FLOAT")
    return noise, room


def transforms(noise: Path, room: Path) -> dict[str, tuple[Transform, Transform | None]]:
    """Ours and theirs, by name."""
    peers = audiomentations
    return {
        "gain": (ours(AugmentConfig(volume=(-6.0,))), peers.Gain(-6.0, -6.0, p=1.0)),
        "noise from a file": (
            ours(AugmentConfig(noise=NoiseConfig(probability=1.0, snr=(SNR,))), noises=[noise]),
            peers.AddBackgroundNoise(str(noise), min_snr_db=SNR, max_snr_db=SNR, p=1.0),
        ),
        "generated noise": (
            ours(AugmentConfig(noise=NoiseConfig(probability=1.0, snr=(SNR,)))),
            peers.AddColorNoise(SNR, SNR, p=1.0),
        ),
        "measured room": (
            ours(AugmentConfig(rooms=RoomConfig(probability=1.0)), responses=[room]),
            peers.ApplyImpulseResponse(str(room), p=1.0),
        ),
        "speed 1.1": (ours(AugmentConfig(speed=(1.1,))), None),
        "simulated room": (ours(AugmentConfig(rooms=RoomConfig(probability=1.0))), None),
        "telephone, mu-law": (
            ours(AugmentConfig(telephone=TelephoneConfig(probability=1.0, codecs=("mu-law",)))),
            None,
        ),
        "telephone, gsm": (ours(AugmentConfig(telephone=TelephoneConfig(probability=1.0, codecs=("gsm",)))), None),
        "SpecAugment, draws alone": (spans_alone(), None),
    }


def ours(config: AugmentConfig, **recordings: list[Path]) -> Transform:
    augmentation = Augmentation(config, seed=0, **recordings)
    numbers = iter(range(1 << 30))
    return lambda samples, rate: augmentation.alteration(f"u{next(numbers)}", 0)(samples, rate)


def spans_alone() -> Transform:
    augmentation = Augmentation(AugmentConfig(spec=SpecConfig(probability=1.0)), seed=0)

    def draw(samples: np.ndarray, rate: int) -> np.ndarray:
        augmentation.alteration("u", 0).spans(len(samples) / rate)
        return samples

    return draw


def measure(parts: list[Transform], speech: list[np.ndarray], repetitions: int) -> list[float]:
    """Median processor seconds per recording of each, one after the other in every repetition; the first warms up."""
    taken: list[list[float]] = [[] for _ in parts]
    for repetition in range(repetitions + 1):
        for part, times in zip(parts, taken, strict=True):
            start = time.process_time()
            for samples in speech:
                part(samples, RATE)
            if repetition:
                times.append((time.process_time() - start) / len(speech))
    return [statistics.median(times) for times in taken]


def compared(ours: Transform, theirs: Transform, samples: np.ndarray) -> str:
    """What both did to the level and, where they add something, its ratio."""
    return "added " + " and ".join(f"{added(part(samples, RATE), samples):.2f}" for part in (ours, theirs)) + " dB"


def added(changed: np.ndarray, samples: np.ndarray) -> float:
    """Power of what was added, against the recording, in dB."""
    return float(10 * np.log10(np.mean((changed[: len(samples)] - samples) ** 2) / np.mean(samples**2)))


if __name__ == "__main__":
    main()
