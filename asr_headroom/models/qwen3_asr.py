"""Qwen3-ASR 0.6B and 1.7B, in transformers' own class (hub ids that end in ``-hf``).

Facts and quirks, all kept in this file:

* Language. The assistant's turn begins with ``language French<asr_text>``. With ``prompt_language="forced"`` (the
  default) that is prompt where the language is known, and the model writes the transcript alone; where it is not known,
  and always with ``"free"``, the model writes the language first. Training and decoding see one form, or the error rate
  of one says nothing of the other. A target without a known language begins with ``language None<asr_text>``, as the
  authors' own fine-tuning format has it.
* The authors' checkpoints without ``-hf`` have another layout. transformers opens them without a word, with a default
  architecture and random weights; here they are refused.
* The library's batches are not exact: frames after a shorter recording hold the spectrum of silence, which the last
  convolution sees, and its last frame counts or not depending on its company. Here each recording is taken alone.
* The library repairs repetitions in the text that it parses; here the loop guard stops them, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import Qwen3ASRForConditionalGeneration, Qwen3ASRProcessor
from transformers.models.qwen3_asr.processing_qwen3_asr import LANGUAGE_CODE_TO_NAME

from asr_headroom.errors import ModelError
from asr_headroom.models.audio_llm import AudioLanguageModel
from asr_headroom.models.parts import load_parts
from asr_headroom.models.protocols import Abilities
from asr_headroom.models.quantization import Quantization

__all__ = ["PromptLanguage", "Qwen3Asr", "load"]

PromptLanguage = Literal["forced", "free"]

_TEXT_MARK = "<asr_text>"
_SIZES = {1024: "0.6B", 2048: "1.7B"}
"""Of the checkpoints, by the width of their language model."""


def load(
    model_id: str,
    *,
    prompt_language: PromptLanguage = "forced",
    dtype: str = "float32",
    device: str = "cpu",
    random_init: bool = False,
    seed: int = 0,
    quantization: Quantization = "none",
) -> Qwen3Asr:
    """Qwen3-ASR from a hub id, a local folder, or a folder with a PEFT adapter.

    Args:
        model_id: hub id or path.
        prompt_language: see the module's docstring.
        dtype: of the weights; training wants float32.
        device: where to put them; ``auto`` is the GPU where there is one.
        random_init: keep architecture and processor, draw new weights.
        seed: of the new weights.
        quantization: of the weights; see :mod:`asr_headroom.models.quantization`.

    Raises:
        ModelError: not found, not Qwen3-ASR, in the authors' original layout, or weights are missing or damaged.
    """
    module, processor = load_parts(
        model_id,
        {"qwen3_asr": Qwen3ASRForConditionalGeneration},
        Qwen3ASRProcessor,
        dtype=dtype,
        device=device,
        random_init=random_init,
        seed=seed,
        quantization=quantization,
        check=_refuse_original_layout,
    )
    return Qwen3Asr(module, processor, model_id=model_id, prompt_language=prompt_language)


class Qwen3Asr(AudioLanguageModel):
    """One Qwen3-ASR checkpoint behind all three protocols.

    Args:
        module: the model, or a PEFT model around it.
        processor: feature settings, tokenizer and chat template.
        model_id: what it is called in results.
        prompt_language: see the module's docstring.
    """

    family: ClassVar[str] = "qwen3-asr"
    # As the study had them: the projections of the language model and those of the encoder.
    lora_targets: ClassVar[str] = r"model\.(language_model|audio_tower)\..*\.(q_proj|k_proj|v_proj|o_proj|out_proj)"
    languages: ClassVar[tuple[str, ...]] = tuple(LANGUAGE_CODE_TO_NAME)
    abilities: ClassVar[Abilities] = Abilities(
        beam_search=True, language_prompt=True, free_language=True, can_sample=True, can_nbest=True
    )
    licence: ClassVar[str] = "apache-2.0"
    longest: ClassVar[float] = 1200.0
    end_token: ClassVar[str] = "<|im_end|>"

    def __init__(
        self,
        module: nn.Module,
        processor: Qwen3ASRProcessor,
        *,
        model_id: str,
        prompt_language: PromptLanguage = "forced",
    ) -> None:
        super().__init__(module, processor, model_id=model_id)
        self.prompt_language: PromptLanguage = prompt_language

    def decoding_state(self) -> dict[str, Any]:
        """Precision of the weights, and who names the language."""
        return super().decoding_state() | {"prompt_language": self.prompt_language}

    def audio_tokens(self, num_samples: int) -> int:
        """13 for each second, and for what is left over an eighth of its frames, rounded up three times."""
        frames = max(num_samples, self._extractor.min_length) // self._extractor.hop_length
        chunk = 2 * self._extractor.n_window
        return self._halved(chunk) * (frames // chunk) + self._halved(frames % chunk)

    def features(self, samples: np.ndarray) -> torch.Tensor:
        """[mels, frames] log-mel, as the library takes it from a recording alone."""
        found = self._extractor(
            [samples], sampling_rate=self._extractor.sampling_rate, padding=True, return_attention_mask=True
        )
        return found["input_features"][0, :, : int(found["attention_mask"].sum())]

    def audio_inputs(self, features: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """``input_features`` [batch, mels, frames] in whole seconds and ``input_features_mask`` [batch, frames]."""
        chunk = 2 * self._extractor.n_window
        lengths = torch.tensor([frames.shape[-1] for frames in features])
        width = -(-int(lengths.max()) // chunk) * chunk
        padded = torch.stack([functional.pad(frames, (0, width - frames.shape[-1])) for frames in features])
        mask = torch.arange(width) < lengths[:, None]
        return {"input_features": padded, "input_features_mask": mask.long()}

    def audio_embeddings(self, inputs: Mapping[str, torch.Tensor], counts: Sequence[int]) -> list[torch.Tensor]:
        """Each recording's embeddings, [tokens, hidden]."""
        found = self.core.get_audio_features(
            inputs["input_features"].to(self.core.dtype), inputs["input_features_mask"]
        )
        return list(found.pooler_output.split(list(counts)))

    def prompt_text(self, language: str | None) -> str:
        """The chat template's prompt, up to the transcript or up to where the model names the language."""
        name = self._language_name(language)
        forced = name if self.prompt_language == "forced" else None
        return self.processor.apply_transcription_request([np.zeros(1)], language=forced, tokenize=False)[0]

    def target_text(self, text: str, language: str | None) -> str:
        """The transcript; behind the language where that is not in the prompt."""
        if self.prompt_language == "forced" and language is not None:
            return text.strip()
        return f"language {self._language_name(language)}{_TEXT_MARK}{text.strip()}"

    def parse(self, text: str) -> str:
        """What follows ``<asr_text>``; everything, where the language was in the prompt."""
        before, mark, after = text.partition(_TEXT_MARK)
        return after if mark else before

    def _language_name(self, language: str | None) -> str | None:
        return (
            None if language is None else LANGUAGE_CODE_TO_NAME[self._known_language(language, LANGUAGE_CODE_TO_NAME)]
        )

    @staticmethod
    def _halved(frames: int) -> int:
        for _ in range(3):  # three convolutions of stride 2
            frames = -(-frames // 2)
        return frames


def _refuse_original_layout(source: str, settings: Mapping[str, Any]) -> None:
    thinker = settings.get("thinker_config")
    if thinker is None:
        return
    width = thinker.get("text_config", {}).get("hidden_size")
    size = _SIZES.get(width) or next((size for size in _SIZES.values() if size.lower() in source.lower()), None)
    ids = [f"Qwen/Qwen3-ASR-{known}-hf" for known in _SIZES.values() if size in (None, known)]
    raise ModelError(
        f"'{source}' holds Qwen3-ASR in its authors' original layout (thinker_config), whose tensors transformers does "
        f"not find and would replace by random numbers; use {' or '.join(ids)}"
    )
