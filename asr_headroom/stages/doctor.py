"""``doctor``: finds wrong transcripts in training data; no clip is judged by a model that trained on it.

Read :func:`doctor` first. For each model and fold the training and the scores are kept, so a killed run goes on; what
:mod:`asr_headroom.analysis.label_doctor` makes of the scores takes seconds and is made anew.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from asr_headroom.analysis.label_doctor import Diagnosis, Verdict, diagnose, verdict_to_json
from asr_headroom.analysis.label_doctor_evidence import Clip, Judged, TextPool
from asr_headroom.analysis.label_doctor_planting import Kind, Planter
from asr_headroom.analysis.label_doctor_rules import Finding, audio_findings
from asr_headroom.analysis.suspects import Suspects, find_suspects
from asr_headroom.budget import Budget, parse_budget
from asr_headroom.config import fingerprint, to_mapping
from asr_headroom.data.manifest import Utterance, write_manifest
from asr_headroom.errors import AudioError, ConfigError, DataError, ResultsError, UsageError
from asr_headroom.models.protocols import Recognizer, Trainable
from asr_headroom.models.registry import load_model
from asr_headroom.provenance import collect_provenance
from asr_headroom.results.readers import read_results
from asr_headroom.results.store import Results, write_json, write_whole
from asr_headroom.stages.bench import default_name
from asr_headroom.stages.data import load_data
from asr_headroom.stages.evaluation_sets import measure_in_batches
from asr_headroom.stopping import StopRequests
from asr_headroom.text.normalize import Normalizer, get_normalizer, normalizer_for_language
from asr_headroom.text.targets import TargetForm, write_target
from asr_headroom.train.config import GuardConfig, TrainConfig
from asr_headroom.train.guard import EvaluationSet

__all__ = ["DoctorConfig", "DoctorTraining", "Examined", "doctor", "split_folds"]

logger = logging.getLogger(__name__)

_TRAIN_SHARE = 0.6
"""Of a budget, for the training of all folds; the rest is for scoring."""
_HELD_OUT = 40
"""Utterances of the other folds that tell the best step and are not trained on."""
_KEPT_SHARE = 0.5
"""Of the other folds' clips, that must be left where those with a sentence of this fold are left out."""
_RECORD = "doctor.json"
_CLEAN_FROM = 0.5
"""Probability from which --write-clean leaves a transcript out: more likely wrong than right."""


@dataclass(frozen=True, kw_only=True)
class DoctorTraining(TrainConfig):
    """How each fold's model is fine-tuned: enough to know the corpus, no more."""

    learning_rate: float | None = 1e-3
    """Peak rate of AdamW; 1e-3 suits low-rank updates, for --set training.method=full take 1e-5 to 1e-4."""

    num_train_epochs: float = 3.0
    """Passes over the other folds; the ceiling when a budget is given."""


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Find wrong transcripts."""

    data: str
    """Training data: manifest, folder, hub id or profile."""

    models: tuple[str, ...] = ()
    """Hub ids or local folders of the models that judge."""

    predictions: tuple[str, ...] = ()
    """Files of predictions on the same data, by other systems: further judges."""

    output: str = "runs/doctor"
    """Folder for scores, verdicts and the page."""

    fit: bool = True
    """Fine-tune each model on the other folds first, so that it knows the corpus and not the clip; --no-fit takes the
    models as they are."""

    folds: int = 3
    """Parts of the data, by speaker; each is judged by a model trained on the others."""

    budget: str | None = None
    """Time for training and scoring, over all sessions: 30m, 2h."""

    false_alarms: float = 0.05
    """Share of the right transcripts that may be called suspect."""

    write_clean: bool = False
    """Also write clean.jsonl, without what is more likely wrong than right, and removed.jsonl with the rest."""

    language: str | None = None
    """BCP-47 tag for rows that name none."""

    normalizer: str | None = None
    """Text clean-up before anything is compared; the language's default otherwise."""

    target_form: TargetForm = "as-is"
    """Written form that the models write: as-is, lower, or sentence (capital first letter and full stop)."""

    window: Literal["full", "fit"] = "full"
    """Whisper: full hears the 30 s window; fit the seconds that hold the recording, which is much faster."""

    batch_size: int = 16
    """Clips scored together, at most."""

    limit: int | None = None
    """Only the first utterances."""

    skip_bad: bool = False
    """Leave out rows that cannot be used, counted, instead of refusing the manifest."""

    seed: int = 0
    """Of folds, wrong transcripts made on purpose, and training."""

    max_clips: int = 100
    """Recordings embedded in the page, at most."""

    training: DoctorTraining = field(default_factory=DoctorTraining)
    """How each fold's model is fine-tuned."""

    def __post_init__(self) -> None:
        problems = []
        if not self.models and not self.predictions:
            problems.append("the label doctor needs somebody's opinion; give --models, --predictions, or both")
        if self.folds < 2:
            problems.append(f"folds is {self.folds}; it must be at least 2 (or use --no-fit)")
        if self.batch_size < 1:
            problems.append(f"batch_size is {self.batch_size}; it must be at least 1")
        if not 0 < self.false_alarms <= 0.5:
            problems.append(f"false_alarms is {self.false_alarms}; it must be above 0 and at most 0.5")
        if self.training.learning_rates:
            problems.append("training.learning_rates would train every fold several times; give one learning_rate")
        if self.training.method == "scratch":
            problems.append("training.method scratch knows nothing to judge by; use lora or full")
        try:
            if self.budget is not None:
                parse_budget(self.budget)
        except ConfigError as error:
            problems.append(str(error))
        if problems:
            raise ConfigError("\n".join(problems))


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
    judges: dict[str, dict[str, Judged]] = {}
    unusable: dict[str, list[Finding]] = {}
    budget = Budget(parse_budget(config.budget) if config.budget else None, used=60 * record.total, clock=clock)
    for model_id in config.models:
        bench = _Bench(config, model_id, utterances, normalizer, record, budget, clock)
        judges[_free_name(default_name(model_id), judges)] = bench.judged(pool, planter, unusable)
    read = [read_results(path, language=config.language) for path in config.predictions]
    for results in read:
        judges[_free_name(results.run.name, judges)] = _hearing(results, utterances)
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


def split_folds(
    utterances: Sequence[Utterance], normalizer: Normalizer, folds: int, seed: int
) -> list[tuple[list[int], list[int]]]:
    """Which clips each fold judges, and which its model learns from: other speakers, and other sentences.

    Speakers are dealt out whole, the next one to the smallest fold; without enough of them, clips are. Clips whose
    sentence the fold has too are not learnt from, unless most clips would be lost: then everybody reads the same
    sentences, and only the clip itself is new to the model, which is said.

    Args:
        utterances: of the corpus.
        normalizer: under which sentences are compared.
        folds: their number, at least 2.
        seed: of the order.

    Returns:
        [folds] indices that are judged, and indices that are learnt from.

    Raises:
        DataError: fewer clips than folds.
    """
    if len(utterances) < 2 * folds:
        raise DataError(f"{len(utterances)} utterances cannot be cut into {folds} folds; use --no-fit")
    speakers = [utterance.speaker for utterance in utterances]
    known = None not in speakers and len(set(speakers)) >= 2 * folds
    groups: dict[Any, list[int]] = {}
    for index, speaker in enumerate(speakers):
        groups.setdefault(speaker if known else index, []).append(index)
    if not known:
        logger.warning("too few speakers are known; the folds are cut by clip, and share speakers")
    order = list(groups.values())
    members: list[list[int]] = [[] for _ in range(folds)]
    for place in np.random.default_rng(seed).permutation(len(order)):
        min(members, key=len).extend(order[place])
    sentences = [normalizer(utterance.text) for utterance in utterances]
    parts = []
    for fold in members:
        mine, own = set(fold), {sentences[index] for index in fold}
        others = [index for index in range(len(utterances)) if index not in mine]
        fresh = [index for index in others if sentences[index] not in own]
        if len(fresh) < _KEPT_SHARE * len(others):
            logger.warning("most sentences are read by speakers of several folds; models know them, though no clip")
            fresh = others
        parts.append((sorted(fold), fresh))
    return parts


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


class _Bench:
    """One model over all folds."""

    def __init__(
        self,
        config: DoctorConfig,
        model_id: str,
        utterances: Sequence[Utterance],
        normalizer: Normalizer,
        record: _Record,
        budget: Budget,
        clock: Callable[[], float],
    ) -> None:
        self._config, self._model_id, self._utterances = config, model_id, utterances
        self._normalizer, self._record, self._budget, self._clock = normalizer, record, budget, clock
        slug = re.sub(r"[^\w.-]+", "-", model_id).strip("-") or "model"
        self._folder = record.directory / "judges" / slug

    def judged(self, pool: TextPool, planter: Planter, unusable: dict[str, list[Finding]]) -> dict[str, Judged]:
        """What the model says of each clip that it can take, by id; what it cannot take is added to ``unusable``."""
        from asr_headroom.stages.label_scores import LabelScorer, read_judged

        base: Recognizer | None = self._load(self._model_id)
        assert base is not None
        fits = self._config.fit and isinstance(base, Trainable)
        if self._config.fit and not fits:
            logger.warning("%s (%s) cannot be trained here; it judges as it is", self._model_id, base.card.family)
        usable = self._usable(base, unusable)
        everything = list(range(len(usable)))
        parts = [(everything, everything)]
        if fits:
            # Two copies of a large model may not fit beside each other.
            base = None
            parts = split_folds(usable, self._normalizer, self._config.folds, self._config.seed)
        found: dict[str, Judged] = {}
        for number, (judged, learnt) in enumerate(parts):
            path = self._folder / (f"fold-{number}.jsonl" if fits else "scores.jsonl")
            clips = [usable[index] for index in judged]
            if not path.exists() or {clip.id for clip in clips} - read_judged(path).keys():
                model = base or self._fit(number, [usable[index] for index in learnt])
                with StopRequests() as stops:
                    scorer = LabelScorer(model, pool, planter, form=self._config.target_form, seed=self._config.seed)
                    scorer.score(
                        clips, path, batch_size=self._config.batch_size, budget=self._budget, stops=stops,
                        book=lambda seconds: self._record.book("score", seconds), clock=self._clock,
                    )  # fmt: skip
                del model, scorer
                # A fold's weights are of no use once its clips are scored, and there are several copies of them.
                shutil.rmtree(self._training_folder(number), ignore_errors=True)
            said = read_judged(path)
            found |= {clip.id: said[clip.id] for clip in clips}
        return found

    def _load(self, source: str) -> Recognizer:
        return load_model(source, window=self._config.window, device="auto")

    def _usable(self, model: Recognizer, unusable: dict[str, list[Finding]]) -> list[Utterance]:
        kept = []
        for utterance in self._utterances:
            written = replace(utterance, text=write_target(utterance.text, self._config.target_form))
            reason = model.check_target(written) if isinstance(model, Trainable) else _too_long(model, utterance)
            if reason is None:
                kept.append(utterance)
            else:
                unusable.setdefault(utterance.id, []).append(Finding("model", f"{reason} ({self._model_id})"))
        if len(kept) < len(self._utterances):
            logger.warning("%s cannot judge %d clips", self._model_id, len(self._utterances) - len(kept))
        return kept

    def _fit(self, number: int, learnt: Sequence[Utterance]) -> Recognizer:
        """The model trained on some clips; where no step beat the base on those held out, the base itself."""
        from asr_headroom.train.loop import Training
        from asr_headroom.train.methods import apply_method

        config = self._config
        settings = replace(
            config.training, seed=config.seed + config.training.seed, guard=GuardConfig(enabled=False), budget=None
        )
        targets = [replace(u, text=write_target(u.text, config.target_form)) for u in learnt]
        order = np.random.default_rng([config.seed, number]).permutation(len(targets))
        held = [targets[i] for i in order[: min(_HELD_OUT, len(targets) // 5)]]
        taught = [targets[i] for i in sorted(order[len(held) :])]
        logger.info("%s, fold %d of %d: trains on %d clips", self._model_id, number + 1, config.folds, len(taught))
        begin = self._clock()
        # Training places the model itself.
        model = load_model(self._model_id, window=config.window)
        assert isinstance(model, Trainable)
        outcome = Training(
            apply_method(model, settings),
            taught,
            EvaluationSet(name="held out", role="target", utterances=held, normalizer=self._normalizer),
            settings,
            self._training_folder(number),
            measure=measure_in_batches(settings.per_device_train_batch_size),
            facts={"fold": number, "base": self._model_id, "target_form": config.target_form},
            budget_seconds=self._seconds_per_fold(),
            clock=self._clock,
        ).run()
        self._record.book("train", self._clock() - begin)
        assert outcome.model_directory is not None
        logger.info("fold %d: best step %d, dev %.1f %%", number + 1, outcome.best_step, 100 * outcome.best_dev[0])
        return self._load(str(outcome.model_directory))

    def _seconds_per_fold(self) -> float | None:
        if self._config.budget is None:
            return None
        return _TRAIN_SHARE * parse_budget(self._config.budget) / (self._config.folds * len(self._config.models))

    def _training_folder(self, number: int) -> Path:
        return self._folder / f"training-{number}"


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


def _too_long(model: Recognizer, utterance: Utterance) -> str | None:
    limit, duration = model.card.max_duration, utterance.measured_duration()
    return None if limit is None or duration <= limit else f"lasts {duration:.2f} s, beyond the model's {limit:g} s"


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
