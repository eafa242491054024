"""The probability of a token sequence under a transducer: the sum over all its alignments, in pure torch.

A node (t, u) of the lattice has consumed t encoder frames and written u tokens. From there a blank moves on by one of
``Steps.blank`` frames, a token writes the next label and moves on by one of ``Steps.label`` frames:

* RNN-T (Graves, 2012, arXiv:1211.3711): blanks move one frame, tokens none.
* TDT (Xu et al., 2023, arXiv:2304.06795): both move by a predicted duration; blanks by at least one frame.

A sequence is complete when a blank reaches frame T exactly. For RNN-T the probabilities of all sequences add to one.
For TDT they add to less: a blank of duration 0, and a step beyond the last frame, lead nowhere (as in the paper's
loss and in transformers').

The joint network's logits [rows, frames, tokens + 1, vocab] are made in chunks of frames and again in the backward
pass, so that a long utterance does not need gigabytes. Within a frame, tokens that take no time follow one another:
a linear recurrence, solved by one cumulative sum instead of a loop. The lattice is float64: it is small, and that sum
would cost digits in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from asr_headroom.models.decoding import SamplingOptions
from asr_headroom.models.sampling import restricted_log_probs

__all__ = ["Arcs", "Steps", "joint_arcs", "sequence_log_probs"]

_CHUNK_ELEMENTS = 2**24
"""Logits that exist at once: 64 MiB in float32."""

_IMPOSSIBLE = -1e4
"""In place of minus infinity for what top-k or top-p leaves out: e**-10000 is nothing, and has finite sums."""

_UNREACHED = -1e9


class Steps(NamedTuple):
    """Frames that an arc can move on by.

    Attributes:
        blank: of blanks, all at least 1.
        label: of tokens.
    """

    blank: tuple[int, ...]
    label: tuple[int, ...]


class Arcs(NamedTuple):
    """Log-probabilities of the arcs that spell given labels, float64.

    Attributes:
        blank: [rows, frames, labels + 1, blank steps].
        label: [rows, frames, labels, label steps].
    """

    blank: torch.Tensor
    label: torch.Tensor


def joint_arcs(
    joint: Callable[[torch.Tensor], torch.Tensor],
    frames: torch.Tensor,
    predictions: torch.Tensor,
    labels: torch.Tensor,
    options: SamplingOptions,
    *,
    vocab_size: int,
    blank_id: int,
    durations: tuple[int, ...] = (),
    chunk_elements: int = _CHUNK_ELEMENTS,
) -> Arcs:
    """Arcs of all nodes, under temperature, top-k and top-p of tokens and of durations.

    Args:
        joint: [..., width] sum of frame and prediction to logits [..., vocab + durations].
        frames: [rows, frames, width] projected encoder output.
        predictions: [rows, labels + 1, width] of the prediction network, after none, one … all labels.
        labels: [rows, labels] int64; padding is any id.
        options: the distribution.
        vocab_size: tokens, the blank among them; logits beyond are of durations.
        blank_id: of the blank.
        durations: what the duration logits stand for; none is RNN-T.
        chunk_elements: logits that exist at once, at most (at least one frame's).
    """
    moving = [index for index, frames_on in enumerate(durations) if frames_on > 0]

    def arcs(part: torch.Tensor, predictions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = joint(part[:, :, None] + predictions[:, None])
        tokens = restricted_log_probs(logits[..., :vocab_size], options)
        index = labels[:, None, :, None].expand(-1, tokens.shape[1], -1, 1)
        blank, label = tokens[..., blank_id, None], tokens[:, :, :-1].gather(-1, index)
        if durations:
            steps = restricted_log_probs(logits[..., vocab_size:], options)
            blank, label = blank + steps[..., moving], label + steps[:, :, :-1]
        return blank.double().clamp(min=_IMPOSSIBLE), label.double().clamp(min=_IMPOSSIBLE)

    rows, count = predictions.shape[:2]
    width = max(1, chunk_elements // (rows * count * (vocab_size + len(durations))))
    chunks = frames.split(width, dim=1)
    again = torch.is_grad_enabled() and len(chunks) > 1
    parts = [
        checkpoint(arcs, chunk, predictions, use_reentrant=False) if again else arcs(chunk, predictions)
        for chunk in chunks
    ]
    return Arcs(*(torch.cat(tensors, dim=1) for tensors in zip(*parts, strict=True)))


def sequence_log_probs(
    arcs: Arcs, steps: Steps, lengths: torch.Tensor, counts: torch.Tensor, truncated: torch.Tensor
) -> torch.Tensor:
    """Log-probability of each row's labels, summed over all alignments.

    Args:
        arcs: see :func:`joint_arcs`.
        steps: what the arcs' last dimensions stand for.
        lengths: [rows] int64, frames of each, at least 1.
        counts: [rows] int64, labels of each.
        truncated: [rows] bool; True takes the probability that these labels are written first, whatever follows.

    Returns:
        [rows] float64, natural logarithm.
    """
    alphas = _forward(arcs, steps)
    return torch.where(
        truncated, _prefix(arcs, steps, alphas, lengths, counts), _complete(arcs, steps, alphas, lengths, counts)
    )


def _forward(arcs: Arcs, steps: Steps) -> torch.Tensor:
    """[rows, frames, labels + 1] log-probability of reaching each node, over all paths."""
    rows, frames, nodes = arcs.blank.shape[:3]
    start = arcs.blank.new_full((rows, nodes), _UNREACHED)
    start[:, 0] = 0.0
    alphas: list[torch.Tensor] = []
    for frame in range(frames):
        terms = [start] if frame == 0 else []
        for index, step in enumerate(steps.blank):
            if step <= frame:
                terms.append(alphas[frame - step] + arcs.blank[:, frame - step, :, index])
        for index, step in enumerate(steps.label):
            if 0 < step <= frame:
                written = alphas[frame - step][:, :-1] + arcs.label[:, frame - step, :, index]
                terms.append(functional.pad(written, (1, 0), value=_UNREACHED))
        entered = torch.stack(terms).logsumexp(dim=0) if len(terms) > 1 else terms[0]
        if 0 in steps.label:
            entered = _within(entered, arcs.label[:, frame, :, steps.label.index(0)])
        alphas.append(entered)
    return torch.stack(alphas, dim=1)


def _within(entered: torch.Tensor, writing: torch.Tensor) -> torch.Tensor:
    """Adds the paths that write tokens without leaving the frame: a(u) = entered(u) + a(u - 1) · writing(u - 1)."""
    run = functional.pad(writing.cumsum(dim=1), (1, 0))
    return run + (entered - run).logcumsumexp(dim=1)


def _complete(
    arcs: Arcs, steps: Steps, alphas: torch.Tensor, lengths: torch.Tensor, counts: torch.Tensor
) -> torch.Tensor:
    rows = torch.arange(len(lengths), device=lengths.device)
    ends = []
    for index, step in enumerate(steps.blank):
        frame = (lengths - step).clamp(min=0)
        end = alphas[rows, frame, counts] + arcs.blank[rows, frame, counts, index]
        ends.append(torch.where(step <= lengths, end, _UNREACHED))
    return torch.stack(ends).logsumexp(dim=0)


def _prefix(
    arcs: Arcs, steps: Steps, alphas: torch.Tensor, lengths: torch.Tensor, counts: torch.Tensor
) -> torch.Tensor:
    if not arcs.label.shape[2]:
        return torch.zeros_like(alphas[:, 0, 0])
    rows = torch.arange(len(lengths), device=lengths.device)
    last = (counts - 1).clamp(min=0)
    frames = torch.arange(alphas.shape[1], device=lengths.device)
    inside = frames[:, None] + torch.tensor(steps.label, device=lengths.device) < lengths[:, None, None]
    written = alphas[rows, :, last][..., None] + arcs.label[rows, :, last]
    total = written.masked_fill(~inside, _UNREACHED).flatten(1).logsumexp(dim=1)
    return torch.where(counts > 0, total, 0.0)
