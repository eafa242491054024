"""The speech that pretraining meets, in the order in which it meets it: a function of the config alone.

Utterances are synthesised in pools, ahead of the training. Within a pool, those of about one length share a
batch.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Generator, Sequence
from contextlib import closing

import numpy as np

from asr_headroom.lab.lexicon import Split
from asr_headroom.lab.settings import FRAME_SECONDS, WINDOW_SECONDS, PretrainConfig
from asr_headroom.lab.speech import Shard, SpeechRecipe, SpokenSentence, render, shards

__all__ = ["POOL_BATCHES", "bucket", "held_out", "pools", "window_frames"]

POOL_BATCHES = 100
"""Batches of one pool."""

_WINDOW_FRAMES = round(WINDOW_SECONDS / FRAME_SECONDS)


def window_frames(sentences: Sequence[SpokenSentence], config: PretrainConfig, step: int) -> int:
    """Encoder frames for a batch: what its longest utterance needs, mostly little more, sometimes all."""
    random = np.random.default_rng([config.seed, 1, step])
    if random.random() < config.full_window_share:
        return _WINDOW_FRAMES
    needed = min(_WINDOW_FRAMES, math.ceil(max(sentence.duration for sentence in sentences) / FRAME_SECONDS))
    return needed + int((_WINDOW_FRAMES - needed) * random.random() ** 4)


def bucket(sentences: list[SpokenSentence], config: PretrainConfig, pool: int) -> list[list[SpokenSentence]]:
    """A pool as shuffled batches of utterances of about the same length."""
    random = np.random.default_rng([config.seed, 0, pool])
    durations = [sentence.duration for sentence in sentences] + 0.1 * random.standard_normal(len(sentences))
    order = np.argsort(durations, kind="stable").reshape(-1, config.batch_size)
    return [[sentences[index] for index in order[row]] for row in random.permutation(len(order))]


def pools(config: PretrainConfig, first: int) -> Generator[list[SpokenSentence], None, None]:
    """Endless pools from number ``first`` on; the next is synthesised while one is trained on."""
    per_pool = len(_pool_shards(config, 0))
    pieces = (piece for pool in itertools.count(first) for piece in _pool_shards(config, pool))
    with closing(render(pieces, processes=config.processes, ahead=per_pool + 2)) as rendered:
        while True:
            yield list(itertools.chain.from_iterable(itertools.islice(rendered, per_pool)))


def _pool_shards(config: PretrainConfig, pool: int) -> list[Shard]:
    size = POOL_BATCHES * config.batch_size
    mandarin, english = round(size * config.mandarin_share), round(size * config.english_share)
    counts = {"fr": size - mandarin - english, "zh": mandarin, "en": english}
    # Seeds of pools and of the users' own corpora must not meet.
    seed = -(1 + pool + 1_000_000 * config.seed)
    return [
        piece
        for language, count in counts.items()
        if count
        for piece in shards(SpeechRecipe(language=language, split="train", count=count, seed=seed))
    ]


@functools.cache
def held_out(language: str, split: Split, count: int) -> list[SpokenSentence]:
    """Utterances of a held-out split: neither their sentences nor their voices occur in training."""
    recipe = SpeechRecipe(language=language, split=split, count=count)
    return list(itertools.chain.from_iterable(render(shards(recipe))))
