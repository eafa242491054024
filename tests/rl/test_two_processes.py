"""Two processes on the CPU: their gradient is that of one, and all that they drew is written down."""

from __future__ import annotations

import json
import os
import socket
import sys
import zlib
from pathlib import Path

import pytest
import torch

from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.rl.config import RlConfig
from asr_headroom.rl.objective import PolicyObjective
from asr_headroom.rl.record import RolloutRecord
from asr_headroom.rl.reward import Judged
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.feed import StepBatches
from asr_headroom.train.processes import make_accelerator

SPEECH = [tone_utterance(text) for text in ("abc", "ca", "bad", "cabbage")]
SHARES = {"ragged": [[0, 1, 3], [2]], "only-company": [[0, 1, 2, 3], []]}


class ArbitraryReward:
    def judge(self, utterance, hypotheses):
        errors = [zlib.crc32(repr(h.token_ids).encode()) % 5 for h in hypotheses]
        return [Judged(-count / 5, ErrorCounts(5 - count, count, 0, 0)) for count in errors]


def step(folder, accelerator, own):
    """The first step of a process whose share is ``own``; its gradient and what it counted."""
    model = tiny_whisper()
    model.module.double()
    # Lists are searched, as draws depend on the process.
    config = RlConfig(nbest="beam", num_rollouts=3, max_new_tokens=3, updates_per_rollout=2)
    record = RolloutRecord(folder / "rollouts.jsonl")
    rl = PolicyObjective(model, accelerator, config, ArbitraryReward(), seed=3, record=record)
    rows = [SPEECH[i] for i in own] or SPEECH[:1]
    totals = rl.accumulate(StepBatches(0, [model.collate(rows)], [rows], int(bool(own))))
    return {
        "gradient": {n: p.grad for n, p in model.module.named_parameters() if p.requires_grad},
        "loss": totals.loss,
        "count": totals.count,
        "held": rl.state_dict()["held"],
        "watched": dict(totals.watched),
    }


def work(folder, rank, port):
    """One of two processes, with all shares one after the other; what it says goes to a file."""
    sys.stdout = sys.stderr = Path(folder, f"{rank}.log").open("a")  # noqa: SIM115
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ.update(own | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port})
    torch.set_num_threads(1)
    accelerator = make_accelerator("no")
    for name, shares in SHARES.items():
        torch.save(step(Path(folder, name), accelerator, shares[rank]), Path(folder, name, f"{rank}.pt"))


@pytest.fixture(scope="module")
def two(tmp_path_factory, processes):
    """Folder of what two processes found."""
    folder = tmp_path_factory.mktemp("two")
    for name in SHARES:
        (folder / name).mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    children = [processes.Process(target=work, args=(str(folder), rank, port)) for rank in range(2)]
    for child in children:
        child.start()
    try:
        for child in children:
            child.join(240)
    finally:
        for child in children:
            child.kill()
    said = "\n".join(log.read_text() for log in folder.glob("*.log"))
    assert [child.exitcode for child in children] == [0, 0], said
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The folder of one process that has all utterances, and what it found."""
    folder = tmp_path_factory.mktemp("one")
    return folder, step(folder, make_accelerator("no"), range(len(SPEECH)))


@pytest.mark.parametrize("name", SHARES)
def test_the_gradient_of_two_is_that_of_one(one, two, name):
    folder, alone = one
    found = [torch.load(two / name / f"{rank}.pt", weights_only=True) for rank in range(2)]
    size = sum(gradient.square().sum() for gradient in alone["gradient"].values()) ** 0.5
    assert size > 0
    for process in found:
        difference = sum((process["gradient"][n] - g).square().sum() for n, g in alone["gradient"].items()) ** 0.5
        assert difference / size < 1e-8
        assert process["loss"] == pytest.approx(alone["loss"], rel=1e-9)
        assert process["count"] == alone["count"] == 4
        for watched in ("reward", "error", "oracle", "unique", "tied", "truncated"):
            assert process["watched"][watched] == pytest.approx(alone["watched"][watched])
    # What later updates learn from stands in every state, for each process its own.
    assert found[0]["held"] == found[1]["held"]
    records = [json.loads((place / "rollouts.jsonl").read_text())["utterances"] for place in (folder, two / name)]
    ordered = [sorted(rows, key=lambda row: row["id"]) for rows in records]
    assert ordered[0] == ordered[1]
    assert len(ordered[0]) == 4
