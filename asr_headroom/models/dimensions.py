"""Dimensions of published checkpoints other than Whisper's, and where each is known from; torch-free.

Written as differences from transformers' config defaults, as ``config.json`` would hold them. A checkpoint whose
dimensions nobody here has seen is absent: a forecast of it needs its ``config.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["PublishedDimensions", "published_dimensions", "published_parameters"]

_DEFAULTS = "the defaults of transformers' config class, which names this checkpoint"


@dataclass(frozen=True)
class PublishedDimensions:
    """What the ``config.json`` of a checkpoint says of its size.

    Attributes:
        model_type: of the config.
        config: differences from the defaults of transformers' config class.
        source: where they are known from.
    """

    model_type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    source: str = _DEFAULTS


_QWEN_REPORT = "two independent readings of the published weights (antirez/qwen-asr, ivan-digital/qwen3-asr-swift)"
_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "do_stable_layer_norm": True,
}
"""wav2vec 2.0 and HuBERT in their large form (Baevski et al., 2020; Babu et al., 2021, arXiv:2111.09296)."""
_ONE_BILLION = {**_LARGE, "hidden_size": 1280, "num_hidden_layers": 48, "intermediate_size": 5120}
_XLSR_REPORT = "Babu et al. (2021), arXiv:2111.09296, table 2, in the layout of wav2vec 2.0's large model"

_GRANITE = {
    "audio_token_index": 100_352,
    "downsample_rate": 5,
    "window_size": 15,
    "has_lora_adapter": False,
    "tie_word_embeddings": False,
    "encoder_config": {
        "model_type": "granite_speech_encoder",
        "input_dim": 160,
        "num_layers": 16,
        "hidden_dim": 1024,
        "feedforward_mult": 4,
        "num_heads": 8,
        "dim_head": 128,
        "output_dim": 348,
        "context_size": 200,
        "max_pos_emb": 512,
        "dropout": 0.1,
        "conv_kernel_size": 15,
        "conv_expansion_factor": 2,
    },
    "projector_config": {
        "model_type": "blip_2_qformer",
        "hidden_size": 1024,
        "encoder_hidden_size": 1024,
        "num_hidden_layers": 2,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "max_position_embeddings": 2048,
        "cross_attention_frequency": 1,
    },
    "text_config": {
        "model_type": "granite",
        "vocab_size": 100_353,
        "hidden_size": 2048,
        "intermediate_size": 4096,
        "num_hidden_layers": 40,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "bos_token_id": 100_257,
        "eos_token_id": 100_257,
        "pad_token_id": 100_256,
    },
}
_GRANITE_REPORT = "config.json as three ports of the model repeat it; the weights are as many as its file holds"

_PUBLISHED: dict[str, PublishedDimensions] = {
    "Qwen/Qwen3-ASR-0.6B-hf": PublishedDimensions(
        "qwen3_asr",
        {
            "audio_config": {
                "model_type": "qwen3_asr_encoder",
                "d_model": 896,
                "encoder_layers": 18,
                "encoder_attention_heads": 14,
                "encoder_ffn_dim": 3584,
                "output_dim": 1024,
            },
            "text_config": {
                "model_type": "qwen3",
                "vocab_size": 151_936,
                "hidden_size": 1024,
                "intermediate_size": 3072,
                "num_hidden_layers": 28,
                "num_attention_heads": 16,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "max_position_embeddings": 65_536,
                "tie_word_embeddings": True,
            },
        },
        _QWEN_REPORT,
    ),
    "Qwen/Qwen3-ASR-1.7B-hf": PublishedDimensions(
        "qwen3_asr", {"audio_config": {"model_type": "qwen3_asr_encoder", "output_dim": 2048}}, _QWEN_REPORT
    ),
    "ibm-granite/granite-speech-4.1-2b": PublishedDimensions("granite_speech", _GRANITE, _GRANITE_REPORT),
    "ibm-granite/granite-4.0-1b-speech": PublishedDimensions("granite_speech", _GRANITE, _GRANITE_REPORT),
    "ibm-granite/granite-speech-4.1-2b-plus": PublishedDimensions(
        "granite_speech_plus",
        {
            **_GRANITE,
            "encoder_config": {
                **_GRANITE["encoder_config"],  # type: ignore[dict-item]
                "model_type": "granite_speech_plus_encoder",
                "cat_hidden_layers": [3],
            },
            "projector_config": {**_GRANITE["projector_config"], "encoder_hidden_size": 2048},  # type: ignore[dict-item]
        },
        "two conversions of the published weights",
    ),
    "ibm-granite/granite-speech-5.0-470m-turboctc": PublishedDimensions("granite_speech5_ctc"),
    "mistralai/Voxtral-Mini-3B-2507": PublishedDimensions("voxtral"),
    "mistralai/Voxtral-Small-24B-2507": PublishedDimensions(
        "voxtral",
        {
            "hidden_size": 5120,
            "text_config": {
                "model_type": "llama",
                "vocab_size": 131_072,
                "hidden_size": 5120,
                "intermediate_size": 32_768,
                "num_hidden_layers": 40,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "max_position_embeddings": 131_072,
                "tie_word_embeddings": False,
            },
        },
        "Mistral Small 3.1, whose language model it is (Liu et al., 2025, arXiv:2507.13264)",
    ),
    "zai-org/GLM-ASR-Nano-2512": PublishedDimensions("glmasr"),
    "FunAudioLLM/Fun-ASR-Nano-2512-hf": PublishedDimensions("fun_asr_nano"),
    "nvidia/canary-1b-v2": PublishedDimensions("canary"),
    "CohereLabs/cohere-transcribe-03-2026": PublishedDimensions("cohere_asr"),
    "UsefulSensors/moonshine-tiny": PublishedDimensions("moonshine"),
    "UsefulSensors/moonshine-base": PublishedDimensions(
        "moonshine",
        {
            "hidden_size": 416,
            "intermediate_size": 1664,
            "encoder_num_hidden_layers": 8,
            "decoder_num_hidden_layers": 8,
        },
        "Jeffries et al. (2024), arXiv:2410.15608, table 1",
    ),
    "nvidia/parakeet-ctc-1.1b": PublishedDimensions(
        "parakeet_ctc",
        {"encoder_config": {"model_type": "parakeet_encoder", "num_hidden_layers": 42}},
        "FastConformer XXL with 42 layers (Rekesh et al., 2023, arXiv:2305.05084)",
    ),
    "nvidia/parakeet-tdt-0.6b-v3": PublishedDimensions(
        "parakeet_tdt",
        {"encoder_config": {"model_type": "parakeet_encoder", "num_mel_bins": 128}},
        "transformers' defaults with the 128 mels that ports of the model state",
    ),
    "google/medasr": PublishedDimensions("lasr_ctc"),
    "facebook/wav2vec2-base-960h": PublishedDimensions("wav2vec2"),
    "facebook/wav2vec2-xls-r-300m": PublishedDimensions("wav2vec2", _LARGE, _XLSR_REPORT),
    "facebook/wav2vec2-xls-r-1b": PublishedDimensions("wav2vec2", _ONE_BILLION, _XLSR_REPORT),
    "facebook/mms-1b-all": PublishedDimensions(
        "wav2vec2",
        {**_ONE_BILLION, "adapter_attn_dim": 16, "vocab_size": 154},
        "Pratap et al. (2023), arXiv:2305.13516: XLS-R 1B's layout with adapters of 16; head of the English adapter",
    ),
    "facebook/hubert-large-ls960-ft": PublishedDimensions(
        "hubert", _LARGE, "Hsu et al. (2021), arXiv:2106.07447, in the layout of wav2vec 2.0's large model"
    ),
    "facebook/w2v-bert-2.0": PublishedDimensions("wav2vec2-bert", {"vocab_size": 32}, _DEFAULTS + "; a head of 32"),
}


_PARAMETERS = {
    "Qwen/Qwen3-ASR-0.6B-hf": 782_426_112,
    "Qwen/Qwen3-ASR-1.7B-hf": 2_038_052_480,
    "ibm-granite/granite-speech-4.1-2b": 2_313_141_596,
    "ibm-granite/granite-4.0-1b-speech": 2_313_141_596,
    "ibm-granite/granite-speech-4.1-2b-plus": 2_317_335_900,
    "ibm-granite/granite-speech-5.0-470m-turboctc": 472_928_256,
    "mistralai/Voxtral-Mini-3B-2507": 4_676_271_104,
    "mistralai/Voxtral-Small-24B-2507": 24_261_800_960,
    "zai-org/GLM-ASR-Nano-2512": 2_136_470_528,
    "FunAudioLLM/Fun-ASR-Nano-2512-hf": 829_791_840,
    "nvidia/canary-1b-v2": 962_155_520,
    "CohereLabs/cohere-transcribe-03-2026": 2_065_647_872,
    "UsefulSensors/moonshine-tiny": 27_092_736,
    "UsefulSensors/moonshine-base": 61_513_920,
    "nvidia/parakeet-ctc-1.1b": 1_062_540_289,
    "nvidia/parakeet-tdt-0.6b-v3": 627_450_502,
    "google/medasr": 105_265_408,
    "facebook/wav2vec2-base-960h": 94_396_320,
    "facebook/wav2vec2-xls-r-300m": 315_471_520,
    "facebook/wav2vec2-xls-r-1b": 962_538_400,
    "facebook/mms-1b-all": 964_845_850,
    "facebook/hubert-large-ls960-ft": 315_471_520,
    "facebook/w2v-bert-2.0": 580_525_920,
}
"""Counted in the real classes, by a test once more; so a list of models needs neither torch nor transformers."""


def published_dimensions() -> Mapping[str, PublishedDimensions]:
    """By hub id; Whisper's are in :mod:`asr_headroom.models.architecture`."""
    return _PUBLISHED


def published_parameters() -> Mapping[str, int]:
    """Weights of these checkpoints by hub id."""
    return _PARAMETERS
