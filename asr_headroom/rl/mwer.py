r"""Minimum word error rate training: the expected number of errors over an n-best list, as a pure function.

Prabhavalkar et al. (2018), arXiv:1712.01818, equation 4. With the list's probabilities renormalised,
:math:`\hat P_i = P(y_i|x) / \sum_j P(y_j|x)`, the loss of one utterance is

.. math:: L = \sum_i \hat P_i (W_i - \bar W)

where W are the errors and their mean is taken over the list. A hypothesis that was drawn m times is one column with
multiplicity m; the loss and its gradient are those of m equal columns.
"""

from __future__ import annotations

import torch

from asr_headroom.errors import ShapeError

__all__ = ["mwer_loss"]


def mwer_loss(log_probs: torch.Tensor, errors: torch.Tensor, multiplicity: torch.Tensor) -> torch.Tensor:
    """Expected errors of each list, relative to their mean.

    Args:
        log_probs: [groups, nbest] log P(hypothesis | audio), natural log; anything finite where there is none.
        errors: [groups, nbest] errors, or whatever else is to be small (minus a reward).
        multiplicity: [groups, nbest] how often each was drawn; 0 where the list is shorter.

    Returns:
        [groups]; 0 where all hypotheses are equally wrong.

    Raises:
        ShapeError: the shapes differ.

    >>> one = torch.ones(1, 2, dtype=torch.float64)
    >>> mwer_loss(torch.tensor([[0.8, 0.2]]).double().log(), torch.tensor([[0.0, 1.0]]).double(), one)
    tensor([-0.3000], dtype=torch.float64)
    """
    shapes = [tuple(tensor.shape) for tensor in (log_probs, errors, multiplicity)]
    if len(set(shapes)) > 1:
        raise ShapeError(f"log_probs, errors and multiplicity have the shapes {shapes}; give equal ones")
    posterior = (log_probs + multiplicity.to(log_probs.dtype).log()).softmax(dim=-1)
    mean = (multiplicity * errors).sum(-1, keepdim=True) / multiplicity.sum(-1, keepdim=True)
    return (posterior * (errors - mean)).sum(-1)
