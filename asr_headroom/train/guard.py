"""The guard: what training delivers is not worse than the base, as far as dev and guard sets can tell.

Between the base's weights and the fine-tuned ones lies a straight line; a point part of the way along it often keeps
the gain and sheds the damage (WiSE-FT: Wortsman et al., 2022, arXiv:2109.01903; for low-rank updates, their scale). The
guard measures the base and a few points of that line on dev and on guard sets (another language, another domain,
silence and noise), compares each with the base utterance by utterance, and delivers one of them, or the base.

Read :func:`choose_point` for the rule, :func:`run_guard` for the work. Nothing here needs torch.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from asr_headroom.config import fingerprint
from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import TrainingError
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.metrics.significance import (
    MIN_CLUSTERS_TO_JUDGE,
    Clustering,
    Comparison,
    choose_clusters,
    compare_rates,
)
from asr_headroom.models.protocols import Recognizer
from asr_headroom.results.store import write_json
from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.units import unit_name

__all__ = [
    "EvaluationSet",
    "GuardOutcome",
    "GuardRecord",
    "Line",
    "Measure",
    "MeasuredSet",
    "Role",
    "choose_point",
    "describe_base",
    "harms",
    "next_point",
    "run_guard",
]

logger = logging.getLogger(__name__)

Role = Literal["target", "guard", "nonspeech", "timestamps", "long-form"]

_LEVEL = 0.05
_KEPT_SHARE = 0.8
"""Of the best point's gain on dev that a milder point must keep, beyond noise."""
_MILD = 0.75
"""Below this point a good part of the gain is lost on speakers that dev does not have, whatever dev says."""
_EXCHANGE = 10
"""Points of gain on dev that a point of harm on a guard set must buy to be tolerated."""
_RESAMPLES, _MOST_RESAMPLES, _BEYOND = 10_000, 200_000, 20
_FINEST = 1 / 16
"""Points nearer to each other than this are not told apart."""


class Line(Protocol):
    """The straight line from base to fine-tuned weights."""

    def move(self, alpha: float) -> None:
        """Puts the model at base + alpha × (fine-tuned - base)."""
        ...


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """Utterances on which base and points are compared.

    Attributes:
        name: for tables.
        role: ``target``: the dev set, where the gain must show; ``guard``: no harm wanted here; ``nonspeech``: silence
            and noise, where every word is a hallucination; ``timestamps``: a hypothesis whose times cannot be used is
            an error, and each utterance counts once; ``long-form``: utterances of dev joined to a minute.
        utterances: in the order in which they are taken when not all can be afforded.
        normalizer: of the scores.
    """

    name: str
    role: Role
    utterances: Sequence[Utterance]
    normalizer: Normalizer

    def first(self, count: int) -> EvaluationSet:
        """The set with its first ``count`` utterances; joined recordings are few, and all stay."""
        utterances = self.utterances if self.role == "long-form" else self.utterances[:count]
        return replace(self, utterances=utterances)

    @cached_property
    def clustering(self) -> Clustering:
        """What is resampled as a whole: speakers where there are enough, else sentences, else utterances."""
        if self.role in ("nonspeech", "long-form"):
            everyone = [utterance.id for utterance in self.utterances]
            clustering = choose_clusters([None] * len(everyone), everyone, "utterance")
            kind = "silence and noise of these kinds" if self.role == "nonspeech" else "long recordings of these voices"
            return replace(clustering, population=f"new {kind}")
        sentences = [self.normalizer(utterance.text) for utterance in self.utterances]
        return choose_clusters([utterance.speaker for utterance in self.utterances], sentences)

    def events(self, counts: Sequence[ErrorCounts]) -> np.ndarray:
        """[utterances] errors; on silence and noise, words (or characters) written."""
        return np.array([count.errors for count in counts], dtype=np.float64)

    def exposure(self, counts: Sequence[ErrorCounts]) -> np.ndarray:
        """[utterances] reference units; on silence and noise, minutes."""
        if self.role == "nonspeech":
            return np.array([utterance.measured_duration() / 60 for utterance in self.utterances])
        return np.array([count.reference_length for count in counts], dtype=np.float64)


Measure = Callable[[Recognizer, EvaluationSet], Sequence[ErrorCounts]]
"""Transcribes a set with the model as it stands and returns the counts of each utterance, in the normaliser's unit."""


class MeasuredSet:
    """One set at the base and at some points.

    Args:
        eval_set: what was transcribed.
        counts: of each utterance, by point; point 0.0 is the base.
        level: that the intervals are told apart from noise at.
    """

    def __init__(
        self,
        eval_set: EvaluationSet,
        counts: Mapping[float, Sequence[ErrorCounts]] | None = None,
        *,
        level: float = _LEVEL,
    ) -> None:
        self.eval_set, self._level = eval_set, level
        self.role = eval_set.role
        self._counts = dict(counts or {})
        self._compared: dict[tuple[float, float], Comparison] = {}

    def add(self, point: float, counts: Sequence[ErrorCounts]) -> None:
        """The counts at one more point."""
        self._counts[point] = counts

    def rate(self, point: float) -> float:
        """Errors per reference unit, or hallucinated units per minute."""
        counts = self._counts[point]
        return float(self.eval_set.events(counts).sum() / self.eval_set.exposure(counts).sum())

    def compare(self, point: float, other: float = 0.0) -> Comparison:
        """The point against another one, the base if none is given; paired and clustered."""
        if (point, other) not in self._compared:
            base, system = self._counts[other], self._counts[point]
            self._compared[point, other] = compare_rates(
                self.eval_set.events(base),
                self.eval_set.events(system),
                self.eval_set.exposure(base),
                self.eval_set.clustering,
                level=1 - self._level,
                # So that some of them lie beyond the interval's ends.
                resamples=max(_RESAMPLES, min(_MOST_RESAMPLES, math.ceil(_BEYOND / self._level))),
            )
        return self._compared[point, other]


@dataclass(frozen=True)
class GuardOutcome:
    """What the guard decided.

    Attributes:
        alpha: point delivered: 0 is the base, 1 the fine-tuned model.
        reason: why, in one sentence.
        facts: everything measured, as plain values for ``headroom.json`` and the page.
    """

    alpha: float
    reason: str
    facts: Mapping[str, Any]


def choose_point(points: Sequence[float], sets: Sequence[MeasuredSet], *, margin: float = 0.0) -> tuple[float, str]:
    """The point to deliver, and why.

    1. A point is *fit* when it beats the base on dev and harms no guard set. Both are paired comparisons at the 5 %
       level, divided by the number of points, and for harm also by the number of guard sets: the best of several points
       is better, and the worst worse, than any by chance. A guard set may lose up to ``margin``, but no more than a
       tenth of the gain; it objects when its interval lies beyond that.
    2. No fit point: the base, 0.0.
    3. Points below three quarters count only where none from there on is fit: half-way, dev sets by a few speakers
       promise more than speakers not in them get (``experiments/LOG.md``).
    4. Of the fit points that keep four fifths of the best point's gain on dev, beyond noise (the interval of what they
       lose against it, paired, stays within a fifth), the one nearest the base, as harm grows along the line.
    5. Where none keeps that much, the fit point with the largest gain.

    Args:
        points: measured points above 0.
        sets: the target first.
        margin: points of error rate (per cent) that a guard set may lose for a gain ten times as large. Silence and
            noise, which are counted per minute, tolerate nothing.
    """
    judged = _Judgement(points, sets, margin)
    if not judged.better:
        best = _change(judged.gains[min(points, key=lambda point: judged.gains[point].difference)])
        clustering = sets[0].eval_set.clustering
        # The p-value where all clusters agree, by the sign-flip test that so few are held to.
        if 2.0 ** (1 - clustering.num_clusters) >= _LEVEL / len(points):
            few = f"{clustering.num_clusters} clusters, by {clustering.by}: a gain in all of them could be chance"
            return 0.0, f"dev is too small to tell ({few}; the best: {best})"
        return 0.0, f"no point beats the base on dev beyond noise (the best: {best})"
    if not judged.fit:
        return 0.0, f"the gain on dev ({_change(judged.gains[judged.best])}) is paid for elsewhere: {judged.price()}"
    chosen = judged.chosen()
    reason = f"beats the base on dev ({_change(judged.gains[chosen])})"
    judges = [s for s in sets[1:] if s.eval_set.clustering.num_clusters >= MIN_CLUSTERS_TO_JUDGE]
    tolerated = judged.tolerated(chosen)
    if tolerated:
        reason += f"; within the margin: {', '.join(tolerated)}"
    elif judges:
        reason += f" and harms none of {len(judges)} guard sets beyond noise"
    for too_small in [s for s in sets[1:] if s not in judges]:
        reason += f"; {too_small.eval_set.name} is too small to tell"
    harmful = [point for point in judged.better if point > chosen and judged.harms[point]]
    if harmful:
        reason += f"; at {max(harmful):g} {judged.harms[max(harmful)][0]}"
    elif chosen < max(points):
        kept = judged.gains[chosen].difference / judged.gains[judged.best].difference
        reason += f"; keeps {kept:.0%} of the gain of {judged.best:g}"
    return chosen, reason


class _Judgement:
    """What the rule sees at each point."""

    def __init__(self, points: Sequence[float], sets: Sequence[MeasuredSet], margin: float) -> None:
        target, others = sets[0], sets[1:]
        self._target = target
        self.gains = {point: target.compare(point) for point in points}
        self.better = [
            point
            for point, gain in self.gains.items()
            if gain.verdict == "better" and gain.p_value < _LEVEL / len(points)
        ]
        level = _LEVEL / (len(points) * max(1, len(others)))
        self._others, self._level = others, level
        self.harms = {
            point: harms(point, others, min(margin / 100, -gain.difference / _EXCHANGE), level)
            for point, gain in self.gains.items()
        }
        fit = [point for point in self.better if not self.harms[point]]
        self.fit = [point for point in fit if point >= _MILD] or fit
        self.best = min(points, key=lambda point: (self.gains[point].difference, point))

    def keeps(self, point: float) -> bool:
        """It has four fifths of the best point's gain, noise allowed for."""
        lost = self._target.compare(point, self.best).interval.high
        return point == self.best or lost <= (1 - _KEPT_SHARE) * -self.gains[self.best].difference

    def chosen(self) -> float:
        """The fit point to deliver."""
        keeping = [point for point in self.fit if self.keeps(point)]
        return min(keeping) if keeping else min(self.fit, key=lambda point: self.gains[point].difference)

    def tolerated(self, point: float) -> list[str]:
        """The losses at a fit point that are more than noise, in words."""
        return harms(point, self._others, 0.0, self._level)

    def price(self) -> str:
        """What the gain costs, in words."""
        return next(self.harms[point][0] for point in sorted(self.better) if self.harms[point])


def next_point(points: Sequence[float], sets: Sequence[MeasuredSet], *, margin: float = 0.0) -> float | None:
    """Where measuring once more could change the choice; None where it could not any more.

    Gain and harm both grow along the line, so the point wanted is found by halving: towards the base from a point that
    would be delivered as it is, or whose gain is paid for; away from it where the choice gave up gain for want of a
    harmless point that keeps it. The first stop on the way to the base is three quarters, and a fit point there is the
    last.

    Args:
        points: measured points above 0; 1 is among them.
        sets: the target first.
        margin: see :func:`choose_point`.
    """
    judged = _Judgement(points, sets, margin)
    known = [0.0, *sorted(points)]
    if judged.fit:
        turn = judged.chosen()
        outward = not judged.keeps(turn) and turn < judged.best
    else:
        # Where a gain is paid for, the point wanted lies just below; where there is none, only milder ones are left.
        turn, outward = min(judged.better, default=known[1]), False
    place = known.index(turn)
    low, high = (turn, known[place + 1]) if outward else (known[place - 1], turn)
    if low < _MILD < high:
        return _MILD
    if not outward and turn == _MILD and turn in judged.fit:
        return None
    return (low + high) / 2 if high - low > _FINEST else None


def run_guard(
    model: Recognizer,
    line: Line,
    sets: Sequence[EvaluationSet],
    points: int,
    measure: Measure,
    record: GuardRecord,
    *,
    margin: float = 0.0,
    point_seconds: float = 0.0,
    fits: Callable[[float], bool] = lambda seconds: True,
    clock: Callable[[], float] = time.monotonic,
) -> GuardOutcome:
    """Measures base and points, chooses, and leaves the model at the point chosen.

    Args:
        model: what the line moves and ``measure`` transcribes with.
        line: from base to fine-tuned.
        sets: the target first.
        points: to measure at most, besides the base; the fine-tuned end always, others as long as they fit.
        measure: transcribes and counts.
        record: what was measured before a kill is not measured again.
        margin: see :func:`choose_point`.
        point_seconds: what a point is known to take; the longest measured counts otherwise.
        fits: whether the budget holds another point of so many seconds.
        clock: seconds.
    """
    counted = [MeasuredSet(eval_set) for eval_set in sets]
    measured: list[float] = []
    longest = point_seconds
    upcoming: float | None = 0.0
    while upcoming is not None:
        if not record.holds(upcoming, sets):
            if measured[1:] and not fits(longest):
                logger.info("guard: point %g is left out, the budget does not hold it", upcoming)
                break
            start = clock()
            line.move(upcoming)
            for eval_set in sets:
                record.measure(model, upcoming, eval_set, measure)
            longest = max(longest, clock() - start)
        measured.append(upcoming)
        for measured_set in counted:
            measured_set.add(upcoming, record.counts(upcoming, measured_set.eval_set))
        tried = measured[1:]
        if len(tried) == points:
            break
        upcoming = next_point(tried, counted, margin=margin) if tried else 1.0
    alpha, reason = choose_point(sorted(tried), counted, margin=margin)
    line.move(alpha)
    return GuardOutcome(alpha, reason, {"alpha": alpha, "reason": reason} | describe(sorted(measured), counted))


def describe_base(reason: str, sets: Sequence[EvaluationSet], record: GuardRecord) -> GuardOutcome:
    """The outcome when there is nothing to choose: the base is delivered, with what was measured of it."""
    counted = [MeasuredSet(s, {0.0: record.counts(0.0, s)}) for s in sets if record.holds(0.0, [s])]
    return GuardOutcome(0.0, reason, {"alpha": 0.0, "reason": reason} | describe([0.0], counted))


def describe(points: Sequence[float], sets: Sequence[MeasuredSet]) -> dict[str, Any]:
    """Points and sets as plain values: rates by point, and their differences from the base with intervals."""
    return {"points": list(points), "sets": [_describe_set(points, measured) for measured in sets]}


class GuardRecord:
    """Counts measured so far, on disk after each set and point, so that a killed guard goes on where it was.

    Args:
        path: of the JSON file; None keeps counts in memory only.
        base: what the base is; counts of another are not used.
        tuned: what the other end of the line is; the base's counts do not depend on it.
        writes: False on processes that only read.

    Raises:
        TrainingError: the file is damaged.
    """

    def __init__(self, path: Path | None, *, base: Any, tuned: str = "", writes: bool = True) -> None:
        self._path, self._identity, self._tuned = path, fingerprint(base), tuned
        self._writes = writes
        self._counts: dict[str, dict[str, list[list[int]]]] = {}
        if path and path.is_file():
            try:
                stored = json.loads(path.read_text(encoding="utf-8"))
                self._counts = stored["counts"] if stored["identity"] == self._identity else {}
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise TrainingError(f"{path}: cannot be read ({error}); delete it, the guard measures again") from error

    def holds(self, point: float, sets: Sequence[EvaluationSet]) -> bool:
        """Whether all sets were measured at the point."""
        return all(_key(s) in self._counts.get(self._row(point), {}) for s in sets)

    def counts(self, point: float, eval_set: EvaluationSet) -> list[ErrorCounts]:
        """What was measured."""
        return [ErrorCounts(*row) for row in self._counts[self._row(point)][_key(eval_set)]]

    def measure(self, model: Recognizer, point: float, eval_set: EvaluationSet, measure: Measure) -> None:
        """Measures one set at one point, unless that was done."""
        row = self._counts.setdefault(self._row(point), {})
        if _key(eval_set) in row:
            return
        row[_key(eval_set)] = [
            [count.hits, count.substitutions, count.deletions, count.insertions] for count in measure(model, eval_set)
        ]
        if self._path and self._writes:
            write_json(self._path, {"identity": self._identity, "counts": self._counts})

    def _row(self, point: float) -> str:
        return f"{self._tuned} x {point:g}" if point else "base"


def _key(eval_set: EvaluationSet) -> str:
    """Name and content: a set of other utterances is another set."""
    ids = [(utterance.id, utterance.text) for utterance in eval_set.utterances]
    return f"{eval_set.name} {fingerprint([ids, eval_set.normalizer.hash])}"


def harms(point: float, sets: Sequence[MeasuredSet], tolerance: float, level: float) -> list[str]:
    """The sets on which the point is worse than the base beyond noise and a loss of ``tolerance``, in words."""
    found = []
    for measured in sets:
        comparison = measured.compare(point)
        tolerated = max(0.0, tolerance) if measured.role == "guard" else 0.0
        is_worse = comparison.verdict == "worse" and comparison.p_value < level
        if is_worse and comparison.interval.low > tolerated:
            found.append(f"{measured.eval_set.name} gets worse by {_amount(comparison, measured)}")
    return found


def _describe_set(points: Sequence[float], measured: MeasuredSet) -> dict[str, Any]:
    eval_set = measured.eval_set
    comparisons = [measured.compare(point) for point in points]
    languages = {utterance.language for utterance in eval_set.utterances}
    return {
        "name": eval_set.name,
        "role": eval_set.role,
        "unit": eval_set.normalizer.unit,
        "language": languages.pop() if len(languages) == 1 else None,
        "utterances": len(eval_set.utterances),
        "clusters": eval_set.clustering.num_clusters,
        "cluster_by": eval_set.clustering.by,
        "population": eval_set.clustering.population,
        "rates": [measured.rate(point) for point in points],
        "differences": [comparison.difference for comparison in comparisons],
        "ci_low": [comparison.interval.low for comparison in comparisons],
        "ci_high": [comparison.interval.high for comparison in comparisons],
        "p_values": [comparison.p_value for comparison in comparisons],
    }


def _change(comparison: Comparison) -> str:
    low, high = 100 * comparison.interval.low, 100 * comparison.interval.high
    return f"{100 * comparison.difference:+.2f} points, {low:+.2f} to {high:+.2f}"


def _amount(comparison: Comparison, measured: MeasuredSet) -> str:
    if measured.role == "nonspeech":
        unit = measured.eval_set.normalizer.unit
        return f"{comparison.difference:.1f} {unit_name(unit)} per minute ({comparison.interval.low:+.1f} at least)"
    return f"{100 * comparison.difference:.2f} points ({100 * comparison.interval.low:+.2f} at least)"
