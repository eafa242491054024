"""What decoding would take, said before a weight is loaded: the least time that its arithmetic needs, and memory.

Greedy decoding reads all weights of the text side for every token, which may take several times as long as the
arithmetic; no dimension of a model tells how much. So the minutes are a lower bound, and are called one.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr_headroom.budget import format_minutes
from asr_headroom.models.architecture import Architecture
from asr_headroom.models.network import Network, describe_model, network_of_whisper
from asr_headroom.stages.expected_data import expected_test_set, target_tokens

if TYPE_CHECKING:
    from asr_headroom.stages.bench import BenchConfig

__all__ = ["DecodingForecast", "forecast_decoding"]

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, kw_only=True)
class DecodingForecast:
    """One model on all test sets.

    Attributes:
        model_id: as given.
        parameters: of the model.
        utterances: of all test sets.
        audio_seconds: of these.
        least_seconds: that the arithmetic takes on this device.
        weight_bytes: in the precision asked for.
        device: that the forecast is for.
    """

    model_id: str
    parameters: int
    utterances: int
    audio_seconds: float
    least_seconds: float
    weight_bytes: int
    device: str

    def line(self) -> str:
        """For the terminal."""
        return (
            f"{self.model_id}: {self.parameters:,} parameters, {self.weight_bytes / 1e9:.1f} GB of weights; "
            f"{self.utterances:,} utterances, {format_minutes(self.audio_seconds)} of audio, at least "
            f"{format_minutes(self.least_seconds)} on this {self.device}"
        )


def forecast_decoding(config: BenchConfig, model_id: str) -> DecodingForecast:
    """Parameters, memory and least minutes of one of the models; no weight and no audio is read.

    Raises:
        ModelError: the model's dimensions are not known.
        DataError: a test set cannot be read, or nothing is published of it.
    """
    import torch

    from asr_headroom.train.forecast_network import NetworkWorkload, least_decoding_seconds, weight_bytes

    described = describe_model(model_id)
    network: Network = network_of_whisper(described) if isinstance(described, Architecture) else described
    sets = [expected_test_set(source, config) for source in config.data]
    seconds = [value for source in sets for value in source.durations]
    tokens = [target_tokens(value, source.language) for source in sets for value in source.characters]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # A Whisper's fitted window is padded to whole seconds only.
    fitted = described.model_type == "whisper_ctc" if isinstance(described, Network) else True
    heard = [30.0 if fitted and config.window == "full" else value for value in seconds]
    batch = NetworkWorkload(
        network=network,
        rows=min(config.batch_size, len(seconds)),
        seconds=statistics.fmean(heard),
        targets=round(statistics.fmean(tokens)),
        bf16=config.dtype != "float32",
        quantization=config.quantization,
        device=device,
    )
    return DecodingForecast(
        model_id=model_id,
        parameters=network.parameters,
        utterances=len(seconds),
        audio_seconds=sum(seconds),
        least_seconds=least_decoding_seconds(batch) * len(seconds) / batch.rows,
        weight_bytes=weight_bytes(network, config.quantization, _BYTES[config.dtype]),
        device="GPU" if device == "cuda" else "CPU",
    )
