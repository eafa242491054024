"""Operations of a step against a count of the products that torch really makes, and peaks against data sheets."""

from __future__ import annotations

import pytest
from torch.utils.flop_counter import FlopCounterMode

from asr_headroom.models.lora import LoraConfig
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.methods import apply_method
from asr_headroom.train.objectives import StepTotals
from asr_headroom.train.progress import LogWindow
from asr_headroom.train.utilization import peak_flops, step_flops


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA A10G", None),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L40", None),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("AMD Instinct MI300X", None),
    ],
)
def test_the_peak_is_that_of_the_device_or_none(name, peak):
    assert peak_flops(name, bf16=True) == peak
    assert peak_flops(name, bf16=False) is None


@pytest.mark.parametrize(("method", "again"), [("full", False), ("lora", False), ("full", True)])
@pytest.mark.parametrize("window", ["fit", "full"])
def test_a_step_is_what_torch_counts(tmp_path, method, again, window):
    """Activations that are computed again do not count.

    In a model of one layer the convolutions, a prompt of fixed length and what torch counts for attention's backward
    pass make up to a tenth.
    """
    tiny_whisper().save_pretrained(tmp_path)
    config = TrainConfig(method=method, lora=LoraConfig(rank=4, dropout=0.0))
    speech = [tone_utterance("abcabcab", id="a"), tone_utterance("cabcabca", id="b")]
    model = apply_method(tiny_whisper(window=window), config)
    batch = model.collate(speech)
    with FlopCounterMode(display=False) as counter:
        model.loss(batch).nats.backward()
    heard = batch.inputs["waveforms"].shape[-1] / 16000 * len(speech)
    flops = step_flops(str(tmp_path), TrainConfig(method=method, lora=config.lora, gradient_checkpointing=again),
                       full_window=window == "full")  # fmt: skip
    assert flops is not None
    assert flops(2, heard, batch.num_targets) == pytest.approx(counter.get_total_flops(), rel=0.12)


def test_unknown_dimensions_and_frozen_parts_have_no_count(tmp_path):
    assert step_flops("nobody/knows", TrainConfig(), full_window=True) is None
    tiny_whisper().save_pretrained(tmp_path)
    assert step_flops(str(tmp_path), TrainConfig(freeze=("encoder",)), full_window=True) is None


@pytest.mark.parametrize(("peak", "flops", "said"), [(1000.0, 800.0, True), (None, 800.0, False), (1000.0, 0.0, False)])
def test_the_log_says_the_share_where_it_is_known(peak, flops, said):
    times = iter([0.0, *[4.0] * 20])
    window = LogWindow(lambda: next(times), peak_flops=peak)
    for _ in range(2):
        window.add(StepTotals(loss=1.0, count=1.0, audio_seconds=1.0), 1.0, 1e-5, flops=flops)
    assert window.line().endswith("40 % MFU") == said  # 1600 operations in 4 s of 1000 per second
    assert ("MFU" in window.line()) == said
