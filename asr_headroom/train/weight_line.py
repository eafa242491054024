"""The straight line from a base to a fine-tuned model, and how to move a model along it in place.

Full fine-tuning moves all weights, so every tensor is interpolated (WiSE-FT: Wortsman et al., 2022, arXiv:2109.01903).
Low-rank updates start from nothing, so their scale is: ``B`` is multiplied, and the product ``B A`` with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from asr_headroom.errors import TrainingError
from asr_headroom.models.protocols import Trainable

__all__ = ["StoredTensors", "WeightLine", "place_mean"]

_LORA_B = ("lora_B", "lora_embedding_B")
_LORA_A = ("lora_A", "lora_embedding_A")


class StoredTensors(Mapping[str, torch.Tensor]):
    """The weights of a folder, read one tensor at a time: two models on disk need not fit into memory.

    Args:
        folder: written by ``save_pretrained``.
        pattern: of its safetensors files.

    Raises:
        TrainingError: there are none, or they cannot be read.
    """

    def __init__(self, folder: Path, pattern: str) -> None:
        self._folder = folder
        self._file_of: dict[str, Path] = {}
        for path in sorted(folder.glob(pattern)):
            try:
                with safe_open(str(path), framework="pt") as file:
                    self._file_of |= dict.fromkeys(file.keys(), path)
            except Exception as error:
                raise TrainingError(f"{path}: cannot be read ({error}); train again in another --output") from error
        if not self._file_of:
            raise TrainingError(f"{folder}: holds no {pattern}; the guard needs it to go between base and fine-tuned")

    def __getitem__(self, name: str) -> torch.Tensor:
        with safe_open(str(self._file_of[name]), framework="pt") as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __len__(self) -> int:
        return len(self._file_of)


class _MeanTensors(Mapping[str, torch.Tensor]):
    """The mean of several folders' weights, computed one tensor at a time."""

    def __init__(self, folders: Sequence[StoredTensors]) -> None:
        self._folders = folders

    def __getitem__(self, name: str) -> torch.Tensor:
        tensors = [folder[name] for folder in self._folders]
        if not tensors[0].is_floating_point():
            return tensors[-1]
        return torch.stack([tensor.double() for tensor in tensors]).mean(dim=0).to(tensors[0].dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._folders[0])

    def __len__(self) -> int:
        return len(self._folders[0])


class WeightLine:
    """Moves a model between two sets of weights.

    Args:
        module: the model, or a PEFT model around it; changed in place by :meth:`move`.
        base: its weights at 0, by name as in ``state_dict``; not looked at for a PEFT model, where 0 is no update.
        tuned: its weights at 1; for a PEFT model those of the adapter, as ``get_peft_model_state_dict`` names them.

    Raises:
        TrainingError: the two ends do not have the same tensors, or they are not this module's.
    """

    def __init__(
        self, module: nn.Module, base: Mapping[str, torch.Tensor] | None, tuned: Mapping[str, torch.Tensor]
    ) -> None:
        self._module, self._base, self._tuned = module, base, tuned
        self._is_adapter = hasattr(module, "peft_config")
        if self._is_adapter:
            _refuse_other_adapters(module, tuned)
            return
        assert base is not None
        strangers = sorted(set(base) ^ set(tuned)) or sorted(set(tuned) - set(module.state_dict()))
        if strangers:
            raise TrainingError(
                f"base and fine-tuned model do not have the same tensors ({', '.join(strangers[:3])}); "
                "the guard goes between two models of one architecture"
            )

    @classmethod
    def between_folders(cls, model: Trainable, base: Path, tuned: Path) -> WeightLine:
        """The line between two checkpoints that ``model`` wrote.

        Raises:
            TrainingError: a checkpoint is missing or damaged.
        """
        if hasattr(model.module, "peft_config"):
            return cls(model.module, None, StoredTensors(tuned, "adapter_model*.safetensors"))
        return cls(model.module, *(StoredTensors(folder, "model*.safetensors") for folder in (base, tuned)))

    @torch.no_grad()
    def move(self, alpha: float) -> None:
        """Puts the weights at base + alpha × (tuned - base); exactly at the ends for 0 and 1.

        Args:
            alpha: 0 is the base, 1 the fine-tuned model.
        """
        if self._is_adapter:
            from peft import set_peft_model_state_dict

            tensors = {
                name: tensor * alpha if any(part in name for part in _LORA_B) else tensor
                for name, tensor in self._tuned.items()
            }
            set_peft_model_state_dict(self._module, tensors)
            return
        assert self._base is not None
        state = self._module.state_dict()
        for name, tuned in self._tuned.items():
            if tuned.is_floating_point():
                tuned = torch.lerp(self._base[name], tuned, alpha)
            state[name].copy_(tuned)


def place_mean(module: nn.Module, folders: Sequence[Path]) -> None:
    """Puts a model at the mean of the weights of several of its checkpoints.

    Of low-rank updates the mean is that of each factor: near enough to that of the products for steps of one run.

    Raises:
        TrainingError: a checkpoint is missing or damaged.
    """
    pattern = "adapter_model*.safetensors" if hasattr(module, "peft_config") else "model*.safetensors"
    mean = _MeanTensors([StoredTensors(folder, pattern) for folder in folders])
    WeightLine(module, mean, mean).move(1.0)


def _refuse_other_adapters(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Only where an update is B A, and began at nothing, is scale 0 the base."""
    strangers = [name for name in tensors if not any(part in name for part in (*_LORA_A, *_LORA_B))]
    started = {getattr(config, "init_lora_weights", True) for config in module.peft_config.values()}  # type: ignore[operator]
    unusual = started - {True, "gaussian", "orthogonal"}
    if strangers or unusual:
        what = f"it also trains {', '.join(strangers[:3])}" if strangers else f"init_lora_weights is {unusual.pop()!r}"
        raise TrainingError(
            f"the guard knows plain low-rank updates only, where scale 0 is the base; of this adapter {what}. "
            "Train without, or switch the guard off"
        )
