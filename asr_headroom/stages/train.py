"""``train``: fine-tune one model, select on dev, let the guard choose what is delivered.

Read :func:`train` first. With several learning rates each has a run of its own below ``rates/``; the best on dev goes
on to the guard. The settings are in :mod:`asr_headroom.stages.train_config`, what is read before the first step in
:mod:`asr_headroom.stages.train_setup`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr_headroom.budget import Ledger
from asr_headroom.config import fingerprint, to_mapping
from asr_headroom.models.out_of_memory import release_memory
from asr_headroom.stages.evaluation_sets import measure_in_batches
from asr_headroom.stages.rates import refuse_choices, run_rates
from asr_headroom.stages.train_config import TrainStageConfig, budget_seconds
from asr_headroom.stages.train_setup import LoadModel, TrainSetup, load_from_registry, load_setup
from asr_headroom.stages.training_data import (
    augmentation_facts,
    check_augmentation,
    make_augmentation,
    make_mixture,
)
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.guard import EvaluationSet

__all__ = ["LoadModel", "SettingRunner", "TrainStageConfig", "budget_seconds", "train", "train_with"]

if TYPE_CHECKING:
    from asr_headroom.train.loop import TrainingOutcome

logger = logging.getLogger(__name__)

_READ_BY_TRAINING_ALONE = frozenset(
    {
        "augment", "average_checkpoints", "budget", "dataloader_num_workers", "early_stopping_patience", "ema",
        "eval_steps", "freeze", "gradient_accumulation_steps", "gradient_checkpointing", "kl", "l2_sp",
        "label_smoothing", "layer_decay", "learning_rate", "learning_rates", "logging_steps", "lora",
        "lr_scheduler_type", "max_grad_norm", "max_steps", "method", "mixed_precision", "num_train_epochs", "optim",
        "output", "per_device_train_batch_size", "replay_share", "torch_compile", "train_weights", "warmup_ratio",
        "weight_decay",
    }
)  # fmt: skip
"""Settings that change neither data nor model as they are read, but for method scratch; all others are taken to."""


def train(config: TrainStageConfig, *, clock: Callable[[], float] = time.monotonic) -> Path:
    """Runs or resumes the training; returns the folder of the model that is delivered.

    Args:
        config: model, data, settings.
        clock: for the budget and the minutes.

    Raises:
        AsrHeadroomError: data, model, budget or disk do not allow it; the message says which and what to do.
    """
    return train_with(config, SettingRunner(clock=clock))


def train_with(config: TrainStageConfig, run: SettingRunner) -> Path:
    """Runs or resumes a training, with several learning rates one after the other; returns what is delivered.

    Raises:
        AsrHeadroomError: see :func:`train`.
    """
    run.setup(config)
    root = Path(config.output)
    if config.learning_rates:
        outcome = run_rates(
            config.learning_rates,
            lambda rate, **options: run(replace(config, learning_rate=rate, learning_rates=()), **options),
            root,
            budget_seconds=budget_seconds(config),
        )
    else:
        refuse_choices(root)
        outcome = run(config, directory=root, budget_seconds=budget_seconds(config))
    assert outcome.model_directory is not None
    logger.info(
        "%s after %d of %d steps, best step %d, %s delivered: %s",
        outcome.reason,
        outcome.stopped_at,
        outcome.plan.total_steps,
        outcome.best_step,
        f"point {outcome.alpha:g}" if outcome.alpha else "the base is",
        outcome.model_directory,
    )
    return outcome.model_directory


class SettingRunner:
    """Runs or resumes one training after the other; what several read alike is read once.

    What was spent before a run begins, such as reading the data, is booked to it.

    Args:
        load: reads the model of a config, with the vocabulary of a fresh head; by default as it lies there.
        clock: for the budget and the minutes.
    """

    def __init__(self, load: LoadModel | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._load, self._clock = load or load_from_registry, clock
        self._ledger = Ledger(clock=clock)
        self._setups: dict[str, TrainSetup] = {}

    def __call__(
        self, config: TrainStageConfig, *, facts: Mapping[str, Any] | None = None, **options: Any
    ) -> TrainingOutcome:
        """Runs or resumes one.

        Args:
            config: of this one.
            facts: more of what makes it this run and no other.
            options: for :class:`asr_headroom.train.loop.Training`.
        """
        from asr_headroom.train.loop import Training
        from asr_headroom.train.methods import apply_method
        from asr_headroom.train.utilization import step_flops

        config = replace(config, learning_rate=config.peak_learning_rate)
        # The model of the run before hangs in reference cycles, with its gradients and its optimiser's states.
        release_memory()
        setup = self.setup(config)
        with self._ledger.stage("load"):
            model = setup.models.pop() if setup.models else self._load(config, setup.vocabulary)
            model = apply_method(model, config)
        mixture, augmentation = (
            make_mixture(config, setup.train_data.sizes, has_replay=bool(config.replay)),
            make_augmentation(config.augment, config.seed),
        )
        facts = setup.facts | {"learning_rate": config.peak_learning_rate} | dict(facts or {})
        if mixture:
            facts["mixture"] = {"quotas": mixture.quotas, "repetitions": mixture.repetitions}
        if augmentation:
            facts["augment"] = augmentation_facts(augmentation)
        spent, self._ledger = self._ledger, Ledger(clock=self._clock)
        return Training(
            model,
            setup.train_data.utterances,
            setup.dev,
            _train_config(config),
            measure=measure_in_batches(config.per_device_train_batch_size),
            dev_targets=setup.dev_targets,
            guard_sets=setup.guard_sets,
            mixture=mixture,
            augmentation=augmentation,
            facts=facts,
            ledger=spent,
            clock=self._clock,
            flops=None if setup.vocabulary else step_flops(config.model, config, full_window=config.window == "full"),
            **options,
        ).run()

    def setup(self, config: TrainStageConfig) -> TrainSetup:
        """Data and model of a config, read and checked before the first minute is spent; remembered."""
        reading = {k: v for k, v in to_mapping(config).items() if k not in _READ_BY_TRAINING_ALONE}
        key = fingerprint(reading | {"scratch": config.method == "scratch"})
        if key not in self._setups:
            with self._ledger.stage("load"):
                self._setups[key] = load_setup(config, self._load)
        return self._setups[key]

    def check(self, configs: Sequence[TrainStageConfig]) -> None:
        """Reads what all of them need, so that none fails for it after others were paid for; keeps the first's model.

        Raises:
            AsrHeadroomError: see :func:`train`.
        """
        for augment in {fingerprint(config.augment): config.augment for config in configs}.values():
            check_augmentation(augment)
        first, *others = configs
        kept = self.setup(first)
        for config in others:
            if (setup := self.setup(config)) is not kept:
                setup.models.clear()

    def dev(self, config: TrainStageConfig) -> EvaluationSet:
        """Dev utterances in the order in which they are taken; of any run, where one was made."""
        return next(iter(self._setups.values())).dev if self._setups else self.setup(config).dev


def _train_config(config: TrainStageConfig) -> TrainConfig:
    return TrainConfig(**{spec.name: getattr(config, spec.name) for spec in fields(TrainConfig)})
