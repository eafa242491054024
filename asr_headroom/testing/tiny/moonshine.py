"""A tiny Moonshine."""

from __future__ import annotations

import torch
from transformers import (
    MoonshineConfig,
    MoonshineForConditionalGeneration,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
)

from asr_headroom.models.moonshine import Moonshine
from asr_headroom.testing.tiny.pieces import piece_tokenizer

__all__ = ["tiny_moonshine"]


def tiny_moonshine(*, width: int = 32, layers: int = 2, seed: int = 0) -> Moonshine:
    """A Moonshine of the real class with random weights and a letter tokenizer.

    Args:
        width: of the model.
        layers: of encoder and decoder each.
        seed: of the weights.
    """
    roles = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    tokenizer = piece_tokenizer(("<unk>", "<s>", "</s>"), **roles)
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    config = MoonshineConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        encoder_num_hidden_layers=layers,
        decoder_num_hidden_layers=layers,
        encoder_num_attention_heads=2,
        decoder_num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.1,
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
    )
    torch.manual_seed(seed)
    module = MoonshineForConditionalGeneration(config).eval()
    features = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
    return Moonshine(module, Wav2Vec2Processor(features, tokenizer), model_id="tiny-moonshine")
