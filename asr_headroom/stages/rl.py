"""``rl``: let a recogniser learn from the errors of its own hypotheses, on the training loop that ``train`` runs.

Budget, dev selection, guard, resume and delivery are those of :mod:`asr_headroom.stages.train`; the objective is
:mod:`asr_headroom.rl.objective`. Read :func:`rl` first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from asr_headroom.analysis.keywords import read_keywords
from asr_headroom.config import to_mapping
from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import ConfigError, TrainingError
from asr_headroom.metrics.keywords import Keywords
from asr_headroom.models.protocols import Trainable
from asr_headroom.models.registry import load_model
from asr_headroom.models.vocabulary import Vocabulary
from asr_headroom.rl.config import RlConfig
from asr_headroom.rl.reward import Reward, mean_reference_lengths
from asr_headroom.stages.train import SettingRunner, TrainStageConfig, train_with
from asr_headroom.stages.train_setup import load_from_registry
from asr_headroom.text.normalize import Normalizer, get_normalizer, normalizer_for_language
from asr_headroom.text.units import primary_subtag

__all__ = ["RlStageConfig", "check_keywords", "make_reward", "rl"]

if TYPE_CHECKING:
    from asr_headroom.train.loop import TrainingOutcome

logger = logging.getLogger(__name__)

_LEARNING_RATE = {"lora": 5e-6, "full": 1e-6}
"""The study's rate for its smaller model with updates of low rank; a fifth of it for all weights."""


@dataclass(frozen=True, kw_only=True)
class RlStageConfig(RlConfig, TrainStageConfig):
    """Let a recogniser learn from the errors of its own hypotheses."""

    init: str = ""
    """Hub id or folder to start from; a folder with low-rank updates is merged first."""

    model: str = ""
    """Another name of init."""

    method: Literal["lora", "full"] = "lora"
    """lora: new low-rank updates; full: all weights."""

    learning_rate: float | None = None
    """Peak rate of AdamW; the default depends on the method (lora 5e-6, full 1e-6), and is lower than in train."""

    output: str = "runs/rl"
    """Folder of this run."""

    def __post_init__(self) -> None:
        problems = []
        if not (self.init or self.model) or (self.init and self.model and self.init != self.model):
            problems.append("give the model to start from, once, as --init: a hub id or a folder")
        for name in ("init", "model"):
            object.__setattr__(self, name, self.init or self.model)
        if self.vocabulary != "checkpoint":
            problems.append("vocabulary from-data has no hypotheses to learn from; train the fresh head first")
        for name in ("label_smoothing", "kl"):
            if getattr(self, name):
                other = "policy_kl" if name == "kl" else "cross_entropy"
                problems.append(f"{name} is of the supervised loss; here it is {other}")
        if self.nonspeech_share:
            problems.append("nonspeech_share is of the supervised loss; over silence no hypothesis is better than none")
        if self.fsdp:
            problems.append("fsdp is of the supervised loss; hypotheses are drawn with whole weights")
        if self.torch_compile:
            problems.append("torch_compile is of the supervised loss; hypotheses are drawn token by token")
        for check in (RlConfig.__post_init__, TrainStageConfig.__post_init__):
            try:
                check(self)
            except ConfigError as error:
                problems.append(str(error))
        if self.policy_kl and self.method == "full":
            problems.append("policy_kl compares with the model under its low-rank updates; take method lora")
        if problems:
            raise ConfigError("\n".join(problems))

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate, or the method's default here, which is lower than in supervised training."""
        return self.learning_rate if self.learning_rate is not None else _LEARNING_RATE[self.method]


def rl(config: RlStageConfig, *, clock: Callable[[], float] = time.monotonic) -> Path:
    """Runs or resumes the training; returns the folder of the model that is delivered.

    Args:
        config: model, data, settings.
        clock: for the budget and the minutes.

    Raises:
        AsrHeadroomError: data, model, budget or disk do not allow it; the message says which and what to do.
    """
    check_keywords(config)
    return train_with(config, _RlRunner(clock=clock))


def check_keywords(config: RlStageConfig) -> None:
    """The file of keywords is there and holds something, before data and model are read.

    Raises:
        ConfigError: it is not, or does not.
    """
    path = config.reward.keywords
    if path and not Path(path).is_file():
        raise ConfigError(f"reward.keywords is '{path}', which is no file; give a text file with one word per line")
    if path and not Path(path).read_bytes().strip():
        raise ConfigError(f"reward.keywords is '{path}', which is empty; write one word per line into it")


class _RlRunner(SettingRunner):
    """Runs or resumes one training with the objective of reinforcement learning."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(_load_start, clock=clock)

    def __call__(
        self, config: TrainStageConfig, *, facts: Mapping[str, Any] | None = None, **options: Any
    ) -> TrainingOutcome:
        from asr_headroom.rl.objective import policy_objective
        from asr_headroom.rl.record import RolloutRecord

        assert isinstance(config, RlStageConfig)
        utterances = self.setup(config).train_data.utterances
        settings = _rl_config(config)
        _check_languages(settings, utterances)
        comes_again = config.num_train_epochs * config.updates_per_rollout > 1 or config.max_steps is not None
        return super().__call__(
            config,
            facts={**(facts or {}), "rl": to_mapping(settings) | _keywords_facts(settings)},
            steps_per_batch=config.updates_per_rollout,
            make_objective=policy_objective(
                settings,
                make_reward(config, utterances),
                seed=config.seed,
                record=RolloutRecord(Path(options["directory"]) / "rollouts.jsonl"),
                recurring=utterances if comes_again and not config.augment.is_on else (),
            ),
            **options,
        )


def _keywords_facts(config: RlConfig) -> dict[str, Any]:
    """What was in the file of keywords: a run with another is another run."""
    path = config.reward.keywords
    return {"keywords_sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()} if path else {}


def make_reward(config: RlStageConfig, utterances: list[Utterance]) -> Reward:
    """The reward of a config, with the normaliser of each utterance's language, or the one that the config names.

    Args:
        config: weights, keywords, normaliser.
        utterances: that are trained on; they say how long a reference is on average.

    Raises:
        ConfigError: the normaliser is unknown.
        UsageError: the file of keywords is not usable.
    """

    def normalizer_of(language: str | None) -> Normalizer:
        return get_normalizer(config.normalizer) if config.normalizer else normalizer_for_language(language)

    keywords: dict[str, Keywords] = {}
    if config.reward.keywords:
        for language in {utterance.language for utterance in utterances}:
            normalizer = normalizer_of(language)
            keywords[normalizer.id] = read_keywords(Path(config.reward.keywords), normalizer)
    return Reward(
        config.reward,
        normalizer_of,
        mean_lengths=mean_reference_lengths(utterances, normalizer_of),
        keywords=keywords,
    )


def _check_languages(config: RlConfig, utterances: list[Utterance]) -> None:
    found = {primary_subtag(utterance.language) for utterance in utterances if utterance.language}
    unknown = sorted(config.weights_by_language().keys() - found)
    if unknown:
        raise ConfigError(
            f"language_weights weighs {', '.join(unknown)}, which the training data does not have; "
            f"it has {', '.join(sorted(found)) or 'no languages'}"
        )


def _load_start(config: TrainStageConfig, vocabulary: Vocabulary | None) -> Trainable:
    """The model to start from; low-rank updates that it has are merged and written beside the run.

    New updates then name that folder as their base: with the original base they would be another model.
    """
    from asr_headroom.models.checkpoints import read_adapter_base
    from asr_headroom.rl.objective import check_model
    from asr_headroom.train.processes import join_processes

    assert isinstance(config, RlStageConfig)
    source = config.init
    if read_adapter_base(source):
        merged = Path(config.output) / "init"
        with join_processes().main_process_first():
            if not merged.exists():
                _write_merged(source, merged)
        _check_merged(source, merged)
        source = str(merged)
    model = load_from_registry(dataclasses.replace(config, init=source, model=source), vocabulary)
    # The divergence wants updates of low rank, which are not attached yet.
    return check_model(model, dataclasses.replace(_rl_config(config), policy_kl=0.0))


def _write_merged(source: str, target: Path) -> None:
    from asr_headroom.models.lora import merge_lora
    from asr_headroom.train.checkpoint import CheckpointFolder

    logger.info("%s holds low-rank updates: merged into their base, in %s", source, target)
    merged = merge_lora(load_model(source))  # type: ignore[type-var]
    CheckpointFolder(target.parent).export_model(merged, target, {"merged_from": source})  # type: ignore[arg-type]


def _check_merged(source: str, folder: Path) -> None:
    from asr_headroom.train.checkpoint import FACTS_FILE

    try:
        stored = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))["merged_from"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{folder}: cannot be read ({error}); delete it and run the same command again") from error
    if stored != source:
        raise TrainingError(f"{folder}: holds '{stored}' merged, not '{source}'; choose another --output")


def _rl_config(config: RlStageConfig) -> RlConfig:
    return RlConfig(**{spec.name: getattr(config, spec.name) for spec in dataclasses.fields(RlConfig)})
