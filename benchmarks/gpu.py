"""On a CUDA device: training steps and transcription of Whisper at real sizes with random weights, both windows.

Random weights cost what real ones cost in training; their greedy outputs run to the token limit, so transcription is
timed at a stated number of new tokens. Prints one row per size, method and window: audio-seconds per second and peak
memory.

    python benchmarks/gpu.py --sizes small large-v3-turbo
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor

from asr_headroom.data.manifest import Utterance
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.models.lora import LoraConfig, attach_lora
from asr_headroom.models.protocols import Batch
from asr_headroom.models.whisper import Whisper
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.methods import apply_method
from asr_headroom.train.optimizer import make_optimizer

# d_model, encoder layers, decoder layers, mel bins
SIZES = {
    "tiny": (384, 4, 4, 80),
    "small": (768, 12, 12, 80),
    "medium": (1024, 24, 24, 80),
    "large-v3-turbo": (1280, 32, 4, 128),
    "large-v3": (1280, 32, 32, 128),
}


def build(size: str, window: str) -> Whisper:
    """A Whisper of real size; the tokenizer is the tiny one's, with its tokens at the head of the full vocabulary."""
    width, encoder, decoder, mels = SIZES[size]
    tiny = tiny_whisper(mels=mels)
    config = WhisperConfig(
        **tiny.module.config.to_diff_dict()
        | {
            "d_model": width, "encoder_layers": encoder, "decoder_layers": decoder, "num_mel_bins": mels,
            "encoder_attention_heads": width // 64, "decoder_attention_heads": width // 64,
            "encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width, "vocab_size": 51_866,
            "max_source_positions": 1500, "max_target_positions": 448,
        }
    )  # fmt: skip
    with torch.device("cuda"):
        module = WhisperForConditionalGeneration(config)
    module.generation_config = tiny.module.generation_config
    processor = WhisperProcessor(WhisperFeatureExtractor(feature_size=mels), tiny.processor.tokenizer)
    return Whisper(module, processor, model_id=size, window=window)


def training(model: Whisper, method: str, batch: Batch, steps: int) -> tuple[float, float]:
    """Median seconds of a step in bf16 autocast, and peak GiB."""
    config = TrainConfig(method=method)
    model = attach_lora(model, LoraConfig()) if method == "lora" else apply_method(model, config)
    model.module.train()
    optimizer = make_optimizer(model.module, config)
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for step in range(steps + 2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = model.loss(batch.to("cuda"))
        (loss.nats / loss.num_targets).backward()
        torch.nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()
        if step >= 2:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), torch.cuda.max_memory_allocated() / 2**30


def transcription(model: Whisper, speech: list[Utterance], tokens: int) -> float:
    """Median seconds of one greedy batch."""
    options = DecodingOptions(max_new_tokens=tokens)
    seconds = []
    for repetition in range(4):
        torch.cuda.synchronize()
        start = time.perf_counter()
        model.transcribe(speech, options)
        torch.cuda.synchronize()
        if repetition:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["tiny", "small", "large-v3-turbo"])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of every recording")
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device; this benchmark has nothing to measure here")
    letters = "".join(np.random.default_rng(0).choice(list("abcdefgh"), 24))
    speech = [
        tone_utterance(letters, id=str(i), letter_seconds=arguments.seconds / len(letters), seed=i)
        for i in range(arguments.batch_size)
    ]
    audio = sum(utterance.measured_duration() for utterance in speech)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {len(speech)} x {arguments.seconds:g} s, bf16")
    print("| size | window | task | s | audio-s/s | peak GiB |\n|---|---|---|---:|---:|---:|")
    for size in arguments.sizes:
        for window in ("full", "fit"):
            for method in ("lora", "full"):
                model = build(size, window)
                seconds, peak = training(model, method, model.collate(speech), arguments.steps)
                row = f"{seconds:.3f} | {audio / seconds:.0f} | {peak:.1f}"
                print(f"| {size} | {window} | train {method} | {row} |", flush=True)
                del model
                torch.cuda.empty_cache()
            model = build(size, window)
            seconds = transcription(model, speech, 24)
            print(f"| {size} | {window} | greedy, 24 tokens | {seconds:.3f} | {audio / seconds:.0f} | – |", flush=True)
            del model
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
