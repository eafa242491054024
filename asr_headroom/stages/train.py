"""``train``: fine-tune one model, select on dev, let the guard choose what is delivered.

Read :func:`train` first. With several learning rates each has a run of its own below ``rates/``; the best on dev goes
on to the guard.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from asr_headroom.audio.augment import AugmentConfig
from asr_headroom.budget import Ledger, parse_budget
from asr_headroom.config import fingerprint, to_mapping
from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import ConfigError, ModelError
from asr_headroom.evaluate.transcribe import refuse_long_utterances
from asr_headroom.models.protocols import Trainable
from asr_headroom.models.quantization import Quantization
from asr_headroom.models.registry import load_model
from asr_headroom.models.vocabulary import Vocabulary, normalizer_for_targets
from asr_headroom.stages.data import load_data
from asr_headroom.stages.evaluation_sets import evaluation_set, guard_sets, measure_in_batches
from asr_headroom.stages.rates import refuse_choices, run_rates
from asr_headroom.stages.training_data import (
    TrainingData,
    augmentation_facts,
    check_augmentation,
    load_sources,
    make_augmentation,
    make_mixture,
    usable_data,
)
from asr_headroom.text.normalize import Normalizer, get_normalizer
from asr_headroom.text.targets import TargetForm, write_target
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
        "output", "per_device_train_batch_size", "replay_share", "train_weights", "warmup_ratio", "weight_decay",
    }
)  # fmt: skip
"""Settings that change neither data nor model as they are read, but for method scratch; all others are taken to."""

_FRESH_HEAD_LEARNING_RATE = {"lora": 1e-3, "full": 3e-4, "scratch": 5e-4}
"""A head that knows nothing has further to go; the study's rate for XLS-R (SPEC §2.2)."""


@dataclass(frozen=True, kw_only=True)
class TrainStageConfig(TrainConfig):
    """Fine-tune a model."""

    model: str
    """Hub id or local folder of the model to start from."""

    train: tuple[str, ...]
    """Training data: manifests, folders, hub ids or profiles. Without weights each utterance comes once per epoch."""

    dev: str
    """Dev data; selects the best step and what is delivered, and is never trained on."""

    guard_data: tuple[str, ...] = ()
    """Dev data of other languages or domains that must not get worse; generated silence and noise come with them."""

    train_weights: tuple[float, ...] = ()
    """Shares of several training sources in every batch, such as 0.5 0.5; an epoch stays as long, so a small source is
    repeated."""

    replay: str | None = None
    """Data of the base's own domain, mixed into every batch against forgetting; mind that it is trained on."""

    replay_share: float = 0.2
    """Share of the replay data in every batch; it lengthens an epoch."""

    output: str = "runs/train"
    """Folder of this run."""

    language: str | None = None
    """BCP-47 tag for rows that name none."""

    normalizer: str | None = None
    """Normaliser of the dev scores; the language's default otherwise."""

    window: Literal["full", "fit"] = "full"
    """Whisper: the window in training and on dev; use the same in bench."""

    quantization: Quantization = "none"
    """Bits of the base's matrices under low-rank updates (QLoRA), by bitsandbytes; use the same in bench."""

    vocabulary: Literal["checkpoint", "from-data"] = "checkpoint"
    """from-data: a fresh CTC head over the characters of the training transcripts, on the encoder of an XLS-R, Parakeet
    CTC, Whisper …; checkpoint: the model writes what it can."""

    vocabulary_normalizer: str | None = None
    """Normaliser of what a fresh head learns; the language's default otherwise, and basic for English."""

    target_form: TargetForm = "as-is"
    """Written form to learn: as-is; clean (without guillemets, markup and invisible characters); lower; or sentence
    (lower case, capital first letter and full stop)."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """What training audio goes through: speed, volume, noise, rooms, telephone, spec."""

    max_duration: float | None = None
    """Seconds; longer dev utterances are left out and counted."""

    limit: int | None = None
    """Only the first utterances of each training source."""

    skip_bad: bool = False
    """Leave out rows that cannot be used, counted, instead of refusing the manifest."""

    streaming: bool = False
    """Read hub data sets row by row without downloading the rest; needs limit."""

    def __post_init__(self) -> None:
        if isinstance(self.train, str):  # one source, from Python
            object.__setattr__(self, "train", (self.train,))
        super().__post_init__()
        self._check_sources()
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit is {self.limit}; it must be at least 1")
        if self.max_duration is not None and not self.max_duration > 0:
            raise ConfigError(f"max_duration is {self.max_duration}; it must be above 0 s")
        if self.quantization != "none" and self.method != "lora":
            raise ConfigError(
                f"quantization {self.quantization} packs weights, which then cannot move; give --method lora with it"
            )
        if self.kl and self.vocabulary == "from-data":
            raise ConfigError("kl holds a model near its base's predictions, and a fresh head has none; leave it out")
        if self.vocabulary_normalizer and self.vocabulary == "checkpoint":
            raise ConfigError("vocabulary_normalizer is of a fresh head; give --vocabulary from-data with it")

    def _check_sources(self) -> None:
        if not self.train:
            raise ConfigError("train is empty; name at least one training source")
        if self.train_weights and len(self.train_weights) != len(self.train):
            raise ConfigError(
                f"there are {len(self.train)} training sources and {len(self.train_weights)} train_weights; "
                "give one for each"
            )
        if not all(0 < weight < math.inf for weight in self.train_weights):
            raise ConfigError(f"train_weights is {list(self.train_weights)}; each must be above 0 and finite")
        if not 0 < self.replay_share < 1:
            raise ConfigError(f"replay_share is {self.replay_share}; it must be between 0 and 1")
        if self.replay and self.replay in (self.dev, *self.guard_data):
            raise ConfigError(
                f"replay and dev or guard_data both name '{self.replay}'; what is trained on guards nothing"
            )

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate, or the default of the method and of what it starts from."""
        if self.learning_rate is None and self.vocabulary == "from-data":
            return _FRESH_HEAD_LEARNING_RATE[self.method]
        return super().peak_learning_rate


def train(config: TrainStageConfig) -> Path:
    """Runs or resumes the training; returns the folder of the model that is delivered.

    Raises:
        AsrHeadroomError: data, model, budget or disk do not allow it; the message says which and what to do.
    """
    return train_with(config, SettingRunner())


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


LoadModel = Callable[[TrainStageConfig, Vocabulary | None], Trainable]


@dataclass(frozen=True)
class _Setup:
    """What all runs of one command share."""

    train_data: TrainingData
    dev: EvaluationSet
    dev_targets: list[Utterance]
    guard_sets: list[EvaluationSet]
    facts: dict[str, Any]
    vocabulary: Vocabulary | None
    """Of a fresh head."""
    models: list[Trainable]
    """The model that was loaded to check the data, for the first run that asks; later ones load their own."""


def _load(config: TrainStageConfig, load: LoadModel) -> _Setup:
    """Reads and checks everything before the first minute is spent."""
    from asr_headroom.train.processes import join_processes

    join_processes()
    if config.normalizer:
        get_normalizer(config.normalizer)
    reading: dict[str, Any] = {"language": config.language, "skip_bad": config.skip_bad, "streaming": config.streaming}
    few = config.eval_utterances + config.guard.utterances if config.streaming else None
    check_augmentation(config.augment)
    sources = load_sources(config)
    dev_data, *guard_data = (
        load_data(source, max_duration=config.max_duration, limit=few, **reading)
        for source in (config.dev, *config.guard_data)
    )
    vocabulary = None
    if config.vocabulary == "from-data":
        vocabulary = _fresh_vocabulary(config, [u for source in sources for u in source.loaded.manifest])
    model = load(config, vocabulary)
    for loaded in (dev_data, *guard_data):
        refuse_long_utterances(model, loaded.manifest)
    train_data = usable_data(model, sources, config.target_form, writes_as_told=vocabulary is None)
    shuffled = evaluation_set(dev_data, "target", normalizer=config.normalizer, seed=config.seed)
    others = [evaluation_set(loaded, "guard", normalizer=None, seed=config.seed) for loaded in guard_data]
    dev = shuffled.first(config.eval_utterances)
    facts = {
        "family": model.card.family,
        "base": config.model,
        "train_data": train_data.facts,
        "dev_data": dev_data.facts()
        | {
            "source": config.dev,
            "used": len(dev.utterances),
            "sentences_in_train": _shared_sentences(train_data.utterances, dev.utterances, dev.normalizer),
        },
        "guard_data": [
            loaded.facts() | {"source": source} for source, loaded in zip(config.guard_data, guard_data, strict=True)
        ],
        "window": config.window,
        "quantization": config.quantization,
        "target_form": config.target_form,
        "normalizer": dev.normalizer.id,
    }
    if vocabulary:
        facts["vocabulary"] = _vocabulary_facts(vocabulary, dev_data.manifest, config.target_form)
    return _Setup(
        train_data=train_data,
        dev=dev,
        dev_targets=[replace(u, text=write_target(u.text, config.target_form, u.language)) for u in dev.utterances],
        # A fresh head has no base to fall back on.
        guard_sets=[] if vocabulary else guard_sets(model, shuffled, others, chose_the_step=config.eval_utterances),
        facts=facts,
        vocabulary=vocabulary,
        models=[model],
    )


class SettingRunner:
    """Runs or resumes one training after the other; what several read alike is read once.

    What was spent before a run begins, such as reading the data, is booked to it.

    Args:
        load: reads the model of a config, with the vocabulary of a fresh head; by default as it lies there.
    """

    def __init__(self, load: LoadModel | None = None) -> None:
        self._load = load or _load_model
        self._ledger = Ledger()
        self._setups: dict[str, _Setup] = {}

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

        config = replace(config, learning_rate=config.peak_learning_rate)
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
        spent, self._ledger = self._ledger, Ledger()
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
            **options,
        ).run()

    def setup(self, config: TrainStageConfig) -> _Setup:
        """Data and model of a config, read and checked before the first minute is spent; remembered."""
        reading = {k: v for k, v in to_mapping(config).items() if k not in _READ_BY_TRAINING_ALONE}
        key = fingerprint(reading | {"scratch": config.method == "scratch"})
        if key not in self._setups:
            with self._ledger.stage("load"):
                self._setups[key] = _load(config, self._load)
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


def _load_model(config: TrainStageConfig, vocabulary: Vocabulary | None) -> Trainable:
    options: dict[str, Any] = {"random_init": True} if config.method == "scratch" else {}
    if vocabulary:
        options["vocabulary"] = vocabulary
    if options:
        options["seed"] = config.seed
    if config.quantization != "none":
        from asr_headroom.train.processes import join_processes

        options |= {"quantization": config.quantization, "device": str(join_processes().device)}
    model = load_model(config.model, window=config.window, **options)
    if not isinstance(model, Trainable):
        raise ModelError(f"'{config.model}' ({model.card.family}) can be benched but not trained here")
    return model


def _fresh_vocabulary(config: TrainStageConfig, utterances: Sequence[Utterance]) -> Vocabulary:
    (language, _), *_ = Counter(utterance.language for utterance in utterances).most_common(1) or [(None, 0)]
    texts = [write_target(u.text, config.target_form, u.language) for u in utterances]
    vocabulary = Vocabulary.from_texts(texts, config.vocabulary_normalizer or normalizer_for_targets(language))
    logger.info(
        "fresh head over %d characters of the training transcripts, normalizer '%s': %s",
        len(vocabulary.characters),
        vocabulary.normalizer,
        "".join(vocabulary.characters[:100]),
    )
    return vocabulary


def _vocabulary_facts(vocabulary: Vocabulary, dev: Sequence[Utterance], form: TargetForm) -> dict[str, Any]:
    """What the head writes and what of dev it cannot, which is said."""
    unknown = vocabulary.unknown(write_target(utterance.text, form, utterance.language) for utterance in dev)
    if unknown:
        most = ", ".join(f"'{character}' {count}" for character, count in unknown.most_common(5))
        logger.warning(
            "dev transcripts hold %d characters that the training transcripts lack and the head cannot write (%s)",
            unknown.total(),
            most,
        )
    return {
        "normalizer": vocabulary.normalizer,
        "characters": len(vocabulary.characters),
        "unknown_in_dev": dict(unknown.most_common()),
    }


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


def budget_seconds(config: TrainStageConfig) -> float | None:
    """Wall-clock seconds of the budget; gpu-hours are shared by the processes of a distributed run."""
    if config.budget is None:
        return None
    if "gpu-" not in config.budget:
        return parse_budget(config.budget)
    from asr_headroom.train.processes import join_processes

    return parse_budget(config.budget, num_gpus=join_processes().num_processes)
