"""A tiny Fun-ASR-Nano."""

from __future__ import annotations

import torch
from transformers import FunAsrNanoConfig, FunAsrNanoForConditionalGeneration, Qwen2Tokenizer

from asr_headroom.models.fun_asr_nano import FunAsrNano, plain_processor
from asr_headroom.testing.tiny.vocabulary import add_special, byte_vocabulary

__all__ = ["tiny_fun_asr_nano"]

_TEMPLATE = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\n' -}}"
    "{%- for c in m.content if c.type == 'language' -%}{{- '语音转写成' + c.language + '：' -}}{%- endfor -%}"
    "{%- for c in m.content if c.type == 'audio' -%}{{- '<|object_ref_start|>' -}}{%- endfor -%}"
    "{{- '<|im_end|>\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>")
_SCALE = 0.15
"""Of random weights, near one over the root of the width; with the usual 0.02 no audio reaches the output."""
_EMBEDDING_SCALE = 3.0
"""Of the token table on top, so that low-rank updates alone can move the logits far enough."""


def tiny_fun_asr_nano(*, width: int = 32, seed: int = 0) -> FunAsrNano:
    """A Fun-ASR-Nano of the real class with random weights and a byte tokenizer.

    Args:
        width: of adaptor and language model; the encoder is half as wide.
        seed: of the weights.
    """
    tokenizer = Qwen2Tokenizer(
        vocab=byte_vocabulary(),
        merges=[],
        unk_token=None,  # type: ignore[arg-type]
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    ids = add_special(tokenizer, _SPECIAL)
    tokenizer.chat_template = _TEMPLATE
    config = FunAsrNanoConfig(
        audio_config={
            "hidden_size": width // 2,
            "num_attention_heads": 4,
            "intermediate_size": width,
            "num_hidden_layers": 3,
            "num_timestamp_prediction_layers": 1,
            "max_position_embeddings": 400,
            "hidden_dropout": 0.0,
            "attention_dropout": 0.0,
            "initializer_range": _SCALE,
        },
        adaptor_config={
            "hidden_size": width,
            "num_attention_heads": 4,
            "intermediate_size": width // 4,
            "num_hidden_layers": 1,
            "projector_hidden_size": width,
        },
        text_config={
            "model_type": "qwen3",
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 512,
            "tie_word_embeddings": True,
            "eos_token_id": ids["<|im_end|>"],
            "initializer_range": _SCALE,
        },
        audio_token_id=ids["<|object_ref_start|>"],
        initializer_range=_SCALE,
    )
    torch.manual_seed(seed)
    module = FunAsrNanoForConditionalGeneration(config).eval()
    module.get_input_embeddings().weight.data.mul_(_EMBEDDING_SCALE)
    module.generation_config.eos_token_id = ids["<|im_end|>"]
    module.generation_config.pad_token_id = ids["<|endoftext|>"]
    settings = {
        "feature_extractor": {"feature_extractor_type": "FunAsrNanoFeatureExtractor", "sampling_rate": 16_000},
        "audio_token": "<|object_ref_start|>",
        "processor_class": "FunAsrNanoProcessor",
    }
    return FunAsrNano(module, plain_processor(tokenizer, settings), model_id="tiny-fun-asr-nano")
