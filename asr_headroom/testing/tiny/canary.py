"""A tiny Canary, and the tokenizer that it shares with Cohere Transcribe's."""

from __future__ import annotations

from typing import Any

import torch
from transformers import CanaryConfig, CanaryForConditionalGeneration, CanaryProcessor, ParakeetFeatureExtractor

from asr_headroom.models.canary import Canary
from asr_headroom.testing.tiny.parakeet_tdt import encoder_settings
from asr_headroom.testing.tiny.pieces import piece_tokenizer

__all__ = ["prompt_tokenizer", "tiny_canary", "token_ids"]

_SPECIAL = (
    *("<pad>", "<|endoftext|>", "<|startoftranscript|>", "<|startofcontext|>", "<|emo:undefined|>"),
    *("<|en|>", "<|de|>", "<|fr|>", "<|zh|>", "<|pnc|>", "<|nopnc|>", "<|noitn|>", "<|notimestamp|>", "<|nodiarize|>"),
)

_TEMPLATE = (
    "{%- for message in messages -%}{%- for part in message.content if part.type == 'text' -%}"
    "{{- '<|startofcontext|><|startoftranscript|><|emo:undefined|><|' + part.source_language + '|><|' "
    "+ part.target_language + '|>' + ('<|pnc|>' if part.punctuation else '<|nopnc|>') "
    "+ '<|noitn|><|notimestamp|><|nodiarize|>' -}}"
    "{%- endfor -%}{%- endfor -%}"
)


def prompt_tokenizer() -> Any:
    """Letters, and the tokens that NeMo's prompts are made of."""
    roles = {"bos_token": "<|startoftranscript|>", "eos_token": "<|endoftext|>", "pad_token": "<pad>"}
    return piece_tokenizer(("<unk>", *_SPECIAL), **roles)


def token_ids(tokenizer: Any) -> dict[str, Any]:
    """The ids that configs name."""
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def tiny_canary(*, width: int = 32, layers: int = 2, seed: int = 0) -> Canary:
    """A Canary of the real class with random weights and a letter tokenizer.

    Args:
        width: of encoder and decoder.
        layers: of the decoder.
        seed: of the weights.
    """
    tokenizer = prompt_tokenizer()
    ids = token_ids(tokenizer)
    decoder = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": width // 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.1,
    }
    config = CanaryConfig(
        encoder_config={"model_type": "parakeet_encoder", **encoder_settings(width)},
        decoder_config={**decoder, **ids},
        decoder_start_token_id=tokenizer.convert_tokens_to_ids("<|startofcontext|>"),
        initializer_range=0.1,
        **ids,
    )
    torch.manual_seed(seed)
    module = CanaryForConditionalGeneration(config).eval()
    # A random decoder with tied embeddings echoes its last token, of the prompt; keep it among the letters.
    with torch.no_grad():
        module.proj_out.bias[[i for i in tokenizer.all_special_ids if i != tokenizer.eos_token_id]] = -10.0
    processor = CanaryProcessor(ParakeetFeatureExtractor(feature_size=80), tokenizer, chat_template=_TEMPLATE)
    return Canary(module, processor, model_id="tiny-canary")
