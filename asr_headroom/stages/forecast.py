"""What a training would take, said before a weight is loaded: ``train --dry-run``."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr_headroom.budget import format_minutes
from asr_headroom.errors import ConfigError, DataError
from asr_headroom.models.architecture import Architecture, read_architecture
from asr_headroom.stages.training_data import load_sources, make_mixture
from asr_headroom.stages.trials import TRIALS_SHARE
from asr_headroom.text.units import UNSPACED_LANGUAGES, primary_subtag
from asr_headroom.train.plan import Plan, make_plan

if TYPE_CHECKING:
    from asr_headroom.stages.train import TrainStageConfig

__all__ = ["TrainingForecast", "forecast_training"]

_PROMPT_TOKENS = 5
"""Start, language, task, no timestamps, and the end."""
_CHARACTERS_PER_TOKEN = {"spaced": 3.5, "unspaced": 1.0}
"""Roughly, as no tokenizer is read; the text is a small part of a step."""
_TRAINING_SHARE = 0.75
"""Of a budget; evaluations and the guard may take the rest, and what they take no dimension tells."""


@dataclass(frozen=True, kw_only=True)
class TrainingForecast:
    """The plan of a training that has not begun.

    Attributes:
        parameters: of the model.
        trainable_parameters: that move.
        utterances: in the training data that the model can hear whole.
        too_long: utterances beyond its window.
        audio_seconds: of the former.
        plan: steps and seconds of one of them.
        training_seconds: of all steps; evaluations and the guard come on top.
        peak_memory: bytes of one process, on the longest batch.
        device: that the forecast is for.
    """

    parameters: int
    trainable_parameters: int
    utterances: int
    too_long: int
    audio_seconds: float
    plan: Plan
    training_seconds: float
    peak_memory: int
    device: str

    def lines(self) -> list[str]:
        """For the terminal."""
        plan = self.plan
        epochs = plan.total_steps / plan.steps_per_epoch
        long = f", {self.too_long} too long for the model" if self.too_long else ""
        return [
            f"model: {self.parameters:,} parameters, {self.trainable_parameters:,} of them trained",
            f"data: {self.utterances:,} utterances, {format_minutes(self.audio_seconds)} of audio{long}",
            f"steps: {plan.total_steps:,} of {plan.batch_size} utterances ({epochs:.2f} epochs), "
            f"about {plan.step_seconds:.3g} s each on this {self.device}",
            f"training: about {format_minutes(self.training_seconds)}, evaluations and guard not counted",
            f"memory: about {self.peak_memory / 1e9:.1f} GB at most",
        ]


def forecast_training(config: TrainStageConfig) -> TrainingForecast:
    """Parameters, steps, minutes and memory, from the model's dimensions and the manifest's durations.

    The device's speed is measured in a second; no weight and no audio is read. A training that runs makes its plan from
    a probe of real steps instead, which is more exact.

    Raises:
        ConfigError: the model is to get a fresh head.
        ModelError: the model's dimensions are not known.
        DataError: the training data cannot be read, or nothing in it is short enough.
        TrainingError: the budget does not hold a step.
    """
    import torch

    from asr_headroom.stages.train import budget_seconds
    from asr_headroom.train.forecast import Workload, forecast_memory, forecast_step_seconds, resident_memory_now

    if config.vocabulary == "from-data":
        raise ConfigError("a dry run knows no fresh head; the training itself plans from a probe of its first steps")
    architecture = read_architecture(config.model)
    sources = load_sources(config)
    heard = [
        [u for u in source.loaded.manifest if u.measured_duration() <= architecture.max_duration] for source in sources
    ]
    for source, utterances in zip(sources, heard, strict=True):
        if not utterances:
            raise DataError(f"{source.name}: no utterance is at most {architecture.max_duration:g} s long")
    mixture = make_mixture(config, tuple(map(len, heard)), has_replay=sources[-1].is_replay)
    kept = [utterance for utterances in heard for utterance in utterances]
    windows = [_window(u.measured_duration(), architecture, config.window) for u in kept]
    tokens = [_tokens(u.text, u.language) for u in kept]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    typical = Workload.of(
        architecture,
        config,
        window_seconds=statistics.fmean(windows),
        tokens=round(statistics.fmean(tokens)),
        device=device,
    )
    longest = Workload.of(
        architecture,
        config,
        window_seconds=max(windows),
        tokens=min(max(tokens), architecture.max_target_positions),
        device=device,
    )
    step_seconds = forecast_step_seconds(typical)
    batch_size = config.per_device_train_batch_size * config.gradient_accumulation_steps
    budget = budget_seconds(config)
    share = TRIALS_SHARE / len(config.learning_rates) if config.learning_rates else 1.0
    plan = make_plan(
        config,
        batch_size=batch_size,
        steps_per_epoch=math.ceil((sum(mixture.quotas) if mixture else len(kept)) / batch_size),
        seconds_left=math.inf if budget is None else _TRAINING_SHARE * budget * share,
        step_seconds=step_seconds,
    )
    return TrainingForecast(
        parameters=architecture.parameters,
        trainable_parameters=typical.trainable_parameters,
        utterances=len(kept),
        too_long=sum(len(source.loaded.manifest) for source in sources) - len(kept),
        audio_seconds=sum(u.measured_duration() for u in kept),
        plan=plan,
        training_seconds=plan.total_steps * step_seconds * max(1, len(config.learning_rates)),
        peak_memory=forecast_memory(longest, overhead=resident_memory_now() if device == "cpu" else 0).total,
        device="GPU" if device == "cuda" else "CPU",
    )


def _window(seconds: float, architecture: Architecture, window: str) -> float:
    """What the encoder hears of a recording; fitted windows are whole seconds."""
    full = architecture.max_duration
    return full if window == "full" else min(full, max(1.0, math.ceil(seconds)))


def _tokens(text: str, language: str | None) -> int:
    unspaced = language is not None and primary_subtag(language) in UNSPACED_LANGUAGES
    return _PROMPT_TOKENS + math.ceil(len(text) / _CHARACTERS_PER_TOKEN["unspaced" if unspaced else "spaced"])
