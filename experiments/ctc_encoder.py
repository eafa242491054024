"""Does a pretrained Whisper encoder pay under a character CTC head? The same training on it and on a random encoder.

English of speakers that no part has seen (``en_speechocean``, 47 speakers), a fixed budget of minutes each; then single
digits, leaving one speaker out at a time. Both trainings get the same data, head, schedule and seed; learning rates are
given per arm, as a random encoder wants a higher one. Printed: error rates and the paired difference with its interval,
over speakers.

    OMP_NUM_THREADS=1 python experiments/ctc_encoder.py --shared ../shared --output runs/ctc_encoder --budget 15m
    … --part digits --budget 3m
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from asr_headroom.analysis.scoring import compare_results
from asr_headroom.data.manifest import Utterance, write_manifest
from asr_headroom.data.readers import read_manifest
from asr_headroom.results.store import Results
from asr_headroom.stages.bench import BenchConfig, bench
from asr_headroom.stages.train import TrainStageConfig, train
from asr_headroom.text.normalize import get_normalizer

ARMS = {"pretrained": "full", "random": "scratch"}
RATES = {"pretrained": 3e-4, "random": 5e-4}
MODEL = "weights/whisper-tiny.en-restored"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--output", type=Path, default=Path("runs/ctc_encoder"))
    parser.add_argument("--part", choices=["speechocean", "digits"], default="speechocean")
    parser.add_argument("--budget", default="15m", help="of each training")
    parser.add_argument("--epochs", type=float, default=40.0, help="ceiling; the budget ends the training before")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--speakers", nargs="*", help="digits: only these are left out, one at a time")
    for arm, rate in RATES.items():
        parser.add_argument(f"--{arm}-rate", type=float, default=rate)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s")
    speech_folder = arguments.shared / "speech"
    if arguments.part == "speechocean":
        folder = speech_folder / "en_speechocean"
        results = run(arguments, folder / "train.jsonl", folder / "dev.jsonl", folder / "test.jsonl", arguments.output)
        show("unseen speakers of en_speechocean", [results])
        return
    folds = digit_folds(speech_folder / "en_digits", arguments.output / "folds")
    wanted = arguments.speakers or sorted(folds)
    show(
        "digits, one speaker left out at a time",
        [run(arguments, *folds[speaker], arguments.output / f"digits-{speaker}") for speaker in wanted],
    )


def run(arguments: argparse.Namespace, train_data: Path, dev: Path, test: Path, output: Path) -> dict[str, Results]:
    """Trains both arms and transcribes the test set; what is done already is not done again."""
    results = {}
    for arm, method in ARMS.items():
        config = TrainStageConfig(
            model=str(arguments.shared / MODEL),
            train=str(train_data),
            dev=str(dev),
            output=str(output / arm),
            method=method,
            vocabulary="from-data",
            language="en",
            window="fit",
            learning_rate=getattr(arguments, f"{arm}_rate"),
            num_train_epochs=arguments.epochs,
            budget=arguments.budget,
            warmup_ratio=0.1,
            per_device_train_batch_size=16,
            seed=arguments.seed,
        )
        model = train(config)
        (results[arm],) = bench(
            BenchConfig(
                models=(str(model),),
                data=(str(test),),
                name=arm,
                output=str(output / "bench"),
                window="fit",
                language="en",
                normalizer="basic",
            )
        )
    return results


def digit_folds(folder: Path, output: Path) -> dict[str, tuple[Path, Path, Path]]:
    """For each speaker: training and dev data of the others, and all recordings of this one to test on.

    Dev is the other speakers' share of the corpus's own test split, so that it is not trained on.
    """
    splits = {name: read_manifest(folder / f"{name}.jsonl").utterances for name in ("train", "test")}
    folds = {}
    for speaker in sorted({str(utterance.speaker) for utterance in splits["train"]}):
        parts: dict[str, list[Utterance]] = {
            "train": [u for u in splits["train"] if u.speaker != speaker],
            "dev": [u for u in splits["test"] if u.speaker != speaker],
            "test": [u for split in splits.values() for u in split if u.speaker == speaker],
        }
        paths = []
        for name, utterances in parts.items():
            path = output / speaker / f"{name}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_manifest(path, utterances)
            paths.append(path)
        folds[speaker] = (paths[0], paths[1], paths[2])
    return folds


def show(title: str, folds: Sequence[dict[str, Results]]) -> None:
    """Rates of both arms and the paired difference, pretrained minus random, over all folds together."""
    random, pretrained = (join([fold[arm] for fold in folds]) for arm in ("random", "pretrained"))
    for unit, normalizer in (("WER", "basic"), ("CER", "basic-characters")):
        found = compare_results(random, pretrained, normalizer=get_normalizer(normalizer), cluster="speaker")
        numbers = found.comparison
        low, high = (100 * end for end in (numbers.interval.low, numbers.interval.high))
        print(
            f"{title}: {unit} pretrained {100 * numbers.system:.2f} %, random {100 * numbers.base:.2f} %, difference "
            f"{100 * numbers.difference:+.2f} points ({low:+.2f} to {high:+.2f}), p {numbers.p_value:.4f}, "
            f"{numbers.num_utterances} utterances, {numbers.num_clusters} speakers: {numbers.verdict}"
        )
        for warning in found.warnings:
            print(f"  {warning}")


def join(parts: Sequence[Results]) -> Results:
    """Predictions of several folds as one result."""
    return Results(parts[0].run, [prediction for part in parts for prediction in part.predictions])


if __name__ == "__main__":
    main()
