"""Dev and guard sets as training compares on them: order, language, normaliser, and how they are measured."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from asr_headroom.data.long_form import MAX_SECONDS, joined_utterances
from asr_headroom.data.manifest import Utterance
from asr_headroom.data.nonspeech import NONSPEECH_SECONDS, nonspeech_utterances
from asr_headroom.errors import DataError
from asr_headroom.evaluate.timestamps import count_unusable_times
from asr_headroom.evaluate.transcribe import count_utterances
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.metrics.significance import MIN_CLUSTERS_TO_JUDGE
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.models.protocols import Recognizer, Trainable
from asr_headroom.stages.data import Loaded
from asr_headroom.text.normalize import get_normalizer, normalizer_for_language
from asr_headroom.train.guard import EvaluationSet, Measure, Role

__all__ = ["evaluation_set", "guard_sets", "measure_in_batches"]

logger = logging.getLogger(__name__)

_TIMED_UTTERANCES = 40
"""Of dev, whose times are looked at where a family gives any."""

_LONG_FORM = DecodingOptions(max_new_tokens=600)
"""Ten tokens a second, for a minute."""
_LONG_FORM_ROWS = 8
"""Joined recordings last about so many times as long as utterances, so that many fewer are decoded together."""


def evaluation_set(loaded: Loaded, role: Role, *, normalizer: str | None, seed: int) -> EvaluationSet:
    """All utterances in a fixed random order, so that the first of them are a fair sample of the manifest.

    Utterances whose reference is empty come last, as a set of them alone has no error rate; a guard set of nothing else
    is somebody's own silence and noise, and is taken as such.

    Args:
        loaded: the manifest.
        role: ``target`` or ``guard``.
        normalizer: its id; the default of the set's language otherwise.
        seed: of the order.

    Raises:
        DataError: no dev utterance has a reference.
    """
    utterances = loaded.manifest.utterances
    language = _common_language(utterances)
    if language is None and any(utterance.language for utterance in utterances):
        logger.warning("'%s' mixes languages; it is scored in words, as bench would", loaded.manifest.name)
    chosen = get_normalizer(normalizer) if normalizer else normalizer_for_language(language)
    shuffled = [utterances[i] for i in np.random.default_rng(seed).permutation(len(utterances))]
    ordered = sorted(shuffled, key=lambda utterance: not chosen(utterance.text))
    if not chosen(ordered[0].text):
        if role == "target":
            raise DataError(f"'{loaded.manifest.name}': no utterance has a reference; dev data needs transcripts")
        role = "nonspeech"
    return EvaluationSet(name=loaded.manifest.name, role=role, utterances=ordered, normalizer=chosen)


def guard_sets(
    model: Trainable,
    dev: EvaluationSet,
    others: Sequence[EvaluationSet],
    *,
    chose_the_step: int,
    long_form: int = 0,
) -> list[EvaluationSet]:
    """What the guard compares on: dev, the other sets, generated silence and noise.

    And times where the family gives any, and long recordings where it hears them whole.

    Args:
        model: gives sampling rate and longest recording.
        dev: all dev utterances, in the order in which they are taken for evaluations.
        others: guard sets.
        chose_the_step: of dev, the first so many; they come last here, as the step was chosen to suit them.
        long_form: recordings joined of dev utterances, at most.
    """
    nonspeech = nonspeech_utterances(
        model.card.sampling_rate,
        language=Counter(utterance.language for utterance in dev.utterances).most_common(1)[0][0],
        max_duration=min(NONSPEECH_SECONDS, model.card.max_duration or math.inf),
    )
    fresh, used = dev.utterances[chose_the_step:], dev.utterances[:chose_the_step]
    spoken = [utterance for utterance in fresh if dev.normalizer(utterance.text)]
    empty = [utterance for utterance in fresh if not dev.normalizer(utterance.text)]
    ordered = [*spoken, *used, *empty]
    timed = replace(dev, name="timestamps", role="timestamps", utterances=ordered[:_TIMED_UTTERANCES])
    return [
        replace(dev, utterances=ordered),
        *others,
        *([timed] if model.card.abilities.timestamps else []),
        *_long_form_set(model, replace(dev, utterances=ordered), long_form),
        replace(dev, name="silence and noise", role="nonspeech", utterances=nonspeech),
    ]


def measure_in_batches(batch_size: int) -> Measure:
    """Greedy transcription in batches of at most ``batch_size``, counted as the set's role and normaliser say."""

    def measure(model: Recognizer, eval_set: EvaluationSet) -> list[ErrorCounts]:
        if eval_set.role == "timestamps":
            return count_unusable_times(model, eval_set.utterances, DecodingOptions(), batch_size=batch_size)
        is_long = eval_set.role == "long-form"
        return count_utterances(
            model,
            eval_set.utterances,
            _LONG_FORM if is_long else DecodingOptions(),
            normalizer=eval_set.normalizer,
            batch_size=max(1, batch_size // _LONG_FORM_ROWS) if is_long else batch_size,
        )

    return measure


def _long_form_set(model: Trainable, dev: EvaluationSet, count: int) -> list[EvaluationSet]:
    """The set of joined recordings; none, which is said, where the family or the dev set has none to offer."""
    if not count:
        return []
    limit = model.card.max_duration
    if limit is not None and limit < MAX_SECONDS:
        logger.info("guard: no long recordings are looked at, the model hears %g s at once and refuses longer", limit)
        return []
    joined = joined_utterances(
        (u for u in dev.utterances if dev.normalizer(u.text) and model.check_target(u) is None),
        count=count,
        sampling_rate=model.card.sampling_rate,
        # One that has more tokens than a decoder has positions would be cut, by the base as by all others.
        takes=lambda utterance: model.check_target(utterance) is None,
    )
    if len(joined) < MIN_CLUSTERS_TO_JUDGE:
        logger.info(
            "guard: no long recordings are looked at, dev makes %d that the model takes and %d are needed to tell",
            len(joined),
            MIN_CLUSTERS_TO_JUDGE,
        )
        return []
    return [replace(dev, name="long recordings", role="long-form", utterances=joined)]


def _common_language(utterances: Sequence[Utterance]) -> str | None:
    languages = {utterance.language for utterance in utterances}
    return languages.pop() if len(languages) == 1 else None
