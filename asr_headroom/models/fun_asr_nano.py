"""Fun-ASR-Nano: SenseVoice encoder with memory blocks, adaptor, Qwen3 language model.

Facts and quirks, all kept in this file:

* The language is named in Chinese in the prompt; without one the model writes what it hears. It knows three.
* Frames of 10 ms are stacked by seven and thinned by six; the encoder has positions for 2048 of them, 122.88 s.
* As the library loads it, the adaptor's config names no attention, and its padding mask is skipped: embeddings moved by
  0.07 with the company. Here the attention is always named.
* The library's feature extractor wants torchaudio; features are taken here, and equal torchaudio's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional
from transformers import FunAsrNanoForConditionalGeneration

from asr_headroom.models.audio_llm import AudioLanguageModel
from asr_headroom.models.kaldi_features import kaldi_fbank
from asr_headroom.models.parts import loader
from asr_headroom.models.plain_processor import PlainProcessor
from asr_headroom.models.protocols import Abilities

__all__ = ["FunAsrNano", "load", "plain_processor"]

_NAMES = {"zh": "中文", "en": "英文", "ja": "日文"}
"""As the model was trained to read them."""
_DEFAULTS: dict[str, Any] = {
    "feature_size": 80,
    "sampling_rate": 16_000,
    "frame_length": 25,
    "frame_shift": 10,
    "num_frames_lfr": 7,
    "stride_lfr": 6,
    "window": "hamming",
}


def plain_processor(tokenizer: Any, config: Mapping[str, Any]) -> PlainProcessor:
    """The processor of Fun-ASR-Nano around a tokenizer with a chat template."""
    return PlainProcessor(tokenizer, config, section="feature_extractor", defaults=_DEFAULTS)


class _Reader:
    """Reads the processor as the library's ``from_pretrained`` methods do."""

    @staticmethod
    def from_pretrained(source: str) -> PlainProcessor:
        return PlainProcessor.from_pretrained(
            source, section="feature_extractor", processor_class="FunAsrNanoProcessor", defaults=_DEFAULTS
        )


class FunAsrNano(AudioLanguageModel):
    """One Fun-ASR-Nano checkpoint behind all three protocols.

    Args:
        module: the model, or a PEFT model around it.
        processor: feature settings, tokenizer and chat template.
        model_id: what it is called in results.
    """

    family: ClassVar[str] = "fun-asr-nano"
    lora_targets: ClassVar[str] = r"model\.(language_model|audio_tower)\..*\.(q_proj|k_proj|v_proj|o_proj)"
    languages: ClassVar[tuple[str, ...]] = tuple(_NAMES)
    abilities: ClassVar[Abilities] = Abilities(
        beam_search=True, language_prompt=True, free_language=True, can_sample=True, can_nbest=True
    )
    licence: ClassVar[str] = "apache-2.0"
    longest: ClassVar[float] = 122.0
    end_token: ClassVar[str] = "<|im_end|>"

    def __init__(self, module: torch.nn.Module, processor: PlainProcessor, *, model_id: str) -> None:
        super().__init__(module, processor, model_id=model_id)
        projector = self.core.model.multi_modal_projector
        if projector.config._attn_implementation is None:
            self.core.set_attn_implementation("sdpa")

    def audio_tokens(self, num_samples: int) -> int:
        """One for each six frames of 10 ms, begun ones included."""
        length, shift = self._frame_samples()
        frames = 1 + (max(num_samples, length) - length) // shift
        return -(-frames // self._extractor.stride_lfr)

    def features(self, samples: np.ndarray) -> torch.Tensor:
        """[frames, 7 x mels]: Kaldi's log-mels, seven neighbours stacked, one of six kept, the outer ones repeated."""
        settings = self._extractor
        length, _ = self._frame_samples()
        waveform = torch.from_numpy(np.pad(samples, (0, max(0, length - len(samples)))))
        mels = kaldi_fbank(
            waveform,
            sampling_rate=settings.sampling_rate,
            num_mel_bins=settings.feature_size,
            frame_length=settings.frame_length,
            frame_shift=settings.frame_shift,
            window=settings.window,
        )
        stacked, stride = settings.num_frames_lfr, settings.stride_lfr
        count = -(-len(mels) // stride)
        before = (stacked - 1) // 2
        after = max(stacked - 1 - before, (count - 1) * stride + stacked - before - len(mels))
        padded = torch.cat([mels[:1].expand(before, -1), mels, mels[-1:].expand(after, -1)])
        return padded.unfold(0, stacked, stride)[:count].transpose(1, 2).reshape(count, -1)

    def audio_inputs(self, features: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """``input_features`` [batch, frames, 7 x mels] padded with zeros, ``input_features_mask`` [batch, frames]."""
        lengths = torch.tensor([len(frames) for frames in features])
        width = int(lengths.max())
        padded = torch.stack([functional.pad(frames, (0, 0, 0, width - len(frames))) for frames in features])
        return {"input_features": padded, "input_features_mask": (torch.arange(width) < lengths[:, None]).long()}

    def audio_embeddings(self, inputs: Mapping[str, torch.Tensor], counts: Sequence[int]) -> list[torch.Tensor]:
        """Each recording's embeddings, [tokens, hidden]."""
        found = self.core.get_audio_features(
            inputs["input_features"].to(self.core.dtype), inputs["input_features_mask"]
        )
        return list(found.pooler_output.split(list(counts)))

    def prompt_text(self, language: str | None) -> str:
        """The chat template's prompt, with the language's Chinese name where it is known."""
        content = [{"type": "audio"}]
        if language is not None:
            content.append({"type": "language", "language": _NAMES[self._known_language(language, _NAMES)]})
        chat = [{"role": "user", "content": content}]
        return self.processor.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)

    def _frame_samples(self) -> tuple[int, int]:
        """Samples of a frame, and between frames."""
        per_ms = self._extractor.sampling_rate / 1000
        return int(self._extractor.frame_length * per_ms), int(self._extractor.frame_shift * per_ms)


load = loader(FunAsrNano, {"fun_asr_nano": FunAsrNanoForConditionalGeneration}, _Reader)
"""Fun-ASR-Nano from a hub id, a local folder, or a folder with a PEFT adapter (see ``parts.load_parts``)."""
