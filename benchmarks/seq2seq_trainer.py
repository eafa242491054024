"""A stock Seq2SeqTrainer script against the same script with our three lines: seconds per step, targets, gradients.

The peer is the script of Hugging Face's own fine-tuning tutorial for Whisper: features by ``prepare_dataset`` once,
``DataCollatorSpeechSeq2SeqWithPadding``, the model's own loss. Real recordings of 3 to 8 s, restored weights of
whisper-tiny size, batch 8, one optimiser step each, medians over alternating repetitions, by the clock and by the
processor time of the process (which other work on the machine disturbs less). Ours decodes the audio and computes the
features anew in every step; theirs is handed them.

    ASR_HEADROOM_SHARED=../shared python benchmarks/seq2seq_trainer.py
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from transformers import (
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)
from transformers.models.whisper.modeling_whisper import shift_tokens_right
from transformers.trainer_callback import PrinterCallback

from asr_headroom.data.manifest import Utterance
from asr_headroom.data.readers import read_manifest
from asr_headroom.integrations.seq2seq import SpeechCollator, fit_windows, token_loss
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.text.targets import write_target

BATCH = 8


@dataclass
class DataCollatorSpeechSeq2SeqWithPadding:
    """As the tutorial has it; older copies were given ``tokenizer.bos_token_id`` as the token to cut."""

    processor: Any
    decoder_start_token_id: int

    def __call__(self, features):
        input_features = [{"input_features": feature["input_features"]} for feature in features]
        batch = self.processor.feature_extractor.pad(input_features, return_tensors="pt")
        label_features = [{"input_ids": feature["labels"]} for feature in features]
        labels_batch = self.processor.tokenizer.pad(label_features, return_tensors="pt")
        labels = labels_batch["input_ids"].masked_fill(labels_batch.attention_mask.ne(1), -100)
        if (labels[:, 0] == self.decoder_start_token_id).all().cpu().item():
            labels = labels[:, 1:]
        batch["labels"] = labels
        return batch


class StepTimes(TrainerCallback):
    """Seconds from the end of one step to the end of the next: reading, collating, forward, backward, update."""

    def on_epoch_begin(self, args, state, control, **_):
        self._last = (time.perf_counter(), time.process_time())
        self.seconds: list[tuple[float, float]] = []  # by the clock, of the processor

    def on_step_end(self, args, state, control, **_):
        now = (time.perf_counter(), time.process_time())
        self.seconds.append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    shared = Path(os.environ.get("ASR_HEADROOM_SHARED", "../shared"))
    weights = str(shared / "weights/whisper-tiny.en-restored")
    torch.set_num_threads(arguments.threads)
    print(
        f"batch {BATCH}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"transformers {transformers.__version__}; median of {arguments.repetitions}, load {os.getloadavg()[0]:.1f}\n"
    )
    batches = choose_batches(shared)
    print_targets(weights, batches["random order"])
    print_gradients(weights, batches["shortest"])
    print_times(weights, batches, arguments.repetitions)


def choose_batches(shared: Path) -> dict[str, list[Utterance]]:
    """Batches of clips of like length, and one as a shuffled data set gives it."""
    speech = [
        utterance
        for utterance in read_manifest(shared / "speech/en_speechocean/test_adults.jsonl")
        if 3.0 <= utterance.measured_duration() <= 8.0
    ]
    speech.sort(key=lambda utterance: utterance.measured_duration())
    middle = len(speech) // 2
    return {
        "shortest": speech[:BATCH],
        "middle": speech[middle : middle + BATCH],
        "longest": speech[-BATCH:],
        "random order": random.Random(0).sample(speech, BATCH),
    }


def make_rows(speech: list[Utterance]) -> list[dict[str, Any]]:
    return [
        {"audio": str(utterance.audio), "sentence": write_target(utterance.text, "sentence")} for utterance in speech
    ]


def prepared(speech: list[Utterance], processor: Any) -> datasets.Dataset:
    """The tutorial's ``prepare_dataset``, run as the tutorial runs it."""

    def prepare_dataset(row):
        samples = arrays[row["audio"]]
        row["input_features"] = processor.feature_extractor(samples, sampling_rate=16_000).input_features[0]
        row["labels"] = processor.tokenizer(row["sentence"]).input_ids
        return row

    arrays = {str(utterance.audio): utterance.samples(16_000) for utterance in speech}
    return datasets.Dataset.from_list(make_rows(speech)).map(prepare_dataset, remove_columns=["audio", "sentence"])


def make_trainer(model, rows, collator, loss=None, **options) -> Seq2SeqTrainer:
    settings = {
        "per_device_train_batch_size": BATCH,
        # A rate that moves nothing noticeable: every repetition sees the same weights.
        "learning_rate": 1e-12,
        "train_sampling_strategy": "sequential",
        "num_train_epochs": 1,
    }
    trainer = Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(
            output_dir=tempfile.gettempdir(),
            remove_unused_columns=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            **{**settings, **options},
        ),
        train_dataset=rows,
        data_collator=collator,
        compute_loss_func=loss,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def load(weights: str) -> tuple[WhisperForConditionalGeneration, Any]:
    model = WhisperForConditionalGeneration.from_pretrained(weights, dtype=torch.float32)
    return model, WhisperProcessor.from_pretrained(weights)


def print_times(weights: str, batches: dict[str, list[Utterance]], repetitions: int) -> None:
    speech = [utterance for batch in batches.values() for utterance in batch]
    stock, processor = load(weights)
    started = time.perf_counter()
    features = prepared(speech, processor)
    preparation = time.perf_counter() - started
    fitted = fit_windows(load(weights)[0])
    trainers = {
        "stock": make_trainer(
            stock, features, DataCollatorSpeechSeq2SeqWithPadding(processor, stock.config.decoder_start_token_id)
        ),
        "ours": make_trainer(fitted, make_rows(speech), SpeechCollator(processor, fitted), token_loss),
    }
    clock = StepTimes()
    times: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in trainers}
    for trainer in trainers.values():
        trainer.add_callback(clock)
        trainer.args.max_steps = 1  # warms up
        trainer.train()
        trainer.args.max_steps = -1
    for _ in range(repetitions):
        for name, trainer in trainers.items():
            trainer.train()
            times[name].append(clock.seconds)
    print(
        "| batch | clips, s | stock, s per step | with our lines | ratio | ratio of processor time |\n"
        "|---|---|---:|---:|---:|---:|"
    )
    for number, (name, batch) in enumerate(batches.items()):
        durations = [utterance.measured_duration() for utterance in batch]
        theirs, ours = ([run[number] for run in times[who]] for who in ("stock", "ours"))
        wall, processor_time = (
            statistics.median(a[kind] / b[kind] for a, b in zip(theirs, ours, strict=True)) for kind in (0, 1)
        )
        print(
            f"| {name} | {min(durations):.1f} to {max(durations):.1f} | {statistics.median(a for a, _ in theirs):.2f} "
            f"| {statistics.median(b for b, _ in ours):.2f} | {wall:.1f} | {processor_time:.1f} |"
        )
    print(f"\nStock, once before training: {1000 * preparation / len(speech):.0f} ms per clip to prepare features.\n")


def print_targets(weights: str, speech: list[Utterance]) -> None:
    """What the decoder is fed and what is supervised, in the first row of a batch."""
    model, processor = load(weights)
    tiny = tiny_whisper(window_seconds=30)
    tiny.processor.tokenizer.set_prefix_tokens(language="en", task="transcribe")
    for kind, (module, owner) in {
        "English-only": (model, processor),
        "multilingual": (tiny.module, tiny.processor),
    }.items():
        tokenizer = owner.tokenizer
        features = list(prepared(speech[:1], owner))
        starts = {"stock": module.config.decoder_start_token_id, "stock, older copies": tokenizer.bos_token_id}
        for name, start in starts.items():
            labels = DataCollatorSpeechSeq2SeqWithPadding(owner, start)(features)["labels"]
            fed = shift_tokens_right(labels, module.config.pad_token_id, module.config.decoder_start_token_id)
            print_row(tokenizer, kind, name, fed[0], labels[0])
        batch = SpeechCollator(owner, module)(make_rows(speech[:1]))
        print_row(tokenizer, kind, "ours", batch["decoder_input_ids"][0], batch["labels"][0])
    print()


def print_row(tokenizer: Any, kind: str, name: str, fed: torch.Tensor, labels: torch.Tensor) -> None:
    supervised = labels[labels != -100].tolist()
    for what, ids in {"fed": fed.tolist(), "supervised": supervised}.items():
        # No table: the names of the tokens hold the character that separates its cells.
        print(f"    {kind}, {name + ',':21} {what:10}  {' '.join(tokenizer.convert_ids_to_tokens(ids[:6]))} …")


def print_gradients(weights: str, speech: list[Utterance]) -> None:
    """Norm of one step's gradient: batch 8 against batch 4 twice, with the model's own loss and with ours."""
    model, processor = load(weights)
    fit_windows(model)
    print("| loss | batch 8 | batch 4, accumulated twice | ratio |\n|---|---:|---:|---:|")
    for name, loss in {"the model's own": None, "token_loss": token_loss}.items():
        norms = []
        for size in (BATCH, BATCH // 2):
            trainer = make_trainer(
                model, make_rows(speech), SpeechCollator(processor, model), loss,
                per_device_train_batch_size=size, gradient_accumulation_steps=BATCH // size,
            )  # fmt: skip
            trainer.train()
            norms.append(next(entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry))
        print(f"| {name} | {norms[0]:.3f} | {norms[1]:.3f} | {norms[1] / norms[0]:.2f} |")
    print()


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    main()
