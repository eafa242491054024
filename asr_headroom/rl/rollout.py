"""Hypotheses of a micro-batch: drawn or searched from audio that is encoded already, equal ones collapsed.

Token ids are those that were drawn; nothing is tokenised again, and what was cut at the limit gets no end token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from asr_headroom.models.decoding import Hypothesis, SamplingOptions
from asr_headroom.models.protocols import Batch, Encoded, Samplable
from asr_headroom.rl.config import RlConfig

__all__ = ["Group", "collapse_equal", "reference_of", "roll_out", "rollout_seed", "scoring_options"]

_IGNORED = -100
_STORED = ("text", "token_ids", "token_log_probs", "truncated")


@dataclass(frozen=True)
class Group:
    """The different hypotheses of one utterance.

    Attributes:
        hypotheses: no two of them with the same tokens and the same end.
        multiplicity: how often each is in the list.
        drawn: how often each was drawn; one that was searched for, or is the reference, was not.
        rewards: of each.
        errors: of each, in the normaliser's unit.
        reference_length: units of the reference.
    """

    hypotheses: tuple[Hypothesis, ...]
    multiplicity: tuple[int, ...]
    drawn: tuple[int, ...]
    rewards: tuple[float, ...] = ()
    errors: tuple[int, ...] = ()
    reference_length: int = 0

    @property
    def is_tied(self) -> bool:
        """All rewards are equal, so no difference can be learnt from."""
        return max(self.rewards) == min(self.rewards)

    def state(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {
            **asdict(self),
            "hypotheses": [{name: getattr(h, name) for name in _STORED} for h in self.hypotheses],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Group:
        """What :meth:`state` gave."""
        return cls(**{**state, "hypotheses": tuple(Hypothesis(**plain) for plain in state["hypotheses"])})


def scoring_options(config: RlConfig) -> SamplingOptions:
    """The distribution that hypotheses are drawn from and scored under; a beam searches the model's own."""
    if config.is_searched:
        return SamplingOptions(num_samples=config.num_rollouts, max_new_tokens=config.max_new_tokens)
    return SamplingOptions(
        num_samples=config.num_rollouts,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        max_new_tokens=config.max_new_tokens,
    )


def rollout_seed(seed: int, *place: int) -> int:
    """A seed for the draws at this place (step, process, micro-batch), a pure function of its arguments."""
    return int(np.random.SeedSequence([seed, *place]).generate_state(1, np.uint64)[0] >> 1)


@torch.no_grad()
def roll_out(
    model: Samplable, encoded: Encoded, references: Sequence[Hypothesis], config: RlConfig, seed: int
) -> list[Group]:
    """A group for each row, without rewards.

    Args:
        model: draws or searches.
        encoded: audio and prompts.
        references: of each row; they join the lists where the config says so.
        config: how many, and from where.
        seed: of the draws.
    """
    options = replace(scoring_options(config), seed=seed)
    # Another package's family may have been written before there were groups.
    groups = (config.beam_groups,) if config.beam_groups.count > 1 else ()
    if config.is_searched:
        lists = model.nbest(encoded, config.num_rollouts, options, *groups)
    elif config.greedy_in_slot_0:
        greedy = model.sample(encoded, replace(options, num_samples=1, top_k=1))
        drawn = model.sample(encoded, replace(options, num_samples=config.num_rollouts - 1))
        # Nobody drew the greedy one; under top-k 1 it has a probability of 1, which is none of the model's.
        lists = [[replace(first, token_log_probs=()), *rest] for (first,), rest in zip(greedy, drawn, strict=True)]
    else:
        lists = model.sample(encoded, options)
    if config.reference_in_list:
        lists = [[*row, reference] for row, reference in zip(lists, references, strict=True)]
    if not config.collapse:
        return [Group(tuple(row), (1,) * len(row), tuple(int(_is_drawn(h)) for h in row)) for row in lists]
    return [collapse_equal(row) for row in lists]


def collapse_equal(hypotheses: Sequence[Hypothesis]) -> Group:
    """Hypotheses with the same tokens and the same end as one, in the order in which they come first.

    Of a greedy one that was drawn as well, what is kept is the one drawn, with its log-probabilities.
    """
    equal: dict[tuple[tuple[int, ...], bool], list[Hypothesis]] = {}
    for hypothesis in hypotheses:
        equal.setdefault((hypothesis.token_ids, hypothesis.truncated), []).append(hypothesis)
    return Group(
        tuple(next(filter(_is_drawn, same), same[0]) for same in equal.values()),
        tuple(len(same) for same in equal.values()),
        tuple(sum(map(_is_drawn, same)) for same in equal.values()),
    )


def _is_drawn(hypothesis: Hypothesis) -> bool:
    return bool(hypothesis.token_log_probs)


def reference_of(model: Samplable, batch: Batch, row: int, text: str) -> Hypothesis:
    """The supervised tokens of a row as a hypothesis that ended."""
    labels = batch.inputs["labels"][row]
    ids = labels[labels != _IGNORED].tolist()
    # The end token is what a hypothesis has when it is not truncated; a family without tokens in time has none.
    return Hypothesis(text=text, token_ids=tuple(ids[:-1] if model.card.abilities.tokenwise else ids))
