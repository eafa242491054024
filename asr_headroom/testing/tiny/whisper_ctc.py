"""A tiny Whisper encoder with a CTC head over letters."""

from __future__ import annotations

import torch
from transformers import Wav2Vec2Processor, WhisperFeatureExtractor

from asr_headroom.models.ctc_text import make_tokenizer
from asr_headroom.models.whisper_ctc import WhisperCtc, WhisperCtcConfig, WhisperForCTC
from asr_headroom.models.whisper_encoder import Window
from asr_headroom.testing.tiny.wav2vec2_ctc import LETTERS

__all__ = ["tiny_whisper_ctc"]


def tiny_whisper_ctc(
    *, window: Window = "full", window_seconds: int = 3, width: int = 32, layers: int = 2, seed: int = 0
) -> WhisperCtc:
    """The encoder with random weights and a head over letters.

    Args:
        window: full or fit.
        window_seconds: the full window; Whisper's own is 30.
        width: of the model.
        layers: of the encoder.
        seed: of the weights.
    """
    config = WhisperCtcConfig(
        vocab_size=len(LETTERS.tokens),
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        num_mel_bins=80,
        d_model=width,
        encoder_layers=layers,
        encoder_attention_heads=2,
        encoder_ffn_dim=2 * width,
        decoder_layers=0,
        max_source_positions=window_seconds * 50,
        dropout=0.0,
        init_std=0.1,
    )
    torch.manual_seed(seed)
    module = WhisperForCTC(config).eval()
    processor = Wav2Vec2Processor(WhisperFeatureExtractor(chunk_length=window_seconds), make_tokenizer(LETTERS))
    return WhisperCtc(module, processor, model_id="tiny-whisper-ctc", window=window, vocabulary=LETTERS)
