"""Which weights a part has, how deep they lie, and what freezing and layer-wise rates make of it."""

from __future__ import annotations

import pytest
from torch import nn

from asr_headroom.errors import ConfigError
from asr_headroom.testing.tiny import tiny_wav2vec2_ctc, tiny_whisper
from asr_headroom.testing.tiny.granite_speech import tiny_granite_speech
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.methods import apply_method
from asr_headroom.train.optimizer import make_optimizer, set_learning_rate
from asr_headroom.train.parts import layer_depths, part_names


def moving(model) -> set[str]:
    return {name for name, weight in model.module.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_frozen_encoder_stays(method):
    free = moving(apply_method(tiny_whisper(), TrainConfig(method=method)))
    frozen = moving(apply_method(tiny_whisper(), TrainConfig(method=method, freeze=("encoder",))))
    assert frozen == {name for name in free if ".encoder." not in name}
    assert frozen < free


def test_a_part_of_the_name_that_is_no_part_is_not_frozen():
    """The decoder's attention to the encoder has its name in it."""
    names = moving(apply_method(tiny_whisper(), TrainConfig(method="full", freeze=("encoder",))))
    assert any("encoder_attn" in name for name in names)


def test_a_single_module_by_its_own_name():
    model = apply_method(tiny_whisper(), TrainConfig(method="full", freeze=("model.decoder.layers.0.fc1",)))
    still = {n for n, weight in model.module.named_parameters() if not weight.requires_grad}
    assert still - {"model.encoder.embed_positions.weight"} == {
        "model.decoder.layers.0.fc1.weight", "model.decoder.layers.0.fc1.bias",
    }  # fmt: skip


def test_a_wrong_name_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"no part 'encodr'; it has encoder, decoder.*did you mean 'encoder'"):
        apply_method(tiny_whisper(), TrainConfig(method="full", freeze=("encodr",)))
    with pytest.raises(ConfigError, match="nothing is left to train"):
        apply_method(tiny_whisper(), TrainConfig(method="full", freeze=("encoder", "decoder")))


def test_families_have_the_parts_that_their_modules_name():
    assert part_names(tiny_whisper().module) == ["encoder", "decoder"]  # its head is the embedding, of the decoder
    assert part_names(tiny_wav2vec2_ctc().module) == ["feature_extractor", "encoder", "head"]
    assert part_names(tiny_granite_speech().module) == ["encoder", "projector", "decoder"]


def test_depth_follows_the_audio_not_the_order_of_attributes():
    """Granite Speech lists its language model first."""
    module = tiny_granite_speech().module
    depths, layers = layer_depths(module)
    assert depths.keys() == {name for name, _ in module.named_parameters()}
    encoder = max(depth for name, depth in depths.items() if ".encoder.layers." in name and ".projector." not in name)
    first = min(depth for name, depth in depths.items() if ".language_model.layers." in name)
    assert 0 < encoder < first <= layers
    assert depths["lm_head.weight"] == layers if "lm_head.weight" in depths else True


def test_depths_of_a_hand_made_model():
    module = nn.ModuleDict()
    module["decoder"] = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(1, 1, bias=False) for _ in range(2)])})
    module["encoder"] = nn.ModuleDict(
        {
            "conv": nn.Linear(1, 1, bias=False),
            "layers": nn.ModuleList([nn.Linear(1, 1, bias=False) for _ in range(3)]),
            "norm": nn.LayerNorm(1, bias=False),
        }
    )
    depths, layers = layer_depths(module)
    assert layers == 5
    assert depths == {
        "encoder.conv.weight": 0, "encoder.layers.0.weight": 1, "encoder.layers.1.weight": 2,
        "encoder.layers.2.weight": 3, "encoder.norm.weight": 3,
        "decoder.layers.0.weight": 4, "decoder.layers.1.weight": 5,
    }  # fmt: skip


def test_rates_fall_with_each_layer_further_from_the_output():
    module = tiny_whisper().module
    optimizer = make_optimizer(module, TrainConfig(method="full", layer_decay=0.5))
    set_learning_rate(optimizer, 1.0)
    names = {id(weight): name for name, weight in module.named_parameters()}
    rates = {names[id(w)]: group["lr"] for group in optimizer.param_groups for w in group["params"]}
    # One layer in the encoder, one in the decoder.
    assert rates["model.decoder.layers.0.fc1.weight"] == 1.0
    assert rates["model.encoder.layers.0.fc1.weight"] == 0.5
    assert rates["model.encoder.conv1.weight"] == 0.25
    assert rates.keys() == {name for name, weight in module.named_parameters() if weight.requires_grad}
