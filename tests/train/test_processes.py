"""What processes agree on, seen from one of them; two real ones are in test_two_processes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType

from asr_headroom.errors import ConfigError, TrainingError
from asr_headroom.train import processes
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.processes import Processes, make_accelerator
from asr_headroom.train.sharding import refuse_unsharded


def one_of(count: int, index: int = 0) -> Processes:
    """One of several processes that never talks to the others."""
    return Processes(SimpleNamespace(num_processes=count, process_index=index, is_main_process=index == 0))


def test_shares_are_disjoint_and_nothing_is_lost():
    items = list(range(7))
    shares = [list(one_of(3, index).share(items)) for index in range(3)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_shares_are_put_together_in_the_order_of_the_whole(monkeypatch):
    items = list(range(7))
    shares = [list(one_of(3, index).share(items)) for index in range(3)]
    monkeypatch.setattr(processes, "gather_object", lambda own: shares)
    assert one_of(3).joined(shares[0]) == items


def test_a_launcher_that_cuts_the_weights_is_refused(monkeypatch):
    sharded = SimpleNamespace(distributed_type=DistributedType.FSDP)
    monkeypatch.setattr(processes, "Accelerator", lambda **options: sharded)
    with pytest.raises(ConfigError, match="FSDP cuts the weights into shards"):
        make_accelerator("no")


def test_shards_need_somebody_to_share_with():
    config = TrainConfig(method="full", fsdp=True)
    with pytest.raises(ConfigError, match="over several processes, and here is one"):
        refuse_unsharded(config, 1)
    refuse_unsharded(config, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "lora"}, "method lora does not go with fsdp"),
        ({"ema": 0.9}, "ema does not go with fsdp"),
        ({"kl": 0.1}, "kl does not go with fsdp"),
        ({"optim": "adamw-8bit"}, "optim adamw-8bit does not go with fsdp"),
    ],
)
def test_what_is_not_made_for_shards_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        TrainConfig(**{"method": "full", "fsdp": True} | options)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1234"),
     torch.distributed.DistBackendError("NCCL communicator was aborted")],
)  # fmt: skip
def test_a_lost_process_is_told_in_words(error):
    with pytest.raises(TrainingError, match="process 1 of 2 lost another one"), one_of(2, 1).noticing_losses():
        raise error


def test_other_failures_stay_what_they_are():
    for count, error in ((2, RuntimeError("mat1 and mat2")), (1, RuntimeError("Connection closed by peer"))):
        with pytest.raises(RuntimeError, match=str(error)), one_of(count).noticing_losses():
            raise error
