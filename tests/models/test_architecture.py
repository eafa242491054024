"""Dimensions without weights: counted against the real classes, built on the meta device."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from asr_headroom.errors import ModelError
from asr_headroom.lab.settings import WINDOW_SECONDS, base_path
from asr_headroom.models.architecture import known_architectures, parse_architecture, read_architecture
from asr_headroom.models.lora import LoraConfig, attach_lora
from asr_headroom.testing.tiny import tiny_whisper

KNOWN = known_architectures()

# Millions of weights, as the model cards print them.
PUBLISHED_MILLIONS = {
    "openai/whisper-tiny": 39, "openai/whisper-base": 74, "openai/whisper-small": 244, "openai/whisper-medium": 769,
    "openai/whisper-large": 1550, "openai/whisper-large-v3": 1550, "openai/whisper-large-v3-turbo": 809,
    "distil-whisper/distil-small.en": 166, "distil-whisper/distil-medium.en": 394,
    "distil-whisper/distil-large-v2": 756, "distil-whisper/distil-large-v3": 756,
}  # fmt: skip


def config_of(shape, **changes):
    return WhisperConfig(
        d_model=shape.d_model, encoder_layers=shape.encoder_layers, decoder_layers=shape.decoder_layers,
        encoder_ffn_dim=shape.encoder_ffn, decoder_ffn_dim=shape.decoder_ffn, vocab_size=shape.vocab_size,
        encoder_attention_heads=shape.encoder_heads, decoder_attention_heads=shape.decoder_heads,
        num_mel_bins=shape.num_mel_bins, max_source_positions=shape.max_source_positions,
        max_target_positions=shape.max_target_positions, pad_token_id=0, **changes,
    )  # fmt: skip


def on_meta(config):
    with torch.device("meta"):
        return WhisperForConditionalGeneration(config)


@pytest.mark.parametrize("model_id", KNOWN)
def test_parameters_are_those_of_the_real_class(model_id):
    module = on_meta(config_of(KNOWN[model_id]))
    assert KNOWN[model_id].parameters == sum(parameter.numel() for parameter in module.parameters())
    names = {name for name, child in module.named_modules() if isinstance(child, torch.nn.Linear)}
    assert {projection.name for projection in KNOWN[model_id].projections()} == names


@pytest.mark.parametrize(("model_id", "millions"), PUBLISHED_MILLIONS.items())
def test_parameters_are_those_of_the_model_card(model_id, millions):
    assert KNOWN[model_id].parameters / 1e6 == pytest.approx(millions, rel=0.01, abs=1.5)


def test_untied_output_projection_counts_twice():
    config = config_of(KNOWN["openai/whisper-tiny"], tie_word_embeddings=False)
    shape = parse_architecture(config.to_dict())
    assert shape.parameters == sum(parameter.numel() for parameter in on_meta(config).parameters())


@pytest.mark.parametrize("rank", [1, 8])
@pytest.mark.parametrize(
    "targets",
    [("q_proj", "k_proj", "v_proj", "out_proj"), ("q_proj",), ("fc1", "fc2"), ("encoder_attn.v_proj", "fc1")],
)
def test_lora_parameters_are_those_that_attaching_makes_trainable(rank, targets):
    model = tiny_whisper(width=32, layers=2)
    shape = parse_architecture(model.module.config.to_dict())
    attach_lora(model, LoraConfig(rank=rank, target_modules=targets))
    trainable = sum(parameter.numel() for parameter in model.module.parameters() if parameter.requires_grad)
    assert shape.lora_parameters(rank, targets) == trainable
    assert shape.trainable_parameters("lora", rank, targets) == trainable


def test_full_training_moves_all_but_the_sinusoids():
    model = tiny_whisper()
    trainable = sum(parameter.numel() for parameter in model.module.parameters() if parameter.requires_grad)
    shape = parse_architecture(model.module.config.to_dict())
    assert shape.trainable_parameters("full") == shape.trainable_parameters("scratch") == trainable


def test_a_local_folder_with_its_own_window(tmp_path):
    model = tiny_whisper(window_seconds=3, layers=2, dropout=0.1)
    model.save_pretrained(tmp_path)
    shape = read_architecture(str(tmp_path))
    assert shape.parameters == model.card.parameters
    assert (shape.max_duration, shape.max_source_positions, shape.dropout) == (3.0, 150, 0.1)
    assert shape.frames(2.0) == 100
    assert shape.frames(99.0) == 150


def test_the_laboratorys_model_has_longer_frames():
    shape = read_architecture(str(base_path()))
    assert shape.max_duration == pytest.approx(WINDOW_SECONDS)
    assert shape.frames(1.0) == 25


def test_feature_settings_of_older_folders(tmp_path):
    config = config_of(KNOWN["openai/whisper-tiny"]).to_dict() | {"max_source_positions": 100}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_architecture(str(tmp_path)).max_duration == pytest.approx(2.0)
    (tmp_path / "preprocessor_config.json").write_text('{"hop_length": 320, "sampling_rate": 16000}')
    assert read_architecture(str(tmp_path)).max_duration == pytest.approx(4.0)


def test_unknown_ids_get_a_suggestion():
    with pytest.raises(ModelError, match="did you mean 'openai/whisper-small'"):
        read_architecture("openai/wisper-small")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "wav2vec2"}', "is of type 'wav2vec2'"),
        ('{"model_type": "whisper"}', "encoder_layers is None"),
        ('{"model_type": "whisper", "max_source_positions": 1.5}', "max_source_positions is 1.5"),
        ("[]", "no JSON object"),
        ("{", "cannot be read"),
        (None, "holds no config.json"),
    ],
)
def test_damaged_folders(tmp_path, config, message):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelError, match=message):
        read_architecture(str(tmp_path))


def test_a_target_that_is_no_projection():
    with pytest.raises(ModelError, match=r"names 'q_prj'.*did you mean 'q_proj'"):
        KNOWN["openai/whisper-tiny"].lora_parameters(8, ("q_prj",))


def test_reading_dimensions_loads_no_torch():
    code = "import sys, asr_headroom.models.architecture as a; a.read_architecture('openai/whisper-tiny')\n"
    code += "assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
