"""Does the race find what the whole grid finds, at a fraction of it? Three repetitions in the laboratory.

Each repetition has speech of its own (training, dev, test). The grid trains every setting to its end under one seed;
the race, a command of its own under another seed, knows nothing of it. Judged on test: the setting that the race chose,
as the *grid* trained it, against the grid's best on dev, so that neither profits from the other's luck with seeds; and,
beside it, the model that the race itself delivered. Non-inferior: worse by less than 0.5 points (one-sided, 5 %).
Compute is told in optimiser steps of 16 utterances and in minutes; evaluations are as `train` makes them, ten in a
training. No guard: it comes after either choice.

    python experiments/ablate.py --output runs/ablate-lab --repetitions 1 2 3
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from asr_headroom.analysis.scoring import compare_results
from asr_headroom.lab.settings import base_path
from asr_headroom.lab.speech import SpeechRecipe, write_corpus
from asr_headroom.metrics.clustering import choose_clusters
from asr_headroom.metrics.margins import MarginJudgement, judge_margin
from asr_headroom.metrics.significance import difference_of_rates, paired_events
from asr_headroom.report.verdict import format_interval
from asr_headroom.results.store import Results
from asr_headroom.stages.ablate import AblateConfig, ablate
from asr_headroom.stages.bench import BenchConfig, bench
from asr_headroom.train.config import GuardConfig

GRID = {"method": ["lora", "full"], "learning_rate": [3e-4, 1e-3, 2e-3, 4e-3], "lora.rank": [8, 32]}
COUNTS = {"train": 800, "dev": 300, "test": 1000}
MARGIN = 0.005
MODES = ("grid", "race")


@dataclass
class Repetition:
    """One grid, one race, and what test says of both."""

    number: int
    facts: dict[str, dict]
    base_rate: float
    grid_rate: float
    setting: MarginJudgement
    model: MarginJudgement

    def spent(self, what: str) -> tuple[float, float]:
        """Of the grid and of the race: ``steps`` or ``minutes``."""
        grid, race = (sum(self.facts[mode][what].values()) for mode in MODES)
        return grid, race


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/ablate-lab"))
    parser.add_argument("--repetitions", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=120, help="of each setting")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    found = []
    for number in arguments.repetitions:
        found.append(repeat(arguments.output / str(number), number, arguments.steps))
        print_table(found[-1:])
    if len(found) > 1:
        print_table(found)


def repeat(root: Path, number: int, steps: int) -> Repetition:
    speech = {split: corpus(root, split, number) for split in COUNTS}
    facts = {}
    for mode, seed in zip(MODES, (number, 100 + number), strict=True):
        ablate(
            AblateConfig(
                model=str(base_path()), train=speech["train"], dev=speech["dev"], output=str(root / mode), mode=mode,
                grid=GRID, max_steps=steps, eval_utterances=COUNTS["dev"], window="fit",
                logging_steps=steps, seed=seed, guard=GuardConfig(enabled=False),
            )
        )  # fmt: skip
        facts[mode] = json.loads((root / mode / "ablation.json").read_text())
    chosen = facts["race"]["chosen"]
    best = measure(root / "grid/model", root, speech["test"], "grid-best")
    same_setting = measure(checkpoint(root / "grid/settings" / chosen), root, speech["test"], "grid-chosen-by-race")
    delivered = measure(root / "race/model", root, speech["test"], "race-delivered")
    base = measure(base_path(), root, speech["test"], "base")
    compared = compare_results(base, best).comparison
    return Repetition(
        number=number,
        facts=facts,
        base_rate=compared.base,
        grid_rate=compared.system,
        setting=judge(best, same_setting),
        model=judge(best, delivered),
    )


def corpus(root: Path, split: str, number: int) -> str:
    recipe = SpeechRecipe(language="zh", split=split, count=COUNTS[split], seed=3000 + number)
    return str(write_corpus(root / f"speech-{split}", recipe, processes=1))


def checkpoint(folder: Path) -> Path:
    """The best step of a setting that trained to its end."""
    step = json.loads((folder / "train.json").read_text())["best"]["step"]
    return folder / "checkpoints" / f"step-{step:08d}"


def measure(model: Path, root: Path, test: str, name: str) -> Results:
    output = str(root / "bench" / name)
    (results,) = bench(
        BenchConfig(models=(str(model),), data=(test,), output=output, name=name, window="fit", batch_size=32)
    )
    return results


def judge(best: Results, other: Results) -> MarginJudgement:
    """Other against best, over new sentences by the same voices."""
    pair = compare_results(best, other)
    base, system, lengths = paired_events(*(one.counts_in(pair.normalizer) for one in (pair.base, pair.system)))
    sentences = [pair.normalizer(prediction.reference) for prediction in pair.base.predictions]
    clusters = choose_clusters([prediction.speaker for prediction in pair.base.predictions], sentences)
    return judge_margin(difference_of_rates(base, system, lengths, clusters), MARGIN)


def print_table(repetitions: list[Repetition]) -> None:
    print(
        "\n| repetition | grid's best on dev | race's choice | base, test | grid's best, test | race's setting in the",
        end="",
    )
    print(" grid's training, against it | race's own model, against it | steps | minutes |")
    print("|---:|---|---|---:|---:|---|---|---:|---:|")
    for one in repetitions:
        names = [describe(one.facts[mode]) for mode in MODES]
        (grid_steps, race_steps), (grid_minutes, race_minutes) = one.spent("steps"), one.spent("minutes")
        print(
            f"| {one.number} | {names[0]} | {names[1]} | {100 * one.base_rate:.2f} | {100 * one.grid_rate:.2f} "
            f"| {said(one.setting)} | {said(one.model)} | {race_steps} of {grid_steps} ({race_steps / grid_steps:.0%}) "
            f"| {race_minutes:.1f} of {grid_minutes:.1f} ({race_minutes / grid_minutes:.0%}) |",
            flush=True,
        )


def describe(facts: dict) -> str:
    values = facts["settings"][facts["chosen"]]
    rank = f", rank {values['lora.rank']}" if values["method"] == "lora" else ""
    return f"{values['method']} {values['learning_rate']:g}{rank}"


def said(judged: MarginJudgement) -> str:
    if judged.difference == 0 and judged.interval.low == judged.interval.high:
        return "the same model"
    word = "non-inferior" if judged.holds else "not shown"
    return f"{100 * judged.difference:+.2f} ({format_interval(judged.interval, signed=True)}), {word}"


if __name__ == "__main__":
    main()
