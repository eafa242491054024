"""Seconds of a training step: the work counted against torch's own counter, the speed against the clock."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from asr_headroom.errors import ConfigError, ModelError
from asr_headroom.models.architecture import known_architectures, parse_architecture
from asr_headroom.models.lora import LoraConfig
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.forecast import Work, Workload, forecast_step_seconds, measure_speed, step_work
from asr_headroom.train.methods import apply_method

TINY = known_architectures()["openai/whisper-tiny"]


def counted(model, batch):
    """Floating-point operations of a forward and a backward pass, as torch counts them: weights' products, attention's.

    The counter does not know a CPU's fused attention, so attention is computed from products of batches; the only
    other one is that of the mel filters.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model.loss(batch).nats.backward()
    totals = {str(name): value for name, value in counter.get_flop_counts()["Global"].items()}
    rows, samples = batch.inputs["waveforms"].shape
    attention = totals.pop("aten.bmm") - 2 * rows * (samples // 160) * 201 * 80
    return sum(totals.values()), attention


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize(
    ("method", "again", "tolerance"), [("full", False, 1e-9), ("full", True, 1e-9), ("lora", False, 0.05)]
)
def test_work_is_what_torch_counts(method, again, tolerance):
    model = tiny_whisper(width=128, layers=3)
    shape = parse_architecture(model.module.config.to_dict())
    config = TrainConfig(
        method=method, per_device_train_batch_size=2, gradient_checkpointing=again, lora=LoraConfig(rank=4)
    )
    model = apply_method(model, config)
    model.module.train()
    batch = model.collate([tone_utterance("abca", id=str(number)) for number in range(2)])
    tokens, targets = batch.inputs["labels"].shape[1], batch.num_targets // 2
    workload = Workload(
        architecture=shape, method=method, rows=2, window_seconds=3.0, tokens=tokens, targets=targets,
        lora=config.lora, gradient_checkpointing=again,
    )  # fmt: skip
    matmul, attention = counted(model, batch)
    work = step_work(workload)
    # With updates, the projections that read what needs no gradient save a little that is counted here.
    assert work.matmul == pytest.approx(matmul, rel=tolerance)
    # A fused kernel computes one of its two products again going back: 3.5 passes where these took 3.
    passes = (4 / 4.5) if again else (3 / 3.5)
    assert work.attention * passes == pytest.approx(attention, rel=0.001)


def test_work_of_micro_batches_adds_up_and_the_update_is_paid_once():
    once = step_work(Workload(architecture=TINY, method="full", rows=4, window_seconds=10, tokens=40))
    split = step_work(Workload(architecture=TINY, method="full", rows=2, window_seconds=10, tokens=40, micro_batches=2))
    assert split == pytest.approx(once)


def test_low_rank_updates_save_the_gradients_of_the_weights():
    lora = step_work(Workload(architecture=TINY, method="lora", rows=4, window_seconds=10, tokens=40))
    full = step_work(Workload(architecture=TINY, method="full", rows=4, window_seconds=10, tokens=40))
    assert 2 / 3 < lora.matmul / full.matmul < 0.85
    assert lora.attention == full.attention
    assert full.dropout == 0 < lora.dropout


def test_updates_in_the_decoder_alone_leave_the_encoder_to_its_forward_pass():
    everywhere = Workload(architecture=TINY, rows=4, window_seconds=10, tokens=40, lora=LoraConfig(dropout=0.0))
    decoder = Workload(
        architecture=TINY, rows=4, window_seconds=10, tokens=40,
        lora=LoraConfig(dropout=0.0, target_modules=("encoder_attn.q_proj",)),
    )  # fmt: skip
    assert step_work(decoder).matmul < 0.7 * step_work(everywhere).matmul


def test_seconds_are_work_over_speed():
    assert Work(100.0, 20.0, 6.0, 0.0).seconds(Work(50.0, 10.0, 2.0, 1.0)) == 7.0
    workload = Workload(architecture=TINY, rows=1, window_seconds=1, tokens=10)
    fast, slow = Work(2e9, 2e9, 2e9, 2e9), Work(1e9, 1e9, 1e9, 1e9)
    assert 2 * forecast_step_seconds(workload, fast) == pytest.approx(forecast_step_seconds(workload, slow))


def test_speed_is_work_over_the_time_of_the_fastest_call():
    readings = itertools.chain([0.0, 5.0, 5.0, 7.0, 7.0, 10.0], itertools.count(10.0))
    workload = Workload(architecture=TINY, rows=1, window_seconds=0.5, tokens=4)
    state = torch.random.get_rng_state()
    speed = measure_speed(workload, seconds=8.0, clock=lambda: next(readings))
    assert torch.equal(state, torch.random.get_rng_state())
    assert speed.matmul == 8 * 64 * 384**2 / 2.0  # of 5, 2 and 3 s
    assert speed.dropout == speed.pointwise == 64 * 384 / 1.0


def test_a_training_config_makes_a_workload():
    config = TrainConfig(method="full", gradient_accumulation_steps=2, per_device_train_batch_size=3)
    cpu = Workload.of(TINY, config, window_seconds=30.0, tokens=50)
    assert (cpu.frames, cpu.positions, cpu.supervised, cpu.bf16) == (4500, 150, 150, False)
    assert Workload.of(TINY, config, window_seconds=30.0, tokens=50, device="cuda").bf16
    assert cpu.trainable_parameters == TINY.trainable_parameters("full")


def test_impossible_workloads():
    with pytest.raises(ConfigError, match="rows"):
        Workload(architecture=TINY, rows=0, window_seconds=1, tokens=1)
    odd = Workload(architecture=TINY, rows=1, window_seconds=1, tokens=1, lora=LoraConfig(target_modules=("q",)))
    with pytest.raises(ModelError, match="no projection of this model"):
        step_work(odd)


def test_forecasting_bytes_loads_no_torch():
    code = (
        "import sys; from asr_headroom.train.forecast import *; "
        "from asr_headroom.models.architecture import read_architecture; "
        "w = Workload(architecture=read_architecture('openai/whisper-small'), rows=4, window_seconds=30, tokens=60); "
        "assert forecast_memory(w, overhead=resident_memory_now()).total > 2**30 and step_work(w).matmul > 1e12; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
