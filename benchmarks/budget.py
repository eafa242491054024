"""Does a run end when its budget does? Trainings with budgets from 1 to 6 minutes, each a process of its own.

For each: wall clock of the whole process against the budget, the forecast of the plan against what it took, forecast
peak memory against the process's peak, the share of evaluations and guard, and whether what is delivered was evaluated.
The laboratory's model learns Mandarin; with recordings at hand (``ASR_HEADROOM_SHARED``) a restored whisper-tiny.en
learns children's speech. Two streams side by side, one thread each.

    ASR_HEADROOM_SHARED=../shared python benchmarks/budget.py --minutes 1 2 3 4 6
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from asr_headroom.lab.settings import base_path
from asr_headroom.lab.speech import SpeechRecipe, write_corpus

HEADER = (
    "| model | method | budget, s | took, s | off, s (%) | forecast, s (%) | step forecast / measured | "
    "peak forecast / measured, MB | evaluation and guard | evaluated |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|---:|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 3, 4, 6])
    parser.add_argument("--only", choices=("lab", "tiny.en"), help="one stream instead of both")
    parser.add_argument("--output", type=Path, help="keep the runs here")
    arguments = parser.parse_args()
    shared = Path(os.environ.get("ASR_HEADROOM_SHARED", "../shared"))
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.output or Path(folder)
        streams = [lab_commands(root)]
        if (shared / "speech/en_speechocean").is_dir():
            streams.append(children_commands(shared))
        streams = [stream for stream in streams if arguments.only in (None, stream[0])]
        print(HEADER, flush=True)
        threads = [
            threading.Thread(target=run_all, args=(name, commands, arguments.minutes, root))
            for name, commands in streams
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def lab_commands(root: Path) -> tuple[str, dict[str, str]]:
    """The laboratory's base on Mandarin, French beside it."""
    sets = {}
    for language, split, count in (("zh", "train", 2000), ("zh", "dev", 200), ("fr", "dev", 100)):
        recipe = SpeechRecipe(language=language, split=split, count=count)
        sets[language, split] = write_corpus(root / f"{language}-{split}", recipe)
    common = (
        f"train --model {base_path()} --train {sets['zh', 'train']} --dev {sets['zh', 'dev']} "
        f"--guard-data {sets['fr', 'dev']} --window fit --num-train-epochs 1000 --per-device-train-batch-size 16"
    )
    return "lab", {"full": f"{common} --method full --learning-rate 5e-4", "lora": f"{common} --learning-rate 2e-3"}


def children_commands(shared: Path) -> tuple[str, dict[str, str]]:
    """A restored whisper-tiny.en on children, adults beside it."""
    speech = shared / "speech/en_speechocean"
    common = (
        f"train --model {tiny_english(shared)} --train {speech}/train_children.jsonl --dev {speech}/dev_children.jsonl "
        f"--guard-data {speech}/dev_adults.jsonl --window fit --target-form sentence --num-train-epochs 1000"
    )
    return "tiny.en", {"full": f"{common} --method full --learning-rate 1e-4", "lora": f"{common} --learning-rate 1e-3"}


def tiny_english(shared: Path) -> Path:
    """The folder of the restored weights."""
    return next(path.parent for path in sorted((shared / "weights").rglob("model.safetensors")))


def run_all(name: str, commands: dict[str, str], minutes: list[float], root: Path) -> None:
    methods = sorted(commands)
    for number, budget in enumerate(minutes):
        method = methods[number % len(methods)]
        output = root / f"{name}-{method}-{budget:g}"
        print(measure(name, method, f"{commands[method]} --budget {budget}m --output {output}", 60 * budget, output))
        sys.stdout.flush()


def measure(name: str, method: str, command: str, budget: float, output: Path) -> str:
    """One row of the table."""
    words = [sys.executable, "-m", "asr_headroom", *command.split()]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    start = time.monotonic()
    log = output.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        process = os.posix_spawn(
            sys.executable,
            words,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, file.fileno(), 1), (os.POSIX_SPAWN_DUP2, file.fileno(), 2)],
        )
        _, status, usage = os.wait4(process, 0)
    took = time.monotonic() - start
    if status:
        return f"| {name} | {method} | {budget:.0f} | failed: {log.read_text()[-300:].strip()} |"
    record = json.loads((output / "train.json").read_text())
    plan, seconds = record["plan"], {stage: 60 * m for stage, m in record["minutes"].items()}
    forecast = plan["spent_seconds"] + plan["guard_seconds"] + plan["total_steps"] * plan["step_seconds"]
    forecast += -(-plan["total_steps"] // plan["eval_steps"]) * plan["eval_seconds"]
    steps = [json.loads(line)["step"] for line in (output / "history.jsonl").read_text().splitlines()]
    evaluated = record["best"]["step"] in steps and record["stopped_at"] in steps
    watching = (seconds["evaluate"] + seconds["guard"]) / sum(seconds.values())
    peak = usage.ru_maxrss / (1 if sys.platform == "darwin" else 1 / 1024)
    return (
        f"| {name} | {method} | {budget:.0f} | {took:.0f} | {took - budget:+.0f} ({100 * (took / budget - 1):+.1f}) "
        f"| {forecast:.0f} ({100 * (forecast / sum(seconds.values()) - 1):+.0f}) "
        f"| {plan['step_seconds']:.3f} / {seconds['train'] / record['stopped_at']:.3f} "
        f"| {plan['peak_memory'] / 1e6:.0f} / {peak / 1e6:.0f} ({100 * (plan['peak_memory'] / peak - 1):+.0f} %) "
        f"| {100 * watching:.0f} % | {'yes' if evaluated else 'no'} |"
    )


if __name__ == "__main__":
    main()
