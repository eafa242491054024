import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from asr_headroom.errors import ConfigError, DataError
from asr_headroom.lab.pretrain import PretrainConfig, guided_attention_loss, pretrain
from asr_headroom.lab.settings import FRAME_SECONDS
from asr_headroom.lab.speech import SpokenSentence
from asr_headroom.lab.stream import POOL_BATCHES, bucket, pools, window_frames

SMOKE = PretrainConfig(
    steps=3,
    batch_size=2,
    dev_every=3,
    dev_utterances=2,
    test_utterances=2,
    checkpoint_every=2,
    mandarin_share=0.1,
)


class StoppingClock:
    """Counts its calls, and interrupts at one of them."""

    def __init__(self, stop_at):
        self.calls = 0
        self.stop_at = stop_at

    def __call__(self):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return float(self.calls)


def test_interrupted_run_ends_with_the_bits_of_an_uninterrupted_one(tmp_path):
    pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pretrain(SMOKE, whole)
    with pytest.raises(KeyboardInterrupt):
        pretrain(SMOKE, parts, clock=StoppingClock(stop_at=4))  # the start, two steps, and in the third
    assert torch.load(parts / "checkpoint.pt", weights_only=True)["step"] == 2
    pretrain(SMOKE, parts)
    states = [torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (whole, parts)]
    assert [state["step"] for state in states] == [3, 3]
    for name, weight in states[0]["model"].items():
        assert torch.equal(weight, states[1]["model"][name]), name
    files = [load_file(folder / "model" / "model.safetensors") for folder in (whole, parts)]
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[0])
    curves = [json.loads((folder / "curve.json").read_text())["curve"] for folder in (whole, parts)]
    for point in (*curves[0], *curves[1]):
        del point["cpu_seconds"]
    assert curves[0] == curves[1]
    assert [point["step"] for point in curves[0]] == [3]
    with pytest.raises(DataError, match="another config"):
        pretrain(PretrainConfig(steps=4, batch_size=2), whole)


def test_pools_can_be_entered_anywhere():
    pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    config = PretrainConfig(batch_size=1, mandarin_share=0.1, english_share=0.1)
    stream = pools(config, 0)
    first, second = next(stream), next(stream)
    stream.close()
    stream = pools(config, 1)
    again = next(stream)
    stream.close()
    assert [s.text for s in second] == [s.text for s in again]
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(second, again, strict=True))
    assert not {s.samples.tobytes() for s in first} & {s.samples.tobytes() for s in second}
    assert [[s.language for s in pool].count("zh") for pool in (first, second)] == [10, 10]
    assert {s.language for s in first} == {"fr", "zh", "en"}


def silence(seconds):
    return SpokenSentence(np.zeros(round(16_000 * seconds), np.int16), "", "fr", "m1", ())


def test_buckets_hold_every_utterance_once_and_similar_lengths_together():
    config = PretrainConfig(batch_size=4)
    random = np.random.default_rng(0)
    sentences = [silence(seconds) for seconds in random.uniform(1, 3, 4 * POOL_BATCHES)]
    batches = bucket(sentences, config, pool=0)
    assert len(batches) == POOL_BATCHES
    assert {id(s) for batch in batches for s in batch} == {id(s) for s in sentences}
    spread = np.mean([np.ptp([s.duration for s in batch]) for batch in batches])
    assert spread < 0.3
    assert [len(b[0].samples) for b in batches] != [len(b[0].samples) for b in bucket(sentences, config, pool=1)]


def test_windows_hold_their_batch_and_are_sometimes_full():
    config = PretrainConfig(full_window_share=0.3)
    batch = [silence(1.0), silence(1.7)]
    frames = [window_frames(batch, config, step) for step in range(400)]
    assert min(frames) == int(np.ceil(1.7 / FRAME_SECONDS))
    assert max(frames) == 100
    assert frames.count(100) / 400 == pytest.approx(0.3, abs=0.08)
    assert len(set(frames)) > 20


def test_guided_attention_is_zero_when_all_attention_is_near():
    attention = torch.tensor([[0.0, 0.2, 0.5, 0.3, 0.0, 0.0], [0.25, 0.25, 0.0, 0.0, 0.0, 0.5]])
    places = torch.tensor([2.5, 1.0])
    loss = guided_attention_loss(attention, places, reach=1.0)
    assert float(loss) == pytest.approx((-np.log(1.0001) - np.log(0.5001)) / 2, abs=1e-6)


def test_impossible_config_lists_all_problems():
    with pytest.raises(ConfigError) as caught:
        PretrainConfig(steps=0, mandarin_share=0.9, english_share=0.2, anneal=(0.5, 0.2))
    for part in ("steps is 0", "must leave a share for French", "anneal is (0.5, 0.2)"):
        assert part in str(caught.value)
