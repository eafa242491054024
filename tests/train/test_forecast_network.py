"""Forecasts of any family: what autograd keeps of a small model's step, and how forecasts move with settings."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import asr_headroom.testing.tiny as tiny
from asr_headroom.models.network import build_network, describe_model
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.train.config import LoraConfig, TrainConfig
from asr_headroom.train.forecast_network import (
    NetworkWorkload,
    forecast_network_memory,
    forecast_network_seconds,
    network_work,
    saved_activations,
)
from asr_headroom.train.holding import Holding
from asr_headroom.train.methods import apply_method

XLSR = describe_model("facebook/wav2vec2-xls-r-300m")
QWEN = describe_model("Qwen/Qwen3-ASR-1.7B-hf")


def kept_bytes(model, batch):
    """Bytes of the distinct storages that autograd keeps of one forward pass, weights left out."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.module.parameters()}
    kept = {}

    def pack(tensor):
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor  # held, so that no address comes twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.loss(batch)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("qwen3_asr", {}), ("granite_speech", {}), ("canary", {}), ("moonshine", {}), ("parakeet_tdt", {}),
        ("mel_ctc", {"kind": "parakeet"}), ("wav2vec2_ctc", {"kind": "xlsr"}), ("wav2vec2_ctc", {"kind": "bert"}),
    ],
)  # fmt: skip
def test_activations_are_about_what_autograd_keeps(family, options, method):
    model = getattr(tiny, f"tiny_{family}")(width=128, **options)
    network = build_network(model.module.config.to_dict())
    config = TrainConfig(method=method, per_device_train_batch_size=2, lora=LoraConfig(rank=4))
    model = apply_method(model, config)
    model.module.train()
    utterances = [tone_utterance("abcabcabcabc", id=str(number)) for number in range(2)]
    batch = model.collate(utterances)
    workload = NetworkWorkload.of(
        network, config, seconds=utterances[0].measured_duration(), targets=batch.num_targets // 2, fresh_head=False,
        device="cpu",
    )  # fmt: skip
    memory = forecast_network_memory(workload)
    expected = saved_activations(workload) + memory.logits / 3
    assert expected == pytest.approx(kept_bytes(model, batch), rel=0.3)
    assert memory.weights + memory.gradients + memory.optimizer < memory.total


def test_work_grows_with_audio_and_rows():
    one = network_work(NetworkWorkload(network=XLSR, method="full", rows=1, seconds=10, targets=100))
    two = network_work(NetworkWorkload(network=XLSR, method="full", rows=2, seconds=10, targets=100))
    longer = network_work(NetworkWorkload(network=XLSR, method="full", rows=1, seconds=20, targets=100))
    assert two.matmul == pytest.approx(2 * one.matmul)
    assert longer.matmul == pytest.approx(2 * one.matmul)
    assert longer.attention == pytest.approx(4 * one.attention)


def test_a_billion_weights_cost_six_operations_each_and_position():
    """The rule of thumb of scaling laws (Kaplan et al., 2020): 6 × weights × positions for a full step."""
    workload = NetworkWorkload(network=XLSR, method="full", rows=1, seconds=10, targets=100)
    layers = sum(m.weights for m in XLSR.matrices if ".encoder.layers." in m.name)
    assert network_work(workload).matmul > 6 * layers * 500
    assert layers == pytest.approx(24 * 12 * 1024**2)


def test_low_rank_updates_on_a_language_model_alone_leave_the_encoder_without_gradients():
    whole = NetworkWorkload(network=QWEN, rows=1, seconds=10, targets=40)
    text = dataclasses.replace(whole, lora=LoraConfig(target_modules=("mlp.gate_proj",)))
    assert saved_activations(text) < 0.8 * saved_activations(whole)
    assert network_work(text).matmul < network_work(whole).matmul


def test_checkpointing_trades_memory_for_work():
    plain = NetworkWorkload(network=QWEN, rows=4, seconds=20, targets=60)
    again = dataclasses.replace(plain, gradient_checkpointing=True)
    assert forecast_network_memory(again).activations < 0.5 * forecast_network_memory(plain).activations
    assert network_work(again).matmul > 1.3 * network_work(plain).matmul


def test_a_packed_base_takes_an_eighth():
    plain = forecast_network_memory(NetworkWorkload(network=QWEN, rows=1, seconds=10, targets=40))
    packed = forecast_network_memory(NetworkWorkload(network=QWEN, rows=1, seconds=10, targets=40, quantization="4bit"))
    # The table of tokens stays in float32, and the updates do.
    tokens, updates = 151_936 * 2048 * 4, 4 * 19_136_512
    assert (packed.weights - tokens - updates) / (plain.weights - tokens - updates) == pytest.approx(1 / 7.75, rel=0.05)


def test_seconds_are_positive_and_scale_with_micro_batches():
    tiny_model = tiny.tiny_wav2vec2_ctc()
    network = build_network(tiny_model.module.config.to_dict())
    workload = NetworkWorkload(network=network, method="full", rows=2, seconds=3, targets=12)
    assert 0 < forecast_network_seconds(workload) < 10
    four = dataclasses.replace(workload, micro_batches=4)
    assert network_work(four).matmul == pytest.approx(4 * network_work(workload).matmul)


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize(
    ("family", "options"), [("qwen3_asr", {}), ("canary", {}), ("mel_ctc", {"kind": "parakeet"}), ("wav2vec2_ctc", {})]
)
def test_what_rests_has_neither_gradient_nor_state(family, options, method):
    model = getattr(tiny, f"tiny_{family}")(width=128, **options)
    network = build_network(model.module.config.to_dict())
    config = TrainConfig(method=method, freeze=("encoder",), optim="adamw-8bit", lora=LoraConfig(rank=4))
    movable = {n: p.numel() for n, p in model.module.named_parameters() if p.requires_grad}
    if method == "lora" and family in ("mel_ctc", "wav2vec2_ctc"):
        pytest.skip("its updates are all in the encoder; train refuses to freeze it")
    model = apply_method(model, config)
    frozen = sum(movable.get(name, 0) for name, p in model.module.named_parameters() if not p.requires_grad)
    workload = NetworkWorkload.of(
        network, config, seconds=1.0, targets=3, fresh_head=False, device="cpu",
        holding=Holding.of(config, frozen_weights=frozen),
    )  # fmt: skip
    trained = sum(p.numel() for p in model.module.parameters() if p.requires_grad)
    memory = forecast_network_memory(workload)
    assert (memory.gradients, memory.optimizer) == (4 * trained, int(2.03 * trained))
    free = dataclasses.replace(workload, holding=Holding())
    assert network_work(workload).matmul < network_work(free).matmul
    if family != "wav2vec2_ctc":  # its convolutions come before the encoder, and move
        assert workload.first_moving_stage() > 0
        assert memory.activations < forecast_network_memory(free).activations


def test_shards_divide_weights_gradients_and_states():
    one = NetworkWorkload(network=XLSR, method="full", rows=1, seconds=10, targets=100, device="cuda")
    whole, halves = (forecast_network_memory(dataclasses.replace(one, holding=Holding(shards=n))).total for n in (1, 2))
    held = 16 * XLSR.parameters
    assert 0.35 * held < whole - halves < 0.5 * held
