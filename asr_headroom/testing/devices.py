"""A GPU that is none: tensors say that they are on one, and operations refuse to mix them with those on the CPU.

For tests on machines without a GPU. All arithmetic is done on the CPU; only the places of tensors are kept account of,
for every call of torch's Python interface, the libraries' included. What happens inside torch's own kernels and while
gradients are computed is not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

__all__ = ["PretendGpu"]

_GPU = torch.device("cuda", 0)
_TENSOR: Any = torch.Tensor  # type checkers know these attributes on tensors alone
_DEVICE, _IS_CUDA = _TENSOR.device.__get__, _TENSOR.is_cuda.__get__
_MOVES = (torch.Tensor.to, torch.Tensor.cuda, torch.Tensor.cpu)
_FREE = ("tolist", "item", "__int__", "__bool__", "__float__", "__len__")
_TAKES_CPU = ("__getitem__", "__setitem__", "copy_", "index_put", "index_put_", "ctc_loss")
"""What torch lets a tensor on a GPU do with indices, values or lengths on the CPU."""


class PretendGpu(TorchFunctionMode):
    """Inside, ``cuda`` is a device.

    Raises:
        RuntimeError: an operation has tensors on both devices, as torch would say on a machine with a GPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held = WeakIdKeyDictionary()

    def place(self, module: nn.Module) -> None:
        """Puts the weights and buffers of a module on the pretended GPU."""
        for tensor in (*module.parameters(), *module.buffers()):
            self._held[tensor] = True

    def holds(self, tensor: torch.Tensor) -> bool:
        """Whether it is there."""
        return tensor in self._held

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs one call and keeps account of where its tensors are."""
        options = dict(kwargs or {})
        if func == _DEVICE:
            return _GPU if args[0] in self._held else func(*args)
        if func == _IS_CUDA:
            return args[0] in self._held
        if func in _MOVES:
            return self._move(func, args[0], list(args[1:]), options)
        if options.get("device") is not None:
            is_gpu = torch.device(options.pop("device")).type == "cuda"
            made = func(*args, **options)
            return self._hold(made) if is_gpu else made
        name = getattr(func, "__name__", "")
        inputs = list(_tensors((args, options)))
        held = [tensor for tensor in inputs if tensor in self._held]
        if held:
            self._refuse_mixture(name, args, inputs)
        made = func(*args, **options)
        return self._hold(made) if held and name not in _FREE else made

    def _move(self, func: Any, tensor: torch.Tensor, rest: list[Any], options: dict[str, Any]) -> torch.Tensor:
        target = "cuda" if func is torch.Tensor.cuda else "cpu" if func is torch.Tensor.cpu else None
        options.pop("non_blocking", None)
        for value in (*rest, options.pop("device", None)):
            if isinstance(value, str | torch.device):
                target = torch.device(value).type
            elif isinstance(value, torch.Tensor):
                target = "cuda" if value in self._held else "cpu"
                rest = [value.dtype]
        rest = [value for value in rest if not isinstance(value, str | torch.device)]
        was = "cuda" if tensor in self._held else "cpu"
        made = tensor.to(*rest, **options) if rest or options else tensor
        if target not in (None, was) and made is tensor:
            made = tensor.clone()
        if (target or was) == "cuda":
            self._held[made] = True
        return made

    def _refuse_mixture(self, name: str, args: tuple[Any, ...], inputs: list[torch.Tensor]) -> None:
        strangers = [tensor for tensor in inputs if tensor not in self._held and tensor.dim() > 0]
        if strangers and not (name in _TAKES_CPU and args[0] in self._held):
            places = ", ".join(f"{list(t.shape)} on {'cuda' if t in self._held else 'cpu'}" for t in inputs)
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found {places}")
        if name in ("numpy", "__array__"):
            raise RuntimeError("a tensor on a GPU cannot become an array; it must be moved first")

    def _hold(self, made: Any) -> Any:
        for tensor in _tensors(made):
            self._held[tensor] = True
        return made


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
