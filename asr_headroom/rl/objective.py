"""Reinforcement learning as an objective of the training loop (:class:`asr_headroom.train.objectives.Objective`).

One step, micro-batch by micro-batch: audio is encoded once; hypotheses are drawn from that encoding and judged; groups
that nothing can be learnt from are found; the different hypotheses of the others are scored in parts, each utterance's
reference with them; and one backward pass takes what the parts collected through the encoder.
The gradient is that of the mean over all utterances of the step, over all micro-batches and processes.

Dropout is off: with it, two scores of one hypothesis would differ by more than GSPO's clip range. Draws are a function
of seed, step, process and micro-batch. Read :meth:`PolicyObjective.accumulate` first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import ModelError
from asr_headroom.models.decoding import Hypothesis
from asr_headroom.models.out_of_memory import is_out_of_memory
from asr_headroom.models.protocols import Batch, Encoded, Samplable, Trainable
from asr_headroom.rl.config import RlConfig
from asr_headroom.rl.encoding import CutEncoding, KeptEncodings, scoring_mode
from asr_headroom.rl.old_policy import OldPolicy
from asr_headroom.rl.record import RolloutRecord
from asr_headroom.rl.reward import Reward
from asr_headroom.rl.rollout import Group, reference_of, roll_out, rollout_seed, scoring_options
from asr_headroom.rl.scoring import Scorer
from asr_headroom.rl.watch import Watch
from asr_headroom.text.units import primary_subtag
from asr_headroom.train.feed import StepBatches
from asr_headroom.train.objectives import LossModule, MakeObjective, StepTotals
from asr_headroom.train.processes import Processes

__all__ = ["PolicyObjective", "check_model", "policy_objective"]

_LOW_STEPS = 10
"""Steps in a row with too little entropy after which the training stops."""


def policy_objective(
    config: RlConfig,
    reward: Reward,
    *,
    seed: int,
    record: RolloutRecord | None = None,
    recurring: Sequence[Utterance] = (),
) -> MakeObjective:
    """What :class:`asr_headroom.train.loop.Training` takes as ``make_objective``; see :class:`PolicyObjective`."""

    def make(model: Trainable, accelerator: Accelerator) -> PolicyObjective:
        return PolicyObjective(model, accelerator, config, reward, seed=seed, record=record, recurring=recurring)

    return make


def check_model(model: Trainable, config: RlConfig) -> Samplable:
    """The model, if it can do what the config asks for.

    Raises:
        ModelError: it cannot; the message says what it lacks.
    """
    card = model.card
    if not isinstance(model, Samplable):
        raise ModelError(
            f"'{card.model_id}' ({card.family}) gives no hypotheses with their probabilities, which "
            f"'{config.algorithm}' needs; `asr-headroom models list` shows the families that can be sampled"
        )
    if config.is_searched and not card.abilities.can_nbest:
        raise ModelError(f"'{card.model_id}' ({card.family}) searches no lists; draw them with nbest sample")
    if config.nbest == "diverse-beam" and not card.abilities.tokenwise:
        raise ModelError(
            f"'{card.model_id}' ({card.family}) has no diverse beam search: its beams walk over frames, and have no "
            "positions in the text at which groups could avoid each other; take nbest beam or sample"
        )
    if config.nbest == "sample" and not card.abilities.can_sample:
        raise ModelError(f"'{card.model_id}' ({card.family}) cannot be sampled; take nbest beam with algorithm mwer")
    if config.algorithm in ("grpo", "dr-grpo") and not card.abilities.tokenwise:
        raise ModelError(
            f"'{card.model_id}' ({card.family}) has no probability per token, so there is no ratio per token; "
            "take gspo, rloo or mwer"
        )
    if config.policy_kl and not hasattr(model.module, "disable_adapter"):
        raise ModelError("policy_kl compares with the model under its low-rank updates; train with method lora")
    return model


@dataclass(frozen=True)
class _Step:
    """What the micro-batches of one step share.

    Attributes:
        block: first step of those that share the hypotheses.
        is_first: this is that step.
        is_newest: the weights as they are drew them.
        count: utterances of the step over all processes.
        held: hypotheses of this process, by utterance; filled in the block's first step.
    """

    block: int
    is_first: bool
    is_newest: bool
    count: float
    held: dict[str, Group]


class PolicyObjective:
    """MWER, GSPO and their relatives as a step of the training loop.

    Args:
        model: must be samplable (see :func:`check_model`).
        accelerator: the processes.
        config: algorithm and settings.
        reward: judges hypotheses.
        seed: of the draws.
        record: where hypotheses and means of each step are kept; None keeps none.
        recurring: all utterances that steps may take, where they come again with the same audio: their encodings are
            kept where that changes nothing and memory allows it.
        clock: seconds, for tokens per second.
    """

    def __init__(
        self,
        model: Trainable,
        accelerator: Accelerator,
        config: RlConfig,
        reward: Reward,
        *,
        seed: int,
        record: RolloutRecord | None = None,
        recurring: Sequence[Utterance] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = check_model(model, config)
        self._accelerator, self._config, self._reward, self._seed = accelerator, config, reward, seed
        self._processes, self._record, self._clock = Processes(accelerator), record, clock
        self.prepared: nn.Module = accelerator.prepare_model(LossModule(self._model), evaluation_mode=True)
        self._options = scoring_options(config)
        self._scorer = Scorer(self._model, config, self._options, autocast=accelerator.autocast)
        self._weights = config.weights_by_language()
        self._old_policy = OldPolicy(model.module) if config.sync_steps > 1 else None
        rescored = config.old_log_probs == "scored" or (
            config.old_log_probs == "auto" and accelerator.mixed_precision != "no" and config.sync_steps == 1
        )
        self._rescores = rescored and config.algorithm != "mwer"
        self._kept = self._keep_encodings(recurring)
        self._block = -1
        self._held: dict[str, Group] = {}
        self._gathered: list[dict[str, Any]] = []
        self._low_entropy, self._next = 0, -1

    # ------------------------------------------------------------------ the step

    def accumulate(self, batches: StepBatches) -> StepTotals:
        """Adds the gradient of the mean loss over all utterances of the step; see the module's docstring.

        Raises:
            OutOfMemoryError: on all processes, where it was on one; some gradients are added already.
        """
        scoring_mode(self.prepared)
        rows = batches.batches
        own = [float(sum(batch.num_utterances for batch in rows)), sum(batch.audio_seconds for batch in rows)]
        count, audio_seconds = self._processes.summed([batches.weight * value for value in own])
        step = self._begin(batches.number, count)
        watch, start = Watch(), self._clock()
        shortage = self._run(batches, step, watch)
        if self._processes.any(shortage is not None):
            if step.is_first:
                self._block = -1  # the step begins again, with other micro-batches and other draws
            raise torch.OutOfMemoryError(shortage or "another process ran out of memory")
        self._processes.sum_gradients(self.prepared.parameters())
        self._fill_gradients()
        if step.is_first:
            self._hold(step.held)
        sums = Watch(*self._processes.summed(watch.values(batches.weight)))
        watched = sums.means()
        if self._record:
            # A process that only keeps the others company has nobody's utterances.
            groups = self._processes.all_of(list(step.held.items()) if batches.weight else [])
            if self._processes.is_main:
                self._record.write(batches.number, watched, groups)
        if sums.tokens:  # a search draws none; in thousandths, as the log divides by at least 1
            watched["tokens/s"] = (1e3 * sums.tokens, 1e3 * (self._clock() - start))
        return StepTotals(
            loss=sums.loss,
            count=count,
            audio_seconds=audio_seconds,
            watched=watched,
            unit="",
            stop=self._stop_reason(batches.number, sums.entropy),
        )

    def _begin(self, number: int, count: float) -> _Step:
        """The block that a step belongs to, with its hypotheses where there are any already."""
        repeats, sync = self._config.updates_per_rollout, self._config.sync_steps
        block = number // repeats * repeats
        is_first = block != self._block
        self._block = block
        if is_first and self._old_policy:
            self._old_policy.take_over(block // sync * sync)
        is_newest = is_first and (self._old_policy is None or self._old_policy.since == number)
        return _Step(block, is_first, is_newest, count, {} if is_first else self._held)

    def _run(self, batches: StepBatches, step: _Step, watch: Watch) -> str | None:
        """All micro-batches; returns why memory did not hold them, or None."""
        seen: dict[str, int] = {}
        try:
            for index, (batch, utterances) in enumerate(zip(batches.batches, batches.utterances, strict=True)):
                keys = [_key(utterance, seen) for utterance in utterances]
                batch = batch.to(self._accelerator.device)
                self._micro_batch(batch, utterances, keys, step, index, batches.weight, watch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return str(error) or type(error).__name__
        return None

    def _micro_batch(
        self,
        batch: Batch,
        utterances: Sequence[Utterance],
        keys: Sequence[str],
        step: _Step,
        index: int,
        weight: int,
        watch: Watch,
    ) -> None:
        with self._accelerator.autocast():
            cut = CutEncoding(self._kept.encodings(utterances) if self._kept else self._model.encode(batch))
        references = [reference_of(self._model, batch, row, u.text) for row, u in enumerate(utterances)]
        weights = [weight * self._weights.get(primary_subtag(u.language or ""), 1.0) for u in utterances]
        if step.is_first:
            groups = self._judge(utterances, self._draw(batch, cut, references, step, index))
        else:
            groups = [step.held[key] for key in keys]
        step.held.update(zip(keys, groups, strict=True))
        sums = self._scorer.backward(
            cut.encoded,
            groups,
            weights,
            references,
            scale=1.0 / step.count,
            base=self._base_encoding(batch, cut),
            base_model=self._base_model,
            is_first=self._rescores and step.is_newest,
        )
        cut.backward()
        for row, scores in sums.first_scores.items():
            step.held[keys[row]] = _with_scores(groups[row], scores)
        config = self._config
        watch.add(groups, sums, slot_0=config.greedy_in_slot_0 or config.is_searched)

    def _keep_encodings(self, recurring: Sequence[Utterance]) -> KeptEncodings | None:
        limit = self._config.keep_encodings_gb * 1e9
        if not recurring or not limit:
            return None
        scoring_mode(self.prepared)
        with self._accelerator.autocast():
            return KeptEncodings.where_they_fit(self._model, self._accelerator.device, recurring, limit)

    def _draw(
        self, batch: Batch, cut: CutEncoding, references: Sequence[Hypothesis], step: _Step, index: int
    ) -> list[Group]:
        seed = rollout_seed(self._seed, step.block, self._processes.index, index)
        if self._old_policy is None or step.is_newest:
            with self._accelerator.autocast():
                return roll_out(self._model, cut.encoded, references, self._config, seed)
        with self._old_policy.in_place(), torch.no_grad(), self._accelerator.autocast():
            encoded = self._model.encode(batch) if cut.is_trained else cut.encoded
            return roll_out(self._model, encoded, references, self._config, seed)

    def _judge(self, utterances: Sequence[Utterance], groups: Sequence[Group]) -> list[Group]:
        judged = []
        for utterance, group in zip(utterances, groups, strict=True):
            scores = self._reward.judge(utterance, group.hypotheses)
            judged.append(
                replace(
                    group,
                    rewards=tuple(score.reward for score in scores),
                    errors=tuple(score.counts.errors for score in scores),
                    reference_length=scores[0].counts.reference_length,
                )
            )
        return judged

    # ------------------------------------------------------------------ the starting point

    @contextmanager
    def _base_model(self) -> Iterator[None]:
        with self._model.module.disable_adapter():  # type: ignore[operator]
            yield

    @torch.no_grad()
    def _base_encoding(self, batch: Batch, cut: CutEncoding) -> Encoded | None:
        if not self._config.policy_kl:
            return None
        if not cut.is_trained:
            return cut.encoded
        with self._base_model(), self._accelerator.autocast():
            return self._model.encode(batch)

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Hypotheses that later steps learn from, of all processes, and the policy that draws them."""
        more = self._config.updates_per_rollout > 1
        return {
            "block": self._block if more else -1,
            "held": self._gathered if more else [],
            "old_policy": self._old_policy.state_dict() if self._old_policy else {},
            "low_entropy": [self._low_entropy, self._next],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on in the middle of a block."""
        self._block = state["block"]
        if state["held"]:
            self._gathered = state["held"]
            held = self._gathered[self._processes.index]
            self._held = {key: Group.from_state(plain) for key, plain in held.items()}
        if self._old_policy:
            self._old_policy.load_state_dict(state["old_policy"])
        self._low_entropy, self._next = state["low_entropy"]

    # ------------------------------------------------------------------ private

    def _hold(self, held: dict[str, Group]) -> None:
        """Keeps the hypotheses of a block; those of all processes, as one of them writes the checkpoint."""
        self._held = held
        if self._config.updates_per_rollout > 1:
            own = {key: group.state() for key, group in held.items()}
            self._gathered = [own] if self._processes.count == 1 else gather_object([own])

    def _fill_gradients(self) -> None:
        """Zero where nothing was learnt, as the textbook has it: an optimiser's memory then fades all the same."""
        for parameter in self.prepared.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def _stop_reason(self, number: int, entropy: float | None) -> str:
        """Why the training is to end now; empty where it is not."""
        if not self._config.min_entropy or entropy is None:
            return ""
        follows, self._next = number == self._next, number + 1
        is_low = entropy < self._config.min_entropy
        self._low_entropy = self._low_entropy + 1 if is_low and follows else int(is_low)
        if self._low_entropy < _LOW_STEPS:
            return ""
        return f"entropy below {self._config.min_entropy:g} nats per token for {_LOW_STEPS} steps"


def _key(utterance: Utterance, seen: dict[str, int]) -> str:
    """The utterance's id; with a number, where it comes more than once in a step."""
    seen[utterance.id] = seen.get(utterance.id, 0) + 1
    count = seen[utterance.id]
    return utterance.id if count == 1 else f"{utterance.id}#{count}"


def _with_scores(group: Group, scores: Sequence[tuple[float, ...]]) -> Group:
    """The group with other old log-probabilities."""
    pairs = zip(group.hypotheses, scores, strict=True)
    return replace(group, hypotheses=tuple(replace(h, token_log_probs=values) for h, values in pairs))
