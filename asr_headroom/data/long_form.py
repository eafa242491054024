"""Long recordings made of short utterances, one after the other: does a model still hear all of a minute?

A model that was fine-tuned on sentences may have learnt to stop after one. Real long recordings with transcripts are
seldom at hand, utterances of a dev set are. What is joined here has pauses of silence between the utterances and
changes voices at them; it is no conversation, and no lecture.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import soundfile

from asr_headroom.data.manifest import Utterance
from asr_headroom.text.languages import macro_language
from asr_headroom.text.units import UNSPACED_LANGUAGES

__all__ = ["MAX_SECONDS", "MIN_SECONDS", "JoinedAudio", "joined_utterances"]

MIN_SECONDS, MAX_SECONDS = 40.0, 60.0
"""A recording takes utterances until it lasts the former, and none that would make it longer than the latter."""
_PAUSE_SECONDS = 0.5


@dataclass(slots=True)
class JoinedAudio:
    """Utterances one after the other with silence between them, read when asked for.

    Attributes:
        name: for messages.
        parts: what is joined.
        sampling_rate: Hz of the result.
    """

    name: str
    parts: tuple[Utterance, ...]
    sampling_rate: int

    def read_bytes(self) -> bytes:
        """A wav file of float32 samples.

        Raises:
            AudioError: a part cannot be read.
        """
        pause = np.zeros(round(_PAUSE_SECONDS * self.sampling_rate), dtype=np.float32)
        pieces = [piece for part in self.parts for piece in (pause, part.samples(self.sampling_rate))][1:]
        buffer = io.BytesIO()
        soundfile.write(buffer, np.concatenate(pieces), self.sampling_rate, format="WAV", subtype="FLOAT")
        return buffer.getvalue()


def joined_utterances(
    utterances: Iterable[Utterance],
    *,
    count: int,
    sampling_rate: int,
    takes: Callable[[Utterance], bool] = lambda utterance: True,
) -> list[Utterance]:
    """Recordings of 40 to 60 s, each of utterances in one language, as many as the utterances suffice for.

    Args:
        utterances: in the order in which they are used, each at most once; one that would make a recording longer than
            60 s is left out.
        count: recordings, at most.
        sampling_rate: Hz.
        takes: whether a joined recording can be used; one that cannot is dropped, its utterances with it.

    Returns:
        with the transcripts joined, no speaker, and the ids of their utterances in ``extras``.
    """
    open_parts: dict[str | None, list[Utterance]] = {}
    made: list[Utterance] = []
    for utterance in utterances:
        if len(made) == count:
            break
        parts = open_parts.setdefault(utterance.language, [])
        if _seconds([*parts, utterance]) > MAX_SECONDS:
            continue
        parts.append(utterance)
        if _seconds(parts) >= MIN_SECONDS:
            joined = _joined(open_parts.pop(utterance.language), f"long-form-{len(made) + 1}", sampling_rate)
            made += [joined] if takes(joined) else []
    return made


def _seconds(parts: Sequence[Utterance]) -> float:
    return math.fsum(part.measured_duration() for part in parts) + _PAUSE_SECONDS * (len(parts) - 1)


def _joined(parts: Sequence[Utterance], name: str, sampling_rate: int) -> Utterance:
    language = parts[0].language
    space = "" if language and macro_language(language) in UNSPACED_LANGUAGES else " "
    return Utterance(
        id=name,
        audio=JoinedAudio(name, tuple(parts), sampling_rate),
        text=space.join(part.text.strip() for part in parts),
        language=language,
        duration=_seconds(parts),
        origin=f"joined of {len(parts)} utterances",
        extras={"parts": [part.id for part in parts]},
    )
