"""Voxtral Mini and Small: Whisper's encoder over windows of 30 s, four frames to an embedding, Mistral language model.

Facts and quirks, all kept in this file:

* Tokenizer and prompt are those of the package mistral-common, which the extra ``voxtral`` installs.
* Transcription has a prompt of its own: the audio, ``lang:fr`` where the language is known, ``[TRANSCRIBE]``. Without a
  language the model writes what it hears.
* Every window is filled up with silence and costs 375 embeddings, for one second of speech too, and the model hears
  all of them: nothing depends on a recording's company.
* The library's processor takes no target; prompt and target are laid out here, as for all families of this kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import mistral_common  # noqa: F401  the processor is of no use without it, and this names what is missing
import numpy as np
import torch
from transformers import VoxtralForConditionalGeneration, VoxtralProcessor

from asr_headroom.models.audio_llm import AudioLanguageModel
from asr_headroom.models.parts import loader
from asr_headroom.models.protocols import Abilities

__all__ = ["Voxtral", "load"]

_LANGUAGES = ("en", "es", "fr", "pt", "hi", "de", "nl", "it")


class Voxtral(AudioLanguageModel):
    """One Voxtral checkpoint behind all three protocols."""

    family: ClassVar[str] = "voxtral"
    lora_targets: ClassVar[str] = r"model\.(language_model|audio_tower)\..*\.(q_proj|k_proj|v_proj|o_proj|out_proj)"
    languages: ClassVar[tuple[str, ...]] = _LANGUAGES
    abilities: ClassVar[Abilities] = Abilities(
        beam_search=True, language_prompt=True, free_language=True, can_sample=True, can_nbest=True
    )
    licence: ClassVar[str] = "apache-2.0"
    longest: ClassVar[float] = 1800.0

    def audio_tokens(self, num_samples: int) -> int:
        """375 for each window of 30 s that is begun."""
        config = self.core.config.audio_config
        per_window = config.max_source_positions * config.hidden_size // config.intermediate_size
        return self._windows(num_samples) * per_window

    def features(self, samples: np.ndarray) -> torch.Tensor:
        """[windows, mels, frames] log-mels; their floor is that of the whole recording."""
        extractor = self._extractor
        whole = self._windows(len(samples)) * extractor.n_samples
        padded = np.pad(samples, (0, whole - len(samples)))
        mels = extractor(
            padded, sampling_rate=extractor.sampling_rate, padding=True, truncation=False, return_tensors="pt"
        ).input_features[0]
        return torch.stack(mels.split(extractor.nb_max_frames, dim=-1))

    def audio_inputs(self, features: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """``input_features`` [windows, mels, frames] of all recordings."""
        return {"input_features": torch.cat(list(features))}

    def audio_embeddings(self, inputs: Mapping[str, torch.Tensor], counts: Sequence[int]) -> list[torch.Tensor]:
        """Each recording's embeddings, [tokens, hidden]."""
        found = self.core.get_audio_features(inputs["input_features"].to(self.core.dtype)).pooler_output
        return list(found.flatten(0, -2).split(list(counts)))

    def prompt_text(self, language: str | None) -> str:
        """The transcription prompt as text, for people to read."""
        return self.processor.tokenizer.decode(self.prompt_template(language))

    def prompt_template(self, language: str | None) -> list[int]:
        """mistral-common's transcription prompt, its run of audio tokens drawn together into one."""
        known = None if language is None else self._known_language(language, dict.fromkeys(_LANGUAGES))
        request = self.processor.apply_transcription_request(
            [np.zeros(self._extractor.hop_length, dtype=np.float32)],
            model_id=self.card.model_id,
            language=known,
            sampling_rate=self._extractor.sampling_rate,
            format="WAV",
        )
        ids = request["input_ids"][0].tolist()
        start = ids.index(self._audio_id)
        return ids[: start + 1] + [token for token in ids[start:] if token != self._audio_id]

    def _windows(self, num_samples: int) -> int:
        return max(1, -(-num_samples // self._extractor.n_samples))


load = loader(Voxtral, {"voxtral": VoxtralForConditionalGeneration}, VoxtralProcessor)
"""Voxtral from a hub id, a local folder, or a folder with a PEFT adapter (see ``parts.load_parts``)."""
