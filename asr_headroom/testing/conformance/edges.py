"""Recordings and transcripts at the edge: a single sample, silence, no words, marks of the model, regions, dropout."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import DataError
from asr_headroom.models.decoding import Hypothesis, SamplingOptions
from asr_headroom.models.protocols import Samplable, Trainable
from asr_headroom.testing.conformance.base import FamilyChecks
from asr_headroom.testing.synthetic import utterance_of

__all__ = ["EdgeChecks"]

_FEW = SamplingOptions(num_samples=1, max_new_tokens=3)


class EdgeChecks(FamilyChecks):
    """What data sets hold a few of."""

    @pytest.mark.parametrize("samples", [1, 160, 320, 1600])
    def test_short_recordings_are_heard_beside_long_ones(self, model: Trainable, samples: int) -> None:
        """From a single sample on; losses and gradients are numbers, and nothing said has a probability too."""
        short = utterance_of(0.1 * np.ones(samples), "", id="short", language=self.language)
        self._goes_through(model, [short, *self.speech(self.texts[-1])])

    def test_silence_is_heard(self, model: Trainable) -> None:
        """Digital silence has no loudest bin and no variance."""
        self._goes_through(model, [utterance_of(np.zeros(16_000), "", id="silence", language=self.language)])

    def test_nothing_said_has_a_target(self, model: Trainable) -> None:
        """An empty transcript is data: it ends at once, and white space is as empty."""
        spoken = self.speech(self.texts[-1])[0]
        for text in ("", " \n"):
            silent = dataclasses.replace(spoken, text=text)
            assert model.check_target(silent) is None
            batch = model.collate([silent, spoken])
            ids = self.target_ids(model, batch, 0)
            assert self.decode_target(model, ids) == ""
            assert bool(ids) == model.card.abilities.tokenwise, "the end token is all that is supervised"

    def test_marks_of_the_model_are_no_text(self, model: Trainable) -> None:
        """A transcript that spells the end token or another mark is refused, or written without it."""
        tokenizer: Any = model.processor.tokenizer  # type: ignore[attr-defined]
        spoken = self.speech(self.texts[0])[0]
        for mark in filter(None, {tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token, tokenizer.unk_token}):
            utterance = dataclasses.replace(spoken, text=f"a{mark}b")
            if model.check_target(utterance) is not None:
                continue
            ids = self.target_ids(model, model.collate([utterance]), 0)
            ids = ids[:-1] if model.card.abilities.tokenwise else ids
            assert tokenizer.convert_tokens_to_ids(mark) not in ids, f"{mark} is supervised"

    def test_a_region_changes_nothing(self, model: Trainable) -> None:
        """``en-GB`` is told and taught as ``en``; a transcript is one string, however its language is tagged."""
        spoken = self.speech(self.texts[0])[0]
        for language in model.card.languages[:3] or ("en",):
            plain, regional = (
                model.collate([dataclasses.replace(spoken, language=tag)]) for tag in (language, f"{language}-XK")
            )
            for name, tensor in plain.inputs.items():
                assert torch.equal(tensor, regional.inputs[name]), f"{name} differs"

    def test_too_long_a_text_is_refused(self, model: Trainable) -> None:
        """By name, and before training; never cut."""
        endless = dataclasses.replace(self.speech(self.texts[0])[0], text="ab " * 2000, id="the-long-text")
        if model.check_target(endless) is None:
            pytest.skip("takes texts of any length")
        with pytest.raises(DataError, match="the-long-text"):
            model.collate([endless])

    def test_dropout_is_out_of_drawing_and_searching(self, samplable: Samplable) -> None:
        """Whatever mode the module is in; while it is in the loss."""
        utterances = self.groups(samplable, self.speech())[0]
        encoded = self._encode(samplable, utterances)
        quiet = self._found(samplable, encoded, utterances)
        exact = self.mean_nats(samplable, utterances)
        _set_dropout(samplable.module, 0.5)
        samplable.module.train()
        assert self._found(samplable, encoded, utterances) == quiet
        assert samplable.module.training
        torch.manual_seed(0)
        assert self.mean_nats(samplable, utterances) != exact, "dropout is nowhere, so that nothing is shown"

    # ------------------------------------------------------------------ shared

    def _goes_through(self, model: Trainable, utterances: list[Utterance]) -> None:
        assert len(model.transcribe(utterances, self.options())) == len(utterances)
        for group in self.groups(model, utterances):
            batch = model.collate(group)
            loss = model.loss(batch)
            assert loss.nats.isfinite()
            model.module.zero_grad()
            loss.nats.backward()
            assert all(p.grad.isfinite().all() for p in model.module.parameters() if p.grad is not None)
            if isinstance(model, Samplable) and model.card.abilities.can_sample:
                encoded = self._encode(model, group)
                drawn = [row[0] for row in model.sample(encoded, _FEW)]
                with torch.no_grad():
                    assert model.log_prob(encoded, drawn, _FEW).values.isfinite().all()

    def _encode(self, model: Samplable, utterances: list[Utterance]) -> Any:
        with torch.no_grad():
            return model.encode(model.collate(utterances))

    def _found(self, model: Samplable, encoded: Any, utterances: list[Utterance]) -> list[list[Hypothesis]]:
        options = SamplingOptions(num_samples=2, max_new_tokens=self.max_new_tokens)
        found = [model.transcribe(utterances, self.options())]
        if model.card.abilities.can_sample:
            found += model.sample(encoded, options)
        if model.card.abilities.can_nbest:
            found += model.nbest(encoded, 2, options)
        return found


def _set_dropout(module: nn.Module, probability: float) -> None:
    """On every part that keeps a probability of its own, as a module or as a number."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = probability
        for name, value in list(vars(part).items()):
            if "dropout" in name and isinstance(value, float):
                setattr(part, name, probability)
