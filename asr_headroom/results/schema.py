"""The one result schema: what a run writes and what every judge reads. Version 1.

A run is a directory: ``run.json`` says what was run (:class:`RunInfo`), ``predictions.jsonl`` holds one
:class:`Prediction` per utterance and line. Scores are not stored: they are derived from the predictions,
under any normaliser. The counts in a line are those under the run's own normaliser, so that one can read the
file by eye.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from asr_headroom.errors import ResultsError
from asr_headroom.metrics.error_rate import ErrorCounts, UtteranceCounts

__all__ = ["SCHEMA", "Prediction", "RunInfo", "prediction_from_json", "prediction_to_json", "run_from_json"]

SCHEMA = "asr-headroom/results/1"


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What was run: everything needed to repeat it, and what it cost.

    Attributes:
        name: of the system in tables, for example ``whisper-small · lora``.
        kind: what wrote the predictions.
        status: ``running`` until the last prediction is written.
        model: id, family, checkpoint, parameters, trainable parameters, parent model; ``guard``, what the guard of
            the training measured …
        data: name, source, split, fingerprint of ids and references, number of utterances, problems found.
        decoding: every decoding option, the window included.
        decoding_hash: fingerprint of what in ``decoding`` the hypotheses depend on; two systems decoded differently are
            told apart by it. (N-best lists are found beside the hypotheses and change none.)
        normalizer: id and hash.
        minutes: wall-clock minutes by stage: ``load`` and ``transcribe``, over all sessions, and ``train …`` of the
            training that made the model.
        measured: what was seen while it ran, as far as it was: ``speed``, ``memory``, ``batch`` (a smaller one than
            asked for, because memory did not hold it), ``nbest`` (why there are no lists).
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
    measured: dict[str, Any] = field(default_factory=dict)
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
        nbest: raw texts that a search for several hypotheses found, the best first; empty where none was asked for.
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
    nbest: tuple[str, ...] = ()
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
        counts = UtteranceCounts(_counts(values.pop("words"), "words"), _counts(values.pop("characters"), "characters"))
        values["nbest"] = _texts(values.get("nbest", []), "nbest")
        prediction = Prediction(counts=counts, **values)
        _check_types(prediction, _PREDICTION_TYPES)
        duration = prediction.duration
        if duration is not None and not (math.isfinite(duration) and duration >= 0):
            raise ValueError(f"'duration' is {duration!r}, it must be seconds")
    except KeyError as error:
        raise ResultsError(f"{where}: {error} is missing; {_LINE_NEEDS}") from error
    except (TypeError, ValueError) as error:
        raise ResultsError(f"{where}: {str(error).removeprefix('Prediction.__init__() ')}; {_LINE_NEEDS}") from error
    return prediction


def run_from_json(plain: Any, where: str) -> RunInfo:
    """What ``run.json`` holds, checked.

    Raises:
        ResultsError: another schema, or a field is missing, unknown or malformed; ``where`` names the file.
    """
    schema = plain.get("schema") if isinstance(plain, dict) else None
    if schema != SCHEMA:
        raise ResultsError(
            f"{where}: its schema is {schema!r}, this version reads {SCHEMA!r}; "
            "give a run that `asr-headroom bench` wrote"
        )
    try:
        run = RunInfo(**plain)
        _check_types(run, _RUN_TYPES)
        for stage, minutes in run.minutes.items():
            if not _is_number(minutes) or not math.isfinite(minutes) or minutes < 0:
                raise ValueError(f"minutes of '{stage}' are {minutes!r}, they must be a number of at least 0")
        if run.status not in _STATUSES:
            raise ValueError(f"'status' is {run.status!r}, it must be one of {', '.join(_STATUSES)}")
    except (TypeError, ValueError) as error:
        message = str(error).removeprefix("RunInfo.__init__() ")
        raise ResultsError(f"{where}: not a run of schema {SCHEMA}: {message}") from error
    return run


_STATUSES = ("running", "complete")
_LINE_NEEDS = (
    f"a line of schema {SCHEMA} needs id, reference, hypothesis, words and characters "
    "(hits, substitutions, deletions, insertions)"
)
_OPTIONAL_TEXT = (str, type(None))
_RUN_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("name", "kind", "status", "decoding_hash"), (str,)),
    **dict.fromkeys(("language", "parent"), _OPTIONAL_TEXT),
    **dict.fromkeys(
        ("model", "data", "decoding", "normalizer", "config", "minutes", "measured", "provenance"), (dict,)
    ),
    "seed": (int, type(None)),
}
_PREDICTION_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "reference", "hypothesis"), (str,)),
    **dict.fromkeys(("speaker", "language", "audio"), _OPTIONAL_TEXT),
    **dict.fromkeys(("truncated", "looped"), (bool,)),
    "duration": (float, int, type(None)),
    "extras": (dict,),
}
_JSON_NAMES = {str: "text", int: "an integer", float: "a number", bool: "true or false", dict: "an object"}


def _check_types(value: RunInfo | Prediction, types: dict[str, tuple[type, ...]]) -> None:
    for name, allowed in types.items():
        content = getattr(value, name)
        # JSON's true is an int to Python, and never what a number or a duration should be.
        if not isinstance(content, allowed) or (isinstance(content, bool) and bool not in allowed):
            wanted = " or ".join(_JSON_NAMES.get(kind, "null") for kind in allowed)
            raise ValueError(f"'{name}' is {content!r}, it must be {wanted}")


def _counts(values: Any, name: str) -> ErrorCounts:
    if not isinstance(values, list) or len(values) != 4 or not all(type(v) is int and v >= 0 for v in values):
        raise ValueError(f"'{name}' is {values!r}, it must be four counts of at least 0")
    return ErrorCounts(*values)


def _texts(values: Any, name: str) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"'{name}' is {values!r}, it must be a list of texts")
    return tuple(values)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
