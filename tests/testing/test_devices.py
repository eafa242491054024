"""The pretended GPU refuses what a real one would, and lets through what it would."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from asr_headroom.testing.devices import PretendGpu


@pytest.fixture
def gpu():
    with PretendGpu() as gpu:
        yield gpu


def test_tensors_say_where_they_are(gpu):
    there = torch.ones(3, device="cuda")
    assert there.device.type == "cuda"
    assert there.is_cuda
    assert gpu.holds(there)
    here = torch.ones(3)
    assert here.device.type == "cpu"
    assert not gpu.holds(here.to("cpu"))
    assert gpu.holds(here.to("cuda"))
    assert gpu.holds(here.to(there))
    assert gpu.holds(here.to(there.device, torch.float64))
    assert here.to(there.device, torch.float64).dtype == torch.float64
    assert not gpu.holds(there.cpu())
    assert gpu.holds(there.half())
    assert gpu.holds(there[1:] + 1)
    assert gpu.holds(torch.stack([there, there]))
    assert there.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "mix",
    [
        lambda here, there: here + there,
        lambda here, there: torch.cat([there, here]),
        lambda here, there: torch.where(here > 0, there, 0.0),
        lambda here, there: there.index_select(0, torch.tensor([0])),
        lambda here, there: here[there.long()],
        lambda here, there: there.numpy(),
    ],
)
def test_mixtures_are_refused(gpu, mix):
    with pytest.raises((RuntimeError, TypeError)):
        mix(torch.ones(3), torch.ones(3, device="cuda"))


def test_what_torch_allows_is_allowed(gpu):
    there = torch.ones(3, device="cuda")
    assert (there + torch.tensor(1.0)).tolist() == [2.0, 2.0, 2.0]
    assert gpu.holds(there[torch.tensor([0, 1])])
    there[0] = torch.tensor(5.0)
    there[[1, 2]] = torch.tensor([6.0, 7.0])
    assert there.tolist() == [5.0, 6.0, 7.0]


def test_a_module_that_forgets_the_device_is_caught(gpu):
    class Forgets(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x, device=None):
            return self.linear(x) + torch.arange(2, device=device)

    module = Forgets()
    gpu.place(module)
    there = torch.ones(1, 2, device="cuda")
    assert gpu.holds(module(there, there.device))
    with pytest.raises(RuntimeError, match=r"same device.*\[2\] on cpu"):
        module(there)
