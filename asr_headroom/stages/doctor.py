"""``doctor``: finds wrong transcripts in training data; no clip is judged by a model that trained on it.

Read :func:`doctor` first. For each model and fold the training and the scores are kept, so a killed run goes on; what
:mod:`asr_headroom.analysis.label_doctor` makes of the scores takes seconds and is made anew.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asr_headroom.analysis.label_doctor import Diagnosis, Verdict, diagnose, verdict_to_json
from asr_headroom.analysis.label_doctor_evidence import Clip, Judged, TextPool
from asr_headroom.analysis.label_doctor_planting import Kind, Planter
from asr_headroom.analysis.label_doctor_rules import Finding, audio_findings
from asr_headroom.analysis.suspects import Suspects, find_suspects
from asr_headroom.budget import Budget, parse_budget
from asr_headroom.config import fingerprint, to_mapping
from asr_headroom.data.manifest import Utterance, write_manifest
from asr_headroom.errors import AudioError, ConfigError, ResultsError, UsageError
from asr_headroom.provenance import collect_provenance
from asr_headroom.results.readers import read_results
from asr_headroom.results.store import Results, write_json, write_whole
from asr_headroom.stages.data import load_data
from asr_headroom.stages.doctor_config import DoctorConfig, DoctorTraining
from asr_headroom.stages.label_judge import ModelJudge
from asr_headroom.stages.model_facts import default_name
from asr_headroom.text.normalize import Normalizer, get_normalizer, normalizer_for_language

__all__ = ["DoctorConfig", "DoctorTraining", "Examined", "doctor"]

logger = logging.getLogger(__name__)

_RECORD = "doctor.json"
_CLEAN_FROM = 0.5
"""Probability from which --write-clean leaves a transcript out: more likely wrong than right."""


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What ``doctor`` found.

    Attributes:
        diagnosis: verdicts with the findings of the recordings.
        places: where judges of several families agree against a transcript; None with fewer than two families.
        utterances: by id.
        directory: of the run.
        minutes: spent, by stage, over all sessions.
    """

    diagnosis: Diagnosis
    places: Suspects | None
    utterances: Mapping[str, Utterance]
    directory: Path
    minutes: Mapping[str, float]


def doctor(config: DoctorConfig, *, clock: Callable[[], float] = time.monotonic) -> Examined:
    """Judges every transcript, writes ``verdicts.jsonl`` and what was asked for besides.

    Args:
        config: what to judge, and with whom.
        clock: for the budget and the minutes.

    Raises:
        BudgetError: the budget ended before the work did; what is done is kept.
        Stopped: a signal asked to stop; what is done is kept.
        AsrHeadroomError: data or a model cannot be used.
    """
    loaded = load_data(config.data, language=config.language, limit=config.limit, skip_bad=config.skip_bad)
    utterances = list(loaded.manifest)
    normalizer = _normalizer(config, utterances)
    record = _Record(config, loaded.manifest.fingerprint())
    texts = [utterance.text for utterance in utterances]
    pool, planter = TextPool(texts, normalizer), Planter(texts, normalizer.unit, config.seed)
    # Before any model is trained: a file that cannot be used is found now.
    read = [read_results(path, language=config.language) for path in config.predictions]
    hearings = [(results.run.name, _hearing(results, utterances)) for results in read]
    judges: dict[str, dict[str, Judged]] = {}
    unusable: dict[str, list[Finding]] = {}
    budget = Budget(parse_budget(config.budget) if config.budget else None, used=60 * record.total, clock=clock)
    models = {
        model_id: ModelJudge(config, model_id, directory=record.directory, budget=budget, book=record.book, clock=clock)
        for model_id in dict.fromkeys(config.models)
    }
    _refuse_twins(models)
    for model_id, model in models.items():
        name = _free_name(default_name(model_id), judges)
        judges[name] = model.judge(utterances, normalizer, pool, planter, unusable)
    for name, said in hearings:
        judges[_free_name(name, judges)] = said
    clips = [_clip(utterance) for utterance in utterances]
    spoiled = {clip.id: _spoiled(clip, judges, planter) for clip in clips}
    diagnosis = diagnose(
        clips, judges, spoiled, pool, false_alarms=config.false_alarms, known=unusable, seed=config.seed
    )
    by_id = {utterance.id: utterance for utterance in utterances}
    diagnosis = replace(diagnosis, verdicts=tuple(_listened(v, by_id[v.clip.id]) for v in diagnosis.verdicts))
    examined = Examined(
        diagnosis=diagnosis,
        places=_places(read, normalizer),
        utterances=by_id,
        directory=record.directory,
        minutes=record.minutes,
    )
    _write(examined, config, record)
    return examined


class _Record:
    """``doctor.json``: whose run the folder holds, and the minutes it took."""

    def __init__(self, config: DoctorConfig, data: str) -> None:
        self.directory = Path(config.output)
        self._path = self.directory / _RECORD
        settings = to_mapping(config)
        # What may change between two sessions of one run: who judges, how long, what is called suspect and shown.
        free = ["models", "predictions", "budget", "false_alarms", "write_clean", "max_clips", "output"]
        for name in free if config.fit else [*free, "folds", "training"]:
            settings.pop(name)
        self._identity = fingerprint({"settings": settings, "data": data})
        self.minutes: dict[str, float] = {}
        if self._path.exists():
            self._resume()
        self.values = {"identity": self._identity, "settings": to_mapping(config), "data": data}

    def _resume(self) -> None:
        try:
            stored = json.loads(self._path.read_text(encoding="utf-8"))
            identity, self.minutes = stored["identity"], dict(stored["minutes"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResultsError(f"{self._path}: cannot be read ({error}); choose another --output") from error
        if identity != self._identity:
            raise ResultsError(
                f"{self._path}: this folder holds a run of other data or settings; choose another --output"
            )

    @property
    def total(self) -> float:
        """Minutes of all stages."""
        return sum(self.minutes.values())

    def book(self, stage: str, seconds: float) -> None:
        """Adds to the minutes of a stage and keeps them on disk."""
        self.minutes[stage] = self.minutes.get(stage, 0.0) + seconds / 60
        self.write()

    def write(self, **values: Any) -> None:
        """Replaces the file."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.values |= values
        write_json(self._path, self.values | {"minutes": {k: round(v, 4) for k, v in self.minutes.items()}})


def _refuse_twins(models: Mapping[str, ModelJudge]) -> None:
    """Raises where two judges are one: their agreement would count as two opinions.

    Raises:
        ConfigError: naming them.
    """
    owners: dict[Path, str] = {}
    for model_id, judge in models.items():
        twin = owners.setdefault(judge.folder, model_id)
        if twin != model_id:
            raise ConfigError(f"the judges '{twin}' and '{model_id}' have the same weights; give one of them")


def _normalizer(config: DoctorConfig, utterances: Sequence[Utterance]) -> Normalizer:
    if config.normalizer:
        return get_normalizer(config.normalizer)
    (language, _), *_ = Counter(utterance.language for utterance in utterances).most_common(1)
    return normalizer_for_language(language)


def _clip(utterance: Utterance) -> Clip:
    return Clip(
        id=utterance.id,
        text=utterance.text,
        duration=utterance.measured_duration(),
        language=utterance.language,
        speaker=utterance.speaker,
    )


def _spoiled(clip: Clip, judges: Mapping[str, Mapping[str, Judged]], planter: Planter) -> dict[Kind, str]:
    """The wrong transcripts that were scored; without scores, ones that are made now."""
    for said in judges.values():
        if clip.id in said and said[clip.id].planted:
            return {kind: one.text for kind, one in said[clip.id].planted.items()}
    return planter.spoil(clip.id, clip.text)


def _hearing(results: Results, utterances: Sequence[Utterance]) -> dict[str, Judged]:
    heard = {prediction.id: Judged(heard=prediction.hypothesis) for prediction in results.predictions}
    missing = [utterance.id for utterance in utterances if utterance.id not in heard]
    if len(missing) == len(utterances):
        raise UsageError(
            f"the predictions '{results.run.name}' hold none of the utterances, such as '{missing[0]}'; give "
            "predictions on the same data, with its ids"
        )
    if missing:
        logger.warning("'%s' says nothing of %d clips, which are judged by rules alone", results.run.name, len(missing))
    return heard


def _places(read: Sequence[Results], normalizer: Normalizer) -> Suspects | None:
    """Where the families of the given predictions agree against the transcripts."""
    if len(read) < 2:
        return None
    try:
        return find_suspects(read, normalizer)
    except UsageError as error:
        logger.warning("%s", error)
        return None


def _listened(verdict: Verdict, utterance: Utterance) -> Verdict:
    """A suspect with what is wrong with its recording; the others are not opened."""
    if not verdict.is_suspect:
        return verdict
    try:
        found = audio_findings(utterance.samples(16_000), 16_000)
    except AudioError as error:
        found = [Finding("audio", str(error), is_severe=True)]
    return replace(verdict, findings=(*verdict.findings, *found))


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    return name if name not in taken else _free_name(f"{name}'", taken)


def _write(examined: Examined, config: DoctorConfig, record: _Record) -> None:
    from asr_headroom.report.doctor_page import doctor_page

    diagnosis, directory = examined.diagnosis, examined.directory
    directory.mkdir(parents=True, exist_ok=True)
    rows = [verdict_to_json(verdict, diagnosis.pool) for verdict in diagnosis.verdicts]
    write_whole(directory / "verdicts.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write_whole(directory / "page.html", doctor_page(examined.diagnosis, examined.utterances, examined.places,
                                                     max_clips=config.max_clips))  # fmt: skip
    removed = [v for v in diagnosis.verdicts if v.is_suspect and v.probability >= _CLEAN_FROM]
    if config.write_clean:
        _write_clean(examined, {verdict.clip.id: verdict for verdict in removed})
    record.write(
        provenance=collect_provenance(),
        utterances=len(diagnosis.verdicts),
        suspects=dict(diagnosis.counts()),
        estimated_shares={kind: round(share, 5) for kind, share in diagnosis.shares.items()},
        found_of_made={kind: round(share, 4) for kind, share in diagnosis.found_of_made.items()},
        false_alarms=diagnosis.false_alarms,
        evidence=list(diagnosis.columns),
        removed_by_write_clean=len(removed) if config.write_clean else None,
    )


def _write_clean(examined: Examined, removed: Mapping[str, Verdict]) -> None:
    kept = [utterance for utterance in examined.utterances.values() if utterance.id not in removed]
    gone = [
        replace(
            examined.utterances[id_],
            extras={**examined.utterances[id_].extras, "doctor": verdict.kind, "probability": verdict.probability},
        )
        for id_, verdict in removed.items()
    ]
    write_manifest(examined.directory / "clean.jsonl", kept)
    write_manifest(examined.directory / "removed.jsonl", gone)
