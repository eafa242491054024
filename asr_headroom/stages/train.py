"""``train``: fine-tune one model on one manifest, select on dev, keep the best."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from asr_headroom.budget import parse_budget
from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import ConfigError, DataError, ModelError
from asr_headroom.evaluate.transcribe import error_counts_validator, refuse_long_utterances
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.models.protocols import Trainable
from asr_headroom.models.registry import load_model
from asr_headroom.stages.data import load_data
from asr_headroom.text.normalize import Normalizer, get_normalizer, normalizer_for_language
from asr_headroom.text.targets import TargetForm, write_target
from asr_headroom.train.config import TrainConfig

__all__ = ["TrainStageConfig", "train"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainStageConfig(TrainConfig):
    """Fine-tune a model."""

    model: str
    """Hub id or local folder of the model to start from."""

    train: str
    """Training data: manifest, folder, hub id or profile."""

    dev: str
    """Dev data; selects the best step, and is never trained on."""

    output: str = "runs/train"
    """Folder of this run."""

    language: str | None = None
    """BCP-47 tag for rows that name none."""

    normalizer: str | None = None
    """Normaliser of the dev scores; the language's default otherwise."""

    window: Literal["full", "fit"] = "full"
    """Whisper: the window in training and on dev; use the same in bench."""

    target_form: TargetForm = "as-is"
    """Written form to learn: as-is, lower, or sentence (capital first letter and full stop)."""

    max_duration: float | None = None
    """Seconds; longer dev utterances are left out and counted."""

    limit: int | None = None
    """Only the first utterances of the training data."""

    skip_bad: bool = False
    """Leave out rows that cannot be used, counted, instead of refusing the manifest."""

    streaming: bool = False
    """Read hub data sets row by row without downloading the rest; needs limit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit is {self.limit}; it must be at least 1")
        if self.max_duration is not None and not self.max_duration > 0:
            raise ConfigError(f"max_duration is {self.max_duration}; it must be above 0 s")


def train(config: TrainStageConfig) -> Path:
    """Runs or resumes the training; returns the folder of the best model.

    Raises:
        AsrHeadroomError: data, model, budget or disk do not allow it; the message says which and what to do.
    """
    from asr_headroom.train.loop import Training
    from asr_headroom.train.methods import apply_method

    if config.normalizer:
        get_normalizer(config.normalizer)
    reading: dict[str, Any] = {"language": config.language, "skip_bad": config.skip_bad, "streaming": config.streaming}
    train_data = load_data(config.train, limit=config.limit, **reading)
    dev_data = load_data(
        config.dev,
        max_duration=config.max_duration,
        limit=config.eval_utterances if config.streaming else None,
        **reading,
    )
    model = load_model(config.model, window=config.window, **_random_init(config))
    if not isinstance(model, Trainable):
        raise ModelError(f"'{config.model}' ({model.card.family}) can be benched but not trained here")
    refuse_long_utterances(model, dev_data.manifest)
    usable, left_out = _usable(model, train_data.manifest, config.target_form)
    dev = _fixed_subset(dev_data.manifest.utterances, config.eval_utterances, config.seed)
    language = dev[0].language
    normalizer = get_normalizer(config.normalizer) if config.normalizer else normalizer_for_language(language)
    outcome = Training(
        apply_method(model, config),
        usable,
        [replace(utterance, text=write_target(utterance.text, config.target_form)) for utterance in dev],
        _train_config(config),
        Path(config.output),
        validate=error_counts_validator(
            {"dev": dev},
            DecodingOptions(),
            batch_size=config.per_device_train_batch_size,
            normalizers={"dev": normalizer},
        ),
        facts={
            "family": model.card.family,
            "base": config.model,
            "train_data": train_data.facts() | {"source": config.train, "unusable": left_out, "used": len(usable)},
            "dev_data": dev_data.facts()
            | {
                "source": config.dev,
                "used": len(dev),
                "sentences_in_train": _shared_sentences(usable, dev, normalizer),
            },
            "window": config.window,
            "target_form": config.target_form,
            "normalizer": normalizer.id,
        },
        budget_seconds=_budget_seconds(config),
    ).run()
    said = (
        "no step beat the base on dev; the base is what is kept"
        if outcome.best_step == 0
        else f"best step {outcome.best_step}"
    )
    logger.info(
        "%s after %d of %d steps (%s): %s",
        outcome.reason,
        outcome.stopped_at,
        outcome.plan.total_steps,
        said,
        outcome.model_directory,
    )
    return outcome.model_directory


def _random_init(config: TrainStageConfig) -> dict[str, Any]:
    return {"random_init": True, "seed": config.seed} if config.method == "scratch" else {}


def _usable(
    model: Trainable, utterances: Sequence[Utterance], form: TargetForm
) -> tuple[list[Utterance], dict[str, int]]:
    """Utterances the model can learn from, in the form wanted, and how many were left out, by reason."""
    usable, reasons = [], Counter[str]()
    first = ""
    for utterance in utterances:
        utterance = replace(utterance, text=write_target(utterance.text, form))
        reason = model.check_target(utterance)
        if reason is None:
            usable.append(utterance)
            continue
        kind = "too long for the model"
        first = first or f"{utterance.origin}: '{utterance.id}' {reason}"
        reasons[kind] += 1
    for reason, count in reasons.items():
        logger.warning("%d of %d training utterances left out, %s: %s", count, len(utterances), reason, first)
    if form == "as-is" and usable and all(utterance.text.isupper() for utterance in usable):
        logger.warning(
            "all %d transcripts are in upper case, and the model will learn to write that way; "
            "--target-form sentence rewrites them",
            len(usable),
        )
    if not usable:
        raise DataError(f"none of the {len(utterances)} training utterances can be used, for example {first}")
    return usable, dict(reasons)


def _fixed_subset(utterances: Sequence[Utterance], count: int, seed: int) -> list[Utterance]:
    """The same ``count`` utterances for the same data and seed, in the manifest's order."""
    if len(utterances) <= count:
        return list(utterances)
    chosen = np.random.default_rng(seed).permutation(len(utterances))[:count]
    return [utterances[index] for index in sorted(chosen)]


def _shared_sentences(train_data: Sequence[Utterance], dev: Sequence[Utterance], normalizer: Normalizer) -> int:
    """How many dev utterances have a sentence that is trained on, with a warning: they flatter the selection."""
    learnt = {normalizer(utterance.text) for utterance in train_data}
    shared = sum(normalizer(utterance.text) in learnt for utterance in dev)
    if shared:
        logger.warning(
            "%d of %d dev utterances have a sentence that is trained on; the dev error rate flatters the model "
            "(`asr-headroom data leak` lists them)",
            shared,
            len(dev),
        )
    return shared


def _train_config(config: TrainStageConfig) -> TrainConfig:
    return TrainConfig(**{spec.name: getattr(config, spec.name) for spec in fields(TrainConfig)})


def _budget_seconds(config: TrainStageConfig) -> float | None:
    if config.budget is None:
        return None
    if "gpu-" not in config.budget:
        return parse_budget(config.budget)
    from accelerate import PartialState

    return parse_budget(config.budget, num_gpus=PartialState().num_processes)
