"""More families that lie, in ways that reading their code would not show; each is caught by the check that is named."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch

from asr_headroom.errors import AsrHeadroomError
from asr_headroom.models import audio_llm, modes, whisper
from asr_headroom.models.audio_llm_hypotheses import AudioLlmEncoded
from asr_headroom.models.ctc import CtcEncoded, CtcModel
from asr_headroom.models.decoding import SamplingOptions
from asr_headroom.models.granite_speech import GraniteSpeech
from asr_headroom.models.markup import Markup
from asr_headroom.models.moonshine import Moonshine
from asr_headroom.models.parakeet_transducer import ParakeetTransducer
from asr_headroom.models.protocols import LossSum
from asr_headroom.models.qwen3_asr import Qwen3Asr
from asr_headroom.models.seq2seq import Seq2SeqEncoded
from asr_headroom.models.wav2vec2_ctc import Wav2Vec2Ctc
from asr_headroom.models.whisper import Whisper
from asr_headroom.models.whisper_decoding import WhisperEncoded
from asr_headroom.testing.conformance import ConformanceSuite
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.testing.tiny.granite_speech import tiny_granite_speech
from asr_headroom.testing.tiny.mel_ctc import tiny_mel_ctc
from asr_headroom.testing.tiny.moonshine import tiny_moonshine
from asr_headroom.testing.tiny.parakeet_tdt import tiny_parakeet_tdt
from asr_headroom.testing.tiny.qwen3_asr import tiny_qwen3_asr
from asr_headroom.testing.tiny.wav2vec2_ctc import tiny_wav2vec2_ctc


def changed(make, family, **members):
    """A maker of a tiny model of which some members are others."""

    def made():
        model = make()
        model.__class__ = type("Changed", (family,), members)
        return model

    return made


def hearing_whisper():
    return tiny_whisper(scale=0.1)


def whisper_with(**members):
    return changed(hearing_whisper, Whisper, **members)


# ---------------------------------------------------------------------- targets and losses


def labels_one_late(self, batch):
    made = Whisper.collate(self, batch)
    labels, inputs = made.inputs["labels"], made.inputs["decoder_input_ids"]
    made.inputs["labels"] = torch.cat([torch.full((len(labels), 1), -100), labels], dim=1)
    made.inputs["decoder_input_ids"] = torch.cat([inputs, inputs[:, -1:]], dim=1)
    return made


def ends_with_another_token(self, text, language):
    return [*Whisper.target_ids(self, text, language)[:-1], 7]


def forgets_the_last_token(self, batch):
    made = Whisper.collate(self, batch)
    for row in made.inputs["labels"]:
        row[(row != -100).nonzero()[-1]] = -100
    return made


def cuts_targets(self, text, language):
    return [*Whisper.target_ids(self, text, language)[:-1][:40], self._end_id]


def counts_padding(self, batch):
    made = Whisper.collate(self, batch)
    made.num_targets = made.inputs["labels"].numel()
    return made


def hears_padding(self, batch):
    made = Whisper.collate(self, batch)
    made.audio_seconds = made.inputs["waveforms"].numel() / 16_000
    return made


def rounds_its_loss(self, batch):
    loss = Whisper.loss(self, batch)
    return LossSum(loss.nats.float(), loss.num_targets)


def forgets_the_encoder(self, batch):
    made = dataclasses.replace(Whisper.encode(self, batch))
    loss = self.log_prob(
        dataclasses.replace(made, states=made.states.detach()),
        [ConformanceSuite().target(self, batch, row) for row in range(len(made))],
        SamplingOptions(),
    )
    return LossSum(-loss.values.sum(), batch.num_targets)


def knows_whole_tags_only(self, language):
    return self._language_ids[language]


def reads_marks(make, family):
    def made():
        model = make()
        model._markup = Markup(object())
        return model

    return made


# ---------------------------------------------------------------------- hypotheses


class Ordered(WhisperEncoded):
    def select(self, indices):
        return Ordered(**vars(WhisperEncoded.select(self, sorted(indices))))


def selects_in_order(self, batch):
    return Ordered(**vars(Whisper.encode(self, batch)))


def selects_nothing(self, indices):
    return self


def draws_in_training_mode(self, encoded, options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whisper, "evaluating", contextlib.nullcontext)
        return Whisper.sample(self, encoded, options)


def listens_in_training_mode(self, batch, options=None):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whisper, "evaluating", contextlib.nullcontext)
        return Whisper.transcribe(self, batch, options)


def scores_in_half_precision(self, encoded, hypotheses, options):
    scores = Whisper.log_prob(self, encoded, hypotheses, options)
    return dataclasses.replace(scores, values=scores.values.bfloat16().float())


def never_truncated(self, encoded, options):
    return [[dataclasses.replace(h, truncated=False) for h in row] for row in Whisper.sample(self, encoded, options)]


def draws_from_all_tokens(self, encoded, options):
    return Whisper.sample(self, encoded, dataclasses.replace(options, top_k=0, top_p=1.0))


def same_draw_for_all(self, encoded, options):
    return [[row[0]] * options.num_samples for row in Whisper.sample(self, encoded, options)]


def one_seed(self, encoded, options):
    return Whisper.sample(self, encoded, dataclasses.replace(options, seed=0))


def lists_one_text_twice(self, encoded, beam_size, options):
    return [[row[0], row[0]] for row in Whisper.nbest(self, encoded, beam_size, options)]


def beams_shuffle_rows(self, batch, options):
    found = CtcModel.transcribe(self, batch, options)
    return found[::-1] if options.beam_size > 1 and len(found) > 1 else found


def searches_one_group(self, encoded, beam_size, options, groups=None):
    return type(self).__base__.nbest(self, encoded, beam_size, options)


class JoinedInPlace(WhisperEncoded):
    """The others' rows point to the first ones' audio."""

    def select(self, indices):
        return JoinedInPlace(**vars(WhisperEncoded.select(self, indices)))

    def joined(self, others):
        whole = WhisperEncoded.joined(self, others)
        utterances = tuple(utterance for part in (self, *others) for utterance in part.utterances)
        return JoinedInPlace(whole.states, whole.prompts, utterances)


def joins_rows_without_their_audio(self, batch):
    return JoinedInPlace(**vars(Whisper.encode(self, batch)))


class JoinedUnmasked(Seq2SeqEncoded):
    """What pads the shorter counts as audio."""

    def select(self, indices):
        return JoinedUnmasked(**vars(Seq2SeqEncoded.select(self, indices)))

    def joined(self, others):
        whole = Seq2SeqEncoded.joined(self, others)
        return JoinedUnmasked(whole.states, torch.ones_like(whole.mask), whole.prompts, whole.utterances)


def joins_padding_as_audio(self, batch):
    return JoinedUnmasked(**vars(Moonshine.encode(self, batch)))


class JoinedBackwards(AudioLlmEncoded):
    """The others come last first."""

    def select(self, indices):
        return JoinedBackwards(**vars(AudioLlmEncoded.select(self, indices)))

    def joined(self, others):
        return JoinedBackwards(**vars(AudioLlmEncoded.joined(self, others[::-1])))


def joins_backwards(self, batch):
    return JoinedBackwards(**vars(Qwen3Asr.encode(self, batch)))


def first_rows_options_for_all(self, encoded, hypotheses, options):
    first = options if isinstance(options, SamplingOptions) else options[0]
    return type(self).__base__.log_prob(self, encoded, hypotheses, first)


def options_of_the_row_before(self, encoded, hypotheses, options):
    turned = options if isinstance(options, SamplingOptions) else [options[-1], *options[:-1]]
    return type(self).__base__.log_prob(self, encoded, hypotheses, turned)


def scores_the_best_path_alone(self, encoded, hypotheses, options):
    scores = CtcModel.log_prob(self, encoded, hypotheses, options)
    log_probs = encoded.logits.log_softmax(-1).amax(-1).sum(-1)
    return dataclasses.replace(scores, values=scores.values.minimum(log_probs[list(encoded.rows)][:, None]) - 0.01)


def ignores_padding_frames(self, batch):
    encoded = CtcModel.encode(self, batch)
    return CtcEncoded(encoded.logits, torch.full_like(encoded.frames, encoded.logits.shape[1]), encoded.rows)


def counts_truncated_ones_as_whole(self, encoded, hypotheses, options):
    whole = [dataclasses.replace(hypothesis, truncated=False) for hypothesis in hypotheses]
    return ParakeetTransducer.log_prob(self, encoded, whole, options)


# ---------------------------------------------------------------------- precision, devices, modes


def leaves_something_on_the_cpu(self, waveforms, **options):
    return Whisper.encode_waveforms(self, waveforms, **options) + torch.zeros(1)


def hears_in_half_precision(self, waveforms):
    return self.audio_inputs([self.features(waveform) for waveform in waveforms])


def listens_in_batches_of_statistics():
    model = tiny_mel_ctc()
    for part in model.module.modules():
        for key, hook in list(part._forward_pre_hooks.items()):
            if hook is modes._use_stored_statistics:
                del part._forward_pre_hooks[key]
    return model


def saves_weights_alone(self, directory):
    self.module.save_pretrained(directory)


def wraps_nothing(self, wrap):
    wrap(self.module)
    return hearing_whisper()


CAUGHT = [
    ("test_loss_of_a_target_is_minus_its_log_prob", whisper_with(collate=labels_one_late)),
    (
        "test_supervised_tokens_decode_to_exactly_the_target_in_every_row",
        whisper_with(target_ids=ends_with_another_token),
    ),
    (
        "test_supervised_tokens_decode_to_exactly_the_target_in_every_row",
        whisper_with(collate=forgets_the_last_token),
    ),
    ("test_supervised_tokens_decode_to_exactly_the_target_in_every_row", whisper_with(collate=counts_padding)),
    ("test_too_long_a_text_is_refused", whisper_with(target_ids=cuts_targets, check_target=lambda *_: "is long")),
    ("test_seconds_of_speech_are_counted_without_padding", whisper_with(collate=hears_padding)),
    ("test_gradients_are_those_of_finite_differences", whisper_with(loss=rounds_its_loss)),
    ("test_gradients_are_those_of_finite_differences", whisper_with(loss=forgets_the_encoder)),
    ("test_a_region_changes_nothing", whisper_with(_language_id=knows_whole_tags_only)),
    ("test_marks_of_the_model_are_no_text", reads_marks(hearing_whisper, Whisper)),
    ("test_marks_of_the_model_are_no_text", reads_marks(tiny_qwen3_asr, Qwen3Asr)),
    ("test_encoding_once_equals_encoding_each_time", whisper_with(encode=selects_in_order)),
    ("test_dropout_is_out_of_drawing_and_searching", whisper_with(sample=draws_in_training_mode)),
    ("test_dropout_is_out_of_drawing_and_searching", whisper_with(transcribe=listens_in_training_mode)),
    ("test_temperature_alone_samples", whisper_with(sample=same_draw_for_all)),
    ("test_lists_are_ranked_and_differ", whisper_with(nbest=lists_one_text_twice)),
    ("test_groups_of_beams_avoid_each_other_or_are_refused", whisper_with(nbest=searches_one_group)),
    (
        "test_groups_of_beams_avoid_each_other_or_are_refused",
        changed(tiny_wav2vec2_ctc, Wav2Vec2Ctc, nbest=searches_one_group),
    ),
    ("test_joined_encodings_equal_encoding_together", whisper_with(encode=joins_rows_without_their_audio)),
    (
        "test_joined_encodings_equal_encoding_together",
        changed(tiny_moonshine, Moonshine, encode=joins_padding_as_audio),
    ),
    ("test_joined_encodings_equal_encoding_together", changed(tiny_qwen3_asr, Qwen3Asr, encode=joins_backwards)),
    ("test_rows_may_have_options_of_their_own", whisper_with(log_prob=first_rows_options_for_all)),
    ("test_rows_may_have_options_of_their_own", whisper_with(log_prob=options_of_the_row_before)),
    (
        "test_rows_may_have_options_of_their_own",
        changed(tiny_qwen3_asr, Qwen3Asr, log_prob=first_rows_options_for_all),
    ),
    ("test_beams_work_or_are_refused", changed(tiny_wav2vec2_ctc, Wav2Vec2Ctc, transcribe=beams_shuffle_rows)),
    (
        "test_loss_of_a_target_is_minus_its_log_prob",
        changed(tiny_wav2vec2_ctc, Wav2Vec2Ctc, log_prob=scores_the_best_path_alone),
    ),
    (
        "test_loss_of_a_target_is_minus_its_log_prob",
        changed(tiny_wav2vec2_ctc, Wav2Vec2Ctc, encode=ignores_padding_frames),
    ),
    (
        "test_draws_are_as_frequent_as_their_probability",
        changed(tiny_parakeet_tdt, ParakeetTransducer, log_prob=counts_truncated_ones_as_whole),
    ),
    ("test_everything_runs_where_the_weights_are", whisper_with(encode_waveforms=leaves_something_on_the_cpu)),
    (
        "test_autocast_leaves_features_and_scores_alone",
        changed(tiny_qwen3_asr, Qwen3Asr, _audio_inputs=hears_in_half_precision),
    ),
    (
        "test_autocast_leaves_features_and_scores_alone",
        changed(tiny_granite_speech, GraniteSpeech, _audio_inputs=hears_in_half_precision),
    ),
    ("test_batch_norm_rests", listens_in_batches_of_statistics),
]


@pytest.mark.parametrize(("check", "make"), CAUGHT, ids=[f"{i}-{check}" for i, (check, _) in enumerate(CAUGHT)])
def test_each_lie_is_caught_by_its_check(check, make):
    suite, model = suite_of(make)
    with pytest.raises((AssertionError, AsrHeadroomError, KeyError, RuntimeError, TypeError, pytest.fail.Exception)):
        getattr(suite, check)(model)


def suite_of(make):
    class Suite(ConformanceSuite):
        pass

    Suite.make = staticmethod(make)
    model = make()
    model.module.eval()
    return Suite(), model


@pytest.mark.parametrize(
    "members",
    [
        {"log_prob": scores_in_half_precision},
        {"sample": never_truncated},
        {"sample": draws_from_all_tokens},
        {"sample": one_seed},
    ],
    ids=lambda members: next(iter(members.values())).__name__,
)
def test_draws_that_are_not_what_is_scored_are_caught(members):
    suite, model = suite_of(whisper_with(**members))
    with pytest.raises(AssertionError):
        suite.test_what_is_drawn_is_what_is_scored(model, SamplingOptions(temperature=1.2, top_k=20, top_p=0.9))


def test_a_recording_too_short_for_a_spectrum_is_caught():
    make = changed(tiny_granite_speech, GraniteSpeech, _least_samples=0)
    suite, model = suite_of(make)
    with pytest.raises(RuntimeError, match="Padding size"):
        suite.test_short_recordings_are_heard_beside_long_ones(model, 160)


def test_a_family_that_saves_half_of_itself_is_caught(tmp_path):
    suite, model = suite_of(whisper_with(save_pretrained=saves_weights_alone))
    model.save_pretrained(tmp_path / "saved")
    with pytest.raises(AsrHeadroomError):
        suite.test_round_trip_changes_nothing(model, tmp_path / "saved", tmp_path)


def test_updates_that_are_lost_are_caught(tmp_path):
    suite, model = suite_of(whisper_with(with_module=wraps_nothing))
    with pytest.raises(AssertionError):
        suite.test_updates_attach_where_declared_with_the_computed_number_of_weights(model)


HONEST = {
    "test_batch_norm_rests": [tiny_mel_ctc],
    "test_joined_encodings_equal_encoding_together": [hearing_whisper, tiny_moonshine, tiny_qwen3_asr],
    "test_rows_may_have_options_of_their_own": [hearing_whisper, tiny_qwen3_asr],
    "test_groups_of_beams_avoid_each_other_or_are_refused": [hearing_whisper, tiny_wav2vec2_ctc],
}


@pytest.mark.parametrize("check", sorted({check for check, _ in CAUGHT}))
def test_the_truth_passes(check):
    """The same checks on the family as it is: what is caught is the lie."""
    for make in HONEST.get(check, [hearing_whisper]):
        suite, model = suite_of(make)
        getattr(suite, check)(model)


def test_the_names_that_are_replaced_exist():
    """A renamed method would leave a lie that nobody tells."""
    for family, name in (
        (Whisper, "_language_id"),
        (Whisper, "encode_waveforms"),
        (Qwen3Asr, "_audio_inputs"),
        (GraniteSpeech, "_least_samples"),
    ):
        assert hasattr(family, name)
    assert hasattr(whisper, "evaluating")
    assert hasattr(audio_llm, "full_precision")
