"""The page for ten systems on one test of 500 utterances: seconds from the command to the written page.

The published predictions where they are (ten systems, 500 real French utterances), else as many made-up ones. The
command is timed as a user runs it, in a process of its own, so that starting Python and loading libraries count. On a
machine that does other work too, the processor's seconds are the ones to compare.

    ASR_HEADROOM_SHARED=../shared python benchmarks/page.py
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from asr_headroom.results.readers import read_results
from asr_headroom.results.store import Results
from asr_headroom.testing.results import make_results, write_results

PUBLISHED = (
    *(f"whisper_fr/{name}" for name in ("baseline_small", "lora_small", "full_small", "baseline_turbo", "lora_turbo")),
    *(f"bench/{name}_fr" for name in ("largev2", "largev3", "parakeet_tdt", "voxtral_small4bit", "distilfr")),
)
WORDS = ("le", "la", "chat", "chien", "noir", "dort", "mange", "dans", "sous", "maison", "moulin", "rivière", "jeune")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(os.environ.get("ASR_HEADROOM_SHARED", "../shared")) / "published" / "predictions"
    systems = published(folder) if folder.is_dir() else made_up(10, 500)
    with tempfile.TemporaryDirectory() as temporary:
        runs = Path(temporary) / "runs"
        for number, results in enumerate(systems):
            write_results(runs / f"{number:02}", results)
        page = Path(temporary) / "page.html"
        command = [sys.executable, "-m", "asr_headroom", "report", str(runs), "--output", str(page)]
        command += ["--base", systems[0].run.name]
        runs_timed = [timed(command) for _ in range(arguments.repetitions)]
        size = page.stat().st_size
    utterances = len(systems[0].predictions)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{len(systems)} systems x {utterances} utterances ({'published' if folder.is_dir() else 'made up'})")
    for name, seconds in zip(("on the clock", "of the processor"), zip(*runs_timed, strict=True), strict=True):
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(f"page: {statistics.median(seconds):.2f} s {name}, median of {len(seconds)} ({spread})")
    print(f"      {size / 1e6:.2f} MB, peak memory {memory:.0f} MB")


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds on the clock and of the processor."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    elapsed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return elapsed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def published(folder: Path) -> list[Results]:
    return [read_results(folder / f"{name}.json", language="fr") for name in PUBLISHED]


def made_up(num_systems: int, num_utterances: int) -> list[Results]:
    rng = random.Random(0)
    references = [rng.choices(WORDS, k=rng.randint(8, 40)) for _ in range(num_utterances)]
    systems = []
    for number in range(num_systems):
        rate = 0.05 + 0.02 * number
        heard = [[rng.choice(WORDS) if rng.random() < rate else word for word in words] for words in references]
        texts = [(" ".join(said), " ".join(words)) for said, words in zip(references, heard, strict=True)]
        systems.append(make_results(texts, name=f"system {number}", language="fr"))
    return systems


if __name__ == "__main__":
    main()
