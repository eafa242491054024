"""Traps in what an error rate is made of: A.1, A.2, A.9."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import numpy as np

from asr_headroom.analysis.audit_finding import Finding, listed, percent, signed
from asr_headroom.analysis.audit_material import AuditedFile, Material, Pair, finding, pair_command
from asr_headroom.text.units import rate_name, unit_name

__all__ = ["find_format", "find_loops", "find_script"]

MIN_SCRIPT_POINTS = 0.003
"""A.1 speaks from 0.3 points on, and from 2 % of the errors: ligatures alone stay below it."""
MIN_SCRIPT_SHARE = 0.02
MIN_LOOP_POINTS = 0.002
"""A.2: errors beyond the length of their references, as a rate and as a share of all errors."""
MIN_LOOP_SHARE = 0.03
MIN_CONCENTRATION = 2
"""A.2: how many times their share of the utterances the few must hold of the errors; a system that is wrong throughout
has no few."""
MIN_EXCESS = 10
"""A.2: errors beyond the references' lengths; one word put out for an empty reference carries no total."""
SEVERE_LOOP_SHARE = 0.1
MIN_FORMAT_POINTS = 0.003
"""A.9: what writing numbers alike explains, as a rate and as a share of all errors."""
MIN_FORMAT_SHARE = 0.05
_MOST_OF_EXCESS = 0.9


def find_script(material: Material) -> Iterator[Finding]:
    """A.1: errors that converting both sides to one script removes."""
    for test in material.tests:
        gains = {file: file.split.rate - _in_one_script(file) for file in test.files}
        sizes = {
            file: gain
            for file, gain in gains.items()
            if gain >= max(MIN_SCRIPT_POINTS, MIN_SCRIPT_SHARE * file.split.rate)
        }
        if not sizes:
            continue
        ranked = _ranked(sizes)
        profile = ranked[0].split.normalizer
        pairs = [
            pair
            for pair in test.pairs
            if (pair.base in sizes or pair.tuned in sizes) and pair.base.split.normalizer == pair.tuned.split.normalizer
        ]
        pairs.sort(key=lambda pair: -abs(gains[pair.base] - gains[pair.tuned]))
        told = listed([f"{f.label} {percent(f.split.rate)} → {percent(_in_one_script(f))}" for f in ranked])
        variants = sum(flag.script_variant for flag in ranked[0].flags)
        how = f" ({variants} of {test.num_utterances} outputs of the first hold traditional characters)"
        message = (
            f"With both sides in one script {rate_name(profile.unit)} falls: {told}{how if variants else ''}. "
            "That part is spelling, not hearing."
        )
        if pairs:
            changed = [
                f"{tuned.label} against {base.label} {signed(tuned.split.rate - base.split.rate)} → "
                f"{signed(_in_one_script(tuned) - _in_one_script(base))} points"
                for base, tuned in pairs
            ]
            message += f" Differences change with it: {listed(changed)}."
        command = _analyze(pairs[0] if pairs else ranked[0], profile.id)
        title = "Script mix counted as errors"
        yield finding("A.1", title, "severe", sizes, message=message, command=command)


def find_loops(material: Material) -> Iterator[Finding]:
    """A.2: errors beyond the length of their references carry the total."""
    for test in material.tests:
        gains = {file: file.rate - _capped(file) for file in test.files}
        sizes = {
            file: gain
            for file, gain in gains.items()
            if gain >= max(MIN_LOOP_POINTS, MIN_LOOP_SHARE * file.rate)
            and _excess(file).sum() >= MIN_EXCESS
            and _is_concentrated(file)
        }
        if not sizes:
            continue
        ranked = _ranked(sizes)
        message = (
            f"{listed([_who_carries(file) for file in ranked])}. Repetition and babble have no upper limit, so one "
            "such utterance more or less moves a rate."
        )
        changed = [
            f"{pair.tuned.label} against {pair.base.label} {signed(pair.tuned.rate - pair.base.rate)} → "
            f"{signed(_capped(pair.tuned) - _capped(pair.base))} points"
            for pair in sorted(test.pairs, key=lambda pair: -abs(gains[pair.base] - gains[pair.tuned]))
            if (pair.base in sizes or pair.tuned in sizes) and pair.base.normalizer == pair.tuned.normalizer
        ]
        if changed:
            message += f" With errors capped at the length of each reference, differences change: {listed(changed)}."
        worst = ranked[0]
        yield finding(
            "A.2",
            "A few utterances carry the total",
            "severe" if any(size >= SEVERE_LOOP_SHARE * file.rate for file, size in sizes.items()) else "warning",
            sizes,
            message=message,
            command=f"asr-headroom score {shlex.quote(worst.path)} --normalizer {worst.normalizer.id}",
        )


def find_format(material: Material) -> Iterator[Finding]:
    """A.9: errors that are numbers written otherwise, or case and punctuation where the profile counts them."""
    sizes = {file: rate for file in material.files if (rate := _format_rate(file)) is not None}
    if not sizes:
        return
    ranked = _ranked(sizes)
    causes = sorted({cause for file in sizes for cause in _format_causes(file) if file.split.share(cause).rate > 0})
    told = [
        f"{file.label} {100 * sizes[file]:.2f} of {percent(file.split.rate)} "
        f"({percent(sizes[file] / file.split.rate, 0)} of its errors)"
        for file in ranked
    ]
    yield finding(
        "A.9",
        "Digits and format counted as errors",
        "warning",
        sizes,
        message=f"Points that {' and '.join(causes)} written alike would take away: {listed(told)}. A system "
        "that writes as the references do gains that much without hearing better.",
        command=_analyze(ranked[0], ranked[0].split.normalizer.id),
    )


def _ranked(sizes: dict[AuditedFile, float]) -> list[AuditedFile]:
    return sorted(sizes, key=lambda file: -sizes[file])


def _in_one_script(file: AuditedFile) -> float:
    rate = file.split.share("script").rate_without
    return file.split.rate if rate is None else rate


def _capped(file: AuditedFile) -> float:
    """The rate when no utterance counts more errors than its reference is long."""
    errors, lengths = file.events()
    return float(np.minimum(errors, lengths).sum() / max(1, lengths.sum()))


def _excess(file: AuditedFile) -> np.ndarray:
    """[utterances] errors beyond the length of the reference."""
    errors, lengths = file.events()
    return np.maximum(errors - lengths, 0)


def _is_concentrated(file: AuditedFile) -> bool:
    number, held = _carriers(file)
    errors, _ = file.events()
    return held / errors.sum() >= MIN_CONCENTRATION * number / len(errors)


def _who_carries(file: AuditedFile) -> str:
    errors, _ = file.events()
    number, held = _carriers(file)
    return (
        f"{file.label}: {number} of {len(errors)} utterances hold{'s' if number == 1 else ''} {held:,} of "
        f"{int(errors.sum()):,} errors, {percent(file.rate)} → {percent(_capped(file))} with no more errors than "
        f"{unit_name(file.normalizer.unit)} in each"
    )


def _carriers(file: AuditedFile) -> tuple[int, int]:
    """The fewest utterances that hold nine tenths of the excess, and the errors they hold."""
    errors, _ = file.events()
    excess = _excess(file)
    order = np.argsort(-excess, kind="stable")
    number = int(np.searchsorted(np.cumsum(excess[order]), _MOST_OF_EXCESS * excess.sum())) + 1
    return number, int(errors[order[:number]].sum())


def _format_causes(file: AuditedFile) -> list[str]:
    # A raw profile that nobody scored with was only chosen to show formats; case and punctuation count in it alone.
    return ["numerals", "case", "punctuation"] if file.is_profile_known else ["numerals"]


def _format_rate(file: AuditedFile) -> float | None:
    rate = sum(file.split.share(cause).rate for cause in _format_causes(file))
    return rate if rate >= max(MIN_FORMAT_POINTS, MIN_FORMAT_SHARE * file.split.rate) else None


def _analyze(what: AuditedFile | Pair, normalizer_id: str) -> str:
    if isinstance(what, Pair):
        return pair_command("analyze", what.base, what.tuned, f"--normalizer {normalizer_id}")
    return f"asr-headroom analyze {shlex.quote(what.path)} --normalizer {normalizer_id}"
