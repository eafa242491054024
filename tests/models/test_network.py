"""Models without weights: counted against the families' own tiny models, and against what publishers say."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import asr_headroom.testing.tiny as tiny
from asr_headroom.errors import ModelError
from asr_headroom.models.architecture import Architecture
from asr_headroom.models.catalogue import catalogue
from asr_headroom.models.dimensions import published_dimensions, published_parameters
from asr_headroom.models.network import build_network, describe_model
from asr_headroom.models.network_kinds import NETWORK_KINDS
from asr_headroom.models.registry import _FAMILIES
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.train.config import LoraConfig, TrainConfig
from asr_headroom.train.methods import apply_method, trainable_parameters

FAMILIES = {
    name: (name, {})
    for name in (
        "qwen3_asr", "granite_speech", "glm_asr", "fun_asr_nano", "canary", "cohere_asr", "moonshine", "parakeet_tdt",
        "parakeet_rnnt", "whisper_ctc",
    )
}  # fmt: skip
FAMILIES |= {f"mel_ctc-{kind}": ("mel_ctc", {"kind": kind}) for kind in ("parakeet", "lasr", "granite")}
FAMILIES |= {
    f"wav2vec2_ctc-{kind}": ("wav2vec2_ctc", {"kind": kind}) for kind in ("xlsr", "base", "hubert", "bert", "data2vec")
}
FAMILIES["granite_speech_plus"] = ("granite_speech", {"plus": True})


def make(name, **more):
    family, options = FAMILIES[name]
    return getattr(tiny, f"tiny_{family}")(**options, **more)


def network_of(model):
    config = model.module.config.to_dict()
    if config["model_type"] == "granite_speech5_ctc":
        config["tie_word_embeddings"] = True  # as published; the family unties the name, not the weights
    return build_network(config)


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_are_those_of_the_family_and_those_that_each_method_moves(name):
    model = make(name)
    network = network_of(model)
    assert network.parameters == model.card.parameters
    assert network.kind.lora_targets == model.card.lora_targets
    full = apply_method(model, TrainConfig(method="full"))
    assert network.trainable_parameters("full") == trainable_parameters(full)
    lora = apply_method(make(name), TrainConfig(method="lora", lora=LoraConfig(rank=4)))
    assert network.trainable_parameters("lora", 4, fresh_head=bool(model.card.modules_to_save)) == trainable_parameters(
        lora
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_products_are_those_that_torch_counts(name):
    model = make(name, width=64)
    network = network_of(model)
    utterance = tone_utterance("abcabcabcab")
    batch = model.collate([utterance])
    model.module.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model.loss(batch)
    counts = {str(kind): value for kind, value in counter.get_flop_counts()["Global"].items()}
    counts.pop("aten.bmm", None)  # attention and mel filters
    stages = [stage._replace(whole=4) if stage.whole == 30 else stage for stage in network.stages]  # the tiny's windows
    if name == "whisper_ctc":
        stages = [stage._replace(whole=3) for stage in stages]
    seconds, targets = utterance.measured_duration(), int((batch.inputs["labels"] != -100).sum())
    prompt = prompt_tokens(model, utterance, network)
    expected = sum(
        2 * matrix.weights * stages[matrix.stage].positions(seconds, targets + prompt, targets)
        for matrix in network.matrices
    )
    assert expected == pytest.approx(sum(counts.values()), rel=0.07)


def prompt_tokens(model, utterance, network):
    """Of the tiny model, whose tokenizer writes each byte as a token."""
    if hasattr(model, "_prompt_ids"):
        ids = model._prompt_ids(utterance.language, len(utterance.samples(16_000)))
        return len(ids) - model.audio_tokens(len(utterance.samples(16_000)))
    return network.kind.prompt_tokens


@pytest.mark.parametrize(
    ("model_id", "weights"),
    [
        # model.safetensors holds 4,626,414,392 bytes of tensors: 16 step counts of 8 bytes, and in two bytes each the
        # weights and the means and variances of 16 batch norms of 2048.
        ("ibm-granite/granite-speech-4.1-2b", (4_626_414_392 - 16 * 8) // 2 - 16 * 2 * 2048),
        ("nvidia/parakeet-tdt-0.6b-v3", 627e6),
        ("nvidia/canary-1b-v2", 978e6),
        ("UsefulSensors/moonshine-tiny", 27.1e6),
        ("UsefulSensors/moonshine-base", 61.5e6),
        ("facebook/wav2vec2-base-960h", 94.4e6),
        ("facebook/wav2vec2-xls-r-1b", 962e6),
        ("facebook/mms-1b-all", 965e6),
        ("facebook/w2v-bert-2.0", 580e6),
        ("google/medasr", 105e6),
    ],
)
def test_published_checkpoints_have_the_published_weights(model_id, weights):
    tolerance = 1e-12 if isinstance(weights, int) else 0.02
    assert describe_model(model_id).parameters == pytest.approx(weights, rel=tolerance)


def test_the_encoder_of_the_small_qwen_is_as_large_as_its_report_says():
    network = describe_model("Qwen/Qwen3-ASR-0.6B-hf")
    encoder = sum(m.weights for m in network.matrices if m.name.startswith("model.audio_tower"))
    assert encoder == pytest.approx(180e6, rel=0.05)


def test_every_type_that_a_family_reads_is_described():
    types = {model_type for family in _FAMILIES.values() for model_type in family.model_types}
    assert types <= set(NETWORK_KINDS)


def test_every_known_checkpoint_is_in_the_catalogue_with_its_size():
    listed = {checkpoint.model_id for family in catalogue() for checkpoint in family.checkpoints}
    assert set(published_dimensions()) <= listed
    for model_id, parameters in published_parameters().items():
        assert describe_model(model_id).parameters == parameters
    assert published_parameters().keys() == published_dimensions().keys()


def test_a_local_config_is_enough(tmp_path):
    model = make("qwen3_asr")
    model.module.config.save_pretrained(tmp_path)
    assert describe_model(str(tmp_path)).parameters == model.card.parameters


def test_a_whisper_keeps_its_own_description_and_loses_its_decoder_to_a_head():
    assert isinstance(describe_model("openai/whisper-tiny"), Architecture)
    headed = describe_model("openai/whisper-tiny", fresh_vocabulary=40)
    assert headed.model_type == "whisper_ctc"
    assert headed.head_parameters == 40 * 384 + 40


def test_a_fresh_head_moves_beside_the_updates():
    network = describe_model("facebook/wav2vec2-xls-r-300m", fresh_vocabulary=40)
    updates = network.trainable_parameters("lora", 8)
    assert updates == 24 * 4 * 8 * 2048
    assert network.trainable_parameters("lora", 8, fresh_head=True) == updates + 40 * 1024 + 40


def test_an_unknown_checkpoint_asks_for_its_config():
    with pytest.raises(
        ModelError, match=r"'ibm-granite/granite-speech-3.3-2b' are not known.*download its config.json"
    ):
        describe_model("ibm-granite/granite-speech-3.3-2b")


def test_a_type_that_nobody_described_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vibevoice_asr"}))
    with pytest.raises(ModelError, match="'vibevoice_asr'; cost and memory are forecast for: canary, cohere_asr"):
        describe_model(str(tmp_path))


def test_targets_that_name_nothing_are_refused():
    network = network_of(make("moonshine"))
    with pytest.raises(ModelError, match=r"names no linear layer .*q_proj"):
        network.trainable_parameters("lora", 4, ("query",))
