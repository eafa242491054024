"""What a training step of any family will cost in seconds and bytes, from its :class:`~...models.network.Network`.

Coarser than the forecast of Whisper, whose every tensor is counted: products and attention are counted stage by stage
(a test holds them to what torch counts), what lies between them and what autograd keeps by rules of thumb. The
uncertainty stands beside each forecast. Quantised bases are counted at the bits of their weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from asr_headroom.errors import ConfigError
from asr_headroom.models.architecture import Architecture
from asr_headroom.models.lora import LoraConfig
from asr_headroom.models.network import Matrix, Network
from asr_headroom.models.network_kinds import Stage
from asr_headroom.train.config import Method, TrainConfig
from asr_headroom.train.forecast import Work, Workload, measure_speed
from asr_headroom.train.holding import EVERYTHING, Holding
from asr_headroom.train.memory import MemoryForecast

__all__ = [
    "NetworkWorkload",
    "forecast_network_memory",
    "forecast_network_seconds",
    "least_decoding_seconds",
    "network_work",
    "saved_activations",
    "weight_bytes",
]

_FLOAT = 4
_BITS = {"none": 32, "8bit": 8, "4bit": 4.13}
"""Of a packed weight; NF4's scales are quantised too and take 0.127 bits each (Dettmers et al., 2023)."""
_HEAP_SLACK = 0.8
"""On a CPU, what the allocator holds beyond the live tensors, per byte of activations; see train/memory.py."""


@dataclass(frozen=True, kw_only=True)
class NetworkWorkload:
    """One micro-batch and how it is trained.

    Attributes:
        network: of the model.
        method: lora, full or scratch.
        rows: utterances in one forward pass.
        seconds: of audio in each, padding included.
        targets: supervised tokens of a row.
        micro_batches: forward passes per optimiser step.
        lora: rank, dropout and targets, for method lora.
        bf16: computes in bfloat16 over float32 weights.
        gradient_checkpointing: layers keep their input alone and are computed again in the backward pass.
        fresh_head: the output head moves beside the updates.
        quantization: of the frozen base.
        holding: what rests, how states are kept, and over how many processes.
        device: ``cpu`` or ``cuda``.
    """

    network: Network
    method: Method = "lora"
    rows: int
    seconds: float
    targets: int
    micro_batches: int = 1
    lora: LoraConfig = field(default_factory=LoraConfig)
    bf16: bool = False
    gradient_checkpointing: bool = False
    fresh_head: bool = False
    quantization: str = "none"
    holding: Holding = EVERYTHING
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.rows < 1 or self.targets < 0 or self.micro_batches < 1 or not self.seconds > 0:
            raise ConfigError(f"{self}: needs rows and micro_batches of at least 1 and audio above 0 s")

    @classmethod
    def of(
        cls,
        network: Network,
        config: TrainConfig,
        *,
        seconds: float,
        targets: int,
        fresh_head: bool,
        device: str,
        holding: Holding = EVERYTHING,
    ) -> NetworkWorkload:
        """The workload of a training config, for micro-batches of this audio and text."""
        return cls(
            network=network,
            method=config.method,
            rows=config.per_device_train_batch_size,
            seconds=seconds,
            targets=targets,
            micro_batches=config.gradient_accumulation_steps,
            lora=config.lora,
            bf16=config.mixed_precision == "bf16" or (config.mixed_precision == "auto" and device != "cpu"),
            gradient_checkpointing=config.gradient_checkpointing,
            fresh_head=fresh_head,
            quantization=getattr(config, "quantization", "none"),
            holding=holding,
            device=device,
        )

    @property
    def trains_all(self) -> bool:
        """All weights move."""
        return self.method != "lora"

    @property
    def trainable_parameters(self) -> int:
        """Weights that move."""
        if self.trains_all:
            return self.network.trainable_parameters(self.method) - self.holding.frozen_weights
        head = self.fresh_head and not self.holding.rests(self.network.kind.head)
        return self._updates(self._adapted()) + (self.network.head_parameters if head else 0)

    @property
    def update_parameters(self) -> int:
        """Weights beside the model's own, those that rest included: low-rank updates and the copy of a fresh head."""
        if self.trains_all:
            return 0
        head = self.network.head_parameters if self.fresh_head else 0
        return self._updates(self.network.adapted(self.lora.target_modules)) + head

    def _updates(self, matrices: Iterable[Matrix]) -> int:
        return sum(self.lora.rank * (matrix.inputs + matrix.outputs) for matrix in matrices)

    def positions(self, stage: Stage) -> float:
        """Of the whole micro-batch."""
        return self.rows * stage.positions(self.seconds, self.targets + self.network.kind.prompt_tokens, self.targets)

    def keys(self, stage: Stage) -> float:
        """That each query of the stage looks at."""
        return stage.keys(self.seconds, self.targets + self.network.kind.prompt_tokens, self.targets)

    def adapted(self) -> frozenset[str]:
        """Names of the matrices with a low-rank update."""
        if self.trains_all:
            return frozenset()
        return frozenset(matrix.name for matrix in self._adapted())

    def moves(self, matrix: Matrix) -> bool:
        """Its own weights do; updates are another matter."""
        return self.trains_all and not self.holding.rests(matrix.name)

    def first_moving_stage(self) -> int:
        """From here on gradients flow."""
        if not self.trains_all:
            return min((matrix.stage for matrix in self._adapted()), default=len(self.network.stages))
        if not self.holding.frozen:
            return 0
        return min((matrix.stage for matrix in self.network.matrices if self.moves(matrix)), default=0)

    def _adapted(self) -> list[Matrix]:
        found = self.network.adapted(self.lora.target_modules)
        return [matrix for matrix in found if not self.holding.rests(matrix.name)]


def forecast_network_seconds(workload: NetworkWorkload) -> float:
    """Seconds of one optimiser step on batches that are in memory already; the device is measured for a second.

    Raises:
        ModelError: a LoRA target is no matrix of the model.
    """
    return network_work(workload).seconds(measure_speed(_alike(workload)))


def least_decoding_seconds(workload: NetworkWorkload) -> float:
    """Seconds of one forward pass over audio and text, which decoding takes at least; the device is measured."""
    matmul = attention = 0.0
    for matrix in workload.network.matrices:
        stage = workload.network.stages[matrix.stage]
        positions = workload.positions(stage)
        matmul += 2 * positions * matrix.weights
        if makes_queries(matrix, stage):
            attention += 4 * positions * workload.keys(stage) * matrix.outputs
    return Work(matmul, attention, 0.0, 0.0).seconds(measure_speed(_alike(workload)))


def network_work(workload: NetworkWorkload) -> Work:
    """The work of one optimiser step: forward, backward, and the update of the weights.

    Raises:
        ModelError: a LoRA target is no matrix of the model.
    """
    adapted, first, again = workload.adapted(), workload.first_moving_stage(), float(workload.gradient_checkpointing)
    matmul = attention = pointwise = dropout = 0.0
    for matrix in workload.network.matrices:
        stage = workload.network.stages[matrix.stage]
        positions, flows = workload.positions(stage), matrix.stage >= first
        # Forward, the input's gradient, the matrix's own, and forward again.
        passes = 1 + flows * (1 + workload.moves(matrix) + again)
        matmul += passes * 2 * positions * matrix.weights
        if makes_queries(matrix, stage):
            attention += ((3.5 + again) if flows else 1) * 4 * positions * workload.keys(stage) * matrix.outputs
        # A layer of Whisper makes nine times its width and takes one unit of pointwise work for it.
        share = 0.2 if _is_head(matrix, workload.network) else stage.kept / 9
        pointwise += share * positions * matrix.outputs * ((1 + again / 3) if flows else 1 / 3)
        if matrix.name in adapted:
            matmul += 3 * 2 * positions * workload.lora.rank * (matrix.inputs + matrix.outputs)
            dropout += positions * matrix.inputs * (1 + again) if workload.lora.dropout else 0.0
    micro, update = workload.micro_batches, 0.5 * workload.trainable_parameters
    return Work(micro * matmul, micro * attention, micro * pointwise + update, micro * dropout)


def forecast_network_memory(workload: NetworkWorkload, *, overhead: int = 0) -> MemoryForecast:
    """Peak bytes of training steps.

    Args:
        workload: the largest micro-batch that will come.
        overhead: bytes that are there before the model.

    Raises:
        ModelError: a LoRA target is no matrix of the model.
    """
    trainable, shards = workload.trainable_parameters, workload.holding.shards
    gradients, states = trainable * _FLOAT, int(trainable * workload.holding.state_bytes)
    weights = weight_bytes(workload.network, workload.quantization) + workload.update_parameters * _FLOAT
    logits = 3 * int(_logits(workload) * _FLOAT)
    activations = int(saved_activations(workload))
    casts = _cast_bytes(workload) if workload.bf16 else 0
    evaluating = overhead
    if workload.device == "cpu":
        overhead += int(_HEAP_SLACK * activations)
    total = overhead + (weights + gradients + states) // shards + activations + casts + logits
    if shards > 1:
        total += _whole_at_a_time(workload.network) * _FLOAT
        # Between steps each process holds the whole model.
        total = max(total, evaluating + weights + (weights + states) // shards)
    return MemoryForecast(
        weights=weights,
        gradients=gradients,
        optimizer=states,
        activations=activations + casts,
        logits=logits,
        overhead=overhead,
        total=total,
    )


def _whole_at_a_time(network: Network) -> int:
    """Weights that are together on each process in a step of shards: two layers, about, and what is in none."""
    layers = sum(makes_queries(matrix, network.stages[matrix.stage]) for matrix in network.matrices)
    inside = sum(matrix.weights for matrix in network.matrices if not _is_head(matrix, network))
    return network.parameters - inside + 2 * inside // max(1, layers)


def saved_activations(workload: NetworkWorkload) -> float:
    """Bytes that autograd keeps of one forward pass, about, without logits and copies of weights.

    Every matrix's output is kept by what comes after it (attention, an activation, a norm); its input too where the
    matrix moves, and once more where an update drops out its own copy.
    """
    adapted, first = workload.adapted(), workload.first_moving_stage()
    item = 2.4 if workload.bf16 else _FLOAT  # norms stay in float32
    kept = largest = 0.0
    for matrix in workload.network.matrices:
        stage = workload.network.stages[matrix.stage]
        if matrix.stage < first:
            continue
        values = 0.9 * (matrix.inputs + matrix.outputs) if workload.moves(matrix) else float(matrix.outputs)
        if _is_head(matrix, workload.network):
            values = float(matrix.inputs)  # what it makes is counted with the logits
        if matrix.name in adapted:
            values += matrix.inputs * (2 if workload.lora.dropout else 1)
        size = stage.kept * workload.positions(stage) * values * item
        if makes_queries(matrix, stage):
            size += stage.scores * workload.network.heads * workload.positions(stage) * workload.keys(stage) * _FLOAT
        if not workload.gradient_checkpointing:
            kept += size
        elif makes_queries(matrix, stage):
            # One layer for each attention: its input is kept, the rest is there while it is computed again.
            kept += workload.positions(stage) * matrix.inputs * _FLOAT
        largest = max(largest, size)
    return kept + (20 * largest if workload.gradient_checkpointing else 0.0)


def _logits(workload: NetworkWorkload) -> float:
    heads = [matrix for matrix in workload.network.matrices if _is_head(matrix, workload.network)]
    return sum(workload.positions(workload.network.stages[head.stage]) * head.outputs for head in heads)


def weight_bytes(network: Network, quantization: str = "none", item: int = _FLOAT) -> int:
    """Of a model's weights.

    Args:
        network: of the model.
        quantization: of its linear layers but the head.
        item: bytes of a weight that is not packed.
    """
    packed = 0
    if quantization != "none":
        packed = sum(m.weights for m in network.matrices if m.adaptable and not _is_head(m, network))
    return int((network.parameters - packed) * item + packed * _BITS[quantization] / 8)


def _cast_bytes(workload: NetworkWorkload) -> int:
    """Autocast's copies of weights, which live until the backward pass has used them."""
    first = workload.first_moving_stage()
    return 2 * sum(matrix.weights for matrix in workload.network.matrices if matrix.stage >= first)


def makes_queries(matrix: Matrix, stage: Stage) -> bool:
    """Once for each attention of the stage."""
    return bool(stage.queries) and matrix.name.endswith(stage.queries)


def _is_head(matrix: Matrix, network: Network) -> bool:
    return matrix.name == network.kind.head or matrix.name.startswith(f"{network.kind.head}.")


def _alike(workload: NetworkWorkload) -> Workload:
    """A Whisper of the network's width and this batch's longest sequence, to measure the device with."""
    network = workload.network
    per_row = max((workload.keys(stage) for stage in network.stages if stage.queries), default=50.0)
    frames = max(16, min(1500, round(per_row)))
    width = max(64, network.width // 64 * 64)
    shape = Architecture(
        encoder_layers=1, decoder_layers=1, d_model=width, encoder_ffn=4 * width, decoder_ffn=4 * width,
        encoder_heads=width // 64, decoder_heads=width // 64, vocab_size=1000, num_mel_bins=80,
        max_source_positions=frames, max_duration=workload.seconds,
    )  # fmt: skip
    return Workload(
        architecture=shape, method=workload.method, rows=workload.rows, window_seconds=workload.seconds, tokens=1,
        bf16=workload.bf16, lora=replace(workload.lora, target_modules=None), device=workload.device,
    )  # fmt: skip
