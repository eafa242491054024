"""Low-rank updates: where they attach, how many weights they have, that they train, save, load and merge."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from asr_headroom.models.lora import LoraConfig, attach_lora, merge_lora
from asr_headroom.models.protocols import Trainable
from asr_headroom.testing.conformance.base import FamilyChecks

__all__ = ["UpdateChecks"]

_RANK = 4


class UpdateChecks(FamilyChecks):
    """What ``lora_targets`` and ``modules_to_save`` promise."""

    def test_updates_attach_where_declared_with_the_computed_number_of_weights(self, model: Trainable) -> None:
        """Rank x (inputs + outputs) of each named projection, and the modules that are trained whole."""
        targets, whole = model.card.lora_targets, model.card.modules_to_save
        parts = dict(model.module.named_modules())
        matrices = {name: part for name, part in parts.items() if _named(name, targets) and not _named(name, whole)}
        assert matrices
        assert all(isinstance(part, nn.Linear) for part in matrices.values())
        expected = sum(_RANK * (part.in_features + part.out_features) for part in matrices.values())
        for name, part in parts.items():
            if _named(name, whole):
                expected += sum(parameter.numel() for parameter in part.parameters())
        adapted = attach_lora(model, LoraConfig(rank=_RANK))
        trained = [parameter for parameter in adapted.module.parameters() if parameter.requires_grad]
        assert sum(parameter.numel() for parameter in trained) == expected
        assert all(parameter.dtype == torch.float32 for parameter in trained)
        if not isinstance(targets, str):
            assert all(any(_named(name, [target]) for name in matrices) for target in targets), "a target is nowhere"

    def test_updates_train_save_load_and_merge(self, tmp_path: Path) -> None:
        """Trap 16: the loaded adapter is the trained one, is not the base, and merged equals unmerged."""
        make = type(self).make
        make().save_pretrained(tmp_path / "base")
        base = self._loaded(tmp_path / "base")
        speech = self.speech(*self.texts[:2])
        before = self.mean_nats(base, speech)
        model = attach_lora(self._loaded(tmp_path / "base"), LoraConfig(rank=_RANK, alpha=8, dropout=0.0))
        assert self.mean_nats(model, speech) == pytest.approx(before, abs=1e-6), "a fresh update changes the model"
        frozen = {name: p.clone() for name, p in model.module.named_parameters() if not p.requires_grad}
        losses = self.train(model, speech, 30)
        assert losses[-1] < 0.98 * losses[0]
        assert all(torch.equal(p, frozen[name]) for name, p in model.module.named_parameters() if name in frozen)
        still = [
            n for n, p in model.module.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())
        ]
        assert not still, f"no gradient reaches {still[:3]}"
        model.save_pretrained(tmp_path / "adapter")
        trained = self.mean_nats(model, speech)
        loaded = self._loaded(tmp_path / "adapter")
        assert loaded.card.parameters == base.card.parameters
        assert self.mean_nats(loaded, speech) == pytest.approx(trained, abs=1e-6)
        assert [h.text for h in loaded.transcribe(speech, self.options())] == [
            h.text for h in model.transcribe(speech, self.options())
        ]
        merged = merge_lora(loaded)
        assert self.mean_nats(merged, speech) == pytest.approx(trained, abs=self.tolerance)
        merged.save_pretrained(tmp_path / "merged")
        assert self.mean_nats(self._loaded(tmp_path / "merged"), speech) == pytest.approx(trained, abs=self.tolerance)

    def _loaded(self, folder: Path) -> Trainable:
        return type(self).load(str(folder), **self.load_options)


def _named(name: str, targets: str | tuple[str, ...] | list[str]) -> bool:
    """PEFT's rule: one string is a pattern for the whole name, several are ends of names."""
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)
