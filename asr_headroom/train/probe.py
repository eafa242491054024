"""What one optimiser step costs, measured before the plan is made: seconds and the memory of the longest batch.

Gradients of a few batches are computed and thrown away, and an optimiser that moves nothing takes a step, so weights,
schedule and random numbers of the run are what they would have been without the probe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from asr_headroom.data.batching import StepOrder
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.feed import Feed, StepBatches
from asr_headroom.train.optimizer import make_optimizer, move_weights

__all__ = ["probe_step_seconds"]

_MIN_BATCHES = 2
_MAX_BATCHES = 12
_BUDGET_SHARE = 0.04


def probe_step_seconds(
    accumulate: Callable[[StepBatches], object],
    module: nn.Module,
    feed: Feed,
    order: StepOrder,
    config: TrainConfig,
    *,
    budget_seconds: float | None,
    agreed: Callable[[float], float] = lambda seconds: seconds,
    clock: Callable[[], float],
) -> float:
    """Mean seconds of an optimiser step over an epoch.

    The longest batch goes first, untimed and as slow as augmentation may make it: it warms up, and a batch too large
    for the memory fails now and not in an hour. Then batches at evenly spaced quantiles of length, so that their mean
    is that of the epoch.

    Args:
        accumulate: computes and adds the gradient of one step's batches.
        module: whose gradients they are; its weights stay as they are.
        feed: reads them.
        order: which utterances each step takes.
        config: of the optimiser.
        budget_seconds: of the run; the probe takes about 4 % of it, and at least two batches.
        agreed: makes a measured number the same on all processes, which must take equally many batches.
        clock: seconds.
    """
    lengths = order.batch_seconds()
    by_length = sorted(range(len(lengths)), key=lambda step: -lengths[step])
    optimizer = make_optimizer(module, config)  # its states are those of the run, which has none yet
    for group in optimizer.param_groups:
        group["lr"] = 0.0

    def take(steps: Iterable[StepBatches]) -> float:
        start = clock()
        for batches in steps:
            accumulate(batches)
            move_weights(optimizer)
            optimizer.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return clock() - start

    module.train()
    longest = agreed(take(feed.slowest(step) for step in by_length[:1]))
    affordable = _MIN_BATCHES if budget_seconds is None else int(_BUDGET_SHARE * budget_seconds / max(longest, 1e-9))
    count = min(max(affordable, _MIN_BATCHES), _MAX_BATCHES, len(lengths))
    quantiles = [by_length[int((index + 0.5) / count * len(lengths))] for index in range(count)]
    return take(feed.read(quantiles)) / count
