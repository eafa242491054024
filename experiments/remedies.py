"""What each remedy against damage buys and costs: the laboratory's base learns Mandarin, and forgets French.

Every arm is the same full fine-tuning at one learning rate, unguarded, with one thing changed; three seeds, each with
training speech of its own. Printed: the gain on Mandarin, the damage on French and over silence and noise, each against
the base, and each arm against the plain one, paired by utterance, over all seeds.

    OMP_NUM_THREADS=1 python experiments/remedies.py --output runs/remedies --seeds 1 2 3
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from asr_headroom.audio.augment import AugmentConfig
from asr_headroom.audio.spans import SpecConfig
from asr_headroom.data.nonspeech import nonspeech_utterances
from asr_headroom.evaluate.transcribe import count_utterances
from asr_headroom.lab.settings import base_path
from asr_headroom.lab.speech import SpeechRecipe, write_corpus
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.metrics.multiplicity import holm_adjusted
from asr_headroom.metrics.significance import Clustering, Comparison, choose_clusters, compare_rates
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.models.registry import load_model
from asr_headroom.results.store import write_json
from asr_headroom.stages.train import TrainStageConfig, train
from asr_headroom.text.normalize import normalizer_for_language
from asr_headroom.train.config import GuardConfig

TRAIN, DEV, TEST, STEPS, BATCH, RATE = 800, 200, 400, 150, 16, 5e-4
SETS = ("zh", "fr", "noise")
ARMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "lora": {"method": "lora", "learning_rate": 2e-3},
    "half the rate": {"learning_rate": RATE / 2},
    "weight decay 1": {"weight_decay": 1.0},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "L2-SP 1": {"l2_sp": 1.0},
    "L2-SP 10": {"l2_sp": 10.0},
    "KL 0.3": {"kl": 0.3},
    "EMA 0.95": {"ema": 0.95},
    "layer decay 0.7": {"layer_decay": 0.7},
    "frozen encoder": {"freeze": ("encoder",)},
    "frozen decoder": {"freeze": ("decoder",)},
    "replay 0.2": {"replay": True, "replay_share": 0.2},
    "SpecAugment": {"augment": AugmentConfig(spec=SpecConfig(probability=1.0))},
    "speed": {"augment": AugmentConfig(speed=(0.9, 1.0, 1.1))},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/remedies"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--table", action="store_true", help="print the tables (all runs must be there)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    root = arguments.output
    tests = {language: Path(corpus(root, language, "test", 0)) for language in ("zh", "fr")}
    base = counts_of("base", str(base_path()), tests, root)
    runs = {}
    for seed, arm in itertools.product(arguments.seeds, arguments.arms):
        model = train_one(root, arm, seed)
        runs[arm, seed] = counts_of(f"{arm}-{seed}", str(model), tests, root)
        rates = "  ".join(f"{name} {rate_of(runs[arm, seed][name]):.4g}" for name in SETS)
        print(f"{arm} {seed}: {rates}", flush=True)
    if arguments.table:
        print_tables(base, runs, arguments.arms, arguments.seeds, tests)


def corpus(root: Path, language: str, split: str, seed: int) -> str:
    count = {"train": TRAIN, "dev": DEV, "test": TEST}[split]
    recipe = SpeechRecipe(language=language, split=split, count=count, seed=2000 + seed)
    return str(write_corpus(root / f"speech-{language}-{split}-{seed}", recipe))


def train_one(root: Path, arm: str, seed: int) -> Path:
    """The last step of one training; what is done already is not done again."""
    changes = dict(ARMS[arm])
    if changes.pop("replay", False):
        changes["replay"] = corpus(root, "fr", "train", seed)
    settings: dict[str, Any] = {
        "model": str(base_path()), "train": (corpus(root, "zh", "train", seed),), "dev": corpus(root, "zh", "dev", 0),
        "output": str(root / arm.replace(" ", "-") / str(seed)), "method": "full", "learning_rate": RATE,
        "max_steps": STEPS, "eval_steps": STEPS, "per_device_train_batch_size": BATCH, "window": "fit",
        "logging_steps": STEPS, "seed": seed, "guard": GuardConfig(enabled=False),
    }  # fmt: skip
    return train(TrainStageConfig(**(settings | changes)))


def counts_of(name: str, model: str, tests: dict[str, Path], root: Path) -> dict[str, list[ErrorCounts]]:
    """Errors of each utterance on Mandarin and French, and units written over silence and noise."""
    kept = root / "counts" / f"{name.replace(' ', '-')}.json"
    if not kept.is_file():
        from asr_headroom.stages.data import load_data

        recognizer = load_model(model, window="fit")
        found = {}
        for language, source in tests.items():
            found[language] = (load_data(str(source)).manifest.utterances, normalizer_for_language(language))
        found["noise"] = (clips(), normalizer_for_language("fr"))
        counts = {
            set_name: count_utterances(recognizer, data, DecodingOptions(), normalizer=normalizer, batch_size=32)
            for set_name, (data, normalizer) in found.items()
        }
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, {key: [vars_of(count) for count in value] for key, value in counts.items()})
    stored = json.loads(kept.read_text())
    return {key: [ErrorCounts(**count) for count in value] for key, value in stored.items()}


def vars_of(count: ErrorCounts) -> dict[str, int]:
    return {name: getattr(count, name) for name in ("hits", "substitutions", "deletions", "insertions")}


def clips() -> list[Any]:
    return nonspeech_utterances(language="fr", count=60, seed=99, max_duration=3.9)


def rate_of(counts: list[ErrorCounts]) -> float:
    total = ErrorCounts.total(counts)
    return 100 * total.errors / total.reference_length if total.reference_length else float(total.errors)


def compared(
    first: list[dict[str, list[ErrorCounts]]], second: list[dict[str, list[ErrorCounts]]], name: str, tests: dict
) -> Comparison:
    """Second minus first over all seeds; an utterance that every seed transcribed is one cluster."""
    from asr_headroom.stages.data import load_data

    if name == "noise":
        data, exposure = clips(), [clip.measured_duration() / 60 for clip in clips()]
    else:
        data = load_data(str(tests[name])).manifest.utterances
        exposure = [float(count.reference_length) for count in first[0][name]]
    sentences = [utterance.text or utterance.id for utterance in data] * len(first)
    clusters: Clustering = choose_clusters([None] * len(sentences), sentences, "sentence")
    events = [[float(count.errors) for run in runs for count in run[name]] for runs in (first, second)]
    return compare_rates(np.array(events[0]), np.array(events[1]), np.array(exposure * len(first)), clusters)


def print_tables(base: dict, runs: dict, arms: list[str], seeds: list[int], tests: dict[str, Path]) -> None:
    print(f"\nbase: zh {rate_of(base['zh']):.2f} %, fr {rate_of(base['fr']):.2f} %, noise {rate_of(base['noise']):.0f}")
    print("\n| arm | zh gain | against plain | fr damage | against plain | noise, per min | against plain |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    plain = [runs["plain", seed] for seed in seeds]
    against = {
        (arm, name): compared(plain, [runs[arm, seed] for seed in seeds], name, tests)
        for arm in arms
        if arm != "plain"
        for name in SETS
    }
    adjusted = dict(zip(against, holm_adjusted([c.p_value for c in against.values()]), strict=True))
    for arm in arms:
        cells = [arm]
        for name in SETS:
            scale = 1 if name == "noise" else 100
            mine = compared([base] * len(seeds), [runs[arm, seed] for seed in seeds], name, tests)
            cells.append(points(mine, scale))
            if arm == "plain":
                cells.append("")
                continue
            mark = " *" if adjusted[arm, name] < 0.05 else ""
            cells.append(points(against[arm, name], scale) + mark)
        print("| " + " | ".join(cells) + " |")
    print(f"\n* after Holm over {len(against)} comparisons. Intervals: new sentences, the same seeds.")


def points(comparison: Comparison, scale: float) -> str:
    low, high = scale * comparison.interval.low, scale * comparison.interval.high
    return f"{scale * comparison.difference:+.2f} ({low:+.2f} to {high:+.2f})"


if __name__ == "__main__":
    main()
