"""One optimiser step: gradient, clip, update, and what regularisation does to the weights after it.

Where memory does not hold a micro-batch, micro-batches are halved and the step is begun again: its utterances and
its gradient stay what they were, as the loss is a sum over them however they are cut. The size that fits is remembered,
so that a resumed run does not try the larger one again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch.distributed.tensor import DTensor

from asr_headroom.errors import DivergedError, TrainingError
from asr_headroom.models.out_of_memory import is_out_of_memory, release_memory
from asr_headroom.models.protocols import Trainable
from asr_headroom.train.averaging import WeightAverage
from asr_headroom.train.compilation import CompiledLayers
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.feed import Feed, StepBatches
from asr_headroom.train.objectives import Objective, StepTotals
from asr_headroom.train.optimizer import learning_rate_at, make_optimizer, move_weights, set_learning_rate
from asr_headroom.train.processes import Processes
from asr_headroom.train.regularization import PullToStart
from asr_headroom.train.sharding import ShardedWeights, gathered, shared_out

__all__ = ["Stepper"]

logger = logging.getLogger(__name__)


class Stepper:
    """Takes the steps of one run.

    Args:
        model: stands at its start: weights are pulled back to where they are now.
        objective: what a step minimises.
        config: of the optimiser and of regularisation.
        accelerator: the processes.
        feed: cuts a step's utterances into micro-batches; made to cut smaller ones.
        on_smaller: told the new number of rows before anything is computed with it.
        sharded: where the model's weights are shards, of what.
    """

    def __init__(
        self,
        model: Trainable,
        objective: Objective,
        config: TrainConfig,
        accelerator: Accelerator,
        feed: Feed,
        *,
        on_smaller: Callable[[int], None],
        sharded: ShardedWeights | None = None,
    ) -> None:
        self._module, self._sharded = model.module, sharded
        self.objective, self._config, self._feed, self._on_smaller = objective, config, feed, on_smaller
        self._accelerator, self._processes = accelerator, Processes(accelerator)
        self._optimizer = accelerator.prepare_optimizer(make_optimizer(model.module, config))
        self._compiled = CompiledLayers(model.module, accelerator.device) if config.torch_compile else None
        self._pull = PullToStart(self._optimizer, config.l2_sp) if config.l2_sp else None
        self._average = WeightAverage(model.module, config.ema) if config.ema else None

    def take(self, batches: StepBatches, total_steps: int) -> tuple[StepTotals, float, float]:
        """One step; returns what it saw, the gradient's norm and the learning rate.

        Raises:
            DivergedError: the loss is no number.
            TrainingError: memory does not hold a single utterance.
        """
        number = batches.number
        rate = learning_rate_at(number, total_steps, self._config)
        set_learning_rate(self._optimizer, rate)
        totals = self.accumulate(batches)
        if not math.isfinite(totals.loss):
            raise DivergedError(
                f"step {number + 1}: the loss is {totals.loss}; lower learning_rate (now {rate:.1e}) "
                "or check the data with `asr-headroom data validate --deep`",
                step=number + 1,
                total_steps=total_steps,
            )
        norm = self._clip()
        move_weights(self._optimizer)
        self._optimizer.zero_grad()
        if self._pull:
            self._pull.step()
        if self._average:
            self._average.update(number)
        return totals, norm, rate

    def accumulate(self, batches: StepBatches) -> StepTotals:
        """The gradient of one step, in smaller micro-batches where memory does not hold those given.

        Raises:
            TrainingError: it does not hold a single utterance.
        """
        while True:
            if max(batch.num_utterances for batch in batches.batches) > self._feed.max_rows:
                batches = self._feed.step(batches.number)
            # Dropout is a function of seed, step and process: a resumed run draws what the other would have drawn.
            torch.manual_seed(hash((self._config.seed, batches.number, self._processes.index)))
            self.objective.prepared.train()
            try:
                with self._compiled.at_work() if self._compiled else nullcontext():
                    return self.objective.accumulate(batches)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                reason = " ".join(str(error).split())[:200]
                if self._sharded:
                    raise TrainingError(
                        f"memory does not hold a micro-batch ({reason}), and with fsdp the other processes are in the "
                        "middle of theirs; run the same command again with a smaller per_device_train_batch_size and "
                        "more gradient_accumulation_steps in another --output, or turn on gradient_checkpointing"
                    ) from error
            # Of some micro-batches the gradient was added already; the step begins again without.
            self._optimizer.zero_grad()
            release_memory()
            self._halve(reason)

    @contextmanager
    def kept_weights(self) -> Iterator[None]:
        """Inside, the model's weights are those to evaluate and to keep: whole, and their average where one is taken.

        All processes enter together.
        """
        with ExitStack() as stack:
            if self._sharded:
                stack.enter_context(self._sharded.whole())
            if self._average:
                stack.enter_context(self._average.in_place())
            yield

    @contextmanager
    def whole_weights(self) -> Iterator[None]:
        """Inside, the model's weights are whole, as they train; :meth:`load_state_dict` takes what is put into them."""
        with self._sharded.whole() if self._sharded else nullcontext():
            yield

    def end(self) -> None:
        """Leaves the model with whole weights, as they train; no step is taken after it."""
        self._optimizer.zero_grad()
        self._optimizer.state.clear()
        if self._sharded:
            self._sharded.gather()
            self._sharded = None

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs besides the weights; all processes call it inside :meth:`kept_weights`."""
        optimizer = self._optimizer.state_dict()
        return {
            "optimizer": gathered(optimizer, keep=self._processes.is_main) if self._sharded else optimizer,
            "objective": self.objective.state_dict(),
            "average": self._average.state_dict() if self._average else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint whose weights the model has; call it inside :meth:`whole_weights`."""
        optimizer = state["optimizer"]
        if self._sharded:
            self._sharded.take()
            optimizer = shared_out(optimizer, self._optimizer)
        self._optimizer.load_state_dict(optimizer)
        self.objective.load_state_dict(state["objective"])
        if self._average:
            self._average.load_state_dict(state["average"])

    def _clip(self) -> float:
        """Scales the gradient down where it is too long; returns how long it was, over all processes."""
        norm = self._accelerator.clip_grad_norm_(self._module.parameters(), self._config.max_grad_norm)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def _halve(self, reason: str) -> None:
        rows = self._feed.max_rows
        if rows == 1:
            raise TrainingError(
                f"memory does not hold the gradient of a single utterance ({reason}); leave out the longest with "
                "a shorter manifest, turn on gradient_checkpointing, or take method lora or a smaller model"
            )
        self._feed.max_rows = rows // 2
        self._on_smaller(rows // 2)
        if self._processes.is_main:
            logger.warning(
                "memory does not hold %d utterances at once (%s); going on with %d and more accumulation, the gradient "
                "stays the same",
                rows,
                reason,
                rows // 2,
            )
