"""The gradient pass: different hypotheses of groups that differ in reward, scored in parts of bounded size.

Each part holds whole groups, since what a hypothesis contributes depends on its group, and the reference of each, whose
cross-entropy then costs no second reading of the prompt. A group larger than a part is first scored without a graph;
its loss then says how much each log-probability matters, and the parts of it are scored again, one after the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch.nn.utils.rnn import pad_sequence

from asr_headroom.models.decoding import Hypothesis, SamplingOptions
from asr_headroom.models.protocols import Encoded, Samplable, TokenLogProbs
from asr_headroom.rl.config import RlConfig
from asr_headroom.rl.gspo import Baseline, group_advantages, sequence_policy_loss, token_policy_loss
from asr_headroom.rl.mwer import mwer_loss
from asr_headroom.rl.rollout import Group

__all__ = ["ScoredSums", "Scorer", "token_counts"]

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
class _Part:
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
        return [hypothesis for group in self.groups for hypothesis in group.hypotheses]

    @property
    def owners(self) -> list[int]:
        return [row for row, group in zip(self.rows, self.groups, strict=True) for _ in group.hypotheses]


class Scorer:
    """Scores groups and back-propagates their loss.

    Args:
        model: scores.
        config: algorithm, clip, sizes.
        options: the distribution that hypotheses were drawn from.
        autocast: makes the context of each forward pass.
    """

    def __init__(
        self,
        model: Samplable,
        config: RlConfig,
        options: SamplingOptions,
        *,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._model, self._config, self._options, self._autocast = model, config, options, autocast

    def backward(
        self,
        encoded: Encoded,
        groups: Sequence[Group],
        weights: Sequence[float],
        references: Sequence[Hypothesis],
        *,
        scale: float,
        base: Encoded | None = None,
        base_model: Callable[[], AbstractContextManager[object]] = nullcontext,
        is_first: bool = False,
    ) -> ScoredSums:
        """Adds the gradient of ``scale`` times the weighted sum of the groups' losses.

        Args:
            encoded: one row per group.
            groups: with rewards; tied ones are passed over where nothing of them could be learnt.
            weights: of each group's loss.
            references: of each group.
            scale: of the whole.
            base: the audio as the starting point encodes it, where the divergence from it counts.
            base_model: puts the starting point's weights in place.
            is_first: the first update on these hypotheses, whose scores may serve as the old ones.
        """
        sums = ScoredSums()
        skips = self._config.skip_equal_rewards and not self._config.policy_kl
        wanted = [i for i, group in enumerate(groups) if weights[i] and not (skips and group.is_tied)]
        joins = bool(self._config.cross_entropy) and self._model.card.abilities.tokenwise
        alone = {row for row, weight in enumerate(weights) if weight} if self._config.cross_entropy else set()
        for part in self._parts(wanted, groups, weights, references if joins else ()):
            anchors = self._anchors(base, base_model, part) if base is not None else None
            if len(part.hypotheses) > self._config.score_batch_size:
                self._backward_in_pieces(encoded, part, anchors, scale, sums, is_first)
                continue
            scores, reference_scores = self._score_part(encoded, part)
            loss = self._loss(part, scores, anchors, sums, is_first)
            if reference_scores is not None:
                loss = loss + self._cross_entropy(part.references, reference_scores, part.weights, sums)
                alone -= set(part.rows)
            (scale * loss).backward()
        self._references_alone(encoded, sorted(alone), references, weights, scale, sums)
        return sums

    # ------------------------------------------------------------------ references

    def _references_alone(
        self,
        encoded: Encoded,
        rows: Sequence[int],
        references: Sequence[Hypothesis],
        weights: Sequence[float],
        scale: float,
        sums: ScoredSums,
    ) -> None:
        """Those whose hypotheses are not scored, or not in the same pass."""
        size = self._config.score_batch_size
        for some in (rows[i : i + size] for i in range(0, len(rows), size)):
            hypotheses = [references[row] for row in some]
            scores = self._score(encoded, some, hypotheses, SamplingOptions())
            (scale * self._cross_entropy(hypotheses, scores, [weights[row] for row in some], sums)).backward()

    def _cross_entropy(
        self,
        references: Sequence[Hypothesis],
        scores: TokenLogProbs,
        weights: Sequence[float],
        sums: ScoredSums,
    ) -> torch.Tensor:
        """[] weighted sum of the references' mean nats per token."""
        share = scores.values.new_tensor(weights) / token_counts(references, scores)
        loss = -self._config.cross_entropy * (scores.values.sum(-1) * share).sum()
        sums.cross_entropy += float(loss.detach())
        sums.loss += float(loss.detach())
        return loss

    # ------------------------------------------------------------------ parts

    def _parts(
        self,
        wanted: Sequence[int],
        groups: Sequence[Group],
        weights: Sequence[float],
        references: Sequence[Hypothesis],
    ) -> Iterator[_Part]:
        """In the order of rows, as shared prompts are laid out; a group that fills a part takes no reference along."""
        limit = self._config.score_batch_size
        taken: list[int] = []
        size = 0

        def part() -> _Part:
            joined = tuple(references[i] for i in taken) if references and size <= limit else ()
            return _Part(tuple(taken), tuple(groups[i] for i in taken), tuple(weights[i] for i in taken), joined)

        for index in wanted:
            more = len(groups[index].hypotheses) + bool(references)
            if taken and size + more > limit:
                yield part()
                taken, size = [], 0
            taken.append(index)
            size += more
        if taken:
            yield part()

    def _score_part(self, encoded: Encoded, part: _Part) -> tuple[TokenLogProbs, TokenLogProbs | None]:
        """Of its hypotheses and of its references, which lie behind their utterance's hypotheses in one pass."""
        if not part.references:
            return self._score(encoded, part.owners, part.hypotheses), None
        rows: list[int] = []
        hypotheses: list[Hypothesis] = []
        options: list[SamplingOptions] = []
        for row, group, reference in zip(part.rows, part.groups, part.references, strict=True):
            hypotheses += [*group.hypotheses, reference]
            options += [*[self._options] * len(group.hypotheses), SamplingOptions()]
            rows += [row] * (len(group.hypotheses) + 1)
        scores = self._score(encoded, rows, hypotheses, options)
        ends = list(itertools.accumulate(len(group.hypotheses) + 1 for group in part.groups))
        at = [end - 1 for end in ends]
        others = [i for i in range(len(rows)) if i not in set(at)]
        return _only(scores, others), _only(scores, at)

    def _backward_in_pieces(
        self,
        encoded: Encoded,
        part: _Part,
        anchors: TokenLogProbs | None,
        scale: float,
        sums: ScoredSums,
        is_first: bool,
    ) -> None:
        """One large group: a pass without a graph says how much each log-probability matters, then piece by piece."""
        size = self._config.score_batch_size
        pieces = [slice(i, i + size) for i in range(0, len(part.hypotheses), size)]
        with torch.no_grad():
            scores = _joined([self._score(encoded, part.owners[piece], part.hypotheses[piece]) for piece in pieces])
        leaf = scores.values.requires_grad_()
        loss = self._loss(part, TokenLogProbs(leaf, scores.mask), anchors, sums, is_first)
        (matters,) = torch.autograd.grad(scale * loss, leaf)
        for piece in pieces:
            again = self._score(encoded, part.owners[piece], part.hypotheses[piece])
            again.values.backward(matters[piece, : again.values.shape[1]])

    def _score(
        self,
        encoded: Encoded,
        rows: Sequence[int],
        hypotheses: Sequence[Hypothesis],
        options: SamplingOptions | Sequence[SamplingOptions] | None = None,
    ) -> TokenLogProbs:
        with self._autocast():
            return self._model.log_prob(encoded.select(rows), hypotheses, options or self._options)

    @torch.no_grad()
    def _anchors(
        self, base: Encoded, base_model: Callable[[], AbstractContextManager[object]], part: _Part
    ) -> TokenLogProbs:
        size = self._config.score_batch_size
        with base_model():
            return _joined(
                [
                    self._score(base, part.owners[i : i + size], part.hypotheses[i : i + size])
                    for i in range(0, len(part.hypotheses), size)
                ]
            )

    # ------------------------------------------------------------------ losses

    def _loss(
        self, part: _Part, scores: TokenLogProbs, anchors: TokenLogProbs | None, sums: ScoredSums, is_first: bool
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
        part: _Part,
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

    def _old(self, part: _Part, scores: TokenLogProbs, sums: ScoredSums, is_first: bool) -> torch.Tensor:
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
        if not self._model.card.abilities.tokenwise:
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


def _only(scores: TokenLogProbs, rows: Sequence[int]) -> TokenLogProbs:
    """Some rows, no wider than they are long."""
    mask = scores.mask[rows]
    width = int(mask.sum(-1).max())
    return TokenLogProbs(scores.values[rows][:, :width], mask[:, :width])


def _joined(parts: Sequence[TokenLogProbs]) -> TokenLogProbs:
    """Ragged parts as one."""
    width = max(part.mask.shape[1] for part in parts)

    def wide(tensor: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(tensor, (0, width - tensor.shape[1]))

    return TokenLogProbs(
        torch.cat([wide(part.values) for part in parts]), torch.cat([wide(part.mask) for part in parts])
    )
