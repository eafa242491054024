"""A tiny Qwen3-ASR."""

from __future__ import annotations

import torch
from transformers import (
    Qwen2Tokenizer,
    Qwen3ASRConfig,
    Qwen3ASRFeatureExtractor,
    Qwen3ASRForConditionalGeneration,
    Qwen3ASRProcessor,
)

from asr_headroom.models.qwen3_asr import PromptLanguage, Qwen3Asr
from asr_headroom.testing.tiny.vocabulary import add_special, byte_vocabulary

__all__ = ["tiny_qwen3_asr"]

# The wire format of the released template, without its tools.
_TEMPLATE = (
    "{%- set ns = namespace(system='') -%}"
    "{%- for m in messages if m.role == 'system' -%}{%- for c in m.content if c.type == 'text' -%}"
    "{%- set ns.system = ns.system + c.text -%}{%- endfor -%}{%- endfor -%}"
    "{{- '<|im_start|>system\n' + ns.system + '<|im_end|>\n' -}}"
    "{%- for m in messages -%}{%- if m.role == 'user' -%}{{- '<|im_start|>user\n' -}}"
    "{%- for c in m.content if c.type == 'audio' -%}{{- '<|audio_start|><|audio_pad|><|audio_end|>' -}}{%- endfor -%}"
    "{{- '<|im_end|>\n' -}}{%- elif m.role == 'assistant' -%}{{- '<|im_start|>assistant\n' -}}"
    "{%- for c in m.content if c.type == 'text' -%}{{- c.text -}}{%- endfor -%}{{- '<|im_end|>\n' -}}"
    "{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_start|>", "<|audio_end|>", "<|audio_pad|>")
_SCALE = 0.15
"""Of random weights, near one over the root of the width; with the usual 0.02 no audio reaches the output."""
_EMBEDDING_SCALE = 3.0
"""Of the token table on top, so that low-rank updates alone can move the logits far enough."""


def tiny_qwen3_asr(
    *, prompt_language: PromptLanguage = "forced", width: int = 32, layers: int = 1, seed: int = 0
) -> Qwen3Asr:
    """A Qwen3-ASR of the real class with random weights and a byte tokenizer.

    Args:
        prompt_language: who names the language.
        width: of encoder and language model.
        layers: of each.
        seed: of the weights.
    """
    tokenizer = Qwen2Tokenizer(
        vocab=byte_vocabulary(),
        merges=[],
        unk_token=None,  # type: ignore[arg-type]
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens={
            "audio_token": "<|audio_pad|>",
            "audio_bos_token": "<|audio_start|>",
            "audio_eos_token": "<|audio_end|>",
        },
    )
    ids = add_special(tokenizer, _SPECIAL) | add_special(tokenizer, ("<asr_text>", "<timestamp>"), special=False)
    ends = [ids["<|endoftext|>"], ids["<|im_end|>"]]
    config = Qwen3ASRConfig(
        audio_config={
            "d_model": width,
            "encoder_layers": layers,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 2 * width,
            "downsample_hidden_size": 8,
            "output_dim": width,
            "initializer_range": _SCALE,
        },
        text_config={
            "model_type": "qwen3",
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 512,
            "tie_word_embeddings": True,
            "initializer_range": _SCALE,
        },
        audio_token_id=ids["<|audio_pad|>"],
        timestamp_token_id=ids["<timestamp>"],
        pad_token_id=ids["<|endoftext|>"],
        eos_token_id=ends,
        initializer_range=_SCALE,
    )
    torch.manual_seed(seed)
    module = Qwen3ASRForConditionalGeneration(config).eval()
    module.get_input_embeddings().weight.data.mul_(_EMBEDDING_SCALE)
    module.generation_config.eos_token_id = ends
    module.generation_config.pad_token_id = ids["<|endoftext|>"]
    processor = Qwen3ASRProcessor(Qwen3ASRFeatureExtractor(), tokenizer, chat_template=_TEMPLATE)
    return Qwen3Asr(module, processor, model_id="tiny-qwen3-asr", prompt_language=prompt_language)
