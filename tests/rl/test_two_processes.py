"""Two processes on the CPU: their gradient is that of one, and all that they drew is written down."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

# Lists are searched, as draws depend on the process; the second process has fewer rows.
PROGRAM = """
import sys, zlib, torch
from pathlib import Path
from accelerate import Accelerator
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.rl.config import RlConfig
from asr_headroom.rl.objective import PolicyObjective
from asr_headroom.rl.record import RolloutRecord
from asr_headroom.rl.reward import Judged
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.feed import StepBatches
from asr_headroom.train.processes import make_accelerator

class ArbitraryReward:
    def judge(self, utterance, hypotheses):
        errors = [zlib.crc32(repr(h.token_ids).encode()) % 5 for h in hypotheses]
        return [Judged(-count / 5, ErrorCounts(5 - count, count, 0, 0)) for count in errors]

folder, shares = Path(sys.argv[1]), eval(sys.argv[2])
torch.set_num_threads(1)
accelerator = make_accelerator("no")
speech = [tone_utterance(text) for text in ("abc", "ca", "bad", "cabbage")]
model = tiny_whisper()
model.module.double()
config = RlConfig(nbest="beam", num_rollouts=3, max_new_tokens=3, updates_per_rollout=2)
record = RolloutRecord(folder / "rollouts.jsonl")
rl = PolicyObjective(model, accelerator, config, ArbitraryReward(), seed=3, record=record)
index = accelerator.process_index
rows = [speech[i] for i in shares[index]] or speech[:1]
batch = model.collate(rows)
totals = rl.accumulate(StepBatches(0, [batch], [rows], int(bool(shares[index]))))
state = {n: p.grad for n, p in model.module.named_parameters() if p.requires_grad}
torch.save({"gradient": state, "loss": totals.loss, "count": totals.count, "held": rl.state_dict()["held"],
            "watched": dict(totals.watched)}, folder / f"{index}.pt")
"""


def run(folder: Path, shares: list[list[int]]) -> list[dict]:
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": str(len(shares)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = []
    for rank in range(len(shares)):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} | common if len(shares) > 1 else {}
        words = [sys.executable, "-c", PROGRAM, str(folder), repr(shares)]
        processes.append(subprocess.Popen(words, env=os.environ | own, stderr=subprocess.PIPE, text=True))
    try:
        said = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(shares), "\n".join(said)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(len(shares))]


@pytest.mark.parametrize("shares", [[[0, 1, 3], [2]], [[0, 1, 2, 3], []]], ids=str)
def test_the_gradient_of_two_is_that_of_one(tmp_path, shares):
    (one,) = run(tmp_path / "one", [[0, 1, 2, 3]])
    two = run(tmp_path / "two", shares)
    size = sum(gradient.square().sum() for gradient in one["gradient"].values()) ** 0.5
    assert size > 0
    for process in two:
        difference = sum((process["gradient"][n] - g).square().sum() for n, g in one["gradient"].items()) ** 0.5
        assert difference / size < 1e-8
        assert process["loss"] == pytest.approx(one["loss"], rel=1e-9)
        assert process["count"] == one["count"] == 4
        for name in ("reward", "error", "oracle", "unique", "tied", "truncated"):
            assert process["watched"][name] == pytest.approx(one["watched"][name])
    # What later updates learn from stands in every state, for each process its own.
    assert two[0]["held"] == two[1]["held"]
    rows = [json.loads((tmp_path / name / "rollouts.jsonl").read_text())["utterances"] for name in ("one", "two")]
    ordered = [sorted(found, key=lambda row: row["id"]) for found in rows]
    assert ordered[0] == ordered[1]
    assert len(ordered[0]) == 4
