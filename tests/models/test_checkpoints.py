"""What is missing from a folder is named, never drawn anew."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file, save_file

from asr_headroom.errors import ModelError
from asr_headroom.models.lora import LoraConfig, attach_lora
from asr_headroom.models.registry import load_model
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.testing.tiny.granite_speech import tiny_granite_speech
from asr_headroom.testing.tiny.qwen3_asr import tiny_qwen3_asr
from asr_headroom.testing.tiny.wav2vec2_ctc import LETTERS, tiny_wav2vec2_ctc
from asr_headroom.testing.tiny.whisper_ctc import tiny_whisper_ctc


@pytest.fixture
def adapter(tmp_path):
    """A folder with an adapter of a tiny Whisper beside it."""
    tiny_whisper().save_pretrained(tmp_path / "base")
    attach_lora(load_model(str(tmp_path / "base")), LoraConfig(rank=2)).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def leave_out(folder, part):
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    kept = {name: tensor for name, tensor in tensors.items() if part not in name}
    assert 0 < len(kept) < len(tensors)
    save_file(kept, file, metadata={"format": "pt"})
    return len(tensors) - len(kept)


@pytest.mark.filterwarnings("ignore::UserWarning")  # all that PEFT has to say of it
def test_an_adapter_that_lacks_updates_is_refused(adapter):
    missing = leave_out(adapter, "encoder_attn")
    with pytest.raises(ModelError, match=rf"lacks {missing} of the tensors .*encoder_attn.*copy it again"):
        load_model(str(adapter))


@pytest.mark.filterwarnings("ignore::UserWarning")  # all that PEFT has to say of it
def test_an_adapter_that_lacks_its_head_is_refused(tmp_path):
    tiny_wav2vec2_ctc().save_pretrained(tmp_path / "base")
    model = attach_lora(load_model(str(tmp_path / "base"), vocabulary=LETTERS), LoraConfig(rank=2))
    model.save_pretrained(tmp_path / "adapter")
    load_model(str(tmp_path / "adapter"))
    leave_out(tmp_path / "adapter", "lm_head")
    with pytest.raises(ModelError, match="lm_head"):
        load_model(str(tmp_path / "adapter"))


def test_a_truncated_adapter_is_refused(adapter):
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot load the adapter"):
        load_model(str(adapter))


def test_an_adapter_of_another_family_is_refused(adapter, tmp_path):
    tiny_whisper_ctc().save_pretrained(tmp_path / "other")
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(tmp_path / "other")}))
    with pytest.raises(ModelError, match="adapter"):
        load_model(str(adapter))


@pytest.mark.parametrize("make", [tiny_qwen3_asr, tiny_granite_speech])
def test_new_weights_end_their_texts_as_the_checkpoint_does(make, tmp_path):
    """The generation config may name more end tokens than the model's config; a draw of new weights keeps them."""
    model = make()
    ends = sorted({model.end_id, 5})
    model.module.generation_config.eos_token_id = ends
    model.save_pretrained(tmp_path)
    drawn = load_model(str(tmp_path), random_init=True)
    assert drawn.module.generation_config.eos_token_id == ends
    drawn.save_pretrained(tmp_path / "again")
    assert load_model(str(tmp_path / "again")).module.generation_config.eos_token_id == ends
