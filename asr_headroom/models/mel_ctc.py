"""Conformer encoders over log-mels with a CTC head: Parakeet CTC, LASR (MedASR) and Granite Speech 5.

Facts and quirks, all kept in this file:

* All three have batch norm, which is frozen while training, and mask padding, so batches are exact.
* Feature settings and tokenizer are called one by one: called together, LASR's processor drops the padding mask.
* Parakeet's blank is its last token, the others' the first; LASR's tokenizer writes an unknown letter as a space, so
  letters are tried and not looked up.
* Granite Speech 5 ties its head to a layer in the middle of its encoder, which hears its own first guess; the head
  cannot be replaced by a fresh one. PEFT takes the tie for one of word embeddings and asks for them, so the config says
  that there is none, except in files. Its features are torchaudio's in the library and our own here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    GraniteSpeech5ForCTC,
    LasrFeatureExtractor,
    LasrForCTC,
    LasrProcessor,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    ParakeetProcessor,
    PretrainedConfig,
)

from asr_headroom.audio.features import hide_spans
from asr_headroom.errors import ModelError
from asr_headroom.models.checkpoints import load_pretrained, read_adapter_base
from asr_headroom.models.ctc import CtcModel
from asr_headroom.models.ctc_loading import CtcClasses, load_ctc
from asr_headroom.models.granite_speech5_features import GraniteSpeech5Features, GraniteSpeech5Parts
from asr_headroom.models.modes import switch_off_layer_drop
from asr_headroom.models.vocabulary import Vocabulary

__all__ = ["MelCtc", "load"]

_LORA_TARGETS = r".*\.self_attn\.(q_proj|k_proj|v_proj|o_proj)"


@dataclass(frozen=True)
class _Kind:
    """One architecture.

    Attributes:
        family: name in the registry.
        classes: that read its checkpoints.
        mel_frames: feature frames of so many samples.
    """

    family: str
    classes: CtcClasses
    mel_frames: Callable[[Any, int], int]


def _untie(module: Any) -> None:
    module.config.tie_word_embeddings = False


_KINDS = {
    "parakeet_ctc": _Kind(
        "parakeet-ctc",
        CtcClasses(
            model=ParakeetForCTC,
            processor=ParakeetProcessor,
            features=ParakeetFeatureExtractor,
            head="ctc_head",
            without_head="$.",
        ),
        lambda extractor, samples: samples // extractor.hop_length,
    ),
    "lasr_ctc": _Kind(
        "lasr",
        CtcClasses(
            model=LasrForCTC,
            processor=LasrProcessor,
            features=LasrFeatureExtractor,
            head="ctc_head",
            without_head="$.",
        ),
        lambda extractor, samples: (samples - extractor.win_length) // extractor.hop_length + 1,
    ),
    "granite_speech5_ctc": _Kind(
        "granite-speech5",
        CtcClasses(
            model=GraniteSpeech5ForCTC,
            processor=GraniteSpeech5Parts,
            features=GraniteSpeech5Features,
            head="ctc_head",
            without_head=None,
            prepare=_untie,
        ),
        lambda extractor, samples: extractor.frames(samples),
    ),
}


def load(
    model_id: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    random_init: bool = False,
    seed: int = 0,
    vocabulary: Vocabulary | None = None,
) -> MelCtc:
    """A checkpoint of one of the three, or its encoder with a fresh head.

    Args:
        model_id: hub id, folder, or folder of a PEFT adapter.
        dtype: of the weights; training wants float32.
        device: where to put them; ``auto`` is the GPU where there is one.
        random_init: keep architecture and tokenizer, draw new weights.
        seed: of new weights.
        vocabulary: of a fresh head; None keeps the checkpoint's.

    Raises:
        ModelError: not found, of another family, or weights are missing, unexpected or damaged.
    """
    config, _ = load_pretrained(PretrainedConfig.get_config_dict, read_adapter_base(model_id) or model_id)
    kind = config.get("model_type")
    if kind not in _KINDS:
        raise ModelError(f"'{model_id}' is of type {kind!r}; this family reads {', '.join(_KINDS)}")
    loaded = load_ctc(
        model_id,
        _KINDS[kind].classes,
        dtype=dtype,
        device=device,
        random_init=random_init,
        seed=seed,
        vocabulary=vocabulary,
    )
    return MelCtc(
        loaded.module,
        loaded.processor,
        model_id=model_id,
        vocabulary=loaded.vocabulary,
        fresh_head=loaded.fresh_head,
    )


class MelCtc(CtcModel):
    """One checkpoint; see the module's docstring.

    Args:
        module: the model, or a PEFT model around it.
        processor: feature settings and tokenizer.
        model_id: what it is called in results.
        vocabulary: of a head that was begun afresh.
        fresh_head: it is not in the checkpoint that an adapter would name as its base.
    """

    def __init__(
        self,
        module: nn.Module,
        processor: Any,
        *,
        model_id: str,
        vocabulary: Vocabulary | None = None,
        fresh_head: bool = False,
    ) -> None:
        switch_off_layer_drop(module)
        config: Any = module.config
        self._kind = _KINDS[config.model_type]
        if self._kind.classes.prepare:
            self._kind.classes.prepare(module)
        super().__init__(
            module,
            processor,
            model_id=model_id,
            family=self._kind.family,
            head="ctc_head",
            lora_targets=_LORA_TARGETS,
            vocabulary=vocabulary,
            fresh_head=fresh_head,
            # The others' features are not centred on 0, or hold several frames in one.
            spectrogram_spans=self._kind.family == "parakeet-ctc",
        )

    def features(self, waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """``input_features`` [rows, frames, mels] and ``attention_mask`` [rows, frames] bool."""
        extractor = self.processor.feature_extractor
        if isinstance(extractor, GraniteSpeech5Features):
            return extractor(waveforms)
        made = extractor(
            list(waveforms),
            sampling_rate=extractor.sampling_rate,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return {"input_features": made["input_features"].float(), "attention_mask": made["attention_mask"]}

    def logits(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """[rows, frames, vocab]."""
        features = inputs["input_features"].to(self._core.dtype)
        if self.card.abilities.spectrogram_spans:
            extractor = self.processor.feature_extractor
            rate = extractor.sampling_rate / extractor.hop_length
            features = hide_spans(features, inputs, frames_per_second=rate, frames_first=True)
        return self._core(input_features=features, attention_mask=inputs["attention_mask"]).logits

    def frames_of(self, samples: int) -> int:
        """12.5 per second; LASR has about 25."""
        mels = self._kind.mel_frames(self.processor.feature_extractor, samples)
        return int(self._core._get_subsampling_output_length(torch.tensor(mels)))

    def save_pretrained(self, directory: Path) -> None:
        """As every CTC family, with the tie of the head written down."""
        if not self._kind.classes.prepare:
            return super().save_pretrained(directory)
        self._core.config.tie_word_embeddings = True
        try:
            super().save_pretrained(directory)
        finally:
            self._kind.classes.prepare(self._core)
