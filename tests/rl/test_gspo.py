"""Policy losses against formulas written out draw by draw, closed-form gradients against autograd."""

from __future__ import annotations

import math

import pytest
import torch

from asr_headroom.errors import ShapeError
from asr_headroom.rl.gspo import group_advantages, sequence_policy_loss, token_policy_loss

CLIP = (3e-4, 4e-4)


def groups():
    torch.manual_seed(1)
    old = -20 + torch.randn(3, 4, dtype=torch.float64)
    lengths = torch.randint(3, 12, (3, 4)).double()
    log_probs = old + lengths * 6e-4 * torch.randn(3, 4, dtype=torch.float64)
    rewards = -torch.tensor([[3, 0, 1, 0], [2, 1, 9, 2], [1, 0, 9, 9]]).double() / 7
    multiplicity = torch.tensor([[1, 1, 1, 1], [2, 1, 0, 1], [1, 3, 0, 0]]).double()
    return log_probs, old, lengths, rewards, multiplicity


def drawn(values, count):
    return [value for value, times in zip(values.tolist(), count.tolist(), strict=True) for _ in range(int(times))]


def test_advantages_are_z_scores_over_all_draws():
    *_, rewards, multiplicity = groups()
    ours = group_advantages(rewards, multiplicity, "z-score")
    for row, reward, count in zip(ours, rewards, multiplicity, strict=True):
        draws = drawn(reward, count)
        mean = sum(draws) / len(draws)
        deviation = math.sqrt(sum((x - mean) ** 2 for x in draws) / len(draws))
        assert drawn(row, count) == pytest.approx([(x - mean) / deviation for x in draws], rel=1e-12)


def test_leave_one_out_subtracts_the_mean_of_the_others():
    *_, rewards, multiplicity = groups()
    ours = group_advantages(rewards, multiplicity, "leave-one-out")
    for row, reward, count in zip(ours, rewards, multiplicity, strict=True):
        draws = drawn(reward, count)
        others = [(sum(draws) - x) / (len(draws) - 1) for x in draws]
        assert drawn(row, count) == pytest.approx([x - o for x, o in zip(draws, others, strict=True)], abs=1e-12)


@pytest.mark.parametrize("baseline", ["z-score", "mean", "leave-one-out"])
def test_equal_rewards_give_exactly_nothing(baseline):
    # A mean of 0.1s differs from 0.1 in the last bit, and a z-score of that would be of order one.
    rewards = torch.full((1, 3), -0.1)
    assert not group_advantages(rewards, torch.tensor([[1.0, 1.0, 1.0]]), baseline).any()


def test_gspo_equals_the_paper_written_out():
    log_probs, old, lengths, rewards, multiplicity = groups()
    advantages = group_advantages(rewards, multiplicity, "z-score")
    loss, clipped = sequence_policy_loss(log_probs, old, lengths, advantages, multiplicity, CLIP)
    assert clipped.any()
    for g in range(3):
        gains = []
        for i in range(4):
            ratio = math.exp((log_probs[g, i] - old[g, i]) / lengths[g, i])
            inside = min(max(ratio, 1 - CLIP[0]), 1 + CLIP[1])
            gain = min(ratio * advantages[g, i], inside * advantages[g, i])
            gains += [float(gain)] * int(multiplicity[g, i])
        assert loss[g].item() == pytest.approx(-sum(gains) / len(gains), abs=1e-12)


def test_gspo_gradient_is_the_papers():
    """Minus the weight, the advantage and the ratio, over the length; nothing where the clip holds it back."""
    log_probs, old, lengths, rewards, multiplicity = groups()
    advantages = group_advantages(rewards, multiplicity, "z-score")
    log_probs.requires_grad_()
    loss, clipped = sequence_policy_loss(log_probs, old, lengths, advantages, multiplicity, CLIP)
    loss.sum().backward()
    ratio = ((log_probs.detach() - old) / lengths).exp()
    held = ((advantages > 0) & (ratio > 1 + CLIP[1])) | ((advantages < 0) & (ratio < 1 - CLIP[0]))
    weights = multiplicity / multiplicity.sum(-1, keepdim=True)
    closed = torch.where(held, 0.0, -weights * advantages * ratio / lengths)
    torch.testing.assert_close(closed, log_probs.grad, rtol=1e-12, atol=1e-15)
    assert not closed[clipped].any()
    assert closed[~clipped & (multiplicity > 0) & (advantages != 0)].all()


def test_the_ratio_is_of_the_mean_per_token():
    """Trap 26: without dividing by the length, a hypothesis of 100 tokens leaves the clip range at once."""
    per_token, advantage = 2e-4, torch.tensor([[1.0]]).double()
    for length in (1.0, 100.0):
        old = torch.zeros(1, 1, dtype=torch.float64)
        lengths = torch.full((1, 1), length, dtype=torch.float64)
        loss, clipped = sequence_policy_loss(old + per_token * length, old, lengths, advantage, advantage, CLIP)
        assert loss.item() == pytest.approx(-math.exp(per_token), abs=1e-12)
        assert not clipped.any()


def test_grpo_and_dr_grpo_written_out():
    torch.manual_seed(2)
    old = -torch.rand(2, 5).double()
    log_probs = (old + 0.3 * torch.randn(2, 5)).requires_grad_()
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    advantages = torch.tensor([1.5, -0.5]).double()
    for divisor in (None, 225.0):
        loss, clipped = token_policy_loss(log_probs, old, mask, advantages, (0.2, 0.28), divisor)
        assert clipped.any()
        for row in range(2):
            gains = []
            for t in range(int(mask[row].sum())):
                ratio = math.exp(log_probs[row, t].item() - old[row, t].item())
                gains.append(min(ratio * advantages[row], min(max(ratio, 0.8), 1.28) * advantages[row]))
            assert loss[row].item() == pytest.approx(-float(sum(gains)) / (divisor or len(gains)), abs=1e-12)
        log_probs.grad = None
        loss.sum().backward()
        assert not log_probs.grad[~mask].any()
        assert not log_probs.grad[clipped].any()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_ratio_beyond_all_numbers_stays_a_number(sign):
    """A hypothesis that became e^200 times as likely: infinity times the clip's zero would poison every weight."""
    log_probs = torch.zeros(1, 2, requires_grad=True)
    old, one = torch.tensor([[-200.0, 0.0]]), torch.ones(1, 2)
    advantages = sign * torch.tensor([[1.0, -1.0]])
    loss, _ = sequence_policy_loss(log_probs, old, one, advantages, one, (0.2, 0.2))
    mask = torch.ones(1, 2, dtype=torch.bool)
    per_row, _ = token_policy_loss(log_probs, old, mask, advantages[:, 0], (0.2, 0.2))
    (loss.sum() + per_row.sum()).backward()
    assert log_probs.grad.isfinite().all()
    if sign > 0:
        assert loss.item() == pytest.approx(-(1.2 - 1.0) / 2)


def test_shapes_must_agree():
    log_probs, old, lengths, rewards, multiplicity = groups()
    with pytest.raises(ShapeError):
        sequence_policy_loss(log_probs, old, lengths[:2], rewards, multiplicity, CLIP)
    with pytest.raises(ShapeError):
        group_advantages(rewards, multiplicity[:2], "mean")
    with pytest.raises(ShapeError):
        token_policy_loss(log_probs, old, multiplicity > 0, rewards[0, :2], CLIP)
