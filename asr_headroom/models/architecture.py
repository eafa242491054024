"""The dimensions of a model, known before its weights are there: what parameters, cost and memory follow from.

:func:`read_architecture` takes them from a table of published checkpoints or from a local folder's ``config.json``;
neither torch nor weights are needed. Start reading at :class:`Architecture`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from asr_headroom.errors import ModelError, did_you_mean

__all__ = ["Architecture", "Projection", "known_architectures", "parse_architecture", "read_architecture"]

_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")


class Projection(NamedTuple):
    """One matrix of a layer, under its name in the module: ``inputs`` wide in, ``outputs`` wide out."""

    name: str
    inputs: int
    outputs: int


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Dimensions of an encoder-decoder of Whisper's class.

    Attributes:
        family: name in the registry.
        encoder_layers: and ``decoder_layers``: how many.
        d_model: width of both.
        encoder_ffn: and ``decoder_ffn``: inner width of their feed-forward parts.
        encoder_heads: and ``decoder_heads``: of attention.
        vocab_size: tokens; the output projection shares its matrix with the embedding where ``tied``.
        num_mel_bins: of the features.
        max_source_positions: encoder frames of a full window.
        max_target_positions: decoder positions.
        max_duration: seconds of a full window.
        dropout: after each part of a layer while training.
        activation_dropout: inside the feed-forward part.
        attention_dropout: of attention weights.
        tied: see ``vocab_size``.
    """

    family: str = "whisper"
    encoder_layers: int
    decoder_layers: int
    d_model: int
    encoder_ffn: int
    decoder_ffn: int
    encoder_heads: int
    decoder_heads: int
    vocab_size: int
    num_mel_bins: int
    max_source_positions: int = 1500
    max_target_positions: int = 448
    max_duration: float = 30.0
    dropout: float = 0.0
    activation_dropout: float = 0.0
    attention_dropout: float = 0.0
    tied: bool = True

    def frames(self, seconds: float) -> int:
        """Encoder frames of a window of ``seconds``, at most the full window."""
        return min(self.max_source_positions, round(seconds * self.max_source_positions / self.max_duration))

    def encoder_projections(self, layer: int) -> list[Projection]:
        """The matrices of one encoder layer."""
        return self._layer(f"model.encoder.layers.{layer}", ("self_attn",), self.encoder_ffn)

    def decoder_projections(self, layer: int) -> list[Projection]:
        """The matrices of one decoder layer; ``encoder_attn`` attends to the encoder."""
        return self._layer(f"model.decoder.layers.{layer}", ("self_attn", "encoder_attn"), self.decoder_ffn)

    def projections(self) -> Iterator[Projection]:
        """All matrices that low-rank updates can attach to: those of the layers, then the output's."""
        for layer in range(self.encoder_layers):
            yield from self.encoder_projections(layer)
        for layer in range(self.decoder_layers):
            yield from self.decoder_projections(layer)
        yield Projection("proj_out", self.d_model, self.vocab_size)

    @property
    def encoder_layer_parameters(self) -> int:
        """Weights of one encoder layer: matrices, biases (keys have none), two norms."""
        return self._layer_parameters(self.encoder_projections(0), norms=2)

    @property
    def decoder_layer_parameters(self) -> int:
        """Weights of one decoder layer: matrices, biases (keys have none), three norms."""
        return self._layer_parameters(self.decoder_projections(0), norms=3)

    @property
    def stem_parameters(self) -> int:
        """Weights of the two convolutions (kernel 3) before the encoder's layers."""
        return 3 * self.d_model * (self.num_mel_bins + self.d_model) + 2 * self.d_model

    @property
    def fixed_parameters(self) -> int:
        """The encoder's sinusoidal positions: counted as weights, never trained."""
        return self.max_source_positions * self.d_model

    @property
    def parameters(self) -> int:
        """All weights, shared ones counted once."""
        embeddings = (self.vocab_size * (1 if self.tied else 2) + self.max_target_positions) * self.d_model
        layers = (
            self.encoder_layers * self.encoder_layer_parameters + self.decoder_layers * self.decoder_layer_parameters
        )
        return self.stem_parameters + self.fixed_parameters + layers + embeddings + 4 * self.d_model

    def lora_projections(self, targets: Sequence[str]) -> list[Projection]:
        """The matrices that low-rank updates with these targets attach to, by PEFT's rule for a list of names.

        Raises:
            ModelError: one of the names is no matrix of this model.
        """
        known = list(self.projections())
        for target in targets:
            if not any(_names(target, projection) for projection in known):
                last = sorted({projection.name.rpartition(".")[2] for projection in known})
                raise ModelError(
                    f"lora.target_modules names '{target}', which no projection of this model is called"
                    f"{did_you_mean(target, last)} (there are: {', '.join(last)})"
                )
        return [projection for projection in known if any(_names(target, projection) for target in targets)]

    def lora_parameters(self, rank: int, targets: Sequence[str] = _ATTENTION) -> int:
        """Weights that low-rank updates add and train: rank × (inputs + outputs) for each matrix.

        Raises:
            ModelError: a target is no matrix of this model.
        """
        return sum(rank * (matrix.inputs + matrix.outputs) for matrix in self.lora_projections(targets))

    def trainable_parameters(self, method: str, rank: int = 32, targets: Sequence[str] | None = None) -> int:
        """Weights that ``method`` (lora, full, scratch) moves.

        Raises:
            ModelError: a target is no matrix of this model.
        """
        if method == "lora":
            return self.lora_parameters(rank, targets or _ATTENTION)
        return self.parameters - self.fixed_parameters

    def _layer(self, prefix: str, attentions: Sequence[str], ffn: int) -> list[Projection]:
        width = self.d_model
        names = [f"{prefix}.{attention}.{name}" for attention in attentions for name in _ATTENTION]
        return [
            *(Projection(name, width, width) for name in names),
            Projection(f"{prefix}.fc1", width, ffn),
            Projection(f"{prefix}.fc2", ffn, width),
        ]

    def _layer_parameters(self, matrices: Sequence[Projection], norms: int) -> int:
        biases = sum(matrix.outputs for matrix in matrices if not matrix.name.endswith("k_proj"))
        return sum(matrix.inputs * matrix.outputs for matrix in matrices) + biases + norms * 2 * self.d_model


def _names(target: str, projection: Projection) -> bool:
    return projection.name == target or projection.name.endswith(f".{target}")


# d_model, encoder layers, decoder layers, vocabulary, mel bins; every checkpoint here has heads of 64, a feed-forward
# part four times as wide, 1500 encoder and 448 decoder positions, no dropout. From their published config.json.
_WHISPER = {
    "openai/whisper-tiny": (384, 4, 4, 51_865, 80),
    "openai/whisper-tiny.en": (384, 4, 4, 51_864, 80),
    "openai/whisper-base": (512, 6, 6, 51_865, 80),
    "openai/whisper-base.en": (512, 6, 6, 51_864, 80),
    "openai/whisper-small": (768, 12, 12, 51_865, 80),
    "openai/whisper-small.en": (768, 12, 12, 51_864, 80),
    "openai/whisper-medium": (1024, 24, 24, 51_865, 80),
    "openai/whisper-medium.en": (1024, 24, 24, 51_864, 80),
    "openai/whisper-large": (1280, 32, 32, 51_865, 80),
    "openai/whisper-large-v2": (1280, 32, 32, 51_865, 80),
    "openai/whisper-large-v3": (1280, 32, 32, 51_866, 128),
    "openai/whisper-large-v3-turbo": (1280, 32, 4, 51_866, 128),
    "distil-whisper/distil-small.en": (768, 12, 4, 51_864, 80),
    "distil-whisper/distil-medium.en": (1024, 24, 2, 51_864, 80),
    "distil-whisper/distil-large-v2": (1280, 32, 2, 51_865, 80),
    "distil-whisper/distil-large-v3": (1280, 32, 2, 51_866, 128),
    "bofenghuang/whisper-large-v3-french-distil-dec4": (1280, 32, 4, 51_866, 128),
    "BELLE-2/Belle-whisper-large-v3-zh": (1280, 32, 32, 51_866, 128),
}


def known_architectures() -> dict[str, Architecture]:
    """Published checkpoints by hub id."""
    return {
        model_id: Architecture(
            encoder_layers=encoder,
            decoder_layers=decoder,
            d_model=width,
            encoder_ffn=4 * width,
            decoder_ffn=4 * width,
            encoder_heads=width // 64,
            decoder_heads=width // 64,
            vocab_size=vocabulary,
            num_mel_bins=mels,
        )
        for model_id, (width, encoder, decoder, vocabulary, mels) in _WHISPER.items()
    }


def read_architecture(model_id: str) -> Architecture:
    """Dimensions of a published checkpoint, or of a model in a local folder; weights are not read.

    Args:
        model_id: hub id in the table, or a folder with ``config.json``.

    Raises:
        ModelError: neither, or the folder's config is of another family or damaged.
    """
    known = known_architectures()
    folder = Path(model_id)
    if folder.is_dir():
        config = _read_json(folder / "config.json")
        if config is None:
            raise ModelError(f"{folder}: holds no config.json; give a folder written by save_pretrained")
        return parse_architecture(config, _feature_settings(folder), where=str(folder / "config.json"))
    if model_id in known:
        return known[model_id]
    raise ModelError(
        f"the dimensions of '{model_id}' are not known without its files{did_you_mean(model_id, known)}; "
        f"give a local folder with config.json, or one of: {', '.join(sorted(known))}"
    )


def parse_architecture(
    config: Mapping[str, Any], features: Mapping[str, Any] | None = None, *, where: str = "config.json"
) -> Architecture:
    """Dimensions from a Whisper config.

    Args:
        config: as ``config.json`` holds it, or ``module.config.to_dict()``.
        features: settings of the feature extractor; without them a frame is Whisper's own 20 ms.
        where: for messages.

    Raises:
        ModelError: another family, or a dimension is missing or no positive number.
    """
    if config.get("model_type") != "whisper":
        raise ModelError(f"{where}: is of type {config.get('model_type')!r}; cost and memory are forecast for: whisper")

    def dimension(name: str, default: int | None = None) -> int:
        value = config.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ModelError(f"{where}: {name} is {value!r}; it must be a positive whole number")
        return value

    def probability(name: str) -> float:
        value = config.get(name, 0.0)
        if not isinstance(value, int | float) or not 0 <= value < 1:
            raise ModelError(f"{where}: {name} is {value!r}; it must be in [0, 1)")
        return float(value)

    positions = dimension("max_source_positions", 1500)
    settings = features or {}
    frame_seconds = 2 * settings.get("hop_length", 160) / settings.get("sampling_rate", 16_000)
    return Architecture(
        encoder_layers=dimension("encoder_layers"),
        decoder_layers=dimension("decoder_layers"),
        d_model=dimension("d_model"),
        encoder_ffn=dimension("encoder_ffn_dim"),
        decoder_ffn=dimension("decoder_ffn_dim"),
        encoder_heads=dimension("encoder_attention_heads"),
        decoder_heads=dimension("decoder_attention_heads"),
        vocab_size=dimension("vocab_size"),
        num_mel_bins=dimension("num_mel_bins", 80),
        max_source_positions=positions,
        max_target_positions=dimension("max_target_positions", 448),
        max_duration=positions * frame_seconds,
        dropout=probability("dropout"),
        activation_dropout=probability("activation_dropout"),
        attention_dropout=probability("attention_dropout"),
        tied=bool(config.get("tie_word_embeddings", True)),
    )


def _feature_settings(folder: Path) -> Mapping[str, Any]:
    # Since transformers 5 they stand inside the processor's file; before, in one of their own.
    processor = _read_json(folder / "processor_config.json") or {}
    nested = processor.get("feature_extractor")
    return nested if isinstance(nested, dict) else _read_json(folder / "preprocessor_config.json") or {}


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); copy it again from the original checkpoint") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: is no JSON object; copy it again from the original checkpoint")
    return content
