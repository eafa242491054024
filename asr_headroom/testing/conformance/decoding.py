"""Transcribing: order, company, limits, beams, precision."""

from __future__ import annotations

import json

import pytest
import torch

from asr_headroom.errors import ModelError
from asr_headroom.models.protocols import Trainable
from asr_headroom.testing.conformance.base import FamilyChecks

__all__ = ["DecodingChecks"]


class DecodingChecks(FamilyChecks):
    """What ``Recognizer`` promises."""

    def test_one_hypothesis_per_utterance_in_order_whatever_the_company(self, model: Trainable) -> None:
        """Transcripts of a batch are those of its utterances alone."""
        utterances = self.speech()
        for group in self.groups(model, utterances):
            together = model.transcribe(group, self.options())
            alone = [model.transcribe([utterance], self.options())[0] for utterance in group]
            assert [h.text for h in together] == [h.text for h in alone]
            assert [h.token_ids for h in together] == [h.token_ids for h in alone]
        texts = [h.text for h in model.transcribe(utterances, self.options())]
        assert len(texts) == len(utterances)
        assert all(text == text.strip() for text in texts)

    def test_token_limit_is_kept_and_said(self, model: Trainable) -> None:
        """At most ``max_new_tokens``, and a cut hypothesis says that it is one."""
        if not model.card.abilities.tokenwise:
            pytest.skip("its output is as long as the audio makes it")
        for hypothesis in model.transcribe(self.speech(), self.options(max_new_tokens=2)):
            assert len(hypothesis.token_ids) <= 2
            assert hypothesis.truncated or len(hypothesis.token_ids) < 2

    def test_transcribing_leaves_the_mode_as_it_was(self, model: Trainable) -> None:
        """Every part that was in training mode still is, and the others are not."""
        model.module.train()
        next(iter(model.module.children())).eval()
        before = {name: part.training for name, part in model.module.named_modules()}
        model.transcribe(self.speech(self.texts[0]), self.options())
        assert {name: part.training for name, part in model.module.named_modules()} == before

    def test_beams_work_or_are_refused(self, model: Trainable) -> None:
        """``beam_search`` keeps its word."""
        if not model.card.abilities.beam_search:
            with pytest.raises(ModelError, match="beam"):
                model.transcribe(self.speech(self.texts[0]), self.options(beam_size=3))
            return
        assert len(model.transcribe(self.speech(), self.options(beam_size=3))) == len(self.texts)
        for group in self.groups(model, self.speech()):
            together = model.transcribe(group, self.options(beam_size=3))
            assert together == [model.transcribe([one], self.options(beam_size=3))[0] for one in group]

    def test_decoding_state_can_be_hashed(self, model: Trainable) -> None:
        """It stands in every result as JSON, and the precision is part of it."""
        state = model.decoding_state()
        assert json.loads(json.dumps(state)) == state
        assert state.get("dtype") == "float32"

    def test_attention_implementations_agree(self, model: Trainable) -> None:
        """The fused kernel and the plain one give one loss."""
        losses = {}
        for implementation in ("sdpa", "eager"):
            try:
                self.core(model).set_attn_implementation(implementation)
            except ValueError as error:
                pytest.skip(f"{implementation}: {error}")
            losses[implementation] = self.mean_nats(model, self.speech(*self.texts[:2]))
        assert losses["sdpa"] == pytest.approx(losses["eager"], abs=self.tolerance)

    def test_half_precision_runs_and_scores_in_float32(self, model: Trainable) -> None:
        """bf16 weights take float32 audio, give finite float32 losses and gradients, and transcribe."""
        exact = self.mean_nats(model, self.speech(*self.texts[:2]))
        half = model.with_module(lambda module: module.to(torch.bfloat16))
        loss = half.loss(half.collate(self.speech(*self.texts[:2])))
        assert loss.nats.dtype == torch.float32
        loss.nats.backward()
        gradients = [p.grad for p in half.module.parameters() if p.grad is not None]
        assert gradients
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert loss.nats.item() / loss.num_targets == pytest.approx(exact, rel=0.05)
        assert len(half.transcribe(self.speech(), self.options())) == len(self.texts)
        assert half.decoding_state()["dtype"] == "bfloat16"
