"""What encoder-decoder families with a padding mask share: targets, loss, search, draws and scores.

For transformers' classes that have ``model.encoder``, ``model.decoder`` and ``proj_out``. A family says how audio
becomes encoder output and what the decoder reads before the first target. Facts that hold for all of them:

* The decoder is fed prompt + target and supervised on target + end token alone. The library's processors leave the
  prompt in the labels, or make labels that do not line up with the prompt; nothing of theirs is used for that.
* Audio is encoded once per utterance. Searching and drawing read the prompt once per row and go on from a cache.
* Whisper has its own module: its cross-attention has no mask, so its hypotheses share one copy of the keys and values.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from transformers import DynamicCache, EncoderDecoderCache

from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import DataError, ModelError, ShapeError
from asr_headroom.models.checkpoints import base_module
from asr_headroom.models.decoding import (
    GREEDY,
    ONE_GROUP,
    BeamGroups,
    DecodingOptions,
    Hypothesis,
    LoopGuard,
    SamplingOptions,
)
from asr_headroom.models.languages import told_language
from asr_headroom.models.markup import Markup
from asr_headroom.models.modes import evaluating, freeze_batch_norm
from asr_headroom.models.protocols import Abilities, Batch, LossSum, ModelCard, TargetScores, TokenLogProbs
from asr_headroom.models.quantization import count_parameters, precision
from asr_headroom.models.sampling import (
    draw_tokens,
    each_token,
    head_logits,
    hidden_log_probs,
    joined_padded,
    joined_rows,
    no_log_probs,
    restricted_log_probs,
    scatter_log_probs,
    scored_ids,
)
from asr_headroom.models.search import distinct_texts, hypothesis_of
from asr_headroom.models.stepwise import beam_tokens, greedy_tokens

__all__ = ["Seq2Seq", "Seq2SeqEncoded"]

_IGNORED = -100
_FREE = LoopGuard(max_period=0)
_PLAIN = SamplingOptions()

M = TypeVar("M", bound="Seq2Seq")


@dataclass(frozen=True)
class Seq2SeqEncoded:
    """Audio encoded once, and the rows that hypotheses are drawn or scored for.

    Attributes:
        states: [utterances, frames, hidden] encoder output.
        mask: [utterances, frames] bool, True where it is no padding.
        prompts: [rows, tokens] decoder input before the first target.
        utterances: [rows] index of each row's audio.
    """

    states: torch.Tensor
    mask: torch.Tensor
    prompts: torch.Tensor
    utterances: tuple[int, ...]

    def select(self, indices: Sequence[int]) -> Seq2SeqEncoded:
        """These rows, in this order; a row may be taken several times, its audio stays one."""
        utterances = tuple(self.utterances[index] for index in indices)
        return Seq2SeqEncoded(self.states, self.mask, self.prompts[list(indices)], utterances)

    def joined(self, others: Sequence[Seq2SeqEncoded]) -> Seq2SeqEncoded:
        """These rows, then those of the others."""
        parts = [self, *others]
        return Seq2SeqEncoded(
            joined_padded([p.states for p in parts]),
            joined_padded([p.mask for p in parts]),
            torch.cat([p.prompts for p in parts]),
            joined_rows([(p.utterances, len(p.states)) for p in parts]),
        )

    def __len__(self) -> int:
        return len(self.utterances)


class _Continuation:
    """A decoder part-way through its rows; each utterance's prompt is read once and goes on ``copies`` times."""

    def __init__(self, core: Any, encoded: Seq2SeqEncoded, copies: int = 1) -> None:
        self._core = core
        decoder = core.model.decoder
        self._cache = EncoderDecoderCache(DynamicCache(config=decoder.config), DynamicCache(config=decoder.config))
        self._states = encoded.states[list(encoded.utterances)]
        self._mask = encoded.mask[list(encoded.utterances)]
        self.first_logits: torch.Tensor = self._read(encoded.prompts)
        """[rows x copies, vocab] of the first token; the copies of a row are neighbours."""
        if copies > 1:
            self.first_logits = self.first_logits.repeat_interleave(copies, dim=0)
            self._states = self._states.repeat_interleave(copies, dim=0)
            self._mask = self._mask.repeat_interleave(copies, dim=0)
            self._cache.batch_repeat_interleave(copies)

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits [rows, vocab] after ``ids`` [rows]."""
        return self._read(ids[:, None])

    def keep(self, rows: torch.Tensor) -> None:
        """Only these rows go on; a beam may go on twice."""
        self._states, self._mask = self._states[rows], self._mask[rows]
        self._cache.batch_select_indices(rows)

    def _read(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self._core.model.decoder(
            input_ids=ids,
            encoder_hidden_states=self._states,
            encoder_attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        return head_logits(self._core.proj_out, hidden[:, -1])


class Seq2Seq(abc.ABC):
    """One encoder-decoder checkpoint behind all three protocols; a family subclasses it and is final.

    Args:
        module: the model, or a PEFT model around it.
        processor: feature settings and tokenizer.
        model_id: what it is called in results.

    Raises:
        ModelError: tokenizer and model do not belong together.
    """

    family: str
    abilities: Abilities

    def __init__(self, module: nn.Module, processor: Any, *, model_id: str) -> None:
        self.module = module
        self.processor = processor
        # Any: transformers attaches half of what is used here at run time, where no type checker sees it.
        self._core: Any = base_module(module)
        freeze_batch_norm(module)
        self._end_id = int(self._core.config.eos_token_id)
        self._check_tokenizer(model_id)
        self._markup = Markup(processor.tokenizer)
        self.card = ModelCard(
            model_id=model_id,
            family=self.family,
            sampling_rate=processor.feature_extractor.sampling_rate,
            max_duration=self._max_duration(),
            languages=tuple(self._languages()),
            parameters=count_parameters(module),
            lora_targets=("q_proj", "k_proj", "v_proj", "o_proj"),
            abilities=self.abilities,
        )

    # ------------------------------------------------------------------ what a family says

    @abc.abstractmethod
    def prompt_ids(self, language: str | None) -> list[int]:
        """Decoder input before the first target token, equally long for all languages.

        Raises:
            ModelError: the language is not known, or none is told to a family that needs one.
        """

    @abc.abstractmethod
    def _features(self, waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Tensors of the audio on the CPU, rows first."""

    @abc.abstractmethod
    def _encode(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoder output [rows, frames, hidden] and its mask [rows, frames] bool."""

    def _languages(self) -> Sequence[str]:
        """Primary subtags that can be told."""
        return ()

    def _max_duration(self) -> float | None:
        """Seconds; longer recordings are refused."""
        return None

    # ------------------------------------------------------------------ targets and batches

    def target_ids(self, text: str) -> list[int]:
        """Supervised tokens of a transcript, the end token last.

        Raises:
            DataError: it spells a mark of the model.
        """
        problem = self._markup.problem(text)
        if problem:
            raise DataError(f"the transcript '{text[:80]}' {problem}")
        return [*self.processor.tokenizer.encode(text.strip(), add_special_tokens=False), self._end_id]

    def check_target(self, utterance: Utterance) -> str | None:
        """Why this utterance cannot be trained on, or None."""
        duration, longest = utterance.measured_duration(), self.card.max_duration
        if longest is not None and duration > longest:
            return f"lasts {duration:.2f} s, beyond the model's {longest:g} s"
        problem = self._markup.problem(utterance.text)
        if problem:
            return problem
        target, unknown = self.target_ids(utterance.text), self.processor.tokenizer.unk_token_id
        if unknown is not None and unknown in target:
            return "has characters that the model's vocabulary cannot write"
        # The end token is predicted but never fed, so the input is one token shorter than prompt and targets.
        tokens = len(self.prompt_ids(utterance.language)) + len(target) - 1
        return (
            f"has {tokens} decoder tokens, beyond the model's {self._positions}" if tokens > self._positions else None
        )

    def batch_key(self, utterance: Utterance) -> Hashable:
        """All may share a batch."""
        return None

    def decoding_state(self) -> dict[str, Any]:
        """Precision of the weights."""
        return {"dtype": precision(self._core)}

    def collate(self, batch: Sequence[Utterance]) -> Batch:
        """Features, decoder inputs and labels on the CPU.

        Returns:
            the family's features; ``decoder_input_ids`` [batch, tokens] int64, padded with the end token; ``labels``
            [batch, tokens] int64, -100 where nothing is supervised; ``prompts`` [batch, tokens].

        Raises:
            DataError: a recording or a transcript is longer than the model allows.
            ModelError: see :meth:`prompt_ids`.
        """
        waveforms = [self._samples(utterance) for utterance in batch]
        prompts = [self.prompt_ids(utterance.language) for utterance in batch]
        targets = [self.target_ids(utterance.text) for utterance in batch]
        width = max(len(prompt) + len(target) - 1 for prompt, target in zip(prompts, targets, strict=True))
        if width > self._positions:
            longest = max(range(len(batch)), key=lambda row: len(prompts[row]) + len(targets[row]))
            raise DataError(f"utterance '{batch[longest].id}' {self.check_target(batch[longest])}; leave it out")
        inputs = torch.full((len(batch), width), self._end_id)
        labels = torch.full((len(batch), width), _IGNORED)
        for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
            inputs[row, : len(prompt) + len(target) - 1] = torch.tensor(prompt + target[:-1])
            labels[row, len(prompt) - 1 : len(prompt) + len(target) - 1] = torch.tensor(target)
        texts = {"decoder_input_ids": inputs, "labels": labels, "prompts": torch.tensor(prompts)}
        return Batch(
            inputs={**self._features(waveforms), **texts},
            num_targets=sum(map(len, targets)),
            num_utterances=len(batch),
            audio_seconds=sum(map(len, waveforms)) / self.card.sampling_rate,
        )

    # ------------------------------------------------------------------ forward

    def loss(self, batch: Batch) -> LossSum:
        """Cross-entropy of the supervised tokens in nats, summed; logits exist at supervised positions only."""
        hidden, targets = self._target_states(batch)
        return LossSum(-self._score(hidden, targets, _PLAIN).sum(), batch.num_targets)

    def target_scores(self, batch: Batch) -> TargetScores:
        """Log-probabilities of all tokens at supervised positions."""
        hidden, targets = self._target_states(batch)
        log_probs = restricted_log_probs(head_logits(self._core.proj_out, hidden), _PLAIN)
        nats = -log_probs.gather(-1, targets[:, None]).sum()
        return TargetScores(LossSum(nats, batch.num_targets), log_probs, targets)

    @torch.inference_mode()
    def transcribe(self, batch: Sequence[Utterance], options: DecodingOptions = GREEDY) -> list[Hypothesis]:
        """One hypothesis per utterance, in order.

        Raises:
            DataError: a recording is longer than the model allows; it is never cut.
            ModelError: see :meth:`prompt_ids`.
        """
        if not batch:
            return []
        prompts = torch.tensor([self.prompt_ids(options.language or utterance.language) for utterance in batch])
        features = self._features([self._samples(utterance) for utterance in batch])
        guard = options.loop_guard
        with evaluating(self.module):
            states, mask = self._encode({name: tensor.to(self._core.device) for name, tensor in features.items()})
            encoded = Seq2SeqEncoded(states, mask, prompts.to(states.device), tuple(range(len(batch))))
            continuation = _Continuation(self._core, encoded)
            limit = min(options.max_new_tokens, self._room(encoded))
            if options.beam_size == 1:
                found = greedy_tokens(
                    continuation.first_logits,
                    continuation,
                    end_ids=(self._end_id,),
                    max_new_tokens=limit,
                    guard=guard,
                )
            else:
                lists = beam_tokens(
                    continuation.first_logits,
                    continuation,
                    end_ids=(self._end_id,),
                    max_new_tokens=limit,
                    beam_size=options.beam_size,
                    by_mean=True,
                )
                found = [tokens for (tokens,) in lists]
        return [hypothesis_of(tokens, self._end_id, guard, self._text) for tokens in found]

    # ------------------------------------------------------------------ hypotheses of encoded audio

    def encode(self, batch: Batch) -> Seq2SeqEncoded:
        """Audio and prompts of a collated batch; gradients flow through it where they are on."""
        states, mask = self._encode(batch.inputs)
        return Seq2SeqEncoded(states, mask, batch.inputs["prompts"].clone(), tuple(range(len(states))))

    @torch.no_grad()
    def sample(self, encoded: Seq2SeqEncoded, options: SamplingOptions) -> list[list[Hypothesis]]:
        """``options.num_samples`` hypotheses per row, with dropout off."""
        if not len(encoded):
            return []
        count = options.num_samples
        with evaluating(self.module):
            continuation = _Continuation(self._core, encoded, count)
            draws = draw_tokens(
                continuation.first_logits, continuation, options, end_id=self._end_id, limit=self._room(encoded)
            )
        hypotheses = [draw.hypothesis(self._text) for draw in draws]
        return [hypotheses[i : i + count] for i in range(0, len(hypotheses), count)]

    @torch.no_grad()
    def nbest(
        self, encoded: Seq2SeqEncoded, beam_size: int, options: SamplingOptions, groups: BeamGroups = ONE_GROUP
    ) -> list[list[Hypothesis]]:
        """At most ``beam_size`` hypotheses of different text per row, by total log-probability."""
        if not len(encoded):
            return []
        with evaluating(self.module):
            continuation = _Continuation(self._core, encoded)
            lists = beam_tokens(
                continuation.first_logits,
                continuation,
                end_ids=(self._end_id,),
                max_new_tokens=min(options.max_new_tokens, self._room(encoded)),
                beam_size=beam_size,
                returned=beam_size,
                groups=groups,
            )
        return [
            distinct_texts(hypothesis_of(tokens, self._end_id, _FREE, self._text) for tokens in found)
            for found in lists
        ]

    def log_prob(
        self,
        encoded: Seq2SeqEncoded,
        hypotheses: Sequence[Hypothesis],
        options: SamplingOptions | Sequence[SamplingOptions],
    ) -> TokenLogProbs:
        """Log-probabilities of one hypothesis per row, token by token.

        Raises:
            ShapeError: there are more or fewer hypotheses than rows.
            DataError: a hypothesis has more tokens than the decoder has positions.
        """
        if len(hypotheses) != len(encoded):
            raise ShapeError(f"{len(hypotheses)} hypotheses for {len(encoded)} rows; give one per row")
        if not hypotheses:
            return no_log_probs(encoded.states)
        targets = scored_ids(hypotheses, self._end_id)
        lengths = [len(target) for target in targets]
        width = max(lengths, default=0)
        if width > self._room(encoded):
            raise DataError(
                f"a hypothesis has {width} tokens, beyond the {self._room(encoded)} that '{self.card.model_id}' has "
                "positions for; sample with a smaller max_new_tokens"
            )
        device = encoded.states.device
        padded = torch.tensor(
            [[*target, *[self._end_id] * (width - len(target))] for target in targets], dtype=torch.long, device=device
        )
        mask = torch.arange(width, device=device) < torch.tensor(lengths, device=device)[:, None]
        rows = list(encoded.utterances)
        inputs = torch.cat([encoded.prompts, padded[:, :-1]], dim=1)
        hidden = self._decode(inputs, encoded.states[rows], encoded.mask[rows])
        hidden = hidden[:, encoded.prompts.shape[1] - 1 :][:, :width][mask]
        return scatter_log_probs(self._score(hidden, padded[mask], each_token(options, lengths)), lengths)

    # ------------------------------------------------------------------ wrapping and saving

    def with_module(self: M, wrap: Callable[[nn.Module], nn.Module]) -> M:
        """The same family around ``wrap(module)``."""
        return type(self)(wrap(self.module), self.processor, model_id=self.card.model_id)

    def checkpoint_activations(self) -> None:
        """Layers of encoder and decoder are computed again in the backward pass; stays on."""
        self._core.activation_checkpointing_enable()

    def save_pretrained(self, directory: Path) -> None:
        """Writes what ``from_pretrained`` (PEFT's, for an adapter) and the processor's read."""
        self.module.save_pretrained(directory)  # type: ignore[operator]
        self.processor.save_pretrained(directory)

    # ------------------------------------------------------------------ for families

    def _known(self, language: str | None) -> str:
        """The code of a language that the model can be told."""
        if language is None:
            raise ModelError(
                f"'{self.card.model_id}' ({self.family}) was told no language; "
                "put a language into the manifest or give --language"
            )
        return told_language(language, self.card.languages, f"'{self.card.model_id}' ({self.family})")

    # ------------------------------------------------------------------ private

    @property
    def _positions(self) -> int:
        return self._core.model.decoder.config.max_position_embeddings

    def _room(self, encoded: Seq2SeqEncoded) -> int:
        """Tokens after the prompt that the decoder has positions for."""
        return self._positions - encoded.prompts.shape[1]

    def _check_tokenizer(self, model_id: str) -> None:
        tokenizer, vocabulary = self.processor.tokenizer, self._core.config.vocab_size
        if len(tokenizer) > vocabulary or tokenizer.convert_ids_to_tokens(self._end_id) != tokenizer.eos_token:
            raise ModelError(
                f"{model_id}: the model has {vocabulary} tokens and ends with {self._end_id}, the tokenizer has "
                f"{len(tokenizer)} and ends with {tokenizer.eos_token_id}; copy the tokenizer's files from the "
                "original checkpoint"
            )

    def _samples(self, utterance: Utterance) -> np.ndarray:
        samples, limit = utterance.samples(self.card.sampling_rate), self.card.max_duration
        if limit is not None and len(samples) > limit * self.card.sampling_rate:
            raise DataError(
                f"utterance '{utterance.id}' lasts {len(samples) / self.card.sampling_rate:.2f} s, beyond the "
                f"{limit:g} s that '{self.card.model_id}' hears at once; cut it or leave it out"
            )
        return samples

    def _decode(self, ids: torch.Tensor, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """[rows, tokens, hidden] decoder output for whole sequences."""
        return self._core.model.decoder(
            input_ids=ids, encoder_hidden_states=states, encoder_attention_mask=mask, use_cache=False
        ).last_hidden_state

    def _target_states(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Decoder output at supervised positions [targets, hidden], and the targets."""
        labels = batch.inputs["labels"]
        states, mask = self._encode(batch.inputs)
        supervised = labels != _IGNORED
        return self._decode(batch.inputs["decoder_input_ids"], states, mask)[supervised], labels[supervised]

    def _score(
        self, hidden: torch.Tensor, ids: torch.Tensor, options: SamplingOptions | Sequence[SamplingOptions]
    ) -> torch.Tensor:
        head = functools.partial(head_logits, self._core.proj_out)
        return hidden_log_probs(hidden, head, ids, options, vocab_size=self._core.config.vocab_size)

    def _text(self, tokens: list[int]) -> str:
        return self.processor.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
