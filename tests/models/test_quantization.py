"""Packed weights: the same number of them, nearly the same outputs, less memory; refused where they do not run."""

from __future__ import annotations

import sys

import pytest
import torch

import asr_headroom.testing.tiny as tiny
from asr_headroom.errors import MissingDependencyError, ModelError
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.models.lora import LoraConfig, attach_lora
from asr_headroom.models.quantization import count_parameters, is_quantized, precision, quantized_options
from asr_headroom.models.registry import load_model
from asr_headroom.testing.synthetic import tone_utterance

FAMILIES = ("whisper", "qwen3_asr", "granite_speech", "glm_asr", "fun_asr_nano", "canary", "cohere_asr")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Of the tiny model of a family, saved once."""
    saved = {}

    def folder(family):
        if family not in saved:
            saved[family] = tmp_path_factory.mktemp(family)
            getattr(tiny, f"tiny_{family}")().save_pretrained(saved[family])
        return str(saved[family])

    return folder


def _bytes(model):
    return sum(parameter.numel() * parameter.element_size() for parameter in model.module.parameters())


@pytest.mark.parametrize(
    ("family", "quantization"), [*((family, "4bit") for family in FAMILIES), ("whisper", "8bit"), ("qwen3_asr", "8bit")]
)
def test_packed_weights_are_as_many_take_less_and_say_nearly_the_same(folders, family, quantization):
    pytest.importorskip("bitsandbytes")
    plain = load_model(folders(family))
    packed = load_model(folders(family), quantization=quantization)
    assert packed.card.parameters == plain.card.parameters == count_parameters(packed.module)
    assert _bytes(packed) < _bytes(plain)
    assert packed.decoding_state()["dtype"] == precision(packed.module) == f"float32/{quantization}"
    assert not is_quantized(plain.module)
    language = plain.card.languages[0] if plain.card.languages else "en"
    utterance = tone_utterance("abc", language=language)
    batch = plain.collate([utterance])
    with torch.no_grad():
        expected, given = plain.loss(batch).nats.item(), packed.loss(packed.collate([utterance])).nats.item()
    # Random weights of little width: 8 bits lose a few thousandths of the loss, 4 bits some hundredths.
    assert given == pytest.approx(expected, rel=0.02 if quantization == "8bit" else 0.2)
    assert given != expected
    assert len(packed.transcribe([utterance], DecodingOptions(max_new_tokens=4))) == 1


def test_low_rank_updates_train_on_packed_weights(folders):
    pytest.importorskip("bitsandbytes")
    packed = load_model(folders("whisper"), quantization="4bit")
    model = attach_lora(packed, LoraConfig(rank=4, dropout=0.0))
    assert model.card.parameters == packed.card.parameters
    optimizer = torch.optim.AdamW([p for p in model.module.parameters() if p.requires_grad], lr=3e-2)
    batch = model.collate([tone_utterance("abc", language="en")])
    losses = []
    for _ in range(8):
        loss = model.loss(batch).nats
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0] - 1
    assert is_quantized(model.module)


def test_a_family_without_the_option_names_its_own(tmp_path):
    tiny.tiny_moonshine().save_pretrained(tmp_path)
    assert load_model(str(tmp_path), quantization="none").card.family == "moonshine"
    with pytest.raises(ModelError, match="'moonshine' has no option 'quantization'"):
        load_model(str(tmp_path), quantization="4bit")


def test_random_weights_are_not_packed(folders):
    with pytest.raises(ModelError, match="cannot go with random weights"):
        load_model(folders("whisper"), quantization="4bit", random_init=True)


def test_a_missing_package_names_its_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'asr-headroom\[quant\]'"):
        quantized_options("4bit", dtype="float32", device="cpu")


def test_a_device_on_which_it_does_not_run_is_refused_with_the_reason():
    pytest.importorskip("bitsandbytes")
    with pytest.raises(ModelError, match=r"does not run on 'xyz'.*Expected one of cpu"):
        quantized_options("4bit", dtype="float32", device="xyz")


def test_an_unknown_number_of_bits_is_refused():
    with pytest.raises(ModelError, match="choose none, 8bit or 4bit"):
        quantized_options("3bit", dtype="float32", device="cpu")
