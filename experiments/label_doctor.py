"""Does the label doctor find wrong transcripts? 2,000 recordings of accented English with 100 planted errors.

40 transcripts are exchanged between recordings (20 pairs), 30 lose their end, 30 have one word replaced by one that is
spelt like it. The recordings are ones that the model has never seen: the children of the training split, dev, and the
first 27 test speakers (540 clips). Nothing was chosen by looking at them: what had to be tried out was tried on the
other 20 test speakers. The doctor makes its own examples of errors by other rules (it replaces words by any common word
of like length, for example), and does not know the number of planted ones.

    python experiments/label_doctor.py --shared SHARED --output runs/label-doctor --no-fit
    python experiments/label_doctor.py --shared SHARED --output runs/label-doctor --folds 2 --steps 60
    python experiments/label_doctor.py --shared SHARED --output runs/label-doctor-pilot --no-fit --pilot

Resumable: the same command goes on. Planting is seeded; ``truth.json`` in the output says what was planted.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rapidfuzz import process
from rapidfuzz.distance import Indel

from asr_headroom.data.manifest import Utterance, write_manifest
from asr_headroom.data.readers import read_manifest
from asr_headroom.metrics.distributions import normal_quantile
from asr_headroom.stages.doctor import DoctorConfig, DoctorTraining, doctor

PLANTED = {"swapped": 40, "truncated": 30, "changed": 30}
TEST_CLIPS = 540


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="folder of the shared recordings and weights")
    parser.add_argument("--output", type=Path, default=Path("runs/label-doctor"))
    parser.add_argument("--seed", type=int, default=1, help="of what is planted where")
    parser.add_argument("--no-fit", action="store_true", help="the model as it is judges")
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60, help="of 16 clips, for each fold")
    parser.add_argument(
        "--pilot", action="store_true", help="400 clips of the other test speakers, 5 times fewer errors"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    manifest, truth = plant(arguments.shared, arguments.output, arguments.seed, pilot=arguments.pilot)
    begin = time.process_time()
    found = doctor(
        DoctorConfig(
            data=str(manifest),
            models=(str(arguments.shared / "weights/whisper-tiny.en-restored"),),
            output=str(arguments.output / ("zero-shot" if arguments.no_fit else "cross-fitted")),
            fit=not arguments.no_fit,
            folds=arguments.folds,
            window="fit",
            target_form="sentence",
            training=DoctorTraining(
                method="full", learning_rate=1e-4, max_steps=arguments.steps, eval_steps=arguments.steps,
                eval_utterances=40, logging_steps=10,
            ),
        )
    )  # fmt: skip
    print(f"processor time of this session: {(time.process_time() - begin) / 60:.1f} min; minutes: {found.minutes}")
    show(found.diagnosis, truth)


def plant(shared: Path, output: Path, seed: int, *, pilot: bool) -> tuple[Path, dict[str, dict]]:
    """The manifest with planted errors, and what was planted, by id."""
    folder = shared / "speech/en_speechocean"
    test = list(read_manifest(str(folder / "test.jsonl")))
    if pilot:
        clips = test[TEST_CLIPS:]
        planted = {kind: count // 5 for kind, count in PLANTED.items()}
    else:
        clips = [
            *read_manifest(str(folder / "train_children.jsonl")),
            *read_manifest(str(folder / "dev.jsonl")),
            *test[:TEST_CLIPS],
        ]
        planted = PLANTED
    clips, truth = plant_errors(clips, planted, seed)
    output.mkdir(parents=True, exist_ok=True)
    write_manifest(output / "planted.jsonl", clips)
    (output / "truth.json").write_text(json.dumps(truth, indent=1))
    return output / "planted.jsonl", truth


def plant_errors(
    clips: Sequence[Utterance], planted: dict[str, int], seed: int
) -> tuple[list[Utterance], dict[str, dict]]:
    """The clips with wrong transcripts among them, and what was done to which."""
    chance = random.Random(seed)
    vocabulary = sorted({word for clip in clips for word in clip.text.split() if len(word) >= 3})
    order = chance.sample(range(len(clips)), len(clips))
    texts, truth = {}, {}
    while len(texts) < planted["swapped"]:
        first, second = order.pop(), order.pop()
        for own, other in ((first, second), (second, first)):
            texts[own] = clips[other].text
            truth[clips[own].id] = {"kind": "swapped", "partner": clips[other].id}
    for kind in ("truncated", "changed"):
        done = 0
        while done < planted[kind]:
            index = order.pop()
            words = clips[index].text.split()
            if kind == "truncated" and len(words) >= 3:
                kept = min(len(words) - 1, max(1, round(len(words) * chance.uniform(0.35, 0.75))))
                wrong, detail = words[:kept], {"lost": len(words) - kept}
            elif kind == "changed" and (places := [i for i, word in enumerate(words) if len(word) >= 3]):
                place = chance.choice(places)
                others = [word for word in vocabulary if word != words[place]]
                near = [word for word, _, _ in process.extract(
                    words[place], others, scorer=Indel.normalized_similarity, limit=10)]  # fmt: skip
                wrong = [*words[:place], chance.choice(near), *words[place + 1 :]]
                detail = {"was": words[place], "is": wrong[place]}
            else:
                continue
            texts[index] = " ".join(wrong)
            truth[clips[index].id] = {"kind": kind} | detail
            done += 1
    return [replace(clip, text=texts.get(i, clip.text)) for i, clip in enumerate(clips)], truth


def show(diagnosis, truth: dict[str, dict]) -> None:
    """Recall by kind at several rates of false alarms."""
    right = [verdict for verdict in diagnosis.verdicts if verdict.clip.id not in truth]
    print(f"{len(diagnosis.verdicts)} clips, estimated shares of errors: "
          + ", ".join(f"{kind} {100 * share:.1f} %" for kind, share in diagnosis.shares.items()))  # fmt: skip
    print("\n| asked for | false alarms | swapped | truncated | changed |\n|---:|---:|---:|---:|---:|")
    for level in (0.01, 0.02, 0.05, 0.10):
        row = [rate(sum(v.p_value <= level for v in right), len(right))]
        for kind in PLANTED:
            wrong = [v for v in diagnosis.verdicts if truth.get(v.clip.id, {}).get("kind") == kind]
            row.append(rate(sum(v.p_value <= level for v in wrong), len(wrong)))
        print(f"| {100 * level:.0f} % | " + " | ".join(row) + " |")
    print(f"\nsuspects by kind: {dict(diagnosis.counts())}")
    print(f"false alarms, rules included: {rate(sum(v.is_suspect for v in right), len(right))}")
    for kind in PLANTED:
        caught = [v for v in diagnosis.suspects if truth.get(v.clip.id, {}).get("kind") == kind]
        print(f"planted {kind}, called: {dict(Counter(v.kind for v in caught))}")
    swapped = [v for v in diagnosis.suspects if truth.get(v.clip.id, {}).get("kind") == "swapped"]
    partners = sum(v.partner == truth[v.clip.id]["partner"] for v in swapped)
    named = sum(v.partner is not None for v in swapped)
    print(f"swapped ones found: {len(swapped)}, with a partner named {named}, the right one {partners}")
    missed = [v for v in diagnosis.verdicts if v.clip.id in truth and not v.is_suspect and
              truth[v.clip.id]["kind"] != "changed"]  # fmt: skip
    for verdict in missed:
        print(f"missed {truth[verdict.clip.id]}: '{verdict.clip.text}', heard {list(verdict.heard.values())}")
    for verdict in [v for v in diagnosis.suspects if v.clip.id not in truth][:15]:
        print(f"false alarm {verdict.kind} {verdict.probability:.2f}: '{verdict.clip.text}', "
              f"heard {list(verdict.heard.values())}")  # fmt: skip


def rate(hits: int, total: int) -> str:
    """A share with its 95 % Wilson interval, in per cent."""
    z = normal_quantile(0.975)
    share, centre = hits / total, (hits + z * z / 2) / (total + z * z)
    half = z / (total + z * z) * (hits * (total - hits) / total + z * z / 4) ** 0.5
    return f"{hits}/{total} = {100 * share:.1f} % ({100 * (centre - half):.1f}–{100 * (centre + half):.1f})"


if __name__ == "__main__":
    main()
