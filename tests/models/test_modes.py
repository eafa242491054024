"""Modes of modules: evaluation for a while, batch norm at rest."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from asr_headroom.models.modes import evaluating, freeze_batch_norm


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
