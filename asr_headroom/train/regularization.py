"""What holds training back: smoothed targets, the base's predictions, the base's weights.

Each part is off by default, adds nothing that is drawn at random, and is a function of weights and step, so that a
resumed run is bit-identical. ``docs/training.md`` says what each costs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from asr_headroom.errors import ModelError
from asr_headroom.models.lora import without_updates
from asr_headroom.models.modes import evaluating
from asr_headroom.models.protocols import Batch, TargetScores, TeacherForced, Trainable
from asr_headroom.train.config import TrainConfig

__all__ = ["PullToStart", "RegularizedLoss", "bytes_of_copies", "divergence", "smoothed"]


def smoothed(nats: torch.Tensor, scores: TargetScores, share: float) -> torch.Tensor:
    """Cross-entropy with a share of each target spread evenly over the vocabulary (Szegedy et al., 2016).

    Args:
        nats: [] plain cross-entropy, summed.
        scores: of the same forward pass.
        share: in [0, 1).

    Returns:
        [] nats, summed over positions.
    """
    return (1.0 - share) * nats - share * scores.log_probs.mean(dim=-1).sum()


def divergence(base: torch.Tensor, tuned: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of the fine-tuned distributions from the base's, KL(base || tuned).

    Yu et al. (2013, KL-divergence regularized deep neural network adaptation). Frames of a CTC model are independent
    given the audio, so that their sum is the divergence between whole paths.

    Args:
        base: [positions, vocab] log-probabilities.
        tuned: [positions, vocab] log-probabilities.

    Returns:
        [] nats, summed over positions; 0 where the two agree.
    """
    return (base.exp() * (base - tuned)).sum()


class RegularizedLoss(nn.Module):
    """Batch in; what is minimised, then its parts, out: the forward pass of a regularised training.

    The base is the model with its updates switched off, or, where all weights move, a frozen copy made here.

    Args:
        model: as it is before the first step.
        config: ``label_smoothing`` and ``kl``.

    Raises:
        ModelError: the family does not give whole distributions, or has no targets to smooth.
    """

    names = ("nats", "kl")
    """Of the parts, which are sums over the batch."""

    def __init__(self, model: Trainable, config: TrainConfig) -> None:
        super().__init__()
        if not isinstance(model, TeacherForced):
            asked = "label_smoothing" if config.label_smoothing else "kl"
            raise ModelError(
                f"{asked} needs the distribution at each target, and '{model.card.model_id}' ({model.card.family}) "
                "gives none, as its loss is a sum over alignments; leave it out (l2_sp holds weights near the base)"
            )
        self.module = model.module
        self._model: TeacherForced = model
        self._smoothing, self._kl = config.label_smoothing, config.kl
        # In a tuple, so that it is no part of this module: it neither trains nor is saved.
        self._base: tuple[Callable[[Batch], torch.Tensor]] = (_base_scores(model) if config.kl else _no_base,)

    def forward(self, batch: Batch) -> torch.Tensor:
        """[3] float32: what is minimised, cross-entropy and divergence, summed over the batch, in nats."""
        # First, so that activations computed again in the backward pass meet the updates switched on.
        base = self._base[0](batch) if self._kl else None
        scores = self._model.target_scores(batch)
        nats = total = scores.loss.nats
        apart = torch.zeros_like(nats)
        if self._smoothing:
            if scores.targets is None:
                raise ModelError(
                    f"label_smoothing needs a target at each position, and '{self._model.card.family}' has frames "
                    "without; leave it out"
                )
            total = smoothed(nats, scores, self._smoothing)
        if base is not None:
            apart = divergence(base, scores.log_probs)
            total = total + self._kl * apart
        return torch.stack([total, nats.detach(), apart.detach()])


class PullToStart:
    """Moves each weight towards where it started, after each step (L2-SP: Li et al., 2018, arXiv:1802.01483).

    Decoupled from the gradient, as AdamW's weight decay is: ``w -= rate * strength * (w - start)``. A low-rank update
    starts at ``B = 0``, so there it is a decay of the update.

    Args:
        optimizer: whose weights move; they stand at their start.
        strength: beside AdamW's weight decay, and in its unit.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, strength: float) -> None:
        self._optimizer, self._strength = optimizer, strength
        self._starts = [[weight.detach().clone() for weight in g["params"]] for g in optimizer.param_groups]

    @torch.no_grad()
    def step(self) -> None:
        """Pulls once, with each group's learning rate."""
        for group, starts in zip(self._optimizer.param_groups, self._starts, strict=True):
            for weight, start in zip(group["params"], starts, strict=True):
                weight.lerp_(start, group["lr"] * self._strength)


def bytes_of_copies(config: TrainConfig, *, parameters: int, trainable_parameters: int) -> int:
    """Memory of the float32 weights that are held beside the model: its start, its average, a frozen base.

    Args:
        config: of the training.
        parameters: of the model.
        trainable_parameters: that move.
    """
    moving = bool(config.l2_sp) + bool(config.ema)
    frozen = bool(config.kl) and config.method != "lora"
    return 4 * (moving * trainable_parameters + frozen * parameters)


def _base_scores(model: TeacherForced) -> Callable[[Batch], torch.Tensor]:
    if hasattr(model.module, "peft_config"):

        def switched_off(batch: Batch) -> torch.Tensor:
            with torch.no_grad(), evaluating(model.module), without_updates(model.module):
                return model.target_scores(batch).log_probs

        return switched_off
    base = model.with_module(copy.deepcopy)
    assert isinstance(base, TeacherForced)
    base.module.requires_grad_(False).eval()
    return _of_copy(base, model.module)


def _of_copy(base: TeacherForced, beside: nn.Module) -> Callable[[Batch], torch.Tensor]:
    def copied(batch: Batch) -> torch.Tensor:
        base.module.to(next(beside.parameters()).device)
        with torch.no_grad():
            return base.target_scores(batch).log_probs

    return copied


def _no_base(batch: Batch) -> torch.Tensor:
    raise AssertionError("there is no divergence without a weight for it")
