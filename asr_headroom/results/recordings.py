"""Where the audio of a prediction is, for whoever listens to it or measures it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asr_headroom.results.schema import Prediction

__all__ = ["Recording", "recording_of"]


@dataclass(frozen=True)
class Recording:
    """Where the audio of an utterance is: a file, and seconds into it."""

    path: Path
    start: float = 0.0
    end: float | None = None


def recording_of(prediction: Prediction, directory: Path | None) -> Recording | None:
    """The recording of an utterance; a relative path is looked for here, then in the run's directory."""
    if not prediction.audio:
        return None
    path = Path(prediction.audio)
    if directory is not None and not path.is_absolute() and not path.exists():
        path = directory / path
    start, end = prediction.extras.get("start"), prediction.extras.get("end")
    return Recording(
        path,
        float(start) if isinstance(start, (int, float)) else 0.0,
        float(end) if isinstance(end, (int, float)) else None,
    )
