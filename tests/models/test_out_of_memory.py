"""Real allocations that no machine can hold, and failures that are something else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asr_headroom.models.out_of_memory import is_out_of_memory, release_memory

BYTES = 2**60


@pytest.mark.parametrize("allocate", [lambda: torch.empty(BYTES, dtype=torch.uint8), lambda: np.empty(BYTES, "u1")])
def test_an_allocation_too_large_is_out_of_memory(allocate):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()
    assert is_out_of_memory(caught.value)


def test_what_a_gpu_raises_is_out_of_memory():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."))
    # Of libraries below PyTorch, which raise it plainly.
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))


def test_another_failure_is_not():
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not is_out_of_memory(caught.value)
    assert not is_out_of_memory(ValueError("out of memory"))


def test_cycles_are_collected():
    import weakref

    class Node:
        pass

    node = Node()
    node.itself = node
    gone = weakref.ref(node)
    del node
    release_memory()
    assert gone() is None
