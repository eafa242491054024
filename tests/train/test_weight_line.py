"""The line between two models: exact at its ends, straight between them, for all weights and for updates."""

from __future__ import annotations

import pytest
import torch

from asr_headroom.errors import TrainingError
from asr_headroom.models.lora import LoraConfig, attach_lora, merge_lora
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.weight_line import WeightLine

SPEECH = [tone_utterance("abc"), tone_utterance("cabbage")]


def state(model):
    return {name: tensor.clone() for name, tensor in model.module.state_dict().items()}


def logits(model):
    """Decoder input is fixed, so this is a function of the weights alone."""
    model.module.eval()
    batch = model.collate(SPEECH)
    with torch.no_grad():
        return model.loss(batch).nats.double()


@pytest.fixture
def folders(tmp_path):
    tiny_whisper(seed=1).save_pretrained(tmp_path / "base")
    tiny_whisper(seed=2).save_pretrained(tmp_path / "tuned")
    return tmp_path / "base", tmp_path / "tuned"


def test_ends_are_exact_and_the_middle_is_the_mean(folders):
    model = tiny_whisper(seed=3)
    line = WeightLine.between_folders(model, *folders)
    base, tuned = state(tiny_whisper(seed=1)), state(tiny_whisper(seed=2))
    for alpha, expected in ((1.0, tuned), (0.0, base), (0.5, {n: (base[n] + tuned[n]) / 2 for n in base})):
        line.move(alpha)
        for name, tensor in state(model).items():
            if alpha == 0.5:
                torch.testing.assert_close(tensor, expected[name])
            else:
                assert torch.equal(tensor, expected[name]), name


@pytest.fixture
def adapted(tmp_path):
    """A model with an update that is not zero, and the folder of its adapter."""
    model = attach_lora(tiny_whisper(seed=1), LoraConfig(rank=4, dropout=0.0), seed=5)
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for name, parameter in model.module.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.save_pretrained(tmp_path / "tuned")
    return model, tmp_path / "tuned"


def test_an_update_at_0_is_the_base_and_at_1_itself(adapted):
    model, folder = adapted
    whole = logits(model)
    line = WeightLine.between_folders(model, folder, folder)
    line.move(0.0)
    assert torch.equal(logits(model), logits(tiny_whisper(seed=1)))
    line.move(1.0)
    assert torch.equal(logits(model), whole)
    assert not torch.equal(whole, logits(tiny_whisper(seed=1)))


def test_half_an_update_is_half_way_between_the_merged_weights(adapted, tmp_path):
    model, folder = adapted
    line = WeightLine.between_folders(model, folder, folder)
    line.move(0.5)
    half = state(merge_lora(model))
    fresh = attach_lora(tiny_whisper(seed=1), LoraConfig(rank=4, dropout=0.0), seed=5)
    WeightLine.between_folders(fresh, folder, folder).move(1.0)
    full, base = state(merge_lora(fresh)), state(tiny_whisper(seed=1))
    for name in base:
        torch.testing.assert_close(half[name], (base[name] + full[name]) / 2, atol=1e-6, rtol=1e-5)


def test_models_of_another_shape_are_refused(folders, tmp_path):
    tiny_whisper(layers=2).save_pretrained(tmp_path / "other")
    with pytest.raises(TrainingError, match="do not have the same tensors"):
        WeightLine.between_folders(tiny_whisper(), folders[0], tmp_path / "other")
    with pytest.raises(TrainingError, match=r"holds no model\*\.safetensors"):
        WeightLine.between_folders(tiny_whisper(), tmp_path / "nowhere", folders[1])


def test_adapters_that_are_more_than_an_update_are_refused():
    import peft

    for options, what in (({"modules_to_save": ["layer_norm"]}, "also trains"), ({"use_dora": True}, "also trains"),
                          ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'")):  # fmt: skip
        settings = peft.LoraConfig(r=4, target_modules=["q_proj"], **options)
        module = peft.get_peft_model(tiny_whisper().module, settings)
        with pytest.raises(TrainingError, match=what):
            WeightLine(module, None, peft.get_peft_model_state_dict(module))
