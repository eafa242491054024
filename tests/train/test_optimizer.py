"""AdamW: updates land, decay spares biases, and the rate is a function of the step."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from asr_headroom.errors import MissingDependencyError, ModelError
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.optimizer import learning_rate_at, make_optimizer

RATE = 1e-6


def recorded_gradients(steps=3):
    """The gradients of a few real batches, in float32."""
    model = tiny_whisper(window="fit")
    gradients = []
    for step in range(steps):
        model.module.zero_grad()
        loss = model.loss(model.collate([tone_utterance("abc"[step:] + "cab"), tone_utterance("bad")]))
        (loss.nats / loss.num_targets).backward()
        gradients.append([None if p.grad is None else p.grad.clone() for p in model.module.parameters()])
    return gradients


def realised_change(module, optimizer, gradients, rate=RATE):
    """Weight change after the recorded gradients went through an optimiser, as one float64 vector."""
    before = [p.detach().double().clone() for p in module.parameters()]
    for step in gradients:
        for parameter, gradient in zip(module.parameters(), step, strict=True):
            parameter.grad = None if gradient is None else gradient.to(parameter.dtype)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    return torch.cat([(p.detach().double() - b).flatten() for p, b in zip(module.parameters(), before, strict=True)])


def reference_change(gradients, rate=RATE):
    """The same by AdamW written out in float64 (no decay)."""
    change = []
    for column in zip(*gradients, strict=True):
        if column[0] is None:
            continue
        first = second = torch.zeros_like(column[0], dtype=torch.float64)
        total = torch.zeros_like(first)
        for step, gradient in enumerate((g.double() for g in column), start=1):
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            total -= rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        change.append(total.flatten())
    return torch.cat(change)


def moving_only(change, gradients, module):
    sizes = [p.numel() for p in module.parameters()]
    parts = change.split(sizes)
    return torch.cat([part for part, gradient in zip(parts, gradients[0], strict=True) if gradient is not None])


def test_float32_weights_move_as_intended_and_bfloat16_weights_do_not():
    """Trap 15: at a rate of 1e-6 most of an update is below the spacing of bfloat16 weights."""
    gradients = recorded_gradients()
    expected = reference_change(gradients)

    def relative_change(dtype):
        module = tiny_whisper(window="fit").module.to(dtype)
        optimizer = make_optimizer(module, TrainConfig(method="full", learning_rate=RATE))
        change = moving_only(realised_change(module, optimizer, gradients), gradients, module)
        return (change @ expected / (expected @ expected)).item()

    assert relative_change(torch.float32) == pytest.approx(1.0, abs=0.01)
    assert relative_change(torch.bfloat16) < 0.5


def test_autocast_leaves_weights_and_updates_in_float32():
    model = tiny_whisper(window="fit")
    optimizer = make_optimizer(model.module, TrainConfig(method="full", learning_rate=RATE))
    batch = model.collate([tone_utterance("abc")])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.loss(batch)
    assert loss.nats.dtype == torch.float32
    loss.nats.backward()
    before = model.module.model.encoder.conv1.weight.detach().clone()
    optimizer.step()
    after = model.module.model.encoder.conv1.weight.detach()
    assert after.dtype == torch.float32
    assert not torch.equal(before, after)
    assert all(state["exp_avg"].dtype == torch.float32 for state in optimizer.state.values())


def test_decay_acts_on_matrices_alone():
    module = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    groups = make_optimizer(module, TrainConfig(weight_decay=0.1)).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [len(group["params"]) for group in groups] == [1, 3]


def test_frozen_weights_are_left_out():
    module = nn.Linear(3, 3)
    module.bias.requires_grad_(False)
    assert [p.shape for g in make_optimizer(module, TrainConfig()).param_groups for p in g["params"]] == [(3, 3)]


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
def test_learning_rate_against_transformers_schedulers(kind):
    from transformers import get_scheduler

    config = TrainConfig(learning_rate=2e-4, lr_scheduler_type=kind, warmup_ratio=0.1)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2e-4)
    name = "constant_with_warmup" if kind == "constant" else kind
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=10, num_training_steps=100)
    for step in range(100):
        theirs = scheduler.get_last_lr()[0]
        ours = learning_rate_at(step, 100, config)
        # Theirs wastes the first step at rate 0; ours starts at one warm-up step. After the warm-up they agree.
        assert ours == pytest.approx(theirs if step >= 10 else 2e-4 * (step + 1) / 10)
        optimizer.step()
        scheduler.step()


def test_states_of_eight_bits_move_weights_nearly_as_those_of_32_do():
    pytest.importorskip("bitsandbytes")
    moved = {}
    for optim in ("adamw", "adamw-8bit"):
        torch.manual_seed(0)
        module = nn.Linear(128, 64)
        start = module.weight.detach().clone()
        optimizer = make_optimizer(module, TrainConfig(learning_rate=1e-3, optim=optim))
        for step in range(20):
            module.weight.grad = torch.randn(64, 128, generator=torch.Generator().manual_seed(step)) + 0.5
            optimizer.step()
        moved[optim] = module.weight.detach() - start
        states = {tensor.dtype for tensor in optimizer.state[module.weight].values() if torch.is_tensor(tensor)}
        assert (torch.uint8 in states) == (optim == "adamw-8bit")
    full, packed = moved["adamw"], moved["adamw-8bit"]
    assert (full - packed).norm() < 0.05 * full.norm()
    assert not full.equal(packed)


def test_paged_states_are_for_gpus_and_bitsandbytes_may_be_missing(monkeypatch):
    pytest.importorskip("bitsandbytes")
    with pytest.raises(ModelError, match=r"does not run on 'cpu'.*Paged.*--optim adamw"):
        make_optimizer(nn.Linear(3, 3), TrainConfig(optim="paged-adamw-8bit"))
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingDependencyError, match="quant"):
        make_optimizer(nn.Linear(3, 3), TrainConfig(optim="adamw-8bit"))
