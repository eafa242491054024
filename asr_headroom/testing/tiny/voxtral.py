"""A tiny Voxtral, whose tokenizer is mistral-common's over bytes."""

from __future__ import annotations

import atexit
import base64
import json
import tempfile
from functools import cache
from pathlib import Path

import torch
from transformers import VoxtralConfig, VoxtralForConditionalGeneration, VoxtralProcessor, WhisperFeatureExtractor

from asr_headroom.models.voxtral import Voxtral

__all__ = ["tiny_voxtral"]

_FIRST = (
    "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] "
    "[IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]"
)
_CONTROL = dict(enumerate(_FIRST.split())) | {24: "[AUDIO]", 25: "[BEGIN_AUDIO]", 34: "[TRANSCRIBE]"}
_COUNT = 35
"""Control tokens; the bytes follow."""
_SCALE = 0.15
"""Of random weights, near one over the root of the width; with the usual 0.02 no audio reaches the output."""


def tiny_voxtral(*, width: int = 32, seed: int = 0) -> Voxtral:
    """A Voxtral of the real class with random weights.

    Args:
        width: of the language model; the encoder is half as wide.
        seed: of the weights.
    """
    from transformers.tokenization_mistral_common import MistralCommonBackend

    tokenizer = MistralCommonBackend(_tekken())
    config = VoxtralConfig(
        audio_config={
            "hidden_size": width // 2,
            "intermediate_size": 2 * width,  # four frames of the encoder
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_mel_bins": 128,
            "initializer_range": _SCALE,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": 256 + _COUNT,
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 1024,
            "initializer_range": _SCALE,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 11,
        },
        audio_token_id=24,
    )
    torch.manual_seed(seed)
    module = VoxtralForConditionalGeneration(config).eval()
    module.generation_config.eos_token_id = 2
    module.generation_config.pad_token_id = 11
    processor = VoxtralProcessor(WhisperFeatureExtractor(feature_size=128), tokenizer)
    return Voxtral(module, processor, model_id="tiny-voxtral")


@cache
def _tekken() -> str:
    """A tokenizer file with one token per byte; it must outlive the tokenizer, which copies it when saved."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    content = {
        "config": {
            "pattern": r"[^\s]+|\s+",
            "num_vocab_tokens": 256,
            "default_vocab_size": 256 + _COUNT,
            "default_num_special_tokens": _COUNT,
            "version": "v7",
        },
        "vocab": [
            {"rank": byte, "token_bytes": base64.b64encode(bytes([byte])).decode(), "token_str": None}
            for byte in range(256)
        ],
        "special_tokens": [
            {"rank": rank, "token_str": _CONTROL.get(rank, f"<SPECIAL_{rank}>"), "is_control": True}
            for rank in range(_COUNT)
        ],
        "audio": {
            "sampling_rate": 16_000,
            "frame_rate": 12.5,
            "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400},
            "chunk_length_s": 30.0,
        },
    }
    path = Path(folder.name) / "tekken.json"
    path.write_text(json.dumps(content))
    return str(path)
