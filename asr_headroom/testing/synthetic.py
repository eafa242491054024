"""Synthetic utterances for tests: one tone per letter, so that a model can really learn them."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from asr_headroom.data.manifest import Utterance

__all__ = ["tone_utterance", "utterance_of"]

_SAMPLING_RATE = 16_000
_LETTER_SECONDS = 0.25


def tone_utterance(
    text: str,
    *,
    id: str | None = None,
    language: str | None = "en",
    speaker: str | None = None,
    letter_seconds: float = _LETTER_SECONDS,
    seed: int = 0,
) -> Utterance:
    """An utterance of ``text`` with one tone per character and a little noise, encoded as WAV in memory.

    Args:
        text: the transcript; each character sounds for ``letter_seconds``.
        id: of the utterance; the text by default.
        language: BCP-47 tag.
        speaker: id of the speaker.
        letter_seconds: seconds per character.
        seed: of the noise.
    """
    time = np.arange(int(_SAMPLING_RATE * letter_seconds)) / _SAMPLING_RATE
    tones = [0.3 * np.sin(2 * np.pi * (300 + 120 * (ord(letter) % 32)) * time) for letter in text or " "]
    samples = np.concatenate(tones) + 0.003 * np.random.default_rng(seed).standard_normal(len(tones) * len(time))
    return utterance_of(samples, text, id=id or text, language=language, speaker=speaker)


def utterance_of(
    samples: np.ndarray,
    text: str,
    *,
    id: str = "utterance",
    language: str | None = "en",
    speaker: str | None = None,
) -> Utterance:
    """An utterance of any samples at 16 kHz, encoded as WAV in memory.

    Args:
        samples: [samples] float.
        text: the transcript.
        id: of the utterance.
        language: BCP-47 tag.
        speaker: id of the speaker.
    """
    buffer = io.BytesIO()
    soundfile.write(buffer, samples.astype(np.float32), _SAMPLING_RATE, format="WAV", subtype="FLOAT")
    return Utterance(
        id=id,
        audio=buffer.getvalue(),
        text=text,
        language=language,
        speaker=speaker,
        duration=len(samples) / _SAMPLING_RATE,
    )
