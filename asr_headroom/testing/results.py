"""Results made by hand, for tests of whatever judges or shows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr_headroom.metrics.error_rate import count_pair
from asr_headroom.results.schema import Prediction, RunInfo
from asr_headroom.results.store import Results, ResultsWriter
from asr_headroom.text.normalize import get_normalizer

__all__ = ["make_results", "write_results"]


def make_results(
    texts: Sequence[tuple[str, str]],
    *,
    name: str = "system",
    normalizer_id: str = "fr",
    speakers: Sequence[str | None] | None = None,
    audio: Sequence[str | None] | None = None,
    **run: Any,
) -> Results:
    """Results of pairs of reference and hypothesis, with ids u0000, u0001 and so on.

    Args:
        texts: raw reference and hypothesis of each utterance.
        name: of the system.
        normalizer_id: of the counts stored with each prediction.
        speakers: of each utterance.
        audio: path of each recording.
        run: further fields of :class:`RunInfo`.
    """
    normalizer = get_normalizer(normalizer_id)
    predictions = [
        Prediction(
            id=f"u{i:04}",
            reference=reference,
            hypothesis=hypothesis,
            counts=count_pair(reference, hypothesis, normalizer),
            speaker=speakers[i] if speakers else None,
            audio=audio[i] if audio else None,
        )
        for i, (reference, hypothesis) in enumerate(texts)
    ]
    run.setdefault("data", {"name": "a test", "fingerprint": "0123456789ab"})
    run.setdefault("status", "complete")
    info = RunInfo(name=name, normalizer={"id": normalizer.id, "hash": normalizer.hash}, **run)
    return Results(info, predictions)


def write_results(directory: Path, results: Results) -> Path:
    """Writes them as a finished run's directory."""
    with ResultsWriter(directory, results.run) as writer:
        writer.append(results.predictions)
        if results.run.status == "complete":
            writer.finish()
    return directory
