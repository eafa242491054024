"""What reinforcement learning would take, said before a weight is loaded: ``rl --dry-run``."""

from __future__ import annotations

import dataclasses

from asr_headroom.stages.forecast import TrainingForecast, forecast_training
from asr_headroom.stages.rl import RlStageConfig, check_keywords

__all__ = ["forecast_rl"]

_DRAWING_SHARE = 1 / 3
"""Of a scoring pass with gradient, which goes through the decoder about three times: drawing goes forward alone."""
_UNCERTAINTY = (3.0, 2.0)
"""Factors either way for time and memory, not fitted to anything: how many hypotheses differ is known to nobody before,
a drawn token costs more than a scored one, and the untrained may talk on to the limit."""


def forecast_rl(config: RlStageConfig) -> TrainingForecast:
    """Steps, minutes and memory: audio once per utterance, the text once per hypothesis, drawn and scored.

    All hypotheses are taken to be different, as long as their reference, and worth scoring.

    Raises:
        AsrHeadroomError: see :func:`asr_headroom.stages.forecast.forecast_training`.
    """
    from asr_headroom.models.checkpoints import read_adapter_base

    check_keywords(config)
    # Low-rank updates are merged before anything else, and what is then trained has their base's dimensions.
    start = read_adapter_base(config.init) or config.init
    config = dataclasses.replace(config, init=start, model=start)
    scored = float(config.num_rollouts) + bool(config.reference_in_list)
    drawn = _DRAWING_SHARE * scored / config.updates_per_rollout
    time = scored + drawn + bool(config.cross_entropy) + _DRAWING_SHARE * scored * bool(config.policy_kl)
    memory = min(scored, max(1.0, config.score_batch_size / config.per_device_train_batch_size))
    epochs = config.num_train_epochs * config.updates_per_rollout
    forecast = forecast_training(dataclasses.replace(config, num_train_epochs=epochs), copies=(time, memory))
    return dataclasses.replace(forecast, uncertainty=_UNCERTAINTY)
