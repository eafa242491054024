"""Guard sets watched while a model trains: once harm is certain, the steps still to come are not worth their time.

The guard after training would scale such a model back or drop it; this spares the minutes. At each evaluation every
guard set is compared with the base, utterance by utterance, at the 5 % level divided by evaluations and sets
(Bonferroni), so that watching often stops a harmless run no more often than looking once would, be its harm
nothing or just the margin: interval and p-value are at the same level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.protocols import Recognizer
from asr_headroom.train.guard import EvaluationSet, Measure, MeasuredSet, harms

__all__ = ["DamageWatch"]

_LEVEL = 0.05


class DamageWatch:
    """What the guard sets say of a model on its way.

    Args:
        sets: the guard's, without dev; none watches nothing.
        measure: transcribes and counts.
        margin: points of error rate that a set may lose; silence and noise may lose nothing.
        stored: counts of an earlier session, by step and set, as ``save`` got them.
        save: keeps them.
    """

    def __init__(
        self,
        sets: Sequence[EvaluationSet],
        measure: Measure,
        *,
        margin: float,
        stored: Mapping[str, Any],
        save: Callable[[dict[str, Any]], None],
    ) -> None:
        self._sets, self._measure, self._margin, self._save = sets, measure, margin, save
        self._counts: dict[str, Any] = dict(stored)

    def look(self, model: Recognizer, step: int, utterances: int) -> None:
        """Measures the model as it stands; step 0 is the base.

        Args:
            model: the model.
            step: steps taken.
            utterances: of each set, at most.
        """
        if not self._sets:
            return
        self._counts[str(step)] = [
            [
                [count.hits, count.substitutions, count.deletions, count.insertions]
                for count in self._measure(model, eval_set.first(utterances))
            ]
            for eval_set in self._sets
        ]
        self._save(self._counts)

    def damage(self, step: int, evaluations: int) -> str | None:
        """What got worse beyond the margin and beyond noise, in words; None where nothing did.

        Args:
            step: at which :meth:`look` was called.
            evaluations: that the run plans in all.
        """
        if not self._sets or step == 0:
            return None
        level = _LEVEL / (max(1, evaluations) * len(self._sets))
        measured = [self._measured(index, step, level) for index in range(len(self._sets))]
        found = harms(1.0, measured, self._margin / 100, level)
        return "; ".join(found) or None

    def _measured(self, index: int, step: int, level: float) -> MeasuredSet:
        base, now = ([ErrorCounts(*row) for row in self._counts[str(at)][index]] for at in (0, step))
        return MeasuredSet(self._sets[index].first(len(base)), {0.0: base, 1.0: now}, level=level)
