"""Traps in differences: claims of a fine-tuning, and one model run twice. A.5, A.7, B.16, D.28, D.29."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from asr_headroom.analysis.audit_material import AuditedFile, AuditedTest, Finding, Material, Pair
from asr_headroom.metrics.multiplicity import holm_adjusted
from asr_headroom.metrics.significance import MIN_CLUSTERS_TO_JUDGE, Comparison, compare_rates
from asr_headroom.text.units import rate_name

__all__ = ["find_clocks", "find_reruns", "find_small_claims", "find_unapplied"]

LEVEL = 0.05
MIN_CLOCK_RATIO = 1.5
"""D.29: how many times longer one run of a model must have taken than another."""
MIN_ERRORS_ALIKE = 10
"""B.16: as many errors must two systems share before equal outputs are no coincidence."""
_MAX_NAMED = 6


class _Claim(NamedTuple):
    """One difference of a fine-tuned system and its base."""

    pair: Pair
    comparison: Comparison
    adjusted_p: float

    @property
    def is_shown(self) -> bool:
        """Whether the difference stands among all that were looked at."""
        return self.adjusted_p < LEVEL and self.comparison.num_clusters >= MIN_CLUSTERS_TO_JUDGE


def find_small_claims(material: Material) -> Iterator[Finding]:
    """A.5: differences between a system and its base that the test cannot show."""
    for test in material.tests:
        claims = _claims(test)
        open_ones = sorted(
            (claim for claim in claims if not claim.is_shown), key=lambda claim: -abs(claim.comparison.difference)
        )
        if not open_ones:
            continue
        told = [
            f"{claim.pair.tuned.label} against {claim.pair.base.label} {_signed(claim.comparison.difference)} points "
            f"({_p(claim.comparison.p_value)}{_after_holm(claim, len(claims))}; this test would show "
            f"{100 * claim.comparison.minimal_detectable_effect:.2f})"
            for claim in open_ones
        ]
        first = open_ones[0]
        metric = rate_name(first.pair.base.normalizer.unit)
        clusters = f"{first.comparison.num_clusters} clusters by {first.comparison.cluster_by}"
        yield Finding(
            trap="A.5",
            title="Differences that the test cannot show",
            severity="warning",
            files=tuple(dict.fromkeys(file.path for claim in open_ones for file in claim.pair)),
            size=100 * max(abs(claim.comparison.difference) for claim in open_ones),
            unit="points",
            message=f"Of {len(claims)} fine-tuned system{'s' if len(claims) > 1 else ''} on {test.name} ({clusters}) "
            f"{len(open_ones)} cannot be told from the base by {metric}: {_joined(told)}. "
            "Such a difference is neither a gain nor a loss.",
            command=f"asr-headroom compare {shlex.quote(first.pair.base.path)} {shlex.quote(first.pair.tuned.path)} "
            f"--normalizer {first.pair.base.normalizer.id} --cluster {first.comparison.cluster_by}",
            sizes=tuple(
                100 * max(abs(claim.comparison.difference) for claim in open_ones if path in _paths(claim.pair))
                for path in dict.fromkeys(file.path for claim in open_ones for file in claim.pair)
            ),
        )


def find_unapplied(material: Material) -> Iterator[Finding]:
    """B.16: a fine-tuned system whose outputs are its base's, every one."""
    for pair in material.pairs:
        if not _are_alike(pair.base, pair.tuned) or _number_of_errors(pair.base) < MIN_ERRORS_ALIKE:
            continue
        yield Finding(
            trap="B.16",
            title="Fine-tuned outputs are the base's",
            severity="severe",
            files=_paths(pair),
            size=len(pair.tuned.predictions),
            unit="utterances",
            message=f"All {len(pair.tuned.predictions)} outputs of {pair.tuned.label} are those of {pair.base.label}, "
            "errors included. The update was not applied when it was tested, or one file is a copy of the other.",
            command=f"asr-headroom compare {shlex.quote(pair.base.path)} {shlex.quote(pair.tuned.path)}",
            sizes=(float(len(pair.tuned.predictions)),) * 2,
        )


def find_reruns(material: Material) -> Iterator[Finding]:
    """A.7 and D.28: one model on one test, with other outputs; D.28 where the files say what was set otherwise."""
    for test in material.tests:
        found: dict[str, list[tuple[AuditedFile, AuditedFile, float, int]]] = {}
        for one, other in _same_models(test):
            if one.normalizer != other.normalizer:
                continue
            differing = sum(
                p.hypothesis != q.hypothesis for p, q in zip(one.predictions, other.predictions, strict=True)
            )
            if differing:
                trap = "D.28" if _decoding(one) != _decoding(other) else "A.7"
                found.setdefault(trap, []).append((one, other, other.rate - one.rate, differing))
        for trap, runs in found.items():
            yield _rerun(trap, runs, test)


def find_clocks(material: Material) -> Iterator[Finding]:
    """D.29: seconds stated for one model on one test that do not agree."""
    for test in material.tests:
        told: list[str] = []
        sizes: dict[AuditedFile, float] = {}
        for one, other in _same_models(test):
            seconds = [_seconds(file) for file in (one, other)]
            if seconds[0] and seconds[1] and (ratio := max(seconds) / min(seconds)) >= MIN_CLOCK_RATIO:  # type: ignore[type-var,operator]
                told.append(f"{one.label} {seconds[0]:.0f} s, {other.label} {seconds[1]:.0f} s")
                sizes |= {file: max(ratio, sizes.get(file, 0.0)) for file in (one, other)}
        if told:
            yield Finding(
                trap="D.29",
                title="Wall times that cannot be compared",
                severity="note",
                files=tuple(file.path for file in sizes),
                size=max(sizes.values()),
                unit="times",
                message=f"One model took different times on one test: {_joined(told)}. Batch size, warm-up or the "
                "machine differed, so these seconds do not belong in one column.",
                command=f"grep -o -e {shlex.quote(_CLOCK_PATTERN)} {shlex.join(file.path for file in sizes)}",
                sizes=tuple(sizes.values()),
            )


# ---------------------------------------------------------------------- A.5


def _claims(test: AuditedTest) -> list[_Claim]:
    compared = []
    for pair in test.pairs:
        if _are_alike(*pair):
            continue
        profile = pair.base.normalizer
        (base, lengths), (tuned, _) = (file.events(profile) for file in pair)
        if lengths.sum():
            compared.append((pair, compare_rates(base, tuned, lengths, test.clustering)))
    adjusted = holm_adjusted([comparison.p_value for _, comparison in compared])
    return [_Claim(pair, comparison, p) for (pair, comparison), p in zip(compared, adjusted, strict=True)]


def _after_holm(claim: _Claim, number: int) -> str:
    return f", {_p(claim.adjusted_p)} among {number}" if number > 1 else ""


# ---------------------------------------------------------------------- one model twice


def _same_models(test: AuditedTest) -> Iterator[tuple[AuditedFile, AuditedFile]]:
    """Files that state the same model, one after the other; the first is compared with each of the rest."""
    by_model: dict[tuple[str, str], list[AuditedFile]] = {}
    for file in test.files:
        model = str(file.results.run.model.get("id") or "")
        checkpoint = (
            file.results.run.model.get("checkpoint") or file.head.get("adapter") or file.head.get("adapter_path")
        )
        if model:
            by_model.setdefault((model, str(checkpoint or "")), []).append(file)
    for files in by_model.values():
        for other in files[1:]:
            yield files[0], other


def _decoding(file: AuditedFile) -> object:
    """What a file says of how it was decoded; files that say nothing are alike."""
    run = file.results.run
    stated = {
        name: file.head[name]
        for name in ("backend", "decoding", "beam_size", "num_beams", "batch_size", "dtype", "temperature")
        if name in file.head
    }
    return run.decoding_hash, stated


def _rerun(trap: str, runs: Sequence[tuple[AuditedFile, AuditedFile, float, int]], test: AuditedTest) -> Finding:
    runs = sorted(runs, key=lambda run: -abs(run[2]))
    told = [
        f"{other.label} against {one.label} {_signed(difference)} points, {differing} of {test.num_utterances} outputs "
        "differ"
        for one, other, difference, differing in runs
    ]
    sizes: dict[AuditedFile, float] = {}
    for one, other, difference, _ in runs:
        sizes |= {file: max(100 * abs(difference), sizes.get(file, 0.0)) for file in (one, other)}
    because = (
        "They were decoded differently, as the files say; give the options with the rate."
        if trap == "D.28"
        else "The files state nothing that differs: batch composition, precision, the backend or chance did it, and no "
        "smaller difference between two models means anything."
    )
    first = runs[0]
    return Finding(
        trap=trap,
        title="One model, other options, another rate" if trap == "D.28" else "One model, two results",
        severity="warning",
        files=tuple(file.path for file in sizes),
        size=max(sizes.values()),
        unit="points",
        message=f"The same model on the same utterances: {_joined(told)}. {because}",
        command=f"asr-headroom compare {shlex.quote(first[0].path)} {shlex.quote(first[1].path)} "
        f"--normalizer {first[0].normalizer.id}",
        sizes=tuple(sizes.values()),
    )


_CLOCK_KEYS = ("wall_seconds", "wall_time", "seconds", "runtime", "elapsed")
_CLOCK_PATTERN = '"wall_[a-z]*": [0-9.]*'


def _seconds(file: AuditedFile) -> float | None:
    value = next((file.head[key] for key in _CLOCK_KEYS if key in file.head), None)
    if value is None and "transcribe" in file.results.run.minutes:
        value = 60 * file.results.run.minutes["transcribe"]
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if math.isfinite(value) and value > 0 else None


# ---------------------------------------------------------------------- words


def _are_alike(one: AuditedFile, other: AuditedFile) -> bool:
    return all(p.hypothesis == q.hypothesis for p, q in zip(one.predictions, other.predictions, strict=True))


def _number_of_errors(file: AuditedFile) -> int:
    return int(file.events()[0].sum())


def _paths(pair: Pair) -> tuple[str, str]:
    return pair.base.path, pair.tuned.path


def _signed(difference: float) -> str:
    return f"{100 * difference:+.2f}".replace("-", "−")


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def _joined(told: Sequence[str]) -> str:
    more = f"; and {len(told) - _MAX_NAMED} more" if len(told) > _MAX_NAMED else ""
    return "; ".join(told[:_MAX_NAMED]) + more
