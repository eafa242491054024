"""Traps in rates that files state: A.6, A.12, and rates that do not follow from their own rows."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

from asr_headroom.analysis.audit_claims import Origin, rate_of
from asr_headroom.analysis.audit_finding import Finding, Severity, listed, percents
from asr_headroom.analysis.audit_material import AuditedFile, AuditedTest, Material, finding
from asr_headroom.text.normalize import Normalizer

__all__ = ["find_means", "find_normalizers", "find_unexplained"]


def find_normalizers(material: Material) -> Iterator[Finding]:
    """A.6: the rates of one test were made with different normalisers, or its references were cleaned before."""
    for test in material.tests:
        yield from _different_profiles(test)
        yield from _different_references(test)


def find_unexplained(material: Material) -> Iterator[Finding]:
    """A.6: stated rates that follow from their rows under no profile, or only with a placeholder for empty texts."""
    if unknown := _origins(material, "unknown"):
        yield _stated(
            "A.6",
            "Stated rate cannot be recomputed",
            "warning",
            unknown,
            "The stated rate follows from its rows under no normalizer known here: other rows, or another clean-up, "
            "made it",
        )
    if marked := _origins(material, "placeholder"):
        yield _stated(
            "A.6",
            "A placeholder scored in place of empty texts",
            "warning",
            marked,
            "The stated rate recomputes only when '<empty>' is scored where a text is empty, as if that had been heard",
            flag=" --empty-as '<empty>'",
        )


def find_means(material: Material) -> Iterator[Finding]:
    """A.12: a stated rate is the mean of the utterances' rates."""
    if slips := _origins(material, "mean of rates"):
        yield _stated(
            "A.12",
            "Mean of rates instead of the corpus rate",
            "severe",
            slips,
            "The stated rate is the mean of the utterances' rates; a corpus rate is all errors over all reference "
            "units. Rates do not average, counts add",
        )


def _origins(material: Material, kind: str) -> list[tuple[AuditedFile, Origin]]:
    return [(file, origin) for file in material.files for origin in file.origins if origin.kind == kind]


def _different_profiles(test: AuditedTest) -> Iterator[Finding]:
    made = {file: profile for file in test.files if (profile := _profile_of(file)) is not None}
    used = Counter(made.values()).most_common()
    asked = next((file.given for file in test.files if file.given is not None), None)
    # Often two profiles give the same rate: what one of them explains everywhere was made with one.
    if not made or any(all(_gives(file, profile) for file in made) for profile in ([asked] if asked else dict(used))):
        return
    usual = asked or used[0][0]
    other = {file: profile for file, profile in made.items() if not _gives(file, usual)}
    sizes = {file: abs(_rate_under(file, profile) - _rate_under(file, usual)) for file, profile in other.items()}
    worst = max(sizes, key=lambda file: sizes[file])
    rates = percents(_rate_under(worst, made[worst]), _rate_under(worst, usual))
    told = [f"{file.label} with {profile.id}" for file, profile in other.items()]
    yield finding(
        "A.6",
        "Scored with different normalizers",
        "severe",
        sizes,
        message=f"Rates were made with other normalizers than {usual.id}, "
        f"{'the one asked for' if asked else 'which made the others'}: {listed(told)}. That choice alone makes "
        f"{worst.label} {rates[0]} instead of {rates[1]}; score all files of one test with one.",
        command=f"asr-headroom score {shlex.quote(worst.path)} --normalizer {usual.id}",
    )


def _profile_of(file: AuditedFile) -> Normalizer | None:
    """The profile that a file's own rates were made with."""
    if file.results.run.normalizer.get("id") is not None:
        return file.own_profile
    return next((origin.normalizer for origin in file.origins if origin.kind == "corpus"), None)


def _gives(file: AuditedFile, profile: Normalizer) -> bool:
    """Whether a profile gives every rate of a file that can be recomputed at all."""
    if file.results.run.normalizer.get("id") is not None:
        return file.own_profile == profile
    return all(
        origin.claim.matches(rate_of(origin.claim.metric, file.counts(profile), profile))
        for origin in file.origins
        if origin.kind == "corpus"
    )


def _rate_under(file: AuditedFile, profile: Normalizer) -> float:
    errors, lengths = file.events(profile)
    return float(errors.sum() / max(1, lengths.sum()))


def _different_references(test: AuditedTest) -> Iterator[Finding]:
    texts = {file: tuple(p.reference.strip() for p in file.predictions) for file in test.files}
    versions = Counter(texts.values()).most_common()
    if len(versions) < 2:
        return
    usual = versions[0][0]
    sizes = {
        file: float(sum(one != other for one, other in zip(text, usual, strict=True)))
        for file, text in texts.items()
        if text != usual
    }
    worst = max(sizes, key=lambda file: sizes[file])
    row = next(row for row, (one, other) in enumerate(zip(texts[worst], usual, strict=True)) if one != other)
    yield finding(
        "A.6",
        "References of one test written differently",
        "warning",
        sizes,
        unit="utterances",
        message=f"{listed([file.label for file in sizes])}: the references say the same as in the other files but are "
        f"written differently, such as {texts[worst][row][:60]!r} for {usual[row][:60]!r}. Somebody cleaned them "
        "before; a profile that keeps what they lost scores these files on another text.",
        command=f"asr-headroom score {shlex.quote(worst.path)} --normalizer {worst.normalizer.id}",
    )


def _stated(
    trap: str, title: str, severity: Severity, found: Sequence[tuple[AuditedFile, Origin]], why: str, flag: str = ""
) -> Finding:
    sizes: dict[AuditedFile, float] = {}
    told = []
    for file, (claim, _, made_with) in found:
        profile = made_with or file.normalizer
        rate = rate_of(claim.metric, file.counts(profile), profile)
        value = min((claim.value, claim.value / 100), key=lambda value, rate=rate: abs(value - rate))  # type: ignore[misc]
        sizes[file] = max(abs(value - rate), sizes.get(file, 0.0))
        texts = percents(value, rate)
        told.append(f"{file.label} states {claim.metric.upper()} {texts[0]}, its rows give {texts[1]} by {profile.id}")
    worst = max(sizes, key=lambda file: sizes[file])
    profile = next(origin.normalizer or worst.normalizer for file, origin in found if file is worst)
    command = f"asr-headroom score {shlex.quote(worst.path)} --normalizer {profile.id}{flag}"
    return finding(trap, title, severity, sizes, message=f"{listed(told)}. {why}.", command=command)
