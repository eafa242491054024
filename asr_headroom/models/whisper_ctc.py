"""A CTC head on a Whisper encoder: no decoder, no loops, text as fast as the encoder runs.

The encoder is Whisper's own, pretrained or drawn anew; the head is one linear layer over characters. Windows are as in
:mod:`asr_headroom.models.whisper`: 30 s, or fitted to the whole seconds that hold the recording. Only the frames of the
recording itself (50 per second) go into loss and text, not those of the padding behind it.

transformers has no such class; :class:`WhisperForCTC` is one in its manner, so that ``from_pretrained``, PEFT and
checkpointing work. Loading takes a folder that this family wrote, or, with a vocabulary, any Whisper.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    PretrainedConfig,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder, WhisperPreTrainedModel

from asr_headroom.audio.features import hide_spans, log_mel
from asr_headroom.errors import ModelError
from asr_headroom.models.checkpoints import load_pretrained, read_adapter_base
from asr_headroom.models.ctc import CtcModel
from asr_headroom.models.ctc_loading import CtcClasses, load_ctc
from asr_headroom.models.sampling import head_logits
from asr_headroom.models.vocabulary import Vocabulary, read_vocabulary
from asr_headroom.models.whisper_encoder import Window, encode_features, pad_to_window, window_samples

__all__ = ["WhisperCtc", "WhisperCtcConfig", "WhisperForCTC", "load"]


class WhisperCtcConfig(WhisperConfig):
    """Whisper's config without a decoder; ``vocab_size`` is the head's."""

    model_type = "whisper_ctc"


class WhisperForCTC(WhisperPreTrainedModel):
    """Encoder and head.

    Args:
        config: dimensions of the encoder, ``vocab_size`` of the head.
    """

    config_class = WhisperCtcConfig
    config: WhisperCtcConfig
    main_input_name = "input_features"

    def __init__(self, config: WhisperCtcConfig) -> None:
        super().__init__(config)
        self.encoder = WhisperEncoder(config)
        self.ctc_head = nn.Linear(config.d_model, config.vocab_size)
        self.post_init()

    def forward(self, input_features: torch.Tensor) -> torch.Tensor:
        """[batch, mels, frames] to logits [batch, frames / 2, vocab], for any number of frames up to the window."""
        return head_logits(self.ctc_head, encode_features(self.encoder, input_features))


def load(
    model_id: str,
    *,
    window: Window = "full",
    dtype: str = "float32",
    device: str = "cpu",
    random_init: bool = False,
    seed: int = 0,
    vocabulary: Vocabulary | None = None,
) -> WhisperCtc:
    """A model that this family wrote, or the encoder of any Whisper with a fresh head.

    Args:
        model_id: hub id, folder, or folder of a PEFT adapter.
        window: ``full`` is the window the encoder was built for (30 s), ``fit`` the seconds that hold each recording.
        dtype: of the weights; training wants float32.
        device: where to put them; ``auto`` is the GPU where there is one.
        random_init: keep the architecture, draw new weights.
        seed: of new weights.
        vocabulary: of a fresh head; needed for a Whisper.

    Raises:
        ModelError: not found, of another family, a Whisper without a vocabulary, or weights are missing, unexpected or
            damaged.
    """
    source = read_adapter_base(model_id) or model_id
    kind = load_pretrained(PretrainedConfig.get_config_dict, source)[0].get("model_type")
    if kind not in ("whisper", "whisper_ctc"):
        raise ModelError(f"'{source}' is of type {kind!r}; this family reads whisper and whisper_ctc")
    if kind == "whisper" and vocabulary is None and read_vocabulary(model_id) is None:
        raise ModelError(
            f"'{source}' is a Whisper with its decoder; `asr-headroom train --vocabulary from-data` puts a CTC head on "
            "its encoder and trains it"
        )
    loaded = load_ctc(
        model_id,
        CtcClasses(
            model=WhisperForCTC,
            processor=Wav2Vec2Processor,
            features=WhisperFeatureExtractor,
            head="ctc_head",
            without_head="$.",
            read=_read_processor,
            pretrained=_pretrained_encoder if kind == "whisper" else None,
        ),
        dtype=dtype,
        device=device,
        random_init=random_init,
        seed=seed,
        vocabulary=vocabulary,
    )
    return WhisperCtc(
        loaded.module,
        loaded.processor,
        model_id=model_id,
        window=window,
        vocabulary=loaded.vocabulary,
        fresh_head=loaded.fresh_head,
    )


def _read_processor(source: str) -> Wav2Vec2Processor:
    """Part by part: the library's own way looks the model type up, and does not know this one."""
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(source)
    return Wav2Vec2Processor(WhisperFeatureExtractor.from_pretrained(source), tokenizer)


def _pretrained_encoder(source: str, config: Any, dtype: torch.dtype) -> nn.Module:
    whisper = load_pretrained(WhisperForConditionalGeneration.from_pretrained, source, weights=True, dtype=dtype)
    module: Any = WhisperForCTC(config)
    module.to(dtype)
    module.encoder.load_state_dict(whisper.model.encoder.state_dict())
    return module


class WhisperCtc(CtcModel):
    """One encoder with its head; see the module's docstring.

    Args:
        module: a :class:`WhisperForCTC`, or a PEFT model around it.
        processor: Whisper's feature settings and the tokenizer of the head.
        model_id: what it is called in results.
        window: full or fit.
        vocabulary: of the head.
        fresh_head: it is not in the checkpoint that an adapter would name as its base.
    """

    def __init__(
        self,
        module: nn.Module,
        processor: Any,
        *,
        model_id: str,
        window: Window = "full",
        vocabulary: Vocabulary | None = None,
        fresh_head: bool = False,
    ) -> None:
        self.window: Window = window
        extractor = processor.feature_extractor
        self._samples_per_frame = 2 * extractor.hop_length
        self._mel_filters = torch.from_numpy(np.asarray(extractor.mel_filters)).float()
        super().__init__(
            module,
            processor,
            model_id=model_id,
            family="whisper-ctc",
            head="ctc_head",
            lora_targets=r"encoder\..*\.(q_proj|k_proj|v_proj|out_proj)",
            vocabulary=vocabulary,
            fresh_head=fresh_head,
            max_duration=extractor.n_samples / extractor.sampling_rate,
            batch_exact=window == "full",
            spectrogram_spans=True,
        )
        # Sinusoids, a buffer in the original; from_pretrained forgets that they are not to be trained.
        self._core.encoder.embed_positions.requires_grad_(False)
        positions = extractor.n_samples // self._samples_per_frame
        if positions != self._core.config.max_source_positions:
            raise ModelError(
                f"{model_id}: the feature settings give {positions} encoder positions but the model has "
                f"{self._core.config.max_source_positions}; processor and weights do not belong together"
            )

    def company(self, samples: int) -> Hashable:
        """The window in samples."""
        return window_samples(samples, self.window, self.processor.feature_extractor)

    def decoding_state(self) -> dict[str, Any]:
        """Window and precision of the weights: both change outputs."""
        return {"window": self.window, **super().decoding_state()}

    def features(self, waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """``waveforms`` [rows, samples] float32, zero-padded to the longest window; mels are made on the device."""
        return {"waveforms": pad_to_window(waveforms, self.window, self.processor.feature_extractor)}

    def logits(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """[rows, frames, vocab], one frame per 20 ms of the window."""
        extractor = self.processor.feature_extractor
        mel = log_mel(inputs["waveforms"], self._mel_filters, n_fft=extractor.n_fft, hop_length=extractor.hop_length)
        rate = extractor.sampling_rate / extractor.hop_length
        return self._core(hide_spans(mel, inputs, frames_per_second=rate))

    def frames_of(self, samples: int) -> int:
        """50 per second, the last one begun."""
        return min(math.ceil(samples / self._samples_per_frame), self._core.config.max_source_positions)
