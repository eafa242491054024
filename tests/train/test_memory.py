"""Bytes of a training step: the count against what autograd really saves, and against weights that exist."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import pytest
import torch

from asr_headroom.models.architecture import known_architectures, parse_architecture
from asr_headroom.models.lora import LoraConfig
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.forecast import Workload, step_work
from asr_headroom.train.holding import Holding
from asr_headroom.train.memory import forecast_memory, peak_memory_now, resident_memory_now
from asr_headroom.train.methods import apply_method
from asr_headroom.train.optimizer import make_optimizer

MIB = 2**20


def saved_bytes(model, batch, *, bf16):
    """Bytes of the distinct storages that autograd keeps of one forward pass, weights left out."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.module.parameters()}
    kept = {}

    def pack(tensor):
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor  # held, so that no address comes twice
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext(),
    ):
        model.loss(batch)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize(
    ("method", "changes", "dropout"),
    [
        ("full", {}, 0.0),
        ("full", {}, 0.1),
        ("full", {"gradient_checkpointing": True}, 0.0),
        ("lora", {}, 0.0),
        ("lora", {}, 0.1),
        ("lora", {"lora": LoraConfig(rank=4, dropout=0.0)}, 0.0),
        ("lora", {"lora": LoraConfig(rank=4, dropout=0.0, target_modules=("q_proj", "v_proj"))}, 0.0),
        ("lora", {"lora": LoraConfig(rank=4, target_modules=("fc1", "fc2"))}, 0.0),
        ("lora", {"gradient_checkpointing": True}, 0.0),
        ("full", {"freeze": ("encoder",)}, 0.0),
        ("full", {"freeze": ("encoder",)}, 0.1),
        ("lora", {"freeze": ("encoder",)}, 0.1),
        ("lora", {"freeze": ("decoder",), "lora": LoraConfig(rank=4, dropout=0.0)}, 0.0),
    ],
)
# transformers' own switch for checkpointing warns about the name it reads itself by.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_activations_are_what_autograd_saves(method, changes, dropout, bf16):
    model = tiny_whisper(width=64, layers=2, dropout=dropout)
    config = TrainConfig(
        method=method, per_device_train_batch_size=3, mixed_precision="bf16" if bf16 else "no", **changes
    )
    shape = parse_architecture(model.module.config.to_dict(), {"hop_length": 160, "sampling_rate": 16_000})
    model = apply_method(model, config)
    model.module.train()
    batch = model.collate([tone_utterance("abca", id=str(number)) for number in range(3)])
    tokens = batch.inputs["labels"].shape[1]
    workload = Workload.of(shape, config, window_seconds=3.0, tokens=tokens, holding=Holding.of(config))
    workload = dataclasses.replace(workload, targets=batch.num_targets // 3)
    forecast = forecast_memory(workload)
    log_probs = forecast.logits // 3
    # Left out: masks and indices of labels, and in bf16 casts of low-rank matrices; 1 % at this size, less at others.
    # An encoder at rest leaves so little that in bf16 it is up to 6 %.
    tolerance = 0.06 if config.freeze and bf16 else 0.012
    assert forecast.activations + log_probs == pytest.approx(saved_bytes(model, batch, bf16=bf16), rel=tolerance)


@pytest.mark.parametrize("freeze", [(), ("encoder",), ("decoder",), ("model.decoder.layers.1", "encoder")])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_weights_gradients_and_states_are_those_of_a_step(method, freeze):
    model, config = tiny_whisper(layers=2), TrainConfig(method=method, freeze=freeze)
    frozen = {n: p.numel() for n, p in model.module.named_parameters() if p.requires_grad}
    model = apply_method(model, config)
    frozen_weights = sum(frozen.get(name, 0) for name, p in model.module.named_parameters() if not p.requires_grad)
    workload = Workload.of(
        parse_architecture(model.module.config.to_dict()), config, window_seconds=3, tokens=8,
        holding=Holding.of(config, frozen_weights=frozen_weights),
    )  # fmt: skip
    forecast = forecast_memory(workload)
    optimizer = make_optimizer(model.module, config)
    batch = model.collate([tone_utterance("abc")])
    model.loss(batch).nats.backward()
    optimizer.step()
    parameters = list(model.module.parameters())
    states = [value for state in optimizer.state.values() for name, value in state.items() if name != "step"]
    assert forecast.weights == sum(parameter.nbytes for parameter in parameters)
    assert forecast.gradients == sum(p.grad.nbytes for p in parameters if p.grad is not None)
    assert forecast.optimizer == sum(state.nbytes for state in states)


def workload(**changes):
    settings = {"rows": 8, "window_seconds": 30.0, "tokens": 60, "bf16": True, "device": "cuda"} | changes
    return Workload(architecture=known_architectures()["openai/whisper-small"], **settings)


def test_the_total_is_the_highest_moment():
    forecast = forecast_memory(workload(method="full"), overhead=5 * MIB)
    assert forecast.overhead == 5 * MIB
    lowest = forecast.overhead + forecast.weights + forecast.optimizer + max(forecast.activations, forecast.gradients)
    parts = lowest + forecast.activations + forecast.gradients + forecast.logits
    assert lowest < forecast.total < parts


def test_gradients_that_wait_for_more_micro_batches_stand_beside_the_activations():
    once, twice = forecast_memory(workload(method="full")), forecast_memory(workload(method="full", micro_batches=2))
    assert once.total < twice.total <= once.total + once.gradients


def test_what_costs_less_is_forecast_lower():
    base = forecast_memory(workload()).total
    assert forecast_memory(workload(gradient_checkpointing=True)).total < base / 2
    assert base < forecast_memory(workload(bf16=False)).total
    assert forecast_memory(workload(window_seconds=6.0)).total < base / 2
    assert base < forecast_memory(workload(method="full")).total


def test_resting_parts_packed_states_and_shards_cost_less():
    whole = workload(method="full")
    base = forecast_memory(whole)
    packed = forecast_memory(workload(method="full", holding=Holding(state_bytes=2.03)))
    # 8 bytes of each weight become 2 and a scale for each 256.
    assert packed.optimizer == pytest.approx(base.optimizer * 2.03 / 8)
    assert base.total - packed.total == base.optimizer - packed.optimizer
    halves, eighths = (forecast_memory(workload(method="full", holding=Holding(shards=n))) for n in (2, 8))
    saved = base.weights + base.optimizer
    # A shard of them goes; some layers come together, and no activation is saved.
    assert 0.25 * saved < base.total - halves.total <= 0.5 * saved + base.gradients
    assert eighths.total < halves.total
    assert eighths.total >= base.weights + (base.weights + base.optimizer) // 8
    resting = workload(method="full", holding=Holding(frozen=("encoder",), frozen_weights=88_000_000))
    assert forecast_memory(resting).total < base.total - 12 * 88_000_000
    assert step_work(resting).matmul < 0.6 * step_work(whole).matmul


def test_a_cpu_pays_for_masks_and_for_its_allocator():
    gpu, cpu = forecast_memory(workload()), forecast_memory(workload(device="cpu"))
    assert gpu.activations < cpu.activations
    assert gpu.overhead == 0 < cpu.overhead


def test_memory_of_this_process():
    before = resident_memory_now()
    block = torch.ones(40 * MIB // 4)
    assert resident_memory_now() - before == pytest.approx(block.nbytes, rel=0.25)
    assert resident_memory_now() <= peak_memory_now()
