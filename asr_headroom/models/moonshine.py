"""Moonshine: small encoder-decoders that hear the waveform itself, one language each.

Facts and quirks, all kept in this file:

* No prompt but the start token, and no language: a checkpoint writes the language that it was trained on.
* The encoder normalises over time, padding included, so what stands beside a recording would change its output (0.015
  in the logits were measured). Here recordings of different lengths are encoded one after the other, and only their
  outputs are padded, with a mask for the decoder. Outputs depend on no neighbour, and any may share a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from transformers import MoonshineForConditionalGeneration, Wav2Vec2Processor

from asr_headroom.models.parts import load_parts
from asr_headroom.models.protocols import Abilities
from asr_headroom.models.seq2seq import Seq2Seq

__all__ = ["Moonshine", "load"]

_MIN_SECONDS = 0.1
"""Shorter recordings are padded with silence to it: the convolutions need 895 samples for one frame."""


def load(
    model_id: str, *, dtype: str = "float32", device: str = "cpu", random_init: bool = False, seed: int = 0
) -> Moonshine:
    """Moonshine from a hub id, a local folder, or a folder with a PEFT adapter.

    Args:
        model_id: hub id or path.
        dtype: of the weights; training wants float32.
        device: where to put them; ``auto`` is the GPU where there is one. Training places them itself.
        random_init: keep architecture and tokenizer, draw new weights.
        seed: of the new weights.

    Raises:
        ModelError: not found, another family, or weights are missing, unexpected or damaged.
    """
    classes = {"moonshine": MoonshineForConditionalGeneration}
    module, processor = load_parts(
        model_id, classes, Wav2Vec2Processor, dtype=dtype, device=device, random_init=random_init, seed=seed
    )
    return Moonshine(module, processor, model_id=model_id)


class Moonshine(Seq2Seq):
    """One Moonshine checkpoint."""

    family = "moonshine"
    abilities = Abilities(beam_search=True, free_language=True, can_sample=True, can_nbest=True)

    def prompt_ids(self, language: str | None) -> list[int]:
        """The start token, whatever the language."""
        return [self._core.config.decoder_start_token_id]

    def _features(self, waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        extractor = self.processor.feature_extractor
        least = round(_MIN_SECONDS * extractor.sampling_rate)
        padded = [np.pad(waveform, (0, max(0, least - len(waveform)))) for waveform in waveforms]
        features = extractor(
            padded,
            sampling_rate=extractor.sampling_rate,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return {"input_values": features["input_values"], "num_samples": features["attention_mask"].sum(dim=1)}

    def _encode(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        values, lengths = inputs["input_values"].to(self._core.dtype), inputs["num_samples"].tolist()
        parts: dict[int, torch.Tensor] = {}
        for length in sorted(set(lengths)):
            rows = [row for row, other in enumerate(lengths) if other == length]
            output = self._core.model.encoder(values[rows, :length]).last_hidden_state
            parts.update(zip(rows, output, strict=True))
        states = [parts[row] for row in range(len(lengths))]
        frames = torch.tensor([len(state) for state in states], device=values.device)
        mask = torch.arange(int(frames.max()), device=values.device) < frames[:, None]
        return torch.nn.utils.rnn.pad_sequence(states, batch_first=True), mask
