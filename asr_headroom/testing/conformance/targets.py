"""What is supervised, and that the loss is a sum that neither company nor accumulation changes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from asr_headroom.errors import DataError, ModelError
from asr_headroom.models.protocols import Trainable
from asr_headroom.testing.conformance.base import FamilyChecks, assert_same_gradients

__all__ = ["TargetChecks"]


class TargetChecks(FamilyChecks):
    """Card, labels, losses, languages, lengths."""

    def test_card_tells_the_truth(self, model: Trainable) -> None:
        """Protocol, number of weights, sampling rate and names are what they are."""
        card = model.card
        assert isinstance(model, Trainable)
        assert card.family
        assert card.sampling_rate > 0
        assert card.parameters == sum(parameter.numel() for parameter in self.core(model).parameters())
        assert card.languages or not card.abilities.language_prompt, "told its language, but lists none"
        assert card.lora_targets

    def test_catalogue_says_the_same(self, model: Trainable) -> None:
        """What ``asr-headroom models list`` prints is what the model declares."""
        from asr_headroom.models.catalogue import catalogue

        entries = {entry.family: entry for entry in catalogue()}
        if not self.catalogued or model.card.family not in entries:
            pytest.skip("a variant, or a family of another package")
        assert entries[model.card.family].abilities == model.card.abilities

    def test_supervised_tokens_decode_to_exactly_the_target_in_every_row(self, model: Trainable) -> None:
        """Trap 14: a mask counted from the wrong side supervises prompt or padding."""
        utterances = self.speech()
        batch = model.collate(utterances)
        rows = [self.target_ids(model, batch, row) for row in range(len(utterances))]
        assert [self.decode_target(model, ids) for ids in rows] == list(self.texts)
        assert batch.num_targets == sum(map(len, rows))
        assert batch.num_utterances == len(utterances)
        if model.card.abilities.tokenwise:
            assert len({ids[-1] for ids in rows}) == 1, "targets do not all end with the same end token"
            assert rows[0][-1] in self.end_ids(model), "targets end with a token that the library does not stop at"

    def test_padding_of_a_batch_supervises_nothing(self, model: Trainable) -> None:
        """The supervised tokens of a row are the same alone and beside longer ones."""
        utterances = self.speech()
        batch = model.collate(utterances)
        for row, utterance in enumerate(utterances):
            assert self.target_ids(model, batch, row) == self.target_ids(model, model.collate([utterance]), 0)

    def test_seconds_of_speech_are_counted_without_padding(self, model: Trainable) -> None:
        """Throughput and budgets rest on it."""
        utterances = self.speech()
        seconds = sum(utterance.measured_duration() for utterance in utterances)
        assert model.collate(utterances).audio_seconds == pytest.approx(seconds, rel=1e-3)

    def test_company_changes_no_loss(self, model: Trainable) -> None:
        """``batch_exact`` and ``batch_key`` keep their word; a declared leak is a real one."""
        utterances = self.speech()
        alone = self.alone(model, utterances)
        for group in self.groups(model, utterances):
            assert self.mean_nats(model, group) == pytest.approx(self.alone(model, group), abs=self.tolerance)
        together = self.mean_nats(model, utterances)
        if model.card.abilities.batch_exact:
            assert together == pytest.approx(alone, abs=self.tolerance)
        else:
            assert abs(together - alone) > 1e-5, "batch_exact is False, but nothing leaks here; declare it True"

    def test_accumulation_changes_no_gradient(self, model: Trainable) -> None:
        """Batch 1 x accumulation n is batch n x 1."""
        groups = self.groups(model, self.speech())
        if model.card.abilities.batch_exact:
            groups = [[utterance for group in groups for utterance in group]]
        apart = self.gradients(model, [[utterance] for group in groups for utterance in group])
        assert_same_gradients(self.gradients(model, groups), apart, 1e-3)

    def test_loss_is_a_float32_sum_with_a_count(self, model: Trainable) -> None:
        """Sums add over batches; means would not."""
        batch = model.collate(self.speech(*self.texts[:2]))
        loss = model.loss(batch)
        assert loss.nats.dtype == torch.float32
        assert loss.nats.shape == ()
        assert loss.num_targets == batch.num_targets
        assert loss.nats > 0

    def test_loss_equals_the_librarys(self, model: Trainable) -> None:
        """Utterance by utterance, against the library's own loss on inputs that the library made."""
        utterances = self.speech()
        with torch.no_grad():
            references = [self.reference_nats(model, utterance) for utterance in utterances]
        if any(reference is None for reference in references):
            pytest.skip("reference_nats is not given")
        total = sum(reference.item() for reference in references if reference is not None)
        units = sum(model.collate([utterance]).num_targets for utterance in utterances)
        assert self.alone(model, utterances) == pytest.approx(total / units, abs=self.tolerance)

    def test_languages(self, model: Trainable) -> None:
        """Each listed one is taken; an unknown one and, where one is needed, none are refused."""
        abilities, utterance = model.card.abilities, self.speech(self.texts[0])[0]
        for language in model.card.languages:
            model.collate([dataclasses.replace(utterance, language=language)])
        untold = dataclasses.replace(utterance, language=None)
        if abilities.free_language:
            model.collate([untold])
            model.transcribe([untold], self.options())
        else:
            with pytest.raises(ModelError, match="language"):
                model.transcribe([untold], self.options())
        if not abilities.language_prompt:
            return
        with pytest.raises(ModelError, match=self.unknown_language):
            model.collate([dataclasses.replace(utterance, language=self.unknown_language)])
        with pytest.raises(ModelError, match=self.unknown_language):
            model.transcribe([utterance], self.options(language=self.unknown_language))
        if len(model.card.languages) > 1:
            told = [dataclasses.replace(utterance, language=language) for language in model.card.languages[:2]]
            assert self.mean_nats(model, told[:1]) != self.mean_nats(model, told[1:]), "the language changes nothing"

    def test_too_long_a_recording_is_refused_never_cut(self, model: Trainable) -> None:
        """By name, before training and while transcribing."""
        limit = model.card.max_duration
        if limit is None:
            pytest.skip("takes recordings of any length")
        from asr_headroom.testing.synthetic import tone_utterance

        long = tone_utterance("a", language=self.language, letter_seconds=limit + 0.5, id="the-long-one")
        reason = model.check_target(long)
        assert reason
        assert model.check_target(self.speech(self.texts[0])[0]) is None
        for refuse in (lambda: model.transcribe([long], self.options()), lambda: model.collate([long])):
            with pytest.raises(DataError, match="the-long-one"):
                refuse()
