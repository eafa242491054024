"""Traps in differences: claims of a fine-tuning, and one model run twice. A.5, A.7, B.16, D.28, D.29."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from asr_headroom.analysis.audit_finding import Finding, listed, signed
from asr_headroom.analysis.audit_lineage import method_words
from asr_headroom.analysis.audit_material import AuditedFile, AuditedTest, Material, Pair, finding, pair_command
from asr_headroom.analysis.scoring import clusters_of
from asr_headroom.metrics.multiplicity import holm_adjusted
from asr_headroom.metrics.significance import MIN_CLUSTERS_TO_JUDGE, Comparison, compare_rates
from asr_headroom.text.units import rate_name

__all__ = ["find_clocks", "find_reruns", "find_small_claims", "find_unapplied"]

LEVEL = 0.05
MIN_CLOCK_RATIO = 1.5
"""D.29: how many times longer one run of a model must have taken than another."""
MIN_ERRORS_ALIKE = 10
"""B.16: as many errors must two systems share before equal outputs are no coincidence."""
_MAX_LISTED = 6


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
            f"{claim.pair.tuned.label} against {claim.pair.base.label} {signed(claim.comparison.difference)} points "
            f"({_p(claim.comparison.p_value)}{_after_holm(claim, len(claims))}; this test would show "
            f"{100 * claim.comparison.minimal_detectable_effect:.2f})"
            for claim in open_ones
        ]
        first = open_ones[0].pair
        profile = first.base.normalizer
        clusters = open_ones[0].comparison
        yield finding(
            "A.5",
            "Differences that the test cannot show",
            "warning",
            {f: max(_size(c) for c in open_ones if f in c.pair) for c in open_ones for f in c.pair},
            message=f"Of {len(claims)} fine-tuned system{'s' if len(claims) > 1 else ''} on {test.name} "
            f"({clusters.num_clusters} clusters by {clusters.cluster_by}) {len(open_ones)} cannot be told from the "
            f"base by {rate_name(profile.unit)}: {listed(told, _MAX_LISTED)}. Each may be a gain, a loss or nothing.",
            command=pair_command("compare", *first, f"--normalizer {profile.id} --cluster {clusters.cluster_by}"),
        )


def find_unapplied(material: Material) -> Iterator[Finding]:
    """B.16: a fine-tuned system whose outputs are its base's, every one."""
    for pair in material.pairs:
        if not _are_alike(pair.base, pair.tuned) or _number_of_errors(pair.base) < MIN_ERRORS_ALIKE:
            continue
        yield finding(
            "B.16",
            "Fine-tuned outputs are the base's",
            "severe",
            dict.fromkeys(pair, float(len(pair.tuned.predictions))),
            unit="utterances",
            message=f"All {len(pair.tuned.predictions)} outputs of {pair.tuned.label} are those of {pair.base.label}, "
            "errors included. The update was not applied when it was tested, or one file is a copy of the other.",
            command=pair_command("compare", *pair),
        )


def find_reruns(material: Material) -> Iterator[Finding]:
    """A.7 and D.28: one model on one test, with other outputs; D.28 where the files say what was set otherwise."""
    for test in material.tests:
        found: dict[str, list[tuple[AuditedFile, AuditedFile, float, int]]] = {}
        for one, other in _same_models(test):
            if one.normalizer != other.normalizer:
                continue
            differing = sum(
                p.hypothesis.strip() != q.hypothesis.strip()
                for p, q in zip(one.predictions, other.predictions, strict=True)
            )
            if differing:
                trap = "D.28" if _decoding(one) != _decoding(other) else "A.7"
                found.setdefault(trap, []).append((one, other, other.rate - one.rate, differing))
        for trap, runs in found.items():
            yield _rerun(trap, runs, test)


def find_clocks(material: Material) -> Iterator[Finding]:
    """D.29: seconds stated for one model on one test that do not agree."""
    told: list[str] = []
    sizes: dict[AuditedFile, float] = {}
    for test in material.tests:
        for one, other in _same_models(test):
            first, second = _seconds(one), _seconds(other)
            if first is None or second is None:
                continue
            ratio = max(first, second) / min(first, second)
            if ratio < MIN_CLOCK_RATIO:
                continue
            told.append(f"{one.label} {first:.0f} s, {other.label} {second:.0f} s")
            sizes |= {file: max(ratio, sizes.get(file, 0.0)) for file in (one, other)}
    if told:
        yield finding(
            "D.29",
            "Wall times that cannot be compared",
            "note",
            sizes,
            unit="times",
            message=f"One model took different times on one test: {listed(told)}. Batch size, warm-up or the machine "
            "differed, so these seconds do not belong in one column.",
            command=f"grep -o -E '\"({'|'.join(_CLOCK_KEYS)}|transcribe)\": [0-9.]+' "
            f"{shlex.join(_file_with_head(file) for file in sizes)}",
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
            clustering = clusters_of([file.results for file in pair], profile, "auto")
            compared.append((pair, compare_rates(base, tuned, lengths, clustering)))
    adjusted = holm_adjusted([comparison.p_value for _, comparison in compared])
    return [_Claim(pair, comparison, p) for (pair, comparison), p in zip(compared, adjusted, strict=True)]


def _size(claim: _Claim) -> float:
    return abs(claim.comparison.difference)


def _after_holm(claim: _Claim, number: int) -> str:
    return f", {_p(claim.adjusted_p)} among {number}" if number > 1 else ""


# ---------------------------------------------------------------------- one model twice


def _same_models(test: AuditedTest) -> Iterator[tuple[AuditedFile, AuditedFile]]:
    """Files that state the same model, one after the other; the first is compared with each of the rest."""
    by_model: dict[tuple[str, str, frozenset[str]], list[AuditedFile]] = {}
    for file in test.files:
        model = str(file.results.run.model.get("id") or "")
        checkpoint = (
            file.results.run.model.get("checkpoint") or file.head.get("adapter") or file.head.get("adapter_path")
        )
        if model:
            # Tools that merge an adapter state the base's id; only the file's name says that it is another model.
            method = method_words(file.results)
            by_model.setdefault((model, str(checkpoint or ""), method), []).append(file)
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
        f"{other.label} against {one.label} {signed(difference)} points, {differing} of {test.num_utterances} outputs "
        "differ"
        for one, other, difference, differing in runs
    ]
    sizes: dict[AuditedFile, float] = {}
    for one, other, difference, _ in runs:
        sizes |= {file: max(abs(difference), sizes.get(file, 0.0)) for file in (one, other)}
    because = (
        "They were decoded differently, as the files say; give the options with the rate."
        if trap == "D.28"
        else "The files state no option that differs: batch composition, precision, the backend or chance did it, so a "
        "difference of that size between two models needs no better model."
    )
    first = runs[0]
    return finding(
        trap,
        "One model, other options, another rate" if trap == "D.28" else "One model, two results",
        "warning",
        sizes,
        message=f"The same model on the same utterances: {listed(told)}. {because}",
        command=pair_command("compare", first[0], first[1], f"--normalizer {first[0].normalizer.id}"),
    )


_CLOCK_KEYS = ("wall_seconds", "wall_time", "seconds", "runtime", "elapsed")


def _file_with_head(file: AuditedFile) -> str:
    path = file.results.path
    return f"{file.path}/run.json" if path is not None and path.is_dir() else file.path


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


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
