"""What the checks share: the family's settings, its utterances, and how its tensors are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, ClassVar

import pytest
import torch

from asr_headroom.data.manifest import Utterance
from asr_headroom.models.checkpoints import base_module
from asr_headroom.models.decoding import DecodingOptions, Hypothesis, LoopGuard
from asr_headroom.models.protocols import Batch, Samplable, Trainable
from asr_headroom.models.registry import load_model
from asr_headroom.testing.synthetic import tone_utterance

__all__ = ["IGNORED", "FamilyChecks"]

IGNORED = -100
"""Marks what is not supervised in ``labels``, for every family."""


class FamilyChecks:
    """Settings of one family's checks; a subclass names ``make`` and overrides what does not fit.

    Attributes:
        make: a tiny model without dropout, the same weights on every call; a ``staticmethod``.
        load: reads a saved folder, as users do; a ``staticmethod``.
        load_options: passed to it, for example ``{"window": "fit"}``.
        catalogued: this is the family as the catalogue describes it, not a variant.
        texts: transcripts, all spelled in the tiny vocabulary; the first two of equal length.
        language: of the utterances.
        letter_seconds: how long each letter sounds.
        unknown_language: a tag that the family does not know.
        max_new_tokens: more than the longest text needs.
        learning_rate: for learning two utterances by heart.
        steps: until they must be known.
        tolerance: of log-probabilities and losses per token, in nats.
    """

    make: ClassVar[Callable[[], Trainable]]
    load: ClassVar[Callable[..., Any]] = staticmethod(load_model)
    load_options: ClassVar[dict[str, Any]] = {}
    catalogued: ClassVar[bool] = True
    texts: ClassVar[Sequence[str]] = ("abc", "cab", "a", "cabbage")
    language: ClassVar[str | None] = "en"
    letter_seconds: ClassVar[float] = 0.25
    unknown_language: ClassVar[str] = "tlh"
    max_new_tokens: ClassVar[int] = 12
    learning_rate: ClassVar[float] = 3e-3
    steps: ClassVar[int] = 160
    tolerance: ClassVar[float] = 1e-4

    @pytest.fixture
    def model(self) -> Trainable:
        """A fresh tiny model in evaluation mode."""
        model = type(self).make()
        model.module.eval()
        return model

    @pytest.fixture
    def samplable(self, model: Trainable) -> Samplable:
        """The same, for checks that need hypotheses to be scored."""
        if not isinstance(model, Samplable):
            pytest.skip(f"{model.card.family} is Trainable but not Samplable")
        return model

    # ------------------------------------------------------------------ hooks

    def target_ids(self, model: Trainable, batch: Batch, row: int) -> list[int]:
        """Supervised token ids of a row, in order, the end token included where the family has one.

        The convention: ``batch.inputs["labels"]`` is [rows, tokens], -100 where nothing is supervised.
        """
        labels = batch.inputs["labels"][row]
        return labels[labels != IGNORED].tolist()

    def decode_target(self, model: Trainable, ids: Sequence[int]) -> str:
        """Text of supervised token ids; ``model.processor.tokenizer`` by default."""
        tokenizer: Any = model.processor.tokenizer  # type: ignore[attr-defined]
        options: dict[str, Any] = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        if not model.card.abilities.tokenwise:
            options["group_tokens"] = False  # targets are letters, not a path in which neighbours are one
        return tokenizer.decode(list(ids), **options).strip()

    def reference_logits(self, model: Any, utterance: Utterance, ids: Sequence[int]) -> torch.Tensor | None:
        """[tokens + 1, vocab] logits that predict each of ``ids`` and what follows, found without the family's code.

        One plain forward pass of the library's model over one utterance, prompt and tokens; None where there is none.
        """
        return None

    def reference_nats(self, model: Any, utterance: Utterance) -> torch.Tensor | None:
        """[] the library's own loss of one utterance's target, in nats, summed; None where there is none."""
        return None

    # ------------------------------------------------------------------ shared by the checks

    def speech(self, *texts: str) -> list[Utterance]:
        """Utterances of these texts, all of the family's by default."""
        return [
            tone_utterance(text, language=self.language, letter_seconds=self.letter_seconds)
            for text in texts or self.texts
        ]

    def options(self, **changes: Any) -> DecodingOptions:
        """Greedy, short, without the loop guard, which random weights set off."""
        free = DecodingOptions(max_new_tokens=self.max_new_tokens, loop_guard=LoopGuard(max_period=0))
        return dataclasses.replace(free, **changes)

    def target(self, model: Trainable, batch: Batch, row: int) -> Hypothesis:
        """The supervised tokens of a row as a hypothesis that ended."""
        ids = self.target_ids(model, batch, row)
        if model.card.abilities.tokenwise:
            ids = ids[:-1]
        return Hypothesis(text="", token_ids=tuple(ids))

    def groups(self, model: Trainable, utterances: Iterable[Utterance]) -> list[list[Utterance]]:
        """Utterances that may share a batch, by the family's own ``batch_key``."""
        groups: dict[Hashable, list[Utterance]] = {}
        for utterance in utterances:
            groups.setdefault(model.batch_key(utterance), []).append(utterance)
        return list(groups.values())

    def mean_nats(self, model: Trainable, utterances: Sequence[Utterance]) -> float:
        """Loss per target unit of one batch."""
        with torch.no_grad():
            loss = model.loss(model.collate(utterances))
        return loss.nats.item() / loss.num_targets

    def alone(self, model: Trainable, utterances: Sequence[Utterance]) -> float:
        """Loss per target unit of the same utterances, each in a batch of its own."""
        with torch.no_grad():
            losses = [model.loss(model.collate([utterance])) for utterance in utterances]
        return sum(loss.nats.item() for loss in losses) / sum(loss.num_targets for loss in losses)

    def gradients(self, model: Trainable, batches: Sequence[Sequence[Utterance]]) -> dict[str, torch.Tensor]:
        """Gradient of the loss per target unit over all batches, by name, in training mode."""
        model.module.zero_grad()
        model.module.train()
        losses = [model.loss(model.collate(batch)) for batch in batches]
        (sum(loss.nats for loss in losses) / sum(loss.num_targets for loss in losses)).backward()  # type: ignore[union-attr]
        model.module.eval()
        return {name: p.grad.clone() for name, p in model.module.named_parameters() if p.grad is not None}

    def train(self, model: Trainable, utterances: Sequence[Utterance], steps: int) -> list[float]:
        """Plain steps of AdamW on one batch; the loss per target unit before each."""
        weights = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=self.learning_rate, weight_decay=0.0)
        batch = model.collate(utterances)
        losses = []
        model.module.train()
        for _ in range(steps):
            loss = model.loss(batch)
            mean = loss.nats / loss.num_targets
            optimizer.zero_grad()
            mean.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            losses.append(mean.item())
        model.module.eval()
        return losses

    def end_ids(self, model: Trainable) -> set[int]:
        """Tokens that the library's own decoding stops at."""
        core = self.core(model)
        found: set[Any] = set()
        for config in (core.generation_config, core.config):
            ids = getattr(config, "eos_token_id", None)
            found |= set(ids) if isinstance(ids, list | tuple) else {ids}
        return {id_ for id_ in found if id_ is not None}

    def core(self, model: Trainable) -> Any:
        """The library's model, without the adapter around it."""
        return base_module(model.module)


def assert_same_gradients(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], bound: float) -> None:
    """The two have the same names and differ by at most ``bound`` of the expected length."""
    assert actual.keys() == expected.keys(), f"gradients of {sorted(actual.keys() ^ expected.keys())} on one side only"
    difference = sum((actual[name] - expected[name]).double().square().sum().item() for name in expected) ** 0.5
    length = sum(gradient.double().square().sum().item() for gradient in expected.values()) ** 0.5
    assert length > 0, "no gradient at all"
    assert difference <= bound * length, f"gradients differ by {difference / length:.1e} of their length"
