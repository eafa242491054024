"""A tiny Whisper."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from asr_headroom.models.whisper import Whisper
from asr_headroom.models.whisper_encoder import Window
from asr_headroom.testing.tiny.vocabulary import add_special, byte_vocabulary

__all__ = ["tiny_whisper"]

_LANGUAGES = ("en", "zh", "fr")


def tiny_whisper(
    *,
    multilingual: bool = True,
    window: Window = "full",
    window_seconds: int = 3,
    width: int = 32,
    layers: int = 1,
    mels: int = 80,
    dropout: float = 0.0,
    max_target_positions: int = 64,
    scale: float = 0.02,
    seed: int = 0,
) -> Whisper:
    """A Whisper of the real class with random weights and a byte tokenizer.

    Args:
        multilingual: with language and task tokens in the prompt, or English-only.
        window: full or fit.
        window_seconds: the full window; Whisper's own is 30.
        width: of the model.
        layers: of encoder and decoder each.
        mels: 80, or 128 as large-v3 has.
        dropout: of all layers.
        max_target_positions: decoder positions; Whisper's own is 448.
        scale: of random weights; with Whisper's own, 0.02, hardly any audio reaches so narrow a decoder's output.
        seed: of the weights.
    """
    tokenizer = WhisperTokenizer(vocab=byte_vocabulary(), merges=[])
    languages = _LANGUAGES if multilingual else ()
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in languages)]
    special += [
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
    ]
    ids = add_special(tokenizer, special)
    tokenizer.pad_token = "<|endoftext|>"
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    features = WhisperFeatureExtractor(feature_size=mels, chunk_length=window_seconds)
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=mels,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=2 * width,
        decoder_ffn_dim=2 * width,
        max_source_positions=window_seconds * 50,
        max_target_positions=max_target_positions,
        init_std=scale,
        dropout=dropout,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    torch.manual_seed(seed)
    module = WhisperForConditionalGeneration(config).eval()
    multilingual_only: dict[str, Any] = {
        "lang_to_id": {f"<|{code}|>": ids[f"<|{code}|>"] for code in languages},
        "task_to_id": {"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
    }
    module.generation_config = GenerationConfig(
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        is_multilingual=multilingual,
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
        # A random decoder with tied embeddings echoes its last token; keep it among the characters.
        suppress_tokens=[i for token, i in ids.items() if token != "<|endoftext|>"],
        max_length=max_target_positions,
        **(multilingual_only if multilingual else {}),
    )
    return Whisper(module, WhisperProcessor(features, tokenizer), model_id="tiny-whisper", window=window)
