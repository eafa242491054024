"""Tiny wav2vec 2.0, HuBERT and wav2vec2-BERT with CTC heads over letters."""

from __future__ import annotations

from typing import Any, Literal

import torch
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioForCTC,
    HubertConfig,
    HubertForCTC,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2BertProcessor,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)

from asr_headroom.models.ctc_text import make_tokenizer
from asr_headroom.models.vocabulary import Vocabulary
from asr_headroom.models.wav2vec2_ctc import Wav2Vec2Ctc

_CLASSES: dict[str, tuple[Any, Any]] = {
    "data2vec": (Data2VecAudioConfig, Data2VecAudioForCTC),
    "hubert": (HubertConfig, HubertForCTC),
}

__all__ = ["LETTERS", "tiny_wav2vec2_ctc"]

LETTERS = Vocabulary(tuple(" 'abcdefghijklmnopqrstuvwxyz"), "basic")
"""What tiny CTC heads write."""


def tiny_wav2vec2_ctc(
    kind: Literal["xlsr", "base", "hubert", "bert", "data2vec"] = "xlsr",
    *,
    width: int = 32,
    layers: int = 2,
    seed: int = 0,
) -> Wav2Vec2Ctc:
    """A model of the real class with random weights and a head over letters.

    Args:
        kind: xlsr has layer norm and a padding mask, base group norm and none.
        width: of the model.
        layers: of the encoder.
        seed: of the weights.
    """
    tokenizer = make_tokenizer(LETTERS)
    settings: dict[str, Any] = {
        "vocab_size": len(LETTERS.tokens),
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": None,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 2 * width,
        "initializer_range": 0.1,
        **dict.fromkeys(
            (
                "hidden_dropout",
                "attention_dropout",
                "activation_dropout",
                "feat_proj_dropout",
                "final_dropout",
                "layerdrop",
                "conformer_conv_dropout",
            ),
            0.0,
        ),
    }
    torch.manual_seed(seed)
    module: Any
    processor: Any
    if kind == "bert":
        features = SeamlessM4TFeatureExtractor(feature_size=40, num_mel_bins=40)
        config = Wav2Vec2BertConfig(feature_projection_input_dim=80, conv_depthwise_kernel_size=7, **settings)
        processor = Wav2Vec2BertProcessor(features, tokenizer)
        module = Wav2Vec2BertForCTC(config)
    else:
        is_large = kind != "base"
        settings |= {
            "conv_dim": [width] * 7,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 2,
            "feat_extract_norm": "layer" if is_large else "group",
            "do_stable_layer_norm": is_large,
        }
        processor = Wav2Vec2Processor(Wav2Vec2FeatureExtractor(return_attention_mask=is_large), tokenizer)
        config_class, model_class = _CLASSES.get(kind, (Wav2Vec2Config, Wav2Vec2ForCTC))
        module = model_class(config_class(**settings))
    return Wav2Vec2Ctc(module.eval(), processor, model_id=f"tiny-{kind}-ctc")
