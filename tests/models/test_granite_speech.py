"""Granite Speech and its variant pass the suite; and what is their own."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from transformers.audio_utils import mel_filter_bank, spectrogram

from asr_headroom.errors import ModelError
from asr_headroom.models.registry import load_model
from asr_headroom.testing.conformance import ConformanceSuite
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny.granite_speech import tiny_granite_speech


class GraniteSuite(ConformanceSuite):
    def reference_logits(self, model, utterance, ids):
        prompt = model.collate([utterance]).inputs
        prompt_ids = prompt["input_ids"][:, : int(prompt["prompt_lengths"])]
        with torch.no_grad():
            logits = model.module(
                input_ids=torch.cat([prompt_ids, torch.tensor([ids])], dim=1),
                input_features=prompt["input_features"],
            ).logits
        return logits[0, prompt_ids.shape[1] - 1 :] / model.module.config.text_config.logits_scaling


class TestGraniteSpeech(GraniteSuite):
    make = staticmethod(tiny_granite_speech)


class TestGraniteSpeechPlus(GraniteSuite):
    make = staticmethod(partial(tiny_granite_speech, plus=True))
    catalogued = False


@pytest.fixture(scope="module")
def model():
    return tiny_granite_speech()


def with_adapter(folder):
    """Saves a checkpoint as those of the 3.3 generation are: weights and an adapter beside them."""
    model = tiny_granite_speech(has_lora_adapter=True)
    model.save_pretrained(folder)
    targets = r".*language_model.*\.(q_proj|v_proj)"
    model.module.add_adapter(LoraConfig(r=4, target_modules=targets, init_lora_weights=False))
    batch = model.collate([tone_utterance("abc"), tone_utterance("cabbage")])
    with torch.no_grad():
        loss = model.loss(batch).nats.item()
    adapter = {}
    for name, tensor in model.module.get_adapter_state_dict().items():
        adapter[f"base_model.model.{name}"] = tensor.contiguous()
    save_file(adapter, folder / "adapter_model.safetensors")
    settings = model.module.peft_config["default"].to_dict()
    settings = {name: sorted(value) if isinstance(value, set) else value for name, value in settings.items()}
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": "not/there"}))
    return batch, loss


def test_an_adapter_beside_the_weights_is_folded_in_and_saved_with_them(model, tmp_path):
    batch, expected = with_adapter(tmp_path / "generation33")
    with torch.no_grad():
        assert abs(model.loss(batch).nats.item() - expected) > 0.02  # it does something
        loaded = load_model(str(tmp_path / "generation33"))
        assert loaded.loss(batch).nats.item() == pytest.approx(expected, abs=1e-4)
        assert all(parameter.requires_grad for parameter in loaded.module.parameters())
        assert loaded.card.parameters == model.card.parameters
        assert loaded.card.languages == ("en", "fr", "de", "es", "pt")
        loaded.save_pretrained(tmp_path / "folded")
        again = load_model(str(tmp_path / "folded"))
        assert again.loss(batch).nats.item() == pytest.approx(expected, abs=1e-4)
        assert again.card.languages == loaded.card.languages


@pytest.mark.parametrize("file", ["model.safetensors", "adapter_model.safetensors"])
def test_a_tensor_missing_from_weights_or_adapter_is_refused(tmp_path, file):
    with_adapter(tmp_path)
    tensors = load_file(tmp_path / file)
    tensors.pop(next(name for name in tensors if "q_proj" in name))
    save_file(tensors, tmp_path / file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"missing|does not fit"):
        load_model(str(tmp_path))


def test_languages_follow_the_generation(model):
    assert "ja" in model.card.languages
    assert "ja" not in tiny_granite_speech(plus=True).card.languages


def test_a_template_that_writes_the_date_is_given_one(model):
    tokenizer = model.processor.tokenizer
    plain = model.prompt_text(None)
    assert plain == (
        "<|start_of_role|>user<|end_of_role|><|audio|>can you transcribe the speech into a written format?"
        "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>"
    )
    kept = tokenizer.chat_template
    try:
        tokenizer.chat_template = "{{- strftime_now('%d') if messages[0].role != 'system' -}}" + kept
        assert model.prompt_text(None).startswith(
            "<|start_of_role|>system<|end_of_role|>Knowledge Cutoff Date: April 2024"
        )
        tokenizer.chat_template = None
        with pytest.raises(ModelError, match="chat template"):
            model.prompt_text(None)
    finally:
        tokenizer.chat_template = kept


def test_the_librarys_logits_lack_the_scaling(model):
    """If this fails, the library has been mended, and ``logits`` must no longer divide."""
    with torch.no_grad():
        inputs = model.collate([tone_utterance("abc")]).inputs
        hidden = torch.randn(1, model.module.config.text_config.hidden_size)
        ids = inputs["input_ids"][:, :1]
        library = model.module(input_ids=ids).logits[0]
        state = model.module.model(input_ids=ids).last_hidden_state[0]
    assert torch.equal(library, model.module.lm_head(state))
    torch.testing.assert_close(model.logits(hidden), model.module.lm_head(hidden) / 2.0)


@pytest.mark.parametrize("samples", [1600, 4799, 4800, 16_000, 16_161, 48_333])
def test_features_and_tokens_are_those_of_the_definition(model, samples):
    """Against the library's numpy spectrogram, and the projector's real output."""
    waveform = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    bank = mel_filter_bank(257, 80, 0.0, 8000.0, 16_000, norm=None, mel_scale="htk")
    mels = spectrogram(
        waveform.astype(np.float64), np.hanning(401)[:-1], 400, 160, fft_length=512, power=2.0, mel_filters=bank
    ).T
    log = np.log10(np.maximum(mels, 1e-10))
    log = np.maximum(log, log.max() - 8.0) / 4 + 1
    features = model.features(waveform)
    np.testing.assert_allclose(features.reshape(-1, 80), log[: len(log) // 2 * 2], atol=2e-4)
    with torch.no_grad():
        count = model.audio_tokens(samples)
        (embeddings,) = model.audio_embeddings(model.audio_inputs([features]), [count])
    assert len(embeddings) == count
