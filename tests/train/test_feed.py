"""The feed: every utterance once per epoch over all processes, read ahead, flat in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from asr_headroom.audio.augment import Augmentation, AugmentConfig, NoiseConfig
from asr_headroom.audio.features import span_tensors
from asr_headroom.audio.spans import Spans, SpecConfig
from asr_headroom.data.batching import TrainingOrder
from asr_headroom.errors import AudioError
from asr_headroom.models.protocols import Abilities, Batch
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


class Listener(Recording):
    """Notes samples and durations; refuses utterances longer than 0.9 seconds."""

    card = SimpleNamespace(abilities=Abilities(spectrogram_spans=True), sampling_rate=16_000)

    def check_target(self, utterance):
        return "too long" if utterance.duration > 0.9 else None

    def collate(self, batch):
        samples = [u.samples(16_000) for u in batch]
        assert all(
            abs(len(heard) - u.duration * 16_000) <= 1.5 for heard, u in zip(samples, batch, strict=True)
        )  # what batches are planned by is what comes
        return Batch({"heard": [(u.id, heard) for u, heard in zip(batch, samples, strict=True)]}, 1, len(batch), 1.0)


AUGMENT = AugmentConfig(
    speed=(0.8, 1.25), noise=NoiseConfig(probability=0.5), spec=SpecConfig(probability=0.7, max_time_share=0.5)
)


def altered_feed(config=AUGMENT, *, workers=2, rows=3, model=None, size=8):
    order = TrainingOrder([u.duration for u in SPEECH], size, seed=0)
    model = model or Listener()
    augmentation = Augmentation(config, seed=1)
    return Feed(model, SPEECH, order, max_rows=rows, workers=workers, augmentation=augmentation), order


def heard_in(one, steps):
    """What each utterance sounded like in these steps, by id, with the spans to hide."""
    found = {}
    for batch in (batch for step in steps for batch in one.step(step).batches):
        for row, (name, samples) in enumerate(batch.inputs["heard"]):
            spans = [batch.inputs[k][row].tolist() if k in batch.inputs else [] for k in ("time_spans", "mel_spans")]
            found[name] = samples.tobytes(), [[span for span in part if span[1]] for part in spans]
    return found


def test_augmentation_depends_neither_on_batches_nor_on_threads_but_on_the_epoch():
    one, order = altered_feed()
    other, other_order = altered_feed(workers=1, rows=8, size=5)
    first = heard_in(one, range(order.batches_per_epoch))
    assert first == heard_in(other, range(other_order.batches_per_epoch))
    ahead = [b.inputs["heard"] for step in one.steps(0, 3) for b in step.batches]
    alone = [b.inputs["heard"] for number in range(3) for b in one.step(number).batches]
    assert [(n, s.tobytes()) for b in ahead for n, s in b] == [(n, s.tobytes()) for b in alone for n, s in b]
    second = heard_in(one, range(order.batches_per_epoch, 2 * order.batches_per_epoch))
    assert first.keys() == second.keys()
    assert sum(first[name] != second[name] for name in first) > len(first) / 2


def test_what_the_model_cannot_take_keeps_its_own_speed():
    one, order = altered_feed(AugmentConfig(speed=(0.8,)))
    speeds = {}
    for step in range(order.batches_per_epoch):
        for utterance in (u for rows in one.step(step).utterances for u in rows):
            speeds[utterance.id] = utterance.alteration.speed
    expected = {u.id: 0.8 if u.duration / 0.8 <= 0.9 else 1.0 for u in SPEECH}
    assert speeds == expected
    assert set(speeds.values()) == {0.8, 1.0}


def test_the_slowest_step_is_the_same_utterances_at_the_slowest_speed_the_model_takes():
    order = TrainingOrder([u.duration for u in SPEECH], 8, seed=0)
    longest = max(u.duration for u in SPEECH)
    for speeds, factor in (((0.8, 1.0, 1.25), 0.8), ((1.0, 1.25), 1.0), ((), 1.0)):
        augmentation = Augmentation(AugmentConfig(speed=speeds, volume=(0.0, 0.0)), seed=0)
        model = tiny_whisper()
        model.check_target = lambda u: "too long" if u.duration > longest else None
        one = Feed(model, SPEECH, order, max_rows=8, workers=1, augmentation=augmentation)
        heard = {u.id: u.duration for rows in one.slowest(1).utterances for u in rows}
        stretched = {SPEECH[i].id: SPEECH[i].duration / factor for i in order.batch(1)}
        assert heard == {i: pytest.approx(d if d <= longest else d * factor) for i, d in stretched.items()}


def test_spans_are_hidden_where_the_model_reaches_its_log_mels_and_in_the_waveform_elsewhere():
    config = AugmentConfig(spec=SpecConfig(probability=1.0, max_time_share=0.5))

    class Waveforms(Listener):
        card = SimpleNamespace(abilities=Abilities(), sampling_rate=16_000)

    (batch, *_), (other, *_) = (altered_feed(config, model=m())[0].step(0).batches for m in (Listener, Waveforms))
    assert batch.inputs["time_spans"].shape == (batch.num_utterances, 2, 2)
    assert "time_spans" not in other.inputs
    clean = {u.id: u.samples(16_000) for u in SPEECH}
    for name, heard in batch.inputs["heard"]:
        assert np.array_equal(heard, clean[name])
    for row, (name, heard) in enumerate(other.inputs["heard"]):
        assert not np.array_equal(heard, clean[name])
        start, end = max(batch.inputs["time_spans"][row].tolist(), key=lambda span: span[1] - span[0])
        assert not heard[round(start * 16_000) : round(end * 16_000)].any()


def test_a_training_whisper_learns_from_hidden_log_mels_and_nothing_else_changes():
    model = tiny_whisper(window="fit")
    model.module.eval()
    clean = model.collate(SPEECH[:2])
    hidden = model.collate(SPEECH[:2])
    hidden.inputs |= span_tensors([Spans(((0.1, 0.3),), ((0.2, 0.5),)), Spans()])
    nothing = model.collate(SPEECH[:2])
    nothing.inputs |= span_tensors([Spans(), Spans()])
    clean_loss, hidden_loss, same_loss = (float(model.loss(b).nats.detach()) for b in (clean, hidden, nothing))
    assert clean_loss == same_loss
    assert abs(clean_loss - hidden_loss) > 1e-4
    assert torch.equal(clean.inputs["waveforms"], hidden.inputs["waveforms"])
