"""Whisper in somebody's Seq2SeqTrainer script: windows, collator, loss, and the lines of the docs page."""

from __future__ import annotations

import copy
import io
import pickle
import re
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
import torch
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, WhisperForConditionalGeneration

from asr_headroom.audio.waveform import read_waveform
from asr_headroom.errors import AudioError, DataError, ModelError
from asr_headroom.integrations.seq2seq import SpeechCollator, fit_windows, token_loss, unfit_windows
from asr_headroom.models.lora import LoraConfig, attach_lora
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper

PAGE = Path(__file__).parents[2] / "docs/seq2seq.md"
RAGGED = [tone_utterance("abcde"), tone_utterance("a"), tone_utterance("cab")]  # 1.25, 0.25 and 0.75 s


def as_row(utterance, **columns):
    samples, rate = soundfile.read(io.BytesIO(utterance.audio), dtype="float32")
    return {"audio": {"array": samples, "sampling_rate": rate}, "sentence": utterance.text, **columns}


ROWS = [as_row(utterance, locale="en") for utterance in RAGGED]


def fitted_pair(**options):
    """A family and its collator on the same weights, fitted."""
    family = tiny_whisper(window="fit", **options)
    fit_windows(family.module)
    return family, SpeechCollator(family.processor, family.module)


# ---------------------------------------------------------------------- collator


@pytest.mark.parametrize("multilingual", [True, False])
def test_supervised_tokens_decode_to_exactly_the_target_in_every_row(multilingual):
    family = tiny_whisper(multilingual=multilingual)
    tokenizer = family.processor.tokenizer
    texts = ["Éa  b", "x", "long text, with « marks »"]
    rows = [{**row, "sentence": text} for row, text in zip(ROWS, texts, strict=True)]
    batch = SpeechCollator(family.processor, family.module)(rows)
    start = family.module.config.decoder_start_token_id
    for labels, inputs, text in zip(batch["labels"], batch["decoder_input_ids"], texts, strict=True):
        supervised = labels[labels != -100].tolist()
        assert supervised[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(supervised[:-1], clean_up_tokenization_spaces=False) == " " + text
        # What is supervised at one position is fed at the next.
        positions = (labels != -100).nonzero()[:-1, 0]
        assert torch.equal(inputs[positions + 1], labels[positions])
        assert inputs[0] == start
        assert (inputs == start).sum() == 1
        assert start not in supervised


def test_batch_is_that_of_the_family():
    family, collator = fitted_pair()
    ours = family.collate(RAGGED)
    batch = collator(ROWS)
    assert set(batch) == {"input_features", "decoder_input_ids", "labels"}
    for name in ("decoder_input_ids", "labels"):
        assert torch.equal(batch[name], ours.inputs[name])
    assert batch["input_features"].shape == (3, 80, 200)  # 1.25 s, rounded up to 2 s


def test_full_window_features_equal_the_feature_extractor():
    family = tiny_whisper()
    batch = SpeechCollator(family.processor, family.module)(ROWS)
    arrays = [row["audio"]["array"] for row in ROWS]
    reference = family.processor.feature_extractor(arrays, sampling_rate=16_000, return_tensors="pt").input_features
    assert batch["input_features"].shape == (3, 80, 300)
    torch.testing.assert_close(batch["input_features"], reference, atol=1e-5, rtol=1e-5)


class Decoder:
    """What datasets gives where torchcodec is installed: an object with two keys and no other ways of a mapping."""

    def __init__(self, samples, rate):
        self._values = {"array": samples, "sampling_rate": rate}

    def __getitem__(self, key):
        return self._values[key]


def test_every_kind_of_audio_gives_the_same_batch(tmp_path):
    _, collator = fitted_pair()
    utterance = RAGGED[0]
    path = tmp_path / "a.wav"
    path.write_bytes(utterance.audio)
    array = as_row(utterance)["audio"]["array"]
    kinds = [
        {"array": array, "sampling_rate": 16_000},
        {"array": array.tolist(), "sampling_rate": 16_000, "path": "nowhere.wav"},
        {"array": np.stack([array, array]), "sampling_rate": 16_000},
        Decoder(torch.from_numpy(array), 16_000),
        {"bytes": utterance.audio, "path": None},
        {"bytes": None, "path": str(path)},
        str(path),
        path,
        utterance.audio,
    ]
    expected = collator([utterance])
    for audio in kinds:
        batch = collator([{"audio": audio, "text": utterance.text, "language": "en"}])
        for name, tensor in expected.items():
            assert torch.equal(batch[name], tensor), (type(audio), name)


def test_audio_is_resampled():
    _, collator = fitted_pair()
    slow = read_waveform(RAGGED[0].audio, 8_000)
    file = io.BytesIO()
    soundfile.write(file, slow, 8_000, format="WAV", subtype="FLOAT")
    array = {"audio": {"array": slow.astype(np.float64), "sampling_rate": 8_000}, "text": "x", "language": "en"}
    stored = replace(RAGGED[0], audio=file.getvalue(), text="x")
    assert torch.equal(collator([array])["input_features"], collator([stored])["input_features"])
    assert collator([array])["input_features"].shape[-1] == 200


def test_columns_can_be_named():
    family = tiny_whisper()
    collator = SpeechCollator(family.processor, family.module, audio_key="voice", text_key="raw", language="English")
    row = {"voice": ROWS[0]["audio"], "raw": "x", "sentence": "not this", "audio": "not this"}
    labels = collator([row])["labels"][0]
    assert family.processor.tokenizer.decode(labels[labels != -100], skip_special_tokens=True) == " x"


@pytest.mark.parametrize(
    ("argument", "tokenizer", "row", "expected"),
    [
        ("French", None, "en", "fr"),
        (None, "chinese", "en", "zh"),
        (None, None, "fr-CA", "fr"),
        (None, None, "Chinese", "zh"),
        ("zh-CN", "french", "en", "zh"),
    ],
)
def test_language_of_the_call_then_of_the_tokenizer_then_of_the_row(argument, tokenizer, row, expected):
    family = tiny_whisper()
    family.processor.tokenizer.language = tokenizer
    collator = SpeechCollator(family.processor, family.module, language=argument)
    for item in ({**ROWS[0], "locale": row}, replace(RAGGED[0], language=row)):
        if isinstance(item, dict) or row != "Chinese":
            inputs = collator([item])["decoder_input_ids"][0].tolist()
            assert inputs[1] == family.module.generation_config.lang_to_id[f"<|{expected}|>"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"audio": None}, DataError, "the audio is a NoneType"),
        ({"audio": [0.0, 0.1]}, DataError, "the audio is a list"),
        ({"audio": {"array": [0, 9], "sampling_rate": 16_000}}, DataError, "is int64"),
        ({"audio": {"array": np.zeros((90, 2)), "sampling_rate": 16_000}}, DataError, r"float64 \[90, 2\]"),
        ({"audio": {"array": np.zeros(0), "sampling_rate": 16_000}}, AudioError, "clip-7: holds no audio"),
        ({"audio": {"bytes": b"no", "path": None}}, AudioError, "clip-7: not audio"),
        ({"audio": "nowhere.wav"}, AudioError, "no such file"),
        ({"audio": {"array": np.zeros(49_000), "sampling_rate": 16_000}}, DataError, "'clip-7' lasts 3.06 s, beyond"),
        ({"sentence": "x" * 70}, DataError, "'clip-7' has 75 decoder tokens, beyond the model's 64"),
        ({"sentence": None}, DataError, "sentence is None"),
        ({"locale": None}, ModelError, "told no language"),
        ({"locale": 3}, DataError, "locale is 3"),
        ({"locale": "xx"}, ModelError, "has no language 'xx'"),
    ],
)
def test_bad_rows_are_refused_with_their_name(change, error, message):
    _, collator = fitted_pair()
    with pytest.raises(error, match=message):
        collator([ROWS[0], {**ROWS[0], "id": "clip-7", **change}])


def test_rows_without_columns_name_the_setting():
    _, collator = fitted_pair()
    with pytest.raises(DataError, match=r"row 1 of a batch has no audio column .*remove_unused_columns=False"):
        collator([{}])
    with pytest.raises(DataError, match=r"no text column .*there are: audio"):
        collator([{"audio": ROWS[0]["audio"]}])


def test_collator_refuses_what_it_does_not_do():
    family = tiny_whisper()
    with pytest.raises(ModelError, match=r"call fit_windows\(model\) before"):
        SpeechCollator(family.processor, family.module, window="fit")
    with pytest.raises(ModelError, match="this is a Linear"):
        SpeechCollator(family.processor, torch.nn.Linear(1, 1))
    family.processor.tokenizer.task = "translate"
    with pytest.raises(ModelError, match="task='translate'"):
        SpeechCollator(family.processor, family.module)


def test_collator_leaves_the_model_alone_and_travels_without_weights():
    family = tiny_whisper(width=128, layers=2)
    positions = family.module.model.encoder.embed_positions.weight.requires_grad_(True)
    fit_windows(family.module)
    collator = SpeechCollator(family.processor, family.module)
    assert positions.requires_grad
    weights = sum(parameter.numel() * 4 for parameter in family.module.parameters())
    empty = len(pickle.dumps(family.processor)) + len(pickle.dumps(collator._mel_filters))
    pickled = pickle.dumps(collator)
    assert len(pickled) < 2 * empty + weights / 4
    for name, tensor in pickle.loads(pickled)(ROWS).items():
        assert torch.equal(tensor, collator(ROWS)[name])


def test_spec_augment_masks_only_audio():
    family, _ = fitted_pair()
    config = family.module.config
    config.apply_spec_augment, config.mask_time_prob, config.mask_time_length = True, 0.5, 4
    batch = SpeechCollator(family.processor, family.module)(ROWS)
    assert batch["attention_mask"].sum(dim=1).tolist() == [125, 25, 75]
    masked = batch["input_features"].clone()
    family.module.train()
    family.module.model._mask_input_features(masked, attention_mask=batch["attention_mask"])
    changed = (masked != batch["input_features"]).any(dim=1)
    assert changed.any(dim=1).all()
    assert not (changed & ~batch["attention_mask"].bool()).any()
    assert torch.isfinite(family.module(**batch).loss)


# ---------------------------------------------------------------------- windows


@pytest.mark.parametrize("multilingual", [True, False])
def test_fitted_loss_is_that_of_the_family(multilingual):
    family, collator = fitted_pair(multilingual=multilingual, layers=2)
    ours = family.loss(family.collate(RAGGED))
    batch = collator(ROWS)
    outputs = family.module(**batch)
    torch.testing.assert_close(outputs.loss, ours.nats / ours.num_targets)
    torch.testing.assert_close(token_loss(outputs, batch["labels"]), ours.nats / ours.num_targets)


def test_full_window_passes_as_before():
    family = tiny_whisper(layers=2)
    batch = SpeechCollator(family.processor, family.module)(ROWS)
    with torch.no_grad():
        before = family.module(**batch)
        fit_windows(family.module)
        after = family.module(**batch)
        # The same frames by the path of shorter ones: the encoder of models/whisper.py, layer by layer.
        layerwise = family.encode_waveforms(family.collate(RAGGED).inputs["waveforms"])
    assert torch.equal(before.logits, after.logits)
    torch.testing.assert_close(layerwise, before.encoder_last_hidden_state, atol=1e-5, rtol=1e-5)


def test_more_than_the_full_window_is_refused_as_before():
    family, _ = fitted_pair()
    with pytest.raises(ValueError, match="to be of length 300, but found 301"):
        family.module.model.encoder(torch.zeros(1, 80, 301))


def built_with(family, seconds):
    """A stock model built for a shorter window, with the weights of ``family``."""
    built = tiny_whisper(window_seconds=seconds)
    weights = dict(family.module.state_dict())
    positions = "model.encoder.embed_positions.weight"
    weights[positions] = weights[positions][: 50 * seconds]
    built.module.load_state_dict(weights)
    return built.module


@pytest.mark.parametrize("beams", [1, 3])
def test_generate_equals_that_of_a_model_built_with_the_window(beams):
    family, collator = fitted_pair(seed=3)
    features = collator(ROWS)["input_features"]
    widths = []
    family.module.model.encoder.conv1.register_forward_pre_hook(lambda _, inputs: widths.append(inputs[0].shape[-1]))
    options = {"language": "fr", "task": "transcribe", "max_new_tokens": 12, "num_beams": beams}
    short = family.module.generate(features, **options)
    assert torch.equal(short, built_with(family, 2).generate(features, **options))
    assert set(widths) == {200}
    # And it hears something: noise is answered otherwise than tones.
    noise = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    logits = [family.module(f, decoder_input_ids=short[:, :1]).logits for f in (features, noise)]
    assert not torch.allclose(*logits, atol=1e-3)


def test_generate_finds_the_language_in_a_short_window():
    family, collator = fitted_pair()
    features = collator(ROWS)["input_features"]
    short = family.module.generate(features, max_new_tokens=3)
    assert torch.equal(short, built_with(family, 2).generate(features, max_new_tokens=3))


def gradients(module, batch):
    module.zero_grad()
    module.train()
    torch.manual_seed(0)
    module(**batch).loss.backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_gradient_checkpointing_changes_no_gradient():
    family, collator = fitted_pair(layers=2, dropout=0.1)
    batch = collator(ROWS)
    plain = gradients(family.module, batch)
    calls = []
    family.module.model.encoder.layers[0].fc1.register_forward_hook(lambda *_: calls.append(1))
    family.module.gradient_checkpointing_enable()
    checkpointed = gradients(family.module, batch)
    assert len(calls) == 2  # forward, and again for the backward pass
    assert plain.keys() == checkpointed.keys()
    assert "model.encoder.layers.0.fc1.weight" in plain
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient)


def test_layerdrop_drops_encoder_layers_while_training_only():
    family, collator = fitted_pair(layers=2)
    encoder, features = family.module.model.encoder, collator(ROWS)["input_features"]
    kept = encoder(features).last_hidden_state
    encoder.layerdrop = 1.0
    assert torch.equal(encoder(features).last_hidden_state, kept)
    encoder.train()
    dropped = encoder(features).last_hidden_state
    encoder.layers = torch.nn.ModuleList()
    assert torch.equal(encoder.eval()(features).last_hidden_state, dropped)


def test_fitting_twice_and_undoing():
    family = tiny_whisper()
    module, features = family.module, torch.zeros(1, 80, 100)
    assert fit_windows(fit_windows(module)) is module
    assert module.model.encoder(features).last_hidden_state.shape == (1, 50, 32)
    assert unfit_windows(unfit_windows(module)) is module
    with pytest.raises(ValueError, match="to be of length 300"):
        module.model.encoder(features)
    widths = []
    module.model.encoder.conv1.register_forward_pre_hook(lambda _, inputs: widths.append(inputs[0].shape[-1]))
    module.generate(features, language="en", max_new_tokens=1)
    assert set(widths) == {300}


def test_fitted_model_is_saved_as_a_stock_model(tmp_path):
    family = tiny_whisper()
    names = list(family.module.state_dict())
    fit_windows(family.module).save_pretrained(tmp_path)
    loaded = WhisperForConditionalGeneration.from_pretrained(tmp_path)
    assert type(loaded) is WhisperForConditionalGeneration
    assert loaded.config.architectures == ["WhisperForConditionalGeneration"]
    assert list(loaded.state_dict()) == names
    with pytest.raises(ValueError, match="to be of length 300"):
        loaded.model.encoder(torch.zeros(1, 80, 100))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_of_a_fitted_model_are_fitted_and_their_own(clone):
    family, collator = fitted_pair()
    batch = collator(ROWS)
    twin = clone(family.module)
    assert torch.equal(twin(**batch).logits, family.module(**batch).logits)
    torch.nn.init.zeros_(twin.model.encoder.layer_norm.weight)
    assert not torch.equal(twin(**batch).logits, family.module(**batch).logits)


@pytest.mark.parametrize("fit_first", [True, False])
def test_low_rank_updates_before_or_after(fit_first):
    family = tiny_whisper()
    if fit_first:
        fit_windows(family.module)
    module = attach_lora(family, LoraConfig(rank=2)).module
    fit_windows(module)
    collator = SpeechCollator(family.processor, module)
    assert collator(ROWS)["input_features"].shape[-1] == 200
    found = gradients(module, collator(ROWS))
    assert found
    assert all("lora_" in name for name in found)
    widths = set()
    family.module.model.encoder.conv1.register_forward_pre_hook(lambda _, inputs: widths.add(inputs[0].shape[-1]))
    features = collator(ROWS)["input_features"]
    assert len(module.eval().generate(input_features=features, language="en", max_new_tokens=4)) == 3
    assert widths == {200}


def test_a_replaced_encoder_is_refused():
    module = tiny_whisper().module
    module.model.encoder.forward = module.model.encoder.forward
    with pytest.raises(ModelError, match="right after from_pretrained"):
        fit_windows(module)


# ---------------------------------------------------------------------- the trainer itself


def arguments(folder, **options):
    defaults = {
        "output_dir": str(folder), "remove_unused_columns": False, "report_to": "none", "use_cpu": True,
        "disable_tqdm": True, "save_strategy": "no", "max_steps": 2, "logging_steps": 1, "seed": 1,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    return Seq2SeqTrainingArguments(**{**defaults, **options})


@pytest.fixture
def stored_rows():
    """A data set as the hub's are: encoded audio, decoded by whoever reads it."""
    speech = [tone_utterance(text, seed=seed) for seed, text in enumerate(["abcde", "a", "cab", "abcdefgh"])]
    table = {
        "audio": [{"bytes": utterance.audio, "path": f"{utterance.id}.wav"} for utterance in speech],
        "sentence": [utterance.text for utterance in speech],
        "locale": ["en"] * 4,
        "length": [utterance.duration for utterance in speech],
    }
    return datasets.Dataset.from_dict(table).cast_column("audio", datasets.Audio(decode=False))


def step_of_sgd(folder, rows, **options):
    family, collator = fitted_pair()
    before = copy.deepcopy(family.module.state_dict())
    trainer = Seq2SeqTrainer(
        model=family.module,
        args=arguments(folder, max_steps=1, optim="sgd", learning_rate=1.0, max_grad_norm=0, warmup_steps=0,
                       lr_scheduler_type="constant", train_sampling_strategy="sequential", **options),
        train_dataset=rows, data_collator=collator, compute_loss_func=token_loss,
    )  # fmt: skip
    trainer.train()
    return {name: tensor - before[name] for name, tensor in family.module.state_dict().items()}


def test_batch_one_accumulated_is_the_whole_batch_and_our_own_gradient(tmp_path):
    # Equal windows, so that only the loss is in question.
    speech = [tone_utterance(text, letter_seconds=1 / len(text)) for text in ("abcde", "a", "cab", "abcdefgh")]
    rows = [as_row(utterance, locale="en") for utterance in speech]
    whole = step_of_sgd(tmp_path / "whole", rows, per_device_train_batch_size=4)
    parts = step_of_sgd(tmp_path / "parts", rows, per_device_train_batch_size=1, gradient_accumulation_steps=4)
    family = tiny_whisper(window="fit")
    loss = family.loss(family.collate(speech))
    (loss.nats / loss.num_targets).backward()
    for name, parameter in family.module.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(whole[name], -parameter.grad, atol=1e-5, rtol=1e-3)
            torch.testing.assert_close(parts[name], -parameter.grad, atol=1e-5, rtol=1e-3)


def test_the_lines_of_the_page_train_and_evaluate_and_guard(tmp_path, stored_rows, monkeypatch):
    """The page's code as it stands, in a trainer that generates while it evaluates and reads with workers."""
    monkeypatch.chdir(tmp_path)
    family = tiny_whisper()
    heard = []

    def compute_metrics(prediction):
        labels = np.where(prediction.label_ids == -100, family.processor.tokenizer.pad_token_id, prediction.label_ids)
        heard.extend(family.processor.tokenizer.batch_decode(labels, skip_special_tokens=True))
        return {"rows": float(len(prediction.predictions))}

    lines, guard_lines = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    family.module.generation_config.language = "en"
    names = {
        "model": family.module,
        "base": copy.deepcopy(family.module),
        "adult_rows": stored_rows,
        "processor": family.processor,
        "train_rows": stored_rows,
        "dev_rows": stored_rows,
        "compute_metrics": compute_metrics,
        "arguments": arguments(
            tmp_path, per_device_train_batch_size=2, per_device_eval_batch_size=2, predict_with_generate=True,
            generation_max_length=20, train_sampling_strategy="group_by_length", dataloader_num_workers=1,
        ),
    }  # fmt: skip
    widths = set()
    family.module.model.encoder.conv1.register_forward_pre_hook(lambda _, inputs: widths.add(inputs[0].shape[-1]))
    before = family.module.proj_out.weight.clone()
    exec(lines, names)
    trainer = names["trainer"]
    assert trainer.state.global_step == 2
    assert not torch.equal(family.module.proj_out.weight, before)
    metrics = trainer.evaluate()
    assert metrics["eval_rows"] == 4
    assert np.isfinite(metrics["eval_loss"])
    assert sorted(heard[-4:]) == [" a", " abcde", " abcdefgh", " cab"]
    assert widths <= {100, 200}
    exec(guard_lines, names)
    assert names["outcome"].alpha == 0.0  # four utterances bear nothing out
    saved = WhisperForConditionalGeneration.from_pretrained(tmp_path / "guarded")
    assert torch.equal(saved.proj_out.weight, before)
