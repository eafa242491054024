"""A model's layers through ``torch.compile``, in the training step alone.

Layers are compiled one by one (what has one code is compiled once), with lengths left open. What stands around them
stays as it is: the compiler writes a convolution's backward pass anew for every window, and leaves spectra alone.
Evaluation, decoding, checkpoints and names of weights do not see any of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from asr_headroom.errors import TrainingError
from asr_headroom.train.parts import layer_lists

__all__ = ["CompiledLayers", "check_compiler"]

_VARIANTS = 64
"""Of one code: kinds of layers, whether their input wants a gradient, one row or several. Beyond its own 8 the compiler
would go on uncompiled."""


class CompiledLayers:
    """The layers of a module; nothing is compiled before they are first at work.

    Args:
        module: keeps its structure, its names and its hooks.
        device: of the training.

    Raises:
        TrainingError: nothing can be compiled for the device here, or the module has no list of layers.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        check_compiler(device)
        self._layers = [layer for layers in layer_lists(module).values() for layer in layers]
        if not self._layers:
            raise TrainingError(
                "torch_compile compiles a model's layers, and this one has no list of them; leave it out"
            )
        self._calls = [torch.compile(layer._call_impl, dynamic=True) for layer in self._layers]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Inside, forward and backward passes go through the compiled layers."""
        # What nn.Module.compile() sets for good: here it must not reach decoding, whose caches grow with every token.
        for layer, call in zip(self._layers, self._calls, strict=True):
            layer._compiled_call_impl = call
        try:
            with torch._dynamo.config.patch(recompile_limit=_VARIANTS):
                yield
        finally:
            for layer in self._layers:
                layer._compiled_call_impl = None


def check_compiler(device: torch.device) -> None:
    """Compiles a line of arithmetic, so that a missing compiler is told before the first step.

    Raises:
        TrainingError: it cannot be compiled.
    """
    try:
        torch.compile(_line)(torch.ones(8, device=device))
    except Exception as error:  # whatever the compilers of all devices raise
        needed = "a C++ compiler" if device.type == "cpu" else "Triton and a C compiler"
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"torch_compile does not work here ({type(error).__name__}: {reason}); it needs {needed} (g++, say, and "
            "the headers of Python); install them, or leave torch_compile out"
        ) from error


def _line(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x) * 2 + x
