"""Low-rank updates: counted, attached, saved, loaded, merged."""

from __future__ import annotations

import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig, WhisperForConditionalGeneration

from asr_headroom.errors import ConfigError, ModelError
from asr_headroom.models.checkpoints import base_module
from asr_headroom.models.lora import LoraConfig, attach_lora, merge_lora
from asr_headroom.models.registry import load_model
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper

SPEECH = [tone_utterance("abc"), tone_utterance("cabbage")]


def trained(model):
    """The model with updates as training leaves them: no longer zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.module.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    model.module.eval()
    return model


@pytest.fixture
def adapter(tmp_path):
    """A saved base and a saved, non-zero adapter on it: (base folder, adapter folder, model)."""
    tiny_whisper().save_pretrained(tmp_path / "base")
    model = trained(attach_lora(load_model(str(tmp_path / "base")), LoraConfig(rank=4, alpha=8)))
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "base", tmp_path / "adapter", model


def nats(model):
    with torch.no_grad():
        return model.loss(model.collate(SPEECH)).nats


@pytest.mark.parametrize(
    ("width", "encoder", "decoder", "published"),
    [(384, 4, 4, 1_179_648), (768, 12, 12, 7_077_888), (1024, 24, 24, 18_874_368), (1280, 32, 4, 13_107_200)],
    ids=["tiny", "small", "medium", "turbo"],
)
def test_trainable_parameters_at_rank_32_are_the_studys(width, encoder, decoder, published):
    import peft

    heads = width // 64
    config = WhisperConfig(
        d_model=width, encoder_layers=encoder, decoder_layers=decoder, encoder_ffn_dim=4 * width,
        encoder_attention_heads=heads, decoder_attention_heads=heads,
    )  # fmt: skip
    targets = list(tiny_whisper().card.lora_targets)
    with torch.device("meta"):
        module = WhisperForConditionalGeneration(config)
        model = peft.get_peft_model(module, peft.LoraConfig(r=32, lora_alpha=64, target_modules=targets))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == published


def test_only_the_updates_are_trainable_and_float32():
    model = attach_lora(tiny_whisper(), LoraConfig(rank=4))
    trainable = {name: p for name, p in model.module.named_parameters() if p.requires_grad}
    assert trainable
    assert all("lora_" in name and p.dtype == torch.float32 for name, p in trainable.items())
    assert model.card.parameters == tiny_whisper().card.parameters


def test_a_fresh_update_changes_nothing():
    torch.testing.assert_close(nats(attach_lora(tiny_whisper(), LoraConfig(rank=4, dropout=0.0))), nats(tiny_whisper()))


def test_loading_an_adapter_changes_the_loss_to_that_of_the_trained_model(adapter):
    base, folder, model = adapter
    loaded = load_model(str(folder))
    assert abs(nats(load_model(str(base))) - nats(model)) > 0.1
    torch.testing.assert_close(nats(loaded), nats(model))
    assert loaded.transcribe(SPEECH) == model.transcribe(SPEECH)


def test_an_adapter_finds_its_base_from_another_working_directory(tmp_path, monkeypatch):
    tiny_whisper().save_pretrained(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    model = trained(attach_lora(load_model("base"), LoraConfig(rank=4, alpha=8)))
    model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    torch.testing.assert_close(nats(load_model("../adapter")), nats(model))


def logits(model):
    """[rows, tokens, vocabulary] for the two utterances."""
    core = base_module(model.module)
    batch = model.collate(SPEECH)
    with torch.no_grad():
        encoded = model.encode_waveforms(batch.inputs["waveforms"])
        inputs = batch.inputs["decoder_input_ids"]
        return core.proj_out(core.model.decoder(input_ids=inputs, encoder_hidden_states=encoded).last_hidden_state)


def test_merged_equals_unmerged_and_both_differ_from_the_base(adapter):
    base, folder, model = adapter
    merged = merge_lora(load_model(str(folder)))
    torch.testing.assert_close(logits(merged), logits(model), atol=1e-4, rtol=0)
    assert (logits(load_model(str(base))) - logits(load_model(str(folder)))).abs().max() > 0.1
    assert not any("lora_" in name for name, _ in merged.module.named_parameters())


def test_merging_in_half_precision_is_refused(adapter):
    _, folder, _ = adapter
    with pytest.raises(ModelError, match="half precision"):
        merge_lora(load_model(str(folder), dtype="bfloat16"))
    with pytest.raises(ModelError, match="no low-rank update"):
        merge_lora(tiny_whisper())


def test_an_adapter_that_would_silently_do_nothing_is_refused(adapter):
    """Trap 16: tensors under other names find no place, and PEFT only warns."""
    _, folder, _ = adapter
    path = folder / "adapter_model.safetensors"
    renamed = {name.replace("encoder", "encodr"): tensor for name, tensor in load_file(path).items()}
    save_file(renamed, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"find no place|cannot load the adapter"):
        load_model(str(folder))


def test_a_truncated_adapter_is_refused(adapter):
    _, folder, _ = adapter
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-64])
    with pytest.raises(ModelError, match="cannot load the adapter"):
        load_model(str(folder))


def test_unknown_projection_and_bad_numbers_are_named():
    with pytest.raises(ModelError, match="LoRA cannot be attached"):
        attach_lora(tiny_whisper(), LoraConfig(target_modules=("nope",)))
    with pytest.raises(ConfigError, match=r"rank is 0.*\n.*dropout is 1"):
        LoraConfig(rank=0, dropout=1.0)


def test_attaching_and_loading_warn_of_nothing_that_a_user_could_change(adapter):
    base, folder, _ = adapter
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        attach_lora(load_model(str(base)), LoraConfig(rank=2))
        load_model(str(folder))
    assert not [str(warning.message) for warning in told if issubclass(warning.category, FutureWarning)]
