"""Every problem of a manifest, with file and line, and counts that add up.

By default only the headers of recordings are read (about a minute for 100,000 different files); ``deep``
decodes every segment and also finds cut FLAC files, NaN samples, clipping and silence. Rows that cannot be
used are *unusable*; what a row can be used with in spite of is a *warning*. Start with
:func:`validate_manifest`.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asr_headroom.audio.waveform import AudioInfo, AudioSource, describe_source, read_info
from asr_headroom.data.manifest import Manifest, Problem, Utterance
from asr_headroom.data.readers import scan_manifest
from asr_headroom.errors import AudioError, DataError

__all__ = ["HeaderCache", "ValidationReport", "check_text", "check_utterance", "validate_manifest"]

DURATION_TOLERANCE_SECONDS = 0.1
LONG_SECONDS = 30.0
MAX_CHARACTERS_PER_SECOND = 35.0
CLIPPED_LEVEL = 0.999
CLIPPED_SHARE = 0.001
SILENCE_DBFS = -60.0

# What teaches models to write runs of marks (guillemets with their narrow spaces), and what nobody types on
# purpose. Zero-width joiners stay out: Persian and Hindi need them.
_ODD_CHARACTERS = re.compile("[«»\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000\ufeff\x00-\x1f\x7f-\x9f]")


class Finding(NamedTuple):
    """One thing wrong with one row; ``fatal`` makes the row unusable."""

    kind: str
    message: str
    fatal: bool


@dataclass(frozen=True)
class ValidationReport:
    """What is wrong with a source.

    Attributes:
        name: of the source.
        num_rows: read; the sum of the next two.
        num_usable: rows without a fatal problem.
        num_unusable: rows with one or more.
        problems: all, in the order of the source; the fatal ones make their row unusable.
        kinds: number of problems of each kind.
        hours: of the usable rows, as their recordings say.
        is_deep: every segment was decoded, not only headers read.
    """

    name: str
    num_rows: int
    num_usable: int
    num_unusable: int
    problems: tuple[Problem, ...]
    kinds: dict[str, int]
    hours: float
    is_deep: bool

    @property
    def is_clean(self) -> bool:
        """Whether nothing is fatal but what a profile filters on purpose; warnings may be there."""
        return not any(problem.fatal and not problem.is_filtered for problem in self.problems)


class HeaderCache:
    """Headers of the recordings seen last, by path, time of change and size.

    Args:
        capacity: recordings remembered; bounds the memory.
    """

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._headers: OrderedDict[tuple[Path, int, int], AudioInfo] = OrderedDict()

    def read(self, source: AudioSource) -> AudioInfo:
        """The header of a recording.

        Raises:
            AudioError: see :func:`asr_headroom.audio.waveform.read_info`.
        """
        if not isinstance(source, Path):
            return read_info(source)
        try:
            status = source.stat()
        except FileNotFoundError as error:
            raise AudioError(f"{source}: no such file") from error
        except OSError as error:
            raise AudioError(f"{source}: cannot be read ({error.strerror or error})") from error
        key = (source, status.st_mtime_ns, status.st_size)
        if key in self._headers:
            self._headers.move_to_end(key)
        else:
            self._headers[key] = read_info(source)
            if len(self._headers) > self._capacity:
                self._headers.popitem(last=False)
        return self._headers[key]


def validate_manifest(
    source: str | Path, *, language: str | None = None, deep: bool = False, limit: int | None = None
) -> ValidationReport:
    """Reads a source and lists all that is wrong with it; raises nothing that a source can cause.

    A source that cannot be read at all gives a report of no rows and one fatal problem.

    Args:
        source: as :func:`asr_headroom.data.readers.read_manifest` takes it.
        language: BCP-47 tag of rows that state none.
        deep: decode every segment instead of reading headers.
        limit: rows to read at most.
    """
    try:
        manifest = scan_manifest(source, language=language, limit=limit)
    except DataError as error:
        problem = Problem(str(source), str(error).removeprefix(f"{source}: "))
        return ValidationReport(str(source), 0, 0, 0, (problem,), {"source": 1}, 0.0, deep)
    return _validate(manifest, deep)


def _validate(manifest: Manifest, deep: bool) -> ValidationReport:
    problems = list(manifest.problems)
    kinds = Counter("row" if problem.fatal else "note" for problem in problems)
    num_rejected = kinds["row"]
    if not len(manifest) and not num_rejected:
        problems.append(Problem(manifest.name, "holds no rows; write one utterance per line"))
        kinds["source"] = 1
    headers = HeaderCache()
    num_usable, seconds = 0, 0.0
    for utterance in manifest:
        findings, duration = check_utterance(utterance, headers, deep=deep)
        for finding in findings:
            problems.append(Problem(utterance.origin, finding.message, finding.fatal))
            kinds[finding.kind] += 1
        if not any(finding.fatal for finding in findings):
            num_usable += 1
            seconds += duration
    problems.sort(key=_place)
    num_rows = len(manifest) + num_rejected
    return ValidationReport(
        manifest.name,
        num_rows,
        num_usable,
        num_rows - num_usable,
        tuple(problems),
        dict(kinds),
        seconds / 3600,
        deep,
    )


def check_utterance(utterance: Utterance, headers: HeaderCache, *, deep: bool = False) -> tuple[list[Finding], float]:
    """All that is wrong with one row, and the seconds of its segment (0 where that cannot be told)."""
    findings = list(check_text(utterance.text))
    try:
        info = headers.read(utterance.audio)
    except AudioError as error:
        return [*findings, Finding("audio", str(error), True)], 0.0
    end = info.duration if utterance.end is None else utterance.end
    duration = end - utterance.start
    findings += _check_times(utterance, info, duration)
    if deep and not any(finding.fatal for finding in findings):
        findings += _check_samples(utterance, info.sampling_rate)
    return findings, max(duration, 0.0)


def check_text(text: str) -> Iterator[Finding]:
    """Characters that a transcript should not hold; an empty one is the reader's note."""
    odd = sorted(set(_ODD_CHARACTERS.findall(text)))
    if odd:
        names = ", ".join(f"U+{ord(character):04X}" for character in odd)
        yield Finding("characters", f"the text holds {names}; models learn to write such marks", False)


def _check_times(utterance: Utterance, info: AudioInfo, duration: float) -> Iterator[Finding]:
    name = describe_source(utterance.audio)
    if utterance.start >= info.duration or (
        utterance.end is not None and utterance.end > info.duration + DURATION_TOLERANCE_SECONDS
    ):
        yield Finding(
            "end",
            f"utterance '{utterance.id}' is {utterance.start:.2f} to "
            f"{utterance.start + max(duration, 0):.2f} s but '{name}' lasts {info.duration:.2f} s; "
            "correct its times",
            True,
        )
        return
    if utterance.duration is not None and abs(utterance.duration - duration) > DURATION_TOLERANCE_SECONDS:
        yield Finding(
            "duration",
            f"duration is {utterance.duration:.2f} s but the segment of '{name}' lasts {duration:.2f} s; "
            "correct it, or look whether the file was cut",
            True,
        )
    if duration > LONG_SECONDS:
        yield Finding("long", f"lasts {duration:.2f} s; many models take {LONG_SECONDS:.0f} s at most", False)
    rate = len(utterance.text) / duration
    if rate > MAX_CHARACTERS_PER_SECOND:
        yield Finding(
            "rate",
            f"{len(utterance.text)} characters in {duration:.2f} s; nobody speaks {rate:.0f} a second",
            False,
        )
    if _is_ogg_without_end(utterance.audio):
        yield Finding("open", f"'{name}' lacks its closing page; it may have been cut", False)


def _check_samples(utterance: Utterance, sampling_rate: int) -> Iterator[Finding]:
    try:
        samples = utterance.samples(sampling_rate)
    except AudioError as error:
        yield Finding("audio", str(error), True)
        return
    clipped = float(np.mean(np.abs(samples) >= CLIPPED_LEVEL))
    if clipped > CLIPPED_SHARE:
        yield Finding("clipping", f"{100 * clipped:.1f} % of the samples are clipped", False)
    mean_square = float(np.mean(np.square(samples, dtype=np.float64)))
    level = 10 * np.log10(mean_square) if mean_square > 0 else -np.inf
    if level < SILENCE_DBFS:
        yield Finding("silence", f"is nearly silent ({level:.0f} dBFS)", False)


def _is_ogg_without_end(source: AudioSource) -> bool:
    """Whether an Ogg file stops before the page that is marked as its last, as a cut one does.

    libsndfile refuses a cut Vorbis file, but reads a cut Opus file as a shorter one.
    """
    if not isinstance(source, Path) or source.suffix.lower() not in (".ogg", ".opus"):
        return False
    with source.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 65_536))
        tail = file.read()
    page = tail.rfind(b"OggS")
    return page >= 0 and not tail[page + 5] & 4


def _place(problem: Problem) -> tuple[str, int]:
    """Where a problem is, so that line 10 comes after line 9."""
    match = re.fullmatch(r"(.*?)(\d+)", problem.where, re.DOTALL)
    return (match[1], int(match[2])) if match else (problem.where, 0)
