"""Other people's predictions as rows of a bench: read by everybody's reader, held against the test set, kept as runs.

For models that cannot run here (`asr-headroom models list` names them and says why) and for runs of another machine.
Ids, references, speakers and recordings are the test set's; only what was heard is the file's. A file that has no
output for some utterance, or that was made of other references, is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from asr_headroom.data.manifest import Manifest, Utterance
from asr_headroom.errors import ResultsError
from asr_headroom.evaluate.decode import Decoded
from asr_headroom.evaluate.transcribe import prediction_of
from asr_headroom.models.decoding import Hypothesis
from asr_headroom.provenance import collect_provenance
from asr_headroom.results.readers import read_results
from asr_headroom.results.schema import Prediction, RunInfo
from asr_headroom.results.store import Results, ResultsWriter, load_results, load_run, write_whole
from asr_headroom.stages.data import Loaded
from asr_headroom.text.normalize import Normalizer, get_normalizer, normalizer_for_language

__all__ = ["common_language", "directory_name", "read_file_rows", "split_source"]

logger = logging.getLogger(__name__)

_NAMED = 3
"""Ids named in a refusal; more are counted."""


def read_file_rows(
    sources: Sequence[str],
    sets: Sequence[Loaded],
    *,
    output: Path,
    language: str | None = None,
    normalizer: str | None = None,
) -> list[Results]:
    """One run for each file and test set that it belongs to, kept in ``OUTPUT/NAME/TESTSET`` as a model's would be.

    Args:
        sources: ``PATH`` or ``NAME=PATH`` of prediction files or run directories.
        sets: the test sets; each file must belong to at least one.
        output: of the bench. ``TESTSET.references.jsonl`` there is what files of hypotheses alone are read against.
        language: of the files; the test set's otherwise.
        normalizer: id; the default of the test set's language otherwise.

    Raises:
        ResultsError: a file cannot be read or belongs to none of the test sets; it says what is missing.
    """
    rows: list[Results] = []
    for source in sources:
        name, path = split_source(source)
        refusals = []
        before = len(rows)
        for loaded in sets:
            try:
                rows.append(_read_row(name, path, loaded, output=output, language=language, normalizer=normalizer))
            except ResultsError as error:
                refusals.append(error)
        if len(rows) == before:
            if len(refusals) == 1:
                raise refusals[0]
            raise ResultsError(f"{path}: belongs to no test set:\n" + "\n".join(f"  {error}" for error in refusals))
    return rows


def split_source(source: str) -> tuple[str, Path]:
    """Name and path of ``NAME=PATH``; a path alone is named after its file.

    >>> split_source("OWSM-CTC=out/owsm.json"), split_source("out/owsm.json")
    (('OWSM-CTC', PosixPath('out/owsm.json')), ('owsm', PosixPath('out/owsm.json')))
    """
    name, equals, path = source.partition("=")
    if equals and name and path and not Path(source).exists():
        return name, Path(path)
    return Path(source).stem or source, Path(source)


def directory_name(name: str) -> str:
    """A name as part of a path.

    >>> directory_name("openai/whisper tiny")
    'openai-whisper-tiny'
    """
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "unnamed"


def common_language(utterances: Iterable[Utterance]) -> str | None:
    """The language of all utterances; None where they have several, or none."""
    languages = {utterance.language for utterance in utterances}
    return languages.pop() if len(languages) == 1 else None


def _read_row(
    name: str, path: Path, loaded: Loaded, *, output: Path, language: str | None, normalizer: str | None
) -> Results:
    manifest = loaded.manifest
    tag = common_language(manifest)
    chosen = get_normalizer(normalizer) if normalizer else normalizer_for_language(tag)
    read = _read(path, _write_references(manifest, output), language or tag)
    predictions, notes = _aligned(path, read, manifest, chosen)
    run = RunInfo(
        name=name,
        kind="import",
        language=tag,
        model=_model_facts(read) | {"predictions": _digest(path)},
        data=loaded.facts()
        | {"source": str(path), "format": read.run.data.get("format", "run"), "ids": "stated", "notes": notes},
        decoding=read.run.decoding,
        decoding_hash=read.run.decoding_hash,
        normalizer={"id": chosen.id, "version": chosen.version, "hash": chosen.hash},
        minutes=read.run.minutes,
        measured=read.run.measured,
        provenance=read.run.provenance or collect_provenance(),
    )
    return _kept(run, predictions, output / directory_name(name) / directory_name(manifest.name))


def _write_references(manifest: Manifest, output: Path) -> Path:
    """The test set as other tools can read it, beside the results."""
    rows = (
        {
            "id": u.id,
            "reference": u.text,
            "duration": u.measured_duration(),
            "speaker": u.speaker,
            "language": u.language,
        }
        for u in manifest
    )
    path = output / f"{directory_name(manifest.name)}.references.jsonl"
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written ({error}); check the disk and --output") from error
    return path


def _read(path: Path, references: Path, language: str | None) -> Results:
    try:
        return read_results(path, language=language)
    except ResultsError:
        # It holds hypotheses alone, or is malformed; then the second reading says so.
        return read_results(path, reference=references, language=language, intersect=True)


def _aligned(
    path: Path, read: Results, manifest: Manifest, normalizer: Normalizer
) -> tuple[list[Prediction], list[str]]:
    """What the file holds for each utterance of the test set, in its order, and what to know of it.

    Raises:
        ResultsError: utterances without an output, or other references.
    """
    notes = [str(note) for note in read.run.data.get("notes", ())]
    found: dict[str, Prediction] = {p.id: p for p in read.predictions}
    if not any(utterance.id in found for utterance in manifest):
        found = _by_reference(read, manifest, normalizer)
        if found:
            notes.append(f"{path}: names no utterance of '{manifest.name}'; its rows were matched by their references")
    missing = [u.id for u in manifest if u.id not in found]
    if missing:
        raise ResultsError(
            f"{path}: {len(missing)} of {len(manifest)} utterances of '{manifest.name}' have no prediction there "
            f"({_examples(missing)}; the file has {_examples([p.id for p in read.predictions])}); give a file of "
            "the whole test set, with an empty hypothesis where nothing was recognised"
        )
    other = [u for u in manifest if normalizer(found[u.id].reference) != normalizer(u.text)]
    if other:
        first = other[0]
        raise ResultsError(
            f"{path}: {len(other)} of {len(manifest)} references are not those of '{manifest.name}': of '{first.id}' "
            f"it says {found[first.id].reference!r}, the test set {first.text!r}; give predictions for this test set"
        )
    if len(read.predictions) > len(manifest):
        notes.append(f"{path}: {len(read.predictions) - len(manifest)} rows are of no utterance here and are left out")
    return [_prediction(u, found[u.id], normalizer) for u in manifest], notes


def _examples(ids: Sequence[str]) -> str:
    return ", ".join(map(repr, ids[:_NAMED])) + (" …" if len(ids) > _NAMED else "")


def _by_reference(read: Results, manifest: Manifest, normalizer: Normalizer) -> dict[str, Prediction]:
    """Predictions by the id of the utterance with the same reference; several readings of one follow their order."""
    queues: dict[str, list[Prediction]] = defaultdict(list)
    for prediction in reversed(read.predictions):
        queues[normalizer(prediction.reference)].append(prediction)
    texts = [(utterance.id, normalizer(utterance.text)) for utterance in manifest]
    return {id_: queues[text].pop() for id_, text in texts if queues.get(text)}


def _prediction(utterance: Utterance, heard: Prediction, normalizer: Normalizer) -> Prediction:
    hypothesis = Hypothesis(text=heard.hypothesis, truncated=heard.truncated, looped=heard.looped)
    return prediction_of(utterance, Decoded(hypothesis, heard.nbest), normalizer)


def _model_facts(read: Results) -> dict[str, Any]:
    """What the file says of its model: everything for a run of ours, otherwise its id and size where stated."""
    stated = read.run.config.get("file", {}).get("parameters")
    sized = {"parameters": stated} if isinstance(stated, int) and not isinstance(stated, bool) and stated > 0 else {}
    return dict(read.run.model) | sized


def _digest(path: Path) -> str:
    """Sixteen hexadecimal digits over the predictions, so that a changed file is read anew."""
    path = path / "predictions.jsonl" if path.is_dir() else path
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _kept(run: RunInfo, predictions: Sequence[Prediction], directory: Path) -> Results:
    """The row as a run's directory; one that was written before is replaced where the file has changed.

    Raises:
        ResultsError: a model's own run is there, or the disk refuses.
    """
    if (directory / "run.json").is_file():
        there = load_run(directory)
        if there.kind != "import":
            raise ResultsError(
                f"{directory}: holds what a model transcribed here; give the file another name with NAME=PATH"
            )
        same = dataclasses.replace(run, status=there.status, minutes=there.minutes, provenance=there.provenance)
        if there.status == "complete" and same == there:
            return load_results(directory)
    # Nothing here was computed, so nothing is lost by writing it again.
    for name in ("run.json", "predictions.jsonl"):
        (directory / name).unlink(missing_ok=True)
    with ResultsWriter(directory, run) as writer:
        writer.append(predictions)
        writer.finish()
    return load_results(directory)
