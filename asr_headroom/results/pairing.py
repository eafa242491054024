"""The same utterances in the same order for two systems, or a refusal that names the difference.

Utterances are paired by id. Files without ids got theirs from the references (:func:`content_ids`), so a run and such
a file are paired by what was said: where a sentence was read several times, the readings follow the order of the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from asr_headroom.errors import ResultsError

if TYPE_CHECKING:
    from asr_headroom.results.schema import Prediction
    from asr_headroom.results.store import Results

__all__ = ["GAP", "content_ids", "has_content_ids", "pair_results"]

GAP = "inter_segment_gap"
"""sclite's name for the time between segments; an utterance without reference that only some systems put words in."""


def content_ids(references: Iterable[str]) -> list[str]:
    """Ids made from what was said: ten hexadecimal digits of the SHA-1 of the raw reference, and its occurrence.

    >>> content_ids(["a", "b", "a"])
    ['86f7e437fa-1', 'e9d71f5ee7-1', '86f7e437fa-2']
    """
    times: Counter[str] = Counter()
    ids = []
    for text in references:
        digest = hashlib.sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:10]
        times[digest] += 1
        ids.append(f"{digest}-{times[digest]}")
    return ids


def has_content_ids(results: Results) -> bool:
    """Whether the ids were made by :func:`content_ids`, because the file had none."""
    return results.run.data.get("ids") == "content"


def pair_results(base: Results, system: Results, *, intersect: bool = False) -> tuple[Results, Results]:
    """Both systems on the same utterances in the same order.

    Args:
        base: defines the order.
        system: the other.
        intersect: keep the shared utterances instead of refusing sets that differ.

    Raises:
        ResultsError: the sets of ids differ and ``intersect`` is off, they share none, or a shared id has
            another reference in each.
    """
    if has_content_ids(base) != has_content_ids(system):
        base, system = _named_by_content(base), _named_by_content(system)
    base, system = _with_gaps_of(base, system), _with_gaps_of(system, base)
    of_base = {prediction.id: prediction for prediction in base.predictions}
    of_system = {prediction.id: prediction for prediction in system.predictions}
    shared = [id_ for id_ in of_base if id_ in of_system]
    only_base = [prediction for id_, prediction in of_base.items() if id_ not in of_system]
    only_system = [prediction for id_, prediction in of_system.items() if id_ not in of_base]
    names = f"'{base.run.name}' and '{system.run.name}'"
    if not shared:
        raise ResultsError(
            f"{names} share no utterance{_examples(only_base, only_system)}; they are not the same test, "
            "or name its utterances differently"
        )
    if (only_base or only_system) and not intersect:
        raise ResultsError(
            f"{names} were not tested on the same utterances: {len(shared)} shared, {len(only_base)} only in the "
            f"first, {len(only_system)} only in the second{_examples(only_base, only_system)}; "
            "finish both runs, or compare the shared ones with --intersect"
        )
    for id_ in shared:
        if of_base[id_].reference != of_system[id_].reference:
            raise ResultsError(
                f"utterance '{id_}' has two references: {of_base[id_].reference!r} in '{base.run.name}' and "
                f"{of_system[id_].reference!r} in '{system.run.name}'; test both on the same manifest"
            )
    return (
        dataclasses.replace(base, predictions=[of_base[id_] for id_ in shared]),
        dataclasses.replace(system, predictions=[of_system[id_] for id_ in shared]),
    )


def _named_by_content(results: Results) -> Results:
    if has_content_ids(results):
        return results
    ids = content_ids(prediction.reference for prediction in results.predictions)
    predictions = [dataclasses.replace(p, id=id_) for p, id_ in zip(results.predictions, ids, strict=True)]
    return dataclasses.replace(results, predictions=predictions)


def _with_gaps_of(results: Results, other: Results) -> Results:
    """The results with an empty output in each gap between segments that only the other system filled."""
    own = {prediction.id for prediction in results.predictions}
    gaps = [p for p in other.predictions if p.speaker == GAP and not p.reference and p.id not in own]
    if not gaps or not any(prediction.extras.get("recording") for prediction in results.predictions):
        return results
    silent = [dataclasses.replace(gap, hypothesis="") for gap in gaps]
    return dataclasses.replace(results, predictions=[*results.predictions, *silent])


def _examples(only_base: Sequence[Prediction], only_system: Sequence[Prediction]) -> str:
    sides = (("first", only_base), ("second", only_system))
    shown = [f"the {side} has {_example(only[0])}" for side, only in sides if only]
    return f" ({'; '.join(shown)})" if shown else ""


def _example(prediction: Prediction) -> str:
    text = prediction.reference if len(prediction.reference) <= 40 else prediction.reference[:37] + "..."
    return f"'{prediction.id}', {text!r}"
