"""How fast a model transcribes and how much memory it takes, measured on the very batches whose outputs are kept.

Wall time means nothing without a warm-up, a wait for the device, and the batch size: each session's first batch warms
up and does not count, the device has finished before the clock is read, and the batch size stands in the record.
Reading of recordings is in the time; loading the model, N-best lists and scoring are not.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from asr_headroom.models.protocols import Recognizer, Trainable
from asr_headroom.train.memory import peak_memory_now, resident_memory_now

__all__ = ["MemoryMeter", "SpeedMeter", "device_of", "wait_for_device"]

T = TypeVar("T")

_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Linux: the peak resident size starts anew from the present one."""


def device_of(model: Recognizer) -> str:
    """``cpu`` or ``cuda``, of a model that is a PyTorch module; ``cpu`` otherwise."""
    if not isinstance(model, Trainable):
        return "cpu"
    return str(next(model.module.parameters()).device.type)


def wait_for_device() -> None:
    """Returns when a GPU, where one is in use, has done all that it was given."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


class SpeedMeter:
    """Seconds of processing and of audio, over the sessions of one run.

    Args:
        batch_size: utterances decoded together, at most.
        stored: the record of earlier sessions; counts only if it is of the same batch size.
        device: what the model runs on.
        clock: seconds since any fixed moment.
    """

    def __init__(
        self,
        batch_size: int,
        *,
        stored: Mapping[str, Any] | None = None,
        device: str = "cpu",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.batch_size, self.device = batch_size, device
        self._clock = clock
        self._is_warm = False
        self._totals = _Totals()
        if stored and stored.get("batch_size") == batch_size and stored.get("device") == device:
            self._totals.take(stored)

    @property
    def has_measured(self) -> bool:
        """Whether any batch counted."""
        return self._totals.batches > 0

    def time(self, work: Callable[[], T], *, utterances: int, audio_seconds: float) -> T:
        """Does the work; counts it, unless it is the session's first or fails."""
        wait_for_device()
        begin = self._clock()
        result = work()
        wait_for_device()
        if self._is_warm:
            self._totals.add(utterances, audio_seconds, self._clock() - begin)
        self._is_warm = True
        return result

    def restart(self, batch_size: int) -> None:
        """Forgets what was measured, because from here on batches are of another size."""
        self.batch_size = batch_size
        self._totals = _Totals()

    def record(self) -> dict[str, Any]:
        """For the results: totals, batch size, device, threads; empty where nothing counted."""
        if not self.has_measured:
            return {}
        threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
        return vars(self._totals) | {"batch_size": self.batch_size, "device": self.device, "threads": threads}


class MemoryMeter:
    """Most memory held while transcribing, the weights included; not what loading took for a moment.

    Args:
        device: ``cpu`` measures the resident memory of the whole process, with Python and its libraries; ``cuda`` the
            tensors that PyTorch allocated there.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        if device != "cpu":
            sys.modules["torch"].cuda.reset_peak_memory_stats()
        self._is_fresh = device != "cpu" or _restart_peak()
        self._before = None if device != "cpu" else resident_memory_now()

    def record(self, stored: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """For the results, in bytes; the larger of the stored peak and this session's.

        ``since`` is ``start of the process`` where the system cannot start the peak anew: larger models before this one
        then show in it.
        """
        peak = max(peak_memory_now(self._device), int((stored or {}).get("peak_bytes", 0)))
        return {
            "of": "process" if self._device == "cpu" else "tensors on the GPU",
            "peak_bytes": peak,
            "before_bytes": self._before,
            "since": "model loaded" if self._is_fresh else "start of the process",
        }


class _Totals:
    """What the counted batches come to; its fields are those of the record."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.audio_seconds = 0.0
        self.utterances = 0
        self.batches = 0

    def add(self, utterances: int, audio_seconds: float, seconds: float) -> None:
        self.seconds += seconds
        self.audio_seconds += audio_seconds
        self.utterances += utterances
        self.batches += 1

    def take(self, stored: Mapping[str, Any]) -> None:
        self.seconds = float(stored["seconds"])
        self.audio_seconds = float(stored["audio_seconds"])
        self.utterances = int(stored["utterances"])
        self.batches = int(stored["batches"])


def _restart_peak() -> bool:
    """Whether the process's peak starts anew from here."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True
