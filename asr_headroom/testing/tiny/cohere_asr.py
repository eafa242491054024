"""A tiny Cohere Transcribe."""

from __future__ import annotations

import torch
from transformers import (
    CohereAsrConfig,
    CohereAsrFeatureExtractor,
    CohereAsrForConditionalGeneration,
    CohereAsrProcessor,
)

from asr_headroom.models.cohere_asr import CohereAsr
from asr_headroom.testing.tiny.canary import prompt_tokenizer, token_ids
from asr_headroom.testing.tiny.parakeet_tdt import encoder_settings

__all__ = ["tiny_cohere_asr"]


def tiny_cohere_asr(*, width: int = 32, layers: int = 2, max_seconds: float = 4.0, seed: int = 0) -> CohereAsr:
    """A Cohere Transcribe of the real class with random weights and a letter tokenizer.

    Args:
        width: of encoder and decoder.
        layers: of the decoder.
        max_seconds: beyond which its feature extractor would cut; the real one's is 35.
        seed: of the weights.
    """
    tokenizer = prompt_tokenizer()
    config = CohereAsrConfig(
        encoder_config={"model_type": "parakeet_encoder", **encoder_settings(width)},
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=width // 2,
        max_position_embeddings=64,
        initializer_range=0.1,
        decoder_start_token_id=tokenizer.convert_tokens_to_ids("▁"),
        **token_ids(tokenizer),
    )
    torch.manual_seed(seed)
    module = CohereAsrForConditionalGeneration(config).eval()
    features = CohereAsrFeatureExtractor(feature_size=80, max_audio_clip_s=max_seconds, overlap_chunk_second=1.0)
    return CohereAsr(module, CohereAsrProcessor(features, tokenizer), model_id="tiny-cohere-asr")
