"""Sums over the paths of a CTC model and draws of single ones; frames in, numbers out, no model in sight."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch.nn import functional

from asr_headroom.models.decoding import SamplingOptions
from asr_headroom.models.sampling import restricted_log_probs

__all__ = ["ctc_nats", "draw_paths", "frames_needed", "text_log_probs"]

_OUTSIDE = -1e6
"""Stands for minus infinity, whose gradient is not a number."""


def frames_needed(token_ids: Sequence[int]) -> int:
    """Frames that the shortest path of these tokens has: one each, and a blank between equal neighbours."""
    return len(token_ids) + sum(a == b for a, b in itertools.pairwise(token_ids))


def ctc_nats(
    log_probs: torch.Tensor, frames: torch.Tensor, targets: Sequence[Sequence[int]], blank_id: int
) -> torch.Tensor:
    """Minus the log-probability of each row's tokens.

    Args:
        log_probs: [rows, frames, vocab] float32 or float64, natural logarithm.
        frames: [rows] int64, how many are real.
        targets: [rows] token ids, the blank not among them.
        blank_id: of the blank.

    Returns:
        [rows] nats; infinite where the tokens need more frames than there are.
    """
    width = max(1, max(map(len, targets), default=0))
    padded = torch.tensor([[*ids, *[blank_id] * (width - len(ids))] for ids in targets], dtype=torch.long)
    return functional.ctc_loss(
        log_probs.transpose(0, 1),
        padded.to(log_probs.device),
        frames,
        torch.tensor([len(ids) for ids in targets], device=log_probs.device),
        blank=blank_id,
        reduction="none",
        zero_infinity=False,
    )


def text_log_probs(
    logits: torch.Tensor,
    frames: torch.Tensor,
    rows: Sequence[int],
    targets: Sequence[Sequence[int]],
    options: SamplingOptions,
    blank_id: int,
) -> torch.Tensor:
    """Log-probability of each row's tokens over all their paths, under the frame distribution that is drawn from.

    Tokens that top-k or top-p leave out of too many frames would make a text impossible; such a text is scored as if
    its own tokens and the blank were let in everywhere. That happens only to texts that were not drawn from these
    logits.

    Args:
        logits: [utterances, frames, vocab] any float type.
        frames: [utterances] int64, how many are real.
        rows: [rows] index of each row's utterance.
        targets: [rows] token ids.
        options: temperature, top_k, top_p.
        blank_id: of the blank.

    Returns:
        [rows] float32 (float64 from float64), natural logarithm.
    """
    index = torch.tensor(rows, dtype=torch.long, device=logits.device)
    log_probs = restricted_log_probs(logits, options)
    possible = log_probs.detach() > -torch.inf
    values = -ctc_nats(log_probs.clamp(min=_OUTSIDE)[index], frames[index], targets, blank_id)
    impossible = (values.detach() < _OUTSIDE / 2).nonzero().squeeze(-1).tolist()
    if not impossible:
        return values
    again = index[impossible]
    inside = possible[again]
    for place, row in enumerate(impossible):
        inside[place, :, [blank_id, *targets[row]]] = True
    scaled = logits[again].to(values.dtype) / options.temperature
    log_probs = scaled.masked_fill(~inside, -torch.inf).log_softmax(-1).clamp(min=_OUTSIDE)
    let_in = -ctc_nats(log_probs, frames[again], [targets[row] for row in impossible], blank_id)
    return values.index_put((torch.tensor(impossible, device=values.device),), let_in)


@torch.no_grad()
def draw_paths(logits: torch.Tensor, options: SamplingOptions) -> torch.Tensor:
    """One token or blank per frame, drawn independently; ``options.num_samples`` paths per row.

    Each frame takes its own number of a fixed stream, so a draw does not depend on what follows in a padded batch.

    Args:
        logits: [rows, frames, vocab] any float type.
        options: distribution, ``num_samples`` and seed.

    Returns:
        [rows, num_samples, frames] int64; of padded frames too.
    """
    rows, frames, _ = logits.shape
    generator = torch.Generator().manual_seed(options.seed)
    uniform = torch.rand(frames, rows, options.num_samples, generator=generator, dtype=torch.float64)
    cumulative = restricted_log_probs(logits, options).double().exp().cumsum(dim=-1)
    total = cumulative[..., -1:].contiguous()
    wanted = uniform.permute(1, 0, 2).to(logits.device) * total
    picked = torch.searchsorted(cumulative, wanted.contiguous(), right=True)
    # Rounding may carry a number past the last token that can be drawn.
    return torch.minimum(picked, torch.searchsorted(cumulative, total)).transpose(1, 2)
