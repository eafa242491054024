"""Augmentation: what training audio goes through, anew at each sight of an utterance.

The order is that of the world: the speaker's speed, the room, noise in it, the line, the gain; then what SpecAugment
hides. Every draw is a function of seed, utterance, pass over the data, and the part that draws. So no change
depends on the order of the data, on the number of threads or on a restart, and switching one part on leaves the
others' draws as they were.

Start at :class:`AugmentConfig` and :meth:`Augmentation.alteration`. Arrays are never changed in place.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from asr_headroom.audio.noise import add_noise, drawn_noise, noise_of, recorded_noise
from asr_headroom.audio.rooms import measured_response, reverberate, simulated_response
from asr_headroom.audio.spans import Spans, SpecConfig, draw_spans, hide_in_waveform
from asr_headroom.audio.speed import change_speed
from asr_headroom.audio.telephone import Codec, telephone
from asr_headroom.audio.waveform import AudioSource, read_info, read_waveform
from asr_headroom.errors import ConfigError

__all__ = ["Alteration", "AugmentConfig", "Augmentation", "NoiseConfig", "RoomConfig", "TelephoneConfig"]

_KEPT_RESPONSES = 64
_LONGEST_RT60 = 10.0
"""Seconds, of a cathedral; more is a slip of units."""
_KEPT_NOISE_SECONDS = 1800.0
"""Recordings of noise that last no longer than this together are kept in memory once read (115 MB at 16 kHz)."""


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Noise added to the speech."""

    probability: float = 0.0
    """Share of the utterances, drawn anew each epoch; 0 is off."""

    snr: tuple[float, ...] = (5.0, 20.0)
    """Lowest and highest ratio of speech to noise in dB, drawn evenly."""

    recordings: str | None = None
    """Folder with recordings of noise; white, pink and brown noise is generated without."""

    def __post_init__(self) -> None:
        _refuse(_probability_problems("noise", self.probability), _range_problems("noise.snr", self.snr))


@dataclass(frozen=True, kw_only=True)
class RoomConfig:
    """Reverberation."""

    probability: float = 0.0
    """Share of the utterances, drawn anew each epoch; 0 is off."""

    rt60: tuple[float, ...] = (0.2, 0.8)
    """Shortest and longest reverberation time of simulated rooms in seconds, drawn evenly."""

    recordings: str | None = None
    """Folder with measured impulse responses; rooms are simulated without."""

    def __post_init__(self) -> None:
        problems = _range_problems("rooms.rt60", self.rt60)
        if not problems and not 0 < self.rt60[0] <= self.rt60[-1] <= _LONGEST_RT60:
            problems.append(
                f"augment.rooms.rt60 is {list(self.rt60)}; give seconds above 0 and up to {_LONGEST_RT60:g}"
            )
        _refuse(_probability_problems("rooms", self.probability), problems)


@dataclass(frozen=True, kw_only=True)
class TelephoneConfig:
    """A telephone line: 8 kHz, 300 to 3400 Hz, and a codec."""

    probability: float = 0.0
    """Share of the utterances, drawn anew each epoch; 0 is off."""

    codecs: tuple[Codec, ...] = ("mu-law", "a-law", "gsm")
    """One of these is drawn: mu-law, a-law, gsm, opus, or none for the band alone."""

    def __post_init__(self) -> None:
        problems = [] if self.codecs else ["augment.telephone.codecs is empty; name at least one"]
        _refuse(_probability_problems("telephone", self.probability), problems)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What training audio goes through; every part is off until it is asked for."""

    speed: tuple[float, ...] = ()
    """Speeds, one drawn for each utterance and epoch, pitch and all: [0.9, 1.0, 1.1]."""

    volume: tuple[float, ...] = ()
    """Lowest and highest gain in dB, drawn evenly: [-10, 10]."""

    noise: NoiseConfig = field(default_factory=NoiseConfig)
    """Noise: probability, snr, recordings."""

    rooms: RoomConfig = field(default_factory=RoomConfig)
    """Reverberation: probability, rt60, recordings."""

    telephone: TelephoneConfig = field(default_factory=TelephoneConfig)
    """Telephone line: probability, codecs."""

    spec: SpecConfig = field(default_factory=SpecConfig)
    """SpecAugment: probability, time_masks, max_time, max_time_share, mel_masks, max_mel_share."""

    def __post_init__(self) -> None:
        problems = [] if not self.volume else _range_problems("volume", self.volume)
        if not all(0.5 <= factor <= 2 for factor in self.speed):
            problems.append(f"augment.speed is {list(self.speed)}; each must be in [0.5, 2]")
        if problems:
            raise ConfigError("\n".join(problems))

    @property
    def is_on(self) -> bool:
        """Anything is asked for."""
        parts = (self.noise, self.rooms, self.telephone, self.spec)
        return bool(self.speed or self.volume or any(part.probability > 0 for part in parts))


class Augmentation:
    """A pipeline with its recordings; gives each sight of an utterance its :class:`Alteration`.

    Args:
        config: what to do.
        seed: of all draws.
        noises: recordings of noise; empty generates it.
        responses: measured impulse responses; empty simulates rooms.

    Raises:
        AudioError: a recording of noise or of a room cannot be opened.
    """

    def __init__(
        self,
        config: AugmentConfig,
        *,
        seed: int,
        noises: Sequence[AudioSource] = (),
        responses: Sequence[AudioSource] = (),
    ) -> None:
        self.config, self._seed = config, seed
        self.noises, self.responses = tuple(noises), tuple(responses)
        # Responses are as good as speech to read and resample, and few: the last ones stay.
        self._measured = functools.lru_cache(maxsize=_KEPT_RESPONSES)(
            lambda index, sampling_rate: measured_response(self.responses[index], sampling_rate)
        )
        for response in self.responses:
            read_info(response)
        self._keeps_noises = sum(read_info(noise).duration for noise in self.noises) <= _KEPT_NOISE_SECONDS
        self._noise = functools.cache(lambda index, sampling_rate: read_waveform(self.noises[index], sampling_rate))

    def alteration(self, utterance_id: str, pass_number: int) -> Alteration:
        """What happens to an utterance in a pass over its data (without a mixture, an epoch), counted from 0."""
        speeds = self.config.speed
        speed = float(self.draw(utterance_id, pass_number, "speed").choice(speeds)) if speeds else 1.0
        return Alteration(self, utterance_id, pass_number, speed)

    def draw(self, utterance_id: str, pass_number: int, part: str) -> np.random.Generator:
        """Where one part's numbers for one sight of an utterance come from."""
        text = "\0".join((str(self._seed), str(pass_number), part, utterance_id))
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))

    def response(self, draw: np.random.Generator, sampling_rate: int) -> np.ndarray:
        """[taps] float32: a measured room or a simulated one."""
        if self.responses:
            return self._measured(_index(draw, self.responses), sampling_rate)
        return simulated_response(draw, float(draw.uniform(*_ends(self.config.rooms.rt60))), sampling_rate)

    def noise(self, draw: np.random.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
        """[samples] float32: recorded noise or generated."""
        if self.noises:
            index = _index(draw, self.noises)
            if self._keeps_noises:
                return noise_of(draw, num_samples, self._noise(index, sampling_rate))
            return recorded_noise(draw, num_samples, sampling_rate, self.noises[index])
        return drawn_noise(draw, num_samples, sampling_rate)


@dataclass(frozen=True)
class Alteration:
    """What happens to one utterance at one sight of it; called with its samples.

    Attributes:
        augmentation: whose it is.
        utterance_id: of the utterance.
        pass_number: of the pass over its data in which it comes; without a mixture the epoch.
        speed: drawn.
        hides_samples: what SpecAugment hides is hidden in the waveform, as the model has no log-mels that it reaches.
    """

    augmentation: Augmentation
    utterance_id: str
    pass_number: int
    speed: float
    hides_samples: bool = False

    def __call__(self, samples: np.ndarray, sampling_rate: int) -> np.ndarray:
        """The recording, altered.

        Args:
            samples: [samples] float32 in [-1, 1]; they stay as they are.
            sampling_rate: Hz.

        Returns:
            [round(samples / speed)] float32 in [-1, 1]: what grew louder than that is scaled down as a whole.

        Raises:
            AudioError: a recording of noise or of a room cannot be read.
        """
        config = self.augmentation.config
        changed = change_speed(samples, self.speed)
        if draw := self._happens("rooms", config.rooms.probability):
            changed = reverberate(changed, self.augmentation.response(draw, sampling_rate))
        if draw := self._happens("noise", config.noise.probability):
            snr = float(draw.uniform(*_ends(config.noise.snr)))
            changed = add_noise(changed, self.augmentation.noise(draw, len(changed), sampling_rate), snr)
        if draw := self._happens("telephone", config.telephone.probability):
            changed = telephone(changed, sampling_rate, config.telephone.codecs[_index(draw, config.telephone.codecs)])
        if config.volume:
            changed = changed * np.float32(10 ** (self._draw("volume").uniform(*_ends(config.volume)) / 20))
        if self.hides_samples:
            changed = hide_in_waveform(changed, sampling_rate, self.spans(len(changed) / sampling_rate))
        peak = max(float(changed.max(initial=0.0)), -float(changed.min(initial=0.0)))
        return changed / np.float32(peak) if peak > 1 else changed

    def spans(self, duration: float) -> Spans:
        """What SpecAugment hides of the altered recording, which lasts ``duration`` seconds."""
        if not self.augmentation.config.spec.probability:
            return Spans()
        return draw_spans(self._draw("spec"), self.augmentation.config.spec, duration)

    def at_own_speed(self) -> Alteration:
        """The same without a change of speed, for an utterance that the model could not take otherwise."""
        return replace(self, speed=1.0)

    def _happens(self, part: str, probability: float) -> np.random.Generator | None:
        """Where the part's numbers come from, if it is this utterance's turn."""
        draw = self._draw(part) if probability else None
        return draw if draw is not None and draw.random() < probability else None

    def _draw(self, part: str) -> np.random.Generator:
        return self.augmentation.draw(self.utterance_id, self.pass_number, part)


def _index(draw: np.random.Generator, items: Sequence[object]) -> int:
    return int(draw.integers(len(items)))


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return values[0], values[-1]


def _range_problems(name: str, values: Sequence[float]) -> list[str]:
    if len(values) in (1, 2) and all(map(math.isfinite, values)) and values[0] <= values[-1]:
        return []
    return [f"augment.{name} is {list(values)}; give the lowest and the highest value, for example [5, 20]"]


def _probability_problems(name: str, probability: float) -> list[str]:
    if 0 <= probability <= 1:
        return []
    return [f"augment.{name}.probability is {probability}; it must be in [0, 1]"]


def _refuse(*problems: list[str]) -> None:
    found = [problem for part in problems for problem in part]
    if found:
        raise ConfigError("\n".join(found))
