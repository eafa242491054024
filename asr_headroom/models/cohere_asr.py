"""Cohere Transcribe: a large FastConformer encoder with a small Transformer decoder, told the language in its prompt.

Facts and quirks, all kept in this file:

* Prompt. Ten fixed tokens with the language twice and punctuation on, the processor's own; the first is the word mark
  and not a start token. The library's ``generate`` puts another start token before it where the config names none.
* One language per call in the processor; here each row has its own.
* The feature extractor cuts recordings beyond 35 s in pieces and returns more rows than it was given. Longer ones are
  refused. Its dither is seeded by the length, so features repeat.
* The encoder's mask goes with its output; padding changes nothing. Batch norm is frozen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from transformers import CohereAsrForConditionalGeneration, CohereAsrProcessor
from transformers.models.cohere_asr.processing_cohere_asr import LANGUAGES

from asr_headroom.audio.features import hide_spans
from asr_headroom.models.fast_conformer import log_mels
from asr_headroom.models.parts import loader
from asr_headroom.models.protocols import Abilities
from asr_headroom.models.seq2seq import Seq2Seq

__all__ = ["CohereAsr", "load"]


class CohereAsr(Seq2Seq):
    """One Cohere Transcribe checkpoint."""

    family = "cohere-asr"
    abilities = Abilities(
        beam_search=True,
        batch_norm=True,
        language_prompt=True,
        can_sample=True,
        can_nbest=True,
        spectrogram_spans=True,
    )

    def prompt_ids(self, language: str | None) -> list[int]:
        """The processor's prompt for ``language``, with punctuation."""
        return self.processor.get_decoder_prompt_ids(language=self._known(language))

    def _languages(self) -> Sequence[str]:
        vocabulary = self.processor.tokenizer.get_vocab()
        return sorted(code for code in LANGUAGES if f"<|{code}|>" in vocabulary)

    def _max_duration(self) -> float:
        return float(self.processor.feature_extractor.max_audio_clip_s)

    def _features(self, waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        return log_mels(self.processor.feature_extractor, waveforms)

    def _encode(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        extractor = self.processor.feature_extractor
        rate = extractor.sampling_rate / extractor.hop_length
        features = hide_spans(inputs["input_features"], inputs, frames_per_second=rate, frames_first=True)
        output = self._core.model.encoder(features.to(self._core.dtype), attention_mask=inputs["attention_mask"])
        return output.last_hidden_state, output.attention_mask.bool()


load = loader(CohereAsr, {"cohere_asr": CohereAsrForConditionalGeneration}, CohereAsrProcessor)
"""Cohere Transcribe from a hub id, a local folder, or a folder with a PEFT adapter (see ``parts.load_parts``)."""
