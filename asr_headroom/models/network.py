"""What parameters, cost and memory of any family follow from: its real class, built without weights from its config.

The module is built on torch's meta device, which takes a tenth of a second and no memory; its weights are counted, not
computed. What no module tells is how often each matrix is used: :class:`Stage` says so, for each type of config, in
:mod:`asr_headroom.models.network_kinds`. Whisper has a finer description of its own in
:mod:`asr_headroom.models.architecture`. Start reading at :func:`read_network`.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from asr_headroom.errors import ModelError, did_you_mean
from asr_headroom.models.architecture import Architecture, known_architectures, read_architecture
from asr_headroom.models.dimensions import published_dimensions
from asr_headroom.models.network_kinds import NETWORK_KINDS, NetworkKind, Stage

__all__ = ["Matrix", "Network", "build_network", "describe_model", "network_of_whisper"]


class Matrix(NamedTuple):
    """Weights that a product is taken with.

    Attributes:
        name: of its module.
        inputs: features of each position.
        outputs: features made of it.
        weights: number of them.
        adaptable: a linear layer, which low-rank updates attach to.
        stage: place in :attr:`Network.stages`.
    """

    name: str
    inputs: int
    outputs: int
    weights: int
    adaptable: bool
    stage: int


@dataclass(frozen=True)
class Network:
    """A model without weights.

    Attributes:
        model_type: of its config.
        parameters: all weights, shared ones counted once.
        named: of these, by name, those that full fine-tuning moves.
        matrices: in the order of the stages.
        stages: how often the matrices are used.
        head_parameters: of the output head.
        kind: what is known of its type.
        width: of its largest part, for measuring a device.
        heads: of attention, in the encoder.
        source: where its dimensions are from.
    """

    model_type: str
    parameters: int
    named: tuple[tuple[str, int], ...]
    matrices: tuple[Matrix, ...]
    head_parameters: int
    kind: NetworkKind
    width: int
    heads: int
    source: str

    @property
    def stages(self) -> tuple[Stage, ...]:
        """In the order of the forward pass."""
        return self.kind.stages

    @property
    def max_duration(self) -> float:
        """Seconds of one recording, at most; infinite where nothing limits it."""
        return self.kind.max_duration

    def adapted(self, targets: str | Sequence[str] | None = None) -> tuple[Matrix, ...]:
        """The matrices that low-rank updates attach to, by PEFT's rules: a pattern, or a list of names' endings.

        Raises:
            ModelError: there are none.
        """
        wanted = targets or self.kind.lora_targets
        linear = [matrix for matrix in self.matrices if matrix.adaptable]
        if isinstance(wanted, str):
            found = [matrix for matrix in linear if re.fullmatch(wanted, matrix.name)]
        else:
            found = [m for m in linear if any(m.name == t or m.name.endswith(f".{t}") for t in wanted)]
        if not found:
            last = sorted({matrix.name.rpartition(".")[2] for matrix in linear})
            raise ModelError(
                f"lora.target_modules {wanted!r} names no linear layer of this model (there are: {', '.join(last)})"
            )
        return tuple(found)

    def trainable_parameters(
        self,
        method: str,
        rank: int = 32,
        targets: str | Sequence[str] | None = None,
        *,
        fresh_head: bool = False,
    ) -> int:
        """Weights that ``method`` (lora, full, scratch) moves; a fresh head moves as a whole beside the updates.

        Raises:
            ModelError: a target is no matrix of this model.
        """
        if method != "lora":
            return sum(count for _, count in self.named)
        updates = sum(rank * (matrix.inputs + matrix.outputs) for matrix in self.adapted(targets))
        return updates + (self.head_parameters if fresh_head else 0)


def describe_model(model_id: str, *, fresh_vocabulary: int | None = None) -> Architecture | Network:
    """A published checkpoint of the tables, or a local folder's config; weights are not read.

    Args:
        model_id: hub id, or a folder with ``config.json``.
        fresh_vocabulary: entries of a fresh CTC head; a Whisper then loses its decoder.

    Raises:
        ModelError: neither, or the config is damaged or of a type whose cost is not described.
    """
    whispers, others = known_architectures(), published_dimensions()
    config: dict[str, Any]
    if Path(model_id).is_dir():
        config, source = _read_config(Path(model_id)), str(Path(model_id) / "config.json")
    elif model_id in others:
        found = others[model_id]
        config, source = {**found.config, "model_type": found.model_type}, found.source
    elif model_id in whispers:
        config, source = {"model_type": "whisper"}, model_id
    else:
        known = [*whispers, *others]
        raise ModelError(
            f"the dimensions of '{model_id}' are not known without its files{did_you_mean(model_id, known)}; "
            f"download its config.json and give the folder, or one of: {', '.join(sorted(known))}"
        )
    if config.get("model_type") != "whisper":
        return build_network(config, source=source, fresh_vocabulary=fresh_vocabulary)
    shape = read_architecture(model_id)
    if fresh_vocabulary is None:
        return shape
    headed = {**_whisper_config(shape), "model_type": "whisper_ctc", "decoder_start_token_id": 0}
    return build_network(headed, source=source, fresh_vocabulary=fresh_vocabulary)


def network_of_whisper(shape: Architecture) -> Network:
    """The same Whisper, described as the other families are."""
    return build_network({**_whisper_config(shape), "model_type": "whisper"})


def _whisper_config(shape: Architecture) -> dict[str, Any]:
    return {
        "d_model": shape.d_model,
        "encoder_layers": shape.encoder_layers,
        "decoder_layers": shape.decoder_layers,
        "encoder_attention_heads": shape.encoder_heads,
        "decoder_attention_heads": shape.decoder_heads,
        "encoder_ffn_dim": shape.encoder_ffn,
        "decoder_ffn_dim": shape.decoder_ffn,
        "vocab_size": shape.vocab_size,
        "num_mel_bins": shape.num_mel_bins,
        "max_source_positions": shape.max_source_positions,
        "max_target_positions": shape.max_target_positions,
        "pad_token_id": 0,
    }


def build_network(config: Mapping[str, Any], *, source: str = "", fresh_vocabulary: int | None = None) -> Network:
    """The network of a config, as ``config.json`` holds it.

    Args:
        config: with its ``model_type``.
        source: where the dimensions are from.
        fresh_vocabulary: entries of a fresh CTC head.

    Raises:
        ModelError: of a type whose cost is not described, or transformers cannot build it.
    """
    model_type = str(config.get("model_type"))
    if model_type not in NETWORK_KINDS:
        raise ModelError(
            f"{source}: is of type {model_type!r}; cost and memory are forecast for: {', '.join(sorted(NETWORK_KINDS))}"
        )
    kind = NETWORK_KINDS[model_type]
    module = _build(kind, config, source, fresh_vocabulary)
    matrices = tuple(sorted(_matrices(module, kind), key=lambda matrix: matrix.stage))
    named = dict(module.named_parameters())
    return Network(
        model_type=model_type,
        parameters=sum(parameter.numel() for parameter in named.values()),
        named=tuple((name, p.numel()) for name, p in named.items() if p.requires_grad and not _is_frozen(name)),
        matrices=matrices,
        head_parameters=sum(p.numel() for name, p in named.items() if name.startswith(f"{kind.head}.")),
        kind=kind,
        width=max(
            (matrix.inputs for matrix in matrices if matrix.adaptable and matrix.inputs == matrix.outputs), default=64
        ),
        heads=_heads(module.config),
        source=source,
    )


def _build(kind: NetworkKind, config: Mapping[str, Any], source: str, fresh_vocabulary: int | None) -> Any:
    import torch

    module_name, _, class_name = kind.model_class.rpartition(".")
    model_class = getattr(importlib.import_module(module_name), class_name)
    values = {name: value for name, value in config.items() if name not in ("model_type", "quantization_config")}
    if fresh_vocabulary is not None:
        values |= {"vocab_size": fresh_vocabulary, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    try:
        with torch.device("meta"):
            return model_class(model_class.config_class.from_dict(values))
    except Exception as error:
        raise ModelError(
            f"{source}: transformers cannot build a {class_name} of this config "
            f"({' '.join(str(error).split())[:200]}); copy it again from the original checkpoint"
        ) from error


def _matrices(module: Any, kind: NetworkKind) -> list[Matrix]:
    from torch import nn

    found = []
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear):
            inputs, outputs, weights = part.in_features, part.out_features, part.weight.numel()
        elif isinstance(part, nn.Conv1d | nn.Conv2d):
            inputs, outputs, weights = part.in_channels, part.out_channels, part.weight.numel()
        elif isinstance(part, nn.LSTM):
            inputs, outputs = part.input_size, 4 * part.hidden_size
            weights = sum(parameter.numel() for key, parameter in part.named_parameters() if key.startswith("weight"))
        else:
            continue
        stage = next((i for i, stage in enumerate(kind.stages) if re.match(stage.pattern, name)), None)
        if stage is not None:
            found.append(Matrix(name, inputs, outputs, weights, isinstance(part, nn.Linear), stage))
    return found


def _heads(config: Any) -> int:
    encoder = getattr(config, "encoder_config", None) or getattr(config, "audio_config", None) or config
    names = ("num_attention_heads", "num_heads", "encoder_attention_heads", "encoder_num_attention_heads")
    return next((int(value) for name in names if (value := getattr(encoder, name, None))), 1)


def _is_frozen(name: str) -> bool:
    # The mask vector of SpecAugment, which the families do not use.
    return name.endswith("masked_spec_embed")


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{folder}: holds no config.json; give a folder written by save_pretrained") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); copy it again from the original checkpoint") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: is no JSON object; copy it again from the original checkpoint")
    return content
