"""Tiny Parakeet CTC, LASR and Granite Speech 5."""

from __future__ import annotations

from typing import Any, Literal

import torch
from transformers import (
    GraniteSpeech5CTCConfig,
    GraniteSpeech5ForCTC,
    LasrCTCConfig,
    LasrFeatureExtractor,
    LasrForCTC,
    LasrProcessor,
    LasrTokenizer,
    ParakeetCTCConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    ParakeetProcessor,
    ParakeetTokenizer,
)

from asr_headroom.models.granite_speech5_features import GraniteSpeech5Features, GraniteSpeech5Parts
from asr_headroom.models.mel_ctc import MelCtc
from asr_headroom.testing.tiny.pieces import piece_tokenizer

__all__ = ["tiny_mel_ctc"]


def tiny_mel_ctc(
    kind: Literal["parakeet", "lasr", "granite"] = "parakeet", *, width: int = 32, seed: int = 0
) -> MelCtc:
    """A model of the real class with random weights and a letter tokenizer.

    Args:
        kind: of model.
        width: of the encoder.
        seed: of the weights.
    """
    encoder: dict[str, Any] = dict.fromkeys(
        ("dropout", "layerdrop", "activation_dropout", "attention_dropout"), 0.0
    ) | {
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 2 * width,
        "conv_kernel_size": 5,
        "subsampling_conv_channels": 8,
        "initializer_range": 0.1,
    }
    torch.manual_seed(seed)
    module, processor = _PARTS[kind](encoder)
    return MelCtc(module.eval(), processor, model_id=f"tiny-{kind}-ctc")


def _parakeet(encoder: dict[str, Any]) -> tuple[Any, Any]:
    tokenizer = piece_tokenizer(("<unk>",), ("<pad>",), tokenizer_class=ParakeetTokenizer, pad_token="<pad>")
    config = ParakeetCTCConfig(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, encoder_config=encoder | {"num_mel_bins": 80}
    )
    return ParakeetForCTC(config), ParakeetProcessor(ParakeetFeatureExtractor(feature_size=80), tokenizer)


def _lasr(encoder: dict[str, Any]) -> tuple[Any, Any]:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    tokenizer = LasrTokenizer(vocab=pieces + [(c, -3.0) for c in "abcdefghijklmnopqrstuvwxyz'"], extra_ids=0)
    config = LasrCTCConfig(vocab_size=len(tokenizer), pad_token_id=0, encoder_config=encoder)
    return LasrForCTC(config), LasrProcessor(LasrFeatureExtractor(), tokenizer)


def _granite(encoder: dict[str, Any]) -> tuple[Any, Any]:
    tokenizer = piece_tokenizer(("<pad>", "<unk>"), tokenizer_class=ParakeetTokenizer, pad_token="<pad>")
    names = ("hidden_size", "num_attention_heads", "intermediate_size", "conv_kernel_size")
    config = GraniteSpeech5CTCConfig(
        vocab_size=len(tokenizer),
        pad_token_id=0,
        encoder_config={name: encoder[name] for name in names}
        | {"vocab_size": len(tokenizer), "num_hidden_layers": 4, "context_size": 16, "max_position_embeddings": 32},
    )
    return GraniteSpeech5ForCTC(config), GraniteSpeech5Parts(GraniteSpeech5Features(), tokenizer)


_PARTS = {"parakeet": _parakeet, "lasr": _lasr, "granite": _granite}
