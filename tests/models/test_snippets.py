"""The printed lines open what training wrote, in plain transformers and PEFT, with the same weights."""

from __future__ import annotations

import pytest
import torch

import asr_headroom.testing.tiny as tiny
from asr_headroom.errors import ModelError
from asr_headroom.models.lora import LoraConfig, attach_lora
from asr_headroom.models.registry import load_model
from asr_headroom.models.snippets import loading_snippet
from asr_headroom.models.vocabulary import Vocabulary

FAMILIES = {
    "whisper": ("whisper", {}),
    "qwen3-asr": ("qwen3_asr", {}),
    "granite-speech": ("granite_speech", {}),
    "wav2vec2-ctc": ("wav2vec2_ctc", {}),
    "parakeet-ctc": ("mel_ctc", {"kind": "parakeet"}),
    "granite-speech5": ("mel_ctc", {"kind": "granite"}),
    "parakeet-tdt": ("parakeet_tdt", {}),
    "moonshine": ("moonshine", {}),
}


def run(snippet):
    names: dict[str, object] = {}
    exec(snippet, names)
    return names


def weights_of(module):
    return {name: tensor for name, tensor in module.state_dict().items() if "num_batches" not in name}


def assert_same(module, other):
    ours, theirs = weights_of(module), weights_of(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def adapted(model):
    """With updates that change something, as after training."""
    model = attach_lora(model, LoraConfig(rank=2))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.module.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1)
    return model


@pytest.fixture(params=FAMILIES)
def base(request, tmp_path):
    maker, options = FAMILIES[request.param]
    getattr(tiny, f"tiny_{maker}")(**options).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_full_weights_load_in_plain_transformers(base):
    model = load_model(str(base))
    snippet = loading_snippet(base)
    assert "asr_headroom" not in snippet
    names = run(snippet)
    assert_same(model.module, names["model"])
    assert names.get("processor") or names.get("tokenizer")


def test_an_adapter_loads_in_plain_peft(base, tmp_path):
    model = adapted(load_model(str(base)))
    model.save_pretrained(tmp_path / "adapter")
    snippet = loading_snippet(tmp_path / "adapter")
    assert "asr_headroom" not in snippet
    assert_same(model.module, run(snippet)["model"])


@pytest.mark.parametrize("family", ["wav2vec2_ctc", "whisper"])
def test_an_adapter_with_a_fresh_head_loads_on_its_base(family, tmp_path):
    getattr(tiny, f"tiny_{family}")().save_pretrained(tmp_path / "base")
    vocabulary = Vocabulary.from_texts(["un deux trois"], "basic")
    model = adapted(load_model(str(tmp_path / "base"), vocabulary=vocabulary))
    model.save_pretrained(tmp_path / "adapter")
    snippet = loading_snippet(tmp_path / "adapter")
    # transformers has no Whisper with a CTC head: that class is ours.
    assert ("asr_headroom" in snippet) == (family == "whisper")
    if family == "wav2vec2_ctc":
        ours, theirs = weights_of(model.module), weights_of(run(snippet)["model"])
        unused = {name for name in ours if "original_module" in name}  # the head that was drawn before the adapter's
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() - unused)


def test_a_folder_of_no_family_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="'bert', which no family here reads"):
        loading_snippet(tmp_path)


@pytest.mark.parametrize("content", ['{"model_type": "whisp', "[1, 2]", ""])
def test_a_damaged_config_is_told(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config.json: cannot be read .*copy it again"):
        loading_snippet(tmp_path)
