"""What the log says while a training runs: loss, speed, and how much of the time went into waiting for audio."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from asr_headroom.train.objectives import StepTotals

__all__ = ["LogWindow"]

T = TypeVar("T")


class LogWindow:
    """Sums over the steps between two lines of the log.

    Args:
        clock: seconds.
        peak_flops: operations per second that the devices can do together; None where that is not known.
    """

    def __init__(self, clock: Callable[[], float], *, peak_flops: float | None = None) -> None:
        self._clock, self._peak_flops = clock, peak_flops
        self.reset()

    def reset(self) -> None:
        """A new window begins."""
        self._start = self._clock()
        self._steps = 0
        self._flops = 0.0
        self._waited = self._loss = self._count = self._audio_seconds = self._grad_norm = self._learning_rate = 0.0
        self._watched: dict[str, tuple[float, float]] = {}
        self._unit = ""

    def waiting_for(self, steps: Iterable[T]) -> Iterator[T]:
        """The same steps; what they keep waiting is counted."""
        iterator = iter(steps)
        while True:
            start = self._clock()
            try:
                step = next(iterator)
            except StopIteration:
                return
            self._waited += self._clock() - start
            yield step

    def add(self, totals: StepTotals, grad_norm: float, learning_rate: float, *, flops: float = 0.0) -> None:
        """One more step, of so many operations."""
        self._flops += flops
        self._steps += 1
        self._loss += totals.loss
        self._count += totals.count
        self._audio_seconds += totals.audio_seconds
        for name, (value, count) in totals.watched.items():
            before = self._watched.get(name, (0.0, 0.0))
            self._watched[name] = (before[0] + value, before[1] + count)
        self._grad_norm, self._learning_rate = grad_norm, learning_rate
        self._unit = f" {totals.unit}" if totals.unit else ""

    @property
    def seconds_per_step(self) -> float:
        """Mean so far; all that has passed where no step is done."""
        return self._elapsed / max(1, self._steps)

    def line(self) -> str:
        """Means since the window began; the gradient's norm and the learning rate are the last step's."""
        watched = "".join(f"{name} {total / max(1.0, count):.3f}  " for name, (total, count) in self._watched.items())
        used = ""
        if self._peak_flops and self._flops:
            used = f"  {100 * self._flops / self._elapsed / self._peak_flops:.0f} % MFU"
        return (
            f"loss {self._loss / max(1.0, self._count):.3f}{self._unit}  {watched}lr {self._learning_rate:.1e}  "
            f"grad norm {self._grad_norm:.2f}  {self._audio_seconds / self._elapsed:.0f} audio-s/s  "
            f"{self._count / self._elapsed:.0f} targets/s  {100 * self._waited / self._elapsed:.0f} % waiting for audio"
            f"{used}"
        )

    @property
    def _elapsed(self) -> float:
        return max(1e-9, self._clock() - self._start)
