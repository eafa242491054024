"""Model FLOPs utilisation: how much of what a device can compute a training uses (Chowdhery et al., 2022, appendix B).

Counted are the products that the model needs, forward and backward: not what checkpointing computes again, not padding,
not the optimiser. So the share of a slower program is smaller, however busy it keeps the device.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from asr_headroom.errors import ModelError
from asr_headroom.models.architecture import Architecture
from asr_headroom.models.network import describe_model, network_of_whisper
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.forecast_network import NetworkWorkload, makes_queries

__all__ = ["StepFlops", "model_flops", "peak_flops", "step_flops"]

StepFlops = Callable[[int, float, float], float]
"""Utterances of a step, their seconds of audio and their supervised tokens, summed: the step's operations."""

_PEAK_BF16 = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}
"""Of dense products in bfloat16 with sums in float32, per second, from NVIDIA's data sheets; longer names first."""

_ANOTHER_CHIP = re.compile(r"\b(MIG|Laptop|Max-Q|Ti|D)\b")
"""Parts and relatives of the devices above, whose peaks are others."""


def peak_flops(device_name: str, *, bf16: bool) -> float | None:
    """Floating-point operations per second that a device can do; None where that is not known here.

    Args:
        device_name: as ``torch.cuda.get_device_name`` says it.
        bf16: products are computed in bfloat16; of others no peak is known.

    >>> peak_flops("NVIDIA H100 80GB HBM3", bf16=True)
    989000000000000.0
    """
    if not bf16 or _ANOTHER_CHIP.search(device_name):
        return None
    return next((peak for name, peak in _PEAK_BF16.items() if re.search(rf"\b{name}\b", device_name)), None)


def model_flops(workload: NetworkWorkload) -> float:
    """Operations of matrix products and attention in one optimiser step that no implementation could leave out.

    A product and its input's gradient cost one pass each, the gradient of a matrix that moves a third. What lies
    before the first weight that moves is passed forward only. Those of low-rank updates count as they are.

    Raises:
        ModelError: a LoRA target is no matrix of the model.
    """
    adapted, first = workload.adapted(), workload.first_moving_stage()
    flops = 0.0
    for index, matrix in enumerate(workload.network.matrices):
        stage = workload.network.stages[matrix.stage]
        positions, flows = workload.positions(stage), matrix.stage >= first
        back = flows * (int(index > 0) + workload.trains_all)  # nobody wants the gradient of the features
        flops += (1 + back) * 2 * positions * matrix.weights
        if makes_queries(matrix, stage):
            flops += (3 if flows else 1) * 4 * positions * workload.keys(stage) * matrix.outputs
        if matrix.name in adapted:
            flops += 3 * 2 * positions * workload.lora.rank * (matrix.inputs + matrix.outputs)
    return workload.micro_batches * flops


def step_flops(model_id: str, config: TrainConfig, *, full_window: bool) -> StepFlops | None:
    """What a training's steps compute; None where the dimensions are not known, or gradients stop at a frozen part.

    Args:
        model_id: hub id, or a folder with ``config.json``.
        config: of the training.
        full_window: the encoder hears a whole window, however short the utterance, where the family has one.
    """
    if config.freeze:
        return None
    try:
        described = describe_model(model_id)
    except ModelError:
        return None
    window = None
    if isinstance(described, Architecture):
        window = described.max_duration if full_window else None
        whisper = network_of_whisper(described)
        # Its audio is padded to the window that is said here, and to no other.
        stages = tuple(stage._replace(whole=0.0) for stage in whisper.stages)
        described = replace(whisper, kind=whisper.kind._replace(stages=stages))
    workload = NetworkWorkload.of(described, config, seconds=1.0, targets=0, fresh_head=False, device="cuda")

    def flops(utterances: int, seconds: float, targets: float) -> float:
        mean = window or seconds / utterances
        batch = replace(workload, rows=utterances, seconds=mean, targets=round(targets / utterances), micro_batches=1)
        return model_flops(batch)

    return flops
