"""The espeak-ng synthesiser, called through ctypes: text in, samples with word and phoneme onsets out.

The library and its voices come from the optional package ``espeakng-loader``; nothing of it is shipped
here. It keeps noise and flutter state between calls, so equal calls give equal samples only in a process
that made the same calls before: :mod:`asr_headroom.lab.speech` renders every shard in a fresh process for
that reason.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from asr_headroom.errors import ConfigError, MissingDependencyError, did_you_mean

__all__ = ["Event", "Speech", "synthesize"]

_RETRIEVE = 2  # AUDIO_OUTPUT_SYNCHRONOUS
_PHONEME_EVENTS_NO_EXIT = 0x8001
_UTF8 = 1
_RATE, _PITCH, _PITCH_RANGE = 1, 3, 4
_KINDS: dict[int, Literal["word", "phoneme"]] = {1: "word", 7: "phoneme"}


class Event(NamedTuple):
    """The onset of a word or phoneme.

    ``onset`` is in seconds; ``position`` is the index of the word's first character in the text; ``name``
    is the phoneme's mnemonic, empty for words and pauses.
    """

    kind: Literal["word", "phoneme"]
    onset: float
    position: int
    name: str


@dataclass(frozen=True)
class Speech:
    """Samples, [samples] float32 in [-1, 1] at ``sampling_rate`` Hz, with their events in order of time."""

    samples: np.ndarray
    sampling_rate: int
    events: tuple[Event, ...]


def synthesize(
    text: str,
    voice: str,
    *,
    variant: str = "",
    rate: int = 175,
    pitch: int = 50,
    pitch_range: int = 50,
    seed: int = 0,
) -> Speech:
    """Speaks a text.

    Args:
        text: what to say.
        voice: espeak-ng's language voice, such as ``fr`` or ``cmn``.
        variant: name of a speaker variant, such as ``f2``; empty is the voice's own.
        rate: words per minute.
        pitch: base pitch, 0 to 99.
        pitch_range: liveliness of the intonation, 0 to 99.
        seed: of the synthesiser's noise.

    Raises:
        MissingDependencyError: ``espeakng-loader`` is not installed.
        ConfigError: there is no such voice or variant.
    """
    engine = _engine()
    # espeak-ng takes an unknown variant for none and speaks on.
    if variant and variant not in engine.variants:
        raise ConfigError(f"unknown espeak-ng variant '{variant}'{did_you_mean(variant, engine.variants)}")
    engine.chunks.clear()
    engine.events.clear()
    name = f"{voice}+{variant}" if variant else voice
    if engine.library.espeak_SetVoiceByName(name.encode()) != 0:
        raise ConfigError(f"unknown espeak-ng voice '{name}'; see `espeak-ng --voices` for what there is")
    # Choosing a voice resets the parameters, so they are set after it each time.
    for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_PITCH_RANGE, pitch_range)):
        engine.library.espeak_SetParameter(parameter, value, 0)
    engine.library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
    encoded = text.encode() + b"\0"
    status = engine.library.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None)
    if status != 0:
        raise RuntimeError(f"espeak-ng fails with status {status} on {text!r}")
    engine.library.espeak_Synchronize()
    samples = np.concatenate(engine.chunks) if engine.chunks else np.zeros(0, np.int16)
    return Speech(samples.astype(np.float32) / 32768, engine.sampling_rate, tuple(engine.events))


class _RawEvent(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_RawEvent))


class _Engine:
    """The loaded library and what its callback has collected since the last text."""

    def __init__(self, library_path: str, data_path: str) -> None:
        self.chunks: list[np.ndarray] = []
        self.events: list[Event] = []
        self.variants = {path.name for path in (Path(data_path) / "voices" / "!v").iterdir()}
        self.library = ctypes.CDLL(library_path)
        self.sampling_rate: int = self.library.espeak_Initialize(
            _RETRIEVE, 200, data_path.encode(), _PHONEME_EVENTS_NO_EXIT
        )
        self._callback = _Callback(self._collect)  # the library keeps only a pointer to it
        self.library.espeak_SetSynthCallback(self._callback)
        self.library.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]

    def _collect(self, samples: ctypes._Pointer, count: int, raw: ctypes._Pointer) -> int:
        if samples and count > 0:
            self.chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while raw and raw[index].type != 0:
            event = raw[index]
            if event.type in _KINDS:
                kind = _KINDS[event.type]
                name = event.id.decode("utf-8", "ignore") if kind == "phoneme" else ""
                self.events.append(Event(kind, event.audio_position_ms / 1000, event.text_position - 1, name))
            index += 1
        return 0


@functools.cache
def _engine() -> _Engine:
    try:
        import espeakng_loader
    except ImportError as error:
        raise MissingDependencyError("espeakng-loader", "lab") from error
    return _Engine(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())
