"""What train and test share: sentences, near-duplicates of sentences, speakers, recordings.

A model that has seen a test sentence, or its speaker, does better on it than it will on new speech;
:func:`find_leaks` lists which. Sentences are compared after the project's normaliser. Nothing is removed
here.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rapidfuzz import fuzz, process

from asr_headroom.audio.waveform import AudioSource, read_audio_bytes
from asr_headroom.data.manifest import Manifest, Utterance
from asr_headroom.errors import AudioError, UsageError
from asr_headroom.text.normalize import normalizer_for_language

__all__ = ["LeakReport", "NearDuplicate", "SharedItem", "find_leaks"]

_BLOCK_ROWS = 64


@dataclass(frozen=True)
class SharedItem:
    """A sentence, speaker or recording that both sides hold, and the utterances that hold it."""

    value: str
    train_ids: tuple[str, ...]
    test_ids: tuple[str, ...]


@dataclass(frozen=True)
class NearDuplicate:
    """A test sentence and the most similar train sentence; ``similarity`` is 0 to 100, 100 being equal."""

    test_sentence: str
    train_sentence: str
    similarity: float
    test_ids: tuple[str, ...]


@dataclass(frozen=True)
class LeakReport:
    """What two manifests share.

    Attributes:
        num_train: utterances of train.
        num_test: utterances of test.
        sentences: normalised sentences that stand in both.
        near_duplicates: further test sentences that are nearly a train sentence.
        speakers: in both.
        recordings: the same bytes, with segments that overlap.
        unreadable: recordings that could not be compared.
        leaked_ids: test utterances whose sentence, near-duplicate or recording is in train; speakers are not
            counted, because some tests share them on purpose.
    """

    num_train: int
    num_test: int
    sentences: tuple[SharedItem, ...]
    near_duplicates: tuple[NearDuplicate, ...]
    speakers: tuple[SharedItem, ...]
    recordings: tuple[SharedItem, ...]
    unreadable: tuple[str, ...]
    leaked_ids: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is shared and all could be compared."""
        return not (self.leaked_ids or self.speakers or self.unreadable)


def find_leaks(
    train: Manifest, test: Manifest, *, language: str | None = None, min_similarity: float = 90.0
) -> LeakReport:
    """Compares two manifests.

    Args:
        train: what a model learns from.
        test: what it is judged on.
        language: chooses the normaliser; None is each utterance's own language.
        min_similarity: from 0 to 100; rapidfuzz's ``ratio``, which is 200 × longest common subsequence / sum
            of the two lengths, from which on sentences are near-duplicates.

    Raises:
        UsageError: ``min_similarity`` is not between 0 and 100.
    """
    if not 0 < min_similarity <= 100:
        raise UsageError(f"min_similarity is {min_similarity}; it must be above 0 and at most 100")
    train_sentences, test_sentences = _ids_by_sentence(train, language), _ids_by_sentence(test, language)
    sentences = _shared(train_sentences, test_sentences)
    only_test = [sentence for sentence in test_sentences if sentence not in train_sentences]
    near = [
        NearDuplicate(sentence, match, similarity, tuple(test_sentences[sentence]))
        for sentence, match, similarity in _most_similar(only_test, list(train_sentences), min_similarity)
    ]
    recordings, unreadable = _shared_recordings(train, test)
    leaked = {id_ for item in (*sentences, *recordings) for id_ in item.test_ids}
    leaked.update(id_ for duplicate in near for id_ in duplicate.test_ids)
    return LeakReport(
        num_train=len(train),
        num_test=len(test),
        sentences=sentences,
        near_duplicates=tuple(near),
        speakers=_shared(_ids_by_speaker(train), _ids_by_speaker(test)),
        recordings=recordings,
        unreadable=unreadable,
        leaked_ids=tuple(utterance.id for utterance in test if utterance.id in leaked),
    )


def _ids_by_sentence(manifest: Manifest, language: str | None) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = defaultdict(list)
    for utterance in manifest:
        sentence = normalizer_for_language(language or utterance.language)(utterance.text)
        if sentence:
            ids[sentence].append(utterance.id)
    return ids


def _ids_by_speaker(manifest: Manifest) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = defaultdict(list)
    for utterance in manifest:
        if utterance.speaker is not None:
            ids[utterance.speaker].append(utterance.id)
    return ids


def _shared(train: Mapping[str, Sequence[str]], test: Mapping[str, Sequence[str]]) -> tuple[SharedItem, ...]:
    return tuple(SharedItem(value, tuple(train[value]), tuple(ids)) for value, ids in test.items() if value in train)


def _most_similar(
    sentences: Sequence[str], candidates: Sequence[str], min_similarity: float
) -> list[tuple[str, str, float]]:
    """For each sentence the candidate most like it, where one reaches the threshold, in their order.

    Both are sorted by length and compared in blocks: two texts of lengths a <= b are at most 200 a / (a + b)
    alike, so each block meets only the candidates of nearly its length.
    """
    shortest_share = min_similarity / (200 - min_similarity)
    candidates = sorted(candidates, key=len)
    lengths = np.array([len(candidate) for candidate in candidates])
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    found: dict[int, tuple[str, str, float]] = {}
    for begin in range(0, len(order), _BLOCK_ROWS):
        block = order[begin : begin + _BLOCK_ROWS]
        low = np.searchsorted(lengths, len(sentences[block[0]]) * shortest_share - 1e-9, side="left")
        high = np.searchsorted(lengths, len(sentences[block[-1]]) / shortest_share + 1e-9, side="right")
        if low >= high:
            continue
        near = candidates[low:high]
        similarities = process.cdist(
            [sentences[i] for i in block],
            near,
            scorer=fuzz.ratio,
            score_cutoff=min_similarity,
            dtype=np.float32,
        )
        best = similarities.argmax(axis=1)
        for row, i in enumerate(block):
            if similarities[row, best[row]] >= min_similarity:
                found[i] = (sentences[i], near[best[row]], float(similarities[row, best[row]]))
    return [found[i] for i in sorted(found)]


def _shared_recordings(train: Manifest, test: Manifest) -> tuple[tuple[SharedItem, ...], tuple[str, ...]]:
    """Recordings equal byte for byte whose segments overlap, and those that cannot be read."""
    unreadable: list[str] = []
    train_by_size, test_by_size = _by_size(train, unreadable), _by_size(test, unreadable)
    items: list[SharedItem] = []
    for size in test_by_size.keys() & train_by_size.keys():
        train_by_hash = _by_hash(train_by_size[size], unreadable)
        test_by_hash = _by_hash(test_by_size[size], unreadable)
        for digest in test_by_hash.keys() & train_by_hash.keys():
            item = _overlapping(train_by_hash[digest], test_by_hash[digest])
            if item is not None:
                items.append(item)
    return tuple(sorted(items, key=lambda item: item.value)), tuple(dict.fromkeys(unreadable))


def _by_size(manifest: Manifest, unreadable: list[str]) -> dict[int, list[Utterance]]:
    by_size: dict[int, list[Utterance]] = defaultdict(list)
    sizes: dict[Path, int] = {}
    for utterance in manifest:
        audio = utterance.audio
        try:
            if isinstance(audio, Path):
                size = sizes[audio] if audio in sizes else sizes.setdefault(audio, audio.stat().st_size)
            else:
                size = len(read_audio_bytes(audio))
        except (OSError, AudioError):
            unreadable.append(_name(utterance))
            continue
        by_size[size].append(utterance)
    return by_size


def _by_hash(utterances: Sequence[Utterance], unreadable: list[str]) -> dict[str, list[Utterance]]:
    by_hash: dict[str, list[Utterance]] = defaultdict(list)
    digests: dict[Path, str] = {}
    for utterance in utterances:
        audio = utterance.audio
        try:
            if isinstance(audio, Path):
                digest = digests[audio] if audio in digests else digests.setdefault(audio, _digest(audio))
            else:
                digest = _digest(audio)
        except AudioError:
            unreadable.append(_name(utterance))
            continue
        by_hash[digest].append(utterance)
    return by_hash


def _digest(audio: AudioSource) -> str:
    return hashlib.sha256(read_audio_bytes(audio)).hexdigest()


def _overlapping(train: Sequence[Utterance], test: Sequence[Utterance]) -> SharedItem | None:
    """The utterances of one recording whose segments overlap with one of the other side."""
    test_ids = tuple(u.id for u in test if any(_overlap(u, other) for other in train))
    train_ids = tuple(u.id for u in train if any(_overlap(u, other) for other in test))
    return SharedItem(_name(test[0]), train_ids, test_ids) if test_ids else None


def _overlap(one: Utterance, other: Utterance) -> bool:
    one_end = float("inf") if one.end is None else one.end
    other_end = float("inf") if other.end is None else other.end
    return one.start < other_end and other.start < one_end


def _name(utterance: Utterance) -> str:
    audio = utterance.audio
    return str(audio) if isinstance(audio, Path) else f"audio of '{utterance.id}'"
