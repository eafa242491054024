"""The MWER loss against sums done by hand, its gradient against finite differences and against autograd."""

from __future__ import annotations

import pytest
import torch

from asr_headroom.errors import ShapeError
from asr_headroom.rl.mwer import mwer_loss


def lists():
    torch.manual_seed(0)
    log_probs = torch.randn(3, 4, dtype=torch.float64) * 3 - 20
    errors = torch.randint(0, 5, (3, 4)).double()
    multiplicity = torch.tensor([[1, 1, 1, 1], [2, 1, 0, 1], [3, 1, 0, 0]]).double()
    return log_probs, errors, multiplicity


def spelled_out(log_probs, errors, multiplicity):
    """The textbook formula over lists in which every draw has a column of its own."""
    losses = []
    for lp, wrong, count in zip(log_probs, errors, multiplicity, strict=True):
        columns = [i for i, times in enumerate(count.tolist()) for _ in range(int(times))]
        posterior = lp[columns].exp() / lp[columns].exp().sum()
        losses.append((posterior * (wrong[columns] - wrong[columns].mean())).sum())
    return torch.stack(losses)


def test_equals_the_textbook_with_every_draw_in_a_column_of_its_own():
    log_probs, errors, multiplicity = lists()
    ours = log_probs.clone().requires_grad_()
    theirs = log_probs.clone().requires_grad_()
    loss, expected = mwer_loss(ours, errors, multiplicity), spelled_out(theirs, errors, multiplicity)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    loss.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-11, atol=1e-14)


def test_gradient_is_the_posterior_times_what_is_wrong_above_expectation():
    log_probs, errors, multiplicity = lists()
    log_probs.requires_grad_()
    mwer_loss(log_probs, errors, multiplicity).sum().backward()
    weights = multiplicity * log_probs.detach().exp()
    posterior = weights / weights.sum(-1, keepdim=True)
    closed = posterior * (errors - (posterior * errors).sum(-1, keepdim=True))
    torch.testing.assert_close(closed, log_probs.grad, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(closed.sum(-1), torch.zeros(3, dtype=torch.float64), atol=1e-14, rtol=0)


def test_finite_differences():
    log_probs, errors, multiplicity = lists()
    assert torch.autograd.gradcheck(lambda lp: mwer_loss(lp, errors, multiplicity), log_probs.requires_grad_())


def test_equally_wrong_hypotheses_give_nothing():
    log_probs, _, multiplicity = lists()
    log_probs.requires_grad_()
    errors = torch.full((3, 4), 2.0, dtype=torch.float64)
    loss = mwer_loss(log_probs, errors, multiplicity)
    loss.sum().backward()
    assert loss.abs().max() < 1e-14
    assert log_probs.grad.abs().max() < 1e-15


def test_shapes_must_agree():
    log_probs, errors, multiplicity = lists()
    with pytest.raises(ShapeError, match="equal ones"):
        mwer_loss(log_probs, errors[:2], multiplicity)
