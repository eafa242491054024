"""Settings of supervised training, under Hugging Face's names. Torch-free, so that the command line can read it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from asr_headroom.budget import parse_budget
from asr_headroom.errors import ConfigError
from asr_headroom.models.lora import LoraConfig

__all__ = ["GuardConfig", "Method", "TrainConfig"]

Method = Literal["lora", "full", "scratch"]

_DEFAULT_LEARNING_RATE = {"lora": 1e-4, "full": 1e-5, "scratch": 5e-4}
"""The study's rates (SPEC §2.2)."""


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """Choice of what is delivered: the base, the fine-tuned model, or a point between them."""

    enabled: bool = True
    """Off delivers the best step as it is."""

    points: int = 5
    """Points measured on the line from the base to the fine-tuned weights, the fine-tuned end included."""

    utterances: int = 200
    """Of dev and of each guard set, at most; fewer where the budget asks for it."""

    long_form: int = 12
    """Recordings of 40 to 60 s joined of dev utterances, at most, for families that hear them whole; 0 looks at none.
    With fewer than about 12 no loss is certain enough to object."""

    margin: float = 0.5
    """Points of error rate that a guard set may lose for a gain ten times as large; 0 tolerates none beyond noise."""

    every_eval: bool = False
    """Guard sets are measured at each evaluation too, and training stops once harm beyond the margin is certain."""

    def __post_init__(self) -> None:
        problems = []
        if self.points < 1:
            problems.append(f"guard.points is {self.points}; it must be at least 1, the fine-tuned end")
        if self.utterances < 1:
            problems.append(f"guard.utterances is {self.utterances}; it must be at least 1")
        if self.long_form < 0:
            problems.append(f"guard.long_form is {self.long_form}; it must be at least 0")
        if not 0 <= self.margin < math.inf:
            problems.append(f"guard.margin is {self.margin}; it must be at least 0 and finite")
        if problems:
            raise ConfigError("\n".join(problems))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a model is fine-tuned."""

    method: Method = "lora"
    """lora: low-rank updates; full: all weights; scratch: all weights, drawn anew."""

    learning_rate: float | None = None
    """Peak rate of AdamW; the default depends on the method (lora 1e-4, full 1e-5, scratch 5e-4)."""

    learning_rates: tuple[float, ...] = ()
    """Peak rates to try one after the other, each for all steps. Of those within one standard error of the
    best on dev the lowest goes on. A budget is shared."""

    num_train_epochs: float = 1.0
    """Passes over the training data; the ceiling when a budget is given."""

    max_steps: int | None = None
    """Optimiser steps, instead of epochs."""

    budget: str | None = None
    """Wall-clock limit of the whole training, evaluation included: 45m, 1h30m, 2.5gpu-h."""

    per_device_train_batch_size: int = 16
    """Utterances in one forward pass."""

    gradient_accumulation_steps: int = 1
    """Forward passes per optimiser step; the gradient is that of the whole batch, whatever this is."""

    warmup_ratio: float = 0.1
    """Share of the steps over which the rate rises from 0."""

    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "linear"
    """How the rate falls after the warm-up."""

    weight_decay: float = 0.0
    """Decoupled decay of matrices; never of biases and norms."""

    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""

    optim: Literal["adamw", "adamw-8bit", "paged-adamw-8bit"] = "adamw"
    """adamw: fused, states in float32; the others keep them in 8 bits, by bitsandbytes."""

    freeze: tuple[str, ...] = ()
    """Parts whose weights stay where they are: feature_extractor, encoder, projector, decoder, head, or a module."""

    layer_decay: float = 1.0
    """Factor on the learning rate for each layer further from the output; 1 treats all alike."""

    label_smoothing: float = 0.0
    """Share of each target spread over the whole vocabulary."""

    l2_sp: float = 0.0
    """Decoupled pull of each weight to where it started, as weight_decay pulls to 0 (L2-SP)."""

    kl: float = 0.0
    """Weight of the divergence from the base's predictions, in nats per target token; costs a second forward pass."""

    ema: float = 0.0
    """Decay of a moving average of the weights, which is then what is evaluated and delivered; 0 takes none."""

    average_checkpoints: int = 0
    """At the end, the mean of so many of the last evaluated checkpoints is tried on dev too; 0 tries none."""

    mixed_precision: Literal["auto", "no", "bf16"] = "auto"
    """bf16 computes in bfloat16 over float32 weights; auto does so on a GPU."""

    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""

    torch_compile: bool = False
    """Layers of the training step go through torch.compile; needs a C++ compiler, on a GPU Triton. On CPUs it does not
    pay."""

    fsdp: bool = False
    """Weights, gradients and optimiser states are cut into shards over the processes; for full and scratch."""

    eval_steps: int | None = None
    """Steps between evaluations; by default a tenth of the run, and at most a quarter of a budget."""

    eval_utterances: int = 100
    """Fixed subset of the dev set that is transcribed at each evaluation."""

    early_stopping_patience: int | None = None
    """Evaluations without a new best after which training stops."""

    dataloader_num_workers: int = 2
    """Threads that read audio ahead of the training."""

    logging_steps: int = 10
    """Steps between lines of the log."""

    seed: int = 42
    """Of data order, dropout and new weights."""

    lora: LoraConfig = field(default_factory=LoraConfig)
    """Low-rank updates, for method lora."""

    guard: GuardConfig = field(default_factory=GuardConfig)
    """Choice of what is delivered, after training."""

    def __post_init__(self) -> None:
        problems = []
        at_least_one = (
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "logging_steps",
            "eval_utterances",
            "dataloader_num_workers",
        )
        problems += [f"{n} is {getattr(self, n)}; it must be at least 1" for n in at_least_one if getattr(self, n) < 1]
        for name in ("learning_rate", "max_steps", "eval_steps", "num_train_epochs", "early_stopping_patience"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                problems.append(f"{name} is {value}; it must be above 0 and finite")
        if not all(0 < rate < math.inf for rate in self.learning_rates):
            problems.append(f"learning_rates is {list(self.learning_rates)}; each must be above 0 and finite")
        if len(set(self.learning_rates)) < len(self.learning_rates):
            problems.append(f"learning_rates is {list(self.learning_rates)}; name each rate once")
        if self.learning_rates and self.learning_rate is not None:
            problems.append("learning_rate and learning_rates are both given; give one of them")
        if not self.max_grad_norm > 0:
            problems.append(f"max_grad_norm is {self.max_grad_norm}; it must be above 0")
        if not 0 <= self.seed < 2**63:
            problems.append(f"seed is {self.seed}; it must be in [0, 2^63)")
        if not 0 <= self.warmup_ratio <= 1:
            problems.append(f"warmup_ratio is {self.warmup_ratio}; it must be in [0, 1]")
        for name in ("weight_decay", "l2_sp", "kl"):
            if not 0 <= getattr(self, name) < math.inf:
                problems.append(f"{name} is {getattr(self, name)}; it must be at least 0 and finite")
        for name in ("label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                problems.append(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        if self.average_checkpoints < 0 or self.average_checkpoints == 1:
            problems.append(f"average_checkpoints is {self.average_checkpoints}; it must be 0, or at least 2")
        if not 0 < self.layer_decay <= 1:
            problems.append(f"layer_decay is {self.layer_decay}; it must be above 0 and at most 1")
        if self.method == "scratch":
            problems += [
                f"{name} holds a model near its base, and method scratch has none; leave it out"
                for name in ("l2_sp", "kl")
                if getattr(self, name)
            ]
        problems += self._problems_of_shards() + self._problems_of_compiling()
        try:
            if self.budget is not None:
                parse_budget(self.budget)
        except ConfigError as error:
            problems.append(str(error))
        if problems:
            raise ConfigError("\n".join(problems))

    def _problems_of_shards(self) -> list[str]:
        """What is not made for weights in shards."""
        if not self.fsdp:
            return []
        refused = {
            "method lora": (self.method == "lora", "its updates are small: leave fsdp out"),
            f"optim {self.optim}": (self.optim != "adamw", "it packs blocks of whole tensors: take optim adamw"),
            "ema": (self.ema, "leave it out; average_checkpoints averages checkpoints on disk"),
            "kl": (self.kl, "it keeps a whole copy of the base on each process; l2_sp holds weights near the base"),
        }
        return [f"{name} does not go with fsdp: {why}" for name, (asked, why) in refused.items() if asked]

    def _problems_of_compiling(self) -> list[str]:
        """What was not tried with compiled layers."""
        refused = {"fsdp": self.fsdp, "kl": self.kl, "gradient_checkpointing": self.gradient_checkpointing}
        asked = [name for name, value in refused.items() if value and self.torch_compile]
        return [f"{name} was not tried with torch_compile; leave one of them out" for name in asked]

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate, or the method's default."""
        return self.learning_rate if self.learning_rate is not None else _DEFAULT_LEARNING_RATE[self.method]
