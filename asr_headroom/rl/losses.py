"""From scored hypotheses to the losses of their groups: which formula, which lengths, which old log-probabilities.

The formulas themselves are pure functions of grids, in :mod:`asr_headroom.rl.mwer` and :mod:`asr_headroom.rl.gspo`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch.nn.utils.rnn import pad_sequence

from asr_headroom.models.decoding import Hypothesis
from asr_headroom.models.protocols import TokenLogProbs
from asr_headroom.rl.config import RlConfig
from asr_headroom.rl.gspo import Baseline, group_advantages, sequence_policy_loss, token_policy_loss
from asr_headroom.rl.mwer import mwer_loss
from asr_headroom.rl.rollout import Group

__all__ = ["GroupLosses", "Part", "ScoredSums", "token_counts"]

_BASELINES: dict[str, Baseline] = {"gspo": "z-score", "grpo": "z-score", "dr-grpo": "mean", "rloo": "leave-one-out"}


@dataclass
class ScoredSums:
    """What a gradient pass saw.

    Attributes:
        loss: sum over utterances, cross-entropy included.
        cross_entropy: its share of that.
        clipped: hypotheses (tokens, where ratios are per token) whose gradient the clip held back.
        clippable: of how many.
        drift: sum of |log P - log P_old| / length over hypotheses with an old log-probability.
        drifted: how many these are.
        kl: sum over scored hypotheses, each times its multiplicity.
        kl_count: how many these are.
        first_scores: per group, the log-probabilities of each hypothesis as scored, for later updates.
    """

    loss: float = 0.0
    cross_entropy: float = 0.0
    clipped: float = 0.0
    clippable: float = 0.0
    drift: float = 0.0
    drifted: float = 0.0
    kl: float = 0.0
    kl_count: float = 0.0
    first_scores: dict[int, list[tuple[float, ...]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Groups that are scored together.

    Attributes:
        rows: [groups] index of each group's utterance.
        groups: their hypotheses.
        weights: [groups] of each utterance's loss.
        references: [groups] that are scored with them; empty where they are not.
    """

    rows: tuple[int, ...]
    groups: tuple[Group, ...]
    weights: tuple[float, ...]
    references: tuple[Hypothesis, ...] = ()

    @property
    def hypotheses(self) -> list[Hypothesis]:
        """Of all groups, one group after the other."""
        return [hypothesis for group in self.groups for hypothesis in group.hypotheses]

    @property
    def owners(self) -> list[int]:
        """Index of the utterance of each of the hypotheses."""
        return [row for row, group in zip(self.rows, self.groups, strict=True) for _ in group.hypotheses]


class GroupLosses:
    """The losses of groups, given the scores of their hypotheses.

    Args:
        config: algorithm, clip, weights.
        tokenwise: scores have a column per token.
    """

    def __init__(self, config: RlConfig, *, tokenwise: bool) -> None:
        self._config, self._tokenwise = config, tokenwise

    def __call__(
        self, part: Part, scores: TokenLogProbs, anchors: TokenLogProbs | None, sums: ScoredSums, is_first: bool
    ) -> torch.Tensor:
        """[] weighted sum of the groups' losses."""
        sizes = [len(group.hypotheses) for group in part.groups]

        def grid(values: torch.Tensor) -> torch.Tensor:
            """[groups, nbest] from one number per hypothesis; 0 where a group is smaller."""
            return pad_sequence(list(values.split(sizes)), batch_first=True)

        flat = scores.values.new_tensor
        multiplicity = grid(flat([float(m) for group in part.groups for m in group.multiplicity]))
        rewards = grid(flat([reward for group in part.groups for reward in group.rewards]))
        lengths = token_counts(part.hypotheses, scores)
        if self._config.algorithm == "mwer":
            totals = scores.values.sum(-1)
            losses = mwer_loss(
                grid(totals / lengths if self._config.length_normalized else totals), -rewards, multiplicity
            )
        else:
            losses = self._policy_losses(part, scores, grid, multiplicity, rewards, lengths, sums, is_first)
        if anchors is not None:
            losses = losses + self._config.policy_kl * self._divergence(
                scores, anchors, lengths, grid, multiplicity, sums
            )
        loss = (losses * flat(part.weights)).sum()
        sums.loss += float(loss.detach())
        return loss

    def _policy_losses(
        self,
        part: Part,
        scores: TokenLogProbs,
        grid: Callable[[torch.Tensor], torch.Tensor],
        multiplicity: torch.Tensor,
        rewards: torch.Tensor,
        lengths: torch.Tensor,
        sums: ScoredSums,
        is_first: bool,
    ) -> torch.Tensor:
        """[groups] clipped losses; each a mean over draws."""
        algorithm, clip = self._config.algorithm, self._config.clip
        old = self._old(part, scores, sums, is_first)
        with torch.no_grad():
            sums.drift += float(((scores.values - old).sum(-1).abs() / lengths).sum())
            sums.drifted += len(lengths)
        advantages = group_advantages(rewards, multiplicity, _BASELINES[algorithm])
        if algorithm in ("gspo", "rloo"):
            divisor = grid(lengths).clamp(min=1) if algorithm == "gspo" else torch.ones_like(multiplicity)
            losses, clipped = sequence_policy_loss(
                grid(scores.values.sum(-1)), grid(old.sum(-1)), divisor, advantages, multiplicity, clip
            )
            sums.clipped += float((multiplicity * clipped).sum())
            sums.clippable += float(multiplicity.sum())
            return losses
        times = multiplicity[multiplicity > 0]  # one per hypothesis, in order
        constant = float(self._config.max_new_tokens) if algorithm == "dr-grpo" else None
        per_row, held = token_policy_loss(scores.values, old, scores.mask, advantages[multiplicity > 0], clip, constant)
        sums.clipped += float((times[:, None] * held).sum())
        sums.clippable += float((times[:, None] * scores.mask).sum())
        return (grid(per_row) * multiplicity).sum(-1) / multiplicity.sum(-1)

    def _old(self, part: Part, scores: TokenLogProbs, sums: ScoredSums, is_first: bool) -> torch.Tensor:
        """[rows, tokens] log-probabilities under the policy that drew."""
        if is_first:
            # The weights are those that drew, so these are the old log-probabilities, without the rounding of another
            # way of computing them.
            values = scores.values.detach()
            rows = iter(zip(values, scores.mask, strict=True))
            for row, group in zip(part.rows, part.groups, strict=True):
                sums.first_scores[row] = [
                    tuple(line[mask].tolist()) for line, mask in (next(rows) for _ in group.hypotheses)
                ]
            return values
        stored = [h.token_log_probs for h in part.hypotheses]
        width = scores.values.shape[1]
        return scores.values.new_tensor([[*values, *[0.0] * (width - len(values))] for values in stored])

    def _divergence(
        self,
        scores: TokenLogProbs,
        anchors: TokenLogProbs,
        lengths: torch.Tensor,
        grid: Callable[[torch.Tensor], torch.Tensor],
        multiplicity: torch.Tensor,
        sums: ScoredSums,
    ) -> torch.Tensor:
        """[groups] mean over draws of the k3 estimate per token (Schulman, 2020): never negative, unbiased."""
        log_ratio = anchors.values - scores.values
        if not self._tokenwise:
            log_ratio = log_ratio / lengths[:, None]
        k3 = (log_ratio.exp() - log_ratio - 1).masked_fill(~scores.mask, 0.0)
        per_row = grid(k3.sum(-1) / scores.mask.sum(-1).clamp(min=1))
        sums.kl += float((per_row.detach() * multiplicity).sum())
        sums.kl_count += float(multiplicity.sum())
        return (per_row * multiplicity).sum(-1) / multiplicity.sum(-1)


def token_counts(hypotheses: Sequence[Hypothesis], scores: TokenLogProbs) -> torch.Tensor:
    """[rows] scored tokens of each hypothesis, the end token among them; at least 1.

    Where one column holds the whole hypothesis, its own tokens count.
    """
    counts = scores.mask.sum(-1)
    if scores.mask.shape[1] == 1:
        own = torch.tensor([len(hypothesis.token_ids) for hypothesis in hypotheses], device=counts.device)
        counts = torch.maximum(counts, own)
    return counts.clamp(min=1).to(scores.values.dtype)
