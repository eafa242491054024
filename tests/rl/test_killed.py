"""SIGKILL at different moments: weights, history and hypotheses are those of the run never stopped, to the bit."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import pytest

from asr_headroom.data.manifest import write_manifest
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper

TEXTS = ("abc", "cab", "bad", "cabbage", "dada", "face", "ab", "fade")


def command(words, log):
    """The command line in a process of its own; what it says goes to a file."""
    from asr_headroom.cli.main import main

    sys.stdout = sys.stderr = Path(log).open("a")  # noqa: SIM115
    sys.exit(main(words))


OLD_POLICY = ("--algorithm", "gspo", "--sync-steps", "4")
KEPT_ENCODINGS = ("--algorithm", "mwer", "--method", "full", "--set", "freeze=[encoder]", "--set", "cross_entropy=0.1")


@pytest.fixture(params=[OLD_POLICY, KEPT_ENCODINGS], ids=["old-policy", "kept-encodings"])
def words(tmp_path, request):
    tiny_whisper(dropout=0.1).save_pretrained(tmp_path / "tiny")
    speech = []
    for text in TEXTS:
        utterance = tone_utterance(text)
        (tmp_path / f"{text}.wav").write_bytes(utterance.audio)
        speech.append(dataclasses.replace(utterance, audio=tmp_path / f"{text}.wav"))
    write_manifest(tmp_path / "speech.jsonl", speech)
    data = str(tmp_path / "speech.jsonl")
    # Every second step learns from hypotheses that stand in the checkpoint, drawn by an older policy.
    return ["rl", "--init", str(tmp_path / "tiny"), "--train", data, "--dev", data, "--window", "fit",
            "--learning-rate", "1e-2", "--max-steps", "12", "--eval-steps", "5", "--eval-utterances", "2",
            "--updates-per-rollout", "2", "--max-new-tokens", "6", "--set", "reward.length=0.5",
            "--per-device-train-batch-size", "4", "--set", "guard.enabled=false", *request.param]  # fmt: skip


def steps_of(output):
    """Steps whose hypotheses are written down."""
    record = output / "rollouts.jsonl"
    return record.read_bytes().count(b"\n") if record.exists() else 0


def contents(output):
    kinds = ("*.safetensors", "history.jsonl", "rollouts.jsonl")
    return {str(p.relative_to(output)): p.read_bytes() for kind in kinds for p in output.rglob(kind)}


def test_kills_change_nothing(processes, words, tmp_path):
    """An encoding that is kept was made in an epoch before, and is made again, alone, by the run that goes on."""

    def run(name, kill_at=0):
        log = str(tmp_path / f"{name}.log")
        process = processes.Process(target=command, args=([*words, "--output", str(tmp_path / name)], log))
        process.start()
        while kill_at and process.is_alive() and steps_of(tmp_path / name) < kill_at:
            time.sleep(0.002)
        if kill_at:
            process.kill()
        process.join()
        return process.exitcode

    assert run("whole") == 0, (tmp_path / "whole.log").read_text()
    # The first checkpoint lies between two steps on the same hypotheses, the second between two pairs of steps.
    assert [run("cut", kill_at=steps) for steps in (7, 11)] == [-9, -9]
    assert run("cut") == 0, (tmp_path / "cut.log").read_text()
    whole, cut = contents(tmp_path / "whole"), contents(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert [name for name in whole if whole[name] != cut[name]] == []
    assert steps_of(tmp_path / "cut") == 12
    if "freeze=[encoder]" in words:
        assert (tmp_path / "cut.log").read_text().count("GB: kept") == 3
