"""Settings of ``train``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from asr_headroom.audio.augment import AugmentConfig
from asr_headroom.budget import parse_budget
from asr_headroom.errors import ConfigError
from asr_headroom.models.quantization import Quantization
from asr_headroom.text.targets import TargetForm
from asr_headroom.train.config import TrainConfig

__all__ = ["TrainStageConfig", "budget_seconds"]

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

    nonspeech_share: float = 0.0
    """Share of generated silence and noise with an empty transcript in the training data, against made-up words over
    them; 0.02 is plenty."""

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
        if self.quantization != "none" and self.torch_compile:
            raise ConfigError("quantization was not tried with torch_compile; leave one of them out")
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
        if not 0 <= self.nonspeech_share < 1:
            raise ConfigError(f"nonspeech_share is {self.nonspeech_share}; it must be at least 0 and below 1")
        if repeated := [name for name in dict.fromkeys(self.train) if self.train.count(name) > 1]:
            raise ConfigError(f"train names {', '.join(repeated)} twice; name each once, train_weights repeat it")
        if self.replay and self.replay in self.train:
            raise ConfigError(f"replay and train both name '{self.replay}'; replay is other data, of the base's domain")
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


def budget_seconds(config: TrainStageConfig) -> float | None:
    """Wall-clock seconds of the budget; gpu-hours are shared by the processes of a distributed run."""
    if config.budget is None:
        return None
    if "gpu-" not in config.budget:
        return parse_budget(config.budget)
    from asr_headroom.train.processes import join_processes

    return parse_budget(config.budget, num_gpus=join_processes().num_processes)
