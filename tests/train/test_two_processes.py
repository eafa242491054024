"""Data parallelism: two processes on the CPU end with the weights that one process ends with."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from asr_headroom.cli.main import main
from asr_headroom.data.manifest import write_manifest
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper

TEXTS = ("abc", "cab", "bad", "cabbage", "dada", "face", "ab", "fade", "a", "gab", "cafe", "egg", "bag")


@pytest.fixture
def words(tmp_path) -> list[str]:
    """A training whose last batch of an epoch is smaller than the number of processes."""
    tiny_whisper().save_pretrained(tmp_path / "tiny")
    speech = []
    for text in TEXTS:
        utterance = tone_utterance(text)
        (tmp_path / f"{text}.wav").write_bytes(utterance.audio)
        speech.append(dataclasses.replace(utterance, audio=tmp_path / f"{text}.wav"))
    write_manifest(tmp_path / "speech.jsonl", speech)
    data = str(tmp_path / "speech.jsonl")
    words = ["train", "--model", str(tmp_path / "tiny"), "--train", data, "--dev", data, "--window", "fit"]
    return [*words, "--method", "full", "--learning-rate", "1e-3", "--eval-utterances", "2"]


def run_two(words: list[str]) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "asr_headroom", *words],
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    assert "step 0  dev loss" in said[0]
    assert "step 0  dev loss" not in said[1]
    return said[0]


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(sorted((run / "checkpoints").iterdir())[-1] / "model.safetensors")


def test_two_processes_end_where_one_does(words, tmp_path):
    shape = ["--num-train-epochs", "2", "--eval-steps", "3", "--output"]
    run_two([*words, "--per-device-train-batch-size", "2", *shape, str(tmp_path / "two")])
    assert main([*words, "--per-device-train-batch-size", "4", *shape, str(tmp_path / "one")]) == 0
    one, two = last_weights(tmp_path / "one"), last_weights(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=1e-6, rtol=1e-5)
    assert (tmp_path / "two/model/headroom.json").is_file()
    assert not list((tmp_path / "two").rglob("*.tmp"))


def test_two_processes_share_one_plan_of_a_budget(words, tmp_path):
    flags = ["--num-train-epochs", "1000", "--budget", "10s", "--output", str(tmp_path / "out")]
    said = run_two([*words, "--per-device-train-batch-size", "2", *flags])
    assert said.count("plan: ") == 1
