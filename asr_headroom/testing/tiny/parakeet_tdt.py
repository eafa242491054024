"""A tiny Parakeet TDT, and what it shares with other tiny models over a FastConformer encoder."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    ParakeetFeatureExtractor,
    ParakeetForRNNT,
    ParakeetForTDT,
    ParakeetProcessor,
    ParakeetRNNTConfig,
    ParakeetTDTConfig,
    ParakeetTokenizer,
)

from asr_headroom.models.parakeet_transducer import ParakeetTransducer
from asr_headroom.testing.tiny.pieces import piece_tokenizer

__all__ = ["encoder_settings", "tiny_parakeet_tdt", "tiny_transducer"]


def encoder_settings(width: int = 32) -> dict[str, Any]:
    """A ``ParakeetEncoderConfig`` of two layers without dropout."""
    silent = dict.fromkeys(("dropout", "layerdrop", "activation_dropout", "attention_dropout"), 0.0)
    return {
        **silent,
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 2 * width,
        "conv_kernel_size": 5,
        "subsampling_conv_channels": 8,
        "num_mel_bins": 80,
        "initializer_range": 0.1,
    }


def tiny_parakeet_tdt(
    *, durations: tuple[int, ...] = (0, 1, 2, 3, 4), width: int = 32, seed: int = 0
) -> ParakeetTransducer:
    """A Parakeet TDT of the real class with random weights and a letter tokenizer.

    Args:
        durations: frames that a token or blank can take.
        width: of encoder and prediction network.
        seed: of the weights.
    """
    return tiny_transducer("tdt", width=width, seed=seed, durations=list(durations))


def tiny_transducer(kind: str, *, width: int, seed: int, **settings: Any) -> ParakeetTransducer:
    """A tiny Parakeet; ``kind`` is tdt or rnnt, ``settings`` go into its config."""
    tokenizer = piece_tokenizer(("<unk>", "<pad>"), ("<blank>",), tokenizer_class=ParakeetTokenizer, pad_token="<pad>")
    classes: dict[str, tuple[Any, Any]] = {
        "tdt": (ParakeetTDTConfig, ParakeetForTDT),
        "rnnt": (ParakeetRNNTConfig, ParakeetForRNNT),
    }
    config_class, model_class = classes[kind]
    config = config_class(
        vocab_size=len(tokenizer),
        decoder_hidden_size=width,
        num_decoder_layers=1,
        encoder_config=encoder_settings(width),
        pad_token_id=tokenizer.convert_tokens_to_ids("<pad>"),
        blank_token_id=tokenizer.convert_tokens_to_ids("<blank>"),
        **settings,
    )
    torch.manual_seed(seed)
    module = model_class(config).eval()
    module.generation_config.decoder_start_token_id = config.blank_token_id
    module.generation_config.pad_token_id = config.pad_token_id
    processor = ParakeetProcessor(ParakeetFeatureExtractor(feature_size=80), tokenizer, decoder_type=kind)
    return ParakeetTransducer(module, processor, model_id=f"tiny-parakeet-{kind}")
