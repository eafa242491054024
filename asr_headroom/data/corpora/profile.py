"""A profile: one public corpus cut exactly as the published study cut it.

The order is load, filter, subsample (the permutation is over the *filtered* split), so that the study's test
sets come out row by row. :func:`filter_fault` and :func:`subsample` are pure; :func:`load` joins them.
Nothing here knows a corpus: those are the files beside this one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from asr_headroom.audio.waveform import read_info
from asr_headroom.data.hub import DatasetSource, dataset_rows, open_dataset
from asr_headroom.data.manifest import Manifest, Problem, Utterance
from asr_headroom.data.readers_rows import RowCollector
from asr_headroom.errors import AudioError, DataError, did_you_mean

__all__ = ["MAX_DURATION_SECONDS", "MIN_TEXT_CHARACTERS", "Profile", "filter_fault", "load", "subsample"]

MAX_DURATION_SECONDS = 30.0
MIN_TEXT_CHARACTERS = 2
SUBSAMPLE_SEED = 42
_DEV100 = "dev100"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Where a corpus is and how the study cut it.

    Attributes:
        name: that sources are written with, ``name@split``.
        hub_id: of the data set.
        config: of the data set; None where it has one.
        language: BCP-47 tag.
        text_column: that holds the transcript.
        splits: our ``train``, ``dev``, ``test`` to the data set's own names.
        sizes: rows that the study took of each filtered split, at most.
        filtered_sizes: rows of each filtered split in the study, where it stated them.
        durations: shortest, mean and longest of the training utterances in seconds, as the study stated them.
    """

    name: str
    hub_id: str
    config: str | None
    language: str
    text_column: str
    splits: Mapping[str, str]
    sizes: Mapping[str, int]
    filtered_sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    durations: tuple[float, float, float] | None = None


def filter_fault(text: str, duration: float) -> str | None:
    """Why the study left a row out, or None: fewer than 2 characters after strip, or longer than 30.0 s.

    >>> filter_fault(" a ", 3.0), filter_fault("oui", 30.0)
    ('filtered out: the text has 1 characters, fewer than 2', None)
    """
    if len(text.strip()) < MIN_TEXT_CHARACTERS:
        return f"filtered out: the text has {len(text.strip())} characters, fewer than {MIN_TEXT_CHARACTERS}"
    if duration > MAX_DURATION_SECONDS:
        return f"filtered out: lasts {duration:.2f} s, more than {MAX_DURATION_SECONDS} s"
    return None


def subsample(rows: Sequence[T], size: int, seed: int = SUBSAMPLE_SEED) -> list[T]:
    """``size`` rows in the order of a seeded permutation; all of them as they are where there are no more.

    >>> subsample("abcd", 2), subsample("abcd", 4)
    (['d', 'c'], ['a', 'b', 'c', 'd'])
    """
    if size >= len(rows):
        return list(rows)
    return [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))[:size]]


def load(profile: Profile, split: str, root: str | Path | None = None, language: str | None = None) -> Manifest:
    """One split of a profile as the study used it.

    Rows that the filter leaves out are fatal problems (``is_filtered``) that name the filter; rows that the
    subsample leaves out are none. ``dev100`` is the first 100 rows of ``dev`` after both.

    Args:
        profile: which corpus.
        split: ``train``, ``dev``, ``test`` or ``dev100``.
        root: local folder or parquet file to read instead of the hub.
        language: another BCP-47 tag for the rows.

    Raises:
        DataError: unknown split, or the corpus cannot be loaded.
    """
    known = [*profile.splits, _DEV100]
    if split not in known:
        raise DataError(
            f"{profile.name}@{split}: unknown split{did_you_mean(split, known)} (there are: {', '.join(known)})"
        )
    part = "dev" if split == _DEV100 else split
    name = f"{profile.name}@{split}"
    collector = RowCollector(Path(), language or profile.language)
    dataset = open_dataset(_source(profile, part, root))
    collector.add_all(dataset_rows(dataset, name, text_column=profile.text_column))
    # The profile knows the language better than a column that says "French".
    tagged = [dataclasses.replace(u, language=language or profile.language) for u in collector.utterances]
    kept, problems = _filter(tagged)
    problems = [*(p for p in collector.problems if p.fatal), *problems, *_size_note(profile, part, len(kept))]
    chosen = subsample(kept, profile.sizes[part])
    return Manifest(name, chosen[:100] if split == _DEV100 else chosen, problems)


def _source(profile: Profile, part: str, root: str | Path | None) -> DatasetSource:
    split = profile.splits[part]
    if root is None:
        return DatasetSource(profile.hub_id, profile.config, split)
    path = Path(root).expanduser()
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; give the data of {profile.name}, or let the hub provide it")
    if profile.config and (path / profile.config).is_dir():
        path = path / profile.config
    return DatasetSource(str(path), split=split, is_local=True)


def _filter(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Problem]]:
    kept, problems = [], []
    for utterance in utterances:
        try:
            duration = read_info(utterance.audio).duration
        except AudioError as error:
            problems.append(Problem(utterance.origin, str(error)))
            continue
        fault = filter_fault(utterance.text, duration)
        if fault is None:
            kept.append(dataclasses.replace(utterance, duration=duration))
        else:
            problems.append(Problem(utterance.origin, fault, is_filtered=True))
    return kept, problems


def _size_note(profile: Profile, part: str, num_kept: int) -> list[Problem]:
    expected = profile.filtered_sizes.get(part)
    if expected is None or expected == num_kept:
        return []
    message = f"{num_kept} rows after the filter where the study had {expected}; this is not the study's exact set"
    return [Problem(f"{profile.name}@{part}", message, fatal=False)]
