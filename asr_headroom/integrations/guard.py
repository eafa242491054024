"""The guard for a model that your own script has trained.

::

    outcome = guard_model(trainer.model, base="openai/whisper-small", collator=trainer.data_collator,
        dev=dev_rows, others={"adults": adult_rows})
    trainer.save_model("guarded")

Afterwards the model stands where the guard put it: at the fine-tuned weights, at the base, or between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import WhisperForConditionalGeneration

from asr_headroom.data.manifest import Utterance
from asr_headroom.data.nonspeech import NONSPEECH_SECONDS, nonspeech_utterances
from asr_headroom.errors import DataError, ModelError
from asr_headroom.evaluate.transcribe import count_utterances, refuse_long_utterances
from asr_headroom.integrations.seq2seq import SpeechCollator
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.checkpoints import base_module, load_pretrained
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.models.protocols import Recognizer
from asr_headroom.models.whisper import Whisper
from asr_headroom.text.normalize import get_normalizer, normalizer_for_language
from asr_headroom.train.config import GuardConfig
from asr_headroom.train.guard import EvaluationSet, GuardOutcome, GuardRecord, Role, run_guard
from asr_headroom.train.weight_line import WeightLine

__all__ = ["guard_model"]


Rows = Iterable[Mapping[str, Any] | Utterance]


def guard_model(
    model: nn.Module,
    *,
    base: str | nn.Module,
    collator: SpeechCollator,
    dev: Rows,
    others: Mapping[str, Rows] | None = None,
    config: GuardConfig | None = None,
    normalizer: str | None = None,
    batch_size: int = 16,
) -> GuardOutcome:
    """Chooses between base, fine-tuned model and points between, and leaves the model there.

    The rule is that of :func:`asr_headroom.train.guard.choose_point`; silence and noise are generated. Greedy decoding,
    in the window of the collator. Under PEFT (LoRA) the base is the adapter at scale 0, and ``base`` is not loaded.

    Args:
        model: what was trained: ``WhisperForConditionalGeneration``, or PEFT around one. Changed in place.
        base: what it was trained from: hub id, folder, or a copy of the model made before.
        collator: of the training; knows processor, language, window and the names of the columns.
        dev: rows that were not trained on.
        others: rows of other languages or domains that must not get worse, by name; each in one language.
        config: points, number of utterances, margin.
        normalizer: of dev; the language's default otherwise.
        batch_size: utterances decoded together, at most.

    Raises:
        DataError: a set is empty, or a recording is longer than the model hears at once.
        ModelError: base and model are not of one architecture.
    """
    config = config or GuardConfig()
    family = collator.family
    recognizer = Whisper(model, family.processor, model_id=family.card.model_id, window=family.window)
    sets = [_evaluation_set("dev", "target", dev, collator, config.utterances, normalizer)]
    for name, rows in (others or {}).items():
        sets.append(_evaluation_set(name, "guard", rows, collator, config.utterances, None))
    for eval_set in sets:
        refuse_long_utterances(recognizer, eval_set.utterances)
    seconds = min(NONSPEECH_SECONDS, recognizer.card.max_duration or NONSPEECH_SECONDS)
    silence = nonspeech_utterances(
        recognizer.card.sampling_rate, language=sets[0].utterances[0].language, max_duration=seconds
    )
    sets.append(replace(sets[0], name="silence and noise", role="nonspeech", utterances=silence))

    def measure(heard: Recognizer, eval_set: EvaluationSet) -> list[ErrorCounts]:
        return count_utterances(
            heard, eval_set.utterances, DecodingOptions(), normalizer=eval_set.normalizer, batch_size=batch_size
        )

    line = _line(model, base)
    return run_guard(
        recognizer, line, sets, config.points, measure, GuardRecord(None, base=str(base)), margin=config.margin
    )


def _line(model: nn.Module, base: str | nn.Module) -> WeightLine:
    if hasattr(model, "peft_config"):
        from peft import get_peft_model_state_dict

        return WeightLine(model, None, _copied(get_peft_model_state_dict(model)))
    tuned = _copied(model.state_dict())
    if isinstance(base, nn.Module):
        loaded = base_module(base)
    else:
        dtype = next(iter(tuned.values())).dtype
        loaded = load_pretrained(WhisperForConditionalGeneration.from_pretrained, base, weights=True, dtype=dtype)
    weights = _copied(loaded.state_dict())
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    if shapes != {name: tensor.shape for name, tensor in tuned.items()}:
        name = type(base).__name__ if isinstance(base, nn.Module) else f"'{base}'"
        raise ModelError(f"the base {name} and the trained model do not have the same weights; give what it came from")
    return WeightLine(model, weights, tuned)


def _copied(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _evaluation_set(
    name: str, role: Role, rows: Rows, collator: SpeechCollator, count: int, normalizer: str | None
) -> EvaluationSet:
    utterances = [
        replace(collator.utterance(number, row), id=f"{name} {number}")
        for number, row in enumerate(itertools.islice(rows, count), start=1)
    ]
    if not utterances:
        raise DataError(f"'{name}' holds no row; the guard needs utterances to compare on")
    chosen = get_normalizer(normalizer) if normalizer else normalizer_for_language(utterances[0].language)
    return EvaluationSet(name=name, role=role, utterances=utterances, normalizer=chosen)
