"""That a family learns: by heart, with checkpointing, with its batch norm at rest."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from asr_headroom.audio.features import span_tensors
from asr_headroom.audio.spans import Spans
from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import ModelError
from asr_headroom.models.protocols import Trainable
from asr_headroom.testing.conformance.base import FamilyChecks, assert_same_gradients

__all__ = ["LearningChecks"]

_CHECK_EVERY = 20


class LearningChecks(FamilyChecks):
    """What supervised training needs."""

    def test_learns_two_utterances_by_heart(self, model: Trainable) -> None:
        """Zero errors within ``steps``; then segments, where declared, lie inside the recording."""
        speech = self.speech(*self.texts[:2])
        texts: list[str] = []
        for _ in range(0, self.steps, _CHECK_EVERY):
            self.train(model, speech, _CHECK_EVERY)
            hypotheses = model.transcribe(speech, self.options())
            texts = [hypothesis.text for hypothesis in hypotheses]
            if texts == list(self.texts[:2]):
                break
        assert texts == list(self.texts[:2])
        assert not any(hypothesis.truncated for hypothesis in hypotheses)
        assert all(bool(h.segments) == model.card.abilities.timestamps for h in hypotheses)
        for hypothesis, utterance in zip(hypotheses, speech, strict=True):
            ends = [0.0, *(time for segment in hypothesis.segments for time in (segment.start, segment.end))]
            assert ends == sorted(ends), "segments overlap or run backwards"
            assert ends[-1] <= utterance.measured_duration() + 0.5

    def test_checkpointing_changes_no_gradient_and_stays_on(self, model: Trainable) -> None:
        """Trap 17: decoding in between must not turn it off. Where it is not declared, it is refused."""
        speech = self.speech(*self.texts[:2])
        expected, plain = _calls(model.module, lambda: self.gradients(model, [speech]))
        if not model.card.abilities.checkpointing:
            with pytest.raises(ModelError, match="checkpoint"):
                model.checkpoint_activations()
            return
        model.checkpoint_activations()
        for _ in range(2):
            actual, again = _calls(model.module, lambda: self.gradients(model, [speech]))
            assert again > plain, "nothing is computed again"
            assert_same_gradients(actual, expected, 1e-4)
            model.transcribe(speech, self.options())

    def test_hides_the_spans_of_a_batch(self, model: Trainable) -> None:
        """Where declared: all hidden, recordings sound alike; a part hidden, the loss moves. Else nothing changes."""
        spoken, other = self.speech(*self.texts[:2])
        rows = [spoken, dataclasses.replace(other, text=spoken.text)]

        def nats(utterance: Utterance, spans: Spans | None) -> float:
            batch = model.collate([utterance])
            if spans:
                batch.inputs |= span_tensors([spans])
            return float(model.loss(batch).nats.detach())

        clean = [nats(row, None) for row in rows]
        if not model.card.abilities.spectrogram_spans:
            assert [nats(row, Spans(mels=((0.0, 1.0),))) for row in rows] == clean, "the ability is not declared"
            return
        for everything in (Spans(times=((0.0, 1e4),)), Spans(mels=((0.0, 1.0),))):
            first, second = (nats(row, everything) for row in rows)
            assert first == pytest.approx(second, abs=1e-5)
            assert first != pytest.approx(clean[0], abs=1e-5)
        half = spoken.measured_duration() / 2
        for part in (Spans(times=((0.0, half),)), Spans(mels=((0.0, 0.5),))):
            assert nats(spoken, part) not in (pytest.approx(clean[0], abs=1e-7), pytest.approx(first, abs=1e-7))
        assert [nats(row, Spans()) for row in rows] == clean

    def test_batch_norm_rests(self, model: Trainable) -> None:
        """Its stored statistics are used and kept while training; they are in no adapter file."""
        layers = [part for part in model.module.modules() if isinstance(part, _BatchNorm)]
        assert bool(layers) == model.card.abilities.batch_norm
        if not layers:
            pytest.skip("has no batch norm")
        before = {name: buffer.clone() for name, buffer in model.module.named_buffers()}
        speech = self.speech(*self.texts[:2])
        still = self.mean_nats(model, speech)
        model.module.train()
        moving = self.mean_nats(model, speech)
        assert moving == pytest.approx(still, abs=1e-6), "batch statistics are used while training"
        assert all(torch.equal(buffer, before[name]) for name, buffer in model.module.named_buffers())


def _calls(module: nn.Module, call: Callable[[], Any]) -> tuple[Any, int]:
    """What ``call`` returns, and how often modules with weights of their own ran meanwhile."""
    counts: Counter[nn.Module] = Counter()
    watched = [part for part in module.modules() if any(True for _ in part.parameters(recurse=False))]
    handles = [part.register_forward_hook(lambda part, *_: counts.update([part])) for part in watched]
    try:
        return call(), counts.total()
    finally:
        for handle in handles:
            handle.remove()
