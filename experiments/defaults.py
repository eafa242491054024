"""The study's recipe against ours at equal minutes: gain on the target, damage elsewhere, each against the base.

``--part lab``: the laboratory's base learns more French (saturated) or Mandarin (a gap), several seeds, each with
training speech of its own. ``--part children``: the restored whisper-tiny.en learns children's speech, adults are what
must not get worse. The study's recipe is its learning rate for the method, warm-up and schedule (SPEC §2.2), for as
many passes as the minutes hold, its last step delivered. Ours has the same minutes, tries two rates on dev and passes
the guard; what it would deliver without the guard (its best step) is beside it.

    OMP_NUM_THREADS=1 python experiments/defaults.py --part lab --budget 75s --seeds 1 2 3 --output runs/defaults
    OMP_NUM_THREADS=1 python experiments/defaults.py --part children --budget 10m --output runs/defaults-children
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_headroom.analysis.scoring import compare_results
from asr_headroom.data.nonspeech import nonspeech_utterances
from asr_headroom.evaluate.transcribe import count_utterances
from asr_headroom.lab.lexicon import Split
from asr_headroom.lab.settings import base_path
from asr_headroom.lab.speech import SpeechRecipe, write_corpus
from asr_headroom.metrics.multiplicity import holm_adjusted
from asr_headroom.metrics.significance import Comparison, choose_clusters, compare_rates
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.models.registry import load_model
from asr_headroom.results.store import Results, write_json
from asr_headroom.stages.bench import BenchConfig, bench
from asr_headroom.stages.train import TrainStageConfig, train
from asr_headroom.text.normalize import normalizer_for_language
from asr_headroom.train.config import GuardConfig

KINDS = ("gain", "damage", "noise")
OTHER = {"fr": "zh", "zh": "fr", "children": "adults"}
LANGUAGE = {"fr": "fr", "zh": "zh", "children": "en"}
STUDY: dict[str, dict[str, Any]] = {
    "study lora": {"method": "lora", "learning_rate": 1e-4, "per_device_train_batch_size": 32},
    "study full": {"method": "full", "learning_rate": 1e-5, "per_device_train_batch_size": 32},
}
LORA = {"method": "lora", "learning_rates": (1e-3, 2e-3), "nonspeech_share": 0.02}
FULL = {"method": "full", "learning_rates": (2.5e-4, 5e-4), "nonspeech_share": 0.02}
OURS: dict[str, dict[str, Any]] = {
    "ours lora": LORA,
    "ours full": FULL,
    "ours lora, replay": LORA | {"replay_share": 0.2},
    "ours full, replay": FULL | {"replay_share": 0.2},
}
CHILDREN = {"ours full": (3e-5, 1e-4), "ours lora": (3e-4, 1e-3)}
"""Rates of a model larger than the laboratory's."""


@dataclass(frozen=True)
class Data:
    """Manifests of one setting."""

    model: str
    train: str
    dev: str
    replay: str
    guard: str
    target_test: str
    other_test: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["lab", "children"], default="lab")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--output", type=Path, default=Path("runs/defaults"))
    parser.add_argument("--budget", default="75s", help="of each training, everything included")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument(
        "--speech-seed", type=int, default=3000, help="of the laboratory's speech; another is new speech"
    )
    parser.add_argument("--targets", nargs="+", choices=["fr", "zh"], default=["fr", "zh"], help="of the laboratory")
    parser.add_argument("--arms", nargs="+", default=["study lora", "study full", "ours lora", "ours full"])
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    targets = ["children"] if arguments.part == "children" else arguments.targets
    rows: list[dict[str, Any]] = []
    for seed, target, arm in itertools.product(arguments.seeds, targets, arguments.arms):
        data = children(arguments) if target == "children" else laboratory(arguments, target, seed)
        rows += one_arm(arguments, data, target, arm, seed)
        for row in rows[-2 if arm in OURS else -1 :]:
            print(f"{target} {seed} {row['arm']}: {row['text']}", flush=True)
    print_tables(rows, arguments.output)


def laboratory(arguments: argparse.Namespace, target: str, seed: int) -> Data:
    other = OTHER[target]

    def corpus(language: str, split: Split, count: int, extra: int) -> str:
        recipe = SpeechRecipe(language=language, split=split, count=count, seed=arguments.speech_seed + extra)
        return str(write_corpus(arguments.output / f"speech-{language}-{split}-{extra}", recipe))

    return Data(
        model=str(base_path()),
        train=corpus(target, "train", 800, seed),
        dev=corpus(target, "dev", 400, 0),
        replay=corpus(other, "train", 800, seed),
        guard=corpus(other, "dev", 400, 0),
        target_test=corpus(target, "test", 600, 0),
        other_test=corpus(other, "test", 600, 0),
    )


def children(arguments: argparse.Namespace) -> Data:
    folder = arguments.shared / "speech/en_speechocean"
    return Data(
        model=str(arguments.shared / "weights/whisper-tiny.en-restored"),
        train=str(folder / "train_children.jsonl"),
        dev=str(folder / "dev_children.jsonl"),
        replay=str(folder / "train_adults.jsonl"),
        guard=str(folder / "dev_adults.jsonl"),
        target_test=str(folder / "test_children.jsonl"),
        other_test=str(folder / "test_adults.jsonl"),
    )


def one_arm(arguments: argparse.Namespace, data: Data, target: str, arm: str, seed: int) -> list[dict[str, Any]]:
    """Trains, benches what is delivered (and, of ours, the best step without the guard), compares with the base."""
    output = arguments.output / f"{target}-{slug(arm)}-{seed}"
    settings: dict[str, Any] = {
        "model": data.model, "train": (data.train,), "dev": data.dev, "output": str(output), "window": "fit",
        "budget": arguments.budget, "num_train_epochs": 100.0, "seed": seed, "logging_steps": 1000,
    }  # fmt: skip
    if target == "children":
        settings["target_form"] = "sentence"
    if arm in STUDY:
        model = train(TrainStageConfig(**settings, **STUDY[arm], guard=GuardConfig(enabled=False)))
        last = max((output / "checkpoints").glob("step-*"))  # the study hands over its last step
        return [judged(arguments, data, target, arm, seed, last, json.loads((model / "headroom.json").read_text()))]
    settings |= OURS[arm]
    if target == "children":
        settings["learning_rates"] = CHILDREN[arm.split(",")[0]]
    if "replay" in arm:
        settings["replay"] = data.replay
    model = train(TrainStageConfig(**settings, guard_data=(data.guard,), guard=GuardConfig(utterances=400)))
    facts = json.loads((model / "headroom.json").read_text())
    best = output / "rates" / f"{facts['learning_rate']:g}" / "checkpoints" / f"step-{facts['best_step']:08d}"
    unguarded = judged(arguments, data, target, f"{arm}, unguarded", seed, best, facts)
    return [unguarded, judged(arguments, data, target, arm, seed, model, facts)]


def judged(
    arguments: argparse.Namespace, data: Data, target: str, arm: str, seed: int, model: Path, facts: dict[str, Any]
) -> dict[str, Any]:
    """One row: the model against the base on target, other domain and noise."""
    tests = (data.target_test, data.other_test)
    bases = measured(data.model, f"base-{target}", tests, arguments.output)
    systems = measured(str(model), f"{target}-{slug(arm)}-{seed}", tests, arguments.output)
    found = {
        name: compare_results(base, system).comparison
        for name, base, system in zip(("gain", "damage"), bases, systems, strict=True)
    }
    found["noise"] = compare_noise(data.model, str(model), LANGUAGE[target], arguments.output)
    guard = facts.get("guard") or {}
    row = {
        "setting": target, "arm": arm, "seed": seed, "alpha": guard.get("alpha"), "best_step": facts.get("best_step"),
        "rate": facts.get("learning_rate"), "minutes": sum(facts["minutes"].values()),
        **{name: vars_of(comparison) for name, comparison in found.items()},
    }  # fmt: skip
    row["text"] = "  ".join(f"{name} {points(row[name], 1 if name == 'noise' else 100)}" for name in found)
    return row


def measured(model: str, name: str, tests: Sequence[str], root: Path) -> list[Results]:
    return bench(
        BenchConfig(
            models=(model,), data=tuple(tests), output=str(root / "bench"), name=name, window="fit", batch_size=32
        )
    )


def compare_noise(base: str, model: str, language: str, root: Path) -> Comparison:
    """Units per minute over silence and noise that no guard has heard."""
    clips = nonspeech_utterances(language=language, count=60, seed=99, max_duration=3.9)
    minutes = [clip.measured_duration() / 60 for clip in clips]
    clusters = choose_clusters([None] * len(clips), [clip.id for clip in clips], "utterance")
    heard = [noise_counts(source, clips, language, root) for source in (base, model)]
    return compare_rates(*heard, minutes, clusters)


def noise_counts(model: str, clips: Sequence[Any], language: str, root: Path) -> list[int]:
    kept = root / "noise" / f"{model.strip('/').replace('/', '-')}-{language}.json"
    if not kept.is_file():
        counts = count_utterances(
            load_model(model, window="fit"), clips, DecodingOptions(),
            normalizer=normalizer_for_language(language), batch_size=16,
        )  # fmt: skip
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, {"counts": [count.errors for count in counts]})
    return json.loads(kept.read_text())["counts"]


def vars_of(comparison: Comparison) -> dict[str, Any]:
    interval = comparison.interval
    return {
        "base": comparison.base, "system": comparison.system, "difference": comparison.difference,
        "low": interval.low, "high": interval.high, "p": comparison.p_value, "verdict": comparison.verdict,
    }  # fmt: skip


def points(found: dict[str, Any], scale: float) -> str:
    low, high = scale * found["low"], scale * found["high"]
    return f"{scale * found['base']:.2f} {scale * found['difference']:+.2f} ({low:+.2f} to {high:+.2f})"


def slug(arm: str) -> str:
    return arm.replace(", ", "-").replace(" ", "-")


def print_tables(rows: Sequence[dict[str, Any]], output: Path) -> None:
    """Every run, then what holds after Holm, and how much of the unguarded gain the guard kept."""
    print("\n| setting | seed | arm | rate | point | target, points | elsewhere, points | noise, per min | minutes |")
    print("|---|---:|---|---:|---:|---:|---:|---:|---:|")
    ordered = sorted(rows, key=lambda row: (row["setting"], row["arm"], row["seed"]))
    for row in ordered:
        alpha = "" if row["alpha"] is None or "unguarded" in row["arm"] else f"{row['alpha']:g}"
        cells = " | ".join(points(row[name], 1 if name == "noise" else 100) for name in KINDS)
        head = f"{row['setting']} | {row['seed']} | {row['arm']} | {row['rate']:g} | {alpha}"
        print(f"| {head} | {cells} | {row['minutes']:.2f} |")
    for arm in sorted({row["arm"] for row in rows}):
        own = [(row, name) for row in ordered if row["arm"] == arm for name in KINDS]
        adjusted = holm_adjusted([row[name]["p"] for row, name in own])
        found = [
            f"{row['setting']} {row['seed']} {name} {row[name]['difference']:+.4g} (p {p:.2g})"
            for (row, name), p in zip(own, adjusted, strict=True)
            if p < 0.05
        ]
        better = sum(" -" in text for text in found)
        worse = [text for text in found if " +" in text]
        print(f"{arm}: of {len(own)} comparisons after Holm {better} better, {len(worse)} worse: {'; '.join(worse)}")
    for row in ordered:
        bare = [r for r in rows if r["arm"] == f"{row['arm']}, unguarded" and same_run(r, row)]
        if bare and bare[0]["gain"]["verdict"] == "better":
            kept = row["gain"]["difference"] / bare[0]["gain"]["difference"]
            print(f"{row['setting']} {row['seed']} {row['arm']}: {kept:.0%} of the unguarded gain kept")
    write_json(output / f"rows-{'-'.join(sorted({row['setting'] for row in rows}))}.json", {"rows": list(ordered)})


def same_run(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return (one["setting"], one["seed"]) == (other["setting"], other["seed"])


if __name__ == "__main__":
    main()
