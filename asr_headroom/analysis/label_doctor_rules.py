"""What can be seen of a transcript or a recording without any model: oddities, each said in words.

A rule that compares a transcript with the others of the corpus says what is usual there. Findings that make a
transcript unusable whatever was said (nothing in it, more letters than the time allows) are severe; the others, a stray
guillemet for example, are a matter of form.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from asr_headroom.analysis.label_doctor_evidence import Clip, rate_of, robust_z
from asr_headroom.audio.noise_level import estimate_snr
from asr_headroom.text.detect import foreign_language, has_content, script_counts, scripts_of_language

__all__ = ["Finding", "audio_findings", "text_findings"]

_RATE_BOUND = 5.0
"""Robust standard deviations of the logarithm of letters per second; normal speech of one corpus lies within 3."""
_MIN_CLIPS = 20
"""Of a language, for what is usual in it to be known."""
_USUAL = 0.98
"""Share of the transcripts that have a form, for the others to be odd."""
_RARE_CHARACTER = 0.002
"""Share of the transcripts that hold a character, at most, for it to be odd; and no more than three of them do."""
_MARKUP = re.compile(r"<[^<>]{1,30}>|\[[^\[\]]{1,30}\]|https?://|&[a-z]+;")
_SILENT_DBFS = -60.0
_CLIPPED_SHARE = 0.005
_NOISY_DB = 3.0
_FRAME_SECONDS = 0.02
_EDGE_SECONDS = 0.06
_EDGE_DB = 3.0
"""An edge that is no further below the loud parts than this is in the middle of a sound."""


@dataclass(frozen=True)
class Finding:
    """One oddity.

    Attributes:
        kind: ``empty``, ``rate``, ``script``, ``language``, ``characters``, ``form`` or ``audio``.
        message: in words, with the numbers.
        is_severe: enough to suspect the transcript by itself.
    """

    kind: str
    message: str
    is_severe: bool = False


def text_findings(clips: Sequence[Clip]) -> dict[str, list[Finding]]:
    """Oddities of transcripts and of their length, by id; clips without any are missing."""
    found: dict[str, list[Finding]] = defaultdict(list)
    for clip in clips:
        for finding in _alone(clip):
            found[clip.id].append(finding)
    by_language: dict[str | None, list[Clip]] = defaultdict(list)
    for clip in clips:
        if has_content(clip.text):
            by_language[clip.language].append(clip)
    for group in by_language.values():
        if len(group) >= _MIN_CLIPS:
            for id_, finding in (*_rates(group), *_characters(group), *_forms(group)):
                found[id_].append(finding)
    return dict(found)


def _alone(clip: Clip) -> Iterator[Finding]:
    """What is odd whatever the others are like."""
    if not has_content(clip.text):
        yield Finding("empty", "says nothing", is_severe=True)
        return
    if any(unicodedata.category(character) in ("Cc", "Co", "Cn", "Cs") or character == "�" for character in clip.text):
        yield Finding("characters", "holds control characters or signs of a wrong encoding")
    if markup := _MARKUP.search(clip.text):
        yield Finding("form", f"holds markup: {markup[0]}")
    if not clip.language:
        return
    own = scripts_of_language(clip.language)
    scripts = script_counts(clip.text)
    strange = sum(count for script, count in scripts.items() if script not in own) if own else 0
    if strange > 0.5 * scripts.total():
        names = ", ".join(script.lower() for script in scripts if script not in own)
        yield Finding("script", f"is not in the script of '{clip.language}' but in {names}", is_severe=True)
    elif strange and len(own) == 1 and any(_mixes_scripts(word) for word in clip.text.split()):
        yield Finding("script", "has a word with letters of two scripts")
    if language := foreign_language(clip.text, clip.language):
        yield Finding("language", f"reads like '{language}', not '{clip.language}'", is_severe=True)


def _mixes_scripts(word: str) -> bool:
    return len(script_counts(word).keys() & {"LATIN", "CYRILLIC", "GREEK"}) > 1


def _rates(group: Sequence[Clip]) -> Iterator[tuple[str, Finding]]:
    rates = np.array([rate_of(clip.text, clip.duration) for clip in group])
    usual = math.exp(float(np.median(rates)))
    for clip, z, rate in zip(group, robust_z(rates), rates, strict=True):
        if abs(z) > _RATE_BOUND:
            what = "more than the recording can hold" if z > 0 else "too little for so long a recording"
            message = f"{math.exp(rate):.1f} letters per second, {what} (the corpus has {usual:.1f})"
            yield clip.id, Finding("rate", message, is_severe=True)


def _characters(group: Sequence[Clip]) -> Iterator[tuple[str, Finding]]:
    """Characters beyond a-z and 0-9 that next to no other transcript has, in 500 of them or more.

    Of a large alphabet most are rare, and none is odd.
    """
    sets = [frozenset(clip.text.casefold()) for clip in group]
    counts = Counter(character for characters in sets for character in characters)
    if len(counts) > 200:
        return
    limit = min(3, _RARE_CHARACTER * len(group))
    for clip, characters in zip(group, sets, strict=True):
        rare = sorted(c for c in characters if counts[c] <= limit and not (c.isascii() and c.isalnum()))
        if rare:
            names = ", ".join(f"{c!r} ({unicodedata.name(c, 'no name').lower()})" for c in rare)
            yield clip.id, Finding("characters", f"holds {names}, which next to no other transcript has")


_FORMS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("all in capitals", str.isupper),
    ("all in lower case", str.islower),
    ("without digits", lambda text: not any(map(str.isdigit, text))),
    ("without typographic quotation marks", lambda text: not set(text) & set("«»“”„")),
    ("without unusual spaces", lambda text: all(c == " " or not c.isspace() for c in text)),
    ("ending with a mark", lambda text: not text.rstrip()[-1:].isalnum()),
    ("not ending with a mark", lambda text: text.rstrip()[-1:].isalnum()),
)


def _forms(group: Sequence[Clip]) -> Iterator[tuple[str, Finding]]:
    for name, has_form in _FORMS:
        others = [clip for clip in group if not has_form(clip.text)]
        if 0 < len(others) <= (1 - _USUAL) * len(group):
            for clip in others:
                share = 100 * (1 - len(others) / len(group))
                yield clip.id, Finding("form", f"not {name}, as {share:.1f} % of the transcripts are")


def audio_findings(samples: np.ndarray, sampling_rate: int) -> list[Finding]:
    """What is wrong with a recording: silent, clipped, noisy, cut in the middle of a sound.

    Args:
        samples: [samples] in [-1, 1].
        sampling_rate: Hz.
    """
    size = max(1, round(_FRAME_SECONDS * sampling_rate))
    num_frames = len(samples) // size
    if not num_frames:
        return [Finding("audio", f"lasts {1000 * len(samples) / sampling_rate:.0f} ms", is_severe=True)]
    power = np.mean(samples[: num_frames * size].reshape(num_frames, size).astype(np.float64) ** 2, axis=1)
    level = 10 * np.log10(np.maximum(power, 1e-12))
    loud = float(np.quantile(level, 0.95))
    if loud < _SILENT_DBFS:
        return [Finding("audio", f"silent: its loud parts are at {loud:.0f} dBFS", is_severe=True)]
    found = []
    clipped = float(np.mean(np.abs(samples) >= 0.999))
    if clipped > _CLIPPED_SHARE:
        found.append(Finding("audio", f"overdriven: {100 * clipped:.1f} % of the samples are at full scale"))
    snr = estimate_snr(samples, sampling_rate)
    if snr is not None and snr < _NOISY_DB:
        found.append(Finding("audio", f"noisy: about {snr:.0f} dB between speech and noise"))
    edge = max(1, round(_EDGE_SECONDS / _FRAME_SECONDS))
    for name, frames in (("starts", level[:edge]), ("ends", level[-edge:])):
        if num_frames > 4 * edge and float(frames.min()) > loud - _EDGE_DB:
            found.append(Finding("audio", f"cut: it {name} in the middle of a sound"))
    return found
