"""Weights, gradients and optimiser states cut into shards over the processes.

This is FSDP (Zhao et al., 2023, arXiv:2304.11277). A model has two modules here. The *shards* train:
:func:`torch.distributed.fsdp.fully_shard` brings one layer at a time together for the forward and backward pass. The
*whole* is the module that everybody else knows (transcription, dev loss, checkpoints, guard); between evaluations its
weights are empty. So nothing outside this file sees a shard, and no process waits for another in the middle of an
evaluation.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from asr_headroom.errors import ConfigError
from asr_headroom.models.protocols import Trainable
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.parts import layer_lists

__all__ = ["ShardedWeights", "cut", "gathered", "refuse_unsharded", "shared_out", "twin"]

T = TypeVar("T", bound=Trainable)


def refuse_unsharded(config: TrainConfig, num_processes: int) -> None:
    """Says no where there is nobody to share the weights with.

    Raises:
        ConfigError: there is one process.
    """
    if config.fsdp and num_processes == 1:
        raise ConfigError(
            "fsdp cuts the weights into shards over several processes, and here is one; start them with "
            "`torchrun --nproc-per-node 2 -m asr_headroom train …`, or leave fsdp out"
        )


def twin(model: T) -> T:
    """The same family around another module, whose weights are the model's own until they are cut."""
    weights = {id(weight): weight for weight in model.module.parameters()}
    return model.with_module(lambda module: copy.deepcopy(module, weights))  # type: ignore[return-value]


def cut(loss: nn.Module, device: torch.device, *, bf16: bool) -> nn.Module:
    """Cuts the weights of a forward pass over all processes, layer by layer; what is in no layer is cut together.

    Args:
        loss: batch in, loss out; holds the module.
        device: of this process.
        bf16: products are computed in bfloat16: weights travel and are kept for the backward pass in it. The shards,
            and the sums of gradients, stay in float32.

    Returns:
        ``loss``. Its gradients are sums over the processes.
    """
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for layers in layer_lists(loss).values():
        for layer in layers:
            fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(loss, mesh=mesh, mp_policy=policy)
    for part in loss.modules():
        if isinstance(part, FSDPModule):
            # The mean over processes is not that over tokens, by which the loss is divided already.
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # of factors, gloo knows none
    return loss


class ShardedWeights:
    """The shards that train and the whole that everybody else knows.

    Args:
        whole: the model's module; emptied here.
        shards: its twin's, after :func:`cut`.
        device: of this process.
    """

    def __init__(self, whole: nn.Module, shards: nn.Module, device: torch.device) -> None:
        names = dict(shards.named_parameters())
        self._pairs = [(weight, _shard(names[name])) for name, weight in whole.named_parameters()]
        self._empty()
        whole.to(device)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Inside, the whole's weights are there, on every process: 4 bytes for each. All processes enter together."""
        self.gather()
        try:
            yield
        finally:
            self._empty()

    @torch.no_grad()
    def gather(self) -> None:
        """Puts the whole's weights where the shards are."""
        for weight, shard in self._pairs:
            weight.data = shard.full_tensor()

    @torch.no_grad()
    def take(self) -> None:
        """Puts the shards where the whole's weights are, which must be there and equal on all processes."""
        for weight, shard in self._pairs:
            shard.to_local().copy_(_part(weight.data, shard))

    def _empty(self) -> None:
        for weight, _ in self._pairs:
            weight.data = torch.empty(0, dtype=weight.dtype, device=weight.device)


def gathered(state: Any, *, keep: bool) -> Any:
    """An optimiser's state with whole tensors in main memory; all processes call it together.

    Args:
        state: nested dictionaries and lists.
        keep: False on processes that write nothing: theirs holds None for each tensor.
    """
    if isinstance(state, dict):
        return {name: gathered(value, keep=keep) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return [gathered(value, keep=keep) for value in state]
    if isinstance(state, DTensor):
        whole = state.full_tensor()
        return whole.cpu() if keep else None
    return state


def shared_out(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What :func:`gathered` made of an optimiser's state, with this process's shards of it."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    own = {
        index: {name: _like(value, _shard(weights[index])) for name, value in values.items()}
        for index, values in state["state"].items()
    }
    return {**state, "state": own}


def _like(value: Any, shard: DTensor) -> Any:
    if not isinstance(value, torch.Tensor) or value.shape != shard.shape:
        return value  # the number of steps
    return DTensor.from_local(
        _part(value, shard).clone(), shard.device_mesh, shard.placements, shape=shard.shape, stride=shard.stride()
    )


def _part(whole: torch.Tensor, shard: DTensor) -> torch.Tensor:
    """This process's part of a tensor that all have."""
    mesh, placements = shard.device_mesh, shard.placements
    return distribute_tensor(whole.to(shard.device), mesh, placements, src_data_rank=None).to_local()


def _shard(weight: torch.Tensor) -> DTensor:
    assert isinstance(weight, DTensor), "weights are cut before they are paired"
    return weight
