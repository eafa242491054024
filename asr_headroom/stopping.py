"""Stopping when asked to, at the next safe point: Ctrl-C, a cluster's SIGTERM before its SIGKILL.

::

    with StopRequests() as stops:
        for number, batch in enumerate(batches):
            if stops.requested:
                raise stops.stopped(f"stopped after {number} of {len(batches)} batches; the same command goes on")
            work(batch)
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from asr_headroom.errors import Stopped

__all__ = ["StopRequests"]

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_Handler = Callable[[int, FrameType | None], Any] | int | None


class StopRequests:
    """Turns SIGINT and SIGTERM into a request that a loop polls; the second signal acts at once.

    A context manager. Outside the main thread, where Python allows no handlers, nothing is ever requested; a signal
    that was ignored before (``nohup``) stays ignored. The former handlers are back when the block ends.
    """

    def __init__(self) -> None:
        self._former: dict[int, _Handler] = {}
        self._signal: int | None = None

    @property
    def requested(self) -> bool:
        """Whether somebody wants this to stop."""
        return self._signal is not None

    def stopped(self, message: str) -> Stopped:
        """The error to raise once everything is in order; the exit code is 130 or 143, as shells have it."""
        return Stopped(message, signal.SIGINT if self._signal is None else self._signal)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # None is a handler that was not set from Python and could not be put back.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._former[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            self.__exit__()
            signal.raise_signal(number)
            return
        self._signal = number
        # The signal may have come while a line was being written, and a stream cannot be entered twice.
        with contextlib.suppress(RuntimeError):
            logger.warning("%s: stopping at the next safe point; once more stops at once", signal.Signals(number).name)
