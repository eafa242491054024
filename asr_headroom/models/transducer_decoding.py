"""Walking through a transducer's lattice over encoded audio: greedily, or by drawing; all rows at once.

transformers' ``generate`` is greedy only, encodes the audio each time, and for TDT has no end where a model writes
tokens of duration 0 for ever. Here a walk starts from projected encoder output, and ``max_symbols`` forces greedy
search on to the next frame. Where both end, they find the same (a test compares them).

A draw is one path, but what is scored is the token sequence, over all its paths
(:mod:`asr_headroom.models.transducer_lattice`). For RNN-T drawing paths draws sequences with just that probability. For
TDT some paths lead nowhere; they are drawn again, so sequences come as often as their probability says up to one
factor per utterance. After :data:`_ATTEMPTS` fruitless attempts a path is led: only durations that can still end well
are drawn. It always ends, and its frequency is then only close to its probability.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from asr_headroom.models.decoding import LoopGuard, SamplingOptions
from asr_headroom.models.sampling import head_logits, joined_padded, joined_rows, pick, restricted_log_probs

__all__ = ["Transducer", "TransducerEncoded", "Walk", "draw_walks", "greedy_walks"]

_ATTEMPTS = 20


@dataclass(frozen=True)
class TransducerEncoded:
    """Audio encoded once, and the rows that hypotheses are drawn or scored for.

    Attributes:
        frames: [utterances, frames, width] projected encoder output.
        lengths: [utterances] int64, frames that are no padding.
        utterances: [rows] index of each row's audio.
    """

    frames: torch.Tensor
    lengths: torch.Tensor
    utterances: tuple[int, ...]

    def select(self, indices: Sequence[int]) -> TransducerEncoded:
        """These rows, in this order; a row may be taken several times, its audio stays one."""
        return TransducerEncoded(self.frames, self.lengths, tuple(self.utterances[index] for index in indices))

    def joined(self, others: Sequence[TransducerEncoded]) -> TransducerEncoded:
        """These rows, then those of the others."""
        parts = [self, *others]
        lengths = torch.cat([p.lengths for p in parts])
        rows = joined_rows([(p.utterances, len(p.frames)) for p in parts])
        return TransducerEncoded(joined_padded([p.frames for p in parts]), lengths, rows)

    def __len__(self) -> int:
        return len(self.utterances)


class Transducer(NamedTuple):
    """The parts that a walk needs of a ``ParakeetForRNNT`` or ``ParakeetForTDT``.

    Attributes:
        core: the model.
        vocab_size: tokens, the blank among them.
        blank_id: of the blank.
        durations: what logits beyond ``vocab_size`` stand for, in frames; none is RNN-T.
    """

    core: Any
    vocab_size: int
    blank_id: int
    durations: tuple[int, ...]


@dataclass
class Walk:
    """One path through the lattice.

    Attributes:
        tokens: written, blanks left out.
        frames: [tokens] at which each was written.
        spans: [tokens] frames that it took; 1 for RNN-T, which says nothing of it.
        ended: the last frame was passed before any limit.
        stopped: by the loop guard.
        astray: it left the lattice; no probability is counted for it.
    """

    tokens: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    spans: list[int] = field(default_factory=list)
    ended: bool = False
    stopped: bool = False
    astray: bool = False


class _Place(NamedTuple):
    """Where the walking rows are: ``frame`` and ``length`` [rows] int64, of them and of their audio."""

    frame: torch.Tensor
    length: torch.Tensor


_Choose = Callable[[torch.Tensor, _Place], tuple[torch.Tensor, torch.Tensor]]
"""Logits [rows, vocab + durations] and places to tokens [rows] and steps [rows] in frames."""


@torch.no_grad()
def greedy_walks(
    model: Transducer, encoded: TransducerEncoded, *, max_new_tokens: int, max_symbols: int, guard: LoopGuard
) -> list[Walk]:
    """The likeliest token and duration at each node.

    Args:
        model: see :class:`Transducer`.
        encoded: audio; one walk per row.
        max_new_tokens: at which a walk is cut.
        max_symbols: tokens after which a frame is left.
        guard: stops walks that repeat themselves.
    """
    durations = torch.tensor(model.durations or (0,), device=encoded.frames.device)
    symbols = torch.zeros(len(encoded), dtype=torch.long, device=encoded.frames.device)

    def choose(logits: torch.Tensor, _: _Place) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = logits[:, : model.vocab_size].argmax(dim=-1)
        blank = tokens == model.blank_id
        steps = durations[logits[:, model.vocab_size :].argmax(dim=-1)] if model.durations else blank.long()
        symbols.add_(1)
        steps = torch.where((steps == 0) & (blank | (symbols >= max_symbols)), 1, steps)
        symbols.masked_fill_(steps > 0, 0)
        return tokens, steps

    return _walk(model, encoded, choose, max_new_tokens=max_new_tokens, guard=guard)


@torch.no_grad()
def draw_walks(model: Transducer, encoded: TransducerEncoded, options: SamplingOptions) -> list[Walk]:
    """``options.num_samples`` walks per row, neighbours of one another; none is astray."""
    count = options.num_samples
    generator = torch.Generator().manual_seed(options.seed)
    pending = [index for index in range(len(encoded)) for _ in range(count)]
    slots = list(range(len(pending)))
    walks = [Walk() for _ in slots]
    for attempt in range(_ATTEMPTS + 1):
        choose = _drawing(model, len(slots), options, generator, led=attempt == _ATTEMPTS)
        drawn = _walk(model, encoded.select(pending), choose, max_new_tokens=options.max_new_tokens)
        for slot, walk in zip(slots, drawn, strict=True):
            walks[slot] = walk
        again = [place for place, walk in enumerate(drawn) if walk.astray]
        slots, pending = [slots[place] for place in again], [pending[place] for place in again]
        if not slots:
            break
    return walks


def _drawing(
    model: Transducer, rows: int, options: SamplingOptions, generator: torch.Generator, *, led: bool
) -> _Choose:
    """Draws tokens, then durations; led walks draw durations among those that stay in the lattice."""

    def choose(logits: torch.Tensor, place: _Place) -> tuple[torch.Tensor, torch.Tensor]:
        uniform = torch.rand(2, rows, generator=generator, dtype=torch.float64).to(logits.device)
        tokens = pick(restricted_log_probs(logits[:, : model.vocab_size], options), uniform[0])
        blank = tokens == model.blank_id
        if not model.durations:
            return tokens, blank.long()
        durations = torch.tensor(model.durations, device=logits.device)
        scores = logits[:, model.vocab_size :]
        if led:
            inside = _inside(blank[:, None], durations, place)
            inside |= ~inside.any(dim=1, keepdim=True)  # of rows that have ended, whose choice plays no part
            scores = scores.masked_fill(~inside, -torch.inf)
        return tokens, durations[pick(restricted_log_probs(scores, options), uniform[1])]

    return choose


def _inside(blank: torch.Tensor, steps: torch.Tensor, place: _Place) -> torch.Tensor:
    """Which arcs are in the lattice: blanks move on and may reach the end, tokens stay before it."""
    frame, length = (value.view(-1, *[1] * (blank.dim() - 1)) for value in place)
    return torch.where(blank, (steps > 0) & (frame + steps <= length), frame + steps < length)


def _walk(
    model: Transducer,
    encoded: TransducerEncoded,
    choose: _Choose,
    *,
    max_new_tokens: int,
    guard: LoopGuard | None = None,
) -> list[Walk]:
    """All rows side by side, a node per turn, until each has passed its last frame or was cut."""
    rows = torch.tensor(encoded.utterances, dtype=torch.long, device=encoded.frames.device)
    place = _Place(torch.zeros_like(rows), encoded.lengths[rows])
    walks = [Walk() for _ in encoded.utterances]
    going = list(range(len(walks)))
    prediction, state = _predict(model, rows.new_full((len(rows), 1), model.blank_id), None)
    while going:
        frame = place.frame.clamp(max=encoded.frames.shape[1] - 1)
        joint = model.core.joint
        logits = head_logits(joint.head, joint.activation(prediction + encoded.frames[rows, frame]))
        tokens, steps = choose(logits, place)
        inside = _inside(tokens == model.blank_id, steps, place)
        after = _Place(place.frame + steps, place.length)
        # One transfer from the device per turn.
        turns = torch.stack([tokens, steps, place.frame, inside, after.frame >= after.length], dim=1).tolist()
        place = after
        for row in going:
            token, step, at, valid, passed = turns[row]
            walk = walks[row]
            walk.astray = not valid
            if token != model.blank_id:
                walk.tokens.append(token)
                walk.frames.append(at)
                walk.spans.append(step if model.durations else 1)
                walk.stopped = guard is not None and bool(guard.max_period) and guard.period(walk.tokens) is not None
            walk.ended = bool(passed)
        # A greedy walk may leave the lattice at its end (a last token that lasts too long); a drawn one may not.
        lost = {row for row in going if walks[row].astray and guard is None}
        going = [
            row
            for row in going
            if row not in lost
            and not walks[row].ended
            and not walks[row].stopped
            and len(walks[row].tokens) < max_new_tokens
        ]
        if any(turn[0] != model.blank_id for turn in turns):
            prediction, state = _advance(model, tokens, prediction, state)
    return walks


_State = tuple[torch.Tensor, torch.Tensor]


def _predict(model: Transducer, ids: torch.Tensor, state: _State | None) -> tuple[torch.Tensor, _State]:
    """[rows, width] prediction after ``ids`` [rows, 1], and the state behind it."""
    decoder = model.core.decoder
    hidden, state = decoder.lstm(decoder.embedding(ids), state)
    return decoder.decoder_projector(hidden)[:, 0], state


def _advance(
    model: Transducer, tokens: torch.Tensor, prediction: torch.Tensor, state: _State
) -> tuple[torch.Tensor, _State]:
    """Prediction and state after this turn's tokens; rows with a blank keep theirs."""
    written = tokens != model.blank_id
    moved, after = _predict(model, tokens[:, None], state)
    hidden, cell = (torch.where(written[None, :, None], new, old) for new, old in zip(after, state, strict=True))
    return torch.where(written[:, None], moved, prediction), (hidden, cell)
