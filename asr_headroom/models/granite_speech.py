"""Granite Speech 3.3, 4.0, 4.1 and 4.1-plus: conformer encoder, Q-Former projector, Granite language model.

Facts and quirks, all kept in this file:

* The chat template is always applied. Without it 63 of 100 outputs of a base model were empty, in a published study.
  The 3.3 template writes the day's date into a system turn unless it is given one; the model card's is given, so that
  a result does not depend on the day.
* The language is not told to the model; it writes what it hears. ``languages`` are those of the model card: others are
  taken, and every table marks them as a mismatch.
* The encoder has no padding mask: silence after a recording moves its features. Here recordings of equal length are
  encoded together and others apart, so that nothing depends on company; the language model runs over all of them.
* The library's class leaves out ``logits_scaling``, by which Granite divides its logits. Greedy outputs are the same,
  but losses and probabilities would be those of a several times lower temperature. Here it is applied.
* Checkpoints of the 3.3 generation carry an adapter beside their weights, which the library switches off wherever no
  raw audio is passed, and saves under names that load as random weights. Here it is folded into the weights in float32.
* The batch norms use their stored statistics, also while training.
* The library's feature extractor wants torchaudio; features are taken here, and equal torchaudio's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import (
    GraniteSpeechForConditionalGeneration,
    GraniteSpeechPlusForConditionalGeneration,
)

from asr_headroom.errors import ModelError
from asr_headroom.models.audio_llm import AudioLanguageModel
from asr_headroom.models.checkpoints import load_pretrained
from asr_headroom.models.htk_mels import htk_mel_filters, mel_spectrogram
from asr_headroom.models.parts import load_parts
from asr_headroom.models.plain_processor import PlainProcessor
from asr_headroom.models.protocols import Abilities
from asr_headroom.models.quantization import Quantization

__all__ = ["GraniteSpeech", "load", "plain_processor"]

_CLASSES = {
    "granite_speech": GraniteSpeechForConditionalGeneration,
    "granite_speech_plus": GraniteSpeechPlusForConditionalGeneration,
}
_PROMPT = "can you transcribe the speech into a written format?"
_SYSTEM = (
    "Knowledge Cutoff Date: April 2024.\nToday's Date: April 9, 2025.\n"
    "You are Granite, developed by IBM. You are a helpful AI assistant"
)
_DATED = "strftime_now"
"""A chat template that calls this writes the day's date."""
_WESTERN = ("en", "fr", "de", "es", "pt")
_MELS = {"sample_rate": 16_000, "n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 80}
_DEFAULTS: dict[str, Any] = {
    "sampling_rate": 16_000,
    "melspec_kwargs": _MELS,
    "projector_window_size": 15,
    "projector_downsample_rate": 5,
}


def load(
    model_id: str,
    *,
    prompt: str = _PROMPT,
    dtype: str = "float32",
    device: str = "cpu",
    random_init: bool = False,
    seed: int = 0,
    quantization: Quantization = "none",
) -> GraniteSpeech:
    """Granite Speech from a hub id, a local folder, or a folder with a PEFT adapter.

    Args:
        model_id: hub id or path.
        prompt: what the user asks; 4.1 punctuates when told to (``transcribe the speech with proper punctuation and
            capitalization.``).
        dtype: of the weights; training wants float32.
        device: where to put them; ``auto`` is the GPU where there is one.
        random_init: keep architecture and processor, draw new weights.
        seed: of the new weights.
        quantization: of the weights; see :mod:`asr_headroom.models.quantization`.

    Raises:
        ModelError: not found, not Granite Speech, or weights are missing, unexpected or damaged.
    """
    module, processor = load_parts(
        model_id,
        _CLASSES,
        _Reader,
        dtype=dtype,
        device=device,
        random_init=random_init,
        seed=seed,
        quantization=quantization,
        load_weights=_load_weights,
    )
    return GraniteSpeech(module, processor, model_id=model_id, prompt=prompt)


def plain_processor(tokenizer: Any, config: Mapping[str, Any]) -> PlainProcessor:
    """The processor of Granite Speech around a tokenizer with a chat template."""
    return PlainProcessor(tokenizer, config, section="audio_processor", defaults=_DEFAULTS)


class _Reader:
    """Reads the processor as the library's ``from_pretrained`` methods do."""

    @staticmethod
    def from_pretrained(source: str) -> PlainProcessor:
        return PlainProcessor.from_pretrained(
            source, section="audio_processor", processor_class="GraniteSpeechProcessor", defaults=_DEFAULTS
        )


class GraniteSpeech(AudioLanguageModel):
    """One Granite Speech checkpoint behind all three protocols.

    Args:
        module: the model, or a PEFT model around it.
        processor: feature settings, tokenizer and chat template.
        model_id: what it is called in results.
        prompt: what the user asks.
    """

    family: ClassVar[str] = "granite-speech"
    lora_targets: ClassVar[str] = (
        r"model\.language_model\..*\.(q_proj|k_proj|v_proj|o_proj)|model\.encoder\..*\.(to_q|to_kv|to_out)"
    )
    abilities: ClassVar[Abilities] = Abilities(
        beam_search=True, batch_norm=True, free_language=True, can_sample=True, can_nbest=True
    )
    licence: ClassVar[str] = "apache-2.0"
    end_token: ClassVar[str] = "<|end_of_text|>"

    def __init__(self, module: nn.Module, processor: PlainProcessor, *, model_id: str, prompt: str = _PROMPT) -> None:
        self.prompt = prompt
        super().__init__(module, processor, model_id=model_id)

    @property
    def languages(self) -> tuple[str, ...]:  # type: ignore[override]
        """Of the model card: the 4.0 and 4.1 generation, which carries no adapter, added Japanese; plus has none."""
        config = self.core.config
        older = config.has_lora_adapter or getattr(config, "folded_adapter", False)
        return _WESTERN if older or config.model_type == "granite_speech_plus" else (*_WESTERN, "ja")

    def decoding_state(self) -> dict[str, Any]:
        """Precision of the weights, and the prompt."""
        return super().decoding_state() | {"prompt": self.prompt}

    def audio_tokens(self, num_samples: int) -> int:
        """Windows of 15 encoder frames of 20 ms, the last one whole too, of 3 embeddings each."""
        samples = max(num_samples, self._least_samples)
        frames = (samples // self._extractor.melspec_kwargs["hop_length"] + 1) // 2
        window = self._extractor.projector_window_size
        return -(-frames // window) * (window // self._extractor.projector_downsample_rate)

    def features(self, samples: np.ndarray) -> torch.Tensor:
        """[frames, 2 x mels]: log-mels of 10 ms, two behind one another, the last 8 decades below the loudest."""
        settings = self._extractor.melspec_kwargs
        padded = np.pad(samples, (0, max(0, self._least_samples - len(samples))))
        mels = mel_spectrogram(
            torch.from_numpy(padded),
            _filters(settings["n_fft"] // 2 + 1, settings["n_mels"], settings["sample_rate"]),
            n_fft=settings["n_fft"],
            win_length=settings["win_length"],
            hop_length=settings["hop_length"],
        )
        log = mels.T.clamp(min=1e-10).log10()
        log = torch.maximum(log, log.max() - 8.0) / 4 + 1
        return log[: len(log) // 2 * 2].reshape(len(log) // 2, -1)

    def audio_inputs(self, features: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """``input_features`` [batch, frames, 2 x mels] padded with zeros, ``feature_lengths`` [batch]."""
        lengths = torch.tensor([len(frames) for frames in features])
        width = int(lengths.max())
        padded = torch.stack([functional.pad(frames, (0, 0, 0, width - len(frames))) for frames in features])
        return {"input_features": padded, "feature_lengths": lengths}

    def audio_embeddings(self, inputs: Mapping[str, torch.Tensor], counts: Sequence[int]) -> list[torch.Tensor]:
        """Each recording's embeddings; recordings of equal length are encoded together."""
        lengths = inputs["feature_lengths"].tolist()
        found: dict[int, torch.Tensor] = {}
        for length in sorted(set(lengths)):
            rows = [row for row, value in enumerate(lengths) if value == length]
            features = inputs["input_features"][rows, :length].to(self.core.dtype)
            found |= zip(rows, self.core.get_audio_features(features).pooler_output, strict=True)
        return [found[row] for row in range(len(lengths))]

    def prompt_text(self, language: str | None) -> str:
        """The chat template's prompt; the language has no place in it."""
        tokenizer = self.processor.tokenizer
        chat = [{"role": "user", "content": f"{self._audio_token}{self.prompt}"}]
        if not tokenizer.chat_template:
            raise ModelError(
                f"'{self.card.model_id}' has no chat template, and without it the model writes nothing; copy "
                "chat_template.jinja from the original checkpoint"
            )
        if _DATED in str(tokenizer.chat_template):
            chat = [{"role": "system", "content": _SYSTEM}, *chat]
        return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[tokens, vocab], divided as Granite's own language model does."""
        return super().logits(hidden) / self.core.config.text_config.logits_scaling

    def checkpoint_activations(self) -> None:
        """Of the language model alone; the library cannot do it for the conformer's blocks."""
        self.language_model.activation_checkpointing_enable()

    @property
    def _least_samples(self) -> int:
        """Shorter recordings are padded with silence to it: the spectrum mirrors half a window of what there is."""
        return self._extractor.melspec_kwargs["n_fft"] // 2 + 1

    @property
    def _audio_token(self) -> str:
        return self.processor.tokenizer.convert_ids_to_tokens(self._audio_id)


_filters = lru_cache(maxsize=4)(htk_mel_filters)


def _load_weights(module_class: Any, source: str, dtype: torch.dtype, **options: Any) -> nn.Module:
    """The model with the adapter that some checkpoints carry folded into its weights."""
    folder = _local_folder(source)
    if folder is None:
        return load_pretrained(module_class.from_pretrained, source, weights=True, dtype=dtype, **options)
    if options:
        raise ModelError(
            f"'{source}' brings an adapter that is folded into its weights, which packed weights cannot take up; save "
            "the model once as it is loaded without quantization, and load that folder"
        )
    with tempfile.TemporaryDirectory() as plain:
        # Where an adapter lies beside the weights, the library checks the adapter's tensors instead of the model's.
        for path in folder.iterdir():
            if not path.name.startswith("adapter_"):
                (Path(plain) / path.name).symlink_to(path.resolve())
        module = load_pretrained(module_class.from_pretrained, plain, weights=True, dtype=torch.float32)
    report = module.load_adapter(str(folder)).to_dict()
    wrong = [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]
    if wrong:
        raise ModelError(
            f"the adapter in '{source}' does not fit its weights: {len(wrong)} tensors, for example {min(wrong)}; copy "
            "both from the original checkpoint"
        )
    _fold_adapter(module)
    return module.to(dtype)


def _local_folder(source: str) -> Path | None:
    """Where the files of a checkpoint with an adapter of its own are; None if it has none."""
    from transformers.utils import find_adapter_config_file

    if not Path(source).is_dir():
        if find_adapter_config_file(source) is None:
            return None
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(source, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt"]))
    return Path(source) if (Path(source) / "adapter_config.json").is_file() else None


def _fold_adapter(module: Any) -> None:
    """Adds the adapter to the weights and forgets it."""
    from peft.tuners.lora import LoraLayer

    layers = [(name, part) for name, part in module.named_modules() if isinstance(part, LoraLayer)]
    for name, layer in layers:
        layer.merge(safe_merge=False)
        parent, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(parent), leaf, layer.get_base_layer())
    module._hf_peft_config_loaded = False
    del module.peft_config
    module.config.has_lora_adapter = False
    module.config.folded_adapter = True
    module.requires_grad_(True)
