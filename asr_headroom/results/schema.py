"""The one result schema: what a run writes and what every judge reads. Version 1.

A run is a directory: ``run.json`` says what was run (:class:`RunInfo`), ``predictions.jsonl`` holds one
:class:`Prediction` per utterance and line. Scores are not stored: they are derived from the predictions, under any
normaliser. The counts in a line are those under the run's own normaliser, so that one can read the file by eye.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from asr_headroom.errors import ResultsError
from asr_headroom.metrics.error_rate import ErrorCounts, UtteranceCounts

__all__ = ["SCHEMA", "Prediction", "RunInfo", "prediction_from_json", "prediction_to_json"]

SCHEMA = "asr-headroom/results/1"


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What was run: everything needed to repeat it, and what it cost.

    Attributes:
        name: of the system in tables, for example ``whisper-small · lora``.
        kind: what wrote the predictions.
        status: ``running`` until the last prediction is written.
        model: id, family, checkpoint, parameters, trainable parameters, parent model …
        data: name, source, split, fingerprint of ids and references, number of utterances, problems found.
        decoding: every decoding option, the window included.
        decoding_hash: fingerprint of ``decoding``; two systems decoded differently are told apart by it.
        normalizer: id and hash.
        minutes: wall-clock minutes by stage.
    """

    name: str
    kind: Literal["bench", "import"] = "bench"
    status: Literal["running", "complete"] = "running"
    language: str | None = None
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    decoding: dict[str, Any] = field(default_factory=dict)
    decoding_hash: str = ""
    normalizer: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    parent: str | None = None
    minutes: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    schema: str = SCHEMA


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What one system heard in one utterance.

    Attributes:
        id: of the utterance; predictions of two systems are paired by it.
        reference: raw transcript.
        hypothesis: raw output.
        counts: under the run's normaliser.
        duration: seconds; None where unknown.
        truncated: the decoder was stopped by its token limit.
        looped: the loop guard stopped a repetition.
        audio: path of the recording, for listening; None where there is no file.
    """

    id: str
    reference: str
    hypothesis: str
    counts: UtteranceCounts
    duration: float | None = None
    speaker: str | None = None
    language: str | None = None
    truncated: bool = False
    looped: bool = False
    audio: str | None = None
    extras: dict[str, Any] = field(default_factory=dict)


def prediction_to_json(prediction: Prediction) -> dict[str, Any]:
    """A prediction as plain values; fields at their default are left out."""
    plain: dict[str, Any] = {}
    for spec in dataclasses.fields(prediction):
        value = getattr(prediction, spec.name)
        if spec.name == "counts":
            plain["words"] = dataclasses.astuple(value.words)
            plain["characters"] = dataclasses.astuple(value.characters)
        elif spec.name == "extras" and not value:
            continue
        elif spec.default is dataclasses.MISSING or value != spec.default:
            plain[spec.name] = value
    return plain


def prediction_from_json(plain: dict[str, Any], where: str) -> Prediction:
    """The inverse of :func:`prediction_to_json`.

    Raises:
        ResultsError: a field is missing, unknown or malformed; ``where`` says in which line.
    """
    values = dict(plain)
    try:
        counts = UtteranceCounts(ErrorCounts(*values.pop("words")), ErrorCounts(*values.pop("characters")))
        return Prediction(counts=counts, **values)
    except (KeyError, TypeError) as error:
        raise ResultsError(
            f"{where}: not a prediction of schema {SCHEMA} ({error}); "
            "it needs id, reference, hypothesis, words and characters"
        ) from error
