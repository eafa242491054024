"""GLM-ASR-Nano: Whisper-like encoder with rotary positions, four frames to an embedding, Llama language model.

Facts and quirks, all kept in this file:

* Recordings are heard in windows of 30 s, each filled up with silence, whatever company they are in; longer ones in
  several. The library cuts what is beyond 655 s without an error; here it is refused.
* The language has no place in the prompt; the model writes what it hears.
* The library's ``strip_prefix`` also takes the full stop off the end of a transcript. It is not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from transformers import GlmAsrForConditionalGeneration, GlmAsrProcessor

from asr_headroom.models.audio_llm import AudioLanguageModel
from asr_headroom.models.parts import loader
from asr_headroom.models.protocols import Abilities

__all__ = ["GlmAsr", "load"]

_MERGED = 4
"""Encoder frames of 20 ms in one embedding."""


class GlmAsr(AudioLanguageModel):
    """One GLM-ASR checkpoint behind all three protocols."""

    family: ClassVar[str] = "glm-asr"
    lora_targets: ClassVar[str] = r"model\.(language_model|audio_tower)\..*\.(q_proj|k_proj|v_proj|o_proj)"
    languages: ClassVar[tuple[str, ...]] = ("zh", "yue", "en")
    abilities: ClassVar[Abilities] = Abilities(beam_search=True, free_language=True, can_sample=True, can_nbest=True)
    licence: ClassVar[str] = "mit"
    longest: ClassVar[float] = 655.0

    def audio_tokens(self, num_samples: int) -> int:
        """12.5 for each second; the frames of a window that do not fill an embedding are dropped."""
        window = self._extractor.n_samples
        full, rest = divmod(num_samples, window)
        return full * self._embeddings(window) + self._embeddings(rest)

    def features(self, samples: np.ndarray) -> torch.Tensor:
        """[windows, mels, frames] log-mels, each window filled up with silence."""
        window = self._extractor.n_samples
        parts = [samples[start : start + window] for start in range(0, max(1, len(samples)), window)]
        return self._extractor(parts, sampling_rate=self._extractor.sampling_rate, return_tensors="pt").input_features

    def audio_inputs(self, features: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """``input_features`` [windows, mels, frames] of all recordings, ``num_windows`` [batch]."""
        return {"input_features": torch.cat(list(features)), "num_windows": torch.tensor([len(f) for f in features])}

    def audio_embeddings(self, inputs: Mapping[str, torch.Tensor], counts: Sequence[int]) -> list[torch.Tensor]:
        """Each recording's embeddings, those of silence behind it left out."""
        hidden = self.core.model.audio_tower(inputs["input_features"].to(self.core.dtype)).last_hidden_state
        merged = hidden.reshape(len(hidden), -1, self.core.config.audio_config.intermediate_size)
        windows = self.core.model.multi_modal_projector(merged).split(inputs["num_windows"].tolist())
        # All windows but a recording's last are full, so its embeddings lie behind one another.
        return [of_one.flatten(0, 1)[:count] for of_one, count in zip(windows, counts, strict=True)]

    def prompt_text(self, language: str | None) -> str:
        """The chat template's prompt with the checkpoint's own request."""
        return self.processor.apply_transcription_request([np.zeros(1)], tokenize=False)[0]

    def _embeddings(self, num_samples: int) -> int:
        frames = -(-num_samples // self._extractor.hop_length)
        return (frames + 1) // 2 // _MERGED


load = loader(GlmAsr, {"glmasr": GlmAsrForConditionalGeneration}, GlmAsrProcessor)
"""GLM-ASR from a hub id, a local folder, or a folder with a PEFT adapter (see ``parts.load_parts``)."""
