"""Checkpoints: written whole or not at all, loadable by ``from_pretrained`` or PEFT as they are, and resumable.

A checkpoint is a folder ``step-00000120`` with the model's own files, ``trainer_state.pt`` (optimiser, position, what
was best) and a ``DONE`` mark. It is written under a temporary name and renamed last; a folder without the mark is
never read. Nothing random is stored: data order, dropout and learning rate are functions of the step.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from asr_headroom.errors import TrainingError
from asr_headroom.models.protocols import Trainable
from asr_headroom.results.store import write_json

__all__ = ["FACTS_FILE", "CheckpointFolder", "load_weights"]

FACTS_FILE = "headroom.json"
"""What is known of a delivered model, beside its weights."""

_DONE = "DONE"
_STATE = "trainer_state.pt"
_PREFIX = "step-"


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
        root: folder that holds them; created when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def averaged(self) -> CheckpointFolder:
        """Means of several checkpoints, under the step of the last."""
        return CheckpointFolder(self.root.with_name("averaged"))

    def save(self, step: int, model: Trainable, state: dict[str, Any]) -> Path:
        """Writes one checkpoint.

        Raises:
            TrainingError: the disk refuses; checkpoints written before are untouched.
        """
        final = self.path(step)
        with _whole_folder(final) as temporary:
            model.save_pretrained(temporary)
            # Through Python's file: torch's own writer meets a full disk with an error that names neither.
            with (temporary / _STATE).open("wb") as file:
                torch.save(state, file)
            (temporary / _DONE).touch()
        return final

    def steps(self) -> list[int]:
        """Steps with a complete checkpoint, ascending."""
        if not self.root.is_dir():
            return []
        return sorted(
            int(path.name.removeprefix(_PREFIX))
            for path in self.root.glob(f"{_PREFIX}*")
            if path.name.removeprefix(_PREFIX).isdigit() and (path / _DONE).exists()
        )

    def path(self, step: int) -> Path:
        """Folder of a step's checkpoint."""
        return self.root / f"{_PREFIX}{step:08d}"

    def restore(self, step: int, module: nn.Module) -> dict[str, Any]:
        """Loads a checkpoint's weights into ``module`` and returns its state.

        Raises:
            TrainingError: the checkpoint is damaged or of another model.
        """
        folder = self.path(step)
        try:
            state = torch.load(folder / _STATE, map_location="cpu", weights_only=True)
        except Exception as error:
            raise TrainingError(
                f"{folder / _STATE}: cannot be read ({error}); delete {folder} and resume again"
            ) from error
        load_weights(module, folder)
        return state

    def export(self, step: int, target: Path, facts: Mapping[str, Any]) -> None:
        """Copies a checkpoint's model files, without the training state, to ``target``, with ``headroom.json``.

        Raises:
            TrainingError: the disk refuses.
        """
        with _whole_folder(target) as temporary:
            for path in self.path(step).iterdir():
                if path.name not in (_DONE, _STATE):
                    shutil.copy2(path, temporary / path.name)
            write_json(temporary / FACTS_FILE, facts)

    def export_model(self, model: Trainable, target: Path, facts: Mapping[str, Any]) -> None:
        """Writes a model as it stands to ``target``, with ``headroom.json``.

        Raises:
            TrainingError: the disk refuses.
        """
        with _whole_folder(target) as temporary:
            model.save_pretrained(temporary)
            write_json(temporary / FACTS_FILE, facts)

    def keep_only(self, steps: set[int]) -> None:
        """Deletes all other checkpoints, and what a killed writer left behind."""
        kept = {self.path(step).name for step in steps}
        for path in self.root.glob(f"{_PREFIX}*"):
            if path.name not in kept:
                shutil.rmtree(path)


def load_weights(module: nn.Module, folder: Path) -> None:
    """Loads the weights that ``save_pretrained`` wrote into a module of the same architecture.

    Raises:
        TrainingError: files are missing or damaged, or their tensors are not this module's.
    """
    is_adapter = hasattr(module, "peft_config")
    pattern = "adapter_model*.safetensors" if is_adapter else "model*.safetensors"
    files = sorted(folder.glob(pattern))
    if not files:
        raise TrainingError(f"{folder}: holds no {pattern}; it is not a checkpoint of this run")
    try:
        tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
        if is_adapter:
            from peft import set_peft_model_state_dict

            unexpected = set_peft_model_state_dict(module, tensors).unexpected_keys  # type: ignore[attr-defined]
            missing: list[str] = []
        else:
            outcome = module.load_state_dict(tensors, strict=False)
            unexpected = outcome.unexpected_keys
            tied = set(getattr(module, "all_tied_weights_keys", None) or ())
            missing = [name for name in outcome.missing_keys if name not in tied]
    except Exception as error:
        raise TrainingError(f"{folder}: weights cannot be loaded ({' '.join(str(error).split())[:200]})") from error
    if missing or unexpected:
        raise TrainingError(
            f"{folder}: {len(missing)} tensors missing, {len(unexpected)} unexpected "
            f"({', '.join([*missing, *unexpected][:3])}); it is a checkpoint of another model"
        )


@contextmanager
def _whole_folder(final: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``final`` only if the block succeeds."""
    temporary = final.with_name(final.name + ".tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                _sync(path)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        _sync(final.parent)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if (refusal := _disk_error(error)) is not None:
            raise TrainingError(
                f"{final}: cannot be written ({refusal}); free some space and run the same command again, it goes on "
                "from the last whole checkpoint"
            ) from error
        raise


def _disk_error(error: BaseException | None) -> BaseException | None:
    """The refusal of the disk that ``error`` is, or was raised while handling; None if there was none."""
    while error is not None:
        # safetensors reports a full disk as its own error, with the system's message inside.
        if isinstance(error, OSError) or "No space left" in str(error) or "os error" in str(error).lower():
            return error
        error = error.__cause__ or error.__context__
    return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
