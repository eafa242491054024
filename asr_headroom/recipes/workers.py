"""Processes in which the steps of a recipe run beside each other.

A worker lives as long as the recipe, so that it imports torch once. It is asked to stop with SIGTERM, which training
and bench take as a request for an orderly end; when the process that started it dies, it asks itself.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Self

from asr_headroom.config import from_mapping
from asr_headroom.errors import AsrHeadroomError, TrainingError
from asr_headroom.recipes.steps import STEP_KINDS

__all__ = ["Finished", "Workers"]

_POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Finished:
    """A step that has ended.

    Attributes:
        step: its name.
        seconds: it took.
        said: the lines it had to say.
        error: why it failed; None when it is done.
    """

    step: str
    seconds: float
    said: tuple[str, ...]
    error: Exception | None = None


class Workers:
    """A context manager with up to ``count`` processes, each started when it is first needed.

    Args:
        count: processes at most.
        threads: of torch in each; None leaves torch its own choice.
    """

    def __init__(self, count: int, *, threads: int | None) -> None:
        self._count, self._threads = count, threads
        self._idle: list[_Worker] = []
        self._busy: dict[str, _Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ask_to_stop()
        for worker in (*self._idle, *self._busy.values()):
            worker.close()

    @property
    def busy(self) -> int:
        """Steps at work."""
        return len(self._busy)

    @property
    def are_free(self) -> bool:
        """Whether another step can be started."""
        return len(self._busy) < self._count

    def start(self, step: str, verb: str, settings: Mapping[str, Any]) -> None:
        """Hands a step to an idle worker, or to a new one."""
        worker = self._idle.pop() if self._idle else _Worker(self._threads)
        self._busy[step] = worker
        worker.connection.send((step, verb, dict(settings)))

    def wait(self) -> list[Finished]:
        """The steps that have ended; none after a short while, so that the caller can look at other things.

        What a worker logs meanwhile is logged here, under its step's name.
        """
        by_connection = {worker.connection: (name, worker) for name, worker in self._busy.items()}
        ended = []
        for connection in multiprocessing.connection.wait(list(by_connection), timeout=_POLL_SECONDS):
            name, worker = by_connection[connection]  # type: ignore[index]
            message = worker.receive(name)
            if isinstance(message, logging.LogRecord):
                message.msg = f"{name}: {message.msg}"
                logging.getLogger(message.name).handle(message)
                continue
            del self._busy[name]
            if worker.process.is_alive():
                self._idle.append(worker)
            ended.append(message)
        return ended

    def ask_to_stop(self) -> None:
        """Asks the steps at work to end at their next safe point."""
        for worker in self._busy.values():
            if worker.process.is_alive() and worker.process.pid:
                os.kill(worker.process.pid, signal.SIGTERM)


class _Worker:
    """One process and the line to it."""

    def __init__(self, threads: int | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        levels = {name: logging.getLogger(name).level for name in ("", "asr_headroom")}
        self.process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, threads, levels, list(warnings.filters))
        )
        self.process.start()
        theirs.close()

    def receive(self, step: str) -> logging.LogRecord | Finished:
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            lost = TrainingError(
                f"step '{step}': its process ended without a word (exit status {code}; out of memory?); "
                "run the same command again, it goes on where it stopped, or with --jobs 1"
            )
            return Finished(step, 0.0, (), lost)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(None)
        self.process.join()
        self.connection.close()


def _serve(connection: Connection, threads: int | None, levels: Mapping[str, int], filters: Sequence[Any]) -> None:
    # The terminal sends Ctrl-C to every process; who asks a worker to stop is the one who started it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    line = _Line(connection)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    warnings.filters = list(filters)
    logging.getLogger().handlers = [_Forward(line)]
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    while (task := _next_task(connection)) is not None:
        line.send(_execute(*task))


class _Line:
    """The way back to the process that started this one; what nobody is left to hear is dropped."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Threads log, and so may a signal's handler while its own thread is sending.
        self._lock = threading.RLock()

    def send(self, message: logging.LogRecord | Finished) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._connection.send(message)


def _next_task(connection: Connection) -> tuple[str, str, dict[str, Any]] | None:
    try:
        return connection.recv()
    except EOFError:
        return None


def _execute(step: str, verb: str, settings: Mapping[str, Any]) -> Finished:
    start = time.monotonic()
    said: list[str] = []
    error: Exception | None = None
    try:
        kind = STEP_KINDS[verb]
        kind.execute(from_mapping(kind.config_type, settings, where=step), said.append)
    except AsrHeadroomError as expected:
        error = expected
    except Exception:  # noqa: BLE001 - it is raised again where the recipe runs; the exception itself may not travel
        error = RuntimeError(f"in step '{step}':\n{traceback.format_exc()}")
    return Finished(step, time.monotonic() - start, tuple(said), error)


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


class _Forward(logging.Handler):
    """Sends log records to the process that started this one."""

    def __init__(self, line: _Line) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        """The record with its message put together, as its arguments may not travel."""
        record.msg, record.args = record.getMessage(), None
        record.exc_info = record.exc_text = record.stack_info = None
        self._line.send(record)
