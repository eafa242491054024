"""Checkpoints: whole or not at all, loadable by the libraries as they are."""

from __future__ import annotations

import errno
import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import WhisperForConditionalGeneration

from asr_headroom.errors import TrainingError
from asr_headroom.models.lora import LoraConfig, attach_lora
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.checkpoint import CheckpointFolder


@pytest.fixture
def folder(tmp_path):
    return CheckpointFolder(tmp_path / "checkpoints")


def test_saves_and_restores(folder):
    model = tiny_whisper(seed=1)
    folder.save(7, model, {"step": 7, "optimizer": {"x": torch.ones(2)}})
    other = tiny_whisper(seed=2)
    state = folder.restore(7, other.module)
    assert state["step"] == 7
    for name, tensor in model.module.state_dict().items():
        assert torch.equal(tensor, other.module.state_dict()[name]), name


def test_a_full_checkpoint_loads_in_from_pretrained(folder):
    model = tiny_whisper()
    path = folder.save(1, model, {"step": 1})
    loaded = WhisperForConditionalGeneration.from_pretrained(path)
    assert torch.equal(loaded.model.encoder.conv1.weight, model.module.model.encoder.conv1.weight)


def test_an_adapter_checkpoint_loads_in_peft(folder, tmp_path):
    tiny_whisper().save_pretrained(tmp_path / "base")
    model = attach_lora(tiny_whisper(), LoraConfig(rank=2))
    with torch.no_grad():
        for name, parameter in model.module.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    path = folder.save(1, model, {"step": 1})
    base = WhisperForConditionalGeneration.from_pretrained(tmp_path / "base")
    loaded = dict(PeftModel.from_pretrained(base, path).named_parameters())
    for name, parameter in model.module.named_parameters():
        if "lora_" in name:
            assert torch.equal(loaded[name], parameter)


def test_an_unfinished_checkpoint_is_never_listed(folder):
    folder.save(1, tiny_whisper(), {"step": 1})
    folder.save(2, tiny_whisper(), {"step": 2})
    (folder.path(2) / "DONE").unlink()
    (folder.root / "step-00000003.tmp").mkdir()
    (folder.root / "step-00000003.tmp" / "DONE").touch()
    assert folder.steps() == [1]


def test_a_failure_while_writing_leaves_the_others_alone(folder):
    folder.save(1, tiny_whisper(), {"step": 1})

    class FullDisk:
        def save_pretrained(self, directory):
            (directory / "model.safetensors").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(TrainingError, match=r"cannot be written .*No space left.*free some space"):
        folder.save(2, FullDisk(), {"step": 2})
    assert folder.steps() == [1]
    assert [path.name for path in folder.root.iterdir()] == ["step-00000001"]


def test_keep_only_deletes_the_others_and_leftovers(folder):
    for step in (1, 2, 3):
        folder.save(step, tiny_whisper(), {"step": step})
    (folder.root / "step-00000009.tmp").mkdir()
    folder.keep_only({2, 3})
    assert sorted(path.name for path in folder.root.iterdir()) == ["step-00000002", "step-00000003"]


def test_export_leaves_the_training_state_behind(folder, tmp_path):
    folder.save(1, tiny_whisper(), {"step": 1})
    folder.export(1, tmp_path / "model", {"base": "tiny"})
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert "model.safetensors" in names
    assert not names & {"trainer_state.pt", "DONE"}
    assert json.loads((tmp_path / "model/headroom.json").read_text()) == {"base": "tiny"}


def test_a_model_as_it_stands_is_written_whole(folder, tmp_path):
    folder.export_model(tiny_whisper(seed=3), tmp_path / "model", {"guard": {"alpha": 0.5}})
    stored = load_file(tmp_path / "model/model.safetensors")
    name = "model.encoder.conv1.weight"
    assert torch.equal(stored[name], tiny_whisper(seed=3).module.state_dict()[name])
    assert (tmp_path / "model/headroom.json").is_file()


def test_damaged_checkpoints_are_refused(folder):
    folder.save(1, tiny_whisper(), {"step": 1})
    weights = folder.path(1) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(TrainingError, match="weights cannot be loaded"):
        folder.restore(1, tiny_whisper().module)
    weights.write_bytes(whole)
    with pytest.raises(TrainingError, match="another model"):
        folder.restore(1, tiny_whisper(layers=2).module)
    (folder.path(1) / "trainer_state.pt").write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="cannot be read"):
        folder.restore(1, tiny_whisper().module)
