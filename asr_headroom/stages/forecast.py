"""What a training would take, said before a weight is loaded: ``train --dry-run``."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from asr_headroom.budget import format_minutes
from asr_headroom.errors import ConfigError, DataError
from asr_headroom.models.architecture import Architecture
from asr_headroom.models.network import Network, describe_model, network_of_whisper
from asr_headroom.models.vocabulary import Vocabulary, normalizer_for_targets
from asr_headroom.stages.expected_data import ExpectedSource, expected_sources, is_unspaced, target_tokens
from asr_headroom.stages.training_data import make_mixture
from asr_headroom.stages.trials import TRIALS_SHARE
from asr_headroom.train.plan import Plan, make_plan

if TYPE_CHECKING:
    from asr_headroom.stages.train import TrainStageConfig
    from asr_headroom.train.holding import Holding
    from asr_headroom.train.memory import MemoryForecast

__all__ = ["TrainingForecast", "forecast_training"]

_PROMPT_TOKENS = 5
"""Of Whisper: start, language, task, no timestamps, and the end."""
_TRAINING_SHARE = 0.75
"""Of a budget; evaluations and the guard may take the rest, and what they take no dimension tells."""
_UNCERTAINTY = {"whisper": (1.3, 1.2), "any": (2.0, 1.4)}
"""Factors either way for time and memory: a judgement, not an interval. Whisper's tensors are counted one by one. Of
the other families one training was timed (experiments/LOG.md): 1.8 times the seconds and 0.96 times the bytes that were
foretold; of eleven small models autograd kept 0.7 to 1.2 times the bytes."""
_FRESH_HEAD = {"spaced": 64, "unspaced": 4000}
"""Characters of a fresh head where no transcript is at hand; few of a model's weights hang on it."""


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
        processes: over which weights are cut into shards.
        device: that the forecast is for.
        uncertainty: factors either way for time and memory.
        source: where the model's dimensions are from, where that is no file at hand.
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
    processes: int = 1
    uncertainty: tuple[float, float] = _UNCERTAINTY["whisper"]
    source: str = ""

    def lines(self) -> list[str]:
        """For the terminal."""
        plan = self.plan
        epochs = plan.total_steps / plan.steps_per_epoch
        long = f", {self.too_long} too long for the model" if self.too_long else ""
        slow, large = self.uncertainty
        minutes = [format_minutes(self.training_seconds * factor) for factor in (1, 1 / slow, slow)]
        gigabytes = [f"{self.peak_memory * factor / 1e9:.1f}" for factor in (1, 1 / large, large)]
        return [
            f"model: {self.parameters:,} parameters, {self.trainable_parameters:,} of them trained",
            *([f"dimensions: {self.source}"] if self.source else []),
            f"data: {self.utterances:,} utterances, {format_minutes(self.audio_seconds)} of audio{long}",
            f"steps: {plan.total_steps:,} of {plan.batch_size} utterances ({epochs:.2f} epochs), "
            f"about {_seconds(plan.step_seconds or 0.0)} each on this {self.device}",
            f"training: about {minutes[0]} ({minutes[1]} to {minutes[2]}), evaluations and guard not counted",
            f"memory: about {gigabytes[0]} GB at most ({gigabytes[1]} to {gigabytes[2]})"
            + (f" on each of {self.processes} processes" if self.processes > 1 else ""),
        ]


def forecast_training(config: TrainStageConfig, *, copies: tuple[float, float] = (1.0, 1.0)) -> TrainingForecast:
    """Parameters, steps, minutes and memory, from the model's dimensions and the data's durations.

    The device's speed is measured in a second; no weight and no audio is read. A training that runs makes its plan from
    a probe of real steps instead, which is more exact.

    Args:
        config: of the training.
        copies: how often each text is gone through by the decoder in a step, for the time and for the memory.

    Raises:
        ModelError: the model's dimensions are not known.
        DataError: the training data cannot be read, or nothing in it is short enough.
        TrainingError: the budget does not hold a step.
    """
    import torch

    from asr_headroom.stages.train import budget_seconds
    from asr_headroom.train.regularization import bytes_of_copies

    # An unknown model is told before data are read; a fresh head's size is in the data.
    known = describe_model(config.model) if config.vocabulary != "from-data" else None
    sources = expected_sources(config)
    model = known or describe_model(config.model, fresh_vocabulary=_fresh_vocabulary(config, sources))
    sources = [source.made_for(model.max_duration) for source in sources]
    heard = [[i for i, seconds in enumerate(s.durations) if seconds <= model.max_duration] for s in sources]
    for source, indices in zip(sources, heard, strict=True):
        if not indices:
            raise DataError(f"{source.name}: no utterance is at most {model.max_duration:g} s long")
    mixture = make_mixture(config, tuple(map(len, heard)), has_replay=sources[-1].is_replay)
    seconds = [s.durations[i] for s, indices in zip(sources, heard, strict=True) for i in indices]
    tokens = [
        target_tokens(s.characters[i], s.language) for s, indices in zip(sources, heard, strict=True) for i in indices
    ]
    longest = min(model.max_duration, max(source.longest for source in sources))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    holding = _holding(model, config)
    cost = _cost(model, config, seconds, tokens, longest, device, copies, holding)
    batch_size = config.per_device_train_batch_size * config.gradient_accumulation_steps
    budget = budget_seconds(config)
    share = TRIALS_SHARE / len(config.learning_rates) if config.learning_rates else 1.0
    plan = make_plan(
        config,
        batch_size=batch_size,
        steps_per_epoch=math.ceil((sum(mixture.quotas) if mixture else len(seconds)) / batch_size),
        seconds_left=math.inf if budget is None else _TRAINING_SHARE * budget * share,
        step_seconds=cost.step_seconds,
    )
    return TrainingForecast(
        parameters=model.parameters,
        trainable_parameters=cost.trainable_parameters,
        utterances=len(seconds),
        too_long=sum(len(source.durations) for source in sources) - len(seconds),
        audio_seconds=sum(seconds),
        plan=plan,
        training_seconds=plan.total_steps * cost.step_seconds * max(1, len(config.learning_rates)),
        peak_memory=cost.memory.total
        + bytes_of_copies(config, parameters=model.parameters, trainable_parameters=cost.trainable_parameters)
        // holding.shards,
        processes=holding.shards,
        device="GPU" if device == "cuda" else "CPU",
        uncertainty=_UNCERTAINTY["whisper" if isinstance(model, Architecture) else "any"],
        source=model.source if isinstance(model, Network) else "",
    )


class _Cost(NamedTuple):
    """Of one optimiser step."""

    trainable_parameters: int
    step_seconds: float
    memory: MemoryForecast


def _cost(
    model: Architecture | Network,
    config: TrainStageConfig,
    seconds: Sequence[float],
    tokens: Sequence[int],
    longest: float,
    device: str,
    copies: tuple[float, float],
    holding: Holding,
) -> _Cost:
    """A typical batch's seconds and the longest batch's bytes, on this device."""
    from asr_headroom.train.forecast import Workload, forecast_memory, forecast_step_seconds, resident_memory_now
    from asr_headroom.train.forecast_network import (
        NetworkWorkload,
        forecast_network_memory,
        forecast_network_seconds,
    )

    overhead = resident_memory_now() if device == "cpu" else 0
    typical_tokens = round(statistics.fmean(tokens))
    # A profile states no longest transcript: it grows with the recording.
    most_tokens = max(*tokens, round(typical_tokens * longest / max(statistics.fmean(seconds), 1e-9)))
    if isinstance(model, Architecture):
        windows = [_window(value, model.max_duration, config.window) for value in seconds]
        typical = Workload.of(
            model,
            config,
            window_seconds=statistics.fmean(windows),
            tokens=round(copies[0] * (_PROMPT_TOKENS + typical_tokens)),
            holding=holding,
            device=device,
        )
        largest = Workload.of(
            model,
            config,
            window_seconds=_window(longest, model.max_duration, config.window),
            tokens=round(copies[1] * min(_PROMPT_TOKENS + most_tokens, model.max_target_positions)),
            holding=holding,
            device=device,
        )
        memory = forecast_memory(largest, overhead=overhead)
        return _Cost(typical.trainable_parameters, forecast_step_seconds(typical), memory)

    def batch(duration: float, targets: int) -> NetworkWorkload:
        return NetworkWorkload.of(
            model,
            config,
            seconds=duration,
            targets=targets,
            fresh_head=config.vocabulary == "from-data",
            holding=holding,
            device=device,
        )

    has_windows = math.isfinite(model.max_duration) and model.model_type == "whisper_ctc"
    heard = [_window(value, model.max_duration, config.window) if has_windows else value for value in seconds]
    longest = _window(longest, model.max_duration, config.window) if has_windows else longest
    usual = batch(statistics.fmean(heard), round(copies[0] * typical_tokens))
    memory = forecast_network_memory(batch(longest, round(copies[1] * most_tokens)), overhead=overhead)
    return _Cost(usual.trainable_parameters, forecast_network_seconds(usual), memory)


def _holding(model: Architecture | Network, config: TrainStageConfig) -> Holding:
    """What a process holds.

    Raises:
        ConfigError: a part to freeze has another name in this model, or nothing would be left to train.
    """
    from asr_headroom.train.holding import Holding
    from asr_headroom.train.parts import frozen_names
    from asr_headroom.train.processes import join_processes

    frozen = 0
    if config.freeze:
        named = dict((network_of_whisper(model) if isinstance(model, Architecture) else model).named)
        frozen = sum(named[name] for name in frozen_names(list(named), config.freeze))
        if config.method != "lora" and frozen == sum(named.values()):
            raise ConfigError(
                f"freeze: with {', '.join(config.freeze)} frozen nothing is left to train; name fewer parts"
            )
    processes = join_processes().num_processes if config.fsdp else 1
    return Holding.of(config, frozen_weights=frozen, processes=processes)


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value < 100 else format_minutes(value)


def _fresh_vocabulary(config: TrainStageConfig, sources: Sequence[ExpectedSource]) -> int:
    """Entries of a fresh head; where no transcript is at hand, about."""
    language = sources[0].language
    texts = [text for source in sources for text in source.texts or ()]
    if not texts:
        return _FRESH_HEAD["unspaced" if is_unspaced(language) else "spaced"]
    vocabulary = Vocabulary.from_texts(texts, config.vocabulary_normalizer or normalizer_for_targets(language))
    return len(vocabulary.tokens)


def _window(seconds: float, full: float, window: str) -> float:
    """What the encoder hears of a recording; fitted windows are whole seconds."""
    return full if window == "full" else min(full, max(1.0, math.ceil(seconds)))
