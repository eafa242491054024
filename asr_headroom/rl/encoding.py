"""The seam between encoder and decoder: audio is encoded once, and gradients cross the seam once.

Hypotheses are scored in parts, each with a backward pass of its own, so that the memory is that of one part. Were the
encoder behind each of them, it would be run backwards as often. So the graph is cut at what the encoder gave, the parts
collect their gradient there, and one backward pass takes the sum through the encoder.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import ModelError
from asr_headroom.models.protocols import Encoded, Samplable

__all__ = ["CutEncoding", "KeptEncodings", "scoring_mode"]

logger = logging.getLogger(__name__)


class CutEncoding:
    """Encoded audio without the graph behind it, which :meth:`backward` then goes through once.

    Args:
        encoded: as ``encode`` gave it: a dataclass whose tensors are fields, or in tuples that are fields.

    Attributes:
        encoded: the same, cut off; its tensors collect gradients where the encoder is trained.

    Raises:
        ModelError: it is no dataclass, so nobody can say where its tensors are.
    """

    def __init__(self, encoded: Encoded) -> None:
        if not dataclasses.is_dataclass(encoded):
            raise ModelError(f"{type(encoded).__name__} is no dataclass; reinforcement learning cannot cut its graph")
        self._seams: list[tuple[torch.Tensor, torch.Tensor]] = []
        cut = {spec.name: self._cut(getattr(encoded, spec.name)) for spec in dataclasses.fields(encoded)}
        self.encoded: Encoded = dataclasses.replace(encoded, **cut)

    @property
    def is_trained(self) -> bool:
        """A weight behind the seam moves."""
        return bool(self._seams)

    def backward(self) -> None:
        """Takes what was collected through the encoder; nothing where nothing was."""
        reached = [(whole, leaf.grad) for whole, leaf in self._seams if leaf.grad is not None]
        if reached:
            torch.autograd.backward([whole for whole, _ in reached], [gradient for _, gradient in reached])
        self._seams.clear()

    def _cut(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.requires_grad:
            leaf = value.detach().requires_grad_()
            self._seams.append((value, leaf))
            return leaf
        if isinstance(value, tuple) and any(isinstance(part, torch.Tensor) for part in value):
            return tuple(self._cut(part) for part in value)
        return value


class KeptEncodings:
    """Encodings of utterances that come again, behind an encoder in which nothing moves.

    Each is made alone: made in company it could differ in the last bit, and a resumed run, which makes it again in
    other company, would no longer be the run that was never stopped.

    Args:
        model: encodes.
        device: where encodings are wanted; they are kept in main memory.
    """

    def __init__(self, model: Samplable, device: torch.device) -> None:
        self._model, self._device = model, device
        self._kept: dict[tuple[Any, ...], Encoded] = {}

    @classmethod
    def where_they_fit(
        cls, model: Samplable, device: torch.device, utterances: Sequence[Utterance], limit_bytes: float
    ) -> KeptEncodings | None:
        """For these utterances; None where weights behind an encoding move, or where memory would not hold all.

        Args:
            model: in the mode that it encodes in.
            device: where encodings are wanted.
            utterances: all that may come; each is taken to need as much as the longest.
            limit_bytes: of all encodings.
        """
        kept = cls(model, device)
        probe = kept._encode(max(utterances, key=Utterance.measured_duration))
        tensors = list(_tensors(probe))
        if any(tensor.requires_grad for tensor in tensors):
            return None
        needed = len(utterances) * sum(tensor.nbytes for tensor in tensors)
        fits = needed <= limit_bytes
        logger.info(
            "the encoder stays as it is; encodings of %d utterances would take up to %.2g GB: %s",
            len(utterances),
            needed / 1e9,
            "kept" if fits else "made anew in each step (keep_encodings_gb is smaller)",
        )
        return kept if fits else None

    def encodings(self, utterances: Sequence[Utterance]) -> Encoded:
        """One row per utterance; those that are not there yet are made.

        Raises:
            DataError: a recording cannot be read.
        """
        # Manifests that are mixed may use one id for two recordings.
        keys = [(u.id, u.audio, u.start, u.end, u.language) for u in utterances]
        for key, utterance in zip(keys, utterances, strict=True):
            if key not in self._kept:
                self._kept[key] = _mapped(self._encode(utterance), lambda tensor: tensor.cpu())
        first, *others = (_mapped(self._kept[key], lambda tensor: tensor.to(self._device)) for key in keys)
        return first.joined(others)

    def _encode(self, utterance: Utterance) -> Encoded:
        return self._model.encode(self._model.collate([utterance]).to(self._device))


def _tensors(encoded: Encoded) -> Iterator[torch.Tensor]:
    found: list[torch.Tensor] = []
    _mapped(encoded, lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
    return iter(found)


def _mapped(encoded: Encoded, change: Callable[[torch.Tensor], torch.Tensor]) -> Encoded:
    """The same with other tensors, of those that are fields or in tuples that are fields."""

    def changed(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return change(value)
        return tuple(map(changed, value)) if isinstance(value, tuple) else value

    fields = dataclasses.fields(encoded)  # type: ignore[arg-type]
    return dataclasses.replace(  # type: ignore[type-var]
        encoded, **{spec.name: changed(getattr(encoded, spec.name)) for spec in fields}
    )


def scoring_mode(module: nn.Module) -> None:
    """Evaluation mode, in which drawing and scoring see one distribution; activation checkpointing stays at work.

    With dropout a ratio of two scores of one hypothesis would be noise. Layers that compute their activations again
    only do so in training mode, so these alone are in it, with their own dropout at zero for good.
    """
    module.eval()
    for part in module.modules():
        if isinstance(part, GradientCheckpointingLayer) and part.gradient_checkpointing:
            part.training = True
            for name, value in vars(part).items():
                if "drop" in name and isinstance(value, float):
                    setattr(part, name, 0.0)
