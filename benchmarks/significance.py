"""Do the intervals cover, are the p-values uniform, and how long do they take?

Coverage is measured on made error counts that look like those of recognisers (skewed, clustered, with rare loops), and,
where ``ASR_HEADROOM_SHARED`` names the published predictions, on samples from real pairs of systems, whose truth is the
difference over all their sentences. Speed is compared with ``scipy.stats.bootstrap`` and the package
``confidence_intervals`` where they are installed; the project needs neither.

    python benchmarks/significance.py                     # everything, some ten minutes on one core
    python benchmarks/significance.py --only speed
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asr_headroom.metrics.clustering import Clustering, choose_clusters, cross_clusters, label_clusters
from asr_headroom.metrics.intervals import IntervalMethod
from asr_headroom.metrics.paired_tests import sign_flip_test
from asr_headroom.metrics.seeds import compare_seeds
from asr_headroom.metrics.sequential import BoundedSequence, MeanSequence
from asr_headroom.metrics.significance import compare_rates

CLUSTERS = (6, 8, 12, 20, 30, 50, 100, 300)
BCA_CLUSTERS = (30, 100, 300)
RESAMPLES = 2000
PAIRS = (
    ("whisper_fr/baseline_small", "whisper_fr/full_small"),
    ("whisper_fr/baseline_small", "whisper_fr/lora_small"),
    ("whisper_fr/baseline_turbo", "whisper_fr/lora_turbo"),
    ("whisper_fr/baseline_medium", "whisper_fr/baseline_turbo"),
    ("whisper_fr/lora_small", "whisper_fr/lora_small_v2"),
    ("whisper_fr/baseline_tiny", "whisper_fr/lora_tiny"),
    ("qwen3_asr/qwen3_1p7b_base_fr_dev100", "qwen3_asr/qwen3_1p7b_full_fr_dev100"),
    ("whisper_zh/baseline_medium", "whisper_zh/lora_medium"),
)


class Errors(NamedTuple):
    """[utterances] errors of two systems, reference units, and the cluster of each utterance."""

    base: np.ndarray
    system: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray


World = Callable[[np.random.Generator, int], Errors]


def world(
    *, gain: float = 0.0, uneven: float = 0.0, loops: float = 0.0, sizes: float = 0.7, noise: float = 1.0
) -> World:
    """Clusters of utterances with a difficulty of their own.

    Args:
        gain: share of errors that the system saves on average.
        uneven: squared coefficient of variation of that share over clusters; a few clusters hold the gain.
        loops: share of utterances in which a system adds a loop of up to some hundred words.
        sizes: mean number of further utterances of a cluster; negative binomial.
        noise: variance of errors over that of a Poisson count.
    """

    def draw(generator: np.random.Generator, clusters: int) -> Errors:
        numbers = 1 + generator.poisson(generator.gamma(1.0, sizes, clusters))
        labels = np.repeat(np.arange(clusters), numbers)
        lengths = generator.integers(5, 40, len(labels))
        hard = generator.gamma(1.5, 0.1 / 1.5, clusters)[labels]
        change = np.ones(clusters) if not uneven else generator.gamma(1 / uneven, uneven, clusters)
        systems = []
        for factor in (1.0, 1.0 - gain * change[labels]):
            mean = np.maximum(hard * lengths * factor, 0.0)
            errors = generator.poisson(mean * generator.gamma(1 / noise, noise, len(labels)))
            looped = generator.random(len(labels)) < loops
            systems.append(errors + looped * lengths * generator.geometric(0.3, len(labels)))
        return Errors(systems[0], systems[1], lengths, labels)

    return draw


WORLDS: dict[str, World] = {
    "no difference": world(),
    "a fifth fewer errors": world(gain=0.2),
    "gain held by few clusters": world(gain=0.2, uneven=1.0),
    "clusters of 1 to 40": world(gain=0.1, sizes=8.0),
    "loops in 0.2 %, no difference": world(loops=0.002),
    "loops in 1 %, a fifth fewer else": world(gain=0.2, loops=0.01),
}


def truth(make: World) -> float:
    """The difference over very many clusters."""
    errors = make(np.random.default_rng(99), 1_500_000)
    return float((errors.system - errors.base).sum() / errors.lengths.sum())


def published(shared: Path) -> Iterator[tuple[str, World, float]]:
    """Worlds that sample the sentences of real pairs of systems."""
    from asr_headroom.metrics.error_rate import count_pair
    from asr_headroom.text.normalize import get_normalizer

    for names in PAIRS:
        normalizer = get_normalizer("study-zh" if "_zh" in names[0] else "study-fr")
        files = [json.loads((shared / "published/predictions" / f"{n}.json").read_text())["predictions"] for n in names]
        base, system = (
            [count_pair(row["ref"], row["hyp"], normalizer).of(normalizer.unit) for row in rows] for rows in files
        )
        clusters = label_clusters([normalizer(row["ref"]) for row in files[0]], "sentence").labels
        sums = np.array([
            np.bincount(clusters, values)
            for values in ([c.errors for c in base], [c.errors for c in system], [c.reference_length for c in base])
        ])  # fmt: skip

        def draw(generator: np.random.Generator, number: int, sums: np.ndarray = sums) -> Errors:
            picked = sums[:, generator.integers(0, sums.shape[1], number)]
            return Errors(*picked, np.arange(number))

        name = " / ".join(Path(n).name.removesuffix("_fr_dev100") for n in names)
        yield f"real: {name}", draw, float((sums[1] - sums[0]).sum() / sums[2].sum())


def coverage(make: World, true: float, clusters: int, repetitions: int, method: IntervalMethod) -> float:
    """Share of intervals that hold the truth; where all clusters differ alike there is none to be wrong."""
    generator = np.random.default_rng(clusters)
    covered = 0
    for repetition in range(repetitions):
        errors = make(generator, clusters)
        clustering = Clustering(labels=errors.labels, by="sentence", population="")
        compared = compare_rates(*errors[:3], clustering, resamples=RESAMPLES, seed=repetition, method=method)
        low, high = compared.interval.low - 1e-12, compared.interval.high + 1e-12
        covered += low <= true <= high or high - low < 1e-11
    return covered / repetitions


def print_coverage(repetitions: int, shared: Path) -> None:
    worlds = [(name, make, 0.0 if "no difference" in name else truth(make)) for name, make in WORLDS.items()]
    if (shared / "published/predictions").is_dir():
        worlds += list(published(shared))
    for method, sizes in (("percentile", CLUSTERS), ("bca", BCA_CLUSTERS)):
        print(f"\nCoverage of 95 % intervals ({method}), in %; {repetitions} repetitions, {RESAMPLES} resamples")
        print("| errors | " + " | ".join(f"{n} clusters" for n in sizes) + " |")
        print("|---|" + "---:|" * len(sizes))
        for name, make, true in worlds:
            cells = [f"{100 * coverage(make, true, n, repetitions, method):.1f}" for n in sizes]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def crossed_errors(
    generator: np.random.Generator, sentences: int, speakers: int, utterances: int, by_speaker: float
) -> tuple[Errors, Clustering]:
    """Differences with an effect of the sentence, of the speaker and of the reading."""
    rows, columns = generator.integers(0, sentences, utterances), generator.integers(0, speakers, utterances)
    lengths = generator.integers(5, 40, utterances)
    effect = generator.gamma(1.0, 0.05, sentences)[rows] - 0.05
    effect += by_speaker * (generator.gamma(1.0, 0.05, speakers)[columns] - 0.05)
    base = generator.poisson(0.15 * lengths)
    system = generator.poisson(np.maximum(0.15 + effect, 0.0) * lengths)
    clustering = cross_clusters(label_clusters(rows.tolist(), "sentence"), label_clusters(columns.tolist(), "speaker"))
    return Errors(base, system, lengths, rows), clustering


def print_crossed(repetitions: int) -> None:
    print(f"\nCoverage where sentences cross with speakers, in %; {repetitions} repetitions")
    print("| sentences x speakers, utterances | world | by sentence | by speaker | crossed |")
    print("|---|---|---:|---:|---:|")
    for sentences, speakers, utterances in ((30, 10, 120), (60, 20, 200), (100, 30, 500), (300, 60, 500)):
        for by_speaker in (0.0, 1.0):
            generator = np.random.default_rng(sentences)
            covered = np.zeros(3)
            for _ in range(repetitions):
                errors, crossed = crossed_errors(generator, sentences, speakers, utterances, by_speaker)
                ways = [label_clusters(way.labels.tolist(), "way") for way in crossed.ways]
                for place, clustering in enumerate((*ways, crossed)):
                    interval = compare_rates(*errors[:3], clustering, resamples=500).interval
                    covered[place] += 0.0 in interval
            cells = " | ".join(f"{100 * share:.1f}" for share in covered / repetitions)
            about = "speakers differ" if by_speaker else "speakers alike"
            print(f"| {sentences} x {speakers}, {utterances} | {about} | {cells} |", flush=True)


def kolmogorov_p(values: np.ndarray) -> float:
    """p of the Kolmogorov-Smirnov test that values are uniform on 0 … 1 (Stephens' approximation)."""
    ordered, number = np.sort(values), len(values)
    ranks = np.arange(number + 1) / number
    distance = max((ranks[1:] - ordered).max(), (ordered - ranks[:-1]).max())
    scaled = (math.sqrt(number) + 0.12 + 0.11 / math.sqrt(number)) * distance
    return min(1.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101)))


def print_uniform(repetitions: int) -> None:
    print(f"\nSign-flip p of a system against itself decoded anew; {repetitions} repetitions")
    print("| errors | clusters | Kolmogorov-Smirnov p | share below 5 %, in % |\n|---|---:|---:|---:|")
    for name in ("no difference", "loops in 0.2 %, no difference"):
        for clusters in (60, 300):
            generator = np.random.default_rng(clusters)
            p_values = []
            for _ in range(repetitions):
                errors = WORLDS[name](generator, clusters)
                clustering = Clustering(labels=errors.labels, by="sentence", population="")
                p_values.append(sign_flip_test(errors.system - errors.base, clustering).p_value)
            found = np.array(p_values)
            below = 100 * np.mean(found < 0.05)
            print(f"| {name} | {clusters} | {kolmogorov_p(found):.2f} | {below:.1f} |", flush=True)


def print_seeds(repetitions: int) -> None:
    print(f"\nCoverage over new seeds and new utterances (100 clusters), in %; {repetitions} repetitions")
    print("| seeds | seeds decide | both | the test set decides |\n|---:|---:|---:|---:|")
    for seeds in (2, 3, 5, 10):
        cells = []
        for seed_sd, cluster_sd in ((0.02, 0.05), (0.01, 0.1), (0.0, 0.1)):
            generator = np.random.default_rng(seeds)
            covered = 0
            for _ in range(repetitions):
                lengths = generator.integers(5, 40, 100)
                effect = generator.normal(0, seed_sd, (seeds, 1)) + generator.normal(0, cluster_sd, 100)
                system = (0.3 + effect + generator.normal(0, 0.1, (seeds, 100))) * lengths
                found = compare_seeds(0.3 * lengths, system, lengths, label_clusters(range(100), "sentence"))
                covered += 0.0 in found.interval
            cells.append(f"{100 * covered / repetitions:.1f}")
        print(f"| {seeds} | " + " | ".join(cells) + " |", flush=True)


def print_race(repetitions: int) -> None:
    print(f"\nConfidence sequences looked at after every 10 of 1,000 utterances, in %; {repetitions} repetitions")
    print("| errors | ever wrong: asymptotic | empirical Bernstein, capped | ordinary 95 % interval |")
    print("|---|---:|---:|---:|")
    for name in ("no difference", "loops in 0.2 %, no difference"):
        generator = np.random.default_rng(0)
        wrong = np.zeros(3)
        for _ in range(repetitions):
            errors = WORLDS[name](generator, 1000)
            differences = np.bincount(errors.labels, errors.system - errors.base)
            bound = float(np.bincount(errors.labels, errors.lengths).max())
            mean, bounded = MeanSequence(), BoundedSequence(-bound, bound)
            missed = np.zeros(3, dtype=bool)
            for start in range(0, 1000, 10):
                rows = differences[start : start + 10]
                mean.update(rows)
                bounded.update(np.clip(rows, -bound, bound))
                seen = differences[: start + 10]
                reach = 1.96 * seen.std(ddof=1) / math.sqrt(len(seen))
                looks = (0.0 not in mean.interval, 0.0 not in bounded.interval, abs(seen.mean()) > reach)
                missed |= np.array(looks) & (len(seen) >= 30)
            wrong += missed
        print(f"| {name} | " + " | ".join(f"{100 * share:.1f}" for share in wrong / repetitions) + " |", flush=True)


def timed(action: Callable[[], object], repetitions: int) -> float:
    """Median seconds."""
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def print_speed(repetitions: int) -> None:
    generator = np.random.default_rng(0)
    number, resamples = 100_000, 10_000
    lengths = generator.integers(3, 40, number)
    hard = generator.gamma(1.5, 0.07, number)
    base, system = generator.poisson(hard * lengths), generator.poisson(0.95 * hard * lengths)
    grouped = label_clusters(generator.integers(0, 2000, number).tolist(), "sentence")
    single = choose_clusters([None] * number, [str(i) for i in range(number)])
    print(f"\n{resamples:,} resamples of a paired difference over {number:,} utterances, median of {repetitions}, in s")
    print("| clusters | ours | peak memory of the process, MB | scipy.stats.bootstrap | confidence_intervals |")
    print("|---|---:|---:|---:|---:|")
    for name, clustering in (("2,000", grouped), ("100,000 (singletons)", single)):
        ours = timed(lambda c=clustering: compare_rates(base, system, lengths, c, resamples=resamples), repetitions)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        peers = [
            peer(clustering.labels, system - base, lengths, resamples, repetitions)
            for peer in (scipy_seconds, package_seconds)
        ]
        print(f"| {name} | {ours:.2f} | {memory:.0f} | " + " | ".join(peers) + " |", flush=True)
    sign_flips = timed(lambda: sign_flip_test(system - base, grouped), repetitions)
    print(f"\nSign-flip test of the same, exact, 2,000 clusters: {sign_flips:.2f} s")


def scipy_seconds(
    labels: np.ndarray, differences: np.ndarray, lengths: np.ndarray, resamples: int, repetitions: int
) -> str:
    """The same interval by SciPy, on sums over clusters made beforehand, which it does not offer itself."""
    try:
        from scipy.stats import bootstrap
    except ImportError:
        return "not installed"
    sums = np.bincount(labels, differences), np.bincount(labels, lengths)

    def ratio(events: np.ndarray, exposure: np.ndarray, axis: int = -1) -> np.ndarray:
        return events.sum(axis=axis) / exposure.sum(axis=axis)

    options = {"paired": True, "n_resamples": resamples, "method": "percentile", "batch": max(1, 10**6 // len(sums[0]))}
    return f"{timed(lambda: bootstrap(sums, ratio, **options), min(repetitions, 3)):.2f}"


def package_seconds(
    labels: np.ndarray, differences: np.ndarray, lengths: np.ndarray, resamples: int, repetitions: int
) -> str:
    """Ferrer & Riera's package, which resamples utterances by condition; ten resamples, times what is missing."""
    try:
        from confidence_intervals import evaluate_with_conf_int
    except ImportError:
        return "not installed"
    samples = np.column_stack([differences, lengths])

    def ratio(rows: np.ndarray, _labels: object = None) -> float:
        return rows[:, 0].sum() / rows[:, 1].sum()

    few = 10
    conditions = None if len(np.unique(labels)) == len(labels) else labels
    seconds = timed(
        lambda: evaluate_with_conf_int(samples, ratio, None, conditions=conditions, num_bootstraps=few, alpha=5), 1
    )
    return f"{seconds * resamples / few:.0f} (from {few} resamples)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("coverage", "crossed", "uniform", "seeds", "race", "speed")
    parser.add_argument("--only", choices=parts, nargs="+", default=list(parts))
    parser.add_argument("--repetitions", type=int, default=1000)
    arguments = parser.parse_args()
    shared = Path(os.environ.get("ASR_HEADROOM_SHARED", "../shared"))
    number = arguments.repetitions
    # Speed first: the memory of a process never shrinks.
    if "speed" in arguments.only:
        print_speed(5)
    if "coverage" in arguments.only:
        print_coverage(number, shared)
    for part, action in (
        ("crossed", print_crossed),
        ("uniform", print_uniform),
        ("seeds", print_seeds),
        ("race", print_race),
    ):
        if part in arguments.only:
            action(number)


if __name__ == "__main__":
    main()
