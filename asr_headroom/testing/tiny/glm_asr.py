"""A tiny GLM-ASR."""

from __future__ import annotations

import torch
from transformers import (
    GlmAsrConfig,
    GlmAsrForConditionalGeneration,
    GlmAsrProcessor,
    Qwen2Tokenizer,
    WhisperFeatureExtractor,
)

from asr_headroom.models.glm_asr import GlmAsr
from asr_headroom.testing.tiny.vocabulary import add_special, byte_vocabulary

__all__ = ["tiny_glm_asr"]

_TEMPLATE = (
    "{%- for m in messages -%}{{- '<|' + m.role + '|>\n' -}}{%- for c in m.content -%}"
    "{%- if c.type == 'audio' -%}{{- '<|begin_of_audio|><|pad|><|end_of_audio|>' -}}"
    "{%- elif c.type == 'text' -%}{{- c.text -}}{%- endif -%}{%- endfor -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}{%- endif -%}"
)
_SPECIAL = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|begin_of_audio|>", "<|end_of_audio|>", "<|pad|>")
_SCALE = 0.15
"""Of random weights, near one over the root of the width; with the usual 0.02 no audio reaches the output."""
_EMBEDDING_SCALE = 1.5
"""Of the token table on top, so that low-rank updates alone can move the logits far enough."""


def tiny_glm_asr(*, window_seconds: int = 4, width: int = 32, seed: int = 0) -> GlmAsr:
    """A GLM-ASR of the real class with random weights and a byte tokenizer.

    Args:
        window_seconds: a whole number of embeddings; GLM-ASR's own is 30.
        width: of the language model; the encoder is half as wide.
        seed: of the weights.
    """
    tokenizer = Qwen2Tokenizer(
        vocab=byte_vocabulary(),
        merges=[],
        unk_token=None,  # type: ignore[arg-type]
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )
    ids = add_special(tokenizer, _SPECIAL)
    ends = [ids["<|endoftext|>"], ids["<|user|>"]]
    config = GlmAsrConfig(
        audio_config={
            "hidden_size": width // 2,
            "intermediate_size": 2 * width,  # four frames of the encoder
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_mel_bins": 80,
            "initializer_range": _SCALE,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 512,
            "eos_token_id": ends,
            "initializer_range": _SCALE,
        },
        audio_token_id=ids["<|pad|>"],
    )
    torch.manual_seed(seed)
    module = GlmAsrForConditionalGeneration(config).eval()
    module.get_input_embeddings().weight.data.mul_(_EMBEDDING_SCALE)
    module.generation_config.eos_token_id = ends
    module.generation_config.pad_token_id = ends[0]
    features = WhisperFeatureExtractor(feature_size=80, chunk_length=window_seconds)
    processor = GlmAsrProcessor(features, tokenizer, chat_template=_TEMPLATE, audio_token="<|pad|>")
    return GlmAsr(module, processor, model_id="tiny-glm-asr")
