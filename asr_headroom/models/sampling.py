"""Drawing tokens and scoring them, the same way for every autoregressive family.

A family brings the logits after its prompt and a :class:`Continuation`; :func:`draw_tokens` does the rest, and
:func:`hidden_log_probs` scores what was drawn. Both read temperature, top-k and top-p in one place, so that the
distribution that is drawn from is the one that is scored. Everything is float32 (float64 in a float64 model), at target
positions only. No library's generation default has a say: ``temperature`` alone samples.

This is not for searching: beams and greedy decoding with the loop guard are in :mod:`asr_headroom.models.search`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from asr_headroom.models.decoding import Hypothesis, SamplingOptions
from asr_headroom.models.protocols import TokenLogProbs

__all__ = [
    "Continuation",
    "Draw",
    "draw_tokens",
    "each_token",
    "head_logits",
    "hidden_log_probs",
    "joined_padded",
    "joined_rows",
    "log_probs_of",
    "no_log_probs",
    "pick",
    "restricted_log_probs",
    "scatter_log_probs",
    "scored_ids",
]

_CHUNK_ELEMENTS = 2**24
"""Logits that exist at once while scoring: 64 MiB in float32, large enough to keep a processor busy."""
_NUCLEUS_WIDTH = 1024


class Draw(NamedTuple):
    """One drawn sequence.

    Attributes:
        token_ids: as drawn, the end token excluded.
        log_probs: natural log of each token's probability; one more, the end token's, where ``ended``.
        ended: the end token was drawn before the limit.
    """

    token_ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    ended: bool

    def hypothesis(self, decode: Callable[[list[int]], str]) -> Hypothesis:
        """As a hypothesis whose text is what ``decode`` makes of the token ids."""
        return Hypothesis(
            text=decode(list(self.token_ids)).strip(),
            token_ids=self.token_ids,
            token_log_probs=self.log_probs,
            truncated=not self.ended,
        )


class Continuation(Protocol):
    """A decoder part-way through its rows, with audio, prompt and tokens so far in its cache."""

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Feeds ``ids`` [rows] and returns the logits [rows, vocab] of the next token."""
        ...

    def keep(self, rows: torch.Tensor) -> None:
        """Only these rows, int64 in rising order, go on; the others have ended."""
        ...


def head_logits(head: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Logits in the precision of the head's weights, also where autocast computes everything else in half precision.

    Rounding logits to bfloat16 moves a log-probability by a few hundredths of a nat, which is more than the ratios that
    policies are clipped at; the same rounding of the hidden units averages out over their number.

    Args:
        head: the linear layer on top, with low-rank updates or without.
        hidden: [..., width].

    Returns:
        [..., vocab].
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return head(hidden.to(head.weight.dtype))


def restricted_log_probs(logits: torch.Tensor, options: SamplingOptions) -> torch.Tensor:
    """Log-probabilities of all tokens under temperature, then top-k, then top-p of what top-k left.

    Top-k keeps tokens as likely as the k-th; top-p keeps the fewest likeliest tokens that reach the probability.

    Args:
        logits: [..., vocab] any float type.
        options: temperature, top_k, top_p.

    Returns:
        [..., vocab] float32 (float64 from float64), natural logarithm; -inf for what cannot be drawn.

    >>> restricted_log_probs(torch.tensor([0.0, 1.0, 2.0]), SamplingOptions(top_k=1))
    tensor([-inf, -inf, 0.])
    """
    scaled = _scaled(logits, options)
    inside = _support(scaled, options)
    if inside is not None:
        scaled = scaled.masked_fill(~inside, -torch.inf)
    return scaled.log_softmax(dim=-1)


def log_probs_of(logits: torch.Tensor, ids: torch.Tensor, options: SamplingOptions) -> torch.Tensor:
    """Log-probabilities of some tokens under the distribution that :func:`restricted_log_probs` describes.

    A token counts as one of those that can be drawn even if top-k or top-p leaves it out: a drawn one was inside, and
    neither rounding nor an update of the weights since then may make it impossible.

    Args:
        logits: [..., vocab] any float type.
        ids: [...] int64.
        options: temperature, top_k, top_p.

    Returns:
        [...] float32 (float64 from float64), natural logarithm, finite.
    """
    scaled = _scaled(logits, options)
    chosen = scaled.gather(-1, ids[..., None]).squeeze(-1)
    if options.top_p < 1 and not options.top_k:
        # The nucleus is a small part of a vocabulary: summed there alone, nothing of the others is kept or gone through
        # in the backward pass.
        order, kept = _likeliest(scaled.detach(), options)
        nucleus = scaled.gather(-1, order).masked_fill(~kept, -torch.inf)
        is_there = ((order == ids[..., None]) & kept).any(dim=-1)
        let_in = chosen.masked_fill(is_there, -torch.inf)
        return chosen - torch.cat([nucleus, let_in[..., None]], dim=-1).logsumexp(dim=-1)
    inside = _support(scaled.detach(), options)
    if inside is not None:
        scaled = scaled.masked_fill(~inside.scatter(-1, ids[..., None], True), -torch.inf)
    return chosen - scaled.logsumexp(dim=-1)


def hidden_log_probs(
    hidden: torch.Tensor,
    project: Callable[[torch.Tensor], torch.Tensor],
    ids: torch.Tensor,
    options: SamplingOptions | Sequence[SamplingOptions],
    *,
    vocab_size: int,
    chunk_elements: int = _CHUNK_ELEMENTS,
) -> torch.Tensor:
    """Log-probabilities of tokens from the decoder's output, with a bounded number of logits in memory.

    Chunks are projected one after the other, and their logits are not kept for the backward pass. Where the head is
    frozen, as under low-rank updates, each token's gradient is found with its score; where it moves and there is more
    than one chunk, logits are made again.

    Args:
        hidden: [tokens, width] decoder output at the positions that predict ``ids``, and at no others.
        project: [tokens, width] to logits [tokens, vocab].
        ids: [tokens] int64.
        options: temperature, top_k, top_p; of all tokens, or one for each.
        vocab_size: logits per token.
        chunk_elements: logits that exist at once, at most (at least one token's).

    Returns:
        [tokens] float32 (float64 from float64), natural logarithm.
    """
    if not isinstance(options, SamplingOptions):
        return _under_each(hidden, project, ids, options, vocab_size=vocab_size, chunk_elements=chunk_elements)

    def score(part: torch.Tensor, part_ids: torch.Tensor) -> torch.Tensor:
        return log_probs_of(project(part), part_ids, options)

    rows = max(1, chunk_elements // vocab_size)
    with_gradient = torch.is_grad_enabled()
    if with_gradient and len(ids) and hidden.requires_grad and not project(hidden[:0].detach()).requires_grad:
        return _FrozenHeadScores.apply(hidden, ids, score, rows)
    if len(ids) <= rows:
        return score(hidden, ids)
    parts = zip(hidden.split(rows), ids.split(rows), strict=True)
    return torch.cat(
        [checkpoint(score, *part, use_reentrant=False) if with_gradient else score(*part) for part in parts]
    )


def each_token(
    options: SamplingOptions | Sequence[SamplingOptions], lengths: Sequence[int]
) -> SamplingOptions | list[SamplingOptions]:
    """Options of every token of ragged rows from options of every row; of all, where they are of all.

    Args:
        options: of all rows, or one for each.
        lengths: [rows] tokens of each.
    """
    if isinstance(options, SamplingOptions):
        return options
    return [one for one, length in zip(options, lengths, strict=True) for _ in range(length)]


def _under_each(
    hidden: torch.Tensor,
    project: Callable[[torch.Tensor], torch.Tensor],
    ids: torch.Tensor,
    options: Sequence[SamplingOptions],
    **sizes: int,
) -> torch.Tensor:
    """:func:`hidden_log_probs` with options of its own for each token."""
    places: dict[SamplingOptions, list[int]] = {}
    for place, one in enumerate(options):
        places.setdefault(one, []).append(place)
    order = torch.tensor([place for found in places.values() for place in found], device=ids.device)
    scores = [hidden_log_probs(hidden[found], project, ids[found], one, **sizes) for one, found in places.items()]
    return torch.cat(scores)[order.argsort()]


class _FrozenHeadScores(torch.autograd.Function):
    """Scores behind a head that does not move, each with its gradient in the hidden units that it was made from.

    A score depends on its own position alone and the loss on a score through one number, so the gradient found while
    the logits are there only has to be scaled later: they are neither kept nor made again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        ids: torch.Tensor,
        score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        rows: int,
    ) -> torch.Tensor:
        values, slopes = [], []
        for part, part_ids in zip(hidden.split(rows), ids.split(rows), strict=True):
            leaf = part.detach().requires_grad_()
            with torch.enable_grad():
                value = score(leaf, part_ids)
                slopes += torch.autograd.grad(value.sum(), leaf)
            values.append(value.detach())
        ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return (gradient[:, None] * slopes).to(slopes.dtype), None, None, None


def scored_ids(hypotheses: Sequence[Hypothesis], end_id: int) -> list[list[int]]:
    """The tokens of each hypothesis that have a probability: its own and, unless it was truncated, the end token."""
    return [[*hypothesis.token_ids, *([] if hypothesis.truncated else [end_id])] for hypothesis in hypotheses]


def scatter_log_probs(values: torch.Tensor, lengths: Sequence[int]) -> TokenLogProbs:
    """Ragged rows as a padded matrix.

    Args:
        values: [tokens] of all rows, one after the other.
        lengths: [rows] tokens of each.
    """
    columns = torch.arange(max(lengths, default=0), device=values.device)
    mask = columns < torch.tensor(lengths, device=values.device)[:, None]
    return TokenLogProbs(
        torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values), mask
    )


def joined_rows(parts: Sequence[tuple[Sequence[int], int]]) -> tuple[int, ...]:
    """Rows of several encodings as rows of one.

    Args:
        parts: of each, the utterance of each row, and the number of utterances.

    >>> joined_rows([((0, 0), 1), ((1, 0), 2)])
    (0, 0, 2, 1)
    """
    rows: list[int] = []
    before = 0
    for utterances, count in parts:
        rows += [before + utterance for utterance in utterances]
        before += count
    return tuple(rows)


def joined_padded(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """[rows, frames, ...] from tensors that may differ in frames; zeros (False) follow the shorter."""
    return pad_sequence([row for part in parts for row in part], batch_first=True)


def no_log_probs(like: torch.Tensor, columns: int = 0) -> TokenLogProbs:
    """Of no hypotheses: [0, columns], in the precision of scores and where ``like`` is."""
    values = like.new_zeros(0, columns, dtype=_score_dtype(like))
    return TokenLogProbs(values, torch.ones_like(values, dtype=torch.bool))


@torch.no_grad()
def draw_tokens(
    logits: torch.Tensor,
    continuation: Continuation,
    options: SamplingOptions,
    *,
    end_id: int,
    limit: int | None = None,
) -> list[Draw]:
    """Draws one sequence per row, token by token.

    Each row uses one number of a fixed stream per position, so a draw depends neither on when other rows end nor on
    the device's random generator.

    Args:
        logits: [rows, vocab] of the first token, one row per sequence.
        continuation: the decoder behind them.
        options: distribution, ``max_new_tokens`` and seed; ``num_samples`` is the caller's to unfold into rows.
        end_id: ends a sequence; every other token, special ones too, is drawn like any other.
        limit: tokens that the model has room for, if fewer than ``max_new_tokens``.

    Returns:
        [rows] draws; those without the end token within the limit have not ``ended``.
    """
    count, device = len(logits), logits.device
    limit = options.max_new_tokens if limit is None else max(0, min(limit, options.max_new_tokens))
    generator = torch.Generator().manual_seed(options.seed)
    uniform = torch.rand(limit, count, generator=generator, dtype=torch.float64).to(device)
    tokens = torch.full((count, limit), end_id, device=device)
    values = torch.zeros((count, limit), dtype=_score_dtype(logits), device=device)
    ends = torch.full((count,), limit, device=device)
    active = torch.arange(count, device=device)  # the rows that the continuation still holds; some may have ended
    for position in range(limit):
        log_probs = restricted_log_probs(logits, options)
        drawn = pick(log_probs, uniform[position, active])
        drawn = torch.where(ends[active] == limit, drawn, end_id)
        tokens[active, position] = drawn
        values[active, position] = log_probs.gather(-1, drawn[:, None]).squeeze(-1)
        ends[active] = torch.where((drawn == end_id) & (ends[active] == limit), position, ends[active])
        going = (drawn != end_id).nonzero().squeeze(-1)
        if not len(going) or position + 1 == limit:
            break
        if 2 * len(going) <= len(active):  # copying a cache costs something too, so not for every row that ends
            active, drawn = active[going], drawn[going]
            continuation.keep(going)
        logits = continuation.step(drawn)
    return [
        Draw(tuple(row_tokens[:end]), tuple(row_values[: end + 1]), end < limit)
        for row_tokens, row_values, end in zip(tokens.tolist(), values.tolist(), ends.tolist(), strict=True)
    ]


def _score_dtype(logits: torch.Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def _scaled(logits: torch.Tensor, options: SamplingOptions) -> torch.Tensor:
    return logits.to(_score_dtype(logits)) / options.temperature


def _support(scaled: torch.Tensor, options: SamplingOptions) -> torch.Tensor | None:
    """[..., vocab] bool: what can be drawn; None where everything can."""
    inside = None
    if 0 < options.top_k < scaled.shape[-1]:
        inside = scaled >= scaled.topk(options.top_k, dim=-1).values[..., -1:]
    if options.top_p < 1:
        nucleus = _nucleus(scaled if inside is None else scaled.masked_fill(~inside, -torch.inf), options)
        inside = nucleus if inside is None else nucleus & inside
    return inside


def _nucleus(scaled: torch.Tensor, options: SamplingOptions) -> torch.Tensor:
    """[..., vocab] bool: the fewest likeliest tokens that reach ``top_p``."""
    order, kept = _likeliest(scaled, options)
    return torch.zeros_like(scaled, dtype=torch.bool).scatter(-1, order, kept)


def _likeliest(scaled: torch.Tensor, options: SamplingOptions) -> tuple[torch.Tensor, torch.Tensor]:
    """[..., width] ids of the likeliest tokens and whether each belongs to the nucleus; all that does is among them.

    Sorting a whole vocabulary costs more than a small decoder; the likeliest thousand nearly always suffice.
    """
    probs = scaled.softmax(dim=-1)
    width = options.top_k or _NUCLEUS_WIDTH
    while True:
        likeliest, order = probs.topk(min(width, probs.shape[-1]), dim=-1)
        reached = likeliest.cumsum(dim=-1, dtype=torch.float64)
        if width >= probs.shape[-1] or (reached[..., -1] >= options.top_p).all():
            break
        width *= 8
    # What comes before a token decides, so that the likeliest always stays.
    return order, reached - likeliest < options.top_p


def pick(log_probs: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """[rows] the token at which each row's cumulative probability passes its number in [0, 1); never one of none."""
    cumulative = log_probs.exp().cumsum(dim=-1, dtype=torch.float64)
    total = cumulative[:, -1:].contiguous()
    picked = torch.searchsorted(cumulative, uniform[:, None] * total, right=True)
    return torch.minimum(picked, torch.searchsorted(cumulative, total)).squeeze(-1)
