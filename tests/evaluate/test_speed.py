"""Speed against a clock turned by hand, memory against an array of known size."""

from __future__ import annotations

import numpy as np
import pytest

from asr_headroom.evaluate.speed import MemoryMeter, SpeedMeter, device_of
from asr_headroom.testing.tiny import tiny_whisper

MB = 2**20


class Clock:
    now = 0.0

    def __call__(self):
        return self.now

    def work(self, seconds):
        def do():
            self.now += seconds
            return seconds

        return do


def measure(meter, clock, *costs):
    for seconds in costs:
        assert meter.time(clock.work(seconds), utterances=2, audio_seconds=10.0) == seconds


def test_the_first_batch_of_each_session_does_not_count():
    clock = Clock()
    meter = SpeedMeter(4, clock=clock)
    measure(meter, clock, 100.0)
    assert not meter.has_measured
    assert meter.record() == {}
    measure(meter, clock, 1.0, 2.0)
    record = meter.record()
    assert (record["seconds"], record["audio_seconds"], record["utterances"], record["batches"]) == (3.0, 20.0, 4, 2)
    assert (record["batch_size"], record["device"]) == (4, "cpu")
    resumed = SpeedMeter(4, stored=record, clock=clock)
    measure(resumed, clock, 100.0, 4.0)
    assert (resumed.record()["seconds"], resumed.record()["batches"]) == (7.0, 3)


def test_other_batch_sizes_and_devices_are_not_mixed():
    clock = Clock()
    meter = SpeedMeter(4, clock=clock)
    measure(meter, clock, 1.0, 1.0)
    record = meter.record()
    assert not SpeedMeter(2, stored=record, clock=clock).has_measured
    assert not SpeedMeter(4, stored=record, device="cuda", clock=clock).has_measured
    meter.restart(2)
    measure(meter, clock, 5.0)
    assert (meter.record()["seconds"], meter.record()["batch_size"]) == (5.0, 2)


def test_work_that_fails_is_not_counted():
    clock = Clock()
    meter = SpeedMeter(4, clock=clock)
    measure(meter, clock, 1.0, 1.0)

    def fail():
        clock.now += 50
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        meter.time(fail, utterances=2, audio_seconds=10.0)
    assert meter.record()["seconds"] == 1.0


def test_the_device_is_that_of_the_weights():
    assert device_of(tiny_whisper()) == "cpu"


def test_peak_memory_is_of_the_time_since_the_meter_was_made():
    large = np.ones(300 * MB, "u1")
    before = MemoryMeter()
    del large
    if before.record()["since"] != "model loaded":
        pytest.skip("this system cannot start the peak of a process anew")
    meter = MemoryMeter()
    small = np.ones(100 * MB, "u1")
    del small
    record = meter.record()
    held = record["peak_bytes"] - record["before_bytes"]
    assert 95 * MB < held < 150 * MB
    assert record["of"] == "process"
    assert meter.record({"peak_bytes": 2**40})["peak_bytes"] == 2**40


@pytest.mark.gpu
def test_on_a_gpu_the_peak_is_of_its_tensors():
    import torch

    kept = torch.zeros(50 * MB, dtype=torch.uint8, device="cuda")
    meter = MemoryMeter("cuda")
    more = torch.zeros(100 * MB, dtype=torch.uint8, device="cuda")
    del more
    record = meter.record()
    assert record["of"] == "tensors on the GPU"
    assert record["peak_bytes"] - kept.numel() == pytest.approx(100 * MB, abs=MB)
