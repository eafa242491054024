"""SIGKILL at different moments: weights, history and hypotheses are those of the run never stopped, to the bit."""

from __future__ import annotations

import dataclasses
import multiprocessing
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


@pytest.fixture(scope="module")
def processes():
    """Children of a server that has the heavy imports behind it."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system has no forkserver, and SIGKILL is its business")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["asr_headroom.rl.objective", "asr_headroom.models.whisper", "peft"])
    return context


@pytest.fixture
def words(tmp_path):
    tiny_whisper(dropout=0.1).save_pretrained(tmp_path / "tiny")
    speech = []
    for text in TEXTS:
        utterance = tone_utterance(text)
        (tmp_path / f"{text}.wav").write_bytes(utterance.audio)
        speech.append(dataclasses.replace(utterance, audio=tmp_path / f"{text}.wav"))
    write_manifest(tmp_path / "speech.jsonl", speech)
    data = str(tmp_path / "speech.jsonl")
    # Every second step learns from hypotheses that stand in the checkpoint, drawn by an older policy.
    return ["rl", "--algorithm", "gspo", "--init", str(tmp_path / "tiny"), "--train", data, "--dev", data,
            "--window", "fit", "--learning-rate", "1e-2", "--max-steps", "15", "--eval-steps", "3",
            "--updates-per-rollout", "2", "--sync-steps", "4", "--max-new-tokens", "6", "--set", "reward.length=0.5",
            "--logging-steps", "1", "--per-device-train-batch-size", "4", "--set", "guard.enabled=false"]  # fmt: skip


def contents(output):
    kinds = ("*.safetensors", "history.jsonl", "rollouts.jsonl")
    return {str(p.relative_to(output)): p.read_bytes() for kind in kinds for p in output.rglob(kind)}


def test_kills_change_nothing(processes, words, tmp_path):
    def run(name, kill_after=None):
        log = str(tmp_path / f"{name}.log")
        process = processes.Process(target=command, args=([*words, "--output", str(tmp_path / name)], log))
        start = time.monotonic()
        process.start()
        process.join(kill_after)
        process.kill()
        process.join()
        return process.exitcode, time.monotonic() - start

    run("first")  # the server starts, and reads its modules
    code, seconds = run("whole")
    assert code == 0, (tmp_path / "whole.log").read_text()
    hits = [run("cut", share * seconds)[0] for share in (0.5, 0.65)]
    assert -9 in hits
    code, _ = run("cut")
    assert code == 0, (tmp_path / "cut.log").read_text()
    whole, cut = contents(tmp_path / "whole"), contents(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert [name for name in whole if whole[name] != cut[name]] == []
    assert len((tmp_path / "cut/rollouts.jsonl").read_text().splitlines()) == 15
