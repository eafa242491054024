"""The feed: every utterance once per epoch over all processes, read ahead, flat in memory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from asr_headroom.data.batching import TrainingOrder
from asr_headroom.errors import AudioError
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.feed import Feed

SPEECH = [tone_utterance("abcdefgh"[: 1 + i % 8], id=str(i), seed=i) for i in range(22)]


class Recording:
    """A model that only notes which utterances were collated together."""

    def __init__(self):
        self.batches = []

    def batch_key(self, utterance):
        return round(utterance.duration)

    def collate(self, batch):
        self.batches.append([u.id for u in batch])
        return list(batch)


def feed(model, *, rank=0, world=1, rows=3, speech=SPEECH):
    order = TrainingOrder([u.duration for u in speech], 8, seed=0)
    return Feed(model, speech, order, max_rows=rows, workers=2, rank=rank, world_size=world), order


@pytest.mark.parametrize("world", [1, 2, 3])
def test_an_epoch_over_all_processes_holds_every_utterance_once(world):
    seen, weights = [], []
    for rank in range(world):
        one, order = feed(Recording(), rank=rank, world=world)
        for step in one.steps(0, order.batches_per_epoch):
            weights.append(step.weight)
            if step.weight:
                seen += [u.id for batch in step.batches for u in batch]
            assert all(len(batch) <= 3 and len({round(u.duration) for u in batch}) == 1 for batch in step.batches)
            assert step.batches
    assert sorted(seen, key=int) == [u.id for u in SPEECH]


def test_a_process_without_rows_keeps_the_others_company():
    one, order = feed(Recording(), rank=7, world=8)
    last = next(s for s in range(order.batches_per_epoch) if len(order.batch(s)) < 8)
    step = one.step(last)
    assert step.weight == 0
    assert len(step.batches) == 1


def test_reading_ahead_changes_nothing():
    one, _ = feed(Recording())
    ahead = [[[u.id for u in b] for b in step.batches] for step in one.steps(1, 9)]
    single = [[[u.id for u in b] for b in one.step(number).batches] for number in range(1, 9)]
    assert ahead == single


def test_a_recording_that_cannot_be_read_stops_the_training(tmp_path):
    from dataclasses import replace

    broken = [*SPEECH[:7], replace(SPEECH[7], audio=tmp_path / "gone.wav")]
    one, _ = feed(tiny_whisper(), speech=broken)
    with pytest.raises(AudioError, match=r"gone\.wav: no such file"):
        list(one.steps(0, 1))


@pytest.mark.slow
def test_an_epoch_over_100_000_rows_stays_below_1_5_gb(tmp_path):
    (tmp_path / "one.wav").write_bytes(tone_utterance("ab").audio)
    row = {"audio": "one.wav", "text": "ab", "language": "en", "speaker": "s", "duration": 0.5}
    with (tmp_path / "m.jsonl").open("w") as file:
        for index in range(100_000):
            file.write(json.dumps({"id": f"u{index}"} | row) + "\n")
    code = """
import resource, sys
from asr_headroom.data.batching import TrainingOrder
from asr_headroom.data.readers import read_manifest
from asr_headroom.data.validate import validate_manifest
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.feed import Feed
report = validate_manifest(sys.argv[1])
manifest = read_manifest(sys.argv[1])
order = TrainingOrder([u.measured_duration() for u in manifest], 32, seed=0)
feed = Feed(tiny_whisper(window="fit"), manifest, order, max_rows=32, workers=2)
rows = sum(b.num_utterances for step in feed.steps(0, order.batches_per_epoch) for b in step.batches)
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.jsonl")], capture_output=True, text=True, check=True
    )
    rows, megabytes = map(int, done.stdout.split())
    assert rows == 100_000
    assert megabytes < 1500
