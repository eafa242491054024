"""Modes of modules: evaluation for a while, batch norm at rest."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from asr_headroom.models.modes import evaluating, freeze_batch_norm, keep_head_exact


def network():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    module[1].running_mean.normal_()
    return module


def test_each_part_returns_to_its_own_mode_even_after_an_error():
    module = network().train()
    module[2].eval()
    inside = []

    def fail():
        inside.extend(part.training for part in module.modules())
        raise RuntimeError

    with pytest.raises(RuntimeError), evaluating(module):
        fail()
    assert inside == [False] * 5
    assert [part.training for part in module] == [True, True, False, True]


def test_a_frozen_batch_norm_uses_and_keeps_its_statistics_while_training():
    module, inputs = network(), torch.randn(5, 3)
    module[2].p = 0.0
    still = module.eval()(inputs)
    assert not torch.allclose(copy.deepcopy(module).train()(inputs), still)
    assert freeze_batch_norm(module) == freeze_batch_norm(module) == 1
    before = module[1].running_mean.clone()
    for frozen in (module.train(), copy.deepcopy(module).train()):
        torch.testing.assert_close(frozen(inputs), still)
        assert torch.equal(frozen[1].running_mean, before)
    assert len(module[1]._forward_pre_hooks) == 1
    module(inputs).sum().backward()
    assert module[1].weight.grad is not None


@pytest.mark.parametrize("head", [nn.Linear(8, 5), nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 5))])
def test_a_head_computes_in_float32_under_autocast_and_passes_gradients_once(head):
    hidden = torch.randn(3, 8)
    expected = head(hidden)
    expected.sum().backward()
    gradients = [parameter.grad.clone() for parameter in head.parameters()]
    head.zero_grad()
    keep_head_exact(head)
    keep_head_exact(head)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = copy.deepcopy(head)(hidden)
        logits = head(hidden)
    assert torch.equal(logits, expected)
    assert torch.equal(found, expected), "a copy, such as PEFT makes of a head, is no worse"
    logits.sum().backward()
    for parameter, gradient in zip(head.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)
    assert all(len(layer._forward_hooks) == 1 for layer in head.modules() if isinstance(layer, nn.Linear))
