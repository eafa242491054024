"""ablate from the command line: a real race of tiny trainings, killed on the way, and what it prints."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from asr_headroom.cli.main import main
from asr_headroom.data.manifest import write_manifest
from asr_headroom.errors import TrainingError
from asr_headroom.stages import evaluation_sets
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper

GRID = ["--grid", "learning_rate=1e-9,3e-3", "--grid", "weight_decay=0.0,0.1"]


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The command of a race of four settings, eight steps each, without its output."""
    folder = tmp_path_factory.mktemp("ablate")
    tiny_whisper(layers=1).save_pretrained(folder / "tiny")
    speech = []
    for index, text in enumerate(("abc", "cab", "bad", "dab")):
        utterance = tone_utterance(text, id=f"u{index}")
        path = folder / f"{index}.wav"
        path.write_bytes(utterance.audio)
        speech.append(replace(utterance, audio=path))
    write_manifest(folder / "tones.jsonl", speech)
    data = str(folder / "tones.jsonl")
    return [
        "ablate", "--model", str(folder / "tiny"), "--train", data, "--dev", data, "--method", "full",
        "--window", "fit", "--max-steps", "8", "--eval-steps", "4", "--per-device-train-batch-size", "2",
        "--set", "guard.points=1", "--set", "guard.utterances=4", *GRID,
    ]  # fmt: skip


def weights(root):
    return (root / "model/model.safetensors").read_bytes()


def facts(root):
    """What is on disk, without what a clock wrote."""
    stored = json.loads((root / "ablation.json").read_text())
    return {key: value for key, value in stored.items() if key != "minutes"}


def test_a_race_and_the_same_race_killed_twice(command, tmp_path, capsys, monkeypatch):
    whole = tmp_path / "whole"
    assert main([*command, "--output", str(whole)]) == 0
    out = capsys.readouterr().out
    stored = facts(whole)
    steps = stored["steps"]
    assert sorted(steps.values()) == [2, 2, 2, 8]  # a rung after 2 steps; a sixth of 4 is 1
    assert steps[stored["chosen"]] == 8
    assert stored["settings"][stored["chosen"]]["learning_rate"] == 3e-3
    assert "14 optimiser steps" in out
    assert out.splitlines()[-2] == str(whole / "model")
    kept = sorted(path.parent.name for path in whole.glob("settings/*/checkpoints"))
    assert kept == [stored["chosen"]]
    told = json.loads((whole / "model/headroom.json").read_text())
    assert told["minutes"]["other settings"] == pytest.approx(
        sum(
            sum(json.loads((whole / f"settings/{name}/train.json").read_text())["minutes"].values())
            for name in steps
            if name != stored["chosen"]
        ),
        abs=1e-3,
    )

    killed = tmp_path / "killed"
    count_utterances = evaluation_sets.count_utterances
    evaluations = []

    def dying(*arguments, **options):
        evaluations.append(1)
        if len(evaluations) in (4, 11):  # in the second setting's first leg, and among the better half
            raise TrainingError("the machine is gone")
        return count_utterances(*arguments, **options)

    monkeypatch.setattr(evaluation_sets, "count_utterances", dying)
    codes = [main([*command, "--output", str(killed)]) for _ in range(3)]
    assert codes == [1, 1, 0]
    assert facts(killed) == stored
    assert weights(killed) == weights(whole)

    before = weights(whole)
    assert main([*command, "--output", str(whole)]) == 0  # done: nothing is trained, the table is shown again
    assert weights(whole) == before
    assert main([*command, "--output", str(whole), "--keep", "0.3"]) == 1
    assert "holds another ablation (it differs in keep)" in capsys.readouterr().err
    assert main(["train", *command[1:-4], "--output", str(whole)]) == 1
    assert "holds an ablation" in capsys.readouterr().err


def test_a_dry_run_lists_the_settings_and_the_cost(command, tmp_path, capsys):
    assert main([*command, "--output", str(tmp_path / "dry"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "# 4 settings over learning_rate, weight_decay" in out
    assert "1.75 whole trainings out of 4 (44%)" in out
    assert "# 4  learning_rate=0.003  weight_decay=0.1" in out
    assert not (tmp_path / "dry").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "lora.rank"], "--grid lora.rank: write --grid field=value,value"),
        (["--grid", "lora.rnk=8,16"], "unknown field 'lora.rnk'; did you mean 'lora.rank'?"),
        (["--grid", "dev=a,b"], "dev cannot vary"),
        (["--grid", "lora.rank=8,16", "--grid", "lora.rank=32"], "--grid lora.rank is given twice"),
    ],
)
def test_bad_grids_are_wrong_usage(command, arguments, message, capsys):
    assert main([*command[:-4], *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_grid_in_yaml(command, tmp_path, capsys):
    """Nested or dotted; what is given on the command line goes over it."""
    path = tmp_path / "grid.yaml"
    path.write_text("mode: grid\ngrid:\n  lora: {rank: [8, 32]}\n  learning_rate: [1e-4, 1e-3, 3e-3]\n")
    flags = command[1 : command.index("--grid")]
    assert main(["ablate", "--config", str(path), *flags, "--method", "lora", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "# 6 settings over lora.rank, learning_rate" in out
    assert "race over" not in out


@pytest.mark.slow
def test_two_processes_decide_what_one_does(command, tmp_path):
    """Started by torchrun, where each has to find the other before anything is written."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", free_port()]
    flags = [*command, "--output", str(tmp_path / "two"), "--per-device-train-batch-size", "1"]
    done = subprocess.run([*launch, "-m", "asr_headroom", *flags], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is the best on dev") == 1
    assert main([*command, "--output", str(tmp_path / "one")]) == 0
    two, one = facts(tmp_path / "two"), facts(tmp_path / "one")
    assert [two[name] for name in ("chosen", "steps", "steps_planned")] == [
        one[name] for name in ("chosen", "steps", "steps_planned")
    ]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
