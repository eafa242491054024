"""Whisper: prompts, labels, windows, features, decoding, loading."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from asr_headroom.audio.features import log_mel
from asr_headroom.errors import DataError, ModelError
from asr_headroom.models.checkpoints import load_pretrained
from asr_headroom.models.decoding import DecodingOptions, LoopGuard
from asr_headroom.models.registry import load_model
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper

RAGGED = [tone_utterance("abc"), tone_utterance("a"), tone_utterance("cabbage")]


def supervised(batch, row):
    """Label ids of one row, the ignored ones removed."""
    return [token for token in batch.inputs["labels"][row].tolist() if token != -100]


@pytest.mark.parametrize("multilingual", [True, False])
def test_decoder_input_is_the_models_own_generation_prompt_then_the_target(multilingual):
    model = tiny_whisper(multilingual=multilingual)
    tokenizer = model.processor.tokenizer
    batch = model.collate([tone_utterance("abc", language="en")])
    # The prompt as transformers' own generate() builds it, read from its output.
    options = {"language": "en", "task": "transcribe"} if multilingual else {}
    features = torch.zeros(1, 80, 300)
    generated = model.module.generate(features, max_new_tokens=1, force_unique_generate_call=True, **options)[0]
    prompt = [token for token in generated.tolist() if token in tokenizer.added_tokens_decoder][
        : 4 if multilingual else 2
    ]
    assert model.prompt_ids("en") == prompt
    names = ["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    if not multilingual:
        names = ["<|startoftranscript|>", "<|notimestamps|>"]
    assert tokenizer.convert_ids_to_tokens(prompt) == names
    target = [*tokenizer.encode(" abc", add_special_tokens=False), tokenizer.eos_token_id]
    assert batch.inputs["decoder_input_ids"][0].tolist() == prompt + target[:-1]
    assert batch.inputs["labels"][0].tolist() == [-100] * (len(prompt) - 1) + target


@pytest.mark.parametrize("multilingual", [True, False])
def test_start_token_occurs_once(multilingual):
    """Trap 13: the start token neither in the labels nor twice in the input."""
    model = tiny_whisper(multilingual=multilingual)
    batch = model.collate(RAGGED)
    start = model.module.config.decoder_start_token_id
    assert (batch.inputs["decoder_input_ids"] == start).sum(dim=1).tolist() == [1, 1, 1]
    assert not (batch.inputs["labels"] == start).any()


def test_the_doubled_start_token_is_what_a_naive_collator_gives():
    """The trap itself: transformers' shift prepends a start token to labels that already begin with one."""
    model = tiny_whisper()
    tokenizer = model.processor.tokenizer
    naive_labels = torch.tensor([[*model.prompt_ids("en"), *model.target_ids("abc", "en")]])
    from transformers.models.whisper.modeling_whisper import shift_tokens_right

    config = model.module.config
    shifted = shift_tokens_right(naive_labels, config.pad_token_id, config.decoder_start_token_id)
    assert tokenizer.convert_ids_to_tokens(shifted[0, :2].tolist()) == ["<|startoftranscript|>"] * 2


def test_supervised_tokens_decode_to_exactly_the_target_in_every_row():
    model = tiny_whisper()
    rows = [replace(u, text=t) for u, t in zip(RAGGED, ["Éa  b", "x", "long text, with « marks »"], strict=True)]
    batch = model.collate(rows)
    for row, utterance in enumerate(rows):
        tokens = supervised(batch, row)
        assert tokens[-1] == model.processor.tokenizer.eos_token_id
        decoded = model.processor.tokenizer.decode(tokens[:-1], clean_up_tokenization_spaces=False)
        assert decoded == " " + utterance.text
    assert batch.num_targets == sum(len(supervised(batch, row)) for row in range(3))


def test_chinese_targets_begin_without_a_space():
    model = tiny_whisper()
    decoded = model.processor.tokenizer.decode(model.target_ids(" 你好 ", "zh-CN")[:-1])
    assert decoded == "你好"


def test_empty_transcript_supervises_the_end_alone():
    model = tiny_whisper()
    batch = model.collate([replace(RAGGED[0], text="  ")])
    assert supervised(batch, 0) == [model.processor.tokenizer.eos_token_id]


def test_loss_equals_transformers_own_on_the_same_inputs():
    model = tiny_whisper()
    batch = model.collate(RAGGED)
    features = model.processor.feature_extractor(
        [u.samples(16_000) for u in RAGGED], sampling_rate=16_000, return_tensors="pt"
    ).input_features
    reference = model.module(
        input_features=features, decoder_input_ids=batch.inputs["decoder_input_ids"], labels=batch.inputs["labels"]
    ).loss
    loss = model.loss(batch)
    torch.testing.assert_close(loss.nats / loss.num_targets, reference)


@pytest.mark.parametrize(("mels", "vocab"), [(80, 51_865), (128, 51_866)])
def test_features_equal_the_feature_extractor(mels, vocab):
    del vocab
    extractor = WhisperFeatureExtractor(feature_size=mels)
    generator = np.random.default_rng(0)
    rows = [generator.standard_normal(n).astype(np.float32) * 0.1 for n in (16_000, 47_123)]
    reference = extractor(rows, sampling_rate=16_000, return_tensors="pt").input_features
    padded = torch.zeros(2, 480_000)
    for row, samples in enumerate(rows):
        padded[row, : len(samples)] = torch.from_numpy(samples)
    filters = torch.from_numpy(extractor.mel_filters).float()
    ours = log_mel(padded, filters, n_fft=400, hop_length=160)
    assert ours.shape == reference.shape == (2, mels, 3000)
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)


def test_full_window_encoder_equals_transformers_encoder():
    model = tiny_whisper(layers=2)
    waveforms = model.collate(RAGGED).inputs["waveforms"]
    features = model.processor.feature_extractor(list(waveforms.numpy()), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        reference = model.module.model.encoder(features.input_features).last_hidden_state
        torch.testing.assert_close(model.encode_waveforms(waveforms), reference, atol=1e-5, rtol=1e-5)


def test_fitted_window_equals_a_model_built_with_that_window():
    """Slicing the position table is all that fitting does."""
    fitted = tiny_whisper(window="fit", window_seconds=3)
    built = tiny_whisper(window="full", window_seconds=1)
    weights = dict(fitted.module.state_dict())
    positions = "model.encoder.embed_positions.weight"
    weights[positions] = weights[positions][:50]
    built.module.load_state_dict(weights)
    utterance = tone_utterance("abcd")  # exactly 1 s
    torch.testing.assert_close(
        fitted.loss(fitted.collate([utterance])).nats, built.loss(built.collate([utterance])).nats
    )


def test_window_depends_on_the_recording_alone():
    model = tiny_whisper(window="fit", window_seconds=3)
    assert [model.batch_key(tone_utterance("a" * n)) for n in (1, 4, 5, 9, 12)] == [
        16_000,
        16_000,
        32_000,
        48_000,
        48_000,
    ]
    assert model.collate([tone_utterance("abcde")]).inputs["waveforms"].shape == (1, 32_000)
    assert tiny_whisper(window="full").batch_key(tone_utterance("a")) == 48_000


@pytest.mark.parametrize("window", ["full", "fit"])
def test_batching_changes_no_transcript(window):
    model = tiny_whisper(window=window, layers=2, seed=3)
    options = DecodingOptions(max_new_tokens=12, loop_guard=LoopGuard(max_period=0))
    together = model.transcribe(RAGGED, options)
    alone = [model.transcribe([utterance], options)[0] for utterance in RAGGED]
    assert [h.token_ids for h in together] == [h.token_ids for h in alone]
    assert all(h.token_ids for h in together)


def test_greedy_equals_transformers_generate():
    model = tiny_whisper(layers=2, seed=5)
    features = model.processor.feature_extractor(
        [u.samples(16_000) for u in RAGGED], sampling_rate=16_000, return_tensors="pt"
    ).input_features
    reference = model.module.generate(
        features, language="fr", task="transcribe", max_new_tokens=10, force_unique_generate_call=True
    )
    options = DecodingOptions(language="fr", max_new_tokens=10, loop_guard=LoopGuard(max_period=0))
    ours = model.transcribe(RAGGED, options)
    end = model.processor.tokenizer.eos_token_id
    for row, hypothesis in zip(reference.tolist(), ours, strict=True):
        tokens = row[row.index(model.prompt_ids("fr")[-1]) + 1 :] if model.prompt_ids("fr")[-1] in row else row
        tokens = tokens[: tokens.index(end)] if end in tokens else tokens
        assert list(hypothesis.token_ids) == tokens
        assert hypothesis.truncated == (len(tokens) == 10)


def test_loop_guard_stops_a_loop_and_says_so():
    model = tiny_whisper(seed=0)  # random weights repeat one character for ever
    looped = model.transcribe(RAGGED[:1], DecodingOptions(max_new_tokens=40))[0]
    free = model.transcribe(RAGGED[:1], DecodingOptions(max_new_tokens=40, loop_guard=LoopGuard(max_period=0)))[0]
    assert looped.looped
    assert not looped.truncated
    assert free.truncated
    assert len(looped.token_ids) < 16 < len(free.token_ids)
    assert free.token_ids[: len(looped.token_ids)] == looped.token_ids


def test_beam_search_finds_at_least_the_greedy_probability():
    model = tiny_whisper(seed=1)
    greedy = model.transcribe(RAGGED[:1], DecodingOptions(max_new_tokens=6, loop_guard=LoopGuard(max_period=0)))[0]
    beam = model.transcribe(
        RAGGED[:1], DecodingOptions(max_new_tokens=6, beam_size=4, loop_guard=LoopGuard(max_period=0))
    )[0]

    def log_probability(tokens):
        batch = model.collate(RAGGED[:1])
        prompt = model.prompt_ids("en")
        inputs = torch.tensor([prompt + list(tokens)])
        with torch.no_grad():
            encoded = model.encode_waveforms(batch.inputs["waveforms"])
            hidden = model.module.model.decoder(input_ids=inputs, encoder_hidden_states=encoded).last_hidden_state
            logits = model.module.proj_out(hidden)[0, len(prompt) - 1 : -1]
            logits[:, model.module.generation_config.suppress_tokens] = -torch.inf
        return logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None]).sum().item()

    assert len(greedy.token_ids) == len(beam.token_ids) == 6
    assert log_probability(beam.token_ids) >= log_probability(greedy.token_ids) - 1e-5


def test_too_long_recordings_are_refused_never_cut():
    model = tiny_whisper(window_seconds=1)
    with pytest.raises(DataError, match=r"'abcdefgh' lasts 2\.00 s, beyond the 1 s"):
        model.transcribe([tone_utterance("abcdefgh")])
    assert "lasts 2.00 s" in model.check_target(tone_utterance("abcdefgh"))
    assert model.check_target(tone_utterance("ab")) is None


def test_label_length_is_checked_against_the_decoders_positions():
    model = tiny_whisper(max_target_positions=16)
    # 4 prompt tokens, a space, n letters and the end token, which is predicted but not fed.
    exactly, over = replace(RAGGED[0], text="x" * 11), replace(RAGGED[0], text="x" * 12)
    assert model.check_target(exactly) is None
    model.loss(model.collate([exactly]))
    assert model.check_target(over) == "has 17 decoder tokens, beyond the model's 16"
    with pytest.raises(DataError, match="has 17 decoder tokens"):
        model.collate([over])


def test_languages():
    model = tiny_whisper()
    with pytest.raises(ModelError, match="was told no language"):
        model.prompt_ids(None)
    with pytest.raises(ModelError, match="has no language 'de'"):
        model.prompt_ids("de")
    assert model.prompt_ids("zh-CN") == model.prompt_ids("zh")
    assert model.card.languages == ("en", "zh", "fr")
    english = tiny_whisper(multilingual=False)
    assert english.card.languages == ("en",)
    assert english.prompt_ids("fr") == english.prompt_ids(None)


def test_save_and_load_round_trip(tmp_path):
    model = tiny_whisper(layers=2)
    model.save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), window="fit")
    assert loaded.window == "fit"
    batch = model.collate(RAGGED)
    torch.testing.assert_close(loaded.loss(batch).nats, model.loss(batch).nats)
    assert loaded.card.parameters == model.card.parameters
    # and by transformers alone
    plain = WhisperForConditionalGeneration.from_pretrained(tmp_path)
    torch.testing.assert_close(plain.state_dict()["proj_out.weight"], model.module.proj_out.weight)


@pytest.mark.gpu
@pytest.mark.parametrize("window", ["full", "fit"])
def test_a_gpu_gives_the_transcripts_and_losses_of_the_cpu(tmp_path, window):
    tiny_whisper(layers=2, seed=3).save_pretrained(tmp_path)
    cpu = load_model(str(tmp_path), window=window, device="cpu")
    gpu = load_model(str(tmp_path), window=window, device="auto")
    options = DecodingOptions(max_new_tokens=12, loop_guard=LoopGuard(max_period=0))
    assert next(gpu.module.parameters()).is_cuda
    assert [h.text for h in gpu.transcribe(RAGGED, options)] == [h.text for h in cpu.transcribe(RAGGED, options)]
    on_gpu = gpu.loss(gpu.collate(RAGGED).to("cuda")).nats.cpu()
    torch.testing.assert_close(on_gpu, cpu.loss(cpu.collate(RAGGED)).nats, atol=1e-2, rtol=1e-3)


def test_random_init_keeps_architecture_and_draws_new_weights(tmp_path):
    model = tiny_whisper()
    model.save_pretrained(tmp_path)
    a = load_model(str(tmp_path), random_init=True, seed=1)
    b = load_model(str(tmp_path), random_init=True, seed=1)
    c = load_model(str(tmp_path), random_init=True, seed=2)
    name = "model.encoder.conv1.weight"
    assert torch.equal(a.module.state_dict()[name], b.module.state_dict()[name])
    assert not torch.equal(a.module.state_dict()[name], c.module.state_dict()[name])
    assert a.prompt_ids("fr") == model.prompt_ids("fr")


class TestDamagedCheckpoints:
    @pytest.fixture
    def folder(self, tmp_path):
        tiny_whisper().save_pretrained(tmp_path)
        return tmp_path

    def test_missing_tensor(self, folder):
        tensors = load_file(folder / "model.safetensors")
        tensors.pop("model.encoder.conv1.weight")
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match=r"1 missing \(model\.encoder\.conv1\.weight\)"):
            load_model(str(folder))

    def test_unexpected_tensor(self, folder):
        tensors = load_file(folder / "model.safetensors") | {"stray.weight": torch.zeros(2)}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match="1 unexpected"):
            load_model(str(folder))

    def test_truncated_file(self, folder):
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(ModelError, match="cannot load"):
            load_model(str(folder))

    def test_no_weights(self, folder):
        (folder / "model.safetensors").unlink()
        with pytest.raises(ModelError, match="cannot load"):
            load_model(str(folder))

    def test_other_architecture(self, folder):
        config = json.loads((folder / "config.json").read_text()) | {"model_type": "bert"}
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(ModelError, match="type 'bert'"):
            load_model(str(folder))

    def test_wrong_width(self, folder):
        config = json.loads((folder / "config.json").read_text()) | {"d_model": 64}
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(ModelError):
            load_model(str(folder))

    def test_generation_config_without_prompt_tokens(self, folder):
        (folder / "generation_config.json").write_text("{}")
        with pytest.raises(ModelError, match="generation config"):
            load_model(str(folder))

    def test_no_such_folder(self, tmp_path):
        with pytest.raises(ModelError, match="cannot load"):
            load_model(str(tmp_path / "nowhere"))

    def test_unknown_family(self, folder):
        with pytest.raises(ModelError, match="did you mean 'whisper'"):
            load_model(str(folder), family="wisper")


@pytest.mark.parametrize(
    ("width", "layers", "heads", "mels", "vocab", "parameters"),
    [
        (384, 4, 6, 80, 51_865, 37_760_640),  # tiny
        (768, 12, 12, 80, 51_865, 241_734_912),  # small
        (1280, 32, 20, 128, 51_866, 1_543_490_560),  # large-v3
    ],
)
def test_card_counts_the_published_parameters(width, layers, heads, mels, vocab, parameters):
    config = WhisperConfig(
        d_model=width, encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=heads,
        decoder_attention_heads=heads, encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width, num_mel_bins=mels,
        vocab_size=vocab,
    )  # fmt: skip
    with torch.device("meta"):
        module = WhisperForConditionalGeneration(config)
    assert sum(p.numel() for p in module.parameters()) == parameters


@pytest.mark.parametrize("source", ["./nowhere", "/no/where", "runs/small/model"])
def test_a_path_that_is_not_there_is_no_hub_id(source):
    with pytest.raises(ModelError, match=f"cannot load '{re.escape(source)}': no such folder"):
        load_pretrained(WhisperForConditionalGeneration.from_pretrained, source)
