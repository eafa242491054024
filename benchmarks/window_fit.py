"""Fitted windows against the 30 s window, on the same weights in one run: training step and greedy transcription.

The peer is the window every Whisper fine-tuning script uses. Real recordings of 3 to 8 s, real (restored) weights of
whisper-tiny size, natural token counts; medians over alternating repetitions, and both windows' error rates.

    ASR_HEADROOM_SHARED=../shared python benchmarks/window_fit.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from asr_headroom.data.manifest import Utterance
from asr_headroom.data.readers import read_manifest
from asr_headroom.metrics.error_rate import ErrorCounts, count_pair
from asr_headroom.models.whisper import Whisper, load
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.text.targets import write_target
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.optimizer import make_optimizer

BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--error-utterances", type=int, default=128)
    arguments = parser.parse_args()
    shared = Path(os.environ.get("ASR_HEADROOM_SHARED", "../shared"))
    torch.set_num_threads(os.cpu_count() or 1)
    speech = [
        replace(utterance, text=write_target(utterance.text, "sentence"))
        for utterance in read_manifest(shared / "speech/en_speechocean/test_adults.jsonl")
        if 3.0 <= utterance.measured_duration() <= 8.0
    ]
    speech.sort(key=lambda utterance: utterance.measured_duration())
    middle = len(speech) // 2
    batches = [speech[i : i + BATCH] for i in (0, middle, len(speech) - BATCH)]
    models = {
        window: load(str(shared / "weights/whisper-tiny.en-restored"), window=window) for window in ("full", "fit")
    }
    # A rate that moves nothing noticeable: every repetition sees the same weights.
    frozen = TrainConfig(method="full", learning_rate=1e-12)
    optimizers = {window: make_optimizer(model.module, frozen) for window, model in models.items()}
    tasks = {
        "training step": lambda window, batch: training_step(models[window], optimizers[window], batch),
        "greedy transcription": lambda window, batch: models[window].transcribe(batch),
    }
    print(
        f"batch {BATCH}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
        f"median of {arguments.repetitions}"
    )
    print("| task | clips, s | 30 s window, s | fitted, s | ratio |\n|---|---|---:|---:|---:|")
    for task, run in tasks.items():
        for batch in batches:
            times = alternating({w: partial(run, w, batch) for w in models}, arguments.repetitions)
            clips = f"{batch[0].measured_duration():.1f} to {batch[-1].measured_duration():.1f}"
            ratios = [full / fit for full, fit in zip(times["full"], times["fit"], strict=True)]
            print(
                f"| {task} | {clips} | {statistics.median(times['full']):.2f} | {statistics.median(times['fit']):.2f} "
                f"| {statistics.median(ratios):.1f} |",
                flush=True,
            )
    step = len(speech) // min(arguments.error_utterances, len(speech))
    print("| window | utterances | WER, % |\n|---|---:|---:|")
    for window, model in models.items():
        errors = error_counts(model, speech[::step])
        print(f"| {window} | {len(speech[::step])} | {100 * errors.error_rate:.2f} |", flush=True)


def training_step(model: Whisper, optimizer: torch.optim.Optimizer, batch: list[Utterance]) -> None:
    """Audio to updated weights: read, forward, backward, clip, AdamW."""
    model.module.train()
    loss = model.loss(model.collate(batch))
    (loss.nats / loss.num_targets).backward()
    torch.nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def alternating(tasks: dict[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each task, in turn, after two warm-ups of each."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for repetition in range(repetitions + 2):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if repetition >= 2:
                times[name].append(time.perf_counter() - start)
    return times


def error_counts(model: Whisper, speech: list[Utterance]) -> ErrorCounts:
    english = get_normalizer("en")
    counts = []
    for start in range(0, len(speech), BATCH):
        rows = speech[start : start + BATCH]
        for utterance, hypothesis in zip(rows, model.transcribe(rows), strict=True):
            counts.append(count_pair(utterance.text, hypothesis.text, english).words)
    return ErrorCounts.total(counts)


if __name__ == "__main__":
    main()
