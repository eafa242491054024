"""Pretraining of the micro Whisper on endless synthetic speech: no utterance is ever met twice.

This is not :mod:`asr_headroom.train.loop`: it needs the synthesiser's own alignments. Attention alone takes
very long to discover that text runs along audio, so two helper losses are added and then annealed away: the
phoneme of each encoder frame, and the share of the last decoder layer's cross-attention that falls near the
token's true place. What remains is plain Whisper training. A run can be killed at any time; started again,
it goes on from its last checkpoint and ends with the same bits. Start with :func:`pretrain`.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import WhisperProcessor

from asr_headroom.config import fingerprint, to_mapping
from asr_headroom.errors import DataError
from asr_headroom.lab.lexicon import LANGUAGES
from asr_headroom.lab.measure import by_voice, count_sentences
from asr_headroom.lab.model import (
    build_feature_extractor,
    build_model,
    build_tokenizer,
    save_checkpoint,
    target_text,
)
from asr_headroom.lab.settings import FRAME_SECONDS, HOP_SAMPLES, PretrainConfig
from asr_headroom.lab.speech import SpokenSentence
from asr_headroom.lab.stream import POOL_BATCHES, bucket, held_out, pools, window_frames
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.whisper import Whisper
from asr_headroom.provenance import collect_provenance

__all__ = ["PretrainConfig", "pretrain"]

logger = logging.getLogger(__name__)

_MAX_PHONEMES = 160
_IGNORED = -100


def pretrain(config: PretrainConfig, output: Path, *, clock: Callable[[], float] = time.process_time) -> Path:
    """Trains the base, or finishes a run that was interrupted.

    Args:
        config: equal configs give equal weights on the same machine, with one torch thread.
        output: for ``model/`` (16-bit weights, as shipped), ``curve.json`` and ``checkpoint.pt``.
        clock: seconds of compute so far.

    Returns:
        The folder ``model/``.

    Raises:
        DataError: ``output`` holds a run of another config.
        MissingDependencyError: ``espeakng-loader`` is not installed.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order would give other weights
    try:
        run = _Run(config, output, clock)
        run.train()
        return run.finish()
    finally:
        torch.set_num_threads(threads)


class _Run:
    """The state of one pretraining."""

    def __init__(self, config: PretrainConfig, output: Path, clock: Callable[[], float]) -> None:
        self.config = config
        self.output = output
        output.mkdir(parents=True, exist_ok=True)  # fail now, not after the first thousand steps
        self.clock = clock
        torch.manual_seed(config.seed)
        self.tokenizer = build_tokenizer()
        self.model = build_model(self.tokenizer)
        self.model.set_attn_implementation("eager")  # the only one that returns attention weights
        self.whisper = Whisper(
            self.model,
            WhisperProcessor(build_feature_extractor(), self.tokenizer),
            model_id="asr-headroom lab",
        )
        self.phoneme_head = nn.Linear(self.model.config.d_model, _MAX_PHONEMES)
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.weights += list(self.phoneme_head.parameters())
        self.optimizer = torch.optim.AdamW(
            self.weights,
            lr=config.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.phonemes: dict[str, int] = {"": 0}
        self.curve: list[dict[str, Any]] = []
        self.step = 0
        self.spent = 0.0
        self.losses = [0.0, 0.0, 0.0]  # summed since the last point of the curve
        self._resume()

    # ------------------------------------------------------------------ training

    def train(self) -> None:
        config = self.config
        started = self.clock() - self.spent
        with closing(pools(config, self.step // POOL_BATCHES)) as stream:
            while self.step < config.steps:
                pool = self.step // POOL_BATCHES
                batches = bucket(next(stream), config, pool)
                for batch in batches[self.step % POOL_BATCHES : config.steps - pool * POOL_BATCHES]:
                    self.losses = [total + loss for total, loss in zip(self.losses, self._update(batch), strict=True)]
                    self.step += 1
                    self.spent = self.clock() - started
                    if self.step % config.dev_every == 0 or self.step == config.steps:
                        self._record()
                        started = self.clock() - self.spent  # measuring is not training
                    if self.step % config.checkpoint_every == 0 or self.step == config.steps:
                        self._save_state()

    def _update(self, sentences: Sequence[SpokenSentence]) -> tuple[float, float, float]:
        """One optimiser step; the losses of text, phonemes and attention in nats."""
        progress = self.step / self.config.steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * _learning_rate_factor(progress)
        self.model.train()
        losses = self._losses(self._collate(sentences), helpers=_remaining_help(progress, self.config.anneal))
        total = losses[0] + losses[1] + losses[2]
        self.optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        return losses[0].item(), losses[1].item(), losses[2].item()

    def _losses(self, batch: _AlignedBatch, helpers: float) -> list[torch.Tensor]:
        """Mean text loss, then the two helper losses times their weights."""
        encoded = self.whisper.encode_waveforms(batch.waveforms)
        decoded = self.model.model.decoder(
            input_ids=batch.inputs,
            encoder_hidden_states=encoded,
            use_cache=False,
            output_attentions=helpers > 0,
        )
        supervised = batch.labels != _IGNORED
        logits = self.model.proj_out(decoded.last_hidden_state[supervised])
        losses = [functional.cross_entropy(logits, batch.labels[supervised])]
        if helpers == 0:
            return [*losses, torch.zeros(()), torch.zeros(())]
        phonemes = functional.cross_entropy(self.phoneme_head(encoded).flatten(0, 1), batch.phonemes.flatten())
        # Half of the heads of one layer are guided; the others stay free to look elsewhere.
        attention = decoded.cross_attentions[-1][:, :2].mean(1)
        guided = guided_attention_loss(attention[supervised], batch.places[supervised])
        return [
            *losses,
            self.config.phoneme_weight * helpers * phonemes,
            self.config.attention_weight * helpers * guided,
        ]

    def _collate(self, sentences: Sequence[SpokenSentence]) -> _AlignedBatch:
        frames = window_frames(sentences, self.config, self.step)
        waveforms = torch.zeros(len(sentences), frames * 2 * HOP_SAMPLES)
        for row, sentence in enumerate(sentences):
            waveforms[row, : len(sentence.samples)] = torch.from_numpy(sentence.samples.astype(np.float32) / 32768)
        prompts = [self.whisper.prompt_ids(sentence.language) for sentence in sentences]
        targets = [self.whisper.target_ids(sentence.text, sentence.language) for sentence in sentences]
        width = max(len(p) + len(t) - 1 for p, t in zip(prompts, targets, strict=True))
        end = targets[0][-1]
        inputs = torch.full((len(sentences), width), end)
        labels = torch.full((len(sentences), width), _IGNORED)
        places = torch.zeros(len(sentences), width)
        for row, (sentence, prompt, target) in enumerate(zip(sentences, prompts, targets, strict=True)):
            first, last = len(prompt) - 1, len(prompt) + len(target) - 1
            inputs[row, :last] = torch.tensor(prompt + target[:-1])
            labels[row, first:last] = torch.tensor(target)
            places[row, first:last] = torch.tensor(self._token_places(sentence))
        phonemes = torch.from_numpy(np.stack([self._frame_phonemes(sentence, frames) for sentence in sentences]))
        return _AlignedBatch(waveforms, inputs, labels, places, phonemes)

    def _token_places(self, sentence: SpokenSentence) -> list[float]:
        """Encoder frame at the middle of each token, from the word onsets; the end token's is the end."""
        text = target_text(sentence.text, sentence.language)
        shift = len(text) - len(sentence.text)
        offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        middles = [(start + end) / 2 - shift for start, end in offsets]
        words = [(event.position, event.onset) for event in sentence.events if event.kind == "word"]
        positions, onsets = zip(*words, (len(sentence.text), sentence.duration), strict=True)
        return [*(np.interp(middles, positions, onsets) / FRAME_SECONDS), sentence.duration / FRAME_SECONDS]

    def _frame_phonemes(self, sentence: SpokenSentence, frames: int) -> np.ndarray:
        """[frames] int64: the phoneme sounding in the middle of each frame, 0 for silence."""
        events = [event for event in sentence.events if event.kind == "phoneme"]
        ids = np.array([0, *(self._phoneme_id(event.name) for event in events), 0])
        onsets = [event.onset for event in events]
        middles = (np.arange(frames) + 0.5) * FRAME_SECONDS
        return ids[np.searchsorted([*onsets, sentence.duration], middles, side="right")]

    def _phoneme_id(self, name: str) -> int:
        """Ids in the order of appearance, stress and length marks removed."""
        return self.phonemes.setdefault(name.strip("',-.:;|_%=#"), min(len(self.phonemes), _MAX_PHONEMES - 1))

    # ------------------------------------------------------------------ measuring, saving

    def _record(self) -> None:
        """Adds a point to the curve."""
        french = ErrorCounts.total(count_sentences(self.whisper, held_out("fr", "dev", self.config.dev_utterances)))
        mandarin = ErrorCounts.total(count_sentences(self.whisper, held_out("zh", "dev", self.config.dev_utterances)))
        steps = self.step - (self.curve[-1]["step"] if self.curve else 0)
        losses = [round(total / steps, 4) for total in self.losses]
        self.losses = [0.0, 0.0, 0.0]
        point = {
            "step": self.step,
            "utterances": self.step * self.config.batch_size,
            "cpu_seconds": round(self.spent, 1),
            "text_loss": losses[0],
            "weighted_phoneme_loss": losses[1],
            "weighted_attention_loss": losses[2],
            "fr_dev_wer": round(french.error_rate, 4),
            "zh_dev_cer": round(mandarin.error_rate, 4),
        }
        self.curve.append(point)
        logger.info(
            "step %d/%d  %.0f CPU-s  loss %.3f nats  fr dev WER %.2f %%  zh dev CER %.2f %%",
            self.step,
            self.config.steps,
            self.spent,
            losses[0],
            100 * french.error_rate,
            100 * mandarin.error_rate,
        )

    def _save_state(self) -> None:
        state = {
            "config": fingerprint(self._identity()),
            "step": self.step,
            "spent": self.spent,
            "curve": self.curve,
            "losses": self.losses,
            "phonemes": self.phonemes,
            "model": self.model.state_dict(),
            "phoneme_head": self.phoneme_head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        self.output.mkdir(parents=True, exist_ok=True)
        unfinished = self.output / "checkpoint.tmp"
        torch.save(state, unfinished)
        unfinished.replace(self.output / "checkpoint.pt")
        self._write_curve()

    def _resume(self) -> None:
        path = self.output / "checkpoint.pt"
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        if state["config"] != fingerprint(self._identity()):
            raise DataError(f"{path}: belongs to a run with another config; delete it or choose another output")
        self.model.load_state_dict(state["model"])
        self.phoneme_head.load_state_dict(state["phoneme_head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.spent, self.curve = state["step"], state["spent"], state["curve"]
        self.losses, self.phonemes = state["losses"], state["phonemes"]
        logger.info("resumed at step %d/%d", self.step, self.config.steps)

    def _identity(self) -> dict[str, Any]:
        """The config without what does not change the weights."""
        ignored = ("processes", "checkpoint_every", "test_utterances")
        return {name: value for name, value in to_mapping(self.config).items() if name not in ignored}

    def _write_curve(self, **results: Any) -> None:
        contents = {
            "config": to_mapping(self.config),
            "provenance": collect_provenance(),
            "parameters": sum(weight.numel() for weight in self.model.parameters()),
            **results,
            "curve": self.curve,
        }
        text = json.dumps(contents, indent=1, ensure_ascii=False) + "\n"
        (self.output / "curve.json").write_text(text, encoding="utf-8")

    def finish(self) -> Path:
        """Saves the shipped folder and measures it, as loaded from there, on the test split."""
        directory = self.output / "model"
        save_checkpoint(directory, self.model, self.tokenizer)
        shipped = {name: tensor.half().float() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(shipped)
        results = {}
        for language in LANGUAGES:
            sentences = held_out(language, "test", self.config.test_utterances)
            counts = count_sentences(self.whisper, sentences)
            total = ErrorCounts.total(counts)
            logger.info("%s test: error rate %.2f %% of %d", language, 100 * total.error_rate, total.reference_length)
            results[language] = {
                "utterances": len(counts),
                "error_rate": round(total.error_rate, 4),
                "by_voice": {voice: round(count.error_rate, 4) for voice, count in by_voice(sentences, counts).items()},
            }
        self._write_curve(test=results)
        return directory


class _AlignedBatch(NamedTuple):
    """[batch, samples], three [batch, tokens], [batch, frames]; labels are -100 where nothing is scored."""

    waveforms: torch.Tensor
    inputs: torch.Tensor
    labels: torch.Tensor
    places: torch.Tensor
    phonemes: torch.Tensor


def guided_attention_loss(attention: torch.Tensor, places: torch.Tensor, reach: float = 2.5) -> torch.Tensor:
    """Mean negative log of the attention that falls within ``reach`` frames of the true place.

    Args:
        attention: [tokens, frames], rows sum to 1.
        places: [tokens] true place in frames.
        reach: frames to either side.
    """
    frames = torch.arange(attention.shape[-1]) + 0.5
    near = (frames - places[:, None]).abs() <= reach
    return -((attention * near).sum(-1) + 1e-4).log().mean()


def _learning_rate_factor(progress: float) -> float:
    warmup = min(1.0, progress / 0.02)
    return warmup * max(0.02, 0.5 * (1 + math.cos(math.pi * max(0.0, progress - 0.3) / 0.7)))


def _remaining_help(progress: float, anneal: tuple[float, float]) -> float:
    start, end = anneal
    return min(1.0, max(0.0, (end - progress) / (end - start)))
