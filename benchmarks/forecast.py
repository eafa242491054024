"""Forecasts of memory and time against measurements: training steps of Whisper at real sizes with random weights.

Each row runs in a process of its own, because a process's peak never falls. On a CPU the memory is the process's peak
in main memory; on a GPU it is that of allocated tensors.

    OMP_NUM_THREADS=1 python benchmarks/forecast.py
    python benchmarks/forecast.py --device cuda --sizes small large-v3-turbo --rows 16 --seconds 30
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

from asr_headroom.models.architecture import Architecture, known_architectures

# size, method, rows, window in seconds, tokens, micro-batches, bf16, gradient checkpointing
CASES = [
    ("tiny", "full", 4, 10, 40, 1, False, False),
    ("tiny", "lora", 4, 10, 40, 1, False, False),
    ("tiny", "full", 2, 30, 100, 1, False, False),
    ("tiny", "lora", 8, 5, 20, 2, False, False),
    ("tiny", "lora", 4, 10, 40, 1, True, False),
    ("tiny", "full", 4, 10, 40, 1, True, False),
    ("base", "full", 4, 6, 30, 2, False, False),
    ("base", "lora", 4, 10, 40, 1, False, False),
    ("base", "lora", 4, 10, 40, 1, False, True),
    ("small", "full", 2, 6, 30, 1, False, False),
    ("small", "lora", 4, 6, 30, 1, False, False),
    ("small", "lora", 2, 30, 60, 1, False, True),
]
STEPS = 3


def build(shape: Architecture) -> object:
    """A Whisper of these dimensions; the tokenizer is the tiny one's."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor

    from asr_headroom.models.whisper import Whisper
    from asr_headroom.testing.tiny import tiny_whisper

    tiny = tiny_whisper(mels=shape.num_mel_bins)
    config = WhisperConfig(
        **tiny.module.config.to_diff_dict()
        | {
            "d_model": shape.d_model, "encoder_layers": shape.encoder_layers, "decoder_layers": shape.decoder_layers,
            "encoder_attention_heads": shape.encoder_heads, "decoder_attention_heads": shape.decoder_heads,
            "encoder_ffn_dim": shape.encoder_ffn, "decoder_ffn_dim": shape.decoder_ffn,
            "vocab_size": shape.vocab_size, "max_source_positions": shape.max_source_positions,
            "max_target_positions": shape.max_target_positions,
        }
    )  # fmt: skip
    torch.manual_seed(0)
    module = WhisperForConditionalGeneration(config)
    module.generation_config = tiny.module.generation_config
    processor = WhisperProcessor(WhisperFeatureExtractor(feature_size=shape.num_mel_bins), tiny.processor.tokenizer)
    return Whisper(module, processor, model_id="random", window="fit")


def measure(size: str, method: str, rows: int, window: float, tokens: int, micro: int, bf16: bool, again: bool,
            device: str) -> dict[str, float]:  # fmt: skip
    """One case, in this process: bytes and seconds, measured and forecast."""
    import torch

    from asr_headroom.models.protocols import Batch
    from asr_headroom.train.config import TrainConfig
    from asr_headroom.train.forecast import (
        Workload,
        forecast_memory,
        forecast_step_seconds,
        measure_speed,
        peak_memory_now,
        resident_memory_now,
    )
    from asr_headroom.train.methods import apply_method
    from asr_headroom.train.objectives import LossModule
    from asr_headroom.train.optimizer import make_optimizer

    shape = known_architectures()[f"openai/whisper-{size}"]
    config = TrainConfig(
        method=method, per_device_train_batch_size=rows, gradient_accumulation_steps=micro,
        mixed_precision="bf16" if bf16 else "no", gradient_checkpointing=again,
    )  # fmt: skip
    workload = Workload.of(shape, config, window_seconds=window, tokens=tokens, device=device)
    if method == "lora":
        import peft  # noqa: F401 - part of the process before the model
    small = build_small()
    overhead = resident_memory_now() if device == "cpu" else 0
    del small
    model = apply_method(build(shape), config)
    model.module.to(device).train()
    labels = torch.randint(0, shape.vocab_size, (rows, tokens))
    inputs = {"waveforms": torch.randn(rows, int(window * 16_000)), "decoder_input_ids": labels, "labels": labels}
    batch = Batch(inputs, rows * tokens, rows, rows * window).to(device)
    optimizer, loss_module = make_optimizer(model.module, config), LossModule(model)
    # One thread's own time does not depend on what else the machine is doing; a GPU's is on the wall.
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    seconds = []
    for _ in range(STEPS):
        start = clock()
        for _ in range(micro):
            with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
                loss = loss_module(batch)
            (loss / batch.num_targets).backward()
        torch.nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(clock() - start)
    peak = peak_memory_now(device)
    forecast = forecast_memory(workload, overhead=overhead)
    speed = measure_speed(workload, clock=clock)
    return {
        "overhead": overhead, "peak": peak, "forecast": forecast.total, "seconds": statistics.median(seconds[1:]),
        "forecast_seconds": forecast_step_seconds(workload, speed), "speed": speed.matmul,
    }  # fmt: skip


def build_small() -> object:
    """A first model, so that what libraries load when first used counts as the process's own."""
    from asr_headroom.testing.tiny import tiny_whisper

    return tiny_whisper()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--sizes", nargs="*", help="these sizes, LoRA and full, instead of the table's cases")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--cases", help="JSON list of cases, as CASES in this file has them")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(*json.loads(arguments.case), arguments.device)))
        return
    cases = json.loads(arguments.cases) if arguments.cases else CASES
    if arguments.sizes:
        shape = (arguments.rows, arguments.seconds, arguments.tokens, 1, arguments.device == "cuda")
        cases = [(size, method, *shape, again) for size in arguments.sizes for method in ("lora", "full")
                 for again in (False, True)]  # fmt: skip
    print("| model | method | rows x window, tokens | | MiB before | MiB forecast | MiB measured | ratio "
          "| increase ratio | s forecast | s measured | ratio |")  # fmt: skip
    print("|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for case in cases:
        command = [sys.executable, __file__, "--device", arguments.device, "--case", json.dumps(case)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{case}: {done.stderr[-2000:]}")
        row = json.loads(done.stdout.splitlines()[-1])
        size, method, rows, window, tokens, micro, bf16, again = case
        notes = [f"x {micro}"] * (micro > 1) + ["bf16"] * bf16 + ["checkpointing"] * again
        before, peak, forecast = (row[name] / 2**20 for name in ("overhead", "peak", "forecast"))
        more = (forecast - before) / (peak - before)
        print(
            f"| {size} | {method} | {rows} x {window:g} s, {tokens} | {', '.join(notes)} "
            f"| {before:.0f} | {forecast:.0f} | {peak:.0f} | {forecast / peak:.2f} | {more:.2f} "
            f"| {row['forecast_seconds']:.2f} | {row['seconds']:.2f} "
            f"| {row['forecast_seconds'] / row['seconds']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
