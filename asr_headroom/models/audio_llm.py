"""What all audio language models share: audio becomes embeddings inside a prompt, and a language model writes on.

A family (``qwen3_asr``, ``granite_speech`` …) derives from :class:`AudioLanguageModel` and brings its features, its
prompt, its target form and its languages. Here is the rest:

* Rows are padded on the right, so that positions are those of a row alone and no mask is needed while training.
  The processors pad on the left; a mask counted from the wrong side then supervises the prompt. Here prompt, target and
  labels are laid out together, and the supervised tokens are the target by construction.
* Features are taken from each recording alone and padded afterwards, so that no transcript depends on its company.
* The prompt with its audio is read once for all hypotheses of an utterance
  (:mod:`asr_headroom.models.audio_llm_hypotheses`).
* Logits exist at target positions only, and are reduced in float32.
"""

from __future__ import annotations

import abc
import copy
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import DataError, ModelError, ShapeError
from asr_headroom.models.audio_llm_hypotheses import AudioLlmEncoded, PromptContinuation, score_rows
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
from asr_headroom.models.modes import evaluating, freeze_batch_norm, full_precision
from asr_headroom.models.protocols import Abilities, Batch, LossSum, ModelCard, TargetScores, TokenLogProbs
from asr_headroom.models.quantization import count_parameters, precision
from asr_headroom.models.sampling import (
    draw_tokens,
    head_logits,
    hidden_log_probs,
    no_log_probs,
    restricted_log_probs,
    scatter_log_probs,
    scored_ids,
)
from asr_headroom.models.search import distinct_texts, hypothesis_of
from asr_headroom.models.stepwise import beam_tokens, greedy_tokens

__all__ = ["AudioLanguageModel"]

_IGNORED = -100
_FREE = LoopGuard(max_period=0)
_PLAIN = SamplingOptions()


class AudioLanguageModel(abc.ABC):
    """One checkpoint behind all three protocols; a family overrides the abstract methods.

    Args:
        module: the library's model, or a PEFT model around it.
        processor: feature settings, tokenizer and chat template.
        model_id: what it is called in results.
    """

    family: ClassVar[str]
    lora_targets: ClassVar[str]
    languages: ClassVar[tuple[str, ...]] = ()
    abilities: ClassVar[Abilities]
    licence: ClassVar[str | None] = None
    longest: ClassVar[float] = math.inf
    """Seconds of audio that checkpoints of the family are meant to take at once."""
    end_token: ClassVar[str | None] = None
    """Ends what the model writes, the tokenizer's by default; the generation config may name others that do so too."""

    def __init__(self, module: nn.Module, processor: Any, *, model_id: str) -> None:
        self.processor = processor
        self._bind(module)
        self._prompts: dict[Hashable, list[int]] = {}
        self._markup = Markup(processor.tokenizer)
        self.card = ModelCard(
            model_id=model_id,
            family=self.family,
            sampling_rate=self._extractor.sampling_rate,
            max_duration=self._max_duration(),
            languages=self.languages,
            parameters=count_parameters(module),
            lora_targets=self.lora_targets,
            abilities=self.abilities,
            licence=self.licence,
        )

    # ------------------------------------------------------------------ what a family brings

    @abc.abstractmethod
    def audio_tokens(self, num_samples: int) -> int:
        """How many embeddings a recording of this many samples becomes."""

    @abc.abstractmethod
    def features(self, samples: np.ndarray) -> torch.Tensor:
        """Features of one recording alone.

        Args:
            samples: [samples] float32.

        Returns:
            Float32, in the family's own form.
        """

    @abc.abstractmethod
    def audio_inputs(self, features: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """The features of several recordings as the encoder takes them, padded; names other than those of tokens."""

    @abc.abstractmethod
    def audio_embeddings(self, inputs: Mapping[str, torch.Tensor], counts: Sequence[int]) -> list[torch.Tensor]:
        """Each recording's embeddings, [counts[row], hidden], from what :meth:`audio_inputs` made."""

    @abc.abstractmethod
    def prompt_text(self, language: str | None) -> str:
        """What the model is asked, with the audio token where the recording stands.

        Raises:
            ModelError: the language is unknown.
        """

    def prompt_template(self, language: str | None) -> list[int]:
        """Token ids of the prompt, with one audio token where the recording's embeddings are to stand.

        Raises:
            ModelError: the language is unknown.
        """
        return self.processor.tokenizer(self.prompt_text(language), add_special_tokens=False).input_ids

    def target_text(self, text: str, language: str | None) -> str:
        """What the model shall write, without the end token."""
        return text.strip()

    def parse(self, text: str) -> str:
        """The transcript in what the model wrote, special tokens removed already."""
        return text

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[tokens, vocab] from [tokens, hidden]."""
        return head_logits(self.core.lm_head, hidden)

    # ------------------------------------------------------------------ batches

    def batch_key(self, utterance: Utterance) -> Hashable:
        """One for all: rows do not depend on their company."""
        return 0

    def decoding_state(self) -> dict[str, Any]:
        """Precision of the weights."""
        return {"dtype": precision(self.core)}

    def check_target(self, utterance: Utterance) -> str | None:
        """Why this utterance cannot be trained on, or None."""
        duration = utterance.measured_duration()
        if duration > self._seconds:
            return f"lasts {duration:.2f} s, beyond the model's {self._seconds:.0f} s"
        problem = self._markup.problem(utterance.text)
        if problem:
            return problem
        prompt = self._prompt_ids(utterance.language, round(duration * self.card.sampling_rate))
        tokens = len(prompt) + len(self._target_ids(utterance.text, utterance.language)) - 1
        return f"has {tokens} tokens, beyond the model's {self._positions}" if tokens > self._positions else None

    def collate(self, batch: Sequence[Utterance]) -> Batch:
        """Features, prompts with targets, and labels on the CPU.

        Returns:
            the family's features; ``input_ids`` [batch, tokens] int64: prompt and target, padded on the right;
            ``prompt_lengths`` [batch]; ``audio_lengths`` [batch] embeddings; ``labels`` [batch, tokens] int64, at each
            position the token that follows, -100 where nothing is supervised.

        Raises:
            DataError: a recording or a transcript is longer than the model allows.
            ModelError: a language is unknown.
        """
        waveforms = [self._samples(utterance) for utterance in batch]
        prompts = [self._prompt_ids(u.language, len(w)) for u, w in zip(batch, waveforms, strict=True)]
        targets = [self._target_ids(utterance.text, utterance.language) for utterance in batch]
        width = max(len(p) + len(t) - 1 for p, t in zip(prompts, targets, strict=True))
        if width > self._positions:
            longest = max(range(len(batch)), key=lambda i: len(prompts[i]) + len(targets[i]))
            raise DataError(f"utterance '{batch[longest].id}' {self.check_target(batch[longest])}; leave it out")
        ids = torch.full((len(batch), width), self.end_id)
        labels = torch.full((len(batch), width), _IGNORED)
        for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
            ids[row, : len(prompt) + len(target) - 1] = torch.tensor(prompt + target[:-1])
            labels[row, len(prompt) - 1 : len(prompt) + len(target) - 1] = torch.tensor(target)
        return Batch(
            inputs={
                **self._audio_inputs(waveforms),
                "input_ids": ids,
                "prompt_lengths": torch.tensor([len(prompt) for prompt in prompts]),
                "audio_lengths": torch.tensor([self.audio_tokens(len(waveform)) for waveform in waveforms]),
                "labels": labels,
            },
            num_targets=sum(map(len, targets)),
            num_utterances=len(batch),
            audio_seconds=sum(map(len, waveforms)) / self.card.sampling_rate,
        )

    # ------------------------------------------------------------------ forward

    def loss(self, batch: Batch) -> LossSum:
        """Cross-entropy of the supervised tokens in nats, summed; logits exist at supervised positions only."""
        hidden, targets = self._target_states(batch)
        log_probs = hidden_log_probs(hidden, self.logits, targets, _PLAIN, vocab_size=self.vocab_size)
        return LossSum(-log_probs.sum(), batch.num_targets)

    def target_scores(self, batch: Batch) -> TargetScores:
        """Log-probabilities of all tokens at supervised positions."""
        hidden, targets = self._target_states(batch)
        log_probs = restricted_log_probs(self.logits(hidden), _PLAIN)
        nats = -log_probs.gather(-1, targets[:, None]).sum()
        return TargetScores(LossSum(nats, batch.num_targets), log_probs, targets)

    def _target_states(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The language model's output at supervised positions [targets, hidden], and the targets."""
        labels = batch.inputs["labels"]
        embeddings = self.embed(batch.inputs["input_ids"], batch.inputs["prompt_lengths"], self._audio(batch))
        hidden = self.language_model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        supervised = labels != _IGNORED
        return hidden[supervised], labels[supervised]

    @torch.inference_mode()
    def transcribe(self, batch: Sequence[Utterance], options: DecodingOptions = GREEDY) -> list[Hypothesis]:
        """One hypothesis per utterance, in order.

        Raises:
            DataError: a recording is longer than the model takes; it is never cut.
            ModelError: a language is unknown.
        """
        if not batch:
            return []
        waveforms = [self._samples(utterance) for utterance in batch]
        prompts = [
            tuple(self._prompt_ids(options.language or utterance.language, len(waveform)))
            for utterance, waveform in zip(batch, waveforms, strict=True)
        ]
        counts = [self.audio_tokens(len(waveform)) for waveform in waveforms]
        guard = options.loop_guard
        with evaluating(self.module):
            inputs = self._audio_inputs(waveforms)
            inputs = {name: tensor.to(self.core.device) for name, tensor in inputs.items()}
            audio = tuple(self.audio_embeddings(inputs, counts))
            encoded = AudioLlmEncoded(audio, tuple(prompts), tuple(range(len(prompts))))
            continuation = PromptContinuation(self, encoded, 1)
            limit = min(options.max_new_tokens, self._room(encoded))
            if options.beam_size == 1:
                found = greedy_tokens(
                    continuation.first_logits,
                    continuation,
                    end_ids=self._end_ids,
                    max_new_tokens=limit,
                    guard=guard,
                )
            else:
                lists = beam_tokens(
                    continuation.first_logits,
                    continuation,
                    end_ids=self._end_ids,
                    max_new_tokens=limit,
                    beam_size=options.beam_size,
                    by_mean=True,
                )
                found = [lists_of_row[0] for lists_of_row in lists]
        return [self._hypothesis(tokens, guard) for tokens in found]

    # ------------------------------------------------------------------ hypotheses of encoded audio

    def encode(self, batch: Batch) -> AudioLlmEncoded:
        """Audio and prompts of a collated batch; gradients flow through it where they are on."""
        lengths = batch.inputs["prompt_lengths"].tolist()
        rows = batch.inputs["input_ids"].tolist()
        prompts = tuple(tuple(row[:length]) for row, length in zip(rows, lengths, strict=True))
        return AudioLlmEncoded(tuple(self._audio(batch)), prompts, tuple(range(len(prompts))))

    @torch.no_grad()
    def sample(self, encoded: AudioLlmEncoded, options: SamplingOptions) -> list[list[Hypothesis]]:
        """``options.num_samples`` hypotheses per row, with dropout off."""
        if not len(encoded):
            return []
        with evaluating(self.module):
            continuation = PromptContinuation(self, encoded, options.num_samples)
            draws = draw_tokens(
                continuation.first_logits, continuation, options, end_id=self.end_id, limit=self._room(encoded)
            )
        hypotheses = [draw.hypothesis(self._text) for draw in draws]
        return [hypotheses[i : i + options.num_samples] for i in range(0, len(hypotheses), options.num_samples)]

    @torch.no_grad()
    def nbest(
        self, encoded: AudioLlmEncoded, beam_size: int, options: SamplingOptions, groups: BeamGroups = ONE_GROUP
    ) -> list[list[Hypothesis]]:
        """At most ``beam_size`` hypotheses of different text per row, by total log-probability."""
        if not len(encoded):
            return []
        with evaluating(self.module):
            continuation = PromptContinuation(self, encoded, 1)
            found = beam_tokens(
                continuation.first_logits,
                continuation,
                end_ids={self.end_id},  # others have no place in log_prob
                max_new_tokens=min(options.max_new_tokens, self._room(encoded)),
                beam_size=beam_size,
                returned=beam_size,
                groups=groups,
            )
        return [distinct_texts(self._hypothesis(tokens, _FREE) for tokens in lists) for lists in found]

    def log_prob(
        self,
        encoded: AudioLlmEncoded,
        hypotheses: Sequence[Hypothesis],
        options: SamplingOptions | Sequence[SamplingOptions],
    ) -> TokenLogProbs:
        """Log-probabilities of one hypothesis per row; each utterance's prompt and audio are read once.

        Raises:
            ShapeError: there are more or fewer hypotheses than rows.
            DataError: a hypothesis has more tokens than the model has positions.
        """
        if len(hypotheses) != len(encoded):
            raise ShapeError(f"{len(hypotheses)} hypotheses for {len(encoded)} rows; give one per row")
        if not hypotheses:
            return no_log_probs(encoded.audio[0])
        targets = scored_ids(hypotheses, self.end_id)
        lengths = [len(target) for target in targets]
        if max(lengths, default=0) > self._room(encoded):
            raise DataError(
                f"a hypothesis has {max(lengths)} tokens, beyond the {self._room(encoded)} that "
                f"'{self.card.model_id}' has positions for; sample with a smaller max_new_tokens"
            )
        return scatter_log_probs(score_rows(self, encoded, targets, options), lengths)

    # ------------------------------------------------------------------ wrapping and saving

    def with_module(self, wrap: Callable[[nn.Module], nn.Module]) -> Self:
        """The same family around ``wrap(module)``."""
        other = copy.copy(self)
        other._bind(wrap(self.module))
        return other

    def checkpoint_activations(self) -> None:
        """Layers are computed again in the backward pass; stays on."""
        self.core.activation_checkpointing_enable()

    def save_pretrained(self, directory: Path) -> None:
        """Writes what ``from_pretrained`` (PEFT's, for an adapter) and the processor read."""
        # Under the module's own names: for some families the library goes back to those of its older releases, under
        # which neither a resumed training nor the guard finds the tensors.
        names = {} if self.module is not self.core else {"save_original_format": False}
        self.module.save_pretrained(directory, **names)  # type: ignore[operator]
        self.processor.save_pretrained(directory)

    # ------------------------------------------------------------------ shared with the family

    @property
    def _extractor(self) -> Any:
        return self.processor.feature_extractor

    @property
    def _audio_id(self) -> int:
        return self.core.config.audio_token_id

    @property
    def end_id(self) -> int:
        """Token that ends what the model writes."""
        tokenizer = self.processor.tokenizer
        return tokenizer.convert_tokens_to_ids(self.end_token) if self.end_token else tokenizer.eos_token_id

    @property
    def _end_ids(self) -> frozenset[int]:
        stored = self.core.generation_config.eos_token_id
        more = stored if isinstance(stored, list | tuple) else [stored]
        return frozenset({self.end_id, *more} - {None})

    def _known_language(self, language: str, names: Mapping[str, Any]) -> str:
        """The code of a language that the model knows.

        Raises:
            ModelError: it does not; the message lists those that it does.
        """
        return told_language(language, names, f"{self.family} '{self.card.model_id}'")

    # ------------------------------------------------------------------ private

    def _bind(self, module: nn.Module) -> None:
        self.module = module
        # Any: transformers attaches half of what is used here at run time, where no type checker sees it.
        self.core: Any = base_module(module)
        self.language_model: Any = self.core.model.language_model
        freeze_batch_norm(module)

    def _max_duration(self) -> float:
        """Whole seconds: what the family is meant for, or what leaves a quarter of the positions for the text."""
        per_second = self.audio_tokens(60 * self._extractor.sampling_rate) / 60
        return float(min(self.longest, 0.75 * self._positions // per_second))

    @property
    def _seconds(self) -> float:
        assert self.card.max_duration is not None
        return self.card.max_duration

    @property
    def vocab_size(self) -> int:
        """Logits of one position."""
        return self.core.config.get_text_config().vocab_size

    @property
    def _positions(self) -> int:
        return self.core.config.get_text_config().max_position_embeddings

    def _room(self, encoded: AudioLlmEncoded) -> int:
        """Tokens after the prompt that the model has positions for."""
        return self._positions - max((len(encoded.prompts[i]) for i in encoded.utterances), default=0)

    def _audio_inputs(self, waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        with full_precision():
            return self.audio_inputs([self.features(waveform) for waveform in waveforms])

    def _audio(self, batch: Batch) -> list[torch.Tensor]:
        return self.audio_embeddings(batch.inputs, batch.inputs["audio_lengths"].tolist())

    def embed(self, ids: torch.Tensor, prompt_lengths: torch.Tensor, audio: Sequence[torch.Tensor]) -> torch.Tensor:
        """[rows, tokens, hidden]: embeddings of the tokens, the prompts' placeholders replaced by the rows' audio."""
        # Behind the prompt the audio token is a token like any other, which can be drawn.
        in_prompt = torch.arange(ids.shape[1], device=ids.device) < prompt_lengths[:, None]
        placeholder = (ids == self._audio_id) & in_prompt
        count = sum(map(len, audio))
        if int(placeholder.sum()) != count:
            raise ShapeError(f"{int(placeholder.sum())} audio tokens for {count} audio embeddings")
        # The placeholder of some checkpoints lies outside the embedding table.
        embeddings = self.core.get_input_embeddings()(ids.masked_fill(placeholder, 0))
        values = torch.cat(list(audio)).to(embeddings.dtype)
        return embeddings.masked_scatter(placeholder[..., None].expand_as(embeddings), values)

    def _prompt_ids(self, language: str | None, num_samples: int) -> list[int]:
        """Token ids of the prompt, the audio token repeated for each embedding."""
        if language not in self._prompts:
            ids = self.prompt_template(language)
            if ids.count(self._audio_id) != 1:
                raise ModelError(
                    f"{self.card.model_id}: the chat template puts the audio token into a prompt "
                    f"{ids.count(self._audio_id)} times instead of once; copy chat_template.jinja and the tokenizer's "
                    "files from the original checkpoint"
                )
            self._prompts[language] = ids
        ids = self._prompts[language]
        place = ids.index(self._audio_id)
        return ids[:place] + [self._audio_id] * self.audio_tokens(num_samples) + ids[place + 1 :]

    def _target_ids(self, text: str, language: str | None) -> list[int]:
        """Supervised tokens: what the model shall write, then the end token."""
        problem = self._markup.problem(text)
        if problem:
            raise DataError(f"the transcript '{text[:80]}' {problem}")
        ids = self.processor.tokenizer(self.target_text(text, language), add_special_tokens=False).input_ids
        return [*ids, self.end_id]

    def _samples(self, utterance: Utterance) -> np.ndarray:
        samples = utterance.samples(self.card.sampling_rate)
        seconds = len(samples) / self.card.sampling_rate
        if seconds > self._seconds:
            raise DataError(
                f"utterance '{utterance.id}' lasts {seconds:.2f} s, beyond the {self._seconds:.0f} s that "
                f"'{self.card.model_id}' hears at once; cut it or leave it out"
            )
        return samples

    def _text(self, tokens: list[int]) -> str:
        return self.parse(self.processor.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def _hypothesis(self, tokens: list[int], guard: LoopGuard) -> Hypothesis:
        if tokens and tokens[-1] in self._end_ids:
            tokens = [*tokens[:-1], self.end_id]
        return hypothesis_of(tokens, self.end_id, guard, self._text)
