"""What every family with a CTC head shares: targets, loss, decoding, drawing, scoring, saving.

Graves et al. (2006). A frame says a token or the blank; a path is one choice per frame; a text has the probability of
all paths that collapse to it. What follows from that:

* The loss is minus the log-probability of the target's tokens, in float32, summed. Nothing is zeroed: a target that
  needs more frames than the audio has is refused by ``check_target``, by name.
* Hypotheses are drawn as paths, frame by frame, and collapsed. Their log-probability is that of the collapsed tokens
  over *all* their paths. Temperature, top-k and top-p act on each frame's logits, in drawing and in scoring alike;
  so a temperature sharpens frames, and the text's probability only through them.
* ``log_prob`` has one column. There is no end token, nothing is ever truncated, and ``max_new_tokens`` plays no part:
  the frames of the recording are the limit.
* The loop guard cuts repetitions that a hypothesis ends in; frames after a loop go on, so nothing is stopped.

A family subclasses :class:`CtcModel` and says how audio becomes logits.
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import DataError, ModelError, ShapeError
from asr_headroom.models.checkpoints import base_module
from asr_headroom.models.ctc_paths import ctc_nats, draw_paths, frames_needed, text_log_probs
from asr_headroom.models.ctc_search import collapse, prefix_beam_search
from asr_headroom.models.ctc_text import CtcText
from asr_headroom.models.decoding import (
    GREEDY,
    ONE_GROUP,
    BeamGroups,
    DecodingOptions,
    Hypothesis,
    LoopGuard,
    SamplingOptions,
)
from asr_headroom.models.modes import evaluating, freeze_batch_norm, full_precision, keep_head_exact
from asr_headroom.models.protocols import Abilities, Batch, LossSum, ModelCard, TargetScores, TokenLogProbs
from asr_headroom.models.quantization import count_parameters, precision
from asr_headroom.models.sampling import joined_padded, joined_rows, no_log_probs
from asr_headroom.models.vocabulary import Vocabulary

__all__ = ["CtcEncoded", "CtcModel"]

_IGNORED = -100
_TOKENS_PER_FRAME = 64
"""Of a large vocabulary, what a prefix search considers in one frame."""
_MIN_SECONDS = 0.2
"""Shorter recordings are padded with silence to it: convolutions need something to run over."""

M = TypeVar("M", bound="CtcModel")


@dataclass(frozen=True)
class CtcEncoded:
    """Frames of audio encoded once, and the rows that hypotheses are drawn or scored for.

    Attributes:
        logits: [utterances, frames, vocab] as the model gave them.
        frames: [utterances] int64, how many are real.
        rows: [rows] index of each row's audio.
    """

    logits: torch.Tensor
    frames: torch.Tensor
    rows: tuple[int, ...]

    def select(self, indices: Sequence[int]) -> CtcEncoded:
        """These rows, in this order; a row may be taken several times, its audio stays one."""
        return CtcEncoded(self.logits, self.frames, tuple(self.rows[index] for index in indices))

    def joined(self, others: Sequence[CtcEncoded]) -> CtcEncoded:
        """These rows, then those of the others."""
        parts = [self, *others]
        frames = torch.cat([p.frames for p in parts])
        rows = joined_rows([(p.rows, len(p.logits)) for p in parts])
        return CtcEncoded(joined_padded([p.logits for p in parts]), frames, rows)

    def __len__(self) -> int:
        return len(self.rows)


class CtcModel(abc.ABC):
    """One checkpoint with a CTC head behind all three protocols; families say how audio becomes logits.

    Args:
        module: the model, or a PEFT model around it.
        processor: feature settings and tokenizer.
        model_id: what it is called in results.
        family: in the registry.
        head: name of the head in the module.
        lora_targets: as PEFT reads them.
        vocabulary: of a head that was begun afresh; its normaliser is applied to every target.
        fresh_head: the head was just drawn, so it is trained whole beside low-rank updates and saved with them.
        max_duration: seconds that the model hears at once.
        batch_exact: see :class:`Abilities`.
        spectrogram_spans: likewise.
    """

    def __init__(
        self,
        module: nn.Module,
        processor: Any,
        *,
        model_id: str,
        family: str,
        head: str,
        lora_targets: str | tuple[str, ...],
        vocabulary: Vocabulary | None = None,
        fresh_head: bool = False,
        max_duration: float | None = None,
        batch_exact: bool = True,
        spectrogram_spans: bool = False,
    ) -> None:
        self.module = module
        self.processor = processor
        self.vocabulary = vocabulary
        # Any: transformers attaches half of what is used here at run time, where no type checker sees it.
        self._core: Any = base_module(module)
        keep_head_exact(self._core.get_submodule(head))
        self._blank_id: int = self._core.config.pad_token_id
        self._text = CtcText(
            processor.tokenizer, self._core.config.vocab_size, self._blank_id, vocabulary, model_id=model_id
        )
        self.card = ModelCard(
            model_id=model_id,
            family=family,
            sampling_rate=processor.feature_extractor.sampling_rate,
            max_duration=max_duration,
            languages=(),
            parameters=count_parameters(module, without=("lora_", "modules_to_save.")),
            lora_targets=lora_targets,
            modules_to_save=(head,) if fresh_head else (),
            abilities=Abilities(
                batch_exact=batch_exact,
                beam_search=True,
                batch_norm=freeze_batch_norm(module) > 0,
                free_language=True,
                can_sample=True,
                can_nbest=True,
                tokenwise=False,
                spectrogram_spans=spectrogram_spans,
            ),
        )

    # ------------------------------------------------------------------ what a family brings

    @abc.abstractmethod
    def features(self, waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Inputs of :meth:`logits`, padded, on the CPU.

        Args:
            waveforms: [samples] float32 each.
        """

    @abc.abstractmethod
    def logits(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """[rows, frames, vocab] of what :meth:`features` made, on the device of the model.

        ``inputs`` also holds ``frames`` [rows] int64, how many frames are real.
        """

    @abc.abstractmethod
    def frames_of(self, samples: int) -> int:
        """Frames that a recording of so many samples has."""

    def company(self, samples: int) -> Hashable:
        """Recordings share a batch if this is equal: any where that changes nothing, else those of one length."""
        return None if self.card.abilities.batch_exact else samples

    # ------------------------------------------------------------------ batches

    def check_target(self, utterance: Utterance) -> str | None:
        """Why this utterance cannot be trained on, or None."""
        duration, limit = utterance.measured_duration(), self.card.max_duration
        if limit is not None and duration > limit:
            return f"lasts {duration:.2f} s, beyond the model's {limit:g} s"
        strange = self._text.unwritable(utterance.text)
        if strange:
            return f"has {', '.join(map(repr, strange))}, which the model's vocabulary cannot write"
        return self._too_short(utterance.text, round(duration * self.card.sampling_rate))

    def batch_key(self, utterance: Utterance) -> Hashable:
        """See :meth:`company`."""
        return self.company(round(utterance.measured_duration() * self.card.sampling_rate))

    def decoding_state(self) -> dict[str, Any]:
        """Precision of the weights: it changes outputs."""
        return {"dtype": precision(self._core)}

    def collate(self, batch: Sequence[Utterance]) -> Batch:
        """Features and labels on the CPU.

        Returns:
            what :meth:`features` gives, ``frames`` [batch] int64, how many are real, and ``labels`` [batch, tokens]
            int64, -100 where nothing is supervised.

        Raises:
            DataError: a recording is too long for the model, or too short for its transcript.
        """
        waveforms = [self._samples(utterance) for utterance in batch]
        targets = [self._text.encode(utterance.text) for utterance in batch]
        for utterance, waveform in zip(batch, waveforms, strict=True):
            reason = self._too_short(utterance.text, len(waveform))
            if reason:
                raise DataError(f"utterance '{utterance.id}' {reason}; leave it out")
        labels = torch.full((len(batch), max(1, max(map(len, targets), default=0))), _IGNORED)
        for row, ids in enumerate(targets):
            labels[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        return Batch(
            inputs=self._padded_features(waveforms) | {"labels": labels},
            num_targets=sum(map(len, targets)),
            num_utterances=len(batch),
            audio_seconds=sum(map(len, waveforms)) / self.card.sampling_rate,
        )

    # ------------------------------------------------------------------ forward

    def loss(self, batch: Batch) -> LossSum:
        """Minus the log-probability of the targets in nats, summed."""
        return self._loss(batch, self._scores(self.logits(batch.inputs)).log_softmax(-1))

    def target_scores(self, batch: Batch) -> TargetScores:
        """Log-probabilities of all tokens and the blank at each real frame; a frame has no target of its own."""
        log_probs = self._scores(self.logits(batch.inputs)).log_softmax(-1)
        frames = torch.arange(log_probs.shape[1], device=log_probs.device)
        real = frames[None] < batch.inputs["frames"][:, None]
        return TargetScores(self._loss(batch, log_probs), log_probs[real], None)

    def _loss(self, batch: Batch, log_probs: torch.Tensor) -> LossSum:
        targets = [[token for token in row if token != _IGNORED] for row in batch.inputs["labels"].tolist()]
        nats = ctc_nats(log_probs, batch.inputs["frames"], targets, self._blank_id)
        return LossSum(nats.sum(), batch.num_targets)

    @torch.inference_mode()
    def transcribe(self, batch: Sequence[Utterance], options: DecodingOptions = GREEDY) -> list[Hypothesis]:
        """The text of the likeliest path, or with a beam the likeliest text that it holds; one per utterance.

        Raises:
            DataError: a recording is longer than the model hears at once; it is never cut.
        """
        if not batch:
            return []
        waveforms = [self._samples(utterance) for utterance in batch]
        # By what was read and not by what a manifest states: it may have been rounded.
        keys = [self.company(len(waveform)) for waveform in waveforms]
        hypotheses: dict[int, Hypothesis] = {}
        with evaluating(self.module):
            for key in dict.fromkeys(keys):
                rows = [row for row, value in enumerate(keys) if value == key]
                inputs = self._padded_features([waveforms[row] for row in rows])
                scores = self._scores(self.logits({name: t.to(self._core.device) for name, t in inputs.items()}))
                found = self._search(scores, inputs["frames"].tolist(), options.beam_size)
                hypotheses |= {
                    row: self._hypothesis(ids[0], options.loop_guard) for row, ids in zip(rows, found, strict=True)
                }
        return [hypotheses[row] for row in range(len(batch))]

    # ------------------------------------------------------------------ hypotheses of encoded audio

    def encode(self, batch: Batch) -> CtcEncoded:
        """Frames of a collated batch; gradients flow through them where they are on."""
        logits = self.logits(batch.inputs)
        return CtcEncoded(logits, batch.inputs["frames"].clone(), tuple(range(len(logits))))

    @torch.no_grad()
    def sample(self, encoded: CtcEncoded, options: SamplingOptions) -> list[list[Hypothesis]]:
        """``options.num_samples`` collapsed paths per row, each with the log-probability of its text.

        Dropout was in ``encode``, if the module was in training mode then; encode in evaluation mode to draw without.
        """
        if not len(encoded):
            return []
        index = list(encoded.rows)
        paths = draw_paths(encoded.logits[index], options)
        frames = encoded.frames[index].tolist()
        drawn = [
            collapse(path[:count], self._blank_id)
            for row, count in zip(paths.tolist(), frames, strict=True)
            for path in row
        ]
        rows = [row for row in index for _ in range(options.num_samples)]
        values = text_log_probs(encoded.logits, encoded.frames, rows, drawn, options, self._blank_id).tolist()
        found = [
            Hypothesis(text=self._text.decode(ids), token_ids=ids, token_log_probs=(value,))
            for ids, value in zip(drawn, values, strict=True)
        ]
        return [found[i : i + options.num_samples] for i in range(0, len(found), options.num_samples)]

    @torch.no_grad()
    def nbest(
        self, encoded: CtcEncoded, beam_size: int, options: SamplingOptions, groups: BeamGroups = ONE_GROUP
    ) -> list[list[Hypothesis]]:
        """At most ``beam_size`` hypotheses of different text per row, by total log-probability.

        Raises:
            ModelError: more than one group of beams is asked for.
        """
        if groups.count > 1:
            raise ModelError(
                f"'{self.card.model_id}' ({self.card.family}) has no diverse beam search: its beams walk over frames, "
                "and have no positions in the text at which groups could avoid each other; take nbest beam or sample"
            )
        if not len(encoded):
            return []
        rows = []
        searched = self._search(self._scores(encoded.logits), encoded.frames.tolist(), beam_size)
        for utterance in encoded.rows:
            ids = searched[utterance]
            # The beam loses paths; the ranking is by what all of them come to.
            exact = text_log_probs(
                encoded.logits, encoded.frames, [utterance] * len(ids), ids, SamplingOptions(), self._blank_id
            )
            ranked = [ids[i] for i in exact.argsort(descending=True, stable=True).tolist()]
            first: dict[str, Hypothesis] = {}
            for tokens in ranked:
                text = self._text.decode(tokens)
                first.setdefault(text, Hypothesis(text=text, token_ids=tokens))
            rows.append(list(first.values()))
        return rows

    def log_prob(
        self, encoded: CtcEncoded, hypotheses: Sequence[Hypothesis], options: SamplingOptions
    ) -> TokenLogProbs:
        """Log-probabilities of one hypothesis per row, over all its paths: one column.

        Raises:
            ShapeError: there are more or fewer hypotheses than rows.
            DataError: a hypothesis needs more frames than its recording has.
        """
        if len(hypotheses) != len(encoded):
            raise ShapeError(f"{len(hypotheses)} hypotheses for {len(encoded)} rows; give one per row")
        if not hypotheses:
            return no_log_probs(encoded.logits, columns=1)
        frames = encoded.frames.tolist()
        for row, hypothesis in zip(encoded.rows, hypotheses, strict=True):
            if frames_needed(hypothesis.token_ids) > frames[row]:
                raise DataError(
                    f"a hypothesis of {len(hypothesis.token_ids)} tokens needs {frames_needed(hypothesis.token_ids)} "
                    f"frames, beyond the {frames[row]} of its recording; score only what was drawn from it"
                )
        targets = [hypothesis.token_ids for hypothesis in hypotheses]
        values = text_log_probs(encoded.logits, encoded.frames, encoded.rows, targets, options, self._blank_id)
        return TokenLogProbs(values[:, None], torch.ones(len(values), 1, dtype=torch.bool, device=values.device))

    # ------------------------------------------------------------------ wrapping and saving

    def with_module(self: M, wrap: Callable[[nn.Module], nn.Module]) -> M:
        """The same family around ``wrap(module)``."""
        wrapped = copy.copy(self)
        wrapped.module = wrap(self.module)
        wrapped._core = base_module(wrapped.module)
        return wrapped

    def checkpoint_activations(self) -> None:
        """Layers of the encoder are computed again in the backward pass; stays on."""
        self._core.activation_checkpointing_enable()

    def save_pretrained(self, directory: Path) -> None:
        """Writes what ``from_pretrained`` (PEFT's, for an adapter) and the processor read, and a fresh vocabulary."""
        # PEFT would take a new number of characters for resized embeddings, and look for them.
        options = {"save_embedding_layers": False} if hasattr(self.module, "peft_config") else {}
        self.module.save_pretrained(directory, **options)  # type: ignore[operator]
        self.processor.save_pretrained(directory)
        if self.vocabulary:
            self.vocabulary.write(Path(directory), self.card.family)

    # ------------------------------------------------------------------ private

    def _samples(self, utterance: Utterance) -> np.ndarray:
        samples, limit = utterance.samples(self.card.sampling_rate), self.card.max_duration
        if limit is not None and len(samples) > round(limit * self.card.sampling_rate):
            raise DataError(
                f"utterance '{utterance.id}' lasts {len(samples) / self.card.sampling_rate:.2f} s, beyond the "
                f"{limit:g} s that '{self.card.model_id}' hears at once; cut it or leave it out"
            )
        return samples

    def _padded_features(self, waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        least = self._least_samples
        padded = [np.pad(waveform, (0, max(0, least - len(waveform)))) for waveform in waveforms]
        with full_precision():
            made = self.features(padded)
        return made | {"frames": torch.tensor([self.frames_of(len(waveform)) for waveform in padded])}

    @property
    def _least_samples(self) -> int:
        return round(_MIN_SECONDS * self.card.sampling_rate)

    def _too_short(self, text: str, samples: int) -> str | None:
        needed = frames_needed(self._text.encode(text))
        frames = self.frames_of(max(samples, self._least_samples))
        return f"needs {needed} frames for its transcript but has {frames}" if needed > frames else None

    def _scores(self, logits: torch.Tensor) -> torch.Tensor:
        return logits if logits.dtype == torch.float64 else logits.float()

    def _search(self, logits: torch.Tensor, frames: Sequence[int], beam_size: int) -> list[list[tuple[int, ...]]]:
        """Token ids of each row, the best first."""
        if beam_size == 1:
            paths = logits.argmax(dim=-1).tolist()
            return [[collapse(path[:count], self._blank_id)] for path, count in zip(paths, frames, strict=True)]
        log_probs = logits.log_softmax(-1).cpu().numpy()
        return [
            [
                prefix.token_ids
                for prefix in prefix_beam_search(
                    row[:count], beam_size, self._blank_id, tokens_per_frame=_TOKENS_PER_FRAME
                )
            ]
            for row, count in zip(log_probs, frames, strict=True)
        ]

    def _hypothesis(self, token_ids: Sequence[int], guard: LoopGuard) -> Hypothesis:
        period = guard.period(list(token_ids)) if guard.max_period else None
        if period is not None:
            token_ids = guard.cut(list(token_ids), period)
        return Hypothesis(text=self._text.decode(token_ids), token_ids=tuple(token_ids), looped=period is not None)
