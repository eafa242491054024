"""What a training step will cost in seconds and bytes, before a weight is loaded.

:class:`Workload` says what one micro-batch looks like. :func:`forecast_memory` counts bytes;
:func:`forecast_step_seconds` divides the step's :class:`Work` by the speed that :func:`measure_speed` finds on the
device in about a second. ``benchmarks/forecast.py`` checks both against measurements. Not counted: reading audio,
evaluation, and the exchange between several processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from asr_headroom.errors import ConfigError
from asr_headroom.models.architecture import Architecture, Projection
from asr_headroom.models.lora import LoraConfig
from asr_headroom.train.config import Method, TrainConfig
from asr_headroom.train.holding import EVERYTHING, Holding
from asr_headroom.train.memory import MemoryForecast, forecast_memory, peak_memory_now, resident_memory_now

if TYPE_CHECKING:
    import torch

__all__ = [
    "MemoryForecast",
    "Work",
    "Workload",
    "forecast_memory",
    "forecast_step_seconds",
    "measure_speed",
    "peak_memory_now",
    "resident_memory_now",
    "step_work",
]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One micro-batch and how it is trained.

    Attributes:
        architecture: of the model.
        method: lora, full or scratch.
        rows: utterances in one forward pass.
        window_seconds: that the encoder hears, padding included.
        tokens: decoder input of a row, prompt and padding included.
        targets: supervised tokens of a row; by default all of them.
        micro_batches: forward passes per optimiser step.
        lora: rank, dropout and targets, for method lora.
        bf16: computes in bfloat16 over float32 weights.
        gradient_checkpointing: layers keep their input alone and are computed again in the backward pass.
        holding: what rests, how states are kept, and over how many processes.
        device: ``cpu`` or ``cuda``.
    """

    architecture: Architecture
    method: Method = "lora"
    rows: int
    window_seconds: float
    tokens: int
    targets: int | None = None
    micro_batches: int = 1
    lora: LoraConfig = field(default_factory=LoraConfig)
    bf16: bool = False
    gradient_checkpointing: bool = False
    holding: Holding = EVERYTHING
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.rows < 1 or self.tokens < 1 or self.micro_batches < 1 or not self.window_seconds > 0:
            raise ConfigError(f"{self}: needs rows, tokens and micro_batches of at least 1 and a window above 0 s")

    @classmethod
    def of(
        cls,
        architecture: Architecture,
        config: TrainConfig,
        *,
        window_seconds: float,
        tokens: int,
        holding: Holding = EVERYTHING,
        device: str = "cpu",
    ) -> Workload:
        """The workload of a training config, for micro-batches of this window and length."""
        on_gpu = not device.startswith("cpu")
        return cls(
            architecture=architecture,
            method=config.method,
            rows=config.per_device_train_batch_size,
            window_seconds=window_seconds,
            tokens=tokens,
            micro_batches=config.gradient_accumulation_steps,
            lora=config.lora,
            bf16=config.mixed_precision == "bf16" or (config.mixed_precision == "auto" and on_gpu),
            gradient_checkpointing=config.gradient_checkpointing,
            holding=holding,
            device=device,
        )

    @property
    def frames(self) -> int:
        """Encoder positions of the micro-batch."""
        return self.rows * self.architecture.frames(self.window_seconds)

    @property
    def positions(self) -> int:
        """Decoder positions of the micro-batch."""
        return self.rows * self.tokens

    @property
    def supervised(self) -> int:
        """Decoder positions with logits."""
        return self.rows * (self.tokens if self.targets is None else self.targets)

    @property
    def trains_all(self) -> bool:
        """All weights move."""
        return self.method != "lora"

    @property
    def trainable_parameters(self) -> int:
        """Weights that move."""
        if self.trains_all:
            return self.architecture.trainable_parameters(self.method) - self.holding.frozen_weights
        return self._updates(self.adapted())

    @property
    def update_parameters(self) -> int:
        """Weights of low-rank updates, those that rest included."""
        return self._updates(frozenset(m.name for m in self._targeted())) if not self.trains_all else 0

    @property
    def encoder_rests(self) -> bool:
        """No gradient reaches the encoder, though all other weights move."""
        return self.trains_all and self.holding.rests("model.encoder.layers.0.fc1")

    def adapted(self) -> frozenset[str]:
        """Names of the matrices with a low-rank update that moves."""
        if self.trains_all:
            return frozenset()
        return frozenset(matrix.name for matrix in self._targeted() if not self.holding.rests(matrix.name))

    def _targeted(self) -> list[Projection]:
        targets = self.lora.target_modules or ("q_proj", "k_proj", "v_proj", "out_proj")
        return self.architecture.lora_projections(targets)

    def _updates(self, names: frozenset[str]) -> int:
        matrices = [matrix for matrix in self.architecture.projections() if matrix.name in names]
        return sum(self.lora.rank * (matrix.inputs + matrix.outputs) for matrix in matrices)


class Work(NamedTuple):
    """What a step asks of a device, or what a device does in a second.

    Attributes:
        matmul: floating-point operations of matrix products.
        attention: floating-point operations of attention, its backward pass included.
        pointwise: elements taken through the other operations of a layer (norms, GELU, copies, sums), forward and
            backward.
        dropout: elements dropped out.
    """

    matmul: float
    attention: float
    pointwise: float
    dropout: float

    def seconds(self, speed: Work) -> float:
        """Time on a device of this speed."""
        return sum(amount / rate for amount, rate in zip(self, speed, strict=True))


def forecast_step_seconds(workload: Workload, speed: Work | None = None) -> float:
    """Seconds of one optimiser step on batches that are in memory already.

    Args:
        workload: a typical micro-batch (mean window, mean tokens).
        speed: of the device; measured now if not given.

    Raises:
        ModelError: a LoRA target is no matrix of the model.
    """
    return step_work(workload).seconds(speed or measure_speed(workload))


def step_work(workload: Workload) -> Work:
    """The work of one optimiser step: forward, backward, and the update of the weights.

    A matrix product costs one forward pass, one for the gradient of its input and, where the matrix moves, one for its
    own; attention costs 2.5 forward passes going back, as fused kernels compute it again.

    Raises:
        ModelError: a LoRA target is no matrix of the model.
    """
    shape, moving = workload.architecture, workload.trains_all
    frames, positions, width = workload.frames, workload.positions, shape.d_model
    adapted, again = workload.adapted(), float(workload.gradient_checkpointing)
    window, tokens = shape.frames(workload.window_seconds), workload.tokens
    back = 3 if moving else 2
    matmul = attention = pointwise = dropout = 0.0

    def redone(matrix: Projection) -> float:
        # Checkpointing stops computing again at what the backward pass needs last, which is the input of fc2.
        return 0.0 if matrix.name.endswith("fc2") else again

    encoder_moves = flows = moving and not workload.encoder_rests
    for layer in range(shape.encoder_layers):
        matrices = shape.encoder_projections(layer)
        flows = flows or any(matrix.name in adapted for matrix in matrices)
        passes = back if flows else 1
        for matrix in matrices:
            matmul += (passes + redone(matrix) * flows) * 2 * frames * matrix.inputs * matrix.outputs
        attention += ((3.5 + again) if flows else 1) * 4 * frames * window * width
        pointwise += (1 + again / 3 if flows else 1 / 3) * frames * width
    for layer in range(shape.decoder_layers):
        for matrix in shape.decoder_projections(layer):
            seen = frames if matrix.name.endswith(("encoder_attn.k_proj", "encoder_attn.v_proj")) else positions
            matmul += (back + redone(matrix)) * 2 * seen * matrix.inputs * matrix.outputs
        attention += (3.5 + again) * 4 * positions * (tokens + window) * width
        pointwise += (1 + again / 3) * (1.5 * positions + 0.2 * frames) * width
    for matrix in shape.lora_projections(sorted(adapted)) if adapted else ():
        cross = matrix.name.endswith(("encoder_attn.k_proj", "encoder_attn.v_proj"))
        seen = frames if cross or ".encoder." in matrix.name else positions
        matmul += 3 * 2 * seen * workload.lora.rank * (matrix.inputs + matrix.outputs)
        pointwise += 0.1 * seen * matrix.outputs
        dropout += seen * matrix.inputs * (1 + again) if workload.lora.dropout else 0.0
    # The convolutions; nobody wants the gradient of the features, which are the input of the first.
    matmul += (2 if encoder_moves else 1) * 2 * 2 * frames * 3 * shape.num_mel_bins * width
    matmul += (3 if encoder_moves else 1) * 2 * frames * 3 * width * width
    matmul += back * 2 * workload.supervised * width * shape.vocab_size
    pointwise += 0.4 * frames * width + 0.2 * workload.supervised * shape.vocab_size
    if shape.dropout:
        dropout += (2 * shape.encoder_layers * frames + 3 * shape.decoder_layers * positions) * width * (1 + again)
    micro = workload.micro_batches
    update = 0.5 * workload.trainable_parameters
    return Work(micro * matmul, micro * attention, micro * pointwise + update, micro * dropout)


def measure_speed(workload: Workload, *, seconds: float = 0.15, clock: Callable[[], float] = time.perf_counter) -> Work:
    """What the workload's device does per second, in its precision and at its widths; takes about a second.

    Args:
        workload: for device, precision, width, window.
        seconds: spent on each of the four measurements, in at least two calls.
        clock: in seconds.
    """
    import torch

    device = torch.device(workload.device)
    # The next thing drawn is what it would have been.
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        return _measure_speed(workload, device, seconds, clock)


def _measure_speed(workload: Workload, device: torch.device, seconds: float, clock: Callable[[], float]) -> Work:
    import torch
    from torch.nn import functional

    dtype = torch.bfloat16 if workload.bf16 else torch.float32
    width, window = workload.architecture.d_model, workload.architecture.frames(workload.window_seconds)
    heads, head = workload.architecture.encoder_heads, width // workload.architecture.encoder_heads
    # A GPU is only busy with the whole batch; a CPU is with a part of it, and would need long for the whole.
    on_gpu = device.type != "cpu"
    rows, used_heads = (min(workload.rows, 8), heads) if on_gpu else (1, min(heads, 4))
    tokens = workload.frames if on_gpu else max(64, min(workload.frames, 2**20 // width))

    def tensor(*size: int, dtype: torch.dtype = dtype) -> torch.Tensor:
        return torch.randn(size, device=device, dtype=dtype, requires_grad=True)

    def rate(amount: float, run: Callable[[], object]) -> float:
        taken: list[float] = []
        while len(taken) < 2 or sum(taken) < seconds:
            start = clock()
            run()
            _wait(device)
            taken.append(clock() - start)
        return amount / max(1e-9, min(taken))  # the fastest call: the others shared the device with somebody

    x, weight = tensor(tokens, width).detach(), tensor(4 * width, width).detach()
    q = tensor(rows, used_heads, window, head)
    stream, inner = tensor(tokens, width, dtype=torch.float32), tensor(tokens, 4 * width)
    scale = torch.ones(width, device=device, requires_grad=True)

    def attend() -> None:
        out = functional.scaled_dot_product_attention(q, q, q)
        torch.autograd.grad(out, q, out.detach())

    def layer() -> None:
        first = functional.layer_norm(stream, (width,), scale)
        copies = [(first.to(dtype) * 0.5).view(tokens, -1, head).transpose(0, 1).contiguous() for _ in range(3)]
        second = functional.layer_norm(stream + first, (width,), scale) + stream
        outputs = [second, *copies, functional.gelu(inner)]
        torch.autograd.grad(outputs, (stream, scale, inner), [output.detach() for output in outputs])

    def drop() -> None:
        out = functional.dropout(stream, 0.05)
        torch.autograd.grad(out, stream, out.detach())

    return Work(
        matmul=rate(8 * tokens * width * width, lambda: functional.linear(x, weight)),
        attention=rate(3.5 * 4 * rows * window * window * used_heads * head, attend),
        pointwise=rate(tokens * width, layer),
        dropout=rate(tokens * width, drop),
    )


def _wait(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()
