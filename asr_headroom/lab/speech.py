"""Synthetic speech as a stream or as a corpus on disk, the same to the bit however many processes make it.

A :class:`SpeechRecipe` says what to make. Its utterances come in shards of 100; each shard is rendered in a
fresh process from its own seed, because the synthesiser keeps state between calls. So a corpus of 1000
begins with the corpus of 600, and neither depends on the number of processes. Start with
:func:`write_corpus`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import soundfile
import soxr

from asr_headroom.config import fingerprint, to_mapping
from asr_headroom.data.manifest import Utterance, write_manifest
from asr_headroom.errors import ConfigError, DataError
from asr_headroom.lab import espeak
from asr_headroom.lab.lexicon import LANGUAGES, Split, make_sentence

__all__ = ["SAMPLING_RATE", "VOICES", "SpeechRecipe", "SpokenSentence", "render", "shards", "write_corpus"]

SAMPLING_RATE = 16_000
"""Hz of all synthetic speech."""

SHARD_UTTERANCES = 100
"""Utterances rendered by one fresh process. Part of what a corpus is: another number would give other
samples."""

_VERSION = 1  # of what a recipe means; raise it when the same recipe would give other samples

_ESPEAK_VOICES = {"fr": "fr", "zh": "cmn", "en": "en"}

_VOICE_NAMES: dict[Split, str] = {
    "train": (
        "m1 m3 m4 m5 m7 m8 f1 f2 f4 klatt3 Alex Andrea Andy Denis Gene Henrique Jacky Lee Mario Michael Mike "
        "Reed adam antonio benjamin boris caleb david ed edward grandma gustave ian iven john linda max "
        "michel norbert pablo paul pedro quincy rob sandro shelby steph steph2 travis"
    ),
    "dev": "Gene2 Nguyen grandpa iven4 klatt4 marcelo",
    "test": "m2 m6 f3 f5 Annie Diogo aunty belinda miguel robert victor",
}

VOICES: dict[Split, tuple[str, ...]] = {split: tuple(names.split()) for split, names in _VOICE_NAMES.items()}
"""Speaker variants of each split; no voice is in two. Whispered and robotic ones are left out, and so is
``zac``, which a trial model could not follow at all (85 % WER where the other voices had 7 to 34 %). The dev
voices were picked to be about as hard as training voices for a half-trained model; the test voices were not
picked by results."""


@dataclass(frozen=True, kw_only=True)
class SpeechRecipe:
    """What a synthetic corpus is made of; equal recipes give equal samples."""

    language: str = "fr"
    """Language of the sentences: fr, zh or en."""

    split: Split = "train"
    """Split whose sentences, and unless stated whose voices, are used."""

    count: int = 600
    """Utterances."""

    seed: int = 0
    """Another seed gives other sentences, voices and rooms."""

    voices: tuple[str, ...] = ()
    """Speaker variants of espeak-ng to draw from; empty takes those of the split."""

    rate: tuple[int, int] = (150, 215)
    """Speaking rate, words per minute, drawn between these."""

    pitch: tuple[int, int] = (20, 80)
    """Base pitch, 0 to 99."""

    pitch_range: tuple[int, int] = (30, 70)
    """Liveliness of the intonation, 0 to 99."""

    warp: tuple[float, float] = (0.92, 1.08)
    """Factor on all frequencies and on the tempo: a shorter or longer vocal tract."""

    reverberant_share: float = 0.4
    """Share of utterances spoken in a room, its tail 40 to 150 ms long."""

    snr: tuple[float, float] = (5.0, 30.0)
    """Signal-to-noise ratio, dB."""

    max_duration: float = 3.5
    """Seconds; longer utterances are drawn again."""

    def __post_init__(self) -> None:
        problems = []
        if self.language not in LANGUAGES:
            problems.append(f"language is '{self.language}'; choose from: {', '.join(LANGUAGES)}")
        if self.split not in VOICES:
            problems.append(f"split is '{self.split}'; choose from: {', '.join(VOICES)}")
        if self.count < 1:
            problems.append(f"count is {self.count}; it must be at least 1")
        if not 0 <= self.reverberant_share <= 1:
            problems.append(f"reverberant_share is {self.reverberant_share}; it must be between 0 and 1")
        if self.max_duration < 1.5:
            problems.append(f"max_duration is {self.max_duration} s; it must be at least 1.5 s to hold a sentence")
        for name in ("rate", "pitch", "pitch_range", "warp", "snr"):
            bounds = getattr(self, name)
            if len(bounds) != 2 or not bounds[0] <= bounds[1]:
                problems.append(f"{name} is {list(bounds)}; write two numbers, the lower one first")
        if problems:
            raise ConfigError("\n".join(f"speech: {problem}" for problem in problems))


@dataclass(frozen=True)
class SpokenSentence:
    """One rendered utterance.

    ``samples`` are [samples] int16 at 16 kHz; ``events`` are the onsets that the synthesiser reports.
    """

    samples: np.ndarray
    text: str
    language: str
    voice: str
    events: tuple[espeak.Event, ...]

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / SAMPLING_RATE


@dataclass(frozen=True)
class Shard:
    """A stretch of a recipe that one process renders."""

    recipe: SpeechRecipe
    index: int
    count: int


def shards(recipe: SpeechRecipe) -> Iterator[Shard]:
    """The recipe in pieces of 100 utterances; only the last may be smaller."""
    for index, start in enumerate(range(0, recipe.count, SHARD_UTTERANCES)):
        yield Shard(recipe, index, min(SHARD_UTTERANCES, recipe.count - start))


def render(
    pieces: Iterable[Shard], *, processes: int = 2, ahead: int = 4
) -> Generator[list[SpokenSentence], None, None]:
    """Renders shards, each in a fresh process, and gives them back in order.

    Args:
        pieces: may be endless; at most ``ahead`` of them are rendered before they are asked for.
        processes: rendering at the same time; the samples do not depend on it.
        ahead: shards in work or waiting.

    Raises:
        MissingDependencyError: ``espeakng-loader`` is not installed.
    """
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        # Children are forked from a small server that has numpy loaded, and never from a process with torch
        # threads.
        context.set_forkserver_preload([__name__])
    iterator = iter(pieces)
    with context.Pool(processes, maxtasksperchild=1) as pool:
        pending = deque(pool.apply_async(_render_shard, (piece,)) for piece in itertools.islice(iterator, ahead))
        while pending:
            rendered = pending.popleft().get()
            for piece in itertools.islice(iterator, 1):
                pending.append(pool.apply_async(_render_shard, (piece,)))
            yield rendered


def write_corpus(directory: Path, recipe: SpeechRecipe, *, processes: int = 2) -> Path:
    """Writes a corpus as 16 kHz WAV files and a manifest, unless it is there already.

    Args:
        directory: for ``manifest.jsonl``, ``audio/`` and ``recipe.json``, which holds the recipe and the
            MD5 of all samples.
        recipe: what to make.
        processes: rendering at the same time.

    Returns:
        Path of the manifest.

    Raises:
        DataError: the directory holds the corpus of another recipe.
        MissingDependencyError: ``espeakng-loader`` is not installed.
    """
    manifest, record = directory / "manifest.jsonl", directory / "recipe.json"
    identity = fingerprint({"version": _VERSION, "recipe": to_mapping(recipe), "voices": _voices(recipe)})
    if record.is_file():
        try:
            stored = json.loads(record.read_text(encoding="utf-8"))["fingerprint"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{record}: cannot be read ({error}); delete {directory} or choose another directory"
            ) from error
        if stored == identity:
            return manifest
        raise DataError(f"{directory}: holds the corpus of another recipe; delete it or choose another directory")
    (directory / "audio").mkdir(parents=True, exist_ok=True)
    digest = hashlib.md5(usedforsecurity=False)
    utterances: list[Utterance] = []
    for sentence in itertools.chain.from_iterable(render(shards(recipe), processes=processes)):
        name = f"{recipe.language}-{recipe.split}-{recipe.seed}-{len(utterances):05d}"
        path = directory / "audio" / f"{name}.wav"
        try:
            soundfile.write(path, sentence.samples, SAMPLING_RATE, subtype="PCM_16")
        except (soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts that all was written
            raise DataError(f"{path}: cannot be written; free some space and run the same command again") from error
        digest.update(sentence.samples.tobytes())
        utterances.append(
            Utterance(
                id=name,
                audio=path,
                text=sentence.text,
                language=sentence.language,
                speaker=sentence.voice,
                duration=sentence.duration,
            )
        )
    write_manifest(manifest, utterances)
    # Written last: without it the corpus counts as unfinished and is made again.
    contents = {"fingerprint": identity, "md5": digest.hexdigest(), "recipe": to_mapping(recipe)}
    record.write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")
    return manifest


def _voices(recipe: SpeechRecipe) -> tuple[str, ...]:
    return recipe.voices or VOICES[recipe.split]


def _render_shard(shard: Shard) -> list[SpokenSentence]:
    recipe = replace(shard.recipe, count=shard.count)
    random = Random(f"{recipe.language}/{recipe.split}/{recipe.seed}/{shard.index}")
    rendered: list[SpokenSentence] = []
    while len(rendered) < shard.count:
        sentence = _speak(recipe, random)
        if sentence is not None:
            rendered.append(sentence)
    return rendered


def _speak(recipe: SpeechRecipe, random: Random) -> SpokenSentence | None:
    """One utterance; None where what was drawn is too long or empty."""
    text = make_sentence(recipe.language, random, recipe.split)
    voice = random.choice(_voices(recipe))
    speech = espeak.synthesize(
        text,
        _ESPEAK_VOICES[recipe.language],
        variant=voice,
        rate=random.randint(*recipe.rate),
        pitch=random.randint(*recipe.pitch),
        pitch_range=random.randint(*recipe.pitch_range),
        seed=random.getrandbits(30),
    )
    noise = np.random.default_rng(random.getrandbits(64))
    # Resampling from a pretended rate moves formants, pitch and tempo together, as another vocal tract would.
    warp = random.uniform(*recipe.warp)
    samples = soxr.resample(speech.samples, speech.sampling_rate * warp, SAMPLING_RATE, quality="LQ")
    voiced = np.flatnonzero(np.abs(samples) > 1e-3)
    if not len(voiced):
        return None
    lead, tail = random.uniform(0.0, 0.12), random.uniform(0.0, 0.15)
    shift = lead - voiced[0] / SAMPLING_RATE
    samples = np.pad(samples[voiced[0] : voiced[-1]], (round(lead * SAMPLING_RATE), round(tail * SAMPLING_RATE)))
    if not 0.4 < len(samples) / SAMPLING_RATE <= recipe.max_duration:
        return None
    if random.random() < recipe.reverberant_share:
        samples = _in_room(samples, random.uniform(0.04, 0.15), random.uniform(0.05, 0.25), noise)
    samples = _with_noise(samples, random.uniform(*recipe.snr), random.random() < 0.5, noise)
    samples = samples / (np.abs(samples).max() + 1e-6) * random.uniform(0.3, 0.9)
    events = tuple(event._replace(onset=event.onset / warp + shift) for event in speech.events)
    return SpokenSentence((samples * 32767).astype(np.int16), text, recipe.language, voice, events)


def _in_room(samples: np.ndarray, tail: float, level: float, noise: np.random.Generator) -> np.ndarray:
    """Adds a decaying noise tail of ``tail`` seconds at ``level`` of the direct sound."""
    taps = int(SAMPLING_RATE * tail)
    response = noise.standard_normal(taps) * np.exp(-np.arange(taps) / taps * 5) * level
    response[0] = 1.0
    size = 1 << (len(samples) + taps).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)
    return wet[: len(samples)].astype(np.float32)


def _with_noise(samples: np.ndarray, snr: float, dull: bool, noise: np.random.Generator) -> np.ndarray:
    """Adds white noise, or low-passed noise where ``dull``, at a signal-to-noise ratio in dB."""
    disturbance = noise.standard_normal(len(samples), dtype=np.float32)
    if dull:
        disturbance = np.convolve(disturbance, np.array([0.5, 0.3, 0.2], np.float32), "same")
    gain = np.sqrt(np.mean(samples**2) / (np.mean(disturbance**2) + 1e-9) * 10 ** (-snr / 10))
    return samples + disturbance * gain
