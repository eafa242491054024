"""Two processes on the CPU: they end with what one ends with, and one that is killed does not keep the other."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
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
    return [*words, "--method", "full", "--learning-rate", "1e-3", "--eval-utterances", "3"]


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def begin_two(words: list[str], logs: Path, *, command=("-m", "asr_headroom")) -> list[subprocess.Popen]:
    """Two processes as torchrun starts them; what they say goes to files."""
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    processes = []
    for rank in range(2):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        with (logs / f"{rank}.out").open("w") as out, (logs / f"{rank}.err").open("w") as err:
            run = [sys.executable, *command, *words]
            processes.append(subprocess.Popen(run, env=os.environ | common | own, stdout=out, stderr=err))
    return processes


def run_two(words: list[str], logs: Path) -> str:
    processes = begin_two(words, logs)
    try:
        codes = [process.wait(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    said = [(logs / f"{rank}.err").read_text() for rank in range(2)]
    assert codes == [0, 0], "\n".join(said)
    assert "best step" in said[0]
    assert "step" not in said[1]
    assert (logs / "0.out").read_text()
    assert not (logs / "1.out").read_text()
    return said[0]


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(sorted((run / "checkpoints").iterdir())[-1] / "model.safetensors")


def history(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def test_two_processes_end_where_one_does(words, tmp_path):
    """With everything that could tell them apart: divergence, smoothing, pull, average, rates by layer."""
    shape = ["--num-train-epochs", "2", "--eval-steps", "3", "--kl", "0.1", "--label-smoothing", "0.1"]
    shape += ["--l2-sp", "0.1", "--ema", "0.9", "--layer-decay", "0.9", "--output"]
    run_two([*words, "--per-device-train-batch-size", "2", *shape, str(tmp_path / "two")], tmp_path)
    assert main([*words, "--per-device-train-batch-size", "4", *shape, str(tmp_path / "one")]) == 0
    one, two = last_weights(tmp_path / "one"), last_weights(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=1e-6, rtol=1e-5)
    for alone, together in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        assert alone["dev_loss"] == pytest.approx(together["dev_loss"], abs=1e-4)
        assert alone["dev"] == together["dev"]
    assert (tmp_path / "two/model/headroom.json").is_file()
    assert not list((tmp_path / "two").rglob("*.tmp"))


def same_runs(one: Path, two: Path) -> None:
    weights = last_weights(two)
    for name, tensor in last_weights(one).items():
        torch.testing.assert_close(tensor, weights[name], atol=1e-5, rtol=1e-5)
    for alone, together in zip(history(one), history(two), strict=True):
        assert alone["dev_loss"] == pytest.approx(together["dev_loss"], abs=1e-4)
        assert alone["dev"] == together["dev"]


@pytest.mark.slow
def test_weights_in_shards_end_where_whole_ones_do(words, tmp_path):
    """Smoothing, pull, rates by layer and activations computed again turned on; micro-batches unequal in number."""
    shape = ["--num-train-epochs", "2", "--eval-steps", "3", "--label-smoothing", "0.1", "--l2-sp", "0.1"]
    shape += ["--layer-decay", "0.9", "--weight-decay", "0.01", "--gradient-checkpointing", "--max-grad-norm", "0.5"]
    shape += ["--per-device-train-batch-size", "3", "--output"]
    run_two([*words, *shape, str(tmp_path / "whole")], tmp_path)
    run_two([*words, "--fsdp", *shape, str(tmp_path / "shards")], tmp_path)
    same_runs(tmp_path / "whole", tmp_path / "shards")
    assert (tmp_path / "shards/model/headroom.json").is_file()
    whole, shards = (json.loads((tmp_path / run / "train.json").read_text()) for run in ("whole", "shards"))
    assert shards["trainable_parameters"] == whole["trainable_parameters"] > 0


@pytest.mark.slow
def test_two_processes_share_one_plan_of_a_budget(words, tmp_path):
    flags = ["--num-train-epochs", "1000", "--budget", "60s", "--output", str(tmp_path / "out")]
    said = run_two([*words, "--per-device-train-batch-size", "2", *flags], tmp_path)
    assert said.count("plan: ") == 1


SHARDS = """
import copy, torch
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.objectives import LossModule
from asr_headroom.train.optimizer import make_optimizer
from asr_headroom.train.processes import make_accelerator
from asr_headroom.train.sharding import ShardedWeights, cut, gathered, shared_out, twin

accelerator = make_accelerator("no")
model = tiny_whisper(window="fit")
model.module.eval()
whole = copy.deepcopy(dict(model.module.named_parameters()))
trained = twin(model)
loss = cut(LossModule(trained), accelerator.device, bf16=False)
sharded = ShardedWeights(model.module, trained.module, accelerator.device)
count = sum(weight.numel() for weight in whole.values())
held = sum(weight.to_local().numel() for weight in trained.module.parameters())
assert 0.45 * count < held < 0.55 * count, (held, count)
assert sum(weight.numel() for weight in model.module.parameters()) == 0

batch = model.collate([tone_utterance("abc", id="a")])
loss(batch).backward()
alone = tiny_whisper(window="fit")
alone.module.eval()
alone.loss(batch).nats.backward()
for name, weight in alone.module.named_parameters():
    if weight.requires_grad:  # both processes saw the same utterance: twice its gradient
        found = trained.module.get_parameter(name).grad.full_tensor()
        torch.testing.assert_close(found, 2 * weight.grad, atol=1e-6, rtol=1e-4)

optimizer = make_optimizer(trained.module, TrainConfig(method="full"))
optimizer.step()
states = [state["exp_avg"].to_local().numel() for state in optimizer.state.values()]
moving = sum(weight.numel() for weight in whole.values() if weight.requires_grad)
assert 0.45 * moving < sum(states) < 0.55 * moving, (sum(states), moving)
kept = gathered(optimizer.state_dict(), keep=True)
nothing = gathered(optimizer.state_dict(), keep=False)
assert nothing["state"][0]["exp_avg"] is None
with sharded.whole():
    assert any(not weight.equal(whole[name]) for name, weight in model.module.named_parameters())
    model.module.load_state_dict({name: tensor for name, tensor in whole.items()}, strict=False)
    sharded.take()
assert sum(weight.numel() for weight in model.module.parameters()) == 0
other = make_optimizer(trained.module, TrainConfig(method="full"))
other.load_state_dict(shared_out(kept, other))
for weight, state in optimizer.state.items():
    for name in ("exp_avg", "exp_avg_sq"):
        assert other.state[weight][name].to_local().equal(state[name].to_local())
sharded.gather()
for name, weight in model.module.named_parameters():
    assert weight.equal(whole[name]), name
print("all is well")
accelerator.wait_for_everyone()
accelerator.end_training()  # else one may be gone while a thread of the other still listens
"""


def test_a_process_holds_its_share_of_weights_gradients_and_states(tmp_path):
    codes = finish(begin_two([], tmp_path, command=("-c", SHARDS)))
    assert codes == [0, 0], (tmp_path / "0.err").read_text() + (tmp_path / "1.err").read_text()
    assert (tmp_path / "1.out").read_text() == "all is well\n"


FAMILIES = """
import importlib, sys, torch
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.train.objectives import LossModule
from asr_headroom.train.processes import make_accelerator
from asr_headroom.train.sharding import cut, twin

accelerator = make_accelerator(sys.argv[1])
for name in sys.argv[2:]:
    make = getattr(importlib.import_module(f"asr_headroom.testing.tiny.{name}"), f"tiny_{name}")
    alone, trained = make(), twin(make())
    loss = cut(LossModule(trained), accelerator.device, bf16=sys.argv[1] == "bf16")
    losses = []
    for module in (loss, LossModule(alone)):
        module.eval()
        with accelerator.autocast():
            nats = module(alone.collate([tone_utterance("abc", id="a")]))
        nats.backward()
        losses.append(float(nats.detach()))
    assert abs(losses[0] - losses[1]) < float(sys.argv[1] == "bf16") * 0.02 * losses[1] + 1e-4, (name, losses)
    shards, whole = [], []
    for weight, part in zip(alone.module.parameters(), trained.module.parameters(), strict=True):
        if weight.grad is not None:
            assert part.grad.dtype == torch.float32
            shards.append(part.grad.full_tensor().flatten())
            whole.append(2 * weight.grad.flatten())
    shards, whole = torch.cat(shards), torch.cat(whole)
    apart = float((shards - whole).norm() / whole.norm())
    assert apart < (0.1 if sys.argv[1] == "bf16" else 1e-5), (name, apart)
    print(name, losses, apart)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "families"),
    [
        (
            "no",
            "whisper wav2vec2_ctc parakeet_tdt parakeet_rnnt moonshine canary cohere_asr qwen3_asr granite_speech "
            "glm_asr fun_asr_nano mel_ctc whisper_ctc",
        ),
        ("bf16", "whisper wav2vec2_ctc qwen3_asr"),
    ],
)
def test_every_family_has_the_same_gradient_in_shards(tmp_path, precision, families):
    """Both processes see the same utterance: twice its gradient."""
    codes = finish(begin_two([precision, *families.split()], tmp_path, command=("-c", FAMILIES)))
    assert codes == [0, 0], (tmp_path / "0.err").read_text() + (tmp_path / "1.err").read_text()
    assert len((tmp_path / "0.out").read_text().splitlines()) == len(families.split())


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "more"), [(0, []), (1, []), (1, ["--fsdp"])])
def test_a_killed_process_ends_the_other_and_the_same_command_goes_on(words, tmp_path, killed, more):
    words = [*words, *more, "--per-device-train-batch-size", "2", "--max-steps", "16", "--eval-steps", "4"]
    words += ["--set", "guard.enabled=false", "--output"]
    processes = begin_two([*words, str(tmp_path / "cut")], tmp_path)
    try:
        deadline = time.monotonic() + 300
        while not (tmp_path / "cut/checkpoints/step-00000004/DONE").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        processes[killed].send_signal(signal.SIGKILL)
        code = processes[1 - killed].wait(timeout=120)
    finally:
        for process in processes:
            process.kill()
    said = (tmp_path / f"{1 - killed}.err").read_text()
    assert code == 1, said
    assert "lost another one" in said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    run_two([*words, str(tmp_path / "cut")], tmp_path)
    run_two([*words, str(tmp_path / "whole")], tmp_path)
    assert history(tmp_path / "cut") == history(tmp_path / "whole")
    for name, tensor in last_weights(tmp_path / "whole").items():
        assert tensor.equal(last_weights(tmp_path / "cut")[name]), name


@pytest.mark.slow
def test_torchrun_starts_them(words, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", free_port()]
    flags = ["--max-steps", "2", "--per-device-train-batch-size", "2", "--output", str(tmp_path / "out")]
    done = subprocess.run([*launch, "-m", "asr_headroom", *words, *flags], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out/train.json").read_text())["plan"]["batch_size"] == 4


@pytest.mark.slow
def test_accelerate_launch_starts_them(words, tmp_path):
    """As the docs say; with ``--cpu`` it starts one process, whatever the number."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port"]
    flags = ["--max-steps", "2", "--per-device-train-batch-size", "2", "--output", str(tmp_path / "out")]
    run = [*launch, free_port(), "-m", "asr_headroom", *words, *flags]
    done = subprocess.run(run, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out/train.json").read_text())["plan"]["batch_size"] == 4


SHORTAGE = """
import sys, torch
from pathlib import Path
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.whisper import Whisper
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.guard import EvaluationSet
from asr_headroom.train.loop import Training

output, failing = Path(sys.argv[1]), int(sys.argv[2])
speech = [tone_utterance(text, id=text) for text in ("abc", "cab", "bad", "dab", "fad", "bed", "deb", "gab")]
model, calls, fsdp = tiny_whisper(window="fit"), [], len(sys.argv) > 3
loss = Whisper.loss

def short_of_memory(model, batch):
    calls.append(torch.is_grad_enabled())
    if torch.distributed.get_rank() == failing and sum(calls) == 4 and calls[-1]:
        raise torch.OutOfMemoryError("no room")
    return loss(model, batch)

Whisper.loss = short_of_memory
dev = EvaluationSet(name="dev", role="target", utterances=speech[:2], normalizer=get_normalizer("basic"))
config = TrainConfig(method="full", learning_rate=1e-3, max_steps=4, eval_steps=4, per_device_train_batch_size=2,
                     fsdp=fsdp)
measure = lambda model, eval_set: [ErrorCounts(hits=1, substitutions=1) for _ in eval_set.utterances]
Training(model, speech, dev, config, output, measure=measure, deliver=False).run()
print(config.per_device_train_batch_size, sum(calls))
"""


def finish(processes: list[subprocess.Popen]) -> list[int]:
    try:
        return [process.wait(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
def test_memory_that_one_process_lacks_halves_the_batches_of_both(tmp_path):
    for name, failing in (("whole", "2"), ("short", "1")):
        codes = finish(begin_two([str(tmp_path / name), failing], tmp_path, command=("-c", SHORTAGE)))
        assert codes == [0, 0], (tmp_path / "0.err").read_text() + (tmp_path / "1.err").read_text()
    assert json.loads((tmp_path / "short/train.json").read_text())["micro_batch"] == 1
    assert "micro_batch" not in json.loads((tmp_path / "whole/train.json").read_text())
    short = last_weights(tmp_path / "short")
    for name, tensor in last_weights(tmp_path / "whole").items():
        torch.testing.assert_close(tensor, short[name], atol=2e-6, rtol=1e-4)


@pytest.mark.slow
def test_memory_that_one_process_of_shards_lacks_ends_both_in_words(tmp_path):
    processes = begin_two([str(tmp_path / "out"), "1", "fsdp"], tmp_path, command=("-c", SHORTAGE))
    assert finish(processes) == [1, 1]
    assert "smaller per_device_train_batch_size" in (tmp_path / "1.err").read_text()
    assert "lost another one" in (tmp_path / "0.err").read_text()
