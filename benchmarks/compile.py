"""Does ``torch_compile`` pay? Training steps of a Whisper of tiny's size with random weights, compiled and not.

In fitted windows every batch has another length; in full ones all are 30 s. Both models take the same batches in turn;
the compiled one takes two of them first, which is when it compiles, and that time is told. On a CPU the clock is
processor time, so that a shared core does not blur it.

    OMP_NUM_THREADS=1 TORCHINDUCTOR_COMPILE_THREADS=1 python benchmarks/compile.py
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor

from asr_headroom.models.protocols import Batch, Trainable
from asr_headroom.models.whisper import Whisper
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.compilation import CompiledLayers
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.methods import apply_method
from asr_headroom.train.optimizer import make_optimizer

SECONDS = (2.5, 11.5, 4.5, 8.5, 3.5, 6.5, 5.5, 9.5, 7.5, 10.5)
"""Of the recordings of each batch; ten fitted windows."""


def build(window: str) -> Whisper:
    """Whisper tiny's dimensions; the tokenizer is the tiny test model's, at the head of the full vocabulary."""
    tiny = tiny_whisper()
    config = WhisperConfig(
        **tiny.module.config.to_diff_dict()
        | {
            "d_model": 384, "encoder_layers": 4, "decoder_layers": 4, "encoder_attention_heads": 6,
            "decoder_attention_heads": 6, "encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536, "vocab_size": 51_866,
            "max_source_positions": 1500, "max_target_positions": 448,
        }
    )  # fmt: skip
    torch.manual_seed(0)
    module = WhisperForConditionalGeneration(config)
    module.generation_config = tiny.module.generation_config
    processor = WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tiny.processor.tokenizer)
    return Whisper(module, processor, model_id="tiny's size", window=window)


def make_step(model: Trainable, config: TrainConfig, device: torch.device) -> Callable[[Batch], None]:
    """Forward, backward, clip, AdamW; the layers compiled where the config says so."""
    compiled = CompiledLayers(model.module, device) if config.torch_compile else None
    optimizer = make_optimizer(model.module, config)
    model.module.train()

    def forward_and_back(batch: Batch) -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type != "cpu"):
            loss = model.loss(batch.to(device))
        (loss.nats / loss.num_targets).backward()

    def step(batch: Batch) -> None:
        if compiled:
            with compiled.at_work():
                forward_and_back(batch)
        else:
            forward_and_back(batch)
        torch.nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Processor seconds, the compilers' included; on a GPU by the clock."""
    if device.type != "cpu":
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        return time.perf_counter() - start
    before = os.times()
    work()
    return sum(os.times()[:4]) - sum(before[:4])


def measure(method: str, window: str, batches: Sequence[Batch], device: torch.device) -> str:
    """One row of the table."""
    torch.compiler.reset()
    model = apply_method(build(window), TrainConfig(method=method))
    models = {"eager": model, "compiled": model.with_module(copy.deepcopy)}
    steps = {}
    for name, own in models.items():
        own.module.to(device)
        steps[name] = make_step(own, TrainConfig(method=method, torch_compile=name == "compiled"), device)
    for batch in batches[:2]:
        steps["eager"](batch)
    first = seconds(lambda: [steps["compiled"](batch) for batch in batches[:2]], device)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for batch in batches:
        for name, step in steps.items():
            taken[name].append(seconds(lambda step=step, batch=batch: step(batch), device))
    eager, compiled = (statistics.median(taken[name]) for name in ("eager", "compiled"))
    ratio = statistics.median(a / b for a, b in zip(taken["eager"], taken["compiled"], strict=True))
    overhead = first - sum(taken["compiled"][:2])
    saved = sum(taken["eager"]) / len(batches) - sum(taken["compiled"]) / len(batches)
    even = f"{overhead / saved:,.0f}" if saved > 0 else "never"
    worst = max(taken["compiled"]) / compiled
    return f"{method} | {window} | {eager:.2f} | {compiled:.2f} | {ratio:.2f} | {overhead:.0f} | {even} | {worst:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--full-rows", type=int, default=2, help="in 30 s windows")
    parser.add_argument("--methods", nargs="+", choices=("lora", "full"), default=["lora", "full"])
    parser.add_argument("--windows", nargs="+", choices=("fit", "full"), default=["fit", "full"])
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch._inductor.config.force_disable_caches = True  # of compiled code, which an earlier run left on the disk
    device = torch.device(arguments.device)
    print(f"{device}, torch {torch.__version__}, {torch.get_num_threads()} thread")
    print("| method | window | step, s | compiled, s | ratio | compiling, s | pays after steps | slowest / median |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for method in arguments.methods:
        for window in arguments.windows:
            rows, model = arguments.rows if window == "fit" else arguments.full_rows, build(window)
            batches = [
                model.collate([tone_utterance("abcde fghij", letter_seconds=s / 11, seed=n) for n in range(rows)])
                for s in (SECONDS if window == "fit" else SECONDS[:6])
            ]
            print(f"| {measure(method, window, batches, device)} |", flush=True)


if __name__ == "__main__":
    main()
