"""The processes of one training: what they must agree on, and what each does a share of.

Clocks and floating-point sums differ between processes, and what follows from them (another step, a new best, the point
that is delivered) must not: the main process decides, and all hear of it. With one process nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn

from asr_headroom.errors import ConfigError, TrainingError

__all__ = ["Processes", "join_processes", "make_accelerator", "uses_bf16"]

_BUCKET_ELEMENTS = 16_000_000
"""Of gradients that travel together: 64 MB."""

_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Socket Timeout", "Timed out waiting")
"""What gloo says when a process at the other end has gone."""

_SHARDED = ("FSDP", "DEEPSPEED", "MEGATRON_LM", "TP")

T = TypeVar("T")


def join_processes() -> PartialState:
    """Meets the other processes that ``torchrun`` or ``accelerate launch`` started; alone where nobody did.

    Accelerate by itself leaves processes alone on a machine without a GPU, unless it launched them.
    """
    return PartialState(cpu=not torch.accelerator.is_available())


def uses_bf16(mixed_precision: Literal["auto", "no", "bf16"]) -> bool:
    """Whether products are computed in bfloat16; ``auto`` does so on a GPU."""
    return mixed_precision == "bf16" or (mixed_precision == "auto" and torch.cuda.is_available())


def make_accelerator(mixed_precision: Literal["auto", "no", "bf16"]) -> Accelerator:
    """Device, precision and processes of one training.

    Raises:
        ConfigError: accelerate was launched to cut the weights into shards.
    """
    join_processes()
    # Accelerate keeps the precision of a process's first Accelerator for ever; a recipe trains several times.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        mixed_precision="bf16" if uses_bf16(mixed_precision) else "no", cpu=not torch.accelerator.is_available()
    )
    if accelerator.distributed_type.value in _SHARDED:
        raise ConfigError(
            f"{accelerator.distributed_type.value} cuts the weights into shards, and here each process holds them all; "
            "launch without it, and let a large model fit by method lora, quantization 4bit or gradient_checkpointing"
        )
    return accelerator


class Processes:
    """The processes that share each step of a training.

    Args:
        accelerator: has joined them.

    Attributes:
        count: how many there are.
        index: of this one.
        is_main: this one writes, and decides.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.count, self.index = accelerator.num_processes, accelerator.process_index
        self.is_main = accelerator.is_main_process

    def agreed(self, value: T) -> T:
        """The main process's value."""
        return broadcast_object_list([value])[0] if self.count > 1 else value

    def any(self, flag: bool) -> bool:
        """Whether it is true on some process."""
        return flag if self.count == 1 else self.summed([float(flag)])[0] > 0

    def summed(self, values: Sequence[float]) -> list[float]:
        """Each number, summed over the processes, in float64."""
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(list(values), dtype=torch.float64, device=self._accelerator.device)
        return self._accelerator.reduce(tensor, reduction="sum").tolist()

    def gathered(self, value: float) -> list[float]:
        """Each process's value, in their order."""
        return self.summed([value if index == self.index else 0.0 for index in range(self.count)])

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of some items; :meth:`joined` puts what was made of the parts together again."""
        return items if self.count == 1 else items[self.index :: self.count]

    def joined(self, own: Sequence[T]) -> Sequence[T]:
        """What all processes made of their shares, in the order of the whole."""
        if self.count == 1:
            return own
        parts: list[list[Any]] = gather_object([list(own)])
        whole = [None] * sum(map(len, parts))
        for index, part in enumerate(parts):
            whole[index :: self.count] = part
        return whole  # type: ignore[return-value]

    def all_of(self, own: Sequence[T]) -> Sequence[T]:
        """Those of all processes, one process after the other."""
        return own if self.count == 1 else [item for part in gather_object([list(own)]) for item in part]

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Makes each gradient the sum of those of all processes; one that no process has stays None."""
        if self.count == 1:
            return
        moving = [parameter for parameter in parameters if parameter.requires_grad]
        present = self.summed([float(parameter.grad is not None) for parameter in moving])
        moving = [parameter for parameter, found in zip(moving, present, strict=True) if found]
        for bucket in _buckets(moving):
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            flat = torch.cat([grad.flatten() for grad in grads])
            torch.distributed.all_reduce(flat)
            for parameter, grad, part in zip(bucket, grads, flat.split([g.numel() for g in grads]), strict=True):
                parameter.grad = grad.copy_(part.view_as(grad))

    def wait(self) -> None:
        """Until all are here."""
        self._accelerator.wait_for_everyone()

    @contextmanager
    def noticing_losses(self) -> Iterator[None]:
        """Inside, that another process has gone ends this one with a message instead of a trace of the network.

        Raises:
            TrainingError: the others cannot be reached.
        """
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or not (_is_network(error) or any(text in str(error) for text in _LOST)):
                raise
            raise TrainingError(
                f"process {self.index} of {self.count} lost another one, which was killed or failed (its own message "
                "says why); the same command goes on from the last checkpoint"
            ) from error


def _is_network(error: RuntimeError) -> bool:
    return torch.distributed.is_available() and isinstance(error, torch.distributed.DistError)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Neighbours of one type, up to :data:`_BUCKET_ELEMENTS` together."""
    bucket: list[nn.Parameter] = []
    elements = 0
    for parameter in parameters:
        if bucket and (elements + parameter.numel() > _BUCKET_ELEMENTS or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, elements = [], 0
        bucket.append(parameter)
        elements += parameter.numel()
    if bucket:
        yield bucket
