"""Does the guard keep its promise? LoRA and full fine-tuning of the laboratory's base, in two languages, three seeds.

Every seed has training speech of its own and seeds the training; the learning rate is chosen on dev. On test, on the
other language and on fresh silence and noise, the last step, the best step on dev and the delivered model are compared
with the base, utterance by utterance. Printed: fine-tuning itself, gain and damage by run, and the promise over all
runs after Holm.

    python experiments/guard.py --output runs/guard --seeds 1 2 3
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_headroom.analysis.scoring import compare_results
from asr_headroom.data.nonspeech import nonspeech_utterances
from asr_headroom.evaluate.transcribe import count_utterances
from asr_headroom.lab.settings import base_path
from asr_headroom.lab.speech import SpeechRecipe, write_corpus
from asr_headroom.metrics.significance import Comparison, choose_clusters, compare_rates
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.models.registry import load_model
from asr_headroom.report.tables import holm_adjusted
from asr_headroom.results.store import Results
from asr_headroom.stages.bench import BenchConfig, bench
from asr_headroom.stages.train import TrainStageConfig, train
from asr_headroom.text.normalize import normalizer_for_language
from asr_headroom.train.config import GuardConfig

LANGUAGES, METHODS = ("fr", "zh"), ("lora", "full")
RATES = {"lora": (5e-4, 1e-3, 2e-3), "full": (2.5e-4, 5e-4, 1e-3)}
TEST, DEV, TRAIN, STEPS = 600, 600, 800, 150
GUARD = GuardConfig(utterances=600)


@dataclass
class Run:
    """One training and what was measured of it; comparisons are against the base."""

    language: str
    method: str
    seed: int
    rate: float
    alpha: float
    last: dict[str, Comparison]
    unguarded: dict[str, Comparison]
    guarded: dict[str, Comparison]
    by_voice: Comparison

    @property
    def name(self) -> str:
        return f"{self.language} {self.method} {self.seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/guard"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--speech-seed", type=int, default=0, help="of the dev and test speech")
    parser.add_argument("--languages", nargs="+", default=LANGUAGES)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--table", action="store_true", help="print the tables (all runs must be there)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    root = arguments.output
    speech = {
        (language, split): corpus(root, language, split, arguments.speech_seed)
        for language in LANGUAGES
        for split in ("dev", "test")
    }
    results = measure([str(base_path())], "base", speech, root)
    runs = []
    for seed, language, method in itertools.product(arguments.seeds, arguments.languages, arguments.methods):
        runs.append(one_run(root, speech, results[0], language, method, seed))
        print(f"{runs[-1].name}: rate {runs[-1].rate:g}, delivered {runs[-1].alpha:g}", flush=True)
    if arguments.table:
        print_tables(runs)


def corpus(root: Path, language: str, split: str, seed: int) -> str:
    count = {"train": TRAIN, "dev": DEV, "test": TEST}[split]
    recipe = SpeechRecipe(language=language, split=split, count=count, seed=1000 + seed)
    return str(write_corpus(root / f"speech-{language}-{split}-{seed}", recipe))


def measure(models: Sequence[str], name: str, speech: dict, root: Path) -> list[dict[str, Results]]:
    """Results by language, of each model."""
    found = []
    for model in models:
        output = str(root / "bench" / name)
        tests = tuple(speech[language, "test"] for language in LANGUAGES)
        results = bench(BenchConfig(models=(model,), data=tests, output=output, name=name, window="fit", batch_size=32))
        found.append(dict(zip(LANGUAGES, results, strict=True)))
    return found


def one_run(root: Path, speech: dict, base: dict[str, Results], language: str, method: str, seed: int) -> Run:
    other = next(other for other in LANGUAGES if other != language)
    output = root / f"{language}-{method}-{seed}"
    model = train(
        TrainStageConfig(
            model=str(base_path()), train=corpus(root, language, "train", seed), dev=speech[language, "dev"],
            guard_data=(speech[other, "dev"],), output=str(output), method=method, learning_rates=RATES[method],
            max_steps=STEPS, eval_steps=STEPS // 2, window="fit", logging_steps=STEPS, seed=seed, guard=GUARD,
        )
    )  # fmt: skip
    facts = json.loads((model / "headroom.json").read_text())
    rate = facts["learning_rate"]
    checkpoints = output / "rates" / f"{rate:g}" / "checkpoints"
    last, best = (checkpoints / f"step-{step:08d}" for step in (STEPS, facts["best_step"]))
    compared = {}
    for kind, folder in (("last", last), ("unguarded", best), ("guarded", model)):
        name = f"{language}-{method}-{seed}-{kind}"
        (results,) = measure([str(folder)], name, speech, root)
        compared[kind] = {
            "target": compare_results(base[language], results[language]).comparison,
            "other language": compare_results(base[other], results[other]).comparison,
            "silence and noise": compare_noise(str(folder), language),
        }
        if kind == "last":
            by_voice = compare_results(base[language], results[language], cluster="speaker").comparison
    return Run(language, method, seed, rate, facts["guard"]["alpha"], **compared, by_voice=by_voice)


def compare_noise(model: str, language: str) -> Comparison:
    """Words (characters) per minute on clips that no guard has heard."""
    clips = nonspeech_utterances(language=language, count=60, seed=99, max_duration=3.9)
    minutes = [clip.measured_duration() / 60 for clip in clips]
    normalizer = normalizer_for_language(language)
    heard = []
    for source in (str(base_path()), model):
        recognizer = load_model(source, window="fit")
        counts = count_utterances(recognizer, clips, DecodingOptions(), normalizer=normalizer, batch_size=16)
        heard.append([count.errors for count in counts])
    clusters = choose_clusters([None] * len(clips), [clip.id for clip in clips], "utterance")
    return compare_rates(*heard, minutes, clusters)


def print_tables(runs: Sequence[Run]) -> None:
    print("\n| run | rate | base | last step, points | best step | delivered | guarded | gain kept |", end="")
    print(" other language: last | best | guarded | silence and noise, per min: base | last | best | guarded |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for run in runs:
        last, before, after = run.last, run.unguarded, run.guarded
        gain = before["target"]
        kept = f"{after['target'].difference / gain.difference:.0%}" if gain.verdict == "better" else "–"
        noise = before["silence and noise"]
        print(
            f"| {run.name} | {run.rate:g} | {100 * gain.base:.2f} | {points(last['target'])} "
            f"| {points(gain)} | {run.alpha:g} | {points(after['target'])} | {kept} | {points(last['other language'])} "
            f"| {points(before['other language'])} | {points(after['other language'])} "
            f"| {noise.base:.1f} | {last['silence and noise'].system:.1f} | {noise.system:.1f} "
            f"| {after['silence and noise'].system:.1f} |"
        )
    for kind in ("last", "unguarded", "guarded"):
        compared = [(run.name, name, c) for run in runs for name, c in getattr(run, kind).items()]
        adjusted = holm_adjusted([c.p_value for _, _, c in compared])
        worse = [
            f"{run} on {name} ({c.difference:+.4g}, p {p:.3g})"
            for (run, name, c), p in zip(compared, adjusted, strict=True)
            if c.difference > 0 and p < 0.05
        ]
        print(
            f"\n{kind}: worse than the base after Holm over {len(compared)} comparisons: {'; '.join(worse) or 'none'}"
        )
    print("\nFine-tuning (last step, unguarded) by group, mean of the seeds, and their spread:\n")
    print("| group | base | change | seeds' standard deviation | one seed's interval, new utterances | new voices |")
    print("|---|---:|---:|---:|---:|---:|")
    for (language, method), group in itertools.groupby(sorted(runs, key=group_of), key=group_of):
        members = list(group)
        changes = [100 * run.last["target"].difference for run in members]
        deviation = np.std(changes, ddof=1) if len(changes) > 1 else float("nan")
        first = members[0]
        print(
            f"| {language} {method} | {100 * first.unguarded['target'].base:.2f} | {np.mean(changes):+.2f} "
            f"| {deviation:.2f} | {points(first.last['target'])} | {points(first.by_voice)} |"
        )


def group_of(run: Run) -> tuple[str, str]:
    return run.language, run.method


def points(comparison: Comparison) -> str:
    low, high = 100 * comparison.interval.low, 100 * comparison.interval.high
    return f"{100 * comparison.difference:+.2f} ({low:+.2f} to {high:+.2f})"


if __name__ == "__main__":
    main()
