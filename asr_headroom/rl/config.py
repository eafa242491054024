"""Settings of reinforcement learning. Torch-free, so that the command line can read it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from asr_headroom.errors import ConfigError
from asr_headroom.metrics.keywords import DEFAULT_KEYWORD_WEIGHT
from asr_headroom.models.decoding import ONE_GROUP, BeamGroups
from asr_headroom.text.units import primary_subtag

__all__ = ["Algorithm", "KeywordRule", "RewardConfig", "RlConfig"]

Algorithm = Literal["mwer", "gspo", "grpo", "rloo", "dr-grpo"]
KeywordRule = Literal["names", "numbers"]

_CLIP = {"gspo": (3e-4, 4e-4), "grpo": (0.2, 0.2), "dr-grpo": (0.2, 0.2), "rloo": (0.2, 0.2)}
"""GSPO: its paper's; the others: PPO's (Schulman et al., 2017)."""


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """What a hypothesis is worth: minus its errors, plus and minus what else is asked for."""

    scale: Literal["utterance", "corpus"] = "utterance"
    """What errors are divided by: utterance, the units of its reference; corpus, the mean over the training data, so
    that an error weighs alike in short and long utterances, as it does in a corpus's error rate."""

    errors: float = 1.0
    """Weight of minus the error rate."""

    keywords: str | None = None
    """File of words that matter, one per line: an error on one of them counts keyword_weight errors."""

    keyword_rules: tuple[KeywordRule, ...] = ()
    """Words of the reference that matter by rule: names (capital letters inside a sentence), numbers (digits)."""

    keyword_weight: float = DEFAULT_KEYWORD_WEIGHT
    """Errors that an error on a keyword counts."""

    format: float = 0.0
    """Added where the output is well formed: it ended by itself, and holds text where the reference does."""

    loop: float = 0.0
    """Taken off where the output repeats itself and the reference does not."""

    language_switch: float = 0.0
    """Taken off where the output is in another language or script than the reference."""

    length: float = 0.0
    """Taken off for each reference unit that the output is too long or too short by, as a share of the reference."""

    def __post_init__(self) -> None:
        problems = []
        for name in ("errors", "keyword_weight", "format", "loop", "language_switch", "length"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                problems.append(f"reward.{name} is {value}; it must be at least 0 and finite")
        if not any((self.errors, self.format, self.loop, self.language_switch, self.length)):
            problems.append("reward: all weights are 0, so there is nothing to learn; give errors a weight")
        if problems:
            raise ConfigError("\n".join(problems))


@dataclass(frozen=True, kw_only=True)
class RlConfig:
    """How a recogniser learns from the errors of its own hypotheses."""

    algorithm: Algorithm = "mwer"
    """mwer: expected errors over an n-best list; gspo: clipped sequence ratios, rewards z-scored in their group; grpo
    and dr-grpo: ratios per token; rloo: leave-one-out baseline."""

    num_rollouts: int = 4
    """Hypotheses drawn (or searched for) per utterance."""

    temperature: float = 0.9
    """Logits are divided by it, in drawing and in scoring alike."""

    top_k: int = 0
    """Only the k likeliest tokens can be drawn, and are scored; 0 allows all."""

    top_p: float = 0.95
    """Only the likeliest tokens that together reach this probability can be drawn, and are scored; 1 allows all."""

    max_new_tokens: int = 225
    """Tokens at which a draw is cut; it then gets no end token."""

    nbest: Literal["sample", "beam", "diverse-beam"] = "sample"
    """Where the list comes from. Beams are for mwer, and are scored at temperature 1; those of diverse-beam come in
    groups that avoid each other's tokens."""

    num_beam_groups: int | None = None
    """diverse-beam: groups of equally many beams; by default each hypothesis is a group of its own."""

    diversity_penalty: float = 0.5
    """diverse-beam: nats that a token costs for each beam of an earlier group that takes it at the same position."""

    greedy_in_slot_0: bool = False
    """One hypothesis of the list is the greedy one instead of a draw; for mwer."""

    reference_in_list: bool = False
    """The reference joins the list as one more hypothesis; for mwer."""

    cross_entropy: float = 0.01
    """Weight of the reference's cross-entropy, a mean over its tokens (the lambda of mwer); for every algorithm."""

    length_normalized: bool = False
    """mwer: log-probabilities are divided by their number of tokens before they are compared in the list."""

    clip_low: float | None = None
    """How far a ratio may fall below 1 before its gradient stops; by default 3e-4 for gspo, 0.2 for the others."""

    clip_high: float | None = None
    """How far a ratio may rise above 1; by default 4e-4 for gspo, 0.2 for the others."""

    updates_per_rollout: int = 1
    """Optimiser steps in a row on the same utterances and the same hypotheses."""

    sync_steps: int = 1
    """Optimiser steps between takings-over of the policy that hypotheses are drawn from; 1 draws from the newest. Not
    with mwer."""

    old_log_probs: Literal["auto", "drawn", "scored"] = "auto"
    """What a ratio compares with: drawn, the log-probabilities stored while drawing; scored, those of the first
    scoring, which costs nothing; auto: drawn in float32, scored in bf16, whose rounding would fill the clip range."""

    policy_kl: float = 0.0
    """Weight of the divergence of what is drawn from the starting point, per token (k3 estimate); needs method lora."""

    collapse: bool = True
    """Equal hypotheses are scored once, with their number; the gradient is the same."""

    skip_equal_rewards: bool = True
    """Hypotheses of a group without differences in reward are not scored; their gradient is zero anyway."""

    score_batch_size: int = 32
    """Hypotheses in one scoring pass; bounds the memory. The gradient does not depend on it."""

    keep_encodings_gb: float = 4.0
    """Where the encoder is frozen and audio is not augmented: main memory, in GB (a billion bytes) for each process, in
    which encoded audio is kept for later epochs, if all of it fits; 0 encodes anew in each step."""

    min_entropy: float = 0.0
    """Stops when drawn tokens have had less than this mean entropy, in nats, for ten steps in a row; 0 never does."""

    language_weights: tuple[str, ...] = ()
    """Weights of utterances by language, such as fr=1 zh=0.5; others weigh 1."""

    reward: RewardConfig = field(default_factory=RewardConfig)
    """What a hypothesis is worth."""

    def __post_init__(self) -> None:
        problems = self._range_problems() + self._mixture_problems()
        try:
            self.weights_by_language()
        except ConfigError as error:
            problems.append(str(error))
        if problems:
            raise ConfigError("\n".join(problems))

    @property
    def is_searched(self) -> bool:
        """Lists are found by a search, and nothing is drawn."""
        return self.nbest != "sample"

    @property
    def beam_groups(self) -> BeamGroups:
        """Of a search."""
        if self.nbest != "diverse-beam":
            return ONE_GROUP
        return BeamGroups(count=self.num_beam_groups or self.num_rollouts, penalty=self.diversity_penalty)

    @property
    def clip(self) -> tuple[float, float]:
        """How far a ratio may fall and rise."""
        low, high = _CLIP.get(self.algorithm, (0.0, 0.0))
        return low if self.clip_low is None else self.clip_low, high if self.clip_high is None else self.clip_high

    def weights_by_language(self) -> dict[str, float]:
        """Primary subtag to weight.

        Raises:
            ConfigError: an entry is not ``language=number``.
        """
        weights = {}
        for entry in self.language_weights:
            language, separator, number = entry.partition("=")
            try:
                weight = float(number)
            except ValueError:
                weight = math.nan
            if not separator or not language or not 0 <= weight < math.inf:
                raise ConfigError(f"language_weights has '{entry}'; write language=weight, for example zh=0.5")
            subtag = primary_subtag(language)
            if subtag in weights:
                raise ConfigError(f"language_weights weighs '{subtag}' twice; all its regions weigh alike")
            weights[subtag] = weight
        return weights

    def _range_problems(self) -> list[str]:
        problems = []
        least = {"num_rollouts": 2, "max_new_tokens": 1, "updates_per_rollout": 1, "sync_steps": 1}
        for name, low in (least | {"score_batch_size": 1, "top_k": 0}).items():
            if getattr(self, name) < low:
                problems.append(f"{name} is {getattr(self, name)}; it must be at least {low}")
        for name in (
            *("clip_low", "clip_high", "cross_entropy", "policy_kl"),
            *("min_entropy", "keep_encodings_gb", "diversity_penalty"),
        ):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                problems.append(f"{name} is {value}; it must be at least 0 and finite")
        if not 0 < self.temperature < math.inf:
            problems.append(f"temperature is {self.temperature}; it must be above 0 and finite")
        if not 0 < self.top_p <= 1:
            problems.append(f"top_p is {self.top_p}; it must be in (0, 1]")
        return problems

    def _mixture_problems(self) -> list[str]:
        problems = []
        if self.algorithm == "mwer":
            for name in ("clip_low", "clip_high"):
                if getattr(self, name) is not None:
                    problems.append(f"{name} is given, but mwer has no ratio to clip; leave it out")
            if self.sync_steps > 1:
                problems.append("sync_steps is above 1, but mwer knows no old policy; leave it out")
        else:
            # A ratio needs the probability that a hypothesis was drawn with; these were not drawn.
            for name, given in (
                (f"nbest {self.nbest}", self.is_searched),
                ("greedy_in_slot_0", self.greedy_in_slot_0),
                ("reference_in_list", self.reference_in_list),
            ):
                if given:
                    problems.append(f"{name} puts hypotheses into the list that were not drawn; only mwer takes them")
            if self.length_normalized:
                problems.append("length_normalized is of mwer; gspo always divides by the length, rloo never does")
        if self.old_log_probs == "scored" and self.sync_steps > 1:
            problems.append("old_log_probs is 'scored', but with sync_steps above 1 an older policy drew; use 'drawn'")
        if self.sync_steps > 1 and self.sync_steps % self.updates_per_rollout:
            problems.append(
                f"sync_steps is {self.sync_steps}; it must be a multiple of updates_per_rollout, "
                f"{self.updates_per_rollout}"
            )
        if self.greedy_in_slot_0 and self.is_searched:
            problems.append("greedy_in_slot_0 is for drawn lists; a beam's best is better than greedy already")
        if self.min_entropy and self.is_searched:
            problems.append("min_entropy watches drawn tokens, and a beam draws none")
        return problems + self._group_problems()

    def _group_problems(self) -> list[str]:
        count = self.num_beam_groups
        if count is None:
            return []
        if self.nbest != "diverse-beam":
            return [f"num_beam_groups is given, but nbest {self.nbest} has no groups; take nbest diverse-beam"]
        if count < 2:
            return [f"num_beam_groups is {count}; it must be at least 2, or take nbest beam"]
        if self.num_rollouts % count:
            return [f"num_rollouts is {self.num_rollouts}; it must be a multiple of num_beam_groups, {count}"]
        return []
