"""A tiny Granite Speech, or its variant *plus*, whose projector hears inner layers of the encoder too."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GraniteSpeechConfig,
    GraniteSpeechForConditionalGeneration,
    GraniteSpeechPlusConfig,
    GraniteSpeechPlusForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from asr_headroom.models.granite_speech import GraniteSpeech, plain_processor
from asr_headroom.testing.tiny.vocabulary import add_special, byte_vocabulary

__all__ = ["tiny_granite_speech"]

_TEMPLATE = (
    "{%- for m in messages -%}{{- '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content "
    "+ '<|end_of_text|>\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|start_of_role|>assistant<|end_of_role|>' -}}{%- endif -%}"
)
_SPECIAL = ("<|end_of_text|>", "<|pad|>", "<|start_of_role|>", "<|end_of_role|>", "<|audio|>")
_SCALE = 0.15
"""Of random weights, near one over the root of the width; with the usual 0.02 no audio reaches the output."""
_EMBEDDING_SCALE = 3.0
"""Of the token table on top, so that low-rank updates alone can move the logits far enough."""


def tiny_granite_speech(
    *, plus: bool = False, has_lora_adapter: bool = False, width: int = 32, seed: int = 0
) -> GraniteSpeech:
    """A Granite Speech of the real class with random weights and a byte tokenizer.

    Args:
        plus: the variant.
        has_lora_adapter: the config says that an adapter lies beside the weights.
        width: of encoder, projector and language model.
        seed: of the weights.
    """
    pieces = Tokenizer(models.BPE(vocab=byte_vocabulary(), merges=[]))
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        eos_token="<|end_of_text|>",
        bos_token="<|end_of_text|>",
        pad_token="<|pad|>",
        padding_side="left",
        extra_special_tokens={"audio_token": "<|audio|>"},
    )
    ids = add_special(tokenizer, _SPECIAL)
    tokenizer.chat_template = _TEMPLATE
    end, pad = ids["<|end_of_text|>"], ids["<|pad|>"]
    encoder: dict[str, Any] = {
        "num_layers": 2,
        "hidden_dim": width,
        "feedforward_mult": 2,
        "num_heads": 4,
        "context_size": 50,
        "max_pos_emb": 64,
        "dropout": 0.0,
        "conv_kernel_size": 7,
        "initializer_range": _SCALE,
    }
    if plus:
        encoder["cat_hidden_layers"] = [1]
    settings: dict[str, Any] = {
        "encoder_config": encoder,
        "projector_config": {
            "model_type": "blip_2_qformer",
            "hidden_size": width,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "intermediate_size": 2 * width,
            "encoder_hidden_size": width * (2 if plus else 1),
            "vocab_size": len(tokenizer),
            "attention_probs_dropout_prob": 0.0,
            "hidden_dropout_prob": 0.0,
            "initializer_range": _SCALE,
        },
        "text_config": {
            "model_type": "granite",
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "logits_scaling": 2.0,
            "initializer_range": _SCALE,
            "pad_token_id": pad,
            "bos_token_id": end,
            "eos_token_id": end,
        },
        "audio_token_index": ids["<|audio|>"],
        "has_lora_adapter": has_lora_adapter,
        "initializer_range": _SCALE,
    }
    torch.manual_seed(seed)
    if plus:
        module: Any = GraniteSpeechPlusForConditionalGeneration(GraniteSpeechPlusConfig(**settings)).eval()
    else:
        module = GraniteSpeechForConditionalGeneration(GraniteSpeechConfig(**settings)).eval()
    module.get_input_embeddings().weight.data.mul_(_EMBEDDING_SCALE)
    module.generation_config.eos_token_id = end
    module.generation_config.pad_token_id = pad
    config = {
        "audio_processor": {"feature_extractor_type": "GraniteSpeechFeatureExtractor", "sampling_rate": 16_000},
        "audio_token": "<|audio|>",
        "processor_class": "GraniteSpeechProcessor",
    }
    return GraniteSpeech(module, plain_processor(tokenizer, config), model_id="tiny-granite-speech")
