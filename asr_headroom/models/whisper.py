"""Whisper and everything that shares its class: tiny to large-v3-turbo, distilled, English-only, fine-tuned.

Facts and quirks, all kept in this file:

* Prompt. Multilingual: ``<|startoftranscript|><|fr|><|transcribe|><|notimestamps|>``; English-only:
  ``<|startoftranscript|><|notimestamps|>``. The decoder is fed prompt + target and supervised on target +
  ``<|endoftext|>`` alone, so that the start token occurs once (a collator that leaves it in the labels doubles it).
* A target begins with a space in languages that put spaces between words, as Whisper's own output does.
* Window. Whisper pads every recording to 30 s. ``window="fit"`` runs the encoder over the whole seconds that hold the
  recording: the position table is sliced and no weight is touched. The window depends on the recording alone, never
  on its neighbours. Outputs differ a little from those of the full window, so the window stands in every result.
* The encoder is called layer by layer, because ``WhisperEncoder.forward`` refuses anything but 30 s.
* Searches leave out the tokens that the generation config suppresses; draws and scores do not, so that a sampled
  hypothesis has the probability that the loss gives it.

How hypotheses share their utterance's audio is in :mod:`asr_headroom.models.whisper_decoding`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from asr_headroom.audio.features import hide_spans, log_mel
from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import DataError, ModelError, ShapeError
from asr_headroom.models.checkpoints import base_module, load_adapter, load_pretrained, read_adapter_base
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
from asr_headroom.models.modes import evaluating
from asr_headroom.models.protocols import Abilities, Batch, LossSum, ModelCard, TargetScores, TokenLogProbs
from asr_headroom.models.quantization import Quantization, count_parameters, place, precision, quantized_options
from asr_headroom.models.sampling import (
    draw_tokens,
    head_logits,
    no_log_probs,
    restricted_log_probs,
    scatter_log_probs,
    scored_ids,
)
from asr_headroom.models.search import distinct_texts, hypothesis_of
from asr_headroom.models.stepwise import beam_tokens
from asr_headroom.models.whisper_decoding import WhisperContinuation, WhisperEncoded, score, search
from asr_headroom.models.whisper_encoder import Window, encode_features, pad_to_window, window_samples
from asr_headroom.text.languages import macro_language
from asr_headroom.text.units import UNSPACED_LANGUAGES

__all__ = ["Whisper", "load"]

_IGNORED = -100
_START_TOKEN = "<|startoftranscript|>"
_FREE = LoopGuard(max_period=0)


def load(
    model_id: str,
    *,
    window: Window = "full",
    dtype: str = "float32",
    device: str = "cpu",
    random_init: bool = False,
    seed: int = 0,
    quantization: Quantization = "none",
) -> Whisper:
    """Whisper from a hub id, a local folder, or a folder with a PEFT adapter.

    Args:
        model_id: hub id or path.
        window: ``full`` is the window the model was built for (30 s), ``fit`` the seconds that hold each recording.
        dtype: of the weights; training wants float32.
        device: where to put them; ``auto`` is the GPU where there is one. Training places them itself.
        random_init: keep architecture and tokenizer, draw new weights.
        seed: of the new weights.
        quantization: of the weights; see :mod:`asr_headroom.models.quantization`.

    Raises:
        ModelError: not found, not Whisper, or weights are missing, unexpected or damaged.
    """
    base_id = read_adapter_base(model_id)
    source = base_id or model_id
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    packing = quantized_options(quantization, dtype=dtype, device=device, random_init=random_init)
    processor = load_pretrained(WhisperProcessor.from_pretrained, source)
    if random_init:
        config = load_pretrained(WhisperConfig.from_pretrained, source)
        torch.manual_seed(seed)
        module = WhisperForConditionalGeneration(config).to(getattr(torch, dtype))
        module.generation_config = load_pretrained(GenerationConfig.from_pretrained, source)
    else:
        module = load_pretrained(
            WhisperForConditionalGeneration.from_pretrained,
            source,
            weights=True,
            dtype=getattr(torch, dtype),
            **packing,
        )
    if Path(source).is_dir():
        # An adapter stores this name as its base; a relative path would break from another working directory.
        module.name_or_path = str(Path(source).resolve())
    if base_id:
        module = load_adapter(module, model_id)
    return Whisper(place(module, device), processor, model_id=model_id, window=window)


class Whisper:
    """One Whisper checkpoint behind all three protocols.

    Args:
        module: the model, or a PEFT model around it.
        processor: feature settings and tokenizer.
        model_id: what it is called in results.
        window: see the module's docstring.

    Raises:
        ModelError: the generation config lacks what decoding needs.
    """

    def __init__(
        self, module: nn.Module, processor: WhisperProcessor, *, model_id: str, window: Window = "full"
    ) -> None:
        self.module = module
        self.processor = processor
        self.window: Window = window
        # Any: transformers attaches half of what is used here at run time, where no type checker sees it.
        self._core: Any = base_module(module)
        # Sinusoids, a buffer in the original; from_pretrained forgets that they are not to be trained.
        self._core.model.encoder.embed_positions.requires_grad_(False)
        features = processor.feature_extractor
        self._window_seconds: float = features.n_samples / features.sampling_rate
        self._mel_filters = torch.from_numpy(np.asarray(features.mel_filters)).float()
        self._language_ids = self._languages(model_id)
        self._markup = Markup(processor.tokenizer)
        self.card = ModelCard(
            model_id=model_id,
            family="whisper",
            sampling_rate=features.sampling_rate,
            max_duration=self._window_seconds,
            languages=tuple(self._language_ids) if self._multilingual else ("en",),
            parameters=count_parameters(module),
            lora_targets=("q_proj", "k_proj", "v_proj", "out_proj"),
            abilities=Abilities(
                batch_exact=window == "full",
                beam_search=True,
                can_sample=True,
                can_nbest=True,
                language_prompt=self._multilingual,
                free_language=not self._multilingual,
                spectrogram_spans=True,
            ),
        )
        positions = features.n_samples // features.hop_length // 2
        if positions != self._core.config.max_source_positions:
            raise ModelError(
                f"{model_id}: the feature settings give {positions} encoder positions but the model has "
                f"{self._core.config.max_source_positions}; processor and weights do not belong together"
            )

    # ------------------------------------------------------------------ prompts and targets

    def prompt_ids(self, language: str | None) -> list[int]:
        """Decoder input before the first target token.

        Raises:
            ModelError: a multilingual model is told no language, or one it does not know.
        """
        config = self._core.generation_config
        start = [config.decoder_start_token_id]
        if self._multilingual:
            start += [self._language_id(language), config.task_to_id["transcribe"]]
        return [*start, config.no_timestamps_token_id]

    def target_ids(self, text: str, language: str | None) -> list[int]:
        """Supervised tokens of a transcript: its text as Whisper writes it, then ``<|endoftext|>``.

        Raises:
            DataError: it spells a mark of the model.
        """
        text = text.strip()
        problem = self._markup.problem(text)
        if problem:
            raise DataError(f"the transcript '{text[:80]}' {problem}")
        if text and not (language and macro_language(language) in UNSPACED_LANGUAGES):
            text = " " + text
        return [*self.processor.tokenizer.encode(text, add_special_tokens=False), self._end_id]

    def check_target(self, utterance: Utterance) -> str | None:
        """Why this utterance cannot be trained on, or None."""
        duration = utterance.measured_duration()
        if duration > self._window_seconds:
            return f"lasts {duration:.2f} s, beyond the model's {self._window_seconds:.0f} s"
        problem = self._markup.problem(utterance.text)
        if problem:
            return problem
        language = utterance.language
        tokens = len(self.prompt_ids(language)) + len(self.target_ids(utterance.text, language))
        limit = self._core.config.max_target_positions
        # The end token is predicted but never fed, so the input is one token shorter than prompt and targets.
        return f"has {tokens - 1} decoder tokens, beyond the model's {limit}" if tokens - 1 > limit else None

    # ------------------------------------------------------------------ batches

    def batch_key(self, utterance: Utterance) -> Hashable:
        """The window in samples."""
        return self._window_samples(round(utterance.measured_duration() * self.card.sampling_rate))

    def decoding_state(self) -> dict[str, Any]:
        """Window and precision of the weights: both change outputs."""
        return {"window": self.window, "dtype": precision(self._core)}

    def collate(self, batch: Sequence[Utterance]) -> Batch:
        """Waveforms, decoder inputs and labels on the CPU.

        Returns:
            ``waveforms`` [batch, samples] float32, zero-padded to the window; ``decoder_input_ids`` [batch, tokens]
            int64, padded with the end token; ``labels`` [batch, tokens] int64, -100 where nothing is supervised.

        Raises:
            DataError: a recording or a transcript is longer than the model allows.
        """
        waveforms = [self._samples(utterance) for utterance in batch]
        prompts = [self.prompt_ids(utterance.language) for utterance in batch]
        targets = [self.target_ids(utterance.text, utterance.language) for utterance in batch]
        width = max(len(p) + len(t) - 1 for p, t in zip(prompts, targets, strict=True))
        if width > self._core.config.max_target_positions:
            longest = max(range(len(batch)), key=lambda i: len(prompts[i]) + len(targets[i]))
            raise DataError(f"utterance '{batch[longest].id}' {self.check_target(batch[longest])}; leave it out")
        inputs = torch.full((len(batch), width), self._end_id)
        labels = torch.full((len(batch), width), _IGNORED)
        for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
            inputs[row, : len(prompt) + len(target) - 1] = torch.tensor(prompt + target[:-1])
            labels[row, len(prompt) - 1 : len(prompt) + len(target) - 1] = torch.tensor(target)
        return Batch(
            inputs={"waveforms": self._pad(waveforms), "decoder_input_ids": inputs, "labels": labels},
            num_targets=sum(map(len, targets)),
            num_utterances=len(batch),
            audio_seconds=sum(map(len, waveforms)) / self.card.sampling_rate,
        )

    # ------------------------------------------------------------------ forward

    def loss(self, batch: Batch) -> LossSum:
        """Cross-entropy of the supervised tokens in nats, summed; logits exist at supervised positions only."""
        logits, targets = self._target_logits(batch)
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return LossSum(functional.cross_entropy(exact, targets, reduction="sum"), batch.num_targets)

    def target_scores(self, batch: Batch) -> TargetScores:
        """Log-probabilities of all tokens at supervised positions."""
        logits, targets = self._target_logits(batch)
        log_probs = restricted_log_probs(logits, SamplingOptions())
        nats = -log_probs.gather(-1, targets[:, None]).sum()
        return TargetScores(LossSum(nats, batch.num_targets), log_probs, targets)

    def _target_logits(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        labels = batch.inputs["labels"]
        encoded = self.encode_waveforms(batch.inputs["waveforms"], spans=batch.inputs)
        hidden = self._core.model.decoder(
            input_ids=batch.inputs["decoder_input_ids"], encoder_hidden_states=encoded, use_cache=False
        ).last_hidden_state
        supervised = labels != _IGNORED
        return head_logits(self._core.proj_out, hidden[supervised]), labels[supervised]

    def encode_waveforms(
        self, waveforms: torch.Tensor, *, spans: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Encoder output of zero-padded waveforms.

        Args:
            waveforms: [batch, samples] float32; ``samples`` a multiple of two hops and at most the full window.
            spans: what of the log-mels to hide, see :func:`asr_headroom.audio.features.hide_spans`.

        Returns:
            [batch, frames, hidden], one frame per two hops.
        """
        encoder = self._core.model.encoder
        features = self.processor.feature_extractor
        mel = log_mel(waveforms, self._mel_filters, n_fft=features.n_fft, hop_length=features.hop_length)
        rate = features.sampling_rate / features.hop_length
        return encode_features(encoder, hide_spans(mel, spans or {}, frames_per_second=rate))

    @torch.inference_mode()
    def transcribe(self, batch: Sequence[Utterance], options: DecodingOptions = GREEDY) -> list[Hypothesis]:
        """One hypothesis per utterance, in order.

        Raises:
            DataError: a recording is longer than the model's window; it is never cut.
            ModelError: the language is unknown to a multilingual model.
        """
        if not batch:
            return []
        waveforms = [self._samples(utterance) for utterance in batch]
        windows = [self._window_samples(len(waveform)) for waveform in waveforms]
        prompts = [self.prompt_ids(options.language or utterance.language) for utterance in batch]
        guard = options.loop_guard
        hypotheses: dict[int, Hypothesis] = {}
        with evaluating(self.module):
            for window in sorted(set(windows)):
                rows = [row for row, value in enumerate(windows) if value == window]
                states = self.encode_waveforms(self._pad([waveforms[row] for row in rows]).to(self._core.device))
                prompt = torch.tensor([prompts[row] for row in rows], device=states.device)
                found = search(self._core, states, prompt, options.beam_size, options.max_new_tokens, guard)
                for row, tokens in zip(rows, found, strict=True):
                    hypotheses[row] = hypothesis_of(tokens, self._end_id, guard, self._text)
        return [hypotheses[row] for row in range(len(batch))]

    # ------------------------------------------------------------------ hypotheses of encoded audio

    def encode(self, batch: Batch) -> WhisperEncoded:
        """Audio and prompts of a collated batch; gradients flow through it where they are on."""
        prompts = batch.inputs["decoder_input_ids"][:, : len(self.prompt_ids(self.card.languages[0]))].clone()
        states = self.encode_waveforms(batch.inputs["waveforms"])
        return WhisperEncoded(states, prompts, tuple(range(len(states))))

    @torch.no_grad()
    def sample(self, encoded: WhisperEncoded, options: SamplingOptions) -> list[list[Hypothesis]]:
        """``options.num_samples`` hypotheses per row, with dropout off."""
        if not len(encoded):
            return []
        with evaluating(self.module):
            continuation = WhisperContinuation(self._core, encoded, options.num_samples)
            draws = draw_tokens(
                continuation.first_logits,
                continuation,
                options,
                end_id=self._end_id,
                limit=self._room(encoded.prompts),
            )
        hypotheses = [draw.hypothesis(self._text) for draw in draws]
        return [hypotheses[i : i + options.num_samples] for i in range(0, len(hypotheses), options.num_samples)]

    @torch.no_grad()
    def nbest(
        self, encoded: WhisperEncoded, beam_size: int, options: SamplingOptions, groups: BeamGroups = ONE_GROUP
    ) -> list[list[Hypothesis]]:
        """At most ``beam_size`` hypotheses of different text per row, by total log-probability."""
        if not len(encoded):
            return []
        stored = self._core.generation_config
        with evaluating(self.module):
            continuation = WhisperContinuation(self._core, encoded, 1)
            found = beam_tokens(
                continuation.first_logits,
                continuation,
                end_ids={self._end_id},
                max_new_tokens=min(options.max_new_tokens, self._room(encoded.prompts)),
                beam_size=beam_size,
                returned=beam_size,
                groups=groups,
                banned=stored.suppress_tokens or (),
                banned_first=stored.begin_suppress_tokens or (),
            )
        return [
            distinct_texts(hypothesis_of(tokens, self._end_id, _FREE, self._text) for tokens in lists)
            for lists in found
        ]

    def log_prob(
        self,
        encoded: WhisperEncoded,
        hypotheses: Sequence[Hypothesis],
        options: SamplingOptions | Sequence[SamplingOptions],
    ) -> TokenLogProbs:
        """Log-probabilities of one hypothesis per row; each utterance's keys and values are computed once.

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
        if max(lengths, default=0) > self._room(encoded.prompts):
            raise DataError(
                f"a hypothesis has {max(lengths)} tokens, beyond the {self._room(encoded.prompts)} that "
                f"'{self.card.model_id}' has positions for; sample with a smaller max_new_tokens"
            )
        values = score(self._core, encoded, targets, options, padding_id=self._end_id)
        return scatter_log_probs(values, lengths)

    # ------------------------------------------------------------------ wrapping and saving

    def with_module(self, wrap: Callable[[nn.Module], nn.Module]) -> Self:
        """The same family around ``wrap(module)``."""
        return type(self)(wrap(self.module), self.processor, model_id=self.card.model_id, window=self.window)

    def checkpoint_activations(self) -> None:
        """Layers of encoder and decoder are computed again in the backward pass; stays on."""
        self._core.activation_checkpointing_enable()

    def save_pretrained(self, directory: Path) -> None:
        """Writes what ``from_pretrained`` (PEFT's, for an adapter) and ``WhisperProcessor`` read."""
        self.module.save_pretrained(directory)  # type: ignore[operator]
        self.processor.save_pretrained(directory)

    # ------------------------------------------------------------------ private

    @property
    def _multilingual(self) -> bool:
        return bool(getattr(self._core.generation_config, "is_multilingual", False))

    @property
    def _end_id(self) -> int:
        end = self._core.generation_config.eos_token_id
        return end[0] if isinstance(end, list) else end

    def _languages(self, model_id: str) -> dict[str, int]:
        config = self._core.generation_config
        if getattr(config, "no_timestamps_token_id", None) is None or config.decoder_start_token_id is None:
            raise ModelError(
                f"{model_id}: the generation config names no decoder_start_token_id or no_timestamps_token_id; copy "
                "generation_config.json from the checkpoint this one was made from"
            )
        # Without its files a tokenizer loads all the same, empty, and then decodes everything to nothing.
        start = self.processor.tokenizer.convert_ids_to_tokens(config.decoder_start_token_id)
        if start != _START_TOKEN:
            raise ModelError(
                f"{model_id}: token {config.decoder_start_token_id} starts decoding, but the tokenizer calls it "
                f"{start!r} and not {_START_TOKEN!r}; copy the tokenizer's files from the original checkpoint"
            )
        table = getattr(config, "lang_to_id", None) or {}
        if self._multilingual and not (table and getattr(config, "task_to_id", None)):
            raise ModelError(
                f"{model_id}: the generation config is multilingual but has no lang_to_id or task_to_id; copy "
                "generation_config.json from the checkpoint this one was made from"
            )
        return {token.strip("<|>"): id_ for token, id_ in table.items()}

    def _language_id(self, language: str | None) -> int:
        if language is None:
            raise ModelError(
                "this Whisper is multilingual and was told no language; "
                "put a language into the manifest or give --language"
            )
        return self._language_ids[told_language(language, self._language_ids, f"Whisper '{self.card.model_id}'")]

    def _samples(self, utterance: Utterance) -> np.ndarray:
        samples = utterance.samples(self.card.sampling_rate)
        limit = self.processor.feature_extractor.n_samples
        if len(samples) > limit:
            raise DataError(
                f"utterance '{utterance.id}' lasts {len(samples) / self.card.sampling_rate:.2f} s, beyond the "
                f"{self._window_seconds:.0f} s that '{self.card.model_id}' hears at once; cut it or leave it out"
            )
        return samples

    def _window_samples(self, samples: int) -> int:
        return window_samples(samples, self.window, self.processor.feature_extractor)

    def _pad(self, waveforms: Sequence[np.ndarray]) -> torch.Tensor:
        return pad_to_window(waveforms, self.window, self.processor.feature_extractor)

    def _text(self, tokens: list[int]) -> str:
        return self.processor.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _room(self, prompt: torch.Tensor) -> int:
        """Tokens after the prompt that the decoder has positions for."""
        return self._core.config.max_target_positions - prompt.shape[1]
