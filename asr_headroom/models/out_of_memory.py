"""Telling that memory ran out from other failures, and giving back what is held for nobody.

Training and transcription both answer it with smaller batches; what that does to their numbers is said there.
"""

from __future__ import annotations

import gc
import sys

__all__ = ["is_out_of_memory", "release_memory"]

_MESSAGES = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Of plain RuntimeErrors: PyTorch's allocator for main memory, and libraries below it on a GPU."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the machine or of the GPU does not hold what was asked for.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."))
    True
    >>> is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    False
    """
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


def release_memory() -> None:
    """Collects what only cycles of references keep, and gives a GPU's unused blocks back.

    Call it outside the ``except`` block that caught the error: its traceback holds the tensors of the failed call.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
