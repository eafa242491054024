"""Low-rank updates on a base of 4 bits, by the whole command: trained, guarded, saved for plain PEFT, resumed."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from asr_headroom.cli.main import main
from asr_headroom.data.manifest import write_manifest
from asr_headroom.errors import ConfigError, ModelError
from asr_headroom.models.registry import load_model
from asr_headroom.stages.train import TrainStageConfig
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.methods import apply_method, trainable_parameters
from asr_headroom.train.weight_line import WeightLine

TEXTS = ("abc", "cab", "bad", "cabbage")


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A folder with ``tiny``, the words of a command, and ``whole``, what it trained."""
    pytest.importorskip("bitsandbytes")
    folder = tmp_path_factory.mktemp("room")
    tiny_whisper().save_pretrained(folder / "tiny")
    speech = []
    for text in TEXTS:
        utterance = tone_utterance(text)
        (folder / f"{text}.wav").write_bytes(utterance.audio)
        speech.append(dataclasses.replace(utterance, audio=folder / f"{text}.wav"))
    write_manifest(folder / "speech.jsonl", speech)
    assert main([*words(folder), "--output", str(folder / "whole")]) == 0
    return folder


def words(folder) -> list[str]:
    data = str(folder / "speech.jsonl")
    return ["train", "--model", str(folder / "tiny"), "--train", data, "--dev", data, "--window", "fit",
            "--quantization", "4bit", "--learning-rate", "1e-2", "--max-steps", "4", "--eval-steps", "2",
            "--per-device-train-batch-size", "2", "--set", "guard.points=1"]  # fmt: skip


def loaded(folder):
    return load_model(str(folder / "tiny"), window="fit", quantization="4bit")


def test_it_learns_and_what_it_saves_is_for_plain_peft(room):
    import peft
    from transformers import WhisperForConditionalGeneration

    history = [json.loads(line) for line in (room / "whole/history.jsonl").read_text().splitlines()]
    assert history[-1]["dev_loss"] < history[0]["dev_loss"]
    assert json.loads((room / "whole/train.json").read_text())["facts"]["quantization"] == "4bit"
    saved = room / "whole/checkpoints/step-00000004"
    tensors = load_file(saved / "adapter_model.safetensors")
    assert all("lora_" in name for name in tensors)
    plain = peft.PeftModel.from_pretrained(WhisperForConditionalGeneration.from_pretrained(room / "tiny"), saved)
    found = {name: tensor for name, tensor in plain.named_parameters() if "lora_" in name}
    assert len(found) == len(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(found[name.replace(".weight", ".default.weight")], tensor)


def test_the_line_scales_the_update_without_merging(room):
    model = apply_method(loaded(room), TrainConfig())
    with model.module.disable_adapter():
        before = loss_of(model)
    line = WeightLine.between_folders(model, *[room / f"whole/checkpoints/step-0000000{step}" for step in (0, 4)])
    losses = []
    for point in (0.0, 0.5, 1.0):
        line.move(point)
        losses.append(loss_of(model))
    assert losses[0] == before
    assert losses[2] < losses[1] < losses[0]


def loss_of(model) -> float:
    model.module.eval()
    with torch.no_grad():
        return model.loss(model.collate([tone_utterance("abc")])).nats.item()


def test_a_resumed_run_ends_with_the_same_bits(room, capsys):
    shutil.copytree(room / "whole", room / "cut")
    assert (room / "cut/checkpoints/step-00000000").exists()
    for step in (2, 4):  # as a kill before the next checkpoint leaves it
        shutil.rmtree(room / f"cut/checkpoints/step-0000000{step}", ignore_errors=True)
    record = json.loads((room / "cut/train.json").read_text())
    (room / "cut/train.json").write_text(json.dumps(record | {"status": "running"}))
    assert main([*words(room), "--output", str(room / "cut")]) == 0
    assert "--quantization 4bit" in capsys.readouterr().out
    name = "checkpoints/step-00000004/adapter_model.safetensors"
    assert (room / "cut" / name).read_bytes() == (room / "whole" / name).read_bytes()


def test_norms_stay_in_float32_and_only_updates_move(room):
    """What PEFT's ``prepare_model_for_kbit_training`` would do is so already."""
    model = apply_method(loaded(room), TrainConfig(mixed_precision="bf16"))
    for name, weight in model.module.named_parameters():
        assert weight.requires_grad == ("lora_" in name)
        if type(weight).__name__ != "Params4bit":
            assert weight.dtype == torch.float32, name
    packed = [layer for layer in model.module.modules() if hasattr(layer, "compute_type_is_set")]
    assert {layer.compute_dtype for layer in packed} == {torch.bfloat16}
    assert trainable_parameters(model) == 3 * 4 * 2 * 32 * 32


def test_weights_that_are_packed_cannot_move(room):
    with pytest.raises(ConfigError, match="give --method lora"):
        TrainStageConfig(model="m", train="t", dev="d", method="full", quantization="4bit")
    with pytest.raises(ModelError, match="packed and cannot move"):
        apply_method(loaded(room), TrainConfig(method="full"))
