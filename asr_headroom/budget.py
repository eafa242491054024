"""Minutes of compute as an object: how much there is, how much is left, and where it went.

The clock is passed in, so a test can turn it by hand. ``bench`` and ``train`` obey one :class:`Budget`; the
:class:`Ledger` stands in every result.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from asr_headroom.errors import ConfigError

__all__ = ["Budget", "Ledger", "format_minutes", "parse_budget"]

Clock = Callable[[], float]

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h)")


def parse_budget(text: str, *, num_gpus: int = 1) -> float:
    """A budget in seconds of wall clock.

    >>> parse_budget("10m"), parse_budget("1h30m"), parse_budget("2.5gpu-h", num_gpus=2)
    (600.0, 5400.0, 4500.0)

    Raises:
        ConfigError: it is not a positive duration with a unit.
    """
    compact = text.strip().lower().replace(" ", "")
    per_gpu = "gpu-" in compact
    compact = compact.replace("gpu-", "")
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ConfigError(f"budget '{text}' is not a duration; write for example 45m, 1h30m, 90s or 2.5gpu-h")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds <= 0:
        raise ConfigError(f"budget '{text}' is nothing; give more than 0 s")
    return seconds / num_gpus if per_gpu else seconds


def format_minutes(seconds: float) -> str:
    """Seconds as a person says them.

    >>> format_minutes(42), format_minutes(260), format_minutes(9000)
    ('42 s', '4.3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Budget:
    """Wall-clock seconds that a run may take, across restarts.

    Args:
        seconds: allowed in all; None is no limit.
        used: seconds that earlier sessions of the same run have taken.
        clock: seconds since any fixed moment.
    """

    def __init__(self, seconds: float | None = None, *, used: float = 0.0, clock: Clock = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._start = clock() - used

    @property
    def elapsed(self) -> float:
        """Seconds used so far."""
        return self._clock() - self._start

    @property
    def remaining(self) -> float:
        """Seconds left; infinite without a limit, negative when overdrawn."""
        return math.inf if self.seconds is None else self.seconds - self.elapsed


class Ledger:
    """Seconds by stage, in the order in which stages first appeared.

    Stages may be nested; the inner one's time is not counted in the outer one's, so the entries add up.
    """

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Books the time inside the ``with`` block to ``name``."""
        self._book()
        self._open.append(name)
        self.seconds.setdefault(name, 0.0)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    @property
    def minutes(self) -> dict[str, float]:
        """Minutes by stage, for results."""
        self._book()
        return {name: round(seconds / 60, 4) for name, seconds in self.seconds.items()}

    def _book(self) -> None:
        now = self._clock()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now
