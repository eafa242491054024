"""What a dry run knows of the training data: the durations of manifests, or what is published of a profile's corpus.

No audio is opened and nothing is downloaded: a profile's figures stand in :mod:`asr_headroom.data.corpora`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from asr_headroom.data.corpora.registry import PROFILES
from asr_headroom.data.nonspeech import NONSPEECH_SECONDS
from asr_headroom.errors import DataError
from asr_headroom.stages.data import Loaded, load_data
from asr_headroom.stages.training_data import NONSPEECH, count_nonspeech, load_sources
from asr_headroom.text.units import UNSPACED_LANGUAGES, primary_subtag

if TYPE_CHECKING:
    from asr_headroom.data.corpora.profile import Profile
    from asr_headroom.stages.bench import BenchConfig
    from asr_headroom.stages.train import TrainStageConfig

__all__ = ["ExpectedSource", "expected_sources", "expected_test_set", "is_unspaced", "target_tokens"]

logger = logging.getLogger(__name__)

_CHARACTERS_PER_TOKEN = {"spaced": 3.5, "unspaced": 1.0}
_CHARACTERS_PER_SECOND = {"spaced": 12.0, "unspaced": 4.0}
"""Of read speech, where no transcript is at hand: the study's dev set has 2266 French words of 5 letters and a space in
about 1160 s; Mandarin is read at some 240 characters a minute."""


@dataclass(frozen=True)
class ExpectedSource:
    """One manifest that will be trained on.

    Attributes:
        name: as given.
        durations: seconds of each utterance; of a profile, its mean for each.
        characters: of each transcript.
        longest: seconds of the longest utterance.
        language: BCP-47 tag of the first.
        texts: transcripts; None where they are not at hand.
        is_replay: see :class:`asr_headroom.stages.training_data.Source`.
    """

    name: str
    durations: Sequence[float]
    characters: Sequence[float]
    longest: float
    language: str | None
    texts: Sequence[str] | None = None
    is_replay: bool = False

    def made_for(self, max_duration: float) -> ExpectedSource:
        """Silence and noise as long as the model takes them; any other source as it is."""
        if self.name != NONSPEECH or self.longest <= max_duration:
            return self
        shrink = max_duration / self.longest
        return replace(self, durations=[shrink * seconds for seconds in self.durations], longest=max_duration)


def expected_sources(config: TrainStageConfig) -> list[ExpectedSource]:
    """Every training source, replay last.

    Raises:
        DataError: a manifest cannot be read, or a profile's split has no published figures.
    """
    names = [*config.train, *([config.replay] if config.replay else [])]
    if not any(_profile(name) for name in names):
        read = [_read(source.name, source.loaded, is_replay=source.is_replay) for source in load_sources(config)]
        return _with_nonspeech(config, read)
    if not all(_profile(name) for name in names):
        raise DataError(
            f"{', '.join(names)}: a dry run reads manifests or knows the study's profiles, not both in one training"
        )
    published = [
        _published(
            name, config.language, None if name == config.replay else config.limit, is_replay=name == config.replay
        )
        for name in names
    ]
    return _with_nonspeech(config, published)


def _with_nonspeech(config: TrainStageConfig, sources: list[ExpectedSource]) -> list[ExpectedSource]:
    """Silence and noise before replay, as :func:`asr_headroom.stages.training_data.with_nonspeech` adds it."""
    spoken = [source for source in sources if not source.is_replay]
    count = count_nonspeech(config.nonspeech_share, sum(len(source.durations) for source in spoken))
    if not count:
        return sources
    mean = (2.0 + NONSPEECH_SECONDS) / 2
    made = ExpectedSource(NONSPEECH, [mean] * count, [0.0] * count, NONSPEECH_SECONDS, spoken[0].language)
    return [*spoken, made, *(source for source in sources if source.is_replay)]


def expected_test_set(source: str, config: BenchConfig) -> ExpectedSource:
    """One test set of a bench.

    Raises:
        DataError: a manifest cannot be read, or a profile's split has no published figures.
    """
    if _profile(source):
        return _published(source, config.language, config.limit)
    loaded = load_data(
        source,
        language=config.language,
        limit=config.limit,
        max_duration=config.max_duration,
        skip_bad=config.skip_bad,
        streaming=config.streaming,
    )
    return _read(source, loaded)


def target_tokens(characters: float, language: str | None) -> int:
    """Supervised tokens of a transcript, roughly, as no tokenizer is read; the text is a small part of a step."""
    return math.ceil(characters / _CHARACTERS_PER_TOKEN["unspaced" if is_unspaced(language) else "spaced"])


def is_unspaced(language: str | None) -> bool:
    """Whether words stand without spaces, so that a character is about a token."""
    return language is not None and primary_subtag(language) in UNSPACED_LANGUAGES


def _profile(name: str) -> Profile | None:
    return PROFILES.get(name.partition("@")[0]) if "@" in name else None


def _read(name: str, loaded: Loaded, *, is_replay: bool = False) -> ExpectedSource:
    utterances = loaded.manifest.utterances
    durations = [utterance.measured_duration() for utterance in utterances]
    texts = [utterance.text for utterance in utterances]
    return ExpectedSource(
        name, durations, [len(text) for text in texts], max(durations), utterances[0].language, texts, is_replay
    )


def _published(name: str, language: str | None, limit: int | None, *, is_replay: bool = False) -> ExpectedSource:
    profile, split = _profile(name), name.partition("@")[2]
    assert profile is not None
    sizes = {**profile.sizes, "dev100": 100}
    if profile.durations is None or split not in sizes:
        raise DataError(f"{name}: nothing is published of its durations; load it once and give the manifest")
    size = sizes[split] if limit is None else min(limit, sizes[split])
    _, mean, longest = profile.durations
    language = language or profile.language
    rate = _CHARACTERS_PER_SECOND["unspaced" if is_unspaced(language) else "spaced"]
    logger.info("%s: not read; %d utterances of %.1f s on average are published of it", name, size, mean)
    return ExpectedSource(name, [mean] * size, [mean * rate] * size, longest, language, is_replay=is_replay)
