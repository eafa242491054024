"""Who shares a table, how systems of one name are told apart, and which of them is whose base."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from asr_headroom.results.store import Results

__all__ = ["choose_bases", "key_of_test", "unique_names"]


def key_of_test(results: Results) -> tuple[str, str, str]:
    """What makes two tests the same: the declared name and fingerprint, and the rows really there."""
    digest = hashlib.sha256()
    for pair in sorted((p.id, p.reference) for p in results.predictions):
        digest.update(repr(pair).encode())
    data = results.run.data
    return str(data.get("name", "")), str(data.get("fingerprint", "")), digest.hexdigest()


def unique_names(group: Sequence[Results]) -> list[str]:
    """Names of the systems; those that occur twice are told apart by window, by directory, or by a number."""
    times = Counter(results.run.name for results in group)
    windows = {name: [r.run.decoding.get("window") for r in group if r.run.name == name] for name in times}
    names: list[str] = []
    for index, results in enumerate(group):
        name = results.run.name
        if times[name] > 1 and None not in windows[name] and len(set(windows[name])) == times[name]:
            name = f"{name} [window {results.run.decoding['window']}]"
        elif times[name] > 1:
            name = f"{name} [{results.path.name if results.path else index + 1}]"
            name = name if name not in names else f"{name} {index + 1}"
        names.append(name)
    return names


def choose_bases(group: Sequence[Results], base: str | None, notes: list[str]) -> list[int | None]:
    """[systems] index of each system's base in the group; what was assumed is added to ``notes``.

    A run's parent is its base. Where no run of the group has its parent there, the first of two is taken, and the
    first of any number of prediction files, which cannot name a parent.
    """
    index = {results.run.name: i for i, results in reversed(list(enumerate(group)))}
    if base is not None:
        return [index.get(base) if results.run.name != base else None for results in group]
    parents = [results.run.parent for results in group]
    # A parent that was benched twice is taken as it was decoded with the child's settings.
    alike = {(r.run.name, r.run.decoding_hash): i for i, r in reversed(list(enumerate(group)))}
    bases = [
        alike.get((p, r.run.decoding_hash), index.get(p)) if p is not None and p != r.run.name else None
        for p, r in zip(parents, group, strict=True)
    ]
    if all(choice is None for choice in bases) and len(group) == 2:
        notes.append(f"neither run names the other as its parent; '{group[0].run.name}' is taken as the base")
        return [None, 0]
    if len(group) > 2 and all(r.run.kind == "import" and r.run.parent is None for r in group):
        notes.append(f"prediction files name no parent; the first, '{group[0].run.name}', is taken as the base of all")
        return [None, *([0] * (len(group) - 1))]
    orphans: dict[str, list[str]] = {}
    for results, choice in zip(group, bases, strict=True):
        if results.run.parent is not None and choice is None:
            orphans.setdefault(results.run.parent, []).append(results.run.name)
    for parent, names in orphans.items():
        notes.append(
            f"{', '.join(names)}: no difference is given, because the parent '{parent}' is not among these runs "
            "on these utterances"
        )
    return bases
