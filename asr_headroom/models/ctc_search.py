"""Prefix beam search over the frames of a CTC model: the likeliest texts, not the likeliest paths. NumPy only.

Each prefix keeps two totals, over the paths that end in a blank and in its last token (Hannun et al., 2014,
arXiv:1408.2873; without a language model). With a beam that holds every prefix the totals are exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Prefix", "collapse", "prefix_beam_search"]


class Prefix(NamedTuple):
    """One text that was found.

    Attributes:
        token_ids: without blanks.
        log_prob: natural logarithm, summed over the paths that the beam followed; a lower bound.
    """

    token_ids: tuple[int, ...]
    log_prob: float


def collapse(path: list[int], blank_id: int) -> tuple[int, ...]:
    """A path through the frames as tokens: repetitions count once, blanks not at all.

    >>> collapse([0, 3, 3, 0, 3, 5], blank_id=0)
    (3, 3, 5)
    """
    previous = [blank_id, *path]
    return tuple(token for before, token in zip(previous, path, strict=False) if token not in (before, blank_id))


def prefix_beam_search(
    log_probs: np.ndarray, beam_size: int, blank_id: int, *, tokens_per_frame: int | None = None
) -> list[Prefix]:
    """The likeliest texts of one utterance.

    Args:
        log_probs: [frames, vocab] natural logarithm.
        beam_size: prefixes kept after each frame.
        blank_id: of the blank.
        tokens_per_frame: only so many of the likeliest tokens can begin in a frame; None allows all.

    Returns:
        at most ``beam_size`` of them, the best first.
    """
    log_probs = np.asarray(log_probs, dtype=np.float64)
    parents, tokens, children = [-1], [-1], dict[tuple[int, int], int]()  # a tree of prefixes; node 0 is empty
    beam = np.zeros(1, dtype=np.int64)
    in_blank, in_token = np.zeros(1), np.full(1, -np.inf)
    with np.errstate(invalid="ignore"):
        for frame in log_probs:
            last = np.array([tokens[node] for node in beam])
            total = np.logaddexp(in_blank, in_token)
            stay_blank = total + frame[blank_id]
            stay_token = np.where(last >= 0, in_token + frame[last], -np.inf)
            columns = _candidates(frame, blank_id, tokens_per_frame)
            grown = total[:, None] + frame[columns]
            # The same token again needs a blank between.
            rows, places = np.nonzero(last[:, None] == columns)
            grown[rows, places] = in_blank[rows] + frame[last[rows]]
            where = {int(node): row for row, node in enumerate(beam)}
            for row, node in enumerate(beam):
                origin = where.get(parents[node])
                place = np.searchsorted(columns, last[row]) if origin is not None else len(columns)
                if origin is not None and place < len(columns) and columns[place] == last[row]:
                    stay_token[row] = np.logaddexp(stay_token[row], grown[origin, place])
                    grown[origin, place] = -np.inf
            kept, in_blank, in_token = _prune(stay_blank, stay_token, grown, columns, beam_size)
            nodes = list[int]()
            for row, token in kept:
                prefix = int(beam[row])
                if token >= 0 and (prefix, token) not in children:
                    children[prefix, token] = len(parents)
                    parents.append(prefix)
                    tokens.append(token)
                nodes.append(prefix if token < 0 else children[prefix, token])
            beam = np.array(nodes, dtype=np.int64)
    return [
        Prefix(_spell(int(node), parents, tokens), float(np.logaddexp(blank, token)))
        for node, blank, token in zip(beam, in_blank, in_token, strict=True)
    ]


def _candidates(frame: np.ndarray, blank_id: int, tokens_per_frame: int | None) -> np.ndarray:
    """[tokens] rising ids that can begin in this frame, the blank not among them."""
    columns = np.delete(np.arange(len(frame)), blank_id)
    if tokens_per_frame is None or tokens_per_frame >= len(columns):
        return columns
    return np.sort(columns[np.argpartition(-frame[columns], tokens_per_frame)[:tokens_per_frame]])


def _prune(
    stay_blank: np.ndarray, stay_token: np.ndarray, grown: np.ndarray, columns: np.ndarray, beam_size: int
) -> tuple[list[tuple[int, int]], np.ndarray, np.ndarray]:
    """The best of what stays and what grows: (row, new token or -1) of each, and the two totals [beam]."""
    count = len(stay_blank)
    totals = np.concatenate([np.logaddexp(stay_blank, stay_token), grown.ravel()])
    best = np.argsort(-totals, kind="stable")[:beam_size]
    best = best[totals[best] > -np.inf]
    kept = []
    for place in best.tolist():
        row, column = (place, -1) if place < count else divmod(place - count, len(columns))
        kept.append((row, int(columns[column]) if column >= 0 else -1))
    stays = best < count
    inside = np.where(stays, best, 0)
    return kept, np.where(stays, stay_blank[inside], -np.inf), np.where(stays, stay_token[inside], totals[best])


def _spell(node: int, parents: list[int], tokens: list[int]) -> tuple[int, ...]:
    spelled = []
    while node:
        spelled.append(tokens[node])
        node = parents[node]
    return tuple(reversed(spelled))
