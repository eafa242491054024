"""The gradient pass: different hypotheses of groups that differ in reward, scored in parts of bounded size.

Each part holds whole groups, since what a hypothesis contributes depends on its group, and the reference of each, whose
cross-entropy then costs no second reading of the prompt. A group larger than a part is first scored without a graph;
its loss then says how much each log-probability matters, and the parts of it are scored again, one after the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from asr_headroom.models.decoding import Hypothesis, SamplingOptions
from asr_headroom.models.protocols import Encoded, Samplable, TokenLogProbs
from asr_headroom.rl.config import RlConfig
from asr_headroom.rl.losses import GroupLosses, Part, ScoredSums, token_counts
from asr_headroom.rl.rollout import Group

__all__ = ["Scorer"]


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
        self._losses = GroupLosses(config, tokenwise=model.card.abilities.tokenwise)

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
            loss = self._losses(part, scores, anchors, sums, is_first)
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
    ) -> Iterator[Part]:
        """In the order of rows, as shared prompts are laid out; a group that fills a part takes no reference along."""
        limit = self._config.score_batch_size
        taken: list[int] = []
        size = 0

        def part() -> Part:
            joined = tuple(references[i] for i in taken) if references and size <= limit else ()
            return Part(tuple(taken), tuple(groups[i] for i in taken), tuple(weights[i] for i in taken), joined)

        for index in wanted:
            more = len(groups[index].hypotheses) + bool(references)
            if taken and size + more > limit:
                yield part()
                taken, size = [], 0
            taken.append(index)
            size += more
        if taken:
            yield part()

    def _score_part(self, encoded: Encoded, part: Part) -> tuple[TokenLogProbs, TokenLogProbs | None]:
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
        part: Part,
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
        loss = self._losses(part, TokenLogProbs(leaf, scores.mask), anchors, sums, is_first)
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
        self, base: Encoded, base_model: Callable[[], AbstractContextManager[object]], part: Part
    ) -> TokenLogProbs:
        size = self._config.score_batch_size
        with base_model():
            return _joined(
                [
                    self._score(base, part.owners[i : i + size], part.hypotheses[i : i + size])
                    for i in range(0, len(part.hypotheses), size)
                ]
            )


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
