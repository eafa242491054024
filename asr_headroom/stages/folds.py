"""A corpus cut into folds, so that no clip is judged by a model that trained on it, on its speaker or its sentence."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import DataError
from asr_headroom.text.normalize import Normalizer

__all__ = ["split_folds"]

logger = logging.getLogger(__name__)

_KEPT_SHARE = 0.5
"""Of the other folds' clips, that must be left where those with a sentence of this fold are left out."""


def split_folds(
    utterances: Sequence[Utterance], normalizer: Normalizer, folds: int, seed: int
) -> list[tuple[list[int], list[int]]]:
    """Which clips each fold judges, and which its model learns from: other speakers, and other sentences.

    Speakers are dealt out whole, the next one to the smallest fold; without enough of them, clips are. Clips whose
    sentence the fold has too are not learnt from, unless most clips would be lost: then everybody reads the same
    sentences, and only the clip itself is new to the model, which is said.

    Args:
        utterances: of the corpus.
        normalizer: under which sentences are compared.
        folds: their number, at least 2.
        seed: of the order.

    Returns:
        [folds] indices that are judged, and indices that are learnt from.

    Raises:
        DataError: fewer clips than folds.
    """
    if len(utterances) < 2 * folds:
        raise DataError(f"{len(utterances)} utterances cannot be cut into {folds} folds; use --no-fit")
    speakers = [utterance.speaker for utterance in utterances]
    known = None not in speakers and len(set(speakers)) >= 2 * folds
    groups: dict[Any, list[int]] = {}
    for index, speaker in enumerate(speakers):
        groups.setdefault(speaker if known else index, []).append(index)
    if not known:
        logger.warning("too few speakers are known; the folds are cut by clip, and share speakers")
    order = list(groups.values())
    members: list[list[int]] = [[] for _ in range(folds)]
    for place in np.random.default_rng(seed).permutation(len(order)):
        min(members, key=len).extend(order[place])
    sentences = [normalizer(utterance.text) for utterance in utterances]
    parts = []
    for fold in members:
        mine, own = set(fold), {sentences[index] for index in fold}
        others = [index for index in range(len(utterances)) if index not in mine]
        fresh = [index for index in others if sentences[index] not in own]
        if len(fresh) < _KEPT_SHARE * len(others):
            logger.warning("most sentences are read by speakers of several folds; models know them, though no clip")
            fresh = others
        parts.append((sorted(fold), fresh))
    return parts
