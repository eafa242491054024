"""Generated silence and noise as utterances whose transcript is empty; see ``asr_headroom.audio.nonspeech``."""

from __future__ import annotations

import io

import soundfile

from asr_headroom.audio.nonspeech import nonspeech_clips
from asr_headroom.data.manifest import Utterance

__all__ = ["NONSPEECH_SECONDS", "nonspeech_utterances"]

NONSPEECH_SECONDS = 8.0
"""Longest generated clip, unless asked for otherwise."""


def nonspeech_utterances(
    sampling_rate: int = 16_000,
    *,
    language: str | None = None,
    count: int = 48,
    seed: int = 0,
    max_duration: float = NONSPEECH_SECONDS,
) -> list[Utterance]:
    """Utterances in which nobody says anything, with their audio in memory.

    Every unit in a hypothesis is an insertion, so with counts under a normaliser the words made up per minute are
    the sum of insertions over the sum of durations; an error rate they have none.

    Args:
        sampling_rate: Hz.
        language: BCP-47 tag that decoding is told.
        count: clips. Sixteen did not show the guard what sixty others did, 127 made-up characters a minute more
            (``experiments/LOG.md``).
        seed: of the clips.
        max_duration: seconds.

    Raises:
        UsageError: a number is not above 0.
    """
    clips = nonspeech_clips(sampling_rate, count=count, seed=seed, max_duration=max_duration)
    utterances = []
    for name, samples in clips:
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, sampling_rate, format="WAV", subtype="PCM_16")
        utterances.append(
            Utterance(
                id=f"nonspeech-{name}",
                audio=buffer.getvalue(),
                text="",
                language=language,
                duration=len(samples) / sampling_rate,
                origin=f"generated {name}, seed {seed}",
            )
        )
    return utterances
