"""What training's guard measured, as it stands in a result: read and checked, never measured again.

After training, points on the line from the base (0) to the fine-tuned weights (1) are tried; one of them is
delivered. Start with :func:`read_guard`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from asr_headroom.errors import ResultsError
from asr_headroom.metrics.significance import MIN_CLUSTERS_TO_JUDGE
from asr_headroom.results.schema import RunInfo
from asr_headroom.text.units import Unit

__all__ = ["GuardFacts", "GuardRole", "GuardSet", "read_guard"]

GuardRole = Literal["target", "guard", "nonspeech", "timestamps", "long-form"]


@dataclass(frozen=True, kw_only=True)
class GuardSet:
    """One set that the guard measured at every point.

    Attributes:
        name: of the set.
        role: ``target`` is the dev set, ``guard`` may veto, ``nonspeech`` holds silence and noise, ``timestamps``
            counts hypotheses whose times cannot be used, ``long-form`` holds utterances of dev joined to a minute.
        unit: of the rates.
        language: None where unknown or mixed.
        rates: [points] errors per reference unit; of non-speech, units put out per minute of audio.
        differences: [points] rate minus that of the base; negative is better.
        intervals: [points] 95 % interval of each difference; None where there is none.
        num_clusters: that intervals resampled; None where not stated.
    """

    name: str
    role: GuardRole
    unit: Unit
    language: str | None
    rates: tuple[float, ...]
    differences: tuple[float, ...]
    intervals: tuple[tuple[float, float] | None, ...]
    num_clusters: int | None = None

    def verdict(self, point: int) -> Literal["better", "worse", "cannot tell"]:
        """Of the point against the base: by its interval, never with too few clusters."""
        interval = self.intervals[point]
        if interval is None or (self.num_clusters or MIN_CLUSTERS_TO_JUDGE) < MIN_CLUSTERS_TO_JUDGE:
            return "cannot tell"
        if interval[1] < 0:
            return "better"
        return "worse" if interval[0] > 0 else "cannot tell"


@dataclass(frozen=True, kw_only=True)
class GuardFacts:
    """What was measured on the line from the base to the fine-tuned weights, and what was delivered.

    Attributes:
        alpha: delivered point; 0 is the base itself, 1 the fine-tuned weights.
        reason: one sentence without its full stop.
        points: measured points, the base first.
        sets: the dev set first.
    """

    alpha: float
    reason: str
    points: tuple[float, ...]
    sets: tuple[GuardSet, ...]

    @property
    def delivered(self) -> int:
        """Index of the delivered point."""
        return self.points.index(self.alpha)

    @property
    def target(self) -> GuardSet | None:
        """The dev set; None where it is not among the sets."""
        return next((measured for measured in self.sets if measured.role == "target"), None)

    @property
    def nonspeech(self) -> tuple[GuardSet, ...]:
        """Sets in which nobody speaks."""
        return tuple(measured for measured in self.sets if measured.role == "nonspeech")

    @property
    def speech(self) -> tuple[GuardSet, ...]:
        """Sets with an error rate."""
        return tuple(measured for measured in self.sets if measured.role in ("target", "guard", "long-form"))


def read_guard(run: RunInfo) -> GuardFacts | None:
    """The guard's facts of a run; None where no guard was at work.

    Raises:
        ResultsError: they are malformed.
    """
    plain = run.model.get("guard")
    if plain is None:
        return None
    try:
        points = _numbers(plain["points"], "points")
        alpha = float(plain["alpha"])
        if 0.0 not in points or alpha not in points:
            raise ValueError(f"the points {list(points)} must hold 0.0 and the delivered {alpha}")
        sets = tuple(_read_set(one, len(points)) for one in plain.get("sets", ()))
        return GuardFacts(alpha=alpha, reason=str(plain.get("reason", "")).rstrip(". "), points=points, sets=sets)
    except KeyError as error:
        raise ResultsError(_malformed(run, f"{error} is missing")) from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ResultsError(_malformed(run, str(error))) from error


def _malformed(run: RunInfo, problem: str) -> str:
    return f"'{run.name}': the guard's facts in its run.json are malformed ({problem}); bench the model again"


def _read_set(plain: Mapping[str, Any], num_points: int) -> GuardSet:
    name = str(plain["name"])
    for key, known in (("role", get_args(GuardRole)), ("unit", get_args(Unit))):
        if plain[key] not in known:
            raise ValueError(f"'{name}' has the {key} {plain[key]!r}, not one of {', '.join(known)}")
    lists = {key: plain[key] for key in ("rates", "differences")}
    ends = {key: plain.get(key) or [None] * num_points for key in ("ci_low", "ci_high")}
    for key, values in (lists | ends).items():
        if len(values) != num_points:
            raise ValueError(f"'{name}' has {len(values)} {key} for {num_points} points")
    return GuardSet(
        name=name,
        role=plain["role"],
        unit=plain["unit"],
        language=plain.get("language"),
        rates=_numbers(lists["rates"], "rates"),
        differences=_numbers(lists["differences"], "differences"),
        intervals=tuple(_interval(low, high, plain.get("clusters")) for low, high in zip(*ends.values(), strict=True)),
        num_clusters=plain.get("clusters"),
    )


def _numbers(values: Any, name: str) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{name} hold {list(numbers)}, they must be numbers")
    return numbers


def _interval(low: float | None, high: float | None, clusters: int | None) -> tuple[float, float] | None:
    """None for what is no interval: without ends, of a single cluster, or without width."""
    if low is None or high is None or clusters == 1 or not high > low:
        return None
    return float(low), float(high)
