"""One model as a judge of transcripts: trained on the other folds, then scoring its own; resumable.

No clip is judged by a model that trained on it. Start with :meth:`ModelJudge.judge`.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from asr_headroom.analysis.label_doctor_evidence import Judged, TextPool
from asr_headroom.analysis.label_doctor_planting import Planter
from asr_headroom.analysis.label_doctor_rules import Finding
from asr_headroom.budget import Budget, format_minutes, parse_budget
from asr_headroom.config import fingerprint
from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import BudgetError
from asr_headroom.models.protocols import Recognizer, Trainable
from asr_headroom.models.registry import load_model
from asr_headroom.stages.doctor_config import DoctorConfig
from asr_headroom.stages.evaluation_sets import measure_in_batches
from asr_headroom.stages.folds import split_folds
from asr_headroom.stages.model_facts import hash_weights
from asr_headroom.stopping import StopRequests
from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.targets import write_target
from asr_headroom.train.config import GuardConfig
from asr_headroom.train.guard import EvaluationSet

__all__ = ["ModelJudge"]

logger = logging.getLogger(__name__)

_TRAIN_SHARE = 0.6
"""Of a budget, for the training of all folds; the rest is for scoring."""
_HELD_OUT = 40
"""Utterances of the other folds that tell the best step and are not trained on."""


class ModelJudge:
    """One model over all folds.

    Args:
        config: of the doctor.
        model_id: hub id or local folder.
        directory: of the run. The judge's own folder there is named after the weights: a folder whose model was
            trained anew is another judge, and does not find the scores of the former one.
        budget: of the run.
        book: is told a stage and its seconds.
        clock: for the minutes.
    """

    def __init__(
        self,
        config: DoctorConfig,
        model_id: str,
        *,
        directory: Path,
        budget: Budget,
        book: Callable[[str, float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._model_id = config, model_id
        self._budget, self._book, self._clock = budget, book, clock
        identity = fingerprint(hash_weights(model_id) or model_id)
        self.folder = directory / "judges" / identity

    def judge(
        self,
        utterances: Sequence[Utterance],
        normalizer: Normalizer,
        pool: TextPool,
        planter: Planter,
        unusable: dict[str, list[Finding]],
    ) -> dict[str, Judged]:
        """What the model says of each clip that it can take, by id; what it cannot take is added to ``unusable``.

        Raises:
            BudgetError: the budget ended before the work did; what is done is kept.
            Stopped: a signal asked to stop; what is done is kept.
            AsrHeadroomError: the model cannot be used.
        """
        from asr_headroom.stages.label_scores import LabelScorer, read_judged

        base: Recognizer | None = self._load(self._model_id)
        assert base is not None
        fits = self._config.fit and isinstance(base, Trainable)
        if self._config.fit and not fits:
            logger.warning("%s (%s) cannot be trained here; it judges as it is", self._model_id, base.card.family)
        usable = self._usable(base, utterances, unusable)
        everything = list(range(len(usable)))
        parts = [(everything, everything)]
        if fits:
            # Two copies of a large model may not fit beside each other.
            base = None
            parts = split_folds(usable, normalizer, self._config.folds, self._config.seed)
        found: dict[str, Judged] = {}
        for number, (judged, learnt) in enumerate(parts):
            path = self.folder / (f"fold-{number}.jsonl" if fits else "scores.jsonl")
            clips = [usable[index] for index in judged]
            if not path.exists() or {clip.id for clip in clips} - read_judged(path).keys():
                model = base or self._fit(number, [usable[index] for index in learnt], normalizer)
                with StopRequests() as stops:
                    scorer = LabelScorer(model, pool, planter, form=self._config.target_form, seed=self._config.seed)
                    scorer.score(
                        clips, path, batch_size=self._config.batch_size, budget=self._budget, stops=stops,
                        book=lambda seconds: self._book("score", seconds), clock=self._clock,
                    )  # fmt: skip
                del model, scorer
                # A fold's weights are of no use once its clips are scored, and there are several copies of them.
                shutil.rmtree(self._training_folder(number), ignore_errors=True)
            said = read_judged(path)
            found |= {clip.id: said[clip.id] for clip in clips}
        return found

    def _load(self, source: str) -> Recognizer:
        return load_model(source, window=self._config.window, device="auto")

    def _usable(
        self, model: Recognizer, utterances: Sequence[Utterance], unusable: dict[str, list[Finding]]
    ) -> list[Utterance]:
        kept = []
        for utterance in utterances:
            written = replace(
                utterance, text=write_target(utterance.text, self._config.target_form, utterance.language)
            )
            reason = model.check_target(written) if isinstance(model, Trainable) else _too_long(model, utterance)
            if reason is None:
                kept.append(utterance)
            else:
                unusable.setdefault(utterance.id, []).append(Finding("model", f"{reason} ({self._model_id})"))
        if len(kept) < len(utterances):
            logger.warning("%s cannot judge %d clips", self._model_id, len(utterances) - len(kept))
        return kept

    def _fit(self, number: int, learnt: Sequence[Utterance], normalizer: Normalizer) -> Recognizer:
        """The model trained on some clips; where no step beat the base on those held out, the base itself."""
        from asr_headroom.train.loop import Training
        from asr_headroom.train.methods import apply_method

        config = self._config
        if self._budget.remaining <= 0:
            raise BudgetError(
                f"the budget of {format_minutes(self._budget.seconds or 0.0)} is used up before fold {number + 1} of "
                f"{config.folds} of '{self._model_id}' was trained; the same command with a larger --budget goes on"
            )
        settings = replace(
            config.training, seed=config.seed + config.training.seed, guard=GuardConfig(enabled=False), budget=None
        )
        targets = [replace(u, text=write_target(u.text, config.target_form, u.language)) for u in learnt]
        order = np.random.default_rng([config.seed, number]).permutation(len(targets))
        held = [targets[i] for i in order[: min(_HELD_OUT, len(targets) // 5)]]
        taught = [targets[i] for i in sorted(order[len(held) :])]
        logger.info("%s, fold %d of %d: trains on %d clips", self._model_id, number + 1, config.folds, len(taught))
        begin = self._clock()
        # Training places the model itself.
        model = load_model(self._model_id, window=config.window)
        assert isinstance(model, Trainable)
        training = Training(
            apply_method(model, settings),
            taught,
            EvaluationSet(name="held out", role="target", utterances=held, normalizer=normalizer),
            settings,
            self._training_folder(number),
            measure=measure_in_batches(settings.per_device_train_batch_size),
            facts={"fold": number, "base": self._model_id, "target_form": config.target_form},
            budget_seconds=self._seconds_per_fold(),
            clock=self._clock,
        )
        try:
            outcome = training.run()
        finally:
            # A session that is stopped in between has spent them all the same.
            self._book("train", self._clock() - begin)
        assert outcome.model_directory is not None
        logger.info("fold %d: best step %d, dev %.1f %%", number + 1, outcome.best_step, 100 * outcome.best_dev[0])
        return self._load(str(outcome.model_directory))

    def _seconds_per_fold(self) -> float | None:
        if self._config.budget is None:
            return None
        return _TRAIN_SHARE * parse_budget(self._config.budget) / (self._config.folds * len(self._config.models))

    def _training_folder(self, number: int) -> Path:
        return self.folder / f"training-{number}"


def _too_long(model: Recognizer, utterance: Utterance) -> str | None:
    limit, duration = model.card.max_duration, utterance.measured_duration()
    return None if limit is None or duration <= limit else f"lasts {duration:.2f} s, beyond the model's {limit:g} s"
