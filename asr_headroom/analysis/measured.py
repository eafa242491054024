"""What a bench measured beside outputs, read from its record: speed, memory, batches, why there are no N-best lists.

Speeds are comparable where batch size, device and threads are equal; whoever shows them says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from asr_headroom.results.schema import RunInfo

__all__ = ["Memory", "Speed", "notes_of_run", "read_memory", "read_speed", "why_no_lists"]

_ALONE = 0.5
"""Utterances decoded together, as a share of those asked for, below which it is said."""


class Speed(NamedTuple):
    """How fast a system transcribed.

    Attributes:
        real_time_factor: processing time / audio duration; below 1 is faster than speech.
        batch_size: utterances decoded together, at most.
        rows: utterances decoded together, on average.
        device: ``cpu`` or ``cuda``.
        threads: of the CPU; None where not stated.
        utterances: that were timed; the warm-up's are not.
    """

    real_time_factor: float
    batch_size: int
    rows: float
    device: str
    threads: int | None
    utterances: int

    @property
    def setting(self) -> tuple[int, str, int | None]:
        """What must be equal for two speeds to be compared."""
        return self.batch_size, self.device, self.threads


class Memory(NamedTuple):
    """Most memory that was held while transcribing.

    Attributes:
        peak_bytes: the most.
        of: the whole process, or the tensors on the GPU.
        since: the model was loaded, or the process started, where the system cannot start a peak anew.
    """

    peak_bytes: int
    of: str
    since: str


def read_speed(run: RunInfo) -> Speed | None:
    """The speed in a run's record; None where nothing was timed."""
    record = _record(run, "speed")
    numbers = [
        _positive(record.get(name)) for name in ("seconds", "audio_seconds", "utterances", "batches", "batch_size")
    ]
    if None in numbers:
        return None
    seconds, audio_seconds, utterances, batches, batch_size = (float(number or 0) for number in numbers)
    threads = _positive(record.get("threads"))
    return Speed(
        real_time_factor=seconds / audio_seconds,
        batch_size=int(batch_size),
        rows=utterances / batches,
        device=str(record.get("device", "cpu")),
        threads=None if threads is None else int(threads),
        utterances=int(utterances),
    )


def read_memory(run: RunInfo) -> Memory | None:
    """The memory in a run's record; None where it was not measured."""
    record = _record(run, "memory")
    peak = _positive(record.get("peak_bytes"))
    return None if peak is None else Memory(int(peak), str(record.get("of", "process")), str(record.get("since", "")))


def why_no_lists(run: RunInfo) -> str | None:
    """Why N-best lists that were asked for are not there; None where they are, or were not asked for."""
    reason = _record(run, "nbest").get("reason")
    return None if reason is None else str(reason)


def notes_of_run(run: RunInfo) -> list[str]:
    """What a reader of the measurements has to know, one sentence each."""
    notes = []
    batch = _record(run, "batch")
    if "fits" in batch:
        notes.append(
            f"'{run.name}': batches of {batch.get('asked')} did not fit in memory; decoded {batch['fits']} at a time, "
            "which changes no output beyond rounding"
        )
    speed = read_speed(run)
    if speed and speed.rows < _ALONE * speed.batch_size and "fits" not in batch:
        notes.append(
            f"'{run.name}' decoded {speed.rows:.1f} utterances at a time, not {speed.batch_size}: only recordings of "
            "equal length or window share its batches, or there were no more"
        )
    reason = why_no_lists(run)
    if reason:
        notes.append(f"'{run.name}' has no oracle: {reason}")
    memory = read_memory(run)
    if memory and memory.since == "start of the process":
        notes.append(f"'{run.name}': its peak memory is that of the process since its start, earlier models included")
    return notes


def _record(run: RunInfo, name: str) -> Mapping[str, Any]:
    record = run.measured.get(name)
    return record if isinstance(record, Mapping) else {}


def _positive(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and value > 0 else None
