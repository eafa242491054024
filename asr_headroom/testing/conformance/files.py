"""Saving and loading, and the refusal of what is damaged or of another family."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from asr_headroom.errors import ModelError
from asr_headroom.models.protocols import Trainable
from asr_headroom.testing.conformance.base import FamilyChecks

__all__ = ["FileChecks"]


class FileChecks(FamilyChecks):
    """What ``save_pretrained`` writes is what ``load`` reads."""

    @pytest.fixture
    def folder(self, model: Trainable, tmp_path: Path) -> Path:
        """The tiny model, saved."""
        model.save_pretrained(tmp_path / "saved")
        return tmp_path / "saved"

    def load_folder(self, folder: Path, **options: object) -> Trainable:
        """As users load it; the family is read from the folder."""
        return type(self).load(str(folder), **(self.load_options | options))

    def test_round_trip_changes_nothing(self, model: Trainable, folder: Path, tmp_path: Path) -> None:
        """Weights bit for bit, losses, targets and transcripts; saved again, the files hold the same tensors."""
        loaded = self.load_folder(folder)
        assert type(loaded) is type(model)
        ours, theirs = model.module.state_dict(), loaded.module.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
        speech = self.speech()
        assert self.mean_nats(loaded, speech) == self.mean_nats(model, speech)
        assert loaded.transcribe(speech, self.options()) == model.transcribe(speech, self.options())
        assert loaded.card.abilities == model.card.abilities
        assert set(loaded.card.languages) == set(model.card.languages)
        assert loaded.decoding_state() == model.decoding_state()
        loaded.save_pretrained(tmp_path / "again")
        assert self._tensors(folder).keys() == self._tensors(tmp_path / "again").keys()

    def test_precision_is_what_was_asked_for(self, folder: Path) -> None:
        """Whatever the checkpoint was saved in."""
        half = self.load_folder(folder, dtype="bfloat16")
        assert {p.dtype for p in half.module.parameters() if p.is_floating_point()} == {torch.bfloat16}

    def test_random_init_draws_new_weights_by_seed(self, model: Trainable, folder: Path) -> None:
        """For training from scratch: architecture and tokenizer stay."""
        first, same, other = (self.load_folder(folder, random_init=True, seed=seed) for seed in (1, 1, 2))
        assert self._difference(first, same) == 0
        assert self._difference(first, other) > 0
        assert self._difference(first, model) > 0

    def test_missing_tensor_is_refused(self, folder: Path) -> None:
        """A library would fill it with random numbers and go on."""
        file = self._file(folder)
        tensors = load_file(file)
        name = max(tensors, key=lambda name: (tensors[name].numel(), name))
        del tensors[name]
        save_file(tensors, file, metadata={"format": "pt"})
        with pytest.raises(ModelError, match="missing"):
            self.load_folder(folder)

    def test_stray_tensor_is_refused(self, folder: Path) -> None:
        """The file is of another model."""
        file = self._file(folder)
        save_file(load_file(file) | {"stray.weight": torch.zeros(2)}, file, metadata={"format": "pt"})
        with pytest.raises(ModelError, match="unexpected"):
            self.load_folder(folder)

    def test_truncated_file_is_refused(self, folder: Path) -> None:
        """A download that broke off."""
        file = self._file(folder)
        file.write_bytes(file.read_bytes()[:-200])
        with pytest.raises(ModelError, match="cannot load"):
            self.load_folder(folder)

    def test_folder_of_another_family_is_refused(self, model: Trainable, folder: Path) -> None:
        """Whether the family is read from the folder or told."""
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "bert"}))
        for told in ({}, {"family": model.card.family}):
            with pytest.raises(ModelError, match="bert"):
                self.load_folder(folder, **told)

    def test_missing_processor_is_refused(self, folder: Path) -> None:
        """Weights alone cannot read audio or write text."""
        for path in folder.iterdir():
            if path.suffix != ".safetensors" and path.name not in ("config.json", "generation_config.json"):
                path.unlink()
        with pytest.raises(ModelError):
            self.load_folder(folder)

    def _file(self, folder: Path) -> Path:
        return max(folder.glob("*.safetensors"), key=lambda path: path.stat().st_size)

    def _tensors(self, folder: Path) -> dict[str, torch.Tensor]:
        return load_file(self._file(folder))

    def _difference(self, one: Trainable, other: Trainable) -> float:
        theirs = dict(other.module.named_parameters())
        return max((p - theirs[name]).abs().max().item() for name, p in one.module.named_parameters())
