"""What a training needs before its first step: data read and checked, the dev and guard sets, the model, a vocabulary.

Start at :func:`load_setup`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import DataError, ModelError
from asr_headroom.evaluate.transcribe import refuse_long_utterances
from asr_headroom.models.protocols import Trainable
from asr_headroom.models.registry import load_model
from asr_headroom.models.vocabulary import Vocabulary, normalizer_for_targets
from asr_headroom.stages.data import Loaded, load_data
from asr_headroom.stages.evaluation_sets import evaluation_set, guard_sets
from asr_headroom.stages.train_config import TrainStageConfig
from asr_headroom.stages.training_data import (
    Source,
    TrainingData,
    check_augmentation,
    load_sources,
    usable_data,
    with_nonspeech,
)
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.text.targets import TargetForm, write_target
from asr_headroom.train.guard import EvaluationSet

__all__ = ["LoadModel", "TrainSetup", "load_from_registry", "load_setup"]

logger = logging.getLogger(__name__)

LoadModel = Callable[[TrainStageConfig, Vocabulary | None], Trainable]


@dataclass(frozen=True)
class TrainSetup:
    """What all runs of one command share."""

    train_data: TrainingData
    dev: EvaluationSet
    dev_targets: list[Utterance]
    guard_sets: list[EvaluationSet]
    facts: dict[str, Any]
    vocabulary: Vocabulary | None
    """Of a fresh head."""
    models: list[Trainable]
    """The model that was loaded to check the data, for the first run that asks; later ones load their own."""


def load_setup(config: TrainStageConfig, load: LoadModel) -> TrainSetup:
    """Reads and checks everything before the first minute is spent.

    Raises:
        AsrHeadroomError: data or model do not allow the training; the message says which and what to do.
    """
    from asr_headroom.train.processes import join_processes

    join_processes()
    if config.normalizer:
        get_normalizer(config.normalizer)
    reading: dict[str, Any] = {"language": config.language, "skip_bad": config.skip_bad, "streaming": config.streaming}
    few = config.eval_utterances + config.guard.utterances if config.streaming else None
    check_augmentation(config.augment)
    sources = load_sources(config)
    dev_data, *guard_data = (
        load_data(source, max_duration=config.max_duration, limit=few, **reading)
        for source in (config.dev, *config.guard_data)
    )
    _refuse_replayed_guards(sources, [dev_data, *guard_data])
    vocabulary = None
    if config.vocabulary == "from-data":
        vocabulary = _fresh_vocabulary(config, [u for source in sources for u in source.loaded.manifest])
    model = load(config, vocabulary)
    for loaded in (dev_data, *guard_data):
        refuse_long_utterances(model, loaded.manifest)
    sources = with_nonspeech(config, model, sources)
    train_data = usable_data(model, sources, config.target_form, writes_as_told=vocabulary is None)
    shuffled = evaluation_set(dev_data, "target", normalizer=config.normalizer, seed=config.seed)
    others = [evaluation_set(loaded, "guard", normalizer=None, seed=config.seed) for loaded in guard_data]
    dev = shuffled.first(config.eval_utterances)
    learnt = _Learnt(train_data.utterances)
    facts = {
        "family": model.card.family,
        "base": config.model,
        "train_data": train_data.facts,
        "dev_data": dev_data.facts()
        | {
            "source": config.dev,
            "used": len(dev.utterances),
            "sentences_in_train": learnt.shared(dev),
        },
        "guard_data": [
            loaded.facts() | {"source": source, "sentences_in_train": learnt.shared(guard)}
            for source, loaded, guard in zip(config.guard_data, guard_data, others, strict=True)
        ],
        "window": config.window,
        "quantization": config.quantization,
        "target_form": config.target_form,
        "normalizer": dev.normalizer.id,
    }
    if vocabulary:
        facts["vocabulary"] = _vocabulary_facts(vocabulary, dev_data.manifest, config.target_form)
    return TrainSetup(
        train_data=train_data,
        dev=dev,
        dev_targets=[replace(u, text=write_target(u.text, config.target_form, u.language)) for u in dev.utterances],
        # A fresh head has no base to fall back on.
        guard_sets=[] if vocabulary else _guard_sets(config, model, shuffled, others),
        facts=facts,
        vocabulary=vocabulary,
        models=[model],
    )


def _guard_sets(
    config: TrainStageConfig, model: Trainable, dev: EvaluationSet, others: Sequence[EvaluationSet]
) -> list[EvaluationSet]:
    return guard_sets(
        model,
        dev,
        others,
        chose_the_step=config.eval_utterances,
        long_form=config.guard.long_form if config.guard.enabled else 0,
    )


def load_from_registry(config: TrainStageConfig, vocabulary: Vocabulary | None) -> Trainable:
    """The model of a config as it lies there, with the vocabulary of a fresh head.

    Raises:
        ModelError: it cannot be loaded, or not be trained.
    """
    options: dict[str, Any] = {"random_init": True} if config.method == "scratch" else {}
    if vocabulary:
        options["vocabulary"] = vocabulary
    if options:
        options["seed"] = config.seed
    if config.quantization != "none":
        from asr_headroom.train.processes import join_processes

        options |= {"quantization": config.quantization, "device": str(join_processes().device)}
    model = load_model(config.model, window=config.window, **options)
    if not isinstance(model, Trainable):
        raise ModelError(f"'{config.model}' ({model.card.family}) can be benched but not trained here")
    return model


def _fresh_vocabulary(config: TrainStageConfig, utterances: Sequence[Utterance]) -> Vocabulary:
    (language, _), *_ = Counter(utterance.language for utterance in utterances).most_common(1) or [(None, 0)]
    texts = [write_target(u.text, config.target_form, u.language) for u in utterances]
    vocabulary = Vocabulary.from_texts(texts, config.vocabulary_normalizer or normalizer_for_targets(language))
    logger.info(
        "fresh head over %d characters of the training transcripts, normalizer '%s': %s",
        len(vocabulary.characters),
        vocabulary.normalizer,
        "".join(vocabulary.characters[:100]),
    )
    return vocabulary


def _vocabulary_facts(vocabulary: Vocabulary, dev: Sequence[Utterance], form: TargetForm) -> dict[str, Any]:
    """What the head writes and what of dev it cannot, which is said."""
    unknown = vocabulary.unknown(write_target(utterance.text, form, utterance.language) for utterance in dev)
    if unknown:
        most = ", ".join(f"'{character}' {count}" for character, count in unknown.most_common(5))
        logger.warning(
            "dev transcripts hold %d characters that the training transcripts lack and the head cannot write (%s)",
            unknown.total(),
            most,
        )
    return {
        "normalizer": vocabulary.normalizer,
        "characters": len(vocabulary.characters),
        "unknown_in_dev": dict(unknown.most_common()),
    }


class _Learnt:
    """Sentences that are trained on, as each normaliser writes them."""

    def __init__(self, utterances: Sequence[Utterance]) -> None:
        self._utterances = utterances
        self._sentences: dict[str, set[str]] = {}

    def shared(self, evaluated: EvaluationSet) -> int:
        """How many of a set have such a sentence, with a warning: they flatter what is measured on it."""
        normalizer = evaluated.normalizer
        if normalizer.id not in self._sentences:
            self._sentences[normalizer.id] = {normalizer(utterance.text) for utterance in self._utterances} - {""}
        shared = sum(normalizer(utterance.text) in self._sentences[normalizer.id] for utterance in evaluated.utterances)
        if shared:
            logger.warning(
                "%d of %d %s utterances have a sentence that is trained on; the %s error rate flatters the model "
                "(`asr-headroom data leak` lists them)",
                shared,
                len(evaluated.utterances),
                *2 * ("dev" if evaluated.role == "target" else f"guard ({evaluated.name})",),
            )
        return shared


def _refuse_replayed_guards(sources: Sequence[Source], judged: Sequence[Loaded]) -> None:
    """Raises where replay holds what dev or a guard set does, under whatever name.

    Raises:
        DataError: it does.
    """
    tests = {loaded.manifest.fingerprint() for loaded in judged}
    for source in sources:
        if source.is_replay and source.loaded.manifest.fingerprint() in tests:
            raise DataError(
                f"replay '{source.name}' holds what dev or a guard set does; what is trained on guards nothing"
            )
