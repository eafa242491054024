"""Bytes of a training step: counted from the tensors that autograd saves in Whisper's forward pass, and measured.

The count follows transformers' Whisper with fused attention and PEFT's updates, part by part; a test compares it with
what autograd saves. :func:`forecast_memory` is the way in; :mod:`asr_headroom.train.forecast` holds the workload.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from asr_headroom.models.architecture import Projection

if TYPE_CHECKING:
    from asr_headroom.train.forecast import Workload

__all__ = ["MemoryForecast", "expected_peak_memory", "forecast_memory", "peak_memory_now", "resident_memory_now"]

_FLOAT = 4
"""Bytes of a weight, a gradient, an optimiser state, the residual stream: float32 whatever the autocast."""

_SPECTRUM_FLOATS = 1600
"""Alive for each 10 ms while the spectrum is taken: 400 windowed samples, complex bins, their power, with copies."""

_HEAP_SLACK = {"lora": 1.5, "full": 0.8, "scratch": 0.8}
"""On a CPU, what glibc's allocator holds beyond the live tensors, per byte of what a step allocates and frees; half of
it in bfloat16. Fitted to benchmarks/forecast.py: tensors of a few MB fall under its sliding threshold into one heap,
whose holes are not given back; gradients fill some of them. With MALLOC_MMAP_THRESHOLD_=262144 it is nearly nothing."""


_GROWTH = 1.18
"""How much a CPU process still grows after the longest batch was probed, as batches of many shapes leave holes in its
heap: 1.10 to 1.34 in the trainings of benchmarks/budget.py."""


@dataclass(frozen=True, kw_only=True)
class MemoryForecast:
    """Bytes of one training process.

    Attributes:
        weights: float32, low-rank updates included.
        gradients: of the weights that move.
        optimizer: the two states of AdamW. These three are of the whole model, though shards of them may be held.
        activations: saved by the forward pass for the backward pass, without the logits.
        logits: of supervised positions: their log-probabilities and, on the way back, two gradients.
        overhead: of the process itself, as handed in, and on a CPU what the allocator holds beyond the tensors.
        total: at the highest moment. The parts need not add up to it: gradients grow while activations shrink.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    overhead: int
    total: int


def forecast_memory(workload: Workload, *, overhead: int = 0) -> MemoryForecast:
    """Peak bytes of training steps.

    Args:
        workload: the largest micro-batch that will come.
        overhead: bytes that are there before the model (:func:`resident_memory_now` on a CPU).

    Raises:
        ModelError: a LoRA target is no matrix of the model.
    """
    shape, trainable, shards = workload.architecture, workload.trainable_parameters, workload.holding.shards
    stages = [stage._replace(gradients=stage.gradients // shards) for stage in _Tape(workload).stages()]
    gradients, states = trainable * _FLOAT, int(trainable * workload.holding.state_bytes)
    weights = (shape.parameters + workload.update_parameters) * _FLOAT
    held = (weights + states + (gradients if workload.micro_batches > 1 else 0)) // shards
    held += int(workload.rows * workload.window_seconds * 16_000) * _FLOAT  # the waveforms
    log_probs = workload.supervised * shape.vocab_size * _FLOAT
    evaluating = overhead
    if workload.device == "cpu":
        churn = sum(stage.saved for stage in stages) + 2 * log_probs + max(stage.working for stage in stages[1:-1])
        overhead += int(_HEAP_SLACK[workload.method] * churn / (2 if workload.bf16 else 1))
    total = overhead + held + _highest(stages, grow=workload.micro_batches == 1)
    if shards > 1:
        # Two layers at a time, and what is in none, are whole; between steps each process holds the whole model.
        layers = (
            (shape.encoder_layers, shape.encoder_layer_parameters),
            (shape.decoder_layers, shape.decoder_layer_parameters),
        )
        outside = shape.parameters - sum(count * size for count, size in layers)
        total += (outside + 2 * max(size for _, size in layers)) * _FLOAT
        total = max(total, evaluating + weights + (weights + states) // shards)
    return MemoryForecast(
        weights=weights,
        gradients=gradients,
        optimizer=states,
        activations=sum(stage.saved for stage in stages) - log_probs,
        logits=3 * log_probs,
        overhead=overhead,
        total=total,
    )


class _Stage(NamedTuple):
    """Bytes of one part of the forward pass; ``working`` lives only while that part is computed, there or back."""

    saved: int
    gradients: int = 0
    working: int = 0


def _highest(stages: Sequence[_Stage], *, grow: bool) -> int:
    """The highest moment of a backward pass, from the last stage to the first; ``grow``: gradients are new."""
    highest, gradients = 0, 0
    saved = sum(stage.saved for stage in stages)
    for stage in reversed(stages):
        gradients += stage.gradients if grow else 0
        highest = max(highest, saved + stage.working + gradients)
        saved -= stage.saved
    return highest


@dataclass(frozen=True)
class _Layer:
    """One layer of either side.

    Attributes:
        matrices: by what follows ``layers.N.`` in their names.
        parts: attention parts, each with the positions of its keys in the whole batch.
        tokens: positions of the layer's own stream in the whole batch.
        ffn: inner width.
        heads: of attention.
        parameters: weights.
    """

    matrices: dict[str, Projection]
    parts: tuple[tuple[str, int], ...]
    tokens: int
    ffn: int
    heads: int
    parameters: int


class _Tape:
    """What autograd saves, stage by stage."""

    def __init__(self, workload: Workload) -> None:
        self.work, self.shape = workload, workload.architecture
        self.adapted = workload.adapted()
        self.item = 2 if workload.bf16 else _FLOAT
        self.all = workload.trains_all
        self.width = self.shape.d_model

    def stages(self) -> Iterator[_Stage]:
        """The forward pass in its order: features, convolutions, encoder, decoder, logits."""
        frames, rests = self.work.frames, self.work.encoder_rests
        flows = self.all and not rests
        yield self._features()
        stage = self._convolutions()
        yield stage._replace(saved=0, gradients=0) if rests else stage
        for number in range(self.shape.encoder_layers):
            layer = self._encoder_layer(number)
            stage = self._layer(layer, flows, flows)
            yield stage._replace(saved=0, gradients=0) if rests else stage
            flows = not rests and (flows or self._moves(layer.matrices.values()))
        yield self._encoder_output(flows)
        encoder_flows, flows = flows, self.all
        yield self._embedding()
        for number in range(self.shape.decoder_layers):
            layer = self._decoder_layer(number)
            stage = self._layer(layer, flows, encoder_flows)
            # The gradient of the encoder's output: the sum so far and this layer's share.
            yield stage._replace(working=stage.working + 2 * frames * self.width * _FLOAT)
            flows = flows or encoder_flows or self._moves(layer.matrices.values())
        norm = self.work.positions * (self.width * _FLOAT + 8)
        yield _Stage(norm, 2 * self.width * _FLOAT if self.all else 0)
        yield self._logits()

    # ------------------------------------------------------------------ ends of the model

    def _features(self) -> _Stage:
        seconds = self.work.rows * self.work.window_seconds
        return _Stage(0, working=int(seconds * 100) * _SPECTRUM_FLOATS * _FLOAT)

    def _convolutions(self) -> _Stage:
        values = self.work.frames * (2 * self.shape.num_mel_bins + 5 * self.width)
        saved = values * self.item + self._mask(self.work.frames * self.width, self.shape.dropout, _FLOAT)
        saved += self.shape.stem_parameters * self.item if self.work.bf16 else 0
        working = 6 * self.work.frames * self.width * self.item
        if not self.all:
            return _Stage(0, working=working)
        return _Stage(saved, self.shape.stem_parameters * _FLOAT, working)

    def _encoder_output(self, flows: bool) -> _Stage:
        values = self.work.frames * self.width * _FLOAT
        keys = ("encoder_attn.k_proj", "encoder_attn.v_proj")
        reads = self.all or any(name.endswith(keys) for name in self.adapted)
        # In float32 all decoder layers save one tensor; a cast or a dropout makes copies, which the layers count.
        copied = self.work.bf16 or (not self.all and self.work.lora.dropout > 0)
        shared = values if self.work.gradient_checkpointing or (reads and not copied) else 0
        saved = values + 8 * self.work.frames if flows else 0
        return _Stage(saved + shared, 2 * self.width * _FLOAT if self.all else 0, working=2 * values)

    def _embedding(self) -> _Stage:
        positions = self.work.positions
        mask = self._mask(positions * self.width, self.shape.dropout, _FLOAT)
        if not self.all:
            return _Stage(0, working=mask)
        # The embedding's dense gradient joins that of the output projection, which is there already if tied.
        table = self.shape.vocab_size * self.width * _FLOAT
        own = self.shape.max_target_positions * self.width * _FLOAT
        tied = self.shape.tied
        return _Stage(16 * positions + mask, own + (0 if tied else table), working=table if tied else 0)

    def _logits(self) -> _Stage:
        supervised, matrix = self.work.supervised, self.shape.vocab_size * self.width
        log_probs = supervised * self.shape.vocab_size * _FLOAT
        if not self.all:
            return _Stage(log_probs, working=2 * log_probs)
        # The head computes in float32 under autocast too.
        return _Stage(log_probs + supervised * self.width * _FLOAT, matrix * _FLOAT, working=2 * log_probs)

    # ------------------------------------------------------------------ layers

    def _encoder_layer(self, number: int) -> _Layer:
        frames, shape = self.work.frames, self.shape
        matrices = _by_part(shape.encoder_projections(number))
        weights = shape.encoder_layer_parameters
        return _Layer(matrices, (("self_attn", frames),), frames, shape.encoder_ffn, shape.encoder_heads, weights)

    def _decoder_layer(self, number: int) -> _Layer:
        positions, shape = self.work.positions, self.shape
        parts = (("self_attn", positions), ("encoder_attn", self.work.frames))
        matrices = _by_part(shape.decoder_projections(number))
        weights = shape.decoder_layer_parameters
        return _Layer(matrices, parts, positions, shape.decoder_ffn, shape.decoder_heads, weights)

    def _layer(self, layer: _Layer, flows: bool, encoder_flows: bool) -> _Stage:
        """A layer's stage; the flags say whether its input and the encoder's output want a gradient."""
        saved = 0
        entering = flows
        for part, keys in layer.parts:
            wanted = flows or (encoder_flows and part == "encoder_attn")
            if wanted or self._moves(m for name, m in layer.matrices.items() if name.startswith(part)):
                saved += self._attention(layer, part, keys, fresh=not wanted, stream=flows, from_moving=encoder_flows)
                flows = True
        if flows or self._moves(layer.matrices.values()):
            saved += self._feed_forward(layer, fresh=not flows)
        moving = [matrix for matrix in layer.matrices.values() if matrix.name in self.adapted]
        updates = sum(self.work.lora.rank * (matrix.inputs + matrix.outputs) for matrix in moving)
        saved += updates * self.item if self.work.bf16 else 0
        gradients = (layer.parameters if self.all else updates) * _FLOAT
        working = 2 * layer.tokens * (layer.ffn * self.item + self.width * _FLOAT)
        if self.work.gradient_checkpointing:
            return _Stage(layer.tokens * self.width * _FLOAT if saved or entering else 0, gradients, working + saved)
        return _Stage(saved, gradients, working)

    def _attention(self, layer: _Layer, part: str, keys: int, *, fresh: bool, stream: bool, from_moving: bool) -> int:
        """Bytes of one attention part.

        Args:
            layer: it belongs to.
            part: its name.
            keys: positions that are attended to.
            fresh: nothing that enters wants a gradient.
            stream: the stream does.
            from_moving: the encoder's output does.
        """
        tokens, width = layer.tokens, self.width
        q, k, v, out = (layer.matrices[f"{part}.{name}"] for name in ("q_proj", "k_proj", "v_proj", "out_proj"))
        if part == "self_attn":
            saved = self._inputs(tokens, [q, k, v], fresh=fresh)
        else:
            saved = self._inputs(tokens, [q], fresh=not stream) + self._inputs(
                keys, [k, v], fresh=not from_moving, shared=True
            )
        saved += self._inputs(tokens, [out])
        saved += (2 * tokens + 2 * keys) * width * self.item + tokens * layer.heads * _FLOAT  # q, k, v, output, sums
        saved += self._mask(tokens * width, self.shape.dropout)
        saved += tokens * (width * _FLOAT + 8) if stream else 0  # the norm's input, its mean and deviation
        if self.shape.attention_dropout and self.work.device == "cpu":  # no fused kernel: the weights exist
            saved += 3 * _FLOAT * (keys // self.work.rows) * tokens * layer.heads
        return saved + self._casts([out] if fresh else [q, k, v, out])

    def _feed_forward(self, layer: _Layer, *, fresh: bool) -> int:
        fc1, fc2 = layer.matrices["fc1"], layer.matrices["fc2"]
        saved = self._inputs(layer.tokens, [fc1], fresh=fresh) + self._inputs(layer.tokens, [fc2])
        saved += layer.tokens * layer.ffn * self.item + self._mask(
            layer.tokens * layer.ffn, self.shape.activation_dropout
        )
        saved += 0 if fresh else layer.tokens * (self.width * _FLOAT + 8)
        return saved + self._mask(layer.tokens * self.width, self.shape.dropout) + self._casts([fc1, fc2])

    # ------------------------------------------------------------------ pieces

    def _inputs(self, tokens: int, readers: Sequence[Projection], *, fresh: bool = False, shared: bool = False) -> int:
        """Bytes kept of one tensor for the gradients of the matrices that read it.

        Args:
            tokens: its rows.
            readers: the matrices.
            fresh: the tensor itself wants no gradient.
            shared: it is counted elsewhere, unless copies are made.
        """
        values = tokens * readers[0].inputs
        moving = len(readers) if self.all else sum(matrix.name in self.adapted for matrix in readers)
        copies = moving if self.work.bf16 else int(moving > 0 and not shared)
        if self.all:
            return copies * values * self.item
        inner = moving * tokens * self.work.lora.rank * self.item
        if not self.work.lora.dropout:
            return inner + copies * values * self.item
        # Each update drops out its own copy, in float32; where the input wants a gradient, the mask is kept as well.
        mask = 0 if fresh else self._mask(values, self.work.lora.dropout, _FLOAT)
        return inner + moving * (values * self.item + mask)

    def _mask(self, values: int, probability: float, item: int | None = None) -> int:
        """On a CPU, autograd saves the scaled noise; a GPU's fused kernel saves a byte per value."""
        if not probability:
            return 0
        return values * ((item or self.item) if self.work.device == "cpu" else 1)

    def _casts(self, matrices: Sequence[Projection]) -> int:
        """Autocast's copies of weights, which live until the backward pass has used them."""
        return sum(matrix.inputs * matrix.outputs for matrix in matrices) * self.item if self.work.bf16 else 0

    def _moves(self, matrices: Iterable[Projection]) -> bool:
        return self.all or any(matrix.name in self.adapted for matrix in matrices)


def _by_part(matrices: Sequence[Projection]) -> dict[str, Projection]:
    return {matrix.name.split(".", 4)[4]: matrix for matrix in matrices}


def expected_peak_memory(device: str = "cpu") -> int:
    """Most bytes that a training will hold, foretold right after its longest batch was probed."""
    return round(peak_memory_now(device) * (_GROWTH if device == "cpu" else 1.0))


def peak_memory_now(device: str = "cpu") -> int:
    """Most bytes held so far: of the process in main memory, or of allocated tensors on a GPU."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    # Linux hands ru_maxrss down to a started program: the peak of the program that started it would show.
    peak = _process_status("VmHWM")
    if peak is None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak


def resident_memory_now() -> int:
    """Bytes of the process in main memory; its peak where the system does not say."""
    resident = _process_status("VmRSS")
    return peak_memory_now() if resident is None else resident


def _process_status(name: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return None
