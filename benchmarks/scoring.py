"""Alignment and counts of 10,000 utterances against jiwer, and `score` of a file from the command to its last line.

Both get the same normalised texts and must give the same hits, substitutions, deletions and insertions. Texts are the
published study's where they are shared, else made up: words by Zipf's law, about one error in eight words. Medians over
alternating repetitions.

    python benchmarks/scoring.py
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jiwer

from asr_headroom.metrics.error_rate import ErrorCounts, count_texts
from asr_headroom.results.readers import read_results
from asr_headroom.text.normalize import get_normalizer

UTTERANCES = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7)
    arguments = parser.parse_args()
    for name, pairs in (("made up", made_up()), ("published, fr", published())):
        if len(pairs) == UTTERANCES:
            compare(name, pairs, arguments.repetitions)
    print(f"score of 500 utterances, interpreter included: {command_seconds(arguments.repetitions):.2f} s")


def made_up() -> list[tuple[str, str]]:
    rng = random.Random(0)
    words = ["".join(rng.choices("eaisnrtoludcmp", k=rng.randint(1, 9))) for _ in range(20_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    pairs = []
    for _ in range(UTTERANCES):
        reference = rng.choices(words, weights, k=max(1, round(rng.gauss(24, 8))))
        heard = [
            rng.choices(([word], rng.choices(words, weights), [], [word, word]), (88, 8, 2, 2))[0] for word in reference
        ]
        pairs.append((" ".join(reference), " ".join(word for part in heard for word in part)))
    return pairs


def published() -> list[tuple[str, str]]:
    """Twenty systems of 4 to 96 % WER on 500 utterances; none where the study's files are not shared."""
    folder = Path(os.environ.get("ASR_HEADROOM_SHARED", "../shared")) / "published/predictions"
    files = sorted(folder.glob("*/*_fr.json")) + sorted(folder.glob("whisper_fr/*.json"))
    normalizer = get_normalizer("study-fr")
    predictions = [prediction for path in files for prediction in read_results(path).predictions]
    return [(normalizer(p.reference), normalizer(p.hypothesis)) for p in predictions[:UTTERANCES]]


def compare(name: str, pairs: list[tuple[str, str]], repetitions: int) -> None:
    references, hypotheses = [r for r, _ in pairs], [h for _, h in pairs]
    tasks: dict[str, Callable[[], object]] = {
        "jiwer words": lambda: jiwer.process_words(references, hypotheses),
        "our words": lambda: count_texts(references, hypotheses, "word"),
        "jiwer characters": lambda: jiwer.process_characters(references, hypotheses),
        "our characters": lambda: count_texts(references, hypotheses, "character"),
    }
    seconds: dict[str, list[float]] = {task: [] for task in tasks}
    found: dict[str, object] = {}
    for _ in range(repetitions):
        for task, run in tasks.items():
            start = time.perf_counter()
            found[task] = run()
            seconds[task].append(time.perf_counter() - start)
    medians = {task: statistics.median(taken) for task, taken in seconds.items()}
    total = 0.0, 0.0
    print(f"{name}: {len(pairs):,} utterances, medians of {repetitions}")
    for unit in ("words", "characters"):
        theirs, ours = found[f"jiwer {unit}"], ErrorCounts.total(found[f"our {unit}"])
        same = ErrorCounts(theirs.hits, theirs.substitutions, theirs.deletions, theirs.insertions) == ours
        pair = medians[f"jiwer {unit}"], medians[f"our {unit}"]
        total = total[0] + pair[0], total[1] + pair[1]
        line = f"jiwer {1e3 * pair[0]:6.0f} ms, ours {1e3 * pair[1]:5.1f} ms, {pair[0] / pair[1]:4.1f} times as fast"
        print(f"  {unit:<11} {line}; error rate {100 * ours.error_rate:.2f} %, same counts: {same}")
    line = f"jiwer {1e3 * total[0]:6.0f} ms, ours {1e3 * total[1]:5.1f} ms, {total[0] / total[1]:4.1f} times as fast"
    print(f"  both        {line}")


def command_seconds(repetitions: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.jsonl"
        rows = [{"ref": reference, "hyp": hypothesis} for reference, hypothesis in made_up()[:500]]
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        words = [sys.executable, "-m", "asr_headroom", "score", str(path), "--language", "fr", "--json"]
        taken = []
        for _ in range(repetitions):
            start = time.perf_counter()
            subprocess.run(words, check=True, capture_output=True)
            taken.append(time.perf_counter() - start)
        return statistics.median(taken)


if __name__ == "__main__":
    main()
