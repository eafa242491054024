"""Canary: a FastConformer encoder with a Transformer decoder, told the language in its prompt.

Facts and quirks, all kept in this file:

* Prompt. The checkpoint's own chat template makes it: source and target language, punctuation on. It is asked for
  once per language, through the processor, so that it is the one of the checkpoint. Source and target are one
  language: speech is transcribed, not translated.
* The vocabulary has tokens of more languages than the checkpoints know; those that transformers lists are offered.
* The encoder's mask goes with its output; padding changes nothing. Batch norm is frozen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import CanaryForConditionalGeneration, CanaryProcessor
from transformers.models.canary.processing_canary import LANGUAGE_CODE_TO_NAME

from asr_headroom.audio.features import hide_spans
from asr_headroom.errors import ModelError
from asr_headroom.models.fast_conformer import log_mels
from asr_headroom.models.parts import loader
from asr_headroom.models.protocols import Abilities
from asr_headroom.models.seq2seq import Seq2Seq

__all__ = ["Canary", "load"]


class Canary(Seq2Seq):
    """One Canary checkpoint."""

    family = "canary"
    abilities = Abilities(
        beam_search=True,
        batch_norm=True,
        language_prompt=True,
        can_sample=True,
        can_nbest=True,
        spectrogram_spans=True,
    )

    def __init__(self, module: torch.nn.Module, processor: Any, *, model_id: str) -> None:
        self._prompts: dict[str, list[int]] = {}
        super().__init__(module, processor, model_id=model_id)

    def prompt_ids(self, language: str | None) -> list[int]:
        """As the processor makes it for transcription in ``language``, with punctuation."""
        subtag = self._known(language)
        if subtag not in self._prompts:
            rate = self.processor.feature_extractor.sampling_rate
            request = self.processor.apply_transcription_request([np.zeros(rate // 2, np.float32)], subtag)
            ids = request["decoder_input_ids"][0].tolist()
            if self.processor.tokenizer.unk_token_id in ids:
                raise ModelError(
                    f"the tokenizer of '{self.card.model_id}' does not know all of the prompt for '{subtag}'; copy its "
                    "files and the chat template from the original checkpoint"
                )
            self._prompts[subtag] = ids
        return self._prompts[subtag]

    def _languages(self) -> Sequence[str]:
        vocabulary = self.processor.tokenizer.get_vocab()
        return sorted(code for code in LANGUAGE_CODE_TO_NAME if f"<|{code}|>" in vocabulary)

    def _features(self, waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        return log_mels(self.processor.feature_extractor, waveforms)

    def _encode(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        extractor = self.processor.feature_extractor
        rate = extractor.sampling_rate / extractor.hop_length
        features = hide_spans(inputs["input_features"], inputs, frames_per_second=rate, frames_first=True)
        output = self._core.model.encoder(features.to(self._core.dtype), attention_mask=inputs["attention_mask"])
        return output.last_hidden_state, output.attention_mask.bool()


load = loader(Canary, {"canary": CanaryForConditionalGeneration}, CanaryProcessor)
"""Canary from a hub id, a local folder, or a folder with a PEFT adapter (see ``parts.load_parts``)."""
