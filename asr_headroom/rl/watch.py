"""What is watched of each step: rewards, errors, how different the hypotheses are, what the clip holds back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

from asr_headroom.rl.losses import ScoredSums
from asr_headroom.rl.rollout import Group

__all__ = ["Watch"]


@dataclass
class Watch:
    """Sums over the utterances of one step; they add over micro-batches and processes.

    Attributes:
        loss: of all utterances, cross-entropy included.
        groups: utterances.
        draws: hypotheses in all lists, equal ones counted as often as they came.
        unique: different ones.
        truncated: cut at the limit of tokens, over all draws.
        tied: groups in which all rewards are equal.
        reward: over all draws.
        errors: over all draws.
        best_errors: of each group's best hypothesis (the oracle).
        top_errors: of each group's likeliest hypothesis; of the greedy one, where it is in slot 0.
        draw_units: reference units, once per draw.
        units: reference units, once per group.
        nats: minus the log-probability of all drawn tokens.
        tokens: drawn, end tokens included.
        clipped: see :class:`asr_headroom.rl.losses.ScoredSums`.
        clippable: the same.
        drift: the same.
        drifted: the same.
        kl: the same.
        kl_count: the same.
        cross_entropy: weighted sum over utterances, as it is in the loss.
    """

    loss: float = 0.0
    groups: float = 0.0
    draws: float = 0.0
    unique: float = 0.0
    truncated: float = 0.0
    tied: float = 0.0
    reward: float = 0.0
    errors: float = 0.0
    best_errors: float = 0.0
    top_errors: float = 0.0
    draw_units: float = 0.0
    units: float = 0.0
    nats: float = 0.0
    tokens: float = 0.0
    clipped: float = 0.0
    clippable: float = 0.0
    drift: float = 0.0
    drifted: float = 0.0
    kl: float = 0.0
    kl_count: float = 0.0
    cross_entropy: float = 0.0

    def add(self, groups: Sequence[Group], sums: ScoredSums, *, slot_0: bool) -> None:
        """One micro-batch.

        Args:
            groups: judged.
            sums: of the gradient pass.
            slot_0: the first of each list is the likeliest.
        """
        for name in ("loss", "cross_entropy", "clipped", "clippable", "drift", "drifted", "kl", "kl_count"):
            setattr(self, name, getattr(self, name) + getattr(sums, name))
        for group in groups:
            self._add_group(group, slot_0=slot_0)

    def _add_group(self, group: Group, *, slot_0: bool) -> None:
        times = sum(group.multiplicity)
        self.groups += 1
        self.draws += times
        self.unique += len(group.hypotheses)
        self.truncated += sum(m for m, h in zip(group.multiplicity, group.hypotheses, strict=True) if h.truncated)
        self.tied += group.is_tied
        self.reward += sum(m * r for m, r in zip(group.multiplicity, group.rewards, strict=True))
        self.errors += sum(m * e for m, e in zip(group.multiplicity, group.errors, strict=True))
        self.best_errors += min(group.errors)
        self.draw_units += times * group.reference_length
        self.units += group.reference_length
        totals = [sum(hypothesis.token_log_probs) for hypothesis in group.hypotheses]
        known = [i for i, times in enumerate(group.drawn) if times]
        top = 0 if slot_0 or not known else max(known, key=totals.__getitem__)
        self.top_errors += group.errors[top]
        # What was not drawn, such as the greedy one, would make a biased entropy.
        for i in known:
            self.nats -= group.drawn[i] * totals[i]
            hypothesis = group.hypotheses[i]
            scored = max(len(hypothesis.token_log_probs), len(hypothesis.token_ids), 1)
            self.tokens += group.drawn[i] * scored

    @classmethod
    def names(cls) -> list[str]:
        """Of all sums, in order."""
        return [spec.name for spec in fields(cls)]

    def values(self, weight: float = 1.0) -> list[float]:
        """All sums, in order; none where this process only keeps the others company."""
        return [weight * value for value in astuple(self)]

    @property
    def entropy(self) -> float | None:
        """Mean nats per drawn token: an unbiased estimate of the entropy of what is drawn from; None without draws."""
        return self.nats / self.tokens if self.tokens else None

    def means(self) -> dict[str, tuple[float, float]]:
        """Sums with their counts by the names that log and record show; those that have no count are left out."""
        found = {
            "reward": (self.reward, self.draws),
            "error": (self.errors, self.draw_units),
            "top": (self.top_errors, self.units),
            "oracle": (self.best_errors, self.units),
            "unique": (self.unique, self.groups),
            "tied": (self.tied, self.groups),
            "truncated": (self.truncated, self.draws),
            "clipped": (self.clipped, self.clippable),
            "drift": (self.drift, self.drifted),
            "entropy": (self.nats, self.tokens),
            "kl": (self.kl, self.kl_count),
        }
        return {name: pair for name, pair in found.items() if pair[1]}
