"""Edit operations between two unit sequences: the one edit distance of the project, by rapidfuzz."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from rapidfuzz.distance import Levenshtein

__all__ = ["Block", "align"]

Operation = Literal["equal", "substitute", "delete", "insert"]


class Block(NamedTuple):
    """One unit of the reference, of the hypothesis, or of both.

    ``reference`` is None for an insertion, ``hypothesis`` is None for a deletion.
    """

    operation: Operation
    reference: str | None
    hypothesis: str | None


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> list[Block]:
    """A minimal alignment, left to right, one block per unit.

    Substitution, deletion and insertion cost 1 each (Levenshtein, 1966).

    >>> [block.operation for block in align("un chat noir".split(), "un chien".split())]
    ['equal', 'substitute', 'delete']
    """
    blocks = []
    for step in Levenshtein.opcodes(reference, hypothesis):
        # A stretch of "replace" is as long on both sides, so it pairs off like "equal".
        left = reference[step.src_start : step.src_end]
        right = hypothesis[step.dest_start : step.dest_end]
        if step.tag == "equal":
            blocks += [Block("equal", *pair) for pair in zip(left, right, strict=True)]
        elif step.tag == "replace":
            blocks += [Block("substitute", *pair) for pair in zip(left, right, strict=True)]
        elif step.tag == "delete":
            blocks += [Block("delete", unit, None) for unit in left]
        else:
            blocks += [Block("insert", None, unit) for unit in right]
    return blocks
