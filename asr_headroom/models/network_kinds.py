"""How often each matrix of a model is used for a second of audio and for a token, by the type of its config.

The one place that describes families' cost from outside their files: it is read before anything of a family is
imported, for a model that may not be there. Tests hold patterns and rates to what torch counts in the families' own
forward passes, and the targets to the families' own.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

__all__ = ["NETWORK_KINDS", "NetworkKind", "Stage"]


class Stage(NamedTuple):
    """Matrices that see the same positions.

    Attributes:
        pattern: of their modules' names, from the beginning; the first stage that matches has the matrix.
        clock: what there is a position for: ``audio`` frames, tokens of the ``text`` with its prompt, ``both`` in one
            sequence, supervised ``targets``, or a ``lattice`` of frames by targets.
        rate: positions of a second of audio; of a two-dimensional convolution, times its bins of frequency.
        whole: seconds to a multiple of which audio is padded; 0 for none.
        window: seconds that attention looks over; 0 for everything.
        queries: ending of the matrices that make the queries of an attention, one for each.
        keys_rate: frames per second of the audio that they look at, where it is not their own sequence.
        kept: values that autograd keeps, as a multiple of a plain transformer layer's; measured on small models.
        scores: matrices of attention weights that it keeps per head, where no fused kernel does without them.
    """

    pattern: str
    clock: Literal["audio", "text", "both", "targets", "lattice"] = "audio"
    rate: float = 0.0
    whole: float = 0.0
    window: float = 0.0
    queries: str = ""
    keys_rate: float = 0.0
    kept: float = 1.0
    scores: float = 0.0

    def positions(self, seconds: float, tokens: float, targets: float) -> float:
        """Positions of one row of a batch.

        Args:
            seconds: of audio.
            tokens: that the text side reads, prompt included.
            targets: that are supervised.
        """
        frames = self.rate * self._heard(seconds)
        amounts = {"audio": frames, "text": tokens, "both": frames + tokens, "targets": targets}
        return amounts.get(self.clock, frames * (targets + 1))

    def keys(self, seconds: float, tokens: float, targets: float) -> float:
        """Positions that each query looks at, as the kernels compute them."""
        if self.keys_rate:
            return self.keys_rate * seconds
        positions = self.positions(seconds, tokens, targets)
        return min(positions, self.rate * self.window) if self.window else positions

    def _heard(self, seconds: float) -> float:
        return max(1, math.ceil(seconds / self.whole)) * self.whole if self.whole else seconds


class NetworkKind(NamedTuple):
    """One type of config.

    Attributes:
        model_class: with its module.
        lora_targets: of the family's model card.
        head: module of the output head.
        stages: in the order of the forward pass.
        max_duration: seconds of a recording.
        prompt_tokens: that the text side reads before the transcript, about.
    """

    model_class: str
    lora_targets: str | tuple[str, ...]
    head: str
    stages: tuple[Stage, ...]
    max_duration: float = math.inf
    prompt_tokens: int = 0


_SEQ2SEQ_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
_LLM_TARGETS = r"model\.(language_model|audio_tower)\..*\.(q_proj|k_proj|v_proj|o_proj)"
_LLM_TARGETS_OUT = r"model\.(language_model|audio_tower)\..*\.(q_proj|k_proj|v_proj|o_proj|out_proj)"
_CONFORMER_TARGETS = r".*\.self_attn\.(q_proj|k_proj|v_proj|o_proj)"
_WAV2VEC2_TARGETS = r".*\.attention\.(q_proj|k_proj|v_proj|out_proj)"


def _language_model(rate: float, *, whole: float = 0.0) -> tuple[Stage, ...]:
    """A projector and a decoder-only language model that reads audio and text; its head sees supervised tokens."""
    return (
        Stage(r"model\.multi_modal_projector", "audio", rate, whole),
        Stage(r"model\.language_model", "both", rate, whole, queries=".q_proj", kept=1.4),
        Stage("lm_head", "targets"),
    )


def _whisper_encoder(prefix: str) -> tuple[Stage, ...]:
    """Over windows of 30 s, padded."""
    return (
        Stage(prefix + r"\.conv1", "audio", 100, 30),
        Stage(prefix, "audio", 50, 30, window=30, queries=".q_proj"),
    )


def _fast_conformer(prefix: str, mels: int) -> tuple[Stage, ...]:
    """Three strided convolutions, then layers at 12.5 Hz (Rekesh et al., 2023); the middle ones are depthwise."""
    sub = prefix + r"subsampling\.layers\."
    return (
        Stage(sub + "0$", "audio", 50 * mels / 2),
        Stage(sub + "[23]$", "audio", 25 * mels / 4),
        Stage(sub + "[56]$", "audio", 12.5 * mels / 8),
        Stage(prefix, "audio", 12.5, queries=".q_proj", scores=2),
    )


def _decoder(prefix: str, keys_rate: float, head: str) -> tuple[Stage, ...]:
    """Of an encoder-decoder: keys and values of its second attention are made of audio."""
    return (
        Stage(prefix + r"\.(proj$|layers\.\d+\.encoder_attn\.[kv]_proj)", "audio", keys_rate),
        Stage(prefix + r"\.layers\.\d+\.encoder_attn", "text", queries=".q_proj", keys_rate=keys_rate),
        Stage(prefix, "text", queries=".q_proj"),
        Stage(head, "targets"),
    )


def _transducer(model_class: str) -> NetworkKind:
    return NetworkKind(
        model_class,
        (*_SEQ2SEQ_TARGETS, "encoder_projector", "decoder_projector", "joint.head"),
        "joint",
        (
            *_fast_conformer(r"encoder\.", 128),
            Stage("encoder_projector", "audio", 12.5),
            Stage("decoder", "text"),
            Stage("joint", "lattice", 12.5),
        ),
        prompt_tokens=1,
    )


def _wav2vec2(model_class: str, prefix: str) -> NetworkKind:
    """Seven strided convolutions over the waveform, then layers at 50 Hz."""
    convolutions = prefix + r"\.feature_extractor\.conv_layers\."
    rates = (3200, 1600, 800, 400, 200, 100, 50)
    return NetworkKind(
        model_class,
        _WAV2VEC2_TARGETS,
        "lm_head",
        (
            *(Stage(rf"{convolutions}{number}\.", "audio", rate, kept=2) for number, rate in enumerate(rates)),
            Stage(prefix, "audio", 50, queries=".q_proj"),
            Stage("lm_head", "audio", 50),
        ),
    )


_GRANITE_TARGETS = r"model\.language_model\..*\.(q_proj|k_proj|v_proj|o_proj)|model\.encoder\..*\.(to_q|to_kv|to_out)"


def _granite(model_class: str) -> NetworkKind:
    return NetworkKind(
        model_class,
        _GRANITE_TARGETS,
        "lm_head",
        (
            Stage(r"model\.encoder", "audio", 50, window=4, queries=".to_q", kept=1.1, scores=3),
            Stage(r"model\.projector\..*crossattention\.attention\.(key|value)", "audio", 50),
            Stage(r"model\.projector", "audio", 10),
            Stage(r"model\.language_model", "both", 10, queries=".q_proj", kept=1.4),
            Stage("lm_head", "targets"),
        ),
        prompt_tokens=20,
    )


NETWORK_KINDS: dict[str, NetworkKind] = {
    "canary": NetworkKind(
        "transformers.CanaryForConditionalGeneration",
        _SEQ2SEQ_TARGETS,
        "proj_out",
        (*_fast_conformer(r"model\.encoder\.", 128), *_decoder(r"model\.decoder", 12.5, "proj_out")),
        prompt_tokens=10,
    ),
    "cohere_asr": NetworkKind(
        "transformers.CohereAsrForConditionalGeneration",
        _SEQ2SEQ_TARGETS,
        "proj_out",
        (*_fast_conformer(r"model\.encoder\.", 128), *_decoder(r"model\.decoder", 12.5, "proj_out")),
        max_duration=35.0,
        prompt_tokens=10,
    ),
    "fun_asr_nano": NetworkKind(
        "transformers.FunAsrNanoForConditionalGeneration",
        _LLM_TARGETS,
        "lm_head",
        (Stage(r"model\.audio_tower", "audio", 50 / 3, queries=".q_proj"), *_language_model(50 / 3)),
        max_duration=122.0,
        prompt_tokens=20,
    ),
    "glmasr": NetworkKind(
        "transformers.GlmAsrForConditionalGeneration",
        _LLM_TARGETS,
        "lm_head",
        (*_whisper_encoder(r"model\.audio_tower"), *_language_model(12.5)),
        max_duration=655.0,
        prompt_tokens=20,
    ),
    "granite_speech": _granite("transformers.GraniteSpeechForConditionalGeneration"),
    "granite_speech_plus": _granite("transformers.GraniteSpeechPlusForConditionalGeneration"),
    "granite_speech5_ctc": NetworkKind(
        "transformers.GraniteSpeech5ForCTC",
        _CONFORMER_TARGETS,
        "ctc_head",
        (
            Stage(r"encoder\.input_linear", "audio", 50),
            # The convolutions of the first two layers halve the frames.
            Stage(
                r"encoder\.layers\.0\.(feed_forward1|self_attn|conv\.pointwise_lin1)",
                "audio",
                50,
                window=2.56,
                queries=".q_proj",
            ),
            Stage(
                r"encoder\.layers\.(0\.|1\.(feed_forward1|self_attn|conv\.pointwise_lin1))",
                "audio",
                25,
                window=5.12,
                queries=".q_proj",
            ),
            Stage("", "audio", 12.5, window=10.24, queries=".q_proj"),
        ),
    ),
    "lasr_ctc": NetworkKind(
        "transformers.LasrForCTC",
        _CONFORMER_TARGETS,
        "ctc_head",
        (
            Stage(r"encoder\.subsampler\.dense_0", "audio", 100),
            Stage(r"encoder\.subsampler\.conv_0", "audio", 50),
            Stage("", "audio", 25, queries=".q_proj"),
        ),
    ),
    "moonshine": NetworkKind(
        "transformers.MoonshineForConditionalGeneration",
        _SEQ2SEQ_TARGETS,
        "proj_out",
        (
            Stage(r"model\.encoder\.conv1", "audio", 250),
            Stage(r"model\.encoder\.conv2", "audio", 250 / 3),
            Stage(r"model\.encoder", "audio", 125 / 3, queries=".q_proj"),
            *_decoder(r"model\.decoder", 125 / 3, "proj_out"),
        ),
        prompt_tokens=1,
    ),
    "parakeet_ctc": NetworkKind(
        "transformers.ParakeetForCTC",
        _CONFORMER_TARGETS,
        "ctc_head",
        (*_fast_conformer(r"encoder\.", 80), Stage("ctc_head", "audio", 12.5)),
    ),
    "parakeet_rnnt": _transducer("transformers.ParakeetForRNNT"),
    "parakeet_tdt": _transducer("transformers.ParakeetForTDT"),
    "qwen3_asr": NetworkKind(
        "transformers.Qwen3ASRForConditionalGeneration",
        _LLM_TARGETS_OUT,
        "lm_head",
        (
            # Convolved by whole seconds, of which 100 frames become 50, 25 and 13, and 128 mels 64, 32 and 16.
            Stage(r"model\.audio_tower\.conv2d1", "audio", 50 * 64, 1, kept=2),
            Stage(r"model\.audio_tower\.conv2d2", "audio", 25 * 32, 1, kept=2),
            Stage(r"model\.audio_tower\.conv2d3", "audio", 13 * 16, 1, kept=2),
            Stage(r"model\.audio_tower\.conv_out", "audio", 13, 1),
            Stage(r"model\.audio_tower", "audio", 13, window=8, queries=".q_proj"),
            *_language_model(13),
        ),
        max_duration=1200.0,
        prompt_tokens=15,
    ),
    "voxtral": NetworkKind(
        "transformers.VoxtralForConditionalGeneration",
        _LLM_TARGETS_OUT,
        "lm_head",
        (*_whisper_encoder(r"model\.audio_tower"), *_language_model(12.5, whole=30)),
        max_duration=1800.0,
        prompt_tokens=10,
    ),
    "hubert": _wav2vec2("transformers.HubertForCTC", "hubert"),
    "wav2vec2": _wav2vec2("transformers.Wav2Vec2ForCTC", "wav2vec2"),
    "data2vec-audio": _wav2vec2("transformers.Data2VecAudioForCTC", "data2vec_audio"),
    "wav2vec2-bert": NetworkKind(
        "transformers.Wav2Vec2BertForCTC",
        r".*\.self_attn\.(linear_q|linear_k|linear_v|linear_out)",
        "lm_head",
        (Stage("", "audio", 50, queries=".linear_q", kept=1.5, scores=4),),
    ),
    # For decoding alone: training has a finer description in asr_headroom.models.architecture.
    "whisper": NetworkKind(
        "transformers.WhisperForConditionalGeneration",
        ("q_proj", "k_proj", "v_proj", "out_proj"),
        "proj_out",
        (*_whisper_encoder(r"model\.encoder"), *_decoder(r"model\.decoder", 50, "proj_out")),
        max_duration=30.0,
        prompt_tokens=4,
    ),
    "whisper_ctc": NetworkKind(
        "asr_headroom.models.whisper_ctc.WhisperForCTC",
        r"encoder\..*\.(q_proj|k_proj|v_proj|out_proj)",
        "ctc_head",
        (
            Stage(r"encoder\.conv1", "audio", 100),
            Stage("", "audio", 50, queries=".q_proj"),
        ),
        max_duration=30.0,
    ),
}
