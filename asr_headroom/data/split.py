"""Train, dev and test that share no speaker and no sentence; subsets by hours.

Utterances that share a speaker or a normalised sentence belong together, and so, in turn, do theirs: such
*groups* are the connected components of the manifest, and a split deals out whole groups. A corpus in which
every speaker reads the same sentences is one group, and cannot be split; :func:`split_manifest` says so with
the numbers.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from asr_headroom.data.manifest import Manifest, Utterance
from asr_headroom.errors import DataError, UsageError
from asr_headroom.text.normalize import normalizer_for_language

__all__ = ["Splits", "connected_groups", "split_manifest", "subset_hours"]

_TOLERANCE = 0.5
"""A split may miss its wanted size by half of it, because only whole groups move."""


class Splits(NamedTuple):
    """Three manifests that share neither speaker nor sentence."""

    train: Manifest
    dev: Manifest
    test: Manifest


def split_manifest(manifest: Manifest, *, dev: float, test: float, seed: int = 42) -> Splits:
    """Deals the groups of a manifest out, in a seeded order, to test, then dev, then train.

    Utterances of an unknown speaker are kept apart by their sentence alone.

    Args:
        manifest: what to split; each part keeps its order.
        dev: below 1 a fraction of the utterances, from 1 on their number.
        test: likewise.
        seed: of the order of the groups.

    Raises:
        DataError: the groups are too large for the wanted sizes.
        UsageError: the sizes or the seed are negative, or the sizes leave nothing to train on.
    """
    if seed < 0:
        raise UsageError(f"--seed is {seed}; it must be at least 0")
    wanted = {"test": _number(test, len(manifest), "test"), "dev": _number(dev, len(manifest), "dev")}
    if sum(wanted.values()) >= len(manifest):
        raise UsageError(
            f"dev {wanted['dev']} and test {wanted['test']} leave nothing of {len(manifest)} utterances to train on"
        )
    groups = connected_groups(manifest)
    order = [groups[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    parts: dict[str, list[int]] = {}
    for name, size in wanted.items():
        chosen, order = _fill(order, size)
        parts[name] = sorted(index for group in chosen for index in group)
        if abs(len(parts[name]) - size) > _TOLERANCE * size:
            raise DataError(_impossible(manifest, groups, name, size))
    parts["train"] = sorted(index for group in order for index in group)
    if not parts["train"]:
        raise DataError(_impossible(manifest, groups, "train", len(manifest) - sum(wanted.values())))
    return Splits(*(_part(manifest, name, parts[name]) for name in Splits._fields))


def subset_hours(manifest: Manifest, hours: float, seed: int = 42) -> Manifest:
    """Utterances drawn at random until ``hours`` are reached, in the order of the manifest.

    The same seed gives nested subsets: the first hour is part of the first two, so that a learning curve
    compares like with like.

    Raises:
        DataError: the manifest holds fewer hours.
        UsageError: ``hours`` is not positive.
    """
    if not hours > 0:
        raise UsageError(f"hours is {hours}; it must be positive")
    chosen, seconds = [], 0.0
    for index in np.random.default_rng(seed).permutation(len(manifest)):
        if seconds >= hours * 3600:
            break
        chosen.append(int(index))
        seconds += manifest[int(index)].measured_duration()
    if seconds < hours * 3600:
        raise DataError(f"{manifest.name}: holds {seconds / 3600:.2f} h, fewer than the {hours:g} h asked for")
    return _part(manifest, f"{hours:g}h", sorted(chosen))


def connected_groups(utterances: Sequence[Utterance]) -> list[list[int]]:
    """Indices of utterances that are linked by a speaker or a sentence, in order of their first member.

    Sentences are compared after our normaliser of their language; an empty one links nothing.
    """
    parents = list(range(len(utterances)))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    first: dict[Hashable, int] = {}
    for i, utterance in enumerate(utterances):
        sentence = normalizer_for_language(utterance.language)(utterance.text)
        for kind, value in (("speaker", utterance.speaker), ("sentence", sentence)):
            if value:
                a, b = root(first.setdefault((kind, value), i)), root(i)
                parents[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = defaultdict(list)
    for i in range(len(utterances)):
        groups[root(i)].append(i)
    return list(groups.values())


def _fill(groups: Sequence[list[int]], size: int) -> tuple[list[list[int]], list[list[int]]]:
    """Groups in their order as long as they fit, then one more where that comes closer; and the others."""
    chosen: list[list[int]] = []
    rest: list[list[int]] = []
    missing = size
    for group in groups:
        if len(group) <= missing:
            chosen.append(group)
            missing -= len(group)
        else:
            rest.append(group)
    smallest = min(rest, key=len, default=None)
    if smallest is not None and abs(len(smallest) - missing) < missing:
        chosen.append(smallest)
        rest = [group for group in rest if group is not smallest]
    return chosen, rest


def _number(size: float, total: int, name: str) -> int:
    if not size >= 0 or (size >= 1 and size != int(size)):
        raise UsageError(f"--{name} is {size}; give a fraction below 1 or a number of utterances")
    if size >= 1 or size == 0:
        return int(size)
    return max(1, round(size * total))


def _impossible(manifest: Manifest, groups: Sequence[list[int]], name: str, size: int) -> str:
    sizes = sorted(map(len, groups), reverse=True)
    largest = max(groups, key=len)
    num_speakers = len({manifest[i].speaker for i in largest if manifest[i].speaker is not None})
    return (
        f"{manifest.name}: no speaker- and sentence-disjoint {name} of about {size} utterances is possible: "
        f"{len(groups)} groups are linked by a speaker or a sentence, the largest holds {sizes[0]} of "
        f"{len(manifest)} utterances ({num_speakers} speakers), the smallest {sizes[-1]}; "
        "remove repeated sentences or ask for another size"
    )


def _part(manifest: Manifest, name: str, indices: Sequence[int]) -> Manifest:
    return dataclasses.replace(
        manifest, name=f"{manifest.name}/{name}", utterances=[manifest[i] for i in indices], problems=()
    )
