"""SIGKILL at random moments of bench and train, then the same command again: what remains must be what would have been.

Until ``--kills`` of them have hit a running process, fresh runs are killed at random moments, and repeated until they
end. Compared with a run that was never stopped: the predictions file byte for byte; the last checkpoint's and the
delivered model's weights bit for bit, the history of evaluations and what the guard measured.

    python benchmarks/kill.py --kills 20
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from asr_headroom.data.manifest import write_manifest
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.testing.tiny.moonshine import tiny_moonshine
from asr_headroom.testing.tiny.parakeet_tdt import tiny_parakeet_tdt
from asr_headroom.testing.tiny.wav2vec2_ctc import tiny_wav2vec2_ctc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", choices=("bench", "bench families", "train lora", "train full"), help="one command instead of all"
    )
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model, data = prepare(root)
        commands = {
            "bench": f"bench --models {model} --data {data} --window fit --batch-size 4 --max-new-tokens 40 --output",
            "bench families": f"bench --models {families(root)} --data {data} --nbest 2 --batch-size 4 "
            "--max-new-tokens 20 --output",
            "train lora": train_command(model, data, "lora"),
            "train full": train_command(model, data, "full"),
        }
        print("| command | kills that hit a running process | equal to the run never stopped |\n|---|---:|---:|")
        for name, command in commands.items():
            if arguments.only not in (None, name):
                continue
            whole = root / f"{name}-whole"
            seconds = run(command, whole)
            hits = equal = tried = 0
            while hits < arguments.kills:
                cut, tried = root / f"{name}-{tried}", tried + 1
                took = killed_after(command, cut, draw.uniform(0.2, 1.0) * seconds)
                hits += took is None
                seconds = took or seconds  # it ended before the kill: other work on the machine has ceased
                run(command, cut)
                equal += contents(cut) == contents(whole)
            print(f"| {name} | {hits} of {tried} | {equal} of {tried} |", flush=True)
            if equal < tried:
                raise SystemExit(f"{name}: {tried - equal} runs differ")


def prepare(root: Path) -> tuple[Path, Path]:
    """A tiny Whisper with dropout and a manifest of 48 tone utterances."""
    tiny_whisper(layers=2, dropout=0.1).save_pretrained(root / "tiny")
    draw = random.Random(1)
    speech = []
    (root / "audio").mkdir()
    for number in range(48):
        utterance = tone_utterance(
            "".join(draw.choices("abcdefgh", k=draw.randint(2, 10))), id=str(number), seed=number
        )
        path = root / "audio" / f"{number}.wav"
        path.write_bytes(utterance.audio)  # type: ignore[arg-type]
        speech.append(replace(utterance, audio=path))
    write_manifest(root / "tones.jsonl", speech)
    return root / "tiny", root / "tones.jsonl"


def families(root: Path) -> str:
    """Folders of three tiny models of three families, one of them without N-best lists."""
    made = {"wav2vec2": tiny_wav2vec2_ctc(), "transducer": tiny_parakeet_tdt(), "moonshine": tiny_moonshine()}
    for name, model in made.items():
        model.save_pretrained(root / name)
    return " ".join(str(root / name) for name in made)


def train_command(model: Path, data: Path, method: str) -> str:
    return (
        f"train --model {model} --train {data} --dev {data} --guard-data {data} --method {method} "
        "--learning-rate 1e-3 --window fit --max-steps 60 --eval-steps 6 --eval-utterances 8 "
        "--per-device-train-batch-size 4 --logging-steps 1 --output"
    )


def start(command: str, output: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "asr_headroom", *command.split(), str(output)]
    environment = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def run(command: str, output: Path) -> float:
    begin = time.monotonic()
    process = start(command, output)
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{command}: exit {process.returncode}\n{errors.decode()[-2000:]}")
    return time.monotonic() - begin


def killed_after(command: str, output: Path, after: float) -> float | None:
    """Starts the command and kills it after some seconds; the seconds it took if it had ended by then, else None."""
    begin = time.monotonic()
    process = start(command, output)
    try:
        process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    return time.monotonic() - begin


def contents(output: Path) -> dict[str, object]:
    """What must not depend on kills: predictions, history and weights (as bytes)."""
    found: dict[str, object] = {}
    for path in sorted(output.rglob("*")):
        name = str(path.relative_to(output))
        if path.name in ("predictions.jsonl", "history.jsonl", "guard.json"):
            found[name] = path.read_bytes()
        elif path.suffix == ".safetensors":
            found[name] = {key: tensor.view(torch.uint8).numpy().tobytes() for key, tensor in load_file(path).items()}
    return found


if __name__ == "__main__":
    main()
