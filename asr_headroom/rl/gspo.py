r"""Policy-gradient losses over groups of hypotheses of one utterance, as pure functions.

* GSPO (Zheng et al., 2025, arXiv:2507.18071): one ratio per hypothesis,
  :math:`s_i = \exp((\log P(y_i) - \log P_{old}(y_i)) / |y_i|)`, clipped, times the reward's z-score in its group.
* GRPO (Shao et al., 2024, arXiv:2402.03300): a ratio per token, averaged over the hypothesis; the same advantage.
* Dr. GRPO (Liu et al., 2025, arXiv:2503.20783): GRPO without dividing by deviation and length.
* RLOO (Ahmadian et al., 2024, arXiv:2402.14740): the ratio of whole hypotheses, not normalised by length, and the mean
  reward of the *others* as the baseline.

The old log-probabilities are those that the hypotheses were drawn with. A hypothesis drawn m times has multiplicity m;
losses and gradients are those of m equal columns.
"""

from __future__ import annotations

from typing import Literal

import torch

from asr_headroom.errors import ShapeError

__all__ = [
    "Baseline",
    "group_advantages",
    "sequence_policy_loss",
    "token_policy_loss",
]

Baseline = Literal["z-score", "mean", "leave-one-out"]

_LARGEST_LOG_RATIO = 60.0


def group_advantages(rewards: torch.Tensor, multiplicity: torch.Tensor, baseline: Baseline) -> torch.Tensor:
    """How much better each hypothesis is than its group.

    Args:
        rewards: [groups, nbest].
        multiplicity: [groups, nbest] how often each was drawn; 0 where there is none.
        baseline: ``mean`` subtracts the group's mean; ``z-score`` divides that by the group's standard deviation
            (of the population); ``leave-one-out`` subtracts the mean of the other draws.

    Returns:
        [groups, nbest]; exactly 0 in a group whose rewards are all equal, and where there is no hypothesis.

    >>> group_advantages(torch.tensor([[0.0, -1.0]]), torch.ones(1, 2), "z-score")
    tensor([[ 1., -1.]])
    """
    if rewards.shape != multiplicity.shape:
        raise ShapeError(f"rewards {tuple(rewards.shape)} and multiplicity {tuple(multiplicity.shape)} differ")
    count = multiplicity.sum(-1, keepdim=True)
    above = rewards - (multiplicity * rewards).sum(-1, keepdim=True) / count
    if baseline == "z-score":
        deviation = ((multiplicity * above.square()).sum(-1, keepdim=True) / count).sqrt()
        above = above / deviation.clamp(min=torch.finfo(rewards.dtype).tiny)
    elif baseline == "leave-one-out":
        above = above * count / (count - 1).clamp(min=1)
    there = multiplicity > 0
    low = rewards.masked_fill(~there, torch.inf).amin(-1, keepdim=True)
    high = rewards.masked_fill(~there, -torch.inf).amax(-1, keepdim=True)
    # The mean of equal numbers may differ from them in the last bit, which a z-score would blow up.
    return above.masked_fill(~there | (low == high), 0.0)


def sequence_policy_loss(
    log_probs: torch.Tensor,
    old_log_probs: torch.Tensor,
    lengths: torch.Tensor,
    advantages: torch.Tensor,
    multiplicity: torch.Tensor,
    clip: tuple[float, float],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clipped loss with one ratio per hypothesis: GSPO with the lengths in tokens, RLOO with lengths of one.

    Args:
        log_probs: [groups, nbest] log P(hypothesis | audio), natural log.
        old_log_probs: [groups, nbest] the same when it was drawn.
        lengths: [groups, nbest] that the difference is divided by; at least 1.
        advantages: [groups, nbest].
        multiplicity: [groups, nbest] 0 where there is none.
        clip: how far the ratio may fall below and rise above 1 before its gradient stops.

    Returns:
        [groups] loss, a mean over the draws; [groups, nbest] bool, where the clip holds the gradient back.
    """
    shapes = {tuple(t.shape) for t in (log_probs, old_log_probs, lengths, advantages, multiplicity)}
    if len(shapes) > 1:
        raise ShapeError(f"log-probabilities, lengths, advantages and multiplicity have the shapes {sorted(shapes)}")
    ratio = _ratio((log_probs - old_log_probs) / lengths)
    gain, clipped = _clipped(ratio, advantages, clip)
    weights = multiplicity / multiplicity.sum(-1, keepdim=True)
    return -(weights * gain).sum(-1), clipped & (multiplicity > 0)


def token_policy_loss(
    log_probs: torch.Tensor,
    old_log_probs: torch.Tensor,
    mask: torch.Tensor,
    advantages: torch.Tensor,
    clip: tuple[float, float],
    divisor: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clipped loss with a ratio per token.

    Args:
        log_probs: [rows, tokens] natural log.
        old_log_probs: [rows, tokens] when they were drawn.
        mask: [rows, tokens] bool, where there is a token.
        advantages: [rows].
        clip: see :func:`sequence_policy_loss`.
        divisor: of the sum over a row's tokens; None is their number (GRPO), a constant is Dr. GRPO's.

    Returns:
        [rows] loss of each hypothesis; [rows, tokens] bool, where the clip holds the gradient back.
    """
    if log_probs.shape != mask.shape or old_log_probs.shape != mask.shape or len(advantages) != len(mask):
        raise ShapeError(
            f"log-probabilities {tuple(log_probs.shape)} and {tuple(old_log_probs.shape)}, mask {tuple(mask.shape)} "
            f"and {len(advantages)} advantages do not belong together"
        )
    ratio = _ratio((log_probs - old_log_probs).masked_fill(~mask, 0.0))
    gain, clipped = _clipped(ratio, advantages[:, None].expand_as(ratio), clip)
    total = (gain * mask).sum(-1)
    return -total / (mask.sum(-1).clamp(min=1) if divisor is None else divisor), clipped & mask


def _ratio(difference: torch.Tensor) -> torch.Tensor:
    """exp, ending before infinity, which times the zero gradient of what the clip holds back would be no number."""
    return difference.clamp(max=_LARGEST_LOG_RATIO).exp()


def _clipped(
    ratio: torch.Tensor, advantages: torch.Tensor, clip: tuple[float, float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What is gained, pessimistically, and where that no longer depends on the ratio."""
    low, high = clip
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)
    clipped = ((advantages > 0) & (ratio > 1 + high)) | ((advantages < 0) & (ratio < 1 - low))
    return gain, clipped.detach()
