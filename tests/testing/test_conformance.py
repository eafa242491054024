"""The suite finds what it is for: each sabotage of a family that passes is caught by the check that names it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from asr_headroom.errors import ModelError
from asr_headroom.models.decoding import Hypothesis, SamplingOptions
from asr_headroom.models.protocols import Abilities, LossSum, Recognizer, Samplable, Trainable
from asr_headroom.models.whisper import Whisper
from asr_headroom.testing.conformance import ConformanceSuite
from asr_headroom.testing.tiny import tiny_whisper


def whisper_with(**methods):
    """A maker of a tiny Whisper whose methods are replaced."""

    def make():
        model = tiny_whisper()
        model.__class__ = type("Sabotaged", (Whisper,), methods)
        return model

    return make


def declares(**abilities):
    def make():
        model = tiny_whisper()
        model.card = dataclasses.replace(model.card, abilities=dataclasses.replace(model.card.abilities, **abilities))
        return model

    return make


def card_says(**facts):
    def make():
        model = tiny_whisper()
        model.card = dataclasses.replace(model.card, **facts)
        return model

    return make


def supervises_the_prompt(self, batch):
    made = Whisper.collate(self, batch)
    made.inputs["labels"][:, 1] = made.inputs["decoder_input_ids"][:, 2]
    return made


def supervises_padding(self, batch):
    made = Whisper.collate(self, batch)
    made.inputs["labels"][:, -1] = self._end_id
    return made


def means(self, batch):
    loss = Whisper.loss(self, batch)
    return LossSum(loss.nats / loss.num_targets, loss.num_targets)


def normalises_by_rows(self, batch):
    loss = Whisper.loss(self, batch)
    return LossSum(loss.nats * (1 + 0.1 * batch.num_utterances), loss.num_targets)


def ignores_temperature(self, encoded, hypotheses, options):
    return Whisper.log_prob(self, encoded, hypotheses, SamplingOptions())


def ends_what_was_truncated(self, encoded, hypotheses, options):
    return Whisper.log_prob(self, encoded, [dataclasses.replace(h, truncated=False) for h in hypotheses], options)


def greedy(self, encoded, options):
    one = Whisper.sample(self, encoded, dataclasses.replace(options, num_samples=1, temperature=1e-4))
    return [row * options.num_samples for row in one]


def tokenizes_again(self, encoded, options):
    def again(hypothesis):
        return dataclasses.replace(hypothesis, token_ids=tuple(self.processor.tokenizer.encode("x")))

    return [[again(h) for h in row] for row in Whisper.sample(self, encoded, options)]


def encodes_again(self, encoded, options):
    self.encode_waveforms(torch.zeros(1, 48_000))
    return Whisper.sample(self, encoded, options)


def backwards(self, encoded, beam_size, options):
    return [row[::-1] for row in Whisper.nbest(self, encoded, beam_size, options)]


def leaves_eval_mode(self, batch, options=None):
    self.module.eval()
    return Whisper.transcribe(self, batch, options)


def cuts_long_audio(self, utterance):
    return utterance.samples(16_000)[: self.processor.feature_extractor.n_samples]


def takes_any_language(self, language):
    return 258


def checkpoints_nothing(self):
    return None


def detached(self, batch):
    encoded = Whisper.encode(self, batch)
    return dataclasses.replace(encoded, states=encoded.states.detach())


def shuffled(self, batch, options=None):
    return Whisper.transcribe(self, batch, options)[::-1]


SABOTAGES = [
    ("test_supervised_tokens_decode_to_exactly_the_target_in_every_row", whisper_with(collate=supervises_the_prompt)),
    ("test_padding_of_a_batch_supervises_nothing", whisper_with(collate=supervises_padding)),
    ("test_accumulation_changes_no_gradient", whisper_with(loss=means)),
    ("test_company_changes_no_loss", whisper_with(loss=normalises_by_rows)),
    ("test_company_changes_no_loss", declares(batch_exact=False)),
    ("test_loss_of_a_target_is_minus_its_log_prob", whisper_with(loss=means)),
    ("test_what_follows_changes_no_earlier_token", whisper_with(log_prob=ends_what_was_truncated)),
    ("test_temperature_alone_samples", whisper_with(sample=greedy)),
    ("test_draws_are_as_frequent_as_their_probability", whisper_with(sample=greedy)),
    ("test_draws_are_as_frequent_as_their_probability", whisper_with(log_prob=ignores_temperature)),
    ("test_audio_is_encoded_once", whisper_with(sample=encodes_again)),
    ("test_lists_are_ranked_and_differ", whisper_with(nbest=backwards)),
    ("test_gradients_reach_encoder_and_decoder", whisper_with(encode=detached)),
    ("test_transcribing_leaves_the_mode_as_it_was", whisper_with(transcribe=leaves_eval_mode)),
    ("test_too_long_a_recording_is_refused_never_cut", whisper_with(_samples=cuts_long_audio)),
    ("test_languages", whisper_with(_language_id=takes_any_language)),
    ("test_languages", declares(free_language=True)),
    ("test_learns_two_utterances_by_heart", whisper_with(transcribe=shuffled)),
    ("test_checkpointing_changes_no_gradient_and_stays_on", whisper_with(checkpoint_activations=checkpoints_nothing)),
    ("test_checkpointing_changes_no_gradient_and_stays_on", declares(checkpointing=False)),
    ("test_batch_norm_rests", declares(batch_norm=True)),
    ("test_beams_work_or_are_refused", declares(beam_search=False)),
    ("test_declared_abilities_are_there", declares(can_sample=False)),
    ("test_log_prob_has_the_stated_form", declares(tokenwise=False)),
    ("test_card_tells_the_truth", card_says(parameters=1)),
    ("test_catalogue_says_the_same", declares(timestamps=True)),
    (
        "test_updates_attach_where_declared_with_the_computed_number_of_weights",
        card_says(lora_targets=("q_proj", "no")),
    ),
]


@pytest.mark.parametrize(("check", "make"), SABOTAGES, ids=[f"{i}-{check}" for i, (check, _) in enumerate(SABOTAGES)])
def test_each_sabotage_is_caught_by_its_check(check, make):
    class Suite(ConformanceSuite):
        pass

    Suite.make = staticmethod(make)
    model = make()
    model.module.eval()
    with pytest.raises((AssertionError, ModelError, pytest.fail.Exception)):
        getattr(Suite(), check)(model)


@pytest.mark.parametrize("sample", [greedy, tokenizes_again])
def test_samples_that_are_not_what_was_drawn_are_caught(sample):
    suite, model = ConformanceSuite(), whisper_with(sample=sample)()
    with pytest.raises(AssertionError):
        suite.test_what_is_drawn_is_what_is_scored(model, SamplingOptions(temperature=0.7))
    model = whisper_with(log_prob=ignores_temperature)()
    with pytest.raises(AssertionError):
        suite.test_what_is_drawn_is_what_is_scored(model, SamplingOptions(temperature=0.7))


def test_a_family_that_only_trains_skips_what_needs_hypotheses():
    class Trained:
        """All of Trainable, nothing of Samplable."""

        def __init__(self, model):
            self._model = model
            self.module = model.module
            self.card = dataclasses.replace(model.card, abilities=Abilities(language_prompt=True))

        def __getattr__(self, name):
            if name in ("encode", "sample", "nbest", "log_prob"):
                raise AttributeError(name)
            return getattr(self._model, name)

    model = Trained(tiny_whisper())
    ConformanceSuite().test_declared_abilities_are_there(model)
    with pytest.raises(pytest.skip.Exception, match="Trainable but not Samplable"):
        ConformanceSuite.samplable.__wrapped__(ConformanceSuite(), model)


def test_a_target_that_is_no_choice_of_tokens_keeps_all_its_ids():
    """CTC targets end with no end token."""
    model = declares(tokenwise=False)()
    batch = model.collate(ConformanceSuite().speech("abc"))
    whole = ConformanceSuite().target_ids(model, batch, 0)
    assert ConformanceSuite().target(model, batch, 0) == Hypothesis(text="", token_ids=tuple(whole))


def test_the_page_on_families_names_every_method_and_its_example_is_a_suite():
    page = (Path(__file__).parents[2] / "docs" / "families.md").read_text(encoding="utf-8")
    for protocol in (Recognizer, Trainable, Samplable):
        row = next(line for line in page.splitlines() if line.startswith(f"| `{protocol.__name__}`"))
        own = {name for name in vars(protocol) if callable(getattr(protocol, name)) and not name.startswith("_")}
        assert set(re.findall(r"`(\w+)`", row.split("|")[2])) == own
    code = page.split("```python\n")[1].split("```")[0]
    names = {}
    exec(code, names)
    assert issubclass(names["TestMine"], ConformanceSuite)
    assert names["TestMine"].make().card.family == "whisper"
