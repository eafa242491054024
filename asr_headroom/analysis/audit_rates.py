"""Traps in what an error rate is made of, or how it was reckoned: A.1, A.2, A.6, A.9, A.12."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import numpy as np

from asr_headroom.analysis.audit_claims import Origin, rate_of
from asr_headroom.analysis.audit_material import AuditedFile, AuditedTest, Finding, Material, Pair
from asr_headroom.text.normalize import get_normalizer, normalizer_ids
from asr_headroom.text.units import rate_name, unit_name

__all__ = ["find_format", "find_loops", "find_means", "find_normalizers", "find_script"]

MIN_SCRIPT_POINTS = 0.003
"""A.1 speaks from 0.3 points on, and from 2 % of the errors: ligatures alone stay below it."""
MIN_SCRIPT_SHARE = 0.02
MIN_LOOP_POINTS = 0.002
"""A.2: errors beyond the length of their references, as a rate and as a share of all errors."""
MIN_LOOP_SHARE = 0.03
MIN_FORMAT_POINTS = 0.003
"""A.9: what writing numbers alike explains, as a rate and as a share of all errors."""
MIN_FORMAT_SHARE = 0.05
_MOST_OF_EXCESS = 0.9
_MAX_NAMED = 4


def find_script(material: Material) -> Iterator[Finding]:
    """A.1: errors that converting both sides to one script removes."""
    for test in material.tests:
        sizes = {}
        for file in test.files:
            share = file.split.share("script")
            gain = file.split.rate - (share.rate_without if share.rate_without is not None else file.split.rate)
            if gain >= max(MIN_SCRIPT_POINTS, MIN_SCRIPT_SHARE * file.split.rate):
                sizes[file] = gain
        if not sizes:
            continue
        worst = max(sizes, key=lambda file: sizes[file])
        pairs = [pair for pair in test.pairs if (pair.base in sizes or pair.tuned in sizes)]
        pairs = [pair for pair in pairs if pair.base.split.normalizer == pair.tuned.split.normalizer]
        variants = sum(flag.script_variant for flag in worst.flags)
        how = f"; {variants} of its {test.num_utterances} outputs hold traditional characters" if variants else ""
        changed = "; ".join(
            f"{pair.tuned.label} against {pair.base.label}: {_signed(pair.tuned.split.rate - pair.base.split.rate)} "
            f"points become {_signed(_one_script(pair.tuned) - _one_script(pair.base))}"
            for pair in pairs[:_MAX_NAMED]
        )
        yield _finding(
            "A.1",
            "Script mix counted as errors",
            "severe",
            sizes,
            f"With both sides in one script {rate_name(worst.split.normalizer.unit)} of {worst.label} falls from "
            f"{_percent(worst.split.rate)} to {_percent(_one_script(worst))}{how}. This is spelling, not hearing"
            f"{'. Differences change with it: ' + changed if changed else ''}.",
            _analyze(pairs[0] if pairs else worst, worst.split.normalizer.id),
        )


def find_loops(material: Material) -> Iterator[Finding]:
    """A.2: errors beyond the length of their references carry the total."""
    for test in material.tests:
        sizes = {}
        for file in test.files:
            errors, lengths = file.events()
            excess = float(np.maximum(errors - lengths, 0).sum() / max(1, lengths.sum()))
            if excess >= max(MIN_LOOP_POINTS, MIN_LOOP_SHARE * file.rate) and file.rate:
                sizes[file] = excess
        if not sizes:
            continue
        told = "; ".join(_who_carries(file) for file in sorted(sizes, key=lambda file: -sizes[file])[:_MAX_NAMED])
        changed = "; ".join(
            f"{pair.tuned.label} against {pair.base.label}: {_signed(pair.tuned.rate - pair.base.rate)} points become "
            f"{_signed(_capped(pair.tuned) - _capped(pair.base))}"
            for pair in test.pairs[:_MAX_NAMED]
            if (pair.base in sizes or pair.tuned in sizes) and pair.base.normalizer == pair.tuned.normalizer
        )
        worst = max(sizes, key=lambda file: sizes[file])
        yield _finding(
            "A.2",
            "A few utterances carry the total",
            "severe" if sizes[worst] >= 0.1 * worst.rate else "warning",
            sizes,
            f"{told}. Repetition and babble have no upper limit, so one utterance more or less moves the rate"
            f"{'. With errors capped at the length of each reference, ' + changed if changed else ''}.",
            f"asr-headroom score {shlex.quote(worst.path)} --normalizer {worst.normalizer.id}",
        )


def find_format(material: Material) -> Iterator[Finding]:
    """A.9: errors that are numbers written otherwise, or case and punctuation where the profile counts them."""
    for test in material.tests:
        sizes = {file: found for file in test.files if (found := _format_rate(file)) is not None}
        if not sizes:
            continue
        worst = max(sizes, key=lambda file: sizes[file] / file.split.rate)
        shares = [sizes[file] / file.split.rate for file in sizes]
        yield _finding(
            "A.9",
            "Digits and format counted as errors",
            "warning",
            sizes,
            f"{_span(shares)} of the errors disappear when both sides write numbers"
            f"{'' if worst.split.normalizer.id.startswith('study') else ', case and punctuation'} alike: "
            f"{_percent(sizes[worst])} of {worst.label}'s {_percent(worst.split.rate)}. "
            "A system that writes as the references do gains that much without hearing better.",
            _analyze(worst, worst.split.normalizer.id),
        )


def find_normalizers(material: Material) -> Iterator[Finding]:
    """A.6: stated rates that were made with different normalisers, or with none that is known."""
    for test in material.tests:
        yield from _different_profiles(test)
        yield from _unexplained(test)
        yield from _placeholders(test)


def find_means(material: Material) -> Iterator[Finding]:
    """A.12: a stated rate is the mean of the utterances' rates."""
    for test in material.tests:
        slips = _origins(test.files, "mean of rates")
        if slips:
            yield _stated(
                "A.12",
                "Mean of rates instead of the corpus rate",
                slips,
                "is the mean of the utterances' rates; a corpus rate is all errors over all reference units. "
                "Rates do not average, counts add",
            )


# ---------------------------------------------------------------------- A.1, A.2, A.9


def _one_script(file: AuditedFile) -> float:
    rate = file.split.share("script").rate_without
    return file.split.rate if rate is None else rate


def _capped(file: AuditedFile) -> float:
    errors, lengths = file.events()
    return float(np.minimum(errors, lengths).sum() / max(1, lengths.sum()))


def _who_carries(file: AuditedFile) -> str:
    """The fewest utterances that hold nine tenths of the excess, and what they hold."""
    errors, lengths = file.events()
    excess = np.maximum(errors - lengths, 0)
    order = np.argsort(-excess, kind="stable")
    number = int(np.searchsorted(np.cumsum(excess[order]), _MOST_OF_EXCESS * excess.sum())) + 1
    held = int(errors[order[:number]].sum())
    return (
        f"{file.label}: {number} of {len(errors)} utterances hold{'s' if number == 1 else ''} "
        f"{held:,} of {int(errors.sum()):,} errors, {_percent(file.rate)} would be {_percent(_capped(file))} with "
        f"no more errors than {unit_name(file.normalizer.unit)} in each"
    )


def _format_rate(file: AuditedFile) -> float | None:
    causes = ["numerals"]
    # A raw profile that nobody scored with was only chosen to show formats.
    if file.is_profile_known:
        causes += ["case", "punctuation"]
    rate = sum(file.split.share(cause).rate for cause in causes)
    return rate if rate >= max(MIN_FORMAT_POINTS, MIN_FORMAT_SHARE * file.split.rate) else None


# ---------------------------------------------------------------------- A.6, A.12


def _origins(files: Sequence[AuditedFile], kind: str) -> list[tuple[AuditedFile, Origin]]:
    return [(file, origin) for file in files for origin in file.origins if origin.kind == kind]


def _different_profiles(test: AuditedTest) -> Iterator[Finding]:
    stated: dict[str, list[AuditedFile]] = {}
    for file in test.files:
        name = file.results.run.normalizer.get("id") or file.head.get("normalizer")
        if isinstance(name, dict):
            name = name.get("id")
        if name is None and file.claimed is not None:
            name = file.claimed.id
        if name is not None:
            stated.setdefault(str(name), []).append(file)
    if len(stated) < 2:
        return
    usual = max(stated, key=lambda name: len(stated[name]))
    sizes = {}
    for name, files in stated.items():
        for file in files:
            # The same texts under both profiles: what the choice alone is worth.
            moved = abs(_rate_under(file, name) - _rate_under(file, usual)) if name != usual else 0.0
            sizes[file] = moved
    worst = max(sizes, key=lambda file: sizes[file])
    named = "; ".join(
        f"{name}: {', '.join(file.label for file in files[:_MAX_NAMED])}" for name, files in stated.items()
    )
    yield _finding(
        "A.6",
        "Scored with different normalizers",
        "severe",
        sizes,
        f"The rates of one test were made with different normalizers ({named}). The choice alone moves "
        f"{worst.label} by {_percent(sizes[worst])}; score all with one.",
        f"asr-headroom score {shlex.quote(worst.path)} --normalizer {usual}",
    )


def _rate_under(file: AuditedFile, name: str) -> float:
    if name not in normalizer_ids():
        return file.rate
    errors, lengths = file.events(get_normalizer(name))
    return float(errors.sum() / max(1, lengths.sum()))


def _unexplained(test: AuditedTest) -> Iterator[Finding]:
    unknown = _origins(test.files, "unknown")
    if unknown:
        yield _stated(
            "A.6",
            "Stated rate cannot be recomputed",
            unknown,
            "follows from its own rows under no normalizer known here; other rows, or another clean-up, made it",
        )


def _placeholders(test: AuditedTest) -> Iterator[Finding]:
    slips = _origins(test.files, "placeholder")
    if slips:
        yield _stated(
            "A.6",
            "A placeholder scored in place of empty texts",
            slips,
            "recomputes only when the text '<empty>' is scored where nothing was recognised, which adds its letters "
            "to the errors",
            flag=" --empty-as '<empty>'",
        )


def _stated(trap: str, title: str, found: Sequence[tuple[AuditedFile, Origin]], why: str, flag: str = "") -> Finding:
    sizes: dict[AuditedFile, float] = {}
    told = []
    for file, origin in found:
        metric, profile = origin.claim.metric, origin.normalizer or file.normalizer
        rate = rate_of(metric, file.counts(profile), profile)
        scale = 0.01 if abs(origin.claim.value * 0.01 - rate) < abs(origin.claim.value - rate) else 1.0
        size = abs(origin.claim.value * scale - rate)
        sizes[file] = max(size, sizes.get(file, 0.0))
        told.append(
            f"{file.label} states {metric.upper()} {_percent(origin.claim.value * scale)}, its rows give "
            f"{_percent(rate)} under {profile.id}"
        )
    worst = max(sizes, key=lambda file: sizes[file])
    more = f"; and {len(told) - _MAX_NAMED} more" if len(told) > _MAX_NAMED else ""
    profile = next((origin.normalizer for file, origin in found if file is worst), None) or worst.normalizer
    return _finding(
        trap,
        title,
        "severe" if trap == "A.12" or not flag else "warning",
        sizes,
        f"{'; '.join(told[:_MAX_NAMED])}{more}. The stated rate {why}.",
        f"asr-headroom score {shlex.quote(worst.path)} --normalizer {profile.id}{flag}",
    )


# ---------------------------------------------------------------------- words


def _finding(
    trap: str, title: str, severity: str, sizes: dict[AuditedFile, float], message: str, command: str
) -> Finding:
    return Finding(
        trap=trap,
        title=title,
        severity=severity,  # type: ignore[arg-type]
        files=tuple(file.path for file in sizes),
        size=100 * max(sizes.values()),
        unit="points",
        message=message,
        command=command,
        sizes=tuple(100 * size for size in sizes.values()),
    )


def _analyze(what: AuditedFile | Pair, normalizer_id: str) -> str:
    paths = [what.path] if isinstance(what, AuditedFile) else [what.base.path, what.tuned.path]
    return f"asr-headroom analyze {' '.join(map(shlex.quote, paths))} --normalizer {normalizer_id}"


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"


def _signed(difference: float) -> str:
    return f"{100 * difference:+.2f}".replace("-", "−")


def _span(shares: Sequence[float]) -> str:
    low, high = (f"{100 * share:.0f}" for share in (min(shares), max(shares)))
    return f"{low} %" if low == high else f"{low} to {high} %"
