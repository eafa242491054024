"""Parakeet with a transducer: TDT (token and duration) and RNN-T.

Facts and quirks, all kept in this file:

* No prompt: the language is not told. Multilingual checkpoints (tdt-0.6b-v3) hear which it is.
* The probability of a transcript is the sum over its alignments, in one column. The loss is minus that, computed here
  (:mod:`asr_headroom.models.transducer_lattice`): transformers' RNN-T loss needs torchaudio, and its TDT loss keeps
  the whole lattice for each step. Its own labels are padded with the pad token (TDT) or the blank (RNN-T), and counting
  the wrong one is silent; here labels are padded with -100 and nothing is counted by value.
* Search is greedy, from encoded audio (:mod:`asr_headroom.models.transducer_decoding`). Hypotheses of ``transcribe``
  have one segment per word, a frame (80 ms) fine.
* The tokenizer is one for CTC, which drops repeated tokens unless it is told not to.
* Batch norm is frozen. Padding changes nothing: features and encoder are masked throughout.
* Low-rank updates attach to the encoder's attention and to the matrices between encoder, prediction and vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from transformers import ParakeetForRNNT, ParakeetForTDT, ParakeetProcessor

from asr_headroom.audio.features import hide_spans
from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import DataError, ModelError, ShapeError
from asr_headroom.models.checkpoints import base_module
from asr_headroom.models.decoding import (
    GREEDY,
    ONE_GROUP,
    BeamGroups,
    DecodingOptions,
    Hypothesis,
    SamplingOptions,
    Segment,
)
from asr_headroom.models.fast_conformer import frame_seconds, log_mels
from asr_headroom.models.markup import Markup
from asr_headroom.models.modes import evaluating, freeze_batch_norm, switch_off_layer_drop
from asr_headroom.models.parts import load_parts
from asr_headroom.models.protocols import Abilities, Batch, LossSum, ModelCard, TokenLogProbs
from asr_headroom.models.quantization import count_parameters, precision
from asr_headroom.models.sampling import head_logits, no_log_probs
from asr_headroom.models.transducer_decoding import Transducer, TransducerEncoded, Walk, draw_walks, greedy_walks
from asr_headroom.models.transducer_lattice import Steps, joint_arcs, sequence_log_probs

__all__ = ["ABILITIES", "ParakeetTransducer", "load"]

ABILITIES = Abilities(
    batch_norm=True, timestamps=True, free_language=True, can_sample=True, tokenwise=False, spectrogram_spans=True
)

_IGNORED = -100
_WORD_START = "▁"
_PLAIN = SamplingOptions()


def load(
    model_id: str, *, dtype: str = "float32", device: str = "cpu", random_init: bool = False, seed: int = 0
) -> ParakeetTransducer:
    """Parakeet TDT or RNN-T from a hub id, a local folder, or a folder with a PEFT adapter.

    Args:
        model_id: hub id or path.
        dtype: of the weights; training wants float32.
        device: where to put them; ``auto`` is the GPU where there is one. Training places them itself.
        random_init: keep architecture and tokenizer, draw new weights.
        seed: of the new weights.

    Raises:
        ModelError: not found, another family, or weights are missing, unexpected or damaged.
    """
    classes = {"parakeet_tdt": ParakeetForTDT, "parakeet_rnnt": ParakeetForRNNT}
    module, processor = load_parts(
        model_id, classes, ParakeetProcessor, dtype=dtype, device=device, random_init=random_init, seed=seed
    )
    return ParakeetTransducer(module, processor, model_id=model_id)


class ParakeetTransducer:
    """One Parakeet TDT or RNN-T checkpoint behind all three protocols.

    Args:
        module: a ``ParakeetForTDT`` or ``ParakeetForRNNT``, or a PEFT model around it.
        processor: feature settings and tokenizer.
        model_id: what it is called in results.

    Raises:
        ModelError: tokenizer and model do not belong together, or the durations lack 0 or 1.
    """

    def __init__(self, module: nn.Module, processor: ParakeetProcessor, *, model_id: str) -> None:
        self.module = module
        self.processor = processor
        # Any: transformers attaches half of what is used here at run time, where no type checker sees it.
        self._core: Any = base_module(module)
        freeze_batch_norm(module)
        switch_off_layer_drop(module)
        config = self._core.config
        durations = tuple(getattr(config, "durations", ()))
        self._model = Transducer(self._core, config.vocab_size, config.blank_token_id, durations)
        self._steps = Steps(
            blank=tuple(frames for frames in durations if frames) or (1,),
            label=durations or (0,),
        )
        self._check(model_id)
        self._markup = Markup(processor.tokenizer)
        self._frame_seconds = frame_seconds(processor.feature_extractor, config.encoder_config)
        self.card = ModelCard(
            model_id=model_id,
            family="parakeet-tdt" if durations else "parakeet-rnnt",
            sampling_rate=processor.feature_extractor.sampling_rate,
            max_duration=None,
            languages=(),
            parameters=count_parameters(module),
            lora_targets=(
                *("q_proj", "k_proj", "v_proj", "o_proj"),
                *("encoder_projector", "decoder_projector", "joint.head"),
            ),
            abilities=ABILITIES,
        )

    # ------------------------------------------------------------------ targets and batches

    def target_ids(self, text: str) -> list[int]:
        """Supervised tokens of a transcript.

        Raises:
            DataError: it spells a mark of the model.
        """
        problem = self._markup.problem(text)
        if problem:
            raise DataError(f"the transcript '{text[:80]}' {problem}")
        return self.processor.tokenizer.encode(text.strip(), add_special_tokens=False)

    def check_target(self, utterance: Utterance) -> str | None:
        """Why this utterance cannot be trained on, or None."""
        problem = self._markup.problem(utterance.text)
        if problem:
            return problem
        if self.processor.tokenizer.unk_token_id in self.target_ids(utterance.text):
            return "has characters that the model's vocabulary cannot write"
        return None

    def batch_key(self, utterance: Utterance) -> Hashable:
        """All may share a batch."""
        return None

    def decoding_state(self) -> dict[str, Any]:
        """Precision of the weights, and tokens after which greedy search leaves a frame."""
        return {"dtype": precision(self._core), "max_symbols": self._max_symbols}

    def collate(self, batch: Sequence[Utterance]) -> Batch:
        """Log-mels and labels on the CPU.

        Returns:
            ``input_features`` [batch, frames, mels] float32; ``attention_mask`` [batch, frames] bool; ``labels``
            [batch, tokens] int64, -100 where nothing is supervised.
        """
        waveforms = self._waveforms(batch)
        targets = [self.target_ids(utterance.text) for utterance in batch]
        labels = torch.full((len(batch), max(map(len, targets))), _IGNORED)
        for row, target in enumerate(targets):
            labels[row, : len(target)] = torch.tensor(target, dtype=torch.long)
        return Batch(
            inputs={**log_mels(self.processor.feature_extractor, waveforms), "labels": labels},
            num_targets=sum(map(len, targets)),
            num_utterances=len(batch),
            audio_seconds=sum(map(len, waveforms)) / self.card.sampling_rate,
        )

    # ------------------------------------------------------------------ forward

    def loss(self, batch: Batch) -> LossSum:
        """Minus the log-probability of the labels over all alignments, in nats, summed."""
        labels = batch.inputs["labels"]
        real = labels != _IGNORED
        values = self._score(
            self.encode(batch), labels.clamp(min=0), real.sum(dim=1), torch.zeros_like(real[:, :1]).any(1), _PLAIN
        )
        return LossSum(-values.sum(), batch.num_targets)

    @torch.inference_mode()
    def transcribe(self, batch: Sequence[Utterance], options: DecodingOptions = GREEDY) -> list[Hypothesis]:
        """One hypothesis per utterance, in order; the language, if one is told, plays no part.

        Raises:
            ModelError: a beam is asked for.
        """
        if not batch:
            return []
        if options.beam_size > 1:
            raise ModelError(
                f"'{self.card.model_id}' ({self.card.family}) has no beam search here; use beam_size 1, which is greedy"
            )
        inputs = log_mels(self.processor.feature_extractor, self._waveforms(batch))
        guard = options.loop_guard
        with evaluating(self.module):
            walks = greedy_walks(
                self._model,
                self._encode({name: tensor.to(self._core.device) for name, tensor in inputs.items()}),
                max_new_tokens=options.max_new_tokens,
                max_symbols=self._max_symbols,
                guard=guard,
            )
        return [self._hypothesis(walk, options) for walk in walks]

    # ------------------------------------------------------------------ hypotheses of encoded audio

    def encode(self, batch: Batch) -> TransducerEncoded:
        """Audio of a collated batch; gradients flow through it where they are on."""
        return self._encode(batch.inputs)

    @torch.no_grad()
    def sample(self, encoded: TransducerEncoded, options: SamplingOptions) -> list[list[Hypothesis]]:
        """``options.num_samples`` hypotheses per row, with dropout off.

        Paths are drawn; the one log-probability that a hypothesis keeps is that of its tokens over all their paths, as
        :meth:`log_prob` gives it. A truncated one has the probability that its tokens are written first.
        """
        if not len(encoded):
            return []
        count = options.num_samples
        with evaluating(self.module):
            drawn = [
                Hypothesis(text=self._text(walk.tokens), token_ids=tuple(walk.tokens), truncated=not walk.ended)
                for walk in draw_walks(self._model, encoded, options)
            ]
            rows = [row for row in range(len(encoded)) for _ in range(count)]
            values = self.log_prob(encoded.select(rows), drawn, options).values[:, 0].tolist()
        scored = [
            Hypothesis(
                text=hypothesis.text,
                token_ids=hypothesis.token_ids,
                token_log_probs=(value,),
                truncated=hypothesis.truncated,
            )
            for hypothesis, value in zip(drawn, values, strict=True)
        ]
        return [scored[i : i + count] for i in range(0, len(scored), count)]

    def nbest(
        self, encoded: TransducerEncoded, beam_size: int, options: SamplingOptions, groups: BeamGroups = ONE_GROUP
    ) -> list[list[Hypothesis]]:
        """Refused: search is greedy.

        Raises:
            ModelError: always.
        """
        raise ModelError(f"{self.card.family} finds no lists of hypotheses (no beam search); draw samples instead")

    def log_prob(
        self, encoded: TransducerEncoded, hypotheses: Sequence[Hypothesis], options: SamplingOptions
    ) -> TokenLogProbs:
        """[rows, 1] log-probability of each hypothesis's tokens over all alignments.

        Temperature, top-k and top-p act on the tokens and on the durations of each node.

        Raises:
            ShapeError: there are more or fewer hypotheses than rows.
        """
        if len(hypotheses) != len(encoded):
            raise ShapeError(f"{len(hypotheses)} hypotheses for {len(encoded)} rows; give one per row")
        if not hypotheses:
            return no_log_probs(encoded.frames, columns=1)
        device = encoded.frames.device
        counts = torch.tensor([len(hypothesis.token_ids) for hypothesis in hypotheses], device=device)
        labels = torch.zeros(len(hypotheses), int(counts.max()), dtype=torch.long, device=device)
        for row, hypothesis in enumerate(hypotheses):
            labels[row, : len(hypothesis.token_ids)] = torch.tensor(hypothesis.token_ids, dtype=torch.long)
        truncated = torch.tensor([hypothesis.truncated for hypothesis in hypotheses], device=device)
        values = self._score(encoded, labels, counts, truncated, options)[:, None]
        return TokenLogProbs(values, torch.ones_like(values, dtype=torch.bool))

    # ------------------------------------------------------------------ wrapping and saving

    def with_module(self, wrap: Callable[[nn.Module], nn.Module]) -> Self:
        """The same family around ``wrap(module)``."""
        return type(self)(wrap(self.module), self.processor, model_id=self.card.model_id)

    def checkpoint_activations(self) -> None:
        """Encoder layers are computed again in the backward pass; stays on."""
        self._core.activation_checkpointing_enable()

    def save_pretrained(self, directory: Path) -> None:
        """Writes what ``from_pretrained`` (PEFT's, for an adapter) and ``ParakeetProcessor`` read."""
        self.module.save_pretrained(directory)  # type: ignore[operator]
        self.processor.save_pretrained(directory)

    # ------------------------------------------------------------------ private

    @property
    def _max_symbols(self) -> int:
        return self._core.config.max_symbols_per_step

    def _check(self, model_id: str) -> None:
        config, tokenizer = self._core.config, self.processor.tokenizer
        if len(tokenizer) > config.vocab_size or tokenizer.convert_ids_to_tokens(config.blank_token_id) is None:
            raise ModelError(
                f"{model_id}: the tokenizer has {len(tokenizer)} tokens and the model {config.vocab_size} with blank "
                f"{config.blank_token_id}; copy the tokenizer's files from the original checkpoint"
            )
        if self._model.durations and not {0, 1} <= set(self._model.durations):
            raise ModelError(
                f"{model_id}: its durations {self._model.durations} lack 0 or 1, which decoding here needs"
            )

    def _waveforms(self, batch: Sequence[Utterance]) -> list[np.ndarray]:
        return [utterance.samples(self.card.sampling_rate) for utterance in batch]

    def _encode(self, inputs: dict[str, torch.Tensor]) -> TransducerEncoded:
        extractor = self.processor.feature_extractor
        output = self._core.get_audio_features(
            input_features=hide_spans(
                inputs["input_features"].to(self._core.dtype),
                inputs,
                frames_per_second=extractor.sampling_rate / extractor.hop_length,
                frames_first=True,
            ),
            attention_mask=inputs["attention_mask"],
        )
        lengths = output.attention_mask.sum(dim=1)
        return TransducerEncoded(output.pooler_output, lengths, tuple(range(len(lengths))))

    def _score(
        self,
        encoded: TransducerEncoded,
        labels: torch.Tensor,
        counts: torch.Tensor,
        truncated: torch.Tensor,
        options: SamplingOptions,
    ) -> torch.Tensor:
        """[rows] float32 (float64 in a float64 model) log-probabilities of padded labels."""
        rows = torch.tensor(encoded.utterances, dtype=torch.long, device=labels.device)
        core, model = self._core, self._model
        start = labels.new_full((len(labels), 1), model.blank_id)
        arcs = joint_arcs(
            lambda total: head_logits(core.joint.head, core.joint.activation(total)),
            encoded.frames[rows],
            core.decoder(torch.cat([start, labels], dim=1)),
            labels,
            options,
            vocab_size=model.vocab_size,
            blank_id=model.blank_id,
            durations=model.durations,
        )
        values = sequence_log_probs(arcs, self._steps, encoded.lengths[rows], counts, truncated)
        return values.to(torch.promote_types(encoded.frames.dtype, torch.float32))

    def _hypothesis(self, walk: Walk, options: DecodingOptions) -> Hypothesis:
        tokens, guard = walk.tokens, options.loop_guard
        period = guard.period(tokens) if guard.max_period else None
        if period is not None:
            tokens = guard.cut(tokens, period)
        return Hypothesis(
            text=self._text(tokens),
            token_ids=tuple(tokens),
            truncated=not walk.ended and period is None,
            looped=period is not None,
            segments=self._words(walk, len(tokens)),
        )

    def _words(self, walk: Walk, count: int) -> tuple[Segment, ...]:
        """One segment per word of the first ``count`` tokens; none begins before the one before it ends."""
        pieces = self.processor.tokenizer.convert_ids_to_tokens(walk.tokens[:count])
        starts = [i for i, piece in enumerate(pieces) if i == 0 or piece.startswith(_WORD_START)]
        segments = []
        for first, after in pairwise([*starts, count]):
            text = self._text(walk.tokens[first:after])
            end = walk.frames[after - 1] + walk.spans[after - 1]
            if after < count:
                end = min(end, walk.frames[after])
            if text:
                segments.append(Segment(walk.frames[first] * self._frame_seconds, end * self._frame_seconds, text))
        return tuple(segments)

    def _text(self, tokens: Sequence[int]) -> str:
        return self.processor.tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False, group_tokens=False
        ).strip()
