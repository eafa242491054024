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
        rewards: of each.
        errors: of each, in the normaliser's unit.
        reference_length: units of the reference.
    """

    hypotheses: tuple[Hypothesis, ...]
    multiplicity: tuple[int, ...]
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
    if config.nbest == "beam":
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
    if config.nbest == "beam":
        lists = model.nbest(encoded, config.num_rollouts, options)
    elif config.greedy_in_slot_0:
        greedy = model.sample(encoded, replace(options, num_samples=1, top_k=1))
        drawn = model.sample(encoded, replace(options, num_samples=config.num_rollouts - 1))
        lists = [[*first, *rest] for first, rest in zip(greedy, drawn, strict=True)]
    else:
        lists = model.sample(encoded, options)
    if config.reference_in_list:
        lists = [[*row, reference] for row, reference in zip(lists, references, strict=True)]
    if not config.collapse:
        return [Group(tuple(row), (1,) * len(row)) for row in lists]
    return [collapse_equal(row) for row in lists]


def collapse_equal(hypotheses: Sequence[Hypothesis]) -> Group:
    """Hypotheses with the same tokens and the same end as one, in the order in which they come first."""
    counts: dict[tuple[tuple[int, ...], bool], int] = {}
    first: dict[tuple[tuple[int, ...], bool], Hypothesis] = {}
    for hypothesis in hypotheses:
        key = hypothesis.token_ids, hypothesis.truncated
        counts[key] = counts.get(key, 0) + 1
        first.setdefault(key, hypothesis)
    return Group(tuple(first.values()), tuple(counts.values()))


def reference_of(model: Samplable, batch: Batch, row: int, text: str) -> Hypothesis:
    """The supervised tokens of a row as a hypothesis that ended."""
    labels = batch.inputs["labels"][row]
    ids = labels[labels != _IGNORED].tolist()
    # The end token is what a hypothesis has when it is not truncated; a family without tokens in time has none.
    return Hypothesis(text=text, token_ids=tuple(ids[:-1] if model.card.abilities.tokenwise else ids))
