"""What ``train`` learns from: one or several sources, replay, the written form, and what the audio goes through."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr_headroom.audio.augment import Augmentation, AugmentConfig
from asr_headroom.config import fingerprint, to_mapping
from asr_headroom.data.manifest import Manifest, Utterance
from asr_headroom.data.mixing import Mixture
from asr_headroom.data.nonspeech import NONSPEECH_SECONDS, nonspeech_utterances
from asr_headroom.errors import DataError
from asr_headroom.models.protocols import Trainable
from asr_headroom.stages.data import Loaded, load_data
from asr_headroom.text.targets import TargetForm, stray_marks, write_target

if TYPE_CHECKING:
    from asr_headroom.stages.train_config import TrainStageConfig

__all__ = [
    "NONSPEECH",
    "Source",
    "TrainingData",
    "augmentation_facts",
    "check_augmentation",
    "count_nonspeech",
    "load_sources",
    "make_augmentation",
    "make_mixture",
    "usable_data",
    "with_nonspeech",
]

logger = logging.getLogger(__name__)

_AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")
_EXAMPLE_CHARACTERS = 80
NONSPEECH = "silence and noise"
_MOST_CLIPS = 1000
"""About 160 MB of memory."""
_FIRST_SEED = 10_000
"""The guard's clips have seed 0: what is trained on guards nothing."""
_MANY_REPETITIONS = 5
"""Passes over a source in one epoch from which on it is worth a warning."""


@dataclass(frozen=True)
class Source:
    """One manifest that is trained on.

    Attributes:
        name: as given.
        loaded: its utterances.
        is_replay: it is there so that what the base knows is not forgotten.
    """

    name: str
    loaded: Loaded
    is_replay: bool = False


@dataclass(frozen=True)
class TrainingData:
    """What can be learnt from.

    Attributes:
        utterances: source after source, replay last, in the written form that is learnt.
        sizes: [sources] utterances of each.
        facts: for the record.
    """

    utterances: list[Utterance]
    sizes: tuple[int, ...]
    facts: dict[str, Any]


def load_sources(config: TrainStageConfig) -> list[Source]:
    """Reads every manifest that is trained on; the limit is of each training source.

    Raises:
        DataError: see :func:`asr_headroom.stages.data.load_data`.
    """
    reading: dict[str, Any] = {"language": config.language, "skip_bad": config.skip_bad, "streaming": config.streaming}
    sources = [Source(name, load_data(name, limit=config.limit, **reading)) for name in config.train]
    if config.replay:
        # Of a streamed set as much as of the others; else all of it, as more of it costs nothing.
        limit = config.limit if config.streaming else None
        sources.append(Source(config.replay, load_data(config.replay, limit=limit, **reading), is_replay=True))
    return sources


def count_nonspeech(share: float, utterances: int) -> int:
    """Clips of silence and noise that make up a share of them and the utterances, a thousand at most."""
    return min(_MOST_CLIPS, max(1, round(share * utterances / (1 - share)))) if share else 0


def with_nonspeech(config: TrainStageConfig, model: Trainable, sources: Sequence[Source]) -> list[Source]:
    """The sources, and before replay generated silence and noise with an empty transcript, where a share is asked for.

    Args:
        config: share and seed.
        model: gives sampling rate and longest recording.
        sources: replay last.
    """
    learnt = [utterance for source in sources if not source.is_replay for utterance in source.loaded.manifest]
    count = count_nonspeech(config.nonspeech_share, len(learnt))
    if not count:
        return list(sources)
    clips = nonspeech_utterances(
        model.card.sampling_rate,
        count=count,
        seed=_FIRST_SEED + config.seed,
        max_duration=min(NONSPEECH_SECONDS, model.card.max_duration or math.inf),
    )
    spread = (learnt[index * len(learnt) // count] for index in range(count))
    told = [replace(clip, language=utterance.language) for clip, utterance in zip(clips, spread, strict=True)]
    logger.info("%d clips of %s, which nobody says anything in, are learnt as such", count, NONSPEECH)
    made = Source(NONSPEECH, Loaded(Manifest(NONSPEECH, tuple(told)), {}))
    replay = [source for source in sources if source.is_replay]
    return [*(source for source in sources if not source.is_replay), made, *replay]


def usable_data(model: Trainable, sources: Sequence[Source], form: TargetForm, *, writes_as_told: bool) -> TrainingData:
    """The utterances the model can learn from, in the form wanted; what was left out is counted and said.

    Args:
        model: says which.
        sources: replay last.
        form: to learn.
        writes_as_told: the model learns the transcripts as they are written, so that their marks are worth a word.

    Raises:
        DataError: nothing of a source can be used.
    """
    utterances: list[Utterance] = []
    facts, sizes = [], []
    for source in sources:
        usable, left_out = _usable(model, source.loaded.manifest, form)
        marks = _warn_of_marks(source.name, usable, form) if writes_as_told else {}
        utterances += usable
        sizes.append(len(usable))
        found = source.loaded.facts() | {"source": source.name, "unusable": left_out, "used": len(usable)}
        facts.append(found | ({"stray_marks": marks} if marks else {}) | ({"replay": True} if source.is_replay else {}))
    return TrainingData(utterances, tuple(sizes), _facts_of_all(facts))


def make_mixture(config: TrainStageConfig, sizes: Sequence[int], *, has_replay: bool) -> Mixture | None:
    """How sources are mixed, with a word on each; None where every utterance comes once per epoch.

    Args:
        config: weights and share of replay.
        sizes: [sources] utterances; silence and noise, where a share is asked for, after the training sources.
        has_replay: the last of them is the replay set.
    """
    if not config.train_weights and not has_replay:
        return None
    *sizes, replay = (*sizes,) if has_replay else (*sizes, 0)
    weights = config.train_weights
    if weights and config.nonspeech_share:
        share = config.nonspeech_share
        weights = (*(weight / sum(weights) * (1 - share) for weight in weights), share)
    mixture = Mixture.of(sizes, weights=weights, replay=replay, share=config.replay_share)
    total = sum(mixture.quotas)
    names = [*config.train, *([NONSPEECH] if config.nonspeech_share else []), *([config.replay] if has_replay else [])]
    for name, size, quota, seen in zip(names, mixture.sizes, mixture.quotas, mixture.repetitions, strict=True):
        level = logging.WARNING if seen >= _MANY_REPETITIONS else logging.INFO
        logger.log(
            level, "%s: %d utterances, %.1f %% of an epoch, each %.2f times", name, size, 100 * quota / total, seen
        )
    return mixture


def check_augmentation(config: AugmentConfig) -> None:
    """Opens its recordings, so that nothing begins without them, and says which have no use.

    Raises:
        DataError: see :func:`make_augmentation`.
        AudioError: a recording cannot be opened.
    """
    for name, part in (("noise", config.noise), ("rooms", config.rooms)):
        if part.recordings and not part.probability:
            logger.warning("augment.%s.recordings have no use while augment.%s.probability is 0", name, name)
    make_augmentation(config, seed=0)


def make_augmentation(config: AugmentConfig, seed: int) -> Augmentation | None:
    """The pipeline that a config describes; None where nothing is asked for.

    Raises:
        DataError: a folder of recordings is not there or holds none.
    """
    if not config.is_on:
        return None
    noises = _recordings(config.noise.recordings, "noise") if config.noise.probability else ()
    responses = _recordings(config.rooms.recordings, "rooms") if config.rooms.probability else ()
    return Augmentation(config, seed=seed, noises=noises, responses=responses)


def augmentation_facts(augmentation: Augmentation) -> dict[str, Any]:
    """For the record: settings, and how many recordings of which names were drawn from."""
    return to_mapping(augmentation.config) | {
        name: {"count": len(paths), "names": fingerprint([Path(str(path)).name for path in paths])}
        for name, paths in (("noise_files", augmentation.noises), ("room_files", augmentation.responses))
        if paths
    }


def _recordings(folder: str | None, part: str) -> tuple[Path, ...]:
    if folder is None:
        return ()
    if not Path(folder).is_dir():
        raise DataError(f"augment.{part}.recordings is '{folder}', which is no folder; name one with recordings")
    found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in _AUDIO_SUFFIXES)
    if not found:
        raise DataError(f"{folder}: holds no recording ({', '.join(_AUDIO_SUFFIXES)}) for augment.{part}")
    return tuple(found)


def _usable(
    model: Trainable, utterances: Sequence[Utterance], form: TargetForm
) -> tuple[list[Utterance], dict[str, int]]:
    """Utterances in the form wanted that the model can learn, and how many were left out, by reason."""
    usable, reasons = [], Counter[str]()
    first = ""
    for utterance in utterances:
        utterance = replace(utterance, text=write_target(utterance.text, form, utterance.language))
        reason = model.check_target(utterance)
        if reason is None:
            usable.append(utterance)
            continue
        first = first or f"{utterance.origin}: '{utterance.id}' {reason}"
        reasons[_kind_of(reason)] += 1
    for reason, count in reasons.items():
        logger.warning("%d of %d training utterances left out, %s: %s", count, len(utterances), reason, first)
    if not usable:
        raise DataError(f"none of the {len(utterances)} training utterances can be used, for example {first}")
    return usable, dict(reasons)


def _kind_of(reason: str) -> str:
    if "spells" in reason:
        return "marks of the model in the transcript"
    if "vocabulary" in reason:
        return "letters that the model cannot write"
    return "too long for its recording" if "frames" in reason else "too long for the model"


def _warn_of_marks(name: str, utterances: Sequence[Utterance], form: TargetForm) -> dict[str, int]:
    """Says what the model would learn to write that nobody wants; returns the counts."""
    if form == "as-is" and all(utterance.text.isupper() for utterance in utterances):
        logger.warning(
            "all %d transcripts are in upper case, and the model will learn to write that way; "
            "--target-form sentence rewrites them",
            len(utterances),
        )
    found = stray_marks(utterance.text for utterance in utterances)
    for kind, marks in found.items():
        remedy = "--target-form clean takes them away" if marks.cleaned else "see that all are written in one way"
        logger.log(
            logging.WARNING if marks.cleaned else logging.INFO,
            "%s: %d of %d transcripts hold %s, and the model will learn to write them; %s: '%s'",
            name,
            marks.count,
            len(utterances),
            kind,
            remedy,
            marks.example[:_EXAMPLE_CHARACTERS],
        )
    return {kind: marks.count for kind, marks in found.items()}


def _facts_of_all(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The facts of the only source, or sums over several with each one's below ``sources``."""
    if len(facts) == 1:
        return facts[0]
    return {
        "name": " + ".join(source["name"] for source in facts),
        "source": " + ".join(source["source"] for source in facts),
        "fingerprint": fingerprint([source["fingerprint"] for source in facts]),
        "num_utterances": sum(source["num_utterances"] for source in facts),
        "used": sum(source["used"] for source in facts),
        "sources": list(facts),
    }
