"""Traps in what was tested, and in how sure a rate on it is: A.3, A.4, A.8, A.11."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator

import numpy as np

from asr_headroom.analysis.audit_finding import Finding, listed
from asr_headroom.analysis.audit_material import AuditedFile, AuditedTest, Material, finding, pair_command
from asr_headroom.metrics.clustering import MIN_CLUSTERS, label_clusters
from asr_headroom.metrics.resampling import cluster_sums, residual_variance
from asr_headroom.text.units import primary_subtag, unit_name

__all__ = ["find_dependence", "find_duplicates", "find_duplicates_among_worst", "find_unequal_sets"]

MIN_REPEATED_SHARE = 0.02
"""A.3 speaks when this share of the utterances says what another one says."""
MIN_WIDTH_RATIO = 1.4
"""A.4: how many times wider an interval over sentences must be than one over words. Words that err independently give
1; over 200 sentences that ratio scatters by less than 0.1."""
NUM_WORST = 100
"""A.11 looks at as many of the worst utterances as the study did, in tests at least twice as large."""
MAX_DISTINCT_SHARE = 0.95


def find_duplicates(material: Material) -> Iterator[Finding]:
    """A.3: sentences that occur more than once are no independent observations."""
    for test in material.tests:
        distinct, number = len(set(test.sentences)), test.num_utterances
        if number - distinct < max(2, MIN_REPEATED_SHARE * number):
            continue
        widths = {file: _widening(file, test) for file in test.files}
        known = [ratio for ratio in widths.values() if ratio is not None]
        wider = f" Intervals are {_times(known)} as wide when sentences are kept together." if known else ""
        yield finding(
            "A.3",
            "Duplicate sentences",
            "warning",
            dict.fromkeys(test.files, float(number - distinct)),
            unit="utterances",
            message=f"The {test.name} hold {distinct} distinct sentences; {number - distinct} repeat another one, and "
            f"readings of one sentence tend to err together.{wider} Resample by sentence, or by speaker.",
            command=f"asr-headroom score {shlex.quote(test.files[0].path)}",
        )


def find_dependence(material: Material) -> Iterator[Finding]:
    """A.4: an interval that takes words as independent is too narrow."""
    tests = {file: test for test in material.tests for file in test.files}
    ratios = {file: ratio for file, test in tests.items() if (ratio := _width_ratio(file, test)) >= MIN_WIDTH_RATIO}
    if not ratios:
        return
    # The typical file, not the one whose loops stretch its interval most.
    shown = sorted(ratios, key=lambda file: ratios[file])[len(ratios) // 2]
    narrow, wide = _half_widths(shown, tests[shown])
    low, high = f"{min(ratios.values()):.1f}", f"{max(ratios.values()):.1f}"
    units = unit_name(shown.normalizer.unit)
    widths = {file: _half_widths(file, tests[file]) for file in ratios}
    yield finding(
        "A.4",
        "An interval over words or characters would be too narrow",
        "warning",
        {file: wide - narrow for file, (narrow, wide) in widths.items()},
        message=f"{units.capitalize()} of one sentence err together. {shown.label} has {100 * shown.rate:.2f} % ± "
        f"{100 * wide:.2f} points over whole sentences; Wilson's interval, which takes {units} as independent, would "
        f"be ± {100 * narrow:.2f}. In {len(ratios)} of {len(tests)} files it is too narrow, "
        f"{low}{f' to {high}' if high != low else ''} times.",
        command=f"asr-headroom score {shlex.quote(shown.path)} --normalizer {shown.normalizer.id}",
    )


def find_duplicates_among_worst(material: Material) -> Iterator[Finding]:
    """A.11: categories counted over the worst utterances count some sentences several times."""
    for test in material.tests:
        if test.num_utterances < 2 * NUM_WORST or len(set(test.sentences)) == test.num_utterances:
            continue
        distinct = {file: _distinct_among_worst(file, test) for file in test.files if file.rate}
        found = {file: n for file, n in distinct.items() if n < MAX_DISTINCT_SHARE * NUM_WORST}
        if not found:
            continue
        low, high = min(found.values()), max(found.values())
        worst = min(found, key=lambda file: found[file])
        yield finding(
            "A.11",
            "Duplicates among the worst utterances",
            "note",
            {file: float(NUM_WORST - number) for file, number in found.items()},
            unit="utterances",
            message=f"The {NUM_WORST} worst utterances are only {low}{f' to {high}' if high > low else ''} distinct "
            "sentences. Count kinds of errors by sentence, or one sentence that is read four times counts four times.",
            command=f"asr-headroom analyze {shlex.quote(worst.path)}",
        )


def find_unequal_sets(material: Material) -> Iterator[Finding]:
    """A.8: files of one language on different utterances, or with fewer than they state."""
    yield from _cut_files(material)
    tests = list(material.tests)
    for index, test in enumerate(tests):
        for other in tests[index + 1 :]:
            if _language(test) == _language(other):
                yield _unequal(material, test, other)


# ---------------------------------------------------------------------- widths


def _half_widths(file: AuditedFile, test: AuditedTest) -> tuple[float, float]:
    """Half of the 95 % interval over independent words, and over whole sentences."""
    errors, lengths = file.events()
    rate, length = file.rate, float(lengths.sum())
    z = 1.96
    wilson = z / (1 + z**2 / length) * math.sqrt(max(0.0, rate * (1 - rate)) / length + z**2 / (4 * length**2))
    labels = label_clusters(test.sentences, "sentence").labels
    sums = cluster_sums(np.column_stack([errors, lengths]).astype(float), labels)
    return wilson, z * math.sqrt(residual_variance(*sums.T))


def _width_ratio(file: AuditedFile, test: AuditedTest) -> float:
    errors, _ = file.events()
    # Above one error per word there is no share of words, and no such interval. A few wrong sentences, an empty output
    # or two, say nothing of how words err.
    wrong = {sentence for sentence, number in zip(test.sentences, errors, strict=True) if number}
    if file.rate >= 1 or len(wrong) < MIN_CLUSTERS:
        return 0.0
    narrow, wide = _half_widths(file, test)
    return wide / narrow


def _widening(file: AuditedFile, test: AuditedTest) -> float | None:
    """How many times wider an interval is with sentences kept together; None without errors."""
    errors, lengths = (values.astype(float) for values in file.events())
    if not lengths.sum():
        return None
    alone = residual_variance(errors, lengths)
    labels = label_clusters(test.sentences, "sentence").labels
    together = residual_variance(*cluster_sums(np.column_stack([errors, lengths]), labels).T)
    return math.sqrt(together / alone) if alone > 0 else None


def _times(ratios: list[float]) -> str:
    low, high = f"{min(ratios):.2f}", f"{max(ratios):.2f}"
    return f"{low} times" if low == high else f"{low} to {high} times"


def _distinct_among_worst(file: AuditedFile, test: AuditedTest) -> int:
    errors, lengths = file.events()
    rates = errors / np.maximum(lengths, 1)
    order = np.lexsort((-errors, -rates))[:NUM_WORST]
    return len({test.sentences[index] for index in order})


# ---------------------------------------------------------------------- sets


def _language(test: AuditedTest) -> str:
    return primary_subtag(test.language) if test.language else ""


def _unequal(material: Material, test: AuditedTest, other: AuditedTest) -> Finding:
    keys = [set(material.keys(one.files[0])) for one in (test, other)]
    shared, only = len(keys[0] & keys[1]), [len(keys[0] - keys[1]), len(keys[1] - keys[0])]
    groups = [_names(one) for one in (test, other)]
    if shared:
        message = (
            f"{groups[0]} and {groups[1]} were tested on different utterances: {shared} shared, {only[0]} only in the "
            f"first, {only[1]} only in the second. Compare them on the shared ones, and say so."
        )
        command = pair_command("compare", test.files[0], other.files[0], intersect=True)
    else:
        message = (
            f"{groups[0]} ({len(keys[0])} utterances) and {groups[1]} ({len(keys[1])} utterances) share no utterance. "
            "Their rates do not belong in one column: no difference between them can be told from the tests' own."
        )
        command = f"asr-headroom compare {shlex.quote(test.files[0].path)} {shlex.quote(other.files[0].path)}"
    return finding(
        "A.8",
        "Unequal utterance sets" if shared else "Different tests of one language",
        "severe" if shared else "note",
        {file: float(only[index]) for index, one in enumerate((test, other)) for file in one.files},
        unit="utterances",
        message=message,
        command=command,
    )


def _names(test: AuditedTest) -> str:
    return listed([file.label for file in test.files], 3).replace(";", ",")


def _cut_files(material: Material) -> Iterator[Finding]:
    missing = {}
    for file in material.files:
        stated = file.head.get("n")
        if isinstance(stated, int) and not isinstance(stated, bool) and stated != len(file.predictions):
            missing[file] = stated
    if missing:
        told = [
            f"{file.label} states n = {stated} and holds {len(file.predictions)}" for file, stated in missing.items()
        ]
        yield finding(
            "A.8",
            "Fewer or more rows than stated",
            "severe",
            {file: float(abs(stated - len(file.predictions))) for file, stated in missing.items()},
            unit="utterances",
            message=f"{listed(told)}. What was left out, or came twice, is not known.",
            command=f"asr-headroom score {shlex.quote(next(iter(missing)).path)}",
        )
